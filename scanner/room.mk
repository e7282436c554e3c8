$(eval $(call library,scanengine,scanner,channel.c scratch.c engine.c sandbox.c worker.c zygote.c))
$(eval $(call unit_test,scanner_engine,scanengine common,-lclamav -lseccomp))
