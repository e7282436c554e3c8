#ifndef WEIR_COORDINATOR_COORDINATOR_H
#define WEIR_COORDINATOR_COORDINATOR_H
/*
 * coordinator.h - one weir-coordinator process: its configuration, and running it until TERM
 */
#include <stddef.h>
#include "common/command.h"
#include "common/settings.h"
#include "proto/curve.h"

#define STOP_TIMEOUT_MS 3000 /* at TERM: for reports and questions in flight */

struct coordinator_config {
    struct config *source; /* where the values come from, for errors that are found later */
    struct cluster_settings cluster;
    struct coordinator_settings own;
    struct auth_settings auth;
    struct dns_settings dns;
    struct web_settings web; /* digests */
    struct log_settings log;
    char *conninfo; /* from database, or from the file database_file names */
};

/* false: why says what is wrong, with file and line where there is one. What was filled is cleared. */
bool coordinator_config_load(struct coordinator_config *config, const struct command *command,
                             struct error *why);
void coordinator_config_clear(struct coordinator_config *config);
/* Whether the other files that [auth], [dns] and [log] name can be had; what is missing stops no coordinator, but its -t. */
bool coordinator_config_files(const struct coordinator_config *config, struct error *why);
/* The key pair of key_file, which must be the one that [coordinator "NAME"] tells everybody. */
bool coordinator_config_keys(const struct coordinator_config *config, const char *name, struct curve_keypair *pair,
                             struct error *why);

/* Runs until TERM or INT; returns the exit status. config is the caller's. */
int coordinator_run(const struct command *command, const struct coordinator_config *config);

#endif
