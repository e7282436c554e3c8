$(eval $(call library,spool,edge/spool,dsn.c readers.c ahead.c store.c runner.c job.c settle.c notify.c))
$(eval $(call unit_test,dsn,spool smtp common,))
$(eval $(call library,spool_doubles,edge,delivery/next_hop.c scan/stamp.c))
$(eval $(call unit_test,spool,spool spool_doubles message smtp proto common,-lprotobuf-c -lzmq -levent -lidn2))
