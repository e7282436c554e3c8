$(eval $(call library,scanengine,scanner,channel.c scratch.c filewatch.c engine.c sandbox.c worker.c zygote.c))
$(eval $(call library,scanner,scanner,admission.c body.c scans.c pool.c service.c))
$(eval $(call program,weir-scanner,scanner,main.c,scanner scanengine proto common,-lclamav -lseccomp -lzmq -lprotobuf-c -levent))
$(eval $(call unit_test,scanner_engine,scanengine common,-lclamav -lseccomp))
$(eval $(call unit_test,scanner_sandbox,scanengine common,-lseccomp))
$(eval $(call unit_test,scanner_admission,scanner scanengine common,))
$(eval $(call program,weir-scan-direct,scanner,direct.c,scanner scanengine common,-lclamav -lseccomp))
$(eval $(call unit_test,scanner_process,scanengine proto common,-lclamav -lseccomp -lzmq -lprotobuf-c -levent))
$(B)/unit/test_scanner_process: $(B)/bin/weir-scanner
