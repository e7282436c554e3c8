#ifndef WEIR_COMMON_POLICY_NETWORKS_H
#define WEIR_COMMON_POLICY_NETWORKS_H
/*
 * networks.h - the inside networks: a set of prefixes with exclusions and names, asked for the longest match
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"
#include "common/policy/prefixes.h"

struct network {
    struct netaddr_prefix prefix;
    const char *name; /* in the text; NULL: none */
    bool excluded;    /* "!" */
    unsigned line;
};

struct networks {
    struct network *rules;
    size_t count, room;
    struct prefixes prefixes; /* to the index of a rule */
};

/* All zeros is the empty set: add rules, then finish once, then ask. */
void networks_fini(struct networks *networks);
/* One line of the file, edited in place: "192.0.2.0/24", "192.0.2.64/26 printers", "!2001:db8:7::/48 guests". */
bool networks_add(struct networks *networks, char *text, unsigned line, struct error *why);
/* false: two lines contradict each other; *line is the later one. */
bool networks_finish(struct networks *networks, unsigned *line, struct error *why);
/* true: what cannot be meant: so large that it is nobody's, or one network with two names; as with networks_finish(). */
bool networks_doubt(const struct networks *networks, unsigned *line, struct error *why);
/* The rule that decides, or NULL. */
const struct network *networks_find(const struct networks *networks, const struct netaddr *address);

#endif
