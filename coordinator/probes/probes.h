#ifndef WEIR_COORDINATOR_PROBES_PROBES_H
#define WEIR_COORDINATOR_PROBES_PROBES_H
/*
 * probes.h - would this SMTP server send a stranger's mail on to strangers: a dialog that asks, and what its answers mean
 *
 * Pure: bytes in, bytes out; no socket, no clock. Each probe is a MAIL and a RCPT in one of the spellings by which relays were abused; nothing ever says
 * DATA, so nothing is ever sent. A server's limit on errors is not reached: after PROBES_PER_CONNECTION probes there is a new connection.
 *
 *     CONNECT -> GREETING -> HELLO [-> XCLIENT -> HELLO] -> (MAIL -> RCPT -> RESET)... -> QUIT -> CLOSE -> CONNECT ... -> DONE
 *
 * Who owns the machine connects when it is in CONNECT, sends what probes_output() has, gives it what comes, says when a connection ended, and closes in CLOSE.
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/netaddr.h"
#include "edge/smtp/reply.h"

#define PROBES_MAX            64
#define PROBES_PER_CONNECTION 6
#define PROBES_NAME_MAX       254 /* of a domain */
#define PROBES_WORDS_MAX      256
#define PROBES_PATH_MAX       1100
#define PROBES_REASON_MAX     400

enum probe_kind {
    PROBE_CONTROL,   /* mail that any stranger may send here: refused, it shows that this client is refused whatever it asks */
    PROBE_ANY_LOCAL, /* a mailbox that cannot exist: accepted, it shows that the own domain takes every local part */
    PROBE_PLAIN,     /* an outside recipient as such */
    PROBE_OUTSIDE,   /* an outside recipient by a spelling of its own: accepted, the server is open */
    PROBE_LOCAL,     /* an own domain by its spelling, that asks for routing: accepted, the server is open unless it takes every local part */
};

struct probe {
    const char *name, *sender, *recipient; /* paths with $o own domain, $x outside, $d the same with ideographic dots, $h host's name, $i its address
                                            * literal, $0 NUL, $r CR; sender NULL: one of the outside domain */
    enum probe_kind kind;
    bool utf8; /* needs SMTPUTF8 */
    bool ends; /* the server may take it for two commands: the connection ends with it, and one that the server ends has refused it */
    const char *why;
};

extern const struct probe probes_table[];
extern const size_t probes_count;

enum probe_result { PROBE_UNTRIED, PROBE_REFUSED, PROBE_ACCEPTED, PROBE_UNCLEAR, PROBE_LEFT_OUT };

struct probe_outcome {
    enum probe_result result;
    int code; /* of the reply that decided; 0: none came */
    char enhanced[12];
    char words[PROBES_WORDS_MAX]; /* of the reply, or why it is unclear or left out */
    bool at_mail;                 /* that was MAIL's */
};

struct probes_options {
    char own[PROBES_NAME_MAX + 1];     /* a domain that the server takes mail for; "": not known, its own name is used */
    char outside[PROBES_NAME_MAX + 1]; /* one that it must not take mail for */
    struct netaddr client;             /* a stranger's address, told by XCLIENT where that is offered; no family: none */
    bool control;                      /* whether `own` must be accepted from strangers, for the refusals to mean something */
    bool edge;                         /* it must be an edge of Weir: there every reply about the outside domain itself comes behind the relay decision */
};

enum probes_state {
    PROBES_CONNECT, PROBES_GREETING, PROBES_HELLO, PROBES_HELO, PROBES_XCLIENT, PROBES_MAIL, PROBES_RCPT, PROBES_RESET, PROBES_QUIT, PROBES_CLOSE, PROBES_DONE
};

struct probes {
    struct probes_options options;
    enum probes_state state;
    struct smtp_reply_parser parser;
    char host[PROBES_NAME_MAX + 1];       /* as the server calls itself; "": not heard */
    char literal[NETADDR_TEXT_MAX + 8];   /* "[192.0.2.1]" */
    size_t at;                            /* the next probe, or the one under way */
    unsigned on_connection, tries, dead, lost; /* probes of this connection; losses of this probe; connections in a row without a probe; probes in a row */
    bool weir, utf8;                    /* it is an edge of Weir; it has SMTPUTF8 */
    bool ask_client, spoken, unspoken;  /* XCLIENT is to be said, was taken on this connection, was not on one that was asked */
    struct probe_outcome outcomes[PROBES_MAX];
    char out[PROBES_PATH_MAX + 64];
    size_t out_len;
};

void probes_init(struct probes *probes, const struct probes_options *options);

/* In CONNECT: there is a connection to peer. */
void probes_connected(struct probes *probes, const struct netaddr *peer);
/* Bytes of the server; uses whole lines only, and returns how many bytes that were. Afterwards look at state and output. */
size_t probes_input(struct probes *probes, const char *bytes, size_t len);
/* What is to be sent now; once. Borrowed. */
const char *probes_output(struct probes *probes, size_t *len);
/* No connection could be had, it ended, or nothing came in time: why. Not asked for in CLOSE: then probes_closed(). */
void probes_lost(struct probes *probes, const char *why);
void probes_closed(struct probes *probes);
/* There is no time left: what was not tried is unclear. */
void probes_give_up(struct probes *probes, const char *why);

/* What a probe says, for people: escapes are spelled out. Returns out. */
char *probes_spell(const struct probes *probes, const char *path, char out[PROBES_PATH_MAX]);

/* Whether the server took all of it for `client`'s (XCLIENT). */
bool probes_spoke(const struct probes *probes);

enum probes_verdict { PROBES_CLOSED, PROBES_OPEN, PROBES_UNKNOWN };
/* In DONE. inside: the server may let this client relay, so that its answers tell nothing (unless it believed XCLIENT). reason: in words, with the name of a
 * probe that decided. */
enum probes_verdict probes_judge(const struct probes *probes, bool inside, char reason[PROBES_REASON_MAX]);
const char *probes_verdict_text(enum probes_verdict verdict); /* "closed", "open", "unknown" */
const char *probe_result_text(enum probe_result result);      /* "refused", ... */
/* PROBE_LOCAL that was accepted is open only if this is true. */
bool probe_shows_open(const struct probes *probes, size_t index);

#endif
