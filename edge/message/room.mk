$(eval $(call library,message,edge/message,message.c))
$(eval $(call unit_test,message,message common,-Wl$(comma)--wrap=open))
