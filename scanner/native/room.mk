$(eval $(call library,native,scanner/native,native.c view.c fold.c domain.c brands.c phrases.c features.c model.c rules_phishing.c rules_links.c rules_files.c rules_headers.c rules_text.c rules_composite.c))
$(eval $(call program,weir-score,scanner/native,score.c,native mime common,-lidn2 -lm))
$(eval $(call unit_test,native,native mime common,-lidn2 -lm))
$(eval $(call fuzz_target,native,$(addprefix scanner/mime/,mime.c parse.c fields.c words.c charset.c decode.c arena.c html.c pdf.c filetype.c) $(addprefix scanner/native/,native.c view.c fold.c domain.c brands.c phrases.c features.c model.c rules_phishing.c rules_links.c rules_files.c rules_headers.c rules_text.c rules_composite.c) $(addprefix common/,memory.c error.c log.c log_event.c queue_id.c utf8.c idn.c),-lidn2 -lm))
