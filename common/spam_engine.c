/* spam_engine.c - see spam_engine.h */
#include "common/spam_engine.h"
#include <stdlib.h>
#include <string.h>
#include "common/netaddr.h"

const char *spam_engine_name(enum spam_engine_kind kind)
{
    static const char *const names[SPAM_ENGINE_KINDS] = { [SPAM_ENGINE_RSPAMD] = "rspamd", [SPAM_ENGINE_SPAMD] = "spamd", [SPAM_ENGINE_NATIVE] = "native" };
    return names[kind];
}

bool spam_engine_parse(struct spam_engine_entry *entry, const char *text, struct error *why)
{
    size_t len = strcspn(text, "*");
    size_t digits = text[len] == '*' ? strspn(text + len + 1, "0123456789") : 0;
    *entry = (struct spam_engine_entry){ .kind = SPAM_ENGINE_KINDS, .weight = 1 };
    for (int kind = 0; kind < SPAM_ENGINE_KINDS; kind++)
        if (strlen(spam_engine_name((enum spam_engine_kind)kind)) == len && strncmp(spam_engine_name((enum spam_engine_kind)kind), text, len) == 0)
            entry->kind = (enum spam_engine_kind)kind;
    if (text[len] == '*')
        entry->weight = digits > 0 && digits <= 3 && text[len + 1 + digits] == '\0' ? (unsigned)strtoul(text + len + 1, NULL, 10) : 0;
    if (entry->kind != SPAM_ENGINE_KINDS && entry->weight >= 1 && entry->weight <= 100)
        return true;
    error_set(why, "expected an engine, rspamd, spamd or native, perhaps with a weight from 1 to 100, as rspamd*2");
    return false;
}

bool spam_server_is_local(const char *server)
{
    struct netaddr address;
    struct error why;
    static const uint8_t loopback6[16] = { [15] = 1 };
    if (strncmp(server, "unix:", 5) == 0 || *server == '/')
        return true;
    return netaddr_parse_endpoint(&address, server, &why) &&
           (address.family == AF_INET ? address.bytes[0] == 127 : memcmp(address.bytes, loopback6, sizeof loopback6) == 0);
}
