$(eval $(call library,net,edge/net,net.c turns.c tls.c listener.c))
$(eval $(call unit_test,net,net common,-levent -lssl -lcrypto))
