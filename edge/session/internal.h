#ifndef WEIR_EDGE_SESSION_INTERNAL_H
#define WEIR_EDGE_SESSION_INTERNAL_H
/*
 * internal.h - what the files of this room share; nobody else includes it
 *
 * server.c       the worker's sessions: coming in, deadlines, draining, the end of a session
 * session.c      one connection: bytes in, the state, replies out
 * balancer.c     a session that comes by way of a load balancer, until it is known whose it is
 * commands.c     one handler per SMTP verb
 * transaction.c  one message's way: bytes, verdict, hand-over, outcome; with recipients.c (who) and spooled.c (into the spool)
 * auth.c         who the client is
 * xclient.c      who it is, as a peer says that speaks for it
 * limits.c       whether it has sent too much lately
 * reputation.c   whether the cluster thinks ill of it
 * egress.c       from which addresses its mail goes out
 * repair.c       a message's header made whole
 * leniency.c     what a device needed to be forgiven
 * report.c       the log lines and audit rows of all that
 */
#include "common/queue_id.h"
#include "edge/limits/limiter.h"
#include "edge/limits/stops.h"
#include "edge/message/message.h"
#include "edge/session/allowance.h"
#include "edge/session/auth.h"
#include "edge/session/outcome.h"
#include "edge/session/received.h"
#include "edge/session/relay.h"
#include "edge/session/session.h"
#include "edge/session/wheel.h"
#include "edge/smtp/command.h"
#include "edge/smtp/parser.h"
#include "edge/smtp/reply.h"
#include "edge/spam/bands.h"

/* The normal path is from top to bottom, and back to READY after each message. Ways out: CLOSED from everywhere; RSET and a failed
 * message lead to READY, STARTTLS from READY over SECURING to GREETED. A session of a load balancer begins in PROXY. */
enum session_state {
    ST_CONNECTED = 1 << 0, /* the banner waits for banner_delay, or the client's name */
    ST_GREETED = 1 << 1,   /* banner sent, no HELO yet */
    ST_READY = 1 << 2,     /* between transactions */
    ST_MAIL = 1 << 3,      /* MAIL accepted */
    ST_RCPT = 1 << 4,      /* a recipient was named; its answer may still be on its way from the next hop */
    ST_DATA = 1 << 5,      /* message bytes up to the final dot */
    ST_BDAT = 1 << 6,      /* between two chunks */
    ST_CHUNK = 1 << 7,     /* bytes of a chunk */
    ST_SKIP = 1 << 8,      /* bytes of a chunk that came without leave: consumed, then refused (RFC 3030 2) */
    ST_VERDICT = 1 << 9,   /* the message is here; scanner and next hop have the word */
    ST_SECURING = 1 << 10, /* TLS handshake */
    ST_CLOSED = 1 << 11,
    ST_AUTH = 1 << 12,     /* AUTH: a challenge waits for its answer */
    ST_CHECK = 1 << 13,    /* AUTH: a coordinator was asked whether it is right */
    ST_PROXY = 1 << 14,    /* a load balancer has to say who the client is */
    ST_LIMIT = 1 << 15,    /* MAIL or RCPT: the limits of the policy are asked */
};

/* Where a session waits for the limits of the policy. */
enum limit_place { LIMIT_AT_CONNECT, LIMIT_AT_MAIL, LIMIT_AT_RCPT, LIMIT_AT_END };

