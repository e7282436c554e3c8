include edge/smtp/room.mk edge/net/room.mk edge/dns/room.mk edge/message/room.mk edge/scan/room.mk edge/delivery/room.mk edge/spool/room.mk edge/verify/room.mk edge/session/room.mk
$(eval $(call program,weir-edge,edge,main.c master.c worker.c handover.c,session verify spool delivery scan message net dns smtp policy proto common,-lzmq -lprotobuf-c -lunbound -lidn2 -levent -lssl -lcrypto -lm))
