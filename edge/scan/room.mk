$(eval $(call library,scan,edge/scan,farm.c scan.c))
