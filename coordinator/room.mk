coordinator_sql := coordinator/sql/0001_base.sql coordinator/sql/0002_operators.sql coordinator/sql/0003_identity.sql \
    coordinator/sql/0004_fold.sql coordinator/sql/0005_drain_number.sql \
    coordinator/sql/0006_revoke.sql coordinator/sql/0007_same_for_all.sql \
    coordinator/sql/0008_heard_process.sql coordinator/sql/0009_audit_rule.sql \
    coordinator/sql/0010_spool.sql coordinator/sql/0011_spool_lease.sql coordinator/sql/0012_spool_queue.sql \
    coordinator/sql/0013_accounts.sql \
    coordinator/sql/0014_spool_status.sql \
    coordinator/sql/0015_guesses.sql coordinator/sql/0016_spool_batches.sql \
    coordinator/sql/0017_policy_digest.sql coordinator/sql/0018_report.sql \
    coordinator/sql/0019_spool_expiry.sql coordinator/sql/0020_verify.sql \
    coordinator/sql/0021_audit_login.sql coordinator/sql/0022_auth_known.sql

$(eval $(call library,coordinator,coordinator,text.c rows.c db.c migrate.c exposition.c exposition_help.c cluster_view.c cluster.c \
    beats.c audit.c admin.c questions.c verify.c service.c leader.c \
    http.c coordinator_config.c \
    spool/array.c spool/spool.c spool/store.c spool/lease.c spool/result.c spool/gauges.c coordinator.c))
$(eval $(call library,auth,coordinator/auth,auth.c helpers.c packet.c passwords.c directory.c))
$(B)/libcoordinator.a: $(B)/generated/coordinator/migrations.o
objects += $(B)/generated/coordinator/migrations.o

$(B)/generated/coordinator/migrations.c: coordinator/embed-sql $(coordinator_sql)
	@echo "  EMBED   $@"
	@mkdir -p $(@D)
	$(Q)coordinator/embed-sql $(coordinator_sql) >$@

$(eval $(call program,weir-coordinator,coordinator,main.c,coordinator auth proto policy common,\
    -lpq -lzmq -lprotobuf-c -ljansson -levent -lcrypt -lldap -llber))

$(eval $(call library,ctl,coordinator/ctl,options.c table.c views.c request.c local.c explain.c cases.c report.c password.c))
$(eval $(call program,weirctl,coordinator/ctl,main.c,ctl coordinator proto relay smtp policy common,\
    -lzmq -lprotobuf-c -ljansson -levent -lcrypt))

$(eval $(call unit_test,exposition,coordinator common,-ljansson))
$(eval $(call unit_test,coordinator_rows,coordinator proto policy common,-lpq -lzmq -lprotobuf-c -ljansson -levent))
$(eval $(call unit_test,questions,coordinator proto common,-lpq -lzmq -lprotobuf-c -ljansson -levent))
$(eval $(call unit_test,auth,auth coordinator proto policy common,-lpq -lzmq -lprotobuf-c -levent -lcrypt -lldap -llber))
$(eval $(call unit_test,weirctl,ctl coordinator proto relay smtp policy common,-lpq -lzmq -lprotobuf-c -ljansson -levent -lcrypt))
$(eval $(call fuzz_target,exposition,$(addprefix coordinator/,exposition.c exposition_help.c text.c rows.c) $(addprefix common/,metrics.c error.c memory.c log.c log_event.c queue_id.c utf8.c clock.c),-ljansson))
