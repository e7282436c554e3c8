$(eval $(call library,session,edge/session,server.c session.c balancer.c proxy.c xclient.c commands.c auth.c transaction.c recipients.c repair.c leniency.c spooled.c notice.c report.c outcome.c relay.c allowance.c received.c census.c wheel.c edge_config.c))
$(eval $(call library,relay,edge/session,relay.c)) # weirctl explains with what edges decide with, and with no more of the edge
$(eval $(call library,session_doubles,.,tests/unit/session_doubles.c edge/delivery/next_hop.c edge/scan/stamp.c))
$(eval $(call unit_test,session,session_doubles session smtp policy message proto common,-lprotobuf-c -lzmq -levent))
$(eval $(call unit_test,session_parts,session scan smtp policy message common,-lprotobuf-c -levent))
session_sources := edge/delivery/next_hop.c edge/scan/stamp.c $(addprefix edge/session/,server.c session.c balancer.c proxy.c xclient.c commands.c auth.c transaction.c recipients.c repair.c leniency.c spooled.c notice.c report.c outcome.c relay.c allowance.c received.c census.c wheel.c edge_config.c)
$(eval $(call fuzz_target,session,$(session_sources) tests/unit/session_doubles.c $(addprefix edge/smtp/,parser.c mend.c address.c command.c reply.c text.c xtext.c sasl.c xclient.c leniency.c) edge/message/message.c $(addprefix common/policy/,policy.c lines.c domains.c mailertable.c networks.c prefixes.c exceptions.c aliases.c) $(addprefix common/,error.c memory.c utf8.c log.c log_event.c queue_id.c queue_id.c netaddr.c config.c config_value.c settings.c metrics.c) proto/curve.c proto/wire.c proto/wire_rules.c $(B)/generated/proto/weir.pb-c.c,-lprotobuf-c -lzmq -levent))
$(eval $(call unit_test,proxy,session common,-levent))
$(eval $(call fuzz_target,proxy,edge/session/proxy.c $(addprefix common/,netaddr.c error.c memory.c log.c log_event.c queue_id.c utf8.c)))
