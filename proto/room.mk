$(eval $(call library,proto,proto,curve.c wire.c zwatch.c link.c node.c))
$(B)/libproto.a: $(B)/generated/proto/weir.pb-c.o
