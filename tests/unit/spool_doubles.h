#ifndef WEIR_TESTS_UNIT_SPOOL_DOUBLES_H
#define WEIR_TESTS_UNIT_SPOOL_DOUBLES_H
/*
 * spool_doubles.h - stand-ins for what the spool's part of an edge talks to: coordinator, scanner farm, next hop and clock
 *
 * They are linked in place of proto/node, edge/scan and edge/delivery, so that a test plays all of them. One scan and one delivery at a time are enough.
 */
#include <check.h>
#include <string.h>
#include "edge/spool/runner.h"
#include "edge/spool/store.h"
#include "tests/unit/suite.h"

#define ID "06GZYZYCR1PM1BG2PG4M" /* of every message */
#define ASKED_MAX 400

struct node_question {
    Weir__Question *question; /* own copy */
    char *payloads[3];
    size_t lens[3], count;
    node_answer_handler answer;
    void *arg;
};

struct delivery {
    const struct delivery_handlers *handlers;
    void *arg;
    unsigned asked;
    bool sent;
    uint64_t deadline;
    char prefix[1024], sender[64];
};

struct scan {
    const struct scan_handlers *handlers;
    void *arg;
    const struct message *message;
    bool with_spam; /* engines are to be asked */
};

struct spool_doubles {
    uint64_t now;
    bool disconnected, no_room, farm_dead, dot_sent, takes_dsn, unreachable, silent, unasked;
    struct node_question *asked[ASKED_MAX];
    struct delivery *delivery;
    struct scan *scan;
    unsigned deliveries, idle, viruses;
    enum spool_stored stored;
    bool late; /* it ended with the last chunk asked for, and not refused */
    unsigned answers;
    uint32_t *let_in; /* what SpoolStored tells of */
    size_t let_in_count;
};
extern struct spool_doubles doubles;

/* What stores and runners are made with. */
extern struct event_base *base;
extern struct message_budget budget;
extern struct spool_ahead ahead;

/* Fixture: everything anew; and nothing is left under way. */
void setup(void);
void teardown(void);
/* Moves the clock, and the loop turns. Its timers run in real time: the shortest is 100 ms. */
void turn(uint64_t ms);

/* ---- coordinator ---- */

/* The question of this kind that is under way; NULL: none. */
struct node_question *asked(Weir__Question__BodyCase kind);
/* How many are under way. */
size_t asked_count(Weir__Question__BodyCase kind);
/* Of a fetch or a chunk. */
uint64_t offset_of(const struct node_question *question);
/* The one that begins there; NULL: none. */
struct node_question *asked_at(Weir__Question__BodyCase kind, uint64_t offset);
#define ASKED_AT(KIND, offset) asked_at(WEIR__QUESTION__BODY_SPOOL_##KIND, offset)
#define ASKED_COUNT(KIND)      asked_count(WEIR__QUESTION__BODY_SPOOL_##KIND)
#define ASKED(KIND)            asked(WEIR__QUESTION__BODY_SPOOL_##KIND)

/* The answer to a question, which is gone then; NULL: none came. */
void reply(struct node_question *question, Weir__Answer *answer, const struct link_payload *payloads, size_t count);
void reply_status(struct node_question *question, Weir__AnswerStatus status);
void reply_stored(struct node_question *question, const char *id, uint64_t have, bool complete);

/* ---- scanner and next hop ---- */

void scanned(Weir__Verdict verdict, Weir__UnknownReason reason);
/* Clean, with that score in hundredths. */
void scored(uint32_t score, const char *authentication);
/* To RCPT, and to the message. maybe: it may have been taken. */
void answer_rcpt(unsigned index, int code, const char *enhanced);
void answer_message(int code, bool maybe);

/* ---- running leases ---- */

struct spool_running {
    struct spool_runner *runner;
    struct outbreak *outbreak; /* whom nobody answers */
    struct edge_settings settings;
    struct spam_settings spam;
    struct spam_bands bands[2]; /* of a@ and b@ */
    struct metrics metrics;
    struct queue_id_source ids;
    unsigned readers; /* whom the sender's address stands for; 0: found says why nobody */
    enum readers_found found;
    uint64_t epoch; /* of the policy, */
    struct spool_route routes[2]; /* and where it routes a@ and b@ */
};
extern struct spool_running running;

/* A runner that asks for leases. */
void runner_begin(bool scanning);
void runner_end(void);
/* The runner's tick, by the test's clock. */
void tick(uint64_t ms);

struct grant {
    bool scanned, warn, last, bounce, give_up, fail_untold, dsn;
    const char *sender, *destination; /* NULL: one of theirs; the next hop */
    unsigned recipients, notify;
    Weir__Released released; /* the first one, who was in the quarantine, */
    Weir__Quarantine quarantine; /* for this; 0: spam */
    uint64_t token; /* 0: 7 */
    const char *original, *given;
    const char *envid;
    const char *owner; /* the second one's copy goes out as from him; NULL: as the first one's */
    unsigned tried;    /* deliveries to the first one */
    uint64_t routed, stored_newest, routed_again, routed_newest; /* policies that said where it goes */
};

/* The standing claim gets one lease. */
void grant(const struct grant *wanted);
/* The whole body of a small message, "X: y" and "body". */
void give_body(void);
void give_message(const char *bytes); /* another one; of a lease whose size is left open */
/* A part of a body of this size, whose byte at n is n / 1000. */
void give_part(struct node_question *question, uint64_t size, size_t len);
/* What the result says of the recipients: "delivered 250, failed 550". */
const char *result_text(void);
/* The report that goes with the result, "": none. */
const char *dsn_text(void);
/* The result is taken. */
void settle(void);

#endif
