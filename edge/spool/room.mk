$(eval $(call library,spool,edge/spool,dsn.c readers.c ahead.c store.c runner.c job.c settle.c notify.c judge.c outbreak.c))
$(eval $(call unit_test,dsn,spool smtp common,))
$(eval $(call library,spool_doubles,.,tests/unit/spool_doubles.c edge/delivery/next_hop.c edge/scan/stamp.c edge/scan/result.c edge/outbreak/outbreak.c))
$(foreach part,store runner reports,$(eval $(call unit_test,spool_$(part),spool spool_doubles bands message smtp policy proto common,-lprotobuf-c -lzmq -levent -lidn2)))
