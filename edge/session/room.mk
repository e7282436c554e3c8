$(eval $(call library,session,edge/session,server.c session.c commands.c transaction.c report.c outcome.c relay.c received.c census.c wheel.c edge_config.c))
$(eval $(call library,session_doubles,tests/unit,session_doubles.c))
$(eval $(call unit_test,session,session_doubles session smtp policy message proto common,-lprotobuf-c -lzmq -levent))
$(eval $(call unit_test,session_parts,session smtp policy message common,-lprotobuf-c -levent))
