#ifndef WEIR_COMMON_CONFIG_H
#define WEIR_COMMON_CONFIG_H
/*
 * config.h - the grammar of weir.conf, and tables that say which keys there are
 *
 *     # comment
 *     max_message_size = 50MiB            before any section: holds in every section that knows the key and does not set it
 *     [edge]                              a section; [listener "relay"] a named one, as many as wanted
 *     listen = 192.0.2.1:25, [2001:db8::1]:25
 *     include conf.d/[a-z]*.conf          relative to this file; a pattern may match nothing, a plain name must exist
 *
 * '#' starts a comment at the start of a line or behind white space. A value may stand in double quotes as a whole ("a # b"; \" and \\
 * stand for themselves); white space around it goes. An included file begins outside of any section, and afterwards the including file is
 * where it was. A section's header may come again; its keys add up, and a key set twice is an error. A key that is of another kind in
 * another section (listen) cannot stand before any section.
 *
 * One grammar and one set of tables (settings.h) for all roles, so one file may serve a whole cluster. A key that no table knows is
 * an error with file, line and the nearest key. An override ("key=value", "section.key=value" or
 * "section.name.key=value", from --set) wins over the file; "key" alone goes to every section that knows it, and it is an error when none
 * does. A value stays as text plus where it came from, so that `config show` can say so; config_fill() converts.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

enum config_type {
    CONFIG_STRING,   /* char *               */
    CONFIG_BOOL,     /* bool: on/off yes/no true/false 1/0 */
    CONFIG_UINT,     /* uint64_t             */
    CONFIG_SIZE,     /* uint64_t bytes: 50MiB, 64KiB, 1GiB, 512, 10MB (10^6) */
    CONFIG_DURATION, /* uint64_t milliseconds: 250ms, 5s, 10m, 2h, 14d; a bare number is seconds */
    CONFIG_LIST,     /* struct config_list: split at commas, white space around items goes */
    CONFIG_ENDPOINTS,/* struct config_list of IP addresses with ports (netaddr_parse_endpoint), at least one */
    CONFIG_NETWORKS, /* struct config_list of addresses and networks (netaddr_prefix_parse), or empty */
    CONFIG_ENUM,     /* int: position in `choices` ("reject|discard|quarantine") */
};

#define CONFIG_NAME_MAX 63 /* bytes of a section's name: nodes tell each other of listeners and egress pools by it (proto/wire.h) */

struct config_list {
    char **items; /* owned */
    size_t count;
};

struct config_key {
    const char *name;
    enum config_type type;
    size_t offset;       /* in the section's struct */
    const char *value;   /* the default, as text; NULL: must be set where the section is used (config_fill fails) */
    const char *choices; /* CONFIG_ENUM only */
    uint64_t min, max;   /* UINT, SIZE, DURATION; max 0: no limit */
    const char *help;    /* one line: shown by `config show --defaults` */
    /* STRING and each item of a LIST; NULL: anything (config_form.h). Nothing at all is as good as the default when that is nothing. */
    bool (*form)(const char *text, struct error *why);
};

struct config_section {
    const char *name;
    bool named;                     /* [name "instance"] */
    size_t size;                    /* of the struct */
    const struct config_key *keys;  /* ends with name == NULL */
};

struct config;

/* Reads path (NULL: no file, defaults only). tables ends with name == NULL. overrides: count strings "key=value".
 * On error NULL, and why says "FILE:LINE: error: ...". Unknown keys, duplicate keys in one section and bad values are errors here. */
struct config *config_load(const char *path, const struct config_section *tables, char *const *overrides, size_t count,
                           struct error *why);
void config_free(struct config **config);

/* Fills a zeroed struct of the section (instance NULL for an unnamed one; a section absent from the file gives the defaults).
 * Strings and lists are owned by the struct: config_clear() frees them. false: a key without default is not set (why names it). */
bool config_fill(const struct config *config, const char *section, const char *instance, void *out, struct error *why);
void config_clear(const struct config_section *table, void *filled);

/* Where a key's effective value comes from: "FILE:LINE", or "--set"; where its section begins when it has its default, or the file when that
 * has no such section. Borrowed. */
const char *config_origin(const struct config *config, const char *section, const char *instance, const char *key);

/* Sets why to "FILE:LINE: error: [SECTION "INSTANCE"] KEY: ..." with config_origin(): for what is found wrong after loading. */
void config_blame(const struct config *config, const char *section, const char *instance, const char *key, struct error *why,
                  const char *format, ...) __attribute__((format(printf, 6, 7)));

/* Instances of a named section, in file order; NULL past the end. Borrowed. */
const char *config_instance(const struct config *config, const char *section, size_t index);

/* Calls visit for every effective key: origin is "FILE:LINE", "--set", "default", or "not set" (with value "") for a
 * key without default. For `config show`. */
void config_visit(const struct config *config,
                  void (*visit)(void *arg, const char *section, const char *instance, const struct config_key *key,
                                const char *value, const char *origin),
                  void *arg);

/* "50MiB", "512", "10MB": a size as the files write it. */
bool config_parse_size(const char *text, uint64_t *bytes);
/* The same of a duration, whose unit is needed: ms, s, m, h or d. */
bool config_parse_duration(const char *text, uint64_t *ms);
/* The nearest of the tables' key names to a misspelt one, or NULL; used for the suggestion in errors. */
const char *config_nearest_key(const struct config_section *tables, const char *name);

#endif
