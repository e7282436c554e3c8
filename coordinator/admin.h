#ifndef WEIR_COORDINATOR_ADMIN_H
#define WEIR_COORDINATOR_ADMIN_H
/*
 * admin.h - what operators may ask: a fixed list of verbs, each one function of the database
 *
 * Arguments are parameters of the query, never part of its text. Answers are JSON made by PostgreSQL, with an exit code
 * of sysexits.h: 64 the request is not understood, 65 it names what does not exist, 69 the database is not there, 75
 * try again, 77 needs force.
 *
 * What changes something is done once for each token that its request carries (AdminRequest.act): token and answer are committed with it, and who asks
 * again, here or at another coordinator, hears that answer, until act_memory is over. Of two at once one waits for the other.
 */
#include <stddef.h>
#include "coordinator/cluster.h"
#include "coordinator/db.h"
#include "proto/files.h"
#include "proto/link.h"

struct admin;

/* Called exactly once per request, never from inside admin_ask(). body: JSON, NULL when there is none; borrowed. */
typedef void (*admin_done_handler)(void *arg, uint64_t id, unsigned status, const char *error, const char *body);

/* desk: the connection that requests go over, as they may take long; db, on which nodes wait, only where that is not up. in_flight_max: requests under way; over
 * it they are told to come again (75). policy_size: bytes of a policy's files; over it 65. */
struct admin *admin_new(struct event_base *base, struct db *db, struct db *desk, struct cluster *cluster, uint64_t node_timeout_ms,
                        size_t in_flight_max, size_t policy_size, struct metrics *metrics);
void admin_free(struct admin **admin); /* after both */
/* who: the operator's name. request and payloads are copied as far as they are needed. */
void admin_ask(struct admin *admin, const char *who, const Weir__AdminRequest *request,
               const struct link_payload *payloads, admin_done_handler done, void *arg);

#endif
