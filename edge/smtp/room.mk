$(eval $(call library,smtp,edge/smtp,parser.c address.c command.c reply.c text.c))
