$(eval $(call library,scan,edge/scan,farm.c machine.c answers.c scanners.c attempts.c series.c stamp.c result.c))
$(eval $(call unit_test,scan_machine,scan message proto common,-lzmq -lprotobuf-c -levent))
$(eval $(call unit_test,scan_farm,scan message proto common,-lzmq -lprotobuf-c -levent))
$(eval $(call fuzz_target,scan_machine,edge/scan/machine.c edge/scan/answers.c edge/scan/scanners.c edge/scan/attempts.c edge/scan/series.c edge/scan/result.c edge/message/message.c \
    proto/wire.c proto/wire_rules.c common/error.c common/memory.c common/log.c common/log_event.c common/clock.c common/metrics.c common/fair.c common/netaddr.c common/queue_id.c common/utf8.c \
    $(B)/generated/proto/weir.pb-c.c,-lprotobuf-c))
