$(eval $(call library,common,common,error.c memory.c clock.c utf8.c log.c queue_id.c netaddr.c config.c config_value.c settings.c metrics.c))
$(eval $(call library,policy,common/policy,policy.c lines.c domains.c mailertable.c networks.c))
