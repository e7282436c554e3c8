$(eval $(call program,weir-sink,deploy/tools,sink.c sink_session.c sink_store.c tool.c,net smtp common,-levent -lssl -lcrypto -lidn2))
$(eval $(call program,weir-load,deploy/tools,load.c load_session.c load_message.c load_stats.c tool.c,net smtp common,-levent -lssl -lcrypto -lidn2))
