#ifndef WEIR_COORDINATOR_AUTH_AUTH_H
#define WEIR_COORDINATOR_AUTH_AUTH_H
/*
 * auth.h - whether a login and its password are right (AuthCheck)
 *
 * Accounts of the database first; a login that has none there is asked of the directory, where one is configured. What
 * fails is answered auth_failure_delay after it was asked, whatever it failed by, and an unknown login is hashed like a
 * known one: time tells nothing. Guesses are counted in the database, so the limits hold for the whole cluster.
 */
#include "common/settings.h"
#include "coordinator/auth/helpers.h"
#include "coordinator/db.h"
#include "coordinator/questions.h"

struct auth;

/* Registers for AuthCheck. settings are borrowed for its life. NULL: why says what is wrong with them. */
struct auth *auth_new(struct event_base *base, struct db *db, struct questions *questions,
                      const struct auth_settings *settings, struct metrics *metrics, struct error *why);
/* After the db and before the questions: what is under way is answered UNAVAILABLE. */
void auth_free(struct auth **auth);

/* Whether password is that of hash, by a helper process: done hears "yes" first, or what else is none; nothing when it could not be checked. NULL: it takes
 * as long, and is never right. false: too many are being checked; done is not called. */
bool auth_compare(struct auth *auth, const char *hash, const char *password, helpers_done_handler done, void *arg);
/* As whom wrong passwords of an address count: an IPv6 client has a network of its own, and is one. */
void auth_client_text(char *out, size_t cap, const char *address);

#endif
