#ifndef WEIR_COORDINATOR_SIGNATURES_STORE_H
#define WEIR_COORDINATOR_SIGNATURES_STORE_H
/*
 * store.h - what a look found goes into the database: the files that are not there yet, chunk by chunk, and then the set
 *
 * Each chunk is committed by itself, so that nothing waits behind a whole file; one that broke off goes on where it was.
 */
#include "coordinator/db.h"
#include "coordinator/signatures/look.h"

struct store;

/* how: as signature_add() says, NULL when it did not get so far (words say why). Called once, from the loop; store is gone then. */
typedef void (*store_done_handler)(void *arg, const char *how, const char *words);

/* folder: where the files are. result is copied, the rest borrowed. */
struct store *store_new(struct db *db, const char *coordinator, const char *folder, const struct look_result *result, store_done_handler done, void *arg);
/* done is not called any more; it goes with its unit of work, which the db tells of in any case. Takes NULL inside. */
void store_abandon(struct store **store);

#endif
