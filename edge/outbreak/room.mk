$(eval $(call library,outbreak,edge/outbreak,outbreak.c))