struct session {
    struct wheel_entry timer; /* first: the wheel gives it back as the session */
    struct server *server;
    struct port *port;
    struct edge_config *config;             /* counted */
    const struct listener_settings *limits; /* in config */
    struct net_conn *conn;                  /* NULL: the client is gone */
    struct transaction *tx;                 /* from MAIL to the final answer */
    struct auth *auth;                      /* from AUTH on; NULL: nobody has said who it is */
    struct session *next_dead;
    char *helo;                             /* as said; NULL before */
    struct smtp_parser parser;
    enum session_state state, after_skip;
    bool greeted;      /* the banner was sent */
    bool esmtp;        /* EHLO, not HELO */
    bool chunked;      /* the message comes by BDAT */
    bool last_chunk;   /* and this chunk is its last */
    bool held;         /* bytes were left in the connection: it is paused until input is wanted again */
    bool choked;       /* the client does not read its replies: no input until it does */
    bool leaving;      /* the last reply is queued behind those that recipients still wait for: then it closes */
    bool pressed;      /* the scanner's window is full: no input until it opens */
    bool ended;        /* the client sends no more, but may still read */
    bool dead;         /* in the server's list of sessions to be freed */
    bool nonsense;     /* the client made errors before it said EHLO, or MAIL in place of it */
    bool unnamed;      /* a load balancer has not said, or does not say, who the client is, or a peer by XCLIENT: no mail is taken */
    bool trusted;      /* the client is listed in xclient_from: EHLO announces XCLIENT */
    bool name_told;    /* client_name is what XCLIENT said: not to be looked up */
    enum { TOLD_NOTHING, TOLD_SMTP, TOLD_ESMTP } told_proto; /* by XCLIENT */
    char *told_helo;   /* by XCLIENT, or NULL: in place of what HELO says */
    struct netaddr balancer;                /* family 0: none is between the client and us */
    struct netaddr client;
    char client_text[NETADDR_TEXT_MAX];
    char *client_name;                      /* confirmed by the DNS; NULL: "unknown" */
    struct client_name_query *name_query;   /* under way: the banner waits for it */
    struct dnsbl_query *dnsbl_query;        /* under way: the banner waits for it */
    char *listed;                           /* the lists that name the client; NULL: none */
    bool listed_refused;                    /* for their sake */
    bool listed_surely;                     /* no list of friends that gave no answer could change that */
    struct limit_query *limit_query;        /* under way: the banner, the command or the message waits for it */
    enum limit_place limit_place;           /* which of them */
    enum session_state after_limit;         /* ST_LIMIT: where the command was given, */
    struct smtp_command *limit_command;     /* and which */
    char *overrun;                          /* too many connections: what the client is told in place of the banner; NULL: it may come in */
    bool connect_told;                      /* "connect from" is in the log */
    uint64_t began_ms, entered_ms, input_ms;
    uint64_t arrived_ms; /* the client's beginning, which its banner is timed from: behind a load balancer later than began_ms */
    unsigned forgiven; /* enum smtp_leniency: what this client needed */
    unsigned chunks;                    /* BDATs with so many bytes that max_commands is not about them */
    unsigned commands, errors, unknown; /* unknown: recipients the next hop refused for good */
    uint64_t skipped;  /* ST_SKIP: bytes of this chunk */
    enum farewell farewell; /* what a message that has begun is written down with when the session ends */
    unsigned said[SMTP_VERB_COUNT], obeyed[SMTP_VERB_COUNT]; /* for the line at the end */
};

/* ---- replies ---- */

/* What a reply answers: the label of weir_smtp_replies_total, and the verb whose success it counts as. */
enum stage { STAGE_CONNECT = SMTP_VERB_COUNT, STAGE_MESSAGE, STAGE_SESSION, STAGE_COUNT };

/* What came of a load balancer's header: weir_proxy_headers_total{result}. */
enum proxied { PROXIED_CLIENT, PROXIED_LOCAL, PROXIED_BAD, PROXIED_LATE, PROXIED_COUNT };

#define PORT_CODES 48 /* distinct reply codes with a series of their own; others are counted as "2xx", "4xx", "5xx" */

struct port {
    struct port *next;
    struct server *server;
    char *name;
    struct metric *accepted, *refused[6]; /* sessions_total by result */
    struct metric *relay_refused;
    struct metric *unregistered[2]; /* recipients named by inside hosts that the policy file hosts does not have: taken, and refused for that */
    struct metric *proxied[PROXIED_COUNT];
    struct metric *replies[STAGE_COUNT][PORT_CODES];
};

/* ---- server ---- */

/* What stops what should not get through: weir_refusals_total{layer}. */
enum layer { LAYER_REPUTATION, LAYER_THROTTLE, LAYER_DNS_LIST, LAYER_CONTENT, LAYERS };

