$(eval $(call library,sendmail,deploy/sendmail,addresses.c mail.c options.c text.c))
$(eval $(call program,weir-sendmail,deploy/sendmail,sendmail.c settings.c submit.c host.c wire.c through.c,sendmail delivery smtp common,-lssl -lcrypto -lidn2))
$(eval $(call unit_test,sendmail,sendmail smtp common,-lcrypto -lidn2))
$(eval $(call fuzz_target,sendmail,$(addprefix deploy/sendmail/,addresses.c mail.c text.c) edge/smtp/address.c common/idn.c edge/smtp/text.c $(addprefix common/,error.c memory.c log.c log_event.c queue_id.c utf8.c netaddr.c),-lcrypto -lidn2))
