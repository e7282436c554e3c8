$(eval $(call library,dns,edge/dns,dns.c))