struct server {
    struct event_base *base;
    struct edge_config *config;
    struct policy *policy; /* NULL: none yet */
    uint64_t policy_epoch;
    struct scan_farm *farm;
    struct delivery_pool *pool;
    struct dns *dns;       /* NULL: clients' names are not looked up */
    struct verifier *verifier;
    struct limiter *limiter; /* NULL: nothing is limited */
    struct stops stops;      /* outbound protection */
    char **cluster_names;    /* in which edges say results of authentication, up to a NULL; NULL: not known */
    bool personal_blocks;    /* some recipient has a block list of his own */
    struct metric *stopped[2]; /* messages: refused, and put into the spool to rest */
    struct feed *feed;       /* NULL: nobody is judged by reputation */
    struct outbreak *outbreak; /* NULL: nothing is held */
    struct node *node;
    char cluster[SMTP_CLUSTER_MARK_MAX]; /* XWEIR; "": not known yet */
    struct census *census;
    const char *node_name;
    unsigned worker;
    struct message_budget budget;
    struct spool_ahead ahead;
    struct queue_id_source ids;
    struct notice *notices; /* under way: notice.c */
    unsigned notice_count;
    struct queue_id last_notice;
    struct metric *notices_stored;
    struct wheel wheel;
    struct event *tick, *bury, *answers;
    struct port *ports;
    struct session *dead;
    unsigned sessions;
    unsigned answered; /* messages, since the loop last wrote replies to the kernel */
    bool draining;
    uint64_t full_since_ms, full_seen_ms; /* the farm has no room: since when all clients found it so, 0 it has; when the last one looked */
    uint64_t drain_since_ms;
    void (*drained)(void *arg);
    void *drained_arg;
    struct metrics *metrics;
    struct metric *layers[LAYERS];
    struct metric *sessions_now, *recipients_accepted, *recipients[DISPOSITION_COUNT];
    struct metric *messages[2][DISPOSITION_COUNT]; /* [0] from outsiders, [1] from inside */
    struct metric *personal_questions[2], *personal_blocked[2]; /* messages: unavailable, known; recipients' copies: quarantined, discarded */
    struct metric *spam_fates[SPAM_FATES], *spam_incomplete; /* recipients' copies by enum spam_fate; messages of which an engine said nothing */
    struct metric *exceptions_used[2]; /* for the size, for the recipients */
    struct metric *stores[SPOOL_STORED_COUNT], *store_seconds, *in_session, *maybe_stored;
    struct metric *message_size, *relay_seconds, *limits_hit[8], *memory_used, *memory_max, *disk_used, *disk_max, *ahead_bytes;
    struct smtp_command command; /* scratch of the command being obeyed: too large for every session */
};

/* The limits that end or refuse something, for weir_smtp_limits_total{limit}. */
enum limit { LIMIT_RECIPIENTS, LIMIT_SIZE, LIMIT_COMMANDS, LIMIT_ERRORS, LIMIT_TIME, LIMIT_RATE, LIMIT_UNKNOWN, LIMIT_SPOOL };
void server_count_limit(struct server *server, enum limit limit);
void server_count_stopped(struct server *server, enum layer layer);
/* Draining: whether this session has had its time; else when to look again. */
bool server_drain_is_over(const struct session *session, uint64_t now_ms, uint64_t *look_again_ms);
/* Looks at the session again at the latest then. */
void server_schedule(struct session *session, uint64_t due_ms);
/* The session is CLOSED and nothing of it is under way: freed on the loop's next turn, never inside a callback of what it owns. */
void server_bury(struct session *session);
/* A message handed over got its answer: it counts as answered when the reply had its turn to leave. */
void server_answered(struct server *server);

/* The session is another client's than the one it was counted for: from now on it is counted as that one's. false: that one may not come in, and the session
 * was refused. */
bool server_readmit(struct session *session, const struct netaddr *client);
/* 421 and close; without a word where none can be said in clear. */
void server_refuse(struct session *session, const char *enhanced, const char *words);

/* ---- balancer ---- */

/* In place of session_begin(): waits for the header first. */
void balancer_begin(struct session *session);
/* All bytes up to now. Returns how many of them are the header; 0: it is not whole yet. The session has begun, or is closed, else. */
size_t balancer_bytes(struct session *session, const char *buf, size_t len);
/* Returns when to look again. */
uint64_t balancer_on_time(struct session *session, uint64_t now_ms);

/* ---- session ---- */

extern const struct net_handlers session_net_handlers;

