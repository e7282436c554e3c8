$(eval $(call library,net,edge/net,net.c tls.c listener.c))
$(eval $(call unit_test,net,net common,-levent -lssl -lcrypto))
