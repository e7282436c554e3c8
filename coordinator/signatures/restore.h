#ifndef WEIR_COORDINATOR_SIGNATURES_RESTORE_H
#define WEIR_COORDINATOR_SIGNATURES_RESTORE_H
/*
 * restore.h - before a look: what the database has of the mirrors' files, and this coordinator has not, or older
 *
 * So that one that comes to lead asks the mirrors only what is new since, as the one before it would have. Files of the newest set that has not failed come into
 * the folder `stored` of signature_work, as HASH.NAME and with their times; the process that looks (fetch.c) proves their hashes and gives them to freshclam. One
 * chunk is in memory at a time. What does not succeed changes nothing but what the mirrors are asked for.
 */
#include "common/settings.h"
#include "coordinator/db.h"

#define RESTORE_FOLDER "stored"

struct restore;

/* failure: NULL: all is there. Called once, from the loop; restore is gone then. */
typedef void (*restore_done_handler)(void *arg, const char *failure);

/* settings and files are borrowed. files: counts those that were brought. */
struct restore *restore_new(struct db *db, const struct coordinator_settings *settings, struct metric *files, restore_done_handler done, void *arg);
/* done is not called any more; it goes with its unit of work. Takes NULL inside. */
void restore_abandon(struct restore **restore);

#endif
