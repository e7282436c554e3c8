#ifndef WEIR_EDGE_DNS_MX_H
#define WEIR_EDGE_DNS_MX_H
/*
 * mx.h - which addresses mail for a domain goes to, in which order (RFC 5321 5.1)
 *
 * The pure part: what the DNS said comes in, a list of candidates comes out. The questions are asked by mx_lookup.c. Chance is passed in,
 * so that a test can say what it is.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/settings.h"
#include "edge/dns/dns.h"
#include "edge/dns/packet.h"

#define MX_RECORDS_MAX 200 /* of one domain; no honest answer has as many */
#define MX_TLSA_MAX 16     /* of one host */

enum mx_status {
    MX_OK,
    MX_NO_DOMAIN,  /* it does not exist: 550 5.1.2 */
    MX_NO_ADDRESS, /* neither MX nor address, or none of its hosts has one: 550 5.4.4 */
    MX_NULL,       /* it says that it takes no mail (RFC 7505): 556 5.1.10 */
    MX_LOOP,       /* we are its best host ourselves: 554 5.4.6 */
    MX_FAILED,     /* the DNS does not say: 451 4.4.3 */
};

enum mx_dane {
    MX_DANE_NONE,
    MX_DANE_ENCRYPT, /* there are TLSA records and none is usable: TLS, to whomever (RFC 7672 2.2) */
    MX_DANE_VERIFY,  /* TLS, and the certificate must be as they say */
};

struct mx_host {
    char name[DNS_NAME_MAX];
    uint16_t preference;
    enum dns_status status;      /* of its addresses */
    struct netaddr *addresses;   /* owned; port 0 */
    size_t address_count;
    bool secure;                 /* DNSSEC vouches for the addresses */
    enum mx_dane dane;
    char tlsa_base[DNS_NAME_MAX]; /* the name the TLSA records were found at, without port and protocol */
    uint8_t *tlsa_packet;        /* owned; tlsa points into it */
    struct dns_tlsa tlsa[MX_TLSA_MAX]; /* usable ones */
    size_t tlsa_count;
};

struct mx_candidate {
    const struct mx_host *host;
    struct netaddr address;      /* with port */
};

struct mx_plan {
    enum mx_status status;
    char domain[DNS_NAME_MAX];   /* as the DNS knows it: ASCII */
    char expanded[DNS_NAME_MAX]; /* secure only: where CNAMEs of the domain led, "" where it has none */
    bool secure;                 /* DNSSEC vouches for the MX records, or that there are none */
    bool implicit;               /* no MX records: the domain is its own host */
    struct mx_host *hosts;       /* by preference */
    size_t host_count;
    struct mx_candidate *candidates; /* MX_OK: at least one, in the order they are to be tried */
    size_t candidate_count;
};

/* What we are ourselves; all borrowed. */
struct mx_self {
    const char *hostname;
    const struct config_list *names;   /* own_names; may be NULL */
    const struct netaddr *addresses;   /* where our listeners are, with ports */
    size_t address_count;
};

/* A number from 0 to below - 1. */
typedef uint32_t mx_random(void *arg, uint32_t below);

/* By preference; equal ones in any order, each as likely. */
void mx_sort(struct dns_mx *records, size_t count, mx_random *random, void *arg);
/* Sorted records: drops those that are no hosts, and everything that is not better than ourselves by name (RFC 5321 5.1: else two hosts of a
 * domain would send its mail to each other). MX_OK: *count are left, at least one. */
enum mx_status mx_keep_usable(struct dns_mx *records, size_t *count, const struct mx_self *self);
/* Hosts with their addresses: makes the candidates and the status. At most `limit` candidates; *more: there were others. The addresses of a host come in
 * any order, IPv6 and IPv4 in turn, so that one kind that does not work costs one attempt each. */
void mx_plan_finish(struct mx_plan *plan, const struct mx_self *self, uint16_t port, size_t limit, bool *more, mx_random *random,
                    void *arg);
/* A connection to it, with its port, would come to one of our listeners. */
bool mx_is_own_address(const struct mx_self *self, const struct netaddr *address);
/* Where the TLSA records of a host are (RFC 7672 2.2.2, RFC 7671 7). */
enum mx_tlsa {
    MX_TLSA_NOWHERE,         /* nobody vouches for its addresses: there are none */
    MX_TLSA_ASK_ALIAS,       /* its name is an alias that leads out of what is signed: at the name, if DNSSEC vouches for that first CNAME itself */
    MX_TLSA_NAME,            /* at its name */
    MX_TLSA_CANONICAL,       /* where its CNAMEs lead, which are all secure, and when there are none, at its name */
};
/* secure: of the addresses, so of all CNAMEs before them. canonical: whose the addresses are; "" when that is no host's name, so not this one's: who forges what
 * is not signed must not have the signed CNAME before it overlooked by that. */
enum mx_tlsa mx_tlsa_place(bool secure, const char *name, const char *canonical);
/* Empties it. */
void mx_plan_fini(struct mx_plan *plan);
/* For people: a line for each candidate, "10 mx.example.edu[192.0.2.1]:25 dane". Returns the length, cut at cap - 1. */
size_t mx_plan_format(char *out, size_t cap, const struct mx_plan *plan);

#endif
