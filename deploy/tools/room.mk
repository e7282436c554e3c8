$(eval $(call program,weir-sink,deploy/tools,sink.c sink_session.c sink_store.c tool.c,net smtp common,-levent -lssl -lcrypto))
