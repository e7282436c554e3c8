$(eval $(call library,message,edge/message,message.c))
