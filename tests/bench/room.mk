$(eval $(call program,weir-policy-lookup,tests/bench,lookup.c,relay smtp policy common,-lidn2))
$(eval $(call program,weir-decide,tests/bench,decide.c,proto common,-lzmq -lprotobuf-c -levent -lidn2))
$(eval $(call program,weir-knock,tests/bench,knock.c,common,-lidn2))
$(eval $(call program,weir-copies,tests/bench,copies.c,common,-lpq -lidn2))
