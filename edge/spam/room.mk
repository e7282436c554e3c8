$(eval $(call library,bands,edge/spam,bands.c fields.c edit.c author.c dress.c told.c personal.c))
$(eval $(call unit_test,spam,bands spam scan message smtp policy proto common,-lprotobuf-c -ljansson -levent -lidn2 -lm))
