coordinator_sql := coordinator/sql/0001_base.sql coordinator/sql/0002_operators.sql

$(eval $(call library,coordinator,coordinator,text.c rows.c db.c migrate.c))
$(B)/libcoordinator.a: $(B)/generated/coordinator/migrations.o
objects += $(B)/generated/coordinator/migrations.o

$(B)/generated/coordinator/migrations.c: coordinator/embed-sql $(coordinator_sql)
	@echo "  EMBED   $@"
	@mkdir -p $(@D)
	$(Q)coordinator/embed-sql $(coordinator_sql) >$@
