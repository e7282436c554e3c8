$(eval $(call library,dns,edge/dns,dns.c resolver.c packet.c mx.c mx_lookup.c client_name.c dnsbl.c))
$(eval $(call unit_test,dns,dns common,-lunbound -lidn2 -levent))
$(eval $(call unit_test,mx,dns common,-lunbound -lidn2 -levent))
$(eval $(call fuzz_target,dns_packet,edge/dns/packet.c,))
