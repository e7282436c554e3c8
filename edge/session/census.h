#ifndef WEIR_EDGE_SESSION_CENSUS_H
#define WEIR_EDGE_SESSION_CENSUS_H
/*
 * census.h - how many sessions this edge has, in all and per client, counted over all its workers; and whether each of these lives
 *
 * A page of memory that the master shares with its workers. Each worker writes only its own row (no locks) and reads the others'; the row
 * of a worker that died is emptied when its successor begins. Clients are counted in a count-min sketch of four rows, with hashes
 * that nobody outside can foresee: a collision can make a client's count too high, by sharing all four cells with others, never too low.
 */
#include <stdbool.h>
#include "common/netaddr.h"

struct census; /* the shared page */

struct census *census_new(unsigned workers); /* before the workers are forked */
void census_free(struct census **census);
void census_begin(struct census *census, unsigned worker); /* empties this worker's row */
/* Messages that a next hop was given and whose client has no answer yet. Should the worker die now, the clients send them again, and where the
 * next hop had taken one, a second copy arrives. */
void census_hand_over(struct census *census, unsigned worker);
void census_answered(struct census *census, unsigned worker, uint32_t messages);
/* IPv6 clients are counted by their /64, which is one customer. */
void census_enter(struct census *census, unsigned worker, const struct netaddr *client);
void census_leave(struct census *census, unsigned worker, const struct netaddr *client);
/* A worker says that its loop turns; one whose ticks stay the same hangs. */
void census_tick(struct census *census, unsigned worker);
uint32_t census_ticks(const struct census *census, unsigned worker);
/* It says that it has no clients any more and writes down what is left, however long its disk takes: its silence means nothing. */
void census_say_last(struct census *census, unsigned worker);
bool census_says_last(const struct census *census, unsigned worker);
/* The master has no metrics of its own: it notes how a worker ended, and the successor counts what is noted there, once. */
enum census_end { CENSUS_DIED, CENSUS_HUNG, CENSUS_ENDS };
void census_note_end(struct census *census, unsigned worker, enum census_end end);
uint32_t census_take_ends(struct census *census, unsigned worker, enum census_end end);
/* The same for messages handed over and never answered; to be noted before the row is emptied. How many they were. */
uint32_t census_note_orphans(struct census *census, unsigned worker);
uint32_t census_take_orphans(struct census *census, unsigned worker);
unsigned census_sessions(const struct census *census);                                  /* of all workers */
unsigned census_of_client(const struct census *census, const struct netaddr *client); /* of all workers */

#endif
