#ifndef WEIR_COORDINATOR_SPOOL_INTERNAL_H
#define WEIR_COORDINATOR_SPOOL_INTERNAL_H
/*
 * internal.h - what the parts of the spool know of each other
 */
#include <stdint.h>
#include "coordinator/db.h"
#include "coordinator/records.h"
#include "coordinator/rows.h"
#include "coordinator/spool/spool.h"

#define SPOOL_CONNECTIONS 4
#define SPOOL_ID_MAX   64   /* bytes of a queue id; the wire has its own, shorter limit */
#define SPOOL_TEXT_MAX 2048 /* cleaned text: replies, addresses */

/* Settings as PostgreSQL takes them. */
struct spool_words {
    char max_messages[24], max_bytes[24], warning[32], life[32], retry_min[32], retry_max[32], lease[32], per_destination[16];
    char quarantine_messages[24], quarantine_bytes[24];
};

/* Types of rows that are stored, whose OIDs each database has its own of. */
enum spool_type { SPOOL_NEW_MESSAGE, SPOOL_NEW_PART, SPOOL_NEW_RECIPIENT, SPOOL_NEW_ENTRY, SPOOL_TYPES };

struct stores;
struct leases;
struct results;
struct gauges;

struct spool {
    struct spool_options options;
    struct spool_words words;
    struct db *connections[SPOOL_CONNECTIONS]; /* borrowed from the parts */
    size_t connection_count;
    bool types_known;
    uint32_t types[SPOOL_TYPES];
    struct stores *stores;
    struct leases *leases;
    struct results *results;
    struct gauges *gauges;
};

/* A connection of the spool's own. role: "store", "spare", "result", "lease". With notified it hears NOTIFY weir_spool. */
struct db *spool_connect(struct spool *spool, const char *role, void (*up)(void *), void (*down)(void *),
                         void (*notified)(void *, const char *), void *arg);
/* Asks for the types, as what is stored needs them; each new connection does. rows: calls spool_types_take(). */
void spool_types_ask(struct db *db, db_rows_handler rows, db_done_handler done, void *arg);
void spool_types_take(struct spool *spool, const PGresult *result);
/* Whether that is why a statement failed: then they are not known any more, and to be asked for again. */
bool spool_types_are_others(struct spool *spool, const struct db_error *error);
/* A statement found no room on the database's disk: whoever made the spool is told. */
void spool_disk_full(struct spool *spool);
/* Text from the mail world, fit for PostgreSQL. Caller frees. */
char *spool_clean(const ProtobufCBinaryData *bytes);

/* --- messages on their way into a statement; also a DSN that goes with a result --- */

struct store_rows { /* attributes as in sql/0075 and 0093 */
    struct records messages, parts, recipients;
    struct text bodies;     /* all in one */
    struct records entries; /* of complete messages, each destination once */
    struct rows kept;       /* id, number, reason, score, symbols, signature, author, always: recipients whose copies are for the quarantine */
};

void store_rows_init(struct store_rows *rows);
void store_rows_fini(struct store_rows *rows);
/* false: the recipients make no sense (none, or one twice); then nothing was added. */
bool store_rows_add(struct store_rows *rows, const Weir__SpoolStore *store, const Weir__SpoolRecipients *recipients, const struct link_payload *body);
#define STORE_VALUES 9
/* In the order of spool_add()'s arguments. limits: whether spool_max_* count. Borrowed from rows and spool, whose types must be known. */
void store_rows_values(struct store_rows *rows, const struct spool *spool, bool limits,
                       struct db_value values[STORE_VALUES]);
/* "spool_add($first::bigint, ...)": caller frees. */
char *store_call(size_t first);

/* --- parts --- */

struct stores *stores_new(struct spool *spool);
void stores_ask_types(struct stores *stores); /* soon, as they are not known */
void stores_free(struct stores **stores);
struct results *results_new(struct spool *spool);
void results_go_on(struct results *results); /* the types are known */
void results_free(struct results **results);
struct leases *leases_new(struct spool *spool);
void leases_drain(struct leases *leases);
void leases_free(struct leases **leases);
struct db *leases_db(struct leases *leases); /* for what may wait a moment */
/* Something may be due now, or earlier than before: own claims look, or other coordinators hear of it. */
void leases_changed(struct leases *leases);
/* A result found no room on the database's disk: no claims for a while. */
void leases_disk_full(struct leases *leases);
struct gauges *gauges_new(struct spool *spool);
void gauges_free(struct gauges **gauges);
void gauges_expose(const struct gauges *gauges, struct exposition *exposition);
json_t *gauges_counts(const struct gauges *gauges);

#endif
