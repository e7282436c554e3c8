include scanner/spam/room.mk
$(eval $(call library,scanengine,scanner,channel.c scratch.c filewatch.c engine.c hugepages.c sandbox.c worker.c worker_native.c attachments.c findings.c zygote.c))
$(eval $(call library,scanner,scanner,admission.c body.c scans.c pool.c pool_generation.c pool_worker.c pool_use.c service.c signatures.c learned.c))
$(eval $(call program,weir-scanner,scanner,main.c,scanner spam scanengine native mime proto common,-lclamav -lseccomp -lzmq -lprotobuf-c -levent -lcrypto -ljansson -lidn2 -lm))
$(eval $(call unit_test,scanner_engine,scanengine native mime common,-lclamav -lseccomp -lcrypto -lidn2))
$(eval $(call unit_test,scanner_sandbox,scanengine common,-lseccomp))
$(eval $(call unit_test,scanner_hugepages,scanengine common,))
$(eval $(call unit_test,scanner_admission,scanner scanengine common,))
$(eval $(call unit_test,scanner_keys,scanner spam scanengine native mime proto common,\
    $(addprefix -Wl$(comma)--wrap=,spam_client_new spam_client_free spam_client_ask) -lclamav -lseccomp -lzmq -lprotobuf-c -levent -lcrypto -ljansson -lidn2 -lm))
$(eval $(call program,weir-scan-direct,scanner,direct.c,scanner scanengine native mime common,-lclamav -lseccomp -lcrypto -lidn2))
$(eval $(call unit_test,scanner_process,scanengine native mime proto common,-lclamav -lseccomp -lcrypto -lzmq -lprotobuf-c -levent -lidn2))
$(B)/unit/test_scanner_process: $(B)/bin/weir-scanner
$(eval $(call unit_test,attachments,scanengine native mime common,-lcrypto -lidn2))
