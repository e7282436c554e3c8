$(eval $(call library,session,edge/session,server.c session.c commands.c transaction.c report.c outcome.c relay.c received.c census.c wheel.c edge_config.c))
