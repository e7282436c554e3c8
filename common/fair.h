#ifndef WEIR_COMMON_FAIR_H
#define WEIR_COMMON_FAIR_H
/*
 * fair.h - turns among sources that want the same thing: who asks for much waits behind himself, not the others behind him
 *
 * Start-time fair queueing (Goyal, Vin, Cheng 1996) over hashed sources (stochastic fairness queueing, McKenney 1990). A line that is kept in
 * the order of turns serves its sources by turns, each by cost, whoever came first; who alone is there gets everything. Nothing is kept for a
 * source but one number of a fixed table, so any number of sources costs nothing; two that meet in it share one turn, which a secret seed keeps
 * anybody from bringing about. Pure: no clock, no heap.
 */
#include <stddef.h>
#include <stdint.h>

#define FAIR_PLACES 1024

struct fair {
    uint64_t seed, now;              /* now: the turn that was served last */
    uint64_t finish[FAIR_PLACES];    /* when the source's work would be done that has a turn already */
};

/* seed: not to be guessed by sources. */
void fair_init(struct fair *fair, uint64_t seed);
/* So many bits of an IPv4 and of an IPv6 address are a source, in the whole process: 32 and 64 until this is said. */
void fair_set_prefixes(uint64_t bits4, uint64_t bits6);
/* Whom an address counts as: its prefix; any other text as itself. Not NUL-terminated. */
uint64_t fair_source(const char *client, size_t len);
/* The network that it is of: its /24, of IPv6 its /48. Whoever has many addresses mostly has them there. */
uint64_t fair_network(const char *client, size_t len);
/* The turn of something that this source wants now and that costs so much. Of equal turns the first goes first, and a source's own follow each
 * other. Never 0. */
uint64_t fair_turn(struct fair *fair, uint64_t source, uint64_t cost);
/* Where the source stands in a table of FAIR_PLACES. */
size_t fair_place(const struct fair *fair, uint64_t source);
/* What fair_turn() would return; nothing is changed. */
uint64_t fair_next(const struct fair *fair, uint64_t source);
/* What has this turn is served: it leaves the line. */
void fair_serve(struct fair *fair, uint64_t turn);
/* It leaves the line without being served. What its source asked for last then costs it nothing; what it asked for before, its turn. */
void fair_give_back(struct fair *fair, uint64_t source, uint64_t turn, uint64_t cost);
/* What a message of so many bytes costs a scanner: each something, and its bytes. */
uint64_t fair_mail_cost(uint64_t size);

#endif
