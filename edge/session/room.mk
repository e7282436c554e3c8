$(eval $(call library,session,edge/session,session.c))
