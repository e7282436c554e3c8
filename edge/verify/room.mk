$(eval $(call library,verify,edge/verify,opinion.c course.c memory.c verifier.c))
$(eval $(call library,verify_doubles,edge,delivery/next_hop.c))
$(eval $(call unit_test,verify,verify verify_doubles proto common,-lprotobuf-c -lzmq -levent))
