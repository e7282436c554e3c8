$(eval $(call program,weir-fake-scanner,tests/fault,fake_scanner.c,proto common,-lzmq -lprotobuf-c -levent))
$(eval $(call program,weir-switch,tests/fault,switch.c,common,))
