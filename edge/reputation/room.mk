$(eval $(call library,reputation,edge/reputation,book.c kept.c feed.c))
$(eval $(call unit_test,reputation,reputation proto common,-lprotobuf-c -lzmq -levent))
