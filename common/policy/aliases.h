#ifndef WEIR_COMMON_POLICY_ALIASES_H
#define WEIR_COMMON_POLICY_ALIASES_H
/*
 * aliases.h - whom the local parts of own domains stand for, as aliases(5) has it
 *
 *     sysadm: sysadm@forth.example.edu            "name with blanks": carl, "d e"@example.edu, \frank
 *     staff:  :include:staff-members              another file of the policy's folder, an address or several on each line
 *
 * Names are compared without regard to case. A target without a domain is another alias, or that name in the recipient's domain; with an own domain it is
 * looked up again, too; \name is looked up no more, nor is the alias's own name. With delimiters, name+tag is that alias, or else the alias name, and the tag is dropped. Loops, and expansions that are too deep or too large, are faults of the files. Programs and
 * files as targets are refused: nothing is delivered on an edge.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "common/policy/domains.h"

#define ALIAS_LOCAL_MAX   64   /* bytes of a local part (RFC 5321 4.5.3.1.1) */
#define ALIAS_DEPTH_MAX   10   /* aliases that lead to aliases */
#define ALIAS_INCLUDE     ":include:"
#define ALIAS_TARGETS_MAX 1000 /* addresses that one name may stand for */

struct alias_target {
    const char *local;   /* unquoted; NULL: the included file `include` */
    const char *domain;  /* NULL: the recipient's */
    uint32_t include;
    unsigned line;
    bool final;          /* \name */
};

struct alias {
    const char *name; /* unquoted, lower case */
    uint32_t first, count; /* targets */
    unsigned line;
    uint32_t total; /* addresses it stands for; set by aliases_check() */
    uint8_t depth, visit;
};

struct alias_include {
    const char *name;
    unsigned line;         /* of aliases, where it is asked for first */
    uint32_t first, count; /* targets, when it was read */
};

struct aliases {
    struct alias *rules;
    struct alias_target *targets;
    struct alias_include *includes;
    size_t count, room, target_count, target_room, include_count, include_room;
    struct domains names;
    struct domain_spellings made;
    const char *delimiters; /* of tags; borrowed; NULL: none */
};

/* All zeros has no aliases: add rules, read the includes, then check, then ask. */
void aliases_fini(struct aliases *aliases);
/* One line of the file, edited in place. */
bool aliases_add(struct aliases *aliases, char *text, unsigned line, struct error *why);
/* One line of includes[which]. Its lines come one after the other, no other file's between them. */
bool aliases_add_included(struct aliases *aliases, size_t which, char *text, unsigned line, struct error *why);
/* The line of the file recipient_delimiter, which says what tags begin with, as Postfix's parameter of that name; kept. */
bool aliases_set_delimiters(struct aliases *aliases, const char *text, struct error *why);
/* own: the domains whose local parts these are. false: a loop or too much; *line is the alias's. */
bool aliases_check(struct aliases *aliases, const struct domains *own, unsigned *line, struct error *why);

/* Gives every address that name in domain (a key of own) stands for, some perhaps twice; text borrowed from the aliases, or that key. Returns the
 * alias's line; 0: there is no such alias. */
typedef void (*alias_handler)(void *arg, const char *local, const char *domain);
unsigned aliases_expand(const struct aliases *aliases, const struct domains *own, const char *name, const char *domain, alias_handler each,
                        void *arg);
/* What the alias is called that a name means: the same in lower case, or the name without its tag. Borrowed; NULL: there is no such alias. */
const char *aliases_name(const struct aliases *aliases, const char *name);

#endif
