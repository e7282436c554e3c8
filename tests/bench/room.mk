$(eval $(call program,weir-policy-lookup,tests/bench,lookup.c,relay smtp policy common,-lidn2))
