#ifndef WEIR_QUARANTINE_DIGEST_H
#define WEIR_QUARANTINE_DIGEST_H
/*
 * digest.h - the leader tells recipients what is kept from them, and answers the commands that they sent by mail
 *
 * Who is told, and that it is once, the database says (functions/digest.sql); here the messages are made. A recipient outside of the policy's own domains is told nothing.
 */
#include "common/settings.h"
#include "coordinator/cluster.h"
#include "coordinator/db.h"

struct digest;

struct digest_options {
    struct db *db;
    const struct cluster *cluster;
    const char *name;                            /* this coordinator */
    const char *contact;
    const struct web_settings *settings;         /* all borrowed */
    const struct coordinator_settings *own;
    struct metrics *metrics;
};

struct digest *digest_new(const struct digest_options *options);
void digest_free(struct digest **digest); /* behind the db */
/* The leader's turn. */
void digest_turn(struct digest *digest);

#endif
