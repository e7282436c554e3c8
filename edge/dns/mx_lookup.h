#ifndef WEIR_EDGE_DNS_MX_LOOKUP_H
#define WEIR_EDGE_DNS_MX_LOOKUP_H
/*
 * mx_lookup.h - asks the DNS everything that mail for a domain needs: MX, addresses, TLSA
 */
#include "edge/dns/dns.h"
#include "edge/dns/mx.h"

struct mx_query;

struct mx_options {            /* borrowed until done or cancelled */
    struct mx_self self;
    size_t host_limit;         /* mx_host_limit */
    size_t address_limit;      /* mx_address_limit */
    bool dane;                 /* TLSA records are asked for */
    struct metric *hosts_cut, *addresses_cut; /* weir_dns_mx_limited_total: counts the lookups that found more */
};

/* domain: a name, or an address (of an address literal), which is its own only candidate. done is called once, never from inside mx_lookup(), and
 * takes the plan's contents: it calls mx_plan_fini(). */
struct mx_query *mx_lookup(struct dns *dns, const char *domain, uint16_t port, const struct mx_options *options,
                           void (*done)(void *arg, struct mx_plan *taken), void *arg);
/* Before dns_free(). */
void mx_cancel(struct mx_query **query);

#endif