/* Greets the client, or waits for its name and banner_delay first. */
void session_begin(struct session *session);
/* Whether the client, who may be another now, may use XCLIENT. */
void session_look_at_trust(struct session *session);
/* The same for another client in the same connection; nothing that was said by HELO counts any more. */
void session_greet_again(struct session *session);
/* The client's name is known, or not waited for any longer: it is written down that it came. */
void session_stop_lookup(struct session *session);
/* As in logs and Received: "unknown" where no name is confirmed. Borrowed. */
const char *session_client_name(const struct session *session);
void session_enter(struct session *session, enum session_state state);
void session_reply(struct session *session, unsigned stage, int code, const char *enhanced, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The same behind the answers of recipients that are still to come. */
void session_reply_in_order(struct session *session, unsigned stage, int code, const char *enhanced, const char *text);
/* Sends what is queued and ends the connection and what is under way, but never in ST_VERDICT. */
void session_close(struct session *session);
/* The last words: 421, then close. A message under way is written down with `farewell`. */
void session_dismiss(struct session *session, enum farewell farewell, const char *enhanced, const char *words);
/* Takes up input that was left in the connection, also while recipients are asked: a command that has to wait for them is left there again. */
void session_resume(struct session *session);
/* The last call of every callback: takes up input again where it is wanted, or ends the session. Nothing touches it after this. */
void session_settle(struct session *session);
/* A deadline may have passed. */
void session_on_time(struct session *session, uint64_t now_ms);
bool session_between_messages(const struct session *session);
const char *session_tls(const struct session *session); /* "" in clear; borrowed */
bool session_offers_starttls(const struct session *session);
bool session_is_lenient(const struct session *session);
/* The client said EHLO or HELO; what it said is of no use when "". */
void session_take_helo(struct session *session, const char *helo);

/* ---- leniency ---- */

/* A client that waits for no reply is taken as it is: a device inside, that is. */
bool session_forgives_haste(const struct session *session);
/* enum smtp_leniency: counted once a session each, and only where it may be forgiven at all. */
void session_forgive(struct session *session, unsigned leniencies);
void report_leniencies(const struct session *session);

/* ---- xclient ---- */

void xclient_command(struct session *session, const struct smtp_command *command);

/* ---- limits ---- */

/* true: it is asked, and the session goes on when it is answered; until then it takes no input. Else *verdict is the answer. */
bool limits_at_connect(struct session *session, struct limit_verdict *verdict);
bool limits_at_mail(struct session *session, const struct smtp_command *command, struct limit_verdict *verdict);
/* Nothing is asked, and nothing taken, for a recipient that is refused anyway. */
bool limits_at_rcpt(struct session *session, const struct smtp_command *command, struct limit_verdict *verdict);
bool limits_at_end(struct session *session, struct limit_verdict *verdict); /* the message is there */
void limits_cancel(struct session *session);
/* "Too many messages from client 192.0.2.7, try again later". Returns out. */
char *limits_text(char out[SMTP_REPLY_TEXT_MAX], const struct limit_verdict *verdict);
/* Whether outbound protection slows the client down or stops it: the account it logged in with, or the inside host it is. NULL: no. Borrowed until the next
 * cluster state. */
const struct stop *session_stop(const struct session *session);

/* ---- reputation ---- */

/* What refuses a new client for its reputation, or by an operator's word; NULL: nothing. Borrowed until the loop's next turn. */
struct book_entry *reputation_against(const struct port *port, const struct netaddr *client);
/* Writes down that it did: into the audit once a minute for each entry, as floods come from those who are refused. */
void reputation_note(const struct port *port, struct book_entry *entry, const char *client, const char *words);
/* A session that ends for what it does to the protocol counts against its client, where that is judged: a row of the audit, `refused:protocol`. */
void reputation_note_abuse(const struct session *session, int code, const char *enhanced, const char *words);
/* The number of the operator's word that decides for the client, or for who has logged in, now; 0: none does. */
uint64_t reputation_override(const struct session *session);
/* Its mail is slowed down: it is let in, and suspect. */
bool reputation_is_ill(const struct session *session);
/* The account that has logged in may not send: an operator said so. */
bool reputation_stops_login(const struct session *session);
/* Who is throttled: true, with what the next message costs it; rule is for the cost to point to. */
bool reputation_cost(const struct session *session, struct limit_cost *cost, struct limit_rule *rule);
/* Whether the verdict is about such a cost, and of whom. NULL: it is about a line of the policy. */
const char *reputation_of_verdict(const struct limit_verdict *verdict);

/* The pool of addresses that its mail goes out from; "": as the kernel chooses. Borrowed until the configuration or the cluster state is another. */
const char *session_egress(const struct session *session);

/* Where they go on. */
void session_limited_at_connect(struct session *session, const struct limit_verdict *verdict);
void session_mail(struct session *session, const struct smtp_command *command, const struct limit_verdict *verdict);
void transaction_limited(struct transaction *transaction, const struct limit_verdict *verdict);

/* ---- commands ---- */

enum obeyed { COMMAND_DONE, COMMAND_HOLD /* not now: the answers to earlier commands are still to come */ };

/* line: without CRLF. more: bytes already here behind it. */
enum obeyed session_command(struct session *session, const char *line, size_t len, size_t more);
/* true: the session had too many commands, errors or unknown recipients, and was ended. */
bool session_end_excess(struct session *session);

/* ---- transaction ---- */

struct transaction *transaction_new(struct session *session, const struct smtp_command *mail, const struct allowance *allowance);
/* Ends it wherever it is: nothing more is sent to the next hop. NULL is fine. */
void transaction_free(struct transaction **transaction, enum farewell farewell);
/* Nothing of ours refuses it: neither the policy nor a blocklist nor what the transaction has already. Changes nothing. */
bool transaction_may_take(const struct transaction *transaction, const struct smtp_command *rcpt);
void transaction_rcpt(struct transaction *transaction, const struct smtp_command *rcpt, const struct limit_verdict *verdict);
unsigned transaction_unanswered(const struct transaction *transaction); /* recipients whose reply is still to be given */
/* A reply to something else, in its place behind them. */
void transaction_answer(struct transaction *transaction, unsigned stage, int code, const char *enhanced, const char *text);
bool transaction_has_recipients(const struct transaction *transaction); /* accepted ones */
void transaction_begin_message(struct transaction *transaction);
void transaction_body(struct transaction *transaction, const char *bytes, size_t len);
/* max_recipients are accepted if all those still asked are: the next one has to wait for the answers. */
bool transaction_may_be_full(const struct transaction *transaction);
uint64_t transaction_max_recipients(const struct transaction *transaction);
bool transaction_is_refused(const struct transaction *transaction); /* its bytes are only read to the end */
bool transaction_is_utf8(const struct transaction *transaction); /* SMTPUTF8 was asked for */
uint64_t transaction_size(const struct transaction *transaction);
/* BDAT, not the last chunk: true when the message is still wanted, false when it was refused (replied to, transaction ended). */
bool transaction_chunk(struct transaction *transaction);
/* The message is complete. */
void transaction_complete(struct transaction *transaction);
/* The client sends slower than min_data_rate. */
bool transaction_is_slow(struct transaction *transaction, uint64_t now_ms, uint64_t *look_again_ms);
/* The client is gone. true: the next hop may have the message already, so that the transaction goes on without the client, to
 * be written down; false: it was ended. */
bool transaction_outlives_client(struct transaction *transaction);

/* ---- report ---- */

/* Whose mail it is, by the policy in force. */
Weir__Origin session_origin(const struct session *session);
/* In an inside network, or logged in: its mail goes outbound. */
bool session_is_inside(const struct session *session);

struct report { /* one message, or one recipient refused at RCPT */
    const struct session *session;
    const char *id;
    const char *sender;
    const char *message_id;
    uint64_t size;
    uint64_t began_ms;             /* monotonic: MAIL */
    uint64_t received_ms;          /* last byte, 0: none */
    const struct scan_result *scan; /* NULL: not reached, or none */
    const char *verdict;
    const char *next_hop;          /* "host[ip]:port" or "" */
    const char *next_hop_reply;    /* its words, or "" */
    unsigned rcpt_count;
    uint64_t policy_epoch;         /* these two of the recipient that is being reported: what decided where it goes, */
    const char *rule;
    const char *given;             /* and whom the client named; NULL: the recipient itself */
    bool first;                    /* this recipient stands for the message where messages are counted */
};

void report_connect(const struct session *session);
void report_disconnect(const struct session *session);
/* "NOQUEUE: reject: RCPT from unknown[192.0.2.7]: 550 5.7.1 ...; from=<> to=<> proto=ESMTP helo=<>". to NULL: none yet. */
void report_reject(const struct session *session, const char *id, const char *stage, int code, const char *enhanced,
                   const char *text, const char *sender, const char *to);
void report_message_begins(const struct session *session, const char *id);
/* The message's end, before the lines of its recipients. */
void report_message(const struct report *report, const struct outcome *outcome);
/* Refused at RCPT: the audit row only, report_reject() has written the line. */
void report_recipient_refused(const struct report *report, unsigned index, const char *recipient, const struct outcome *outcome);
/* One recipient's end: the log line and the audit row. */
void report_recipient(const struct report *report, unsigned index, const char *recipient, const struct outcome *outcome);

#endif
