#ifndef WEIR_COMMON_SPAM_ENGINE_H
#define WEIR_COMMON_SPAM_ENGINE_H
/*
 * spam_engine.h - one engine of the key spam_engines: name[*weight]
 *
 * Here and not with who asks the engines, so that every program can say what is wrong.
 */
#include <stdbool.h>
#include "common/error.h"

enum spam_engine_kind { SPAM_ENGINE_RSPAMD, SPAM_ENGINE_SPAMD, SPAM_ENGINE_NATIVE, SPAM_ENGINE_KINDS };

struct spam_engine_entry {
    enum spam_engine_kind kind;
    unsigned weight; /* 1 where none is given; up to 100. What it counts with spam_combine = mean */
};

const char *spam_engine_name(enum spam_engine_kind kind); /* "rspamd"; static */
/* false: why says what was expected. */
bool spam_engine_parse(struct spam_engine_entry *entry, const char *text, struct error *why);
/* Where an engine is, of a form that was checked: a unix socket or an address of loopback. */
bool spam_server_is_local(const char *server);

#endif
