$(eval $(call library,limits,edge/limits,memory.c limiter.c stops.c))
$(eval $(call unit_test,limiter,limits policy proto common,-lprotobuf-c -lzmq -levent -lidn2))
