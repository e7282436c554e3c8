$(eval $(call library,spam,scanner/spam,engine.c http.c rspamd.c spamd.c client.c shared.c spam.c))
$(eval $(call unit_test,spam_client,spam native mime proto common,-lprotobuf-c -levent -ljansson -lidn2))
$(eval $(call unit_test,spam_shared,spam native mime proto common,-lprotobuf-c -levent -ljansson -lidn2))
