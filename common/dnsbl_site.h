#ifndef WEIR_COMMON_DNSBL_SITE_H
#define WEIR_COMMON_DNSBL_SITE_H
/*
 * dnsbl_site.h - one list of the key dnsbl, as Postfix's postscreen_dnsbl_sites has it: zone[=d.d.d.d][*weight]
 *
 * d is a number or [n;n..n;...] of them. Here and not with who asks the lists (edge/dns), so that every program can say what is wrong.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"

#define DNSBL_MAX 32       /* lists */
#define DNSBL_ZONE_MAX 192 /* in front of it come up to 64 octets: 32 nibbles with their dots */

struct dnsbl_octet {
    uint64_t set[4]; /* one bit for each value */
};

struct dnsbl_site {
    char zone[DNSBL_ZONE_MAX]; /* lower case, without a dot at its end */
    bool any;                  /* no pattern */
    struct dnsbl_octet pattern[4];
    int weight; /* 1 where none is given */
};

/* false: why says what was expected. */
bool dnsbl_site_parse(struct dnsbl_site *site, const char *text, struct error *why);

#endif
