#ifndef WEIR_SCANNER_SPAM_CLIENT_H
#define WEIR_SCANNER_SPAM_CLIENT_H
/*
 * client.h - questions to one engine that is another process: connections, their number, time and size
 *
 * At most `connections` questions are under way; further ones stand in line, and their time runs there, too. A connection that the engine keeps is
 * used again; one that it closed meanwhile is no failure: the question is asked once more on a new one. A large message can be handed over in shared memory;
 * an engine that cannot open that is asked once more, with the bytes in the question.
 */
#include <event2/event.h>
#include <netinet/in.h>
#include "common/metrics.h"
#include "scanner/spam/engine.h"

struct spam_client;
struct spam_call;

struct spam_sharing {
    uint64_t from; /* bytes of a message from which it is handed over in shared memory; 0: none is */
    uint64_t max;  /* bytes of all that are, at once */
    gid_t group;   /* who may read it beside us; (gid_t)-1: our own */
    uint64_t pause_ms; /* not used again before, once the engine could not open it */
    struct metric *bytes, *used, *refused, *full, *failed; /* with from > 0 */
};

struct spam_client_options {
    const char *server; /* "127.0.0.1:11333", or a socket's path: of a form that was checked */
    const struct spam_protocol *protocol;
    struct spam_scale scale;
    uint64_t connections, timeout_ms, reply_max;
    struct spam_sharing sharing;
};

/* The bytes of a message; borrowed by a call until its end. */
struct spam_message {
    const char *bytes; /* NULL: in fd, from offset */
    int fd;
    uint64_t offset, size;
};

enum spam_call_end { SPAM_CALL_ANSWERED, SPAM_CALL_TIMEOUT, SPAM_CALL_FAILED /* not to be reached, no word */, SPAM_CALL_GARBAGE /* or too long */ };

/* Once, from the loop; the call is freed right after it. answer: with ANSWERED; its signatures are the callee's. why: otherwise. */
typedef void (*spam_call_handler)(void *arg, enum spam_call_end end, struct spam_answer *answer, const char *why);

/* options are copied. */
struct spam_client *spam_client_new(struct event_base *base, const struct spam_client_options *options);
void spam_client_free(struct spam_client **client); /* its calls have ended or were cancelled */
/* facts and what message points to are borrowed until the end. Nothing is called from inside. */
struct spam_call *spam_client_ask(struct spam_client *client, const struct spam_facts *facts, const struct spam_message *message, spam_call_handler done,
                                  void *arg);
void spam_call_cancel(struct spam_call **call); /* no event follows; NULL inside is fine */

#endif
