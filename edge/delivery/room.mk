$(eval $(call library,delivery,edge/delivery,delivery.c egress.c pool.c hopconn.c dialog.c next_hop.c))
$(eval $(call unit_test,dialog,delivery smtp common,))
$(eval $(call unit_test,delivery,delivery net dns message smtp common,-lunbound -lidn2 -levent -lssl -lcrypto))
$(eval $(call fuzz_target,dialog,edge/delivery/dialog.c edge/smtp/reply.c edge/smtp/text.c edge/smtp/xtext.c $(addprefix common/,error.c log.c log_event.c queue_id.c utf8.c memory.c),))
