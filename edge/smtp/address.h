#ifndef WEIR_EDGE_SMTP_ADDRESS_H
#define WEIR_EDGE_SMTP_ADDRESS_H
/*
 * address.h - one meaning for every spelling of a mailbox (RFC 5321 4.1.2, 4.1.3, 6531)
 *
 * A path is parsed into its canonical form first, and every decision is made on that form. Source routes are dropped (RFC 5321
 * appendix C: the final mailbox counts). Quoted local parts are unquoted and compared unquoted; a quoted string that need not be
 * quoted has the same meaning as the plain form. Domains are lower-cased, one trailing dot goes. A local part that itself asks for
 * routing (percent hack, bang path, an @ inside) is kept, and `reroute` says where a lenient host would send it. Refused because hosts
 * differ about them: a domain whose last label is a number ("10.1", "0x7f.1": inet_aton reads addresses), and what is no
 * internationalized domain (common/idn.h), as one with the full stops of other scripts or with characters that nobody sees. An internationalized
 * domain keeps its spelling; whoever compares it does so in ASCII.
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/netaddr.h"

/* Octets after unquoting. RFC 5321 4.5.3.1.1 says 64 and, in 4.5.3.1, to impose no limit where possible: VERP and bounce addresses of large
 * senders are longer. */
#define SMTP_LOCAL_MAX 255
#define SMTP_DOMAIN_MAX 255
#define SMTP_ADDRESS_MAX (2 * SMTP_LOCAL_MAX + 2 + 1 + SMTP_DOMAIN_MAX + 1)

enum smtp_address_kind {
    SMTP_ADDRESS_NULL,       /* <> */
    SMTP_ADDRESS_POSTMASTER, /* <postmaster>, without a domain, any case */
    SMTP_ADDRESS_MAILBOX,    /* local@domain */
    SMTP_ADDRESS_LITERAL,    /* local@[192.0.2.1], local@[IPv6:...] */
};

struct smtp_address {
    enum smtp_address_kind kind;
    char local[SMTP_LOCAL_MAX + 1];   /* unquoted; no NUL inside (refused) */
    char domain[SMTP_DOMAIN_MAX + 1]; /* lower case, no trailing dot; "" for NULL and POSTMASTER; as "[...]" text for LITERAL */
    struct netaddr literal;           /* LITERAL of a known kind, else family 0 */
    bool utf8;                        /* local part or domain has non-ASCII: needs SMTPUTF8 */
    /* What a host that honours old routing would make of the local part: the domain it would relay to. "" when it asks for none.
     * user%ext@here: "ext"; ext!user@here: "ext"; "user@ext"@here: "ext"; nested: the next one it would use. Lower case, without a trailing
     * dot, not checked to be a domain. Old hosts differ about nested and mixed forms, so a decision against open relaying asks only whether
     * it is empty. */
    char reroute[SMTP_DOMAIN_MAX + 1];
};

enum smtp_address_error {
    SMTP_ADDRESS_OK,
    SMTP_ADDRESS_SYNTAX,     /* 501 5.1.3 (recipient) or 5.1.7 (sender) */
    SMTP_ADDRESS_TOO_LONG,
    SMTP_ADDRESS_NEEDS_UTF8, /* non-ASCII without SMTPUTF8: 553 5.6.7 */
};

/* Parses "<...>" at the start of text. Sets *used to the bytes up to and with ">" (with an error other than NEEDS_UTF8 and TOO_LONG: where it
 * was found). utf8: SMTPUTF8 was given on MAIL. With an error *out is not to be used, except with NEEDS_UTF8. */
enum smtp_address_error smtp_path_parse(struct smtp_address *out, const char *text, size_t len, bool utf8, size_t *used);
/* Parses a bare "local@domain", as found in files and configuration. */
enum smtp_address_error smtp_mailbox_parse(struct smtp_address *out, const char *text, size_t len, bool utf8);
/* Writes the canonical form without angle brackets ("" for NULL), quoting the local part only where needed. Returns out. */
char *smtp_address_format(const struct smtp_address *address, char out[SMTP_ADDRESS_MAX]);
/* A domain as in an address: labels of letters, digits, hyphens inside, underscores (no host name, but in use), UTF-8 that IDNA takes if asked for, at most 63
 * octets each in ASCII; one trailing dot goes. Lower-cased copy in out, "" when it is none. */
bool smtp_domain_parse(char out[SMTP_DOMAIN_MAX + 1], const char *text, size_t len, bool utf8);

#endif
