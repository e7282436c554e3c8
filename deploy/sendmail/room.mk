$(eval $(call library,sendmail,deploy/sendmail,addresses.c mail.c options.c text.c))
$(eval $(call program,weir-sendmail,deploy/sendmail,sendmail.c settings.c submit.c host.c wire.c through.c,sendmail delivery smtp common,-lssl -lcrypto))
$(eval $(call unit_test,sendmail,sendmail smtp common,-lcrypto))
