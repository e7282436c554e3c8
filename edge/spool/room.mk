$(eval $(call library,spool,edge/spool,dsn.c store.c runner.c job.c settle.c notify.c))
$(eval $(call unit_test,dsn,spool smtp common,))
