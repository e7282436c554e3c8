coordinator_migrations := $(patsubst %,coordinator/sql/%.sql, \
    0001_base 0002_operators 0003_identity 0004_fold 0005_drain_number 0006_revoke 0007_same_for_all \
    0008_heard_process 0009_audit_rule 0010_spool 0011_spool_lease 0012_spool_queue 0013_accounts \
    0014_spool_status 0015_audit 0016_functions 0017_guesses 0018_spool_expiry 0019_report 0020_verify 0021_speaker 0022_given 0023_policy_speed 0024_acts 0025_limits \
    0026_relay_test 0027_spelling 0028_apart 0029_routed 0030_spool_others 0031_hosts \
    0032_turns 0033_routed_newest 0034_signatures 0035_outbound 0036_dns 0037_reputation 0038_outbound_more 0039_signature_trials \
    0040_blocklist 0041_standing 0042_override 0043_relay_test_from 0044_quarantine 0045_forget_parts 0046_signature_ends 0047_dns_former 0048_spool_speed 0049_egress 0050_blocklist_known 0051_outbound_sums 0052_personal 0053_dns_former_addresses 0054_usage_slots 0055_dashboard 0057_digest 0060_outbreak 0061_hunt 0062_learn 0064_sent_sums 0066_signature_loads 0067_spool_slot 0068_personal_blocks 0069_web_links 0070_always 0075_spool_records 0076_limit_place 0077_spool_lane_slot 0082_audit_records 0085_learn_bound 0087_web_mail_hash 0088_review 0089_learn_version 0092_limit_decide 0093_spool_parts 0100_spool_warned)
# In the order in which they are applied: a view, and a function in SQL, comes after what it uses.
coordinator_functions := $(patsubst %,coordinator/sql/functions/%.sql, \
    views acts addresses cluster nodes signatures turns metrics policy spool_store spool_lease spool_result personal quarantine outbreak spool_state queue quarantine_admin web digest auth accounts audit audit_take hosts outbreak_admin override outbound reputation reputation_admin verify limits relay_test dns blocklist learn operators dashboard_login dashboard \
    before triggers)

$(eval $(call library,coordinator,coordinator,text.c spam_json.c spelling.c rows.c records.c arrays.c db.c lineage.c migrate.c exposition.c exposition_help.c cluster_view.c cluster.c \
    beats.c audit.c admin.c questions.c verify.c personal.c limits.c reputation.c service.c relay_test.c turns.c outbound.c dns_records.c nsupdate.c dns_push.c blocklist.c leader.c \
    http.c http_door.c forwarded.c coordinator_config.c \
    spool/spool.c spool/store.c spool/pace.c spool/lease.c spool/result.c spool/gauges.c quarantine/quarantine.c outbreak/outbreak.c learn/answer.c learn/learn.c coordinator.c \
    quarantine/token.c quarantine/subject.c quarantine/letter.c quarantine/digest.c))
$(eval $(call library,dashboard,coordinator/dashboard,dashboard.c login.c acts.c page.c overview.c form.c))
$(eval $(call library,auth,coordinator/auth,auth.c helpers.c packet.c passwords.c directory.c))
$(eval $(call library,signatures,coordinator/signatures,signatures.c sources.c restore.c look.c fetch.c store.c serve.c))
$(eval $(call library,probes,coordinator/probes,probes_table.c probes.c prober.c))
$(B)/libcoordinator.a: $(B)/generated/coordinator/migrations.o
objects += $(B)/generated/coordinator/migrations.o

$(B)/libdashboard.a: $(B)/generated/coordinator/dashboard_assets.o
objects += $(B)/generated/coordinator/dashboard_assets.o

