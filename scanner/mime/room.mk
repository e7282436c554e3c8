$(eval $(call library,mime,scanner/mime,mime.c parse.c fields.c words.c charset.c decode.c arena.c html.c pdf.c filetype.c))
$(eval $(call unit_test,mime,mime common,-lidn2))
