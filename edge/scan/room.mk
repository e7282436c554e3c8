$(eval $(call library,scan,edge/scan,farm.c machine.c scanners.c attempts.c))
$(eval $(call unit_test,scan_machine,scan message proto common,-lzmq -lprotobuf-c -levent))
$(eval $(call unit_test,scan_farm,scan message proto common,-lzmq -lprotobuf-c -levent))