dashboard_assets := $(wildcard coordinator/dashboard/assets/*)
$(B)/generated/coordinator/dashboard_assets.c: coordinator/dashboard/embed-assets $(dashboard_assets)
	@echo "  EMBED   $@"
	@mkdir -p $(@D)
	$(Q)coordinator/dashboard/embed-assets $(dashboard_assets) >$@

$(B)/generated/coordinator/migrations.c: coordinator/embed-sql coordinator/room.mk $(coordinator_migrations) $(coordinator_functions)
	@echo "  EMBED   $@"
	@mkdir -p $(@D)
	$(Q)coordinator/embed-sql $(coordinator_migrations) $(coordinator_functions) >$@

$(eval $(call program,weir-coordinator,coordinator,main.c,coordinator dashboard signatures auth probes native dns mime proto policy smtp common,\
    -lm -lpq -lzmq -lprotobuf-c -lunbound -ljansson -levent -lcrypto -lcrypt -lldap -llber -lidn2))

$(eval $(call library,web,coordinator/web,web.c visit.c pages.c rate.c mail.c mail_command.c))
$(eval $(call program,weir-web,coordinator/web,main.c,web coordinator mime net smtp proto common,\
    -lpq -lzmq -lprotobuf-c -ljansson -levent -levent_openssl -lssl -lcrypto -lidn2))

$(eval $(call library,ctl,coordinator/ctl,options.c asking.c table.c views.c request.c local.c explain.c limits.c reputation.c override.c cases.c report.c hosts.c outbound.c outbreak.c quarantine.c password.c relay_test.c \
    turns.c signatures.c dns.c blocklist.c score.c learn.c operators.c))
$(eval $(call program,weirctl,coordinator/ctl,main.c,ctl spam scanengine native mime coordinator probes proto relay smtp policy common,\
    -lzmq -lprotobuf-c -ljansson -levent -lcrypt -lidn2 -lm))

$(eval $(call unit_test,exposition,coordinator common,-ljansson))
$(eval $(call unit_test,coordinator_rows,coordinator probes smtp proto policy common,-lpq -lzmq -lprotobuf-c -ljansson -levent -lidn2))
$(eval $(call unit_test,dns_records,coordinator probes smtp proto policy common,-lpq -lzmq -lprotobuf-c -ljansson -levent -lidn2))
$(eval $(call unit_test,probes,probes smtp common,-levent -lidn2))
$(eval $(call unit_test,questions,coordinator probes smtp proto policy common,-lpq -lzmq -lprotobuf-c -ljansson -levent -lidn2))
$(eval $(call unit_test,turns,coordinator probes smtp proto policy common,-lpq -lzmq -lprotobuf-c -ljansson -levent -lidn2))
$(eval $(call unit_test,auth,auth coordinator probes smtp proto policy common,-lpq -lzmq -lprotobuf-c -levent -lcrypt -lldap -llber -lidn2))
$(eval $(call unit_test,weirctl,ctl mime coordinator probes proto relay smtp policy common,-lpq -lzmq -lprotobuf-c -ljansson -levent -lcrypt -lidn2))
# Its own database, time, processes and connections stand in for the real ones.
keys_told_own := db_begin db_query db_query_values db_commit db_is_up event_new helpers_new helpers_free prober_new prober_free cluster_policy nsupdate_start nsupdate_free quarantine_turn blocklist_look
$(eval $(call unit_test,keys_told,coordinator dashboard signatures auth probes native mime proto policy smtp common,\
    $(addprefix -Wl$(comma)--wrap=,$(keys_told_own)) -lpq -lzmq -lprotobuf-c -ljansson -levent -lcrypto -lcrypt -lldap -llber -lidn2 -lm))
$(eval $(call unit_test,dashboard,dashboard coordinator common,-ljansson))
$(eval $(call fuzz_target,form,$(addprefix coordinator/dashboard/,form.c) coordinator/text.c $(addprefix common/,utf8.c error.c memory.c log.c log_event.c queue_id.c clock.c)))
$(eval $(call fuzz_target,exposition,$(addprefix coordinator/,exposition.c exposition_help.c text.c rows.c) $(addprefix common/,metrics.c error.c memory.c log.c log_event.c queue_id.c utf8.c clock.c),-ljansson))
$(eval $(call fuzz_target,probes,$(addprefix coordinator/probes/,probes_table.c probes.c) edge/smtp/reply.c edge/smtp/text.c $(addprefix common/,netaddr.c error.c memory.c log.c log_event.c queue_id.c utf8.c clock.c)))
$(eval $(call fuzz_target,mail_command,coordinator/web/mail_command.c coordinator/quarantine/token.c $(addprefix scanner/mime/,mime.c parse.c fields.c words.c charset.c decode.c arena.c html.c) $(addprefix common/,memory.c error.c log.c log_event.c queue_id.c utf8.c),-lcrypto))
$(eval $(call unit_test,web,web coordinator mime net smtp proto common,-lpq -lzmq -lprotobuf-c -ljansson -levent -levent_openssl -lssl -lcrypto -lidn2))
