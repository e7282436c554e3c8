$(eval $(call library,dns,edge/dns,dns.c packet.c))
$(eval $(call unit_test,dns,dns common,-lunbound -levent))
$(eval $(call fuzz_target,dns_packet,edge/dns/packet.c,))
