#ifndef WEIR_CTL_OPTIONS_H
#define WEIR_CTL_OPTIONS_H
/*
 * options.h - weirctl's command line: global options, then a verb of one or two words, then its own options and
 * arguments
 *
 * Options may stand anywhere. An option that the verb does not take is an error, so that --force is never taken for
 * something it is not.
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"
#include "common/netaddr.h"

#define OPTIONS_ARGS_MAX 8

enum option_flag {
    OPTION_WAIT = 1,
    OPTION_FORCE = 2,
    OPTION_TIMEOUT = 4,
    OPTION_COMMENT = 8,
    OPTION_DEFAULTS = 16,
    OPTION_CHANGED = 32,
    OPTION_LIMIT = 64,
    OPTION_NO_CONFIG = 128, /* the verb needs no -c */
    OPTION_FILTERS = 256,   /* --from, --to, --state, --older, --destination: which mail of the spool */
    OPTION_AUTH = 1024,     /* --auth: as a client that has logged in */
    OPTION_POLICY = 512,    /* --policy DIR: a folder, not what is in force */
    OPTION_SENDER = 2048,   /* --sender ADDRESS, --login LOGIN: who sends, and as whom it has logged in */
    OPTION_PROBES = 8192,   /* --domain, --outside, --from-address, --client: what relay test says, and as whom */
    OPTION_UNREGISTERED = 16384, /* --unregistered */
    OPTION_DELETE = 262144, /* --delete */
    OPTION_FORMAT = 32768,  /* --format cidr|nftables */
    OPTION_TURNS = 65536,   /* --rolling: of gc */
    OPTION_ALL = 1 << 23,   /* --all: of gc, of what can be forgotten, and of overrides */
    OPTION_SINCE = 1 << 24, /* --since AGE */
    OPTION_RETRY = 131072,  /* --retry: what failed, too */
    OPTION_DRY_RUN = 1 << 20, /* --dry-run: says what it would do */
    OPTION_NOW = 1 << 21,   /* --now: a drain that does not wait for the DNS */
    OPTION_OVERRIDE = 1 << 22, /* --expires AGE, --owner WHO: for how long an operator says so, and whom to ask; the first is needed, and so is the reason */
    OPTION_REASON = 1 << 25,   /* --reason TEXT: why */
    OPTION_QUARANTINE = 1 << 26, /* --score LEAST, --reason REASON: which copies, beside the filters */
    OPTION_WHY = 1 << 29,      /* --why TEXT: it is written down */
    OPTION_VIRUS = 1 << 27,    /* --virus: what has one, too */
    OPTION_RAW = 1 << 28,      /* --raw FILE */
    OPTION_BY = 1 << 19,       /* --by WHO: whose words */
    OPTION_LOCAL = 1 << 30,    /* --local: by this machine, not by the cluster */
    OPTION_OUTBREAK = 1u << 31, /* --block AGE: for so long; --signature NAME */
    OPTION_LISTENER = 4096, /* --listener NAME: of the configuration, whose rules hold, too */
};

enum option_filter { FILTER_FROM, FILTER_TO, FILTER_STATE, FILTER_OLDER, FILTER_DESTINATION, FILTERS };

struct verb {
    const char *name;      /* "node list" */
    const char *arguments; /* for the help: "NODE" */
    size_t min_args, max_args;
    unsigned flags; /* enum option_flag: what it takes */
    const char *help;
};

struct options {
    const char *config_path, *key_file;
    char **overrides;
    size_t override_count;
    bool json, help, version;
    bool all, rolling;
    unsigned given; /* enum option_flag */
    unsigned timeout_s, limit;
    const char *comment, *policy, *since;
    const char *block, *signature;        /* NULL: not given */
    const char *reason, *expires, *owner; /* NULL: not given */
    const char *score, *why, *raw, *by;   /* NULL: not given */
    bool virus;
    const char *sender, *login, *listener; /* NULL: not given */
    bool nftables;                         /* --format */
    const char *domain, *outside;          /* NULL: not given; else a name */
    struct netaddr from_address, client;   /* no family: not given */
    const char *filters[FILTERS]; /* NULL: not given */
    const struct verb *verb;
    const char *args[OPTIONS_ARGS_MAX];
    size_t arg_count;
};

extern const struct verb options_verbs[]; /* ends with name NULL */

/* The verb with all that may stand behind it. The caller frees it. */
char *options_usage(const struct verb *verb);

/* false: why says what is wrong and what would be right (exit status EX_USAGE). Strings are borrowed from argv. */
bool options_parse(struct options *options, int argc, char *const *argv, struct error *why);
void options_clear(struct options *options);

#endif
