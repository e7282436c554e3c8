$(eval $(call library,scan,edge/scan,farm.c machine.c scanners.c attempts.c))
