$(eval $(call library,proto,proto,curve.c wire.c wire_rules.c zwatch.c link_hub.c link_client.c link_server.c node.c node_cache.c node_reports.c))
$(B)/libproto.a: $(B)/generated/proto/weir.pb-c.o
$(eval $(call unit_test,link,proto common,-lzmq -lprotobuf-c -levent))
$(eval $(call unit_test,node,proto common,-lzmq -lprotobuf-c -levent))
