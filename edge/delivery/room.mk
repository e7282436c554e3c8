$(eval $(call library,delivery,edge/delivery,delivery.c pool.c))
