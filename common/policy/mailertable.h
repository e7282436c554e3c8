#ifndef WEIR_COMMON_POLICY_MAILERTABLE_H
#define WEIR_COMMON_POLICY_MAILERTABLE_H
/*
 * mailertable.h - what one line of a mailertable says, in sendmail's and Postfix's spellings
 *
 *     smtp:[host]  smtp:[host]:587  smtp:[2001:db8::1]     also esmtp: and relay:
 *     smtp:domain  smtp:domain:587                         without brackets: to the domain's MX hosts
 *     error:5.1.1:550 text   error:550 5.1.1 text   error:550 text   error:nouser text   error:5.7.1 text
 *     discard:
 */
#include <stdbool.h>
#include "common/error.h"
#include "common/policy/domains.h"
#include "common/policy/policy.h"

struct mailer {
    enum route_kind kind;
    const char *host;  /* SMTP; in the parsed text, or in the spellings made */
    uint16_t port;
    bool mx;
    int code;          /* ERROR: 400..599, not 421 */
    char enhanced[12]; /* of the code's class */
    const char *text;  /* in the parsed text, or static; printable ASCII, fits into struct route */
};

/* Edits value in place; the result points into it, or into made. */
bool mailer_parse(struct mailer *out, char *value, struct domain_spellings *made, struct error *why);
/* Whether both do the same. */
bool mailer_equal(const struct mailer *a, const struct mailer *b);
/* The key in the spelling of domains.h, in place or in made: a domain, ".domain" or ".". */
bool mailertable_key_normalise(char **key, struct domain_spellings *made, struct error *why);

#endif
