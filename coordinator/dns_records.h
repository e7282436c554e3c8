#ifndef WEIR_COORDINATOR_DNS_RECORDS_H
#define WEIR_COORDINATOR_DNS_RECORDS_H
/*
 * dns_records.h - the edges' addresses as records of a zone, and as an update of it that nsupdate(1) reads
 *
 * Addresses are a JSON array of texts, as the database tells them (functions/dns.sql). What is none is left out: nothing else gets into a script.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/text.h"

/* Appends "NAME. TTL IN A ADDRESS\n", or AAAA. false: it is no address, and nothing was appended. */
bool dns_record_add(struct text *out, const char *name, uint64_t ttl_s, const char *address);

struct dns_update {
    const char *server; /* an address, with or without a port */
    const char *zone, *name;
    uint64_t ttl_s;
};

/* Appends a script that gives name these addresses and no others, in one message, which the server does whole or not at all (RFC 2136, section 3). It is
 * refused where name is an alias: the server would do nothing and say that it did (3.4.2.2). false: there is no address among them: never is a name
 * left without any. */
bool dns_update_script(struct text *out, const struct dns_update *update, const json_t *addresses);

/* Appends a script that takes these addresses away from name, and leaves what others gave it. false: server is none. */
bool dns_removal_script(struct text *out, const struct dns_update *update, const json_t *addresses);

#endif
