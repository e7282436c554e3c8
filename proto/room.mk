$(eval $(call library,proto,proto,curve.c wire.c wire_rules.c zwatch.c link_hub.c link_flow.c link_client.c link_server.c node.c node_choice.c node_cache.c node_policy.c files.c node_reports.c node_questions.c))
$(B)/libproto.a: $(B)/generated/proto/weir.pb-c.o
$(eval $(call unit_test,link,proto common,-lzmq -lprotobuf-c -levent))
$(eval $(call unit_test,node,proto common,-lzmq -lprotobuf-c -levent))
$(eval $(call unit_test,node_choice,proto common,))
$(eval $(call unit_test,wire,proto common,-lprotobuf-c))
$(eval $(call unit_test,wire_seeds,proto common,-lprotobuf-c))
$(eval $(call unit_test,curve,proto common,-lzmq))
$(eval $(call fuzz_target,wire,proto/wire.c proto/wire_rules.c $(B)/generated/proto/weir.pb-c.c common/error.c common/memory.c common/queue_id.c common/log.c common/log_event.c common/queue_id.c common/utf8.c common/clock.c,-lprotobuf-c))
