$(eval $(call library,net,edge/net,net.c))
