#ifndef WEIR_EDGE_VERIFY_COURSE_H
#define WEIR_EDGE_VERIFY_COURSE_H
/*
 * course.h - the way of one question about a recipient, as a table; pure
 *
 *     LOOKING --not known--> PROBING --it said--> TELLING --> OVER
 *        \--known, old: answered, and--^    \--it did not say--> OVER
 *         \--known--> OVER
 */

enum verify_state { VERIFY_LOOKING /* a coordinator is asked */, VERIFY_PROBING /* the next hop is */, VERIFY_TELLING /* a coordinator hears of it */, VERIFY_OVER };
enum verify_event {
    VERIFY_KNOWN,
    VERIFY_KNOWN_OLD,  /* known, and this edge is to ask anew */
    VERIFY_NOT_KNOWN,  /* or nobody can say: no coordinator, no database, no answer in time */
    VERIFY_SAID,       /* the next hop said whether it exists */
    VERIFY_SAID_NOTHING,
    VERIFY_TOLD,       /* or nobody listens */
};
enum verify_act { VERIFY_ANSWER = 1 << 0 /* those who wait */, VERIFY_PROBE = 1 << 1, VERIFY_TELL = 1 << 2 };

struct verify_step {
    enum verify_state next;
    unsigned acts; /* in this order: answer, then probe or tell */
};

/* The event must be one that can come in the state. */
struct verify_step verify_next(enum verify_state state, enum verify_event event);

#endif
