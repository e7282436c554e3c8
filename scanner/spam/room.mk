$(eval $(call library,spam,scanner/spam,engine.c http.c rspamd.c spamd.c client.c spam.c))
