#ifndef WEIR_EDGE_SESSION_TRANSACTION_H
#define WEIR_EDGE_SESSION_TRANSACTION_H
/*
 * transaction.h - what transaction.c, recipients.c, repair.c, spam.c, outbreak.c and spooled.c share; nobody else includes it
 */
#include "edge/session/internal.h"
#include "edge/spam/personal.h"
#include "edge/spam/told.h"

struct answer {
    unsigned stage;
    int code;
    char enhanced[12];
    const char *why;      /* static: "relay", "next-hop", ...: written to the audit; NULL: a reply to another command */
    char *next_hop;       /* whose words these are; NULL: ours */
    char text[];
};

/* One next hop of the transaction. With the relay profile it is asked about its recipients while the client names them, as from each of their senders by itself. */
struct leg {
    struct leg *next;
    struct transaction *tx;
    struct next_hop hop;
    char *owner;               /* of the lists that its recipients are on: asked as from it; NULL: none, or the profile does not ask */
    struct delivery *delivery; /* NULL: not asked, or given back */
    uint64_t size_limit;       /* given back: as the delivery knew it */
    unsigned asked, accepted;  /* recipients; asked: those that are being verified, too */
    unsigned offered;          /* recipients that delivery was told of */
    unsigned first;            /* the ordinal of the first of them: those of deliveries before it are lower */
};

struct entry { /* a recipient; or, while replies are owed, something else that has to be answered in its turn */
    char *address;         /* canonical, after aliases; NULL: no recipient */
    char *given;           /* whom the client named: canonical; NULL: the address */
    struct answer *answer; /* NULL: accepted, or still asked. Of a list it may be there while others of it are asked */
    struct leg *leg;       /* NULL: not to be delivered */
    unsigned index;        /* of the RCPT command in the transaction */
    bool asked;            /* the next hop has not answered yet, or the recipient is being verified, or the list it is of has no answer yet */
    unsigned ordinal;      /* asked: its number among all that the leg's deliveries were told of */
    struct verify_wait *verified; /* asked: not the next hop by the delivery, but the verifier; NULL: no */
    bool discard;          /* its route says discard, or */
    const char *discard_why; /* "spam": its copy's score; "blocklist": its recipient's own list; "refused": the policy refuses it, on a list. NULL: the route. Static */
    Weir__Quarantine quarantine; /* why its copy is for the quarantine; NOT: it is not */
    uint64_t policy_epoch; /* what decided: the policy, */
    char rule[RELAY_RULE_MAX]; /* and its lines, as in struct relay_answer */
    bool silent;           /* one more address of the alias before it: the RCPT command has its answer */
    bool listed;           /* an alias for several addresses stands for it */
    bool repeated;         /* another entry is for the same address */
    bool follows;          /* asked: no question of its own, the answer is that of the entry before it for the same address */
    size_t packed;         /* its part of the transaction's */
    unsigned notify;       /* SMTP_NOTIFY_*, 0: not said; of a list without SUCCESS */
    char *orcpt;           /* decoded; NULL: none */
    char *owner;           /* of the list that it is on; NULL: none */
    bool expands;          /* it is on a list, whose expansion is to be told of (RFC 3461: NOTIFY=SUCCESS) */
};

struct transaction {
    struct session *session;
    struct queue_id id;
    char *sender;
    struct allowance allowance;
    uint64_t declared;                 /* SIZE= */
    bool eightbit, smtputf8;
    char ret, *envid;                  /* RFC 3461; envid NULL: none */
    struct entry *entries;             /* accepted ones first, then those whose reply is owed */
    unsigned count, cap, replied;      /* entries[0 .. replied) are accepted recipients */
    unsigned rcpts;                    /* RCPT commands so far */
    bool counted;                      /* the limits passed a recipient of it, and what is taken once a message with the first one */
    unsigned to_deliver, to_discard;   /* among the accepted */
    unsigned kept;                     /* of to_deliver, those for the quarantine */
    unsigned silent;                   /* entries that no RCPT command named */
    size_t packed;                     /* bytes of the list of recipients that the spool would keep: as many at most */
    char *owner;                       /* of the lists that all its recipients are on: the next hops' sender; NULL: the sender itself. Known once the client names no more */
    unsigned owners;                   /* RCPT commands of lists with owners, */
    size_t owners_size;                /* and bytes of these: the spool keeps so many and no more */
    struct leg *legs;
    struct leg *direct;                /* where the message goes within the session; NULL: into the spool, or nowhere */
    bool spool;                        /* it goes into the spool */
    char *stopped;                     /* to rest there: the subject that outbound protection holds; NULL: nobody */
    bool unscanned;                    /* without a verdict: handoff only */
    bool in_session;                   /* the spool cannot be had: delivered within the session all the same (handoff) */
    unsigned refused_late;             /* in_session: recipients refused by the next hop */
    bool deferred_late;                /* in_session: one of them for now only */
    struct outbreak_question *outbreak; /* under way */
    struct spool_store *store;
    uint64_t store_us;                 /* when it was asked for */
    struct node_question *personal_question; /* what its recipients' own lists say; NULL: not asked, or known */
    struct personal personal;
    bool waits;                        /* for that: the verdict is there */
    struct repair *repair;             /* of the message's header; NULL: it goes on as it is */
    struct message *message;
    struct scan *scan;
    struct scan_result *verdict;       /* NULL: none yet */
    bool scored;                       /* the next two are known; they go into the spool and the quarantine */
    unsigned score;                    /* hundredths, 0 to 10000 */
    char *symbols;                     /* "NAME(1.50), NAME(0.25)"; NULL: none */
    char *author;                      /* in From, or of the envelope, as DMARC, DKIM or SPF prove; NULL: nothing does */
    bool tagged;                       /* as spam: its Subject says so */
    uint32_t required;                 /* hundredths: from it on X-Spam-Flag says YES */
    bool began, complete, farm_busy, handed_over, finished;
    enum refusal refusal;
    struct header_scan header;
    uint64_t size;                     /* bytes that came, kept or not */
    uint64_t began_ms, complete_ms, complete_us;
    uint64_t window_ms, window_size;   /* the present window of min_data_rate */
    char *next_hop_text, *next_hop_reply;
};

/* ---- transaction.c ---- */

struct report transaction_report(const struct transaction *tx);
/* Writes down and says what became of the message, once, and ends the transaction. */
void transaction_finish(struct transaction *tx, const struct outcome *outcome);
extern const struct delivery_handlers transaction_delivery_handlers;
/* The Received header of this message. Returns its length. */
size_t transaction_received(struct transaction *tx, char out[RECEIVED_MAX]);
/* Bytes of the message as it goes on, repaired where that is to be done. */
void transaction_take(struct transaction *tx, const char *bytes, size_t len);
/* The answer that the verdict waited for is there, or will not come. */
void transaction_conclude(struct transaction *tx);
/* With a verdict: to its outcome, or on its way. */
void transaction_judge(struct transaction *tx);
/* To the next hop of tx->direct. */
void transaction_deliver(struct transaction *tx);
/* On with a message that may go on: to its next hop, or, where it goes there or somebody's copy is for the quarantine, all of it into the spool. */
void transaction_hand_over(struct transaction *tx);

/* ---- recipients.c ---- */

void entry_fini(struct entry *entry);
/* What goes on of NOTIFY (RFC 3461; 0: nothing), as of RET and ENVID: reports to a list's owner are as he is used to them, what a stranger asked for is not for him (RFC 3461 5.2.7.3). */
unsigned entry_notify(const struct entry *entry);
void leg_offer(struct leg *leg, struct entry *entry);
void transaction_on_recipient(void *arg, unsigned index, const struct smtp_reply *reply);
/* The client names no more: decides between one next hop and the spool, and gives back what is not needed. */
void transaction_choose_way(struct transaction *tx);
/* The message goes into the spool: next hops that wait for it are given back, and who was named more than once stays once. */
void transaction_leave_hops(struct transaction *tx);
void legs_free(struct transaction *tx);

/* ---- repair.c ---- */

/* Hands what it makes of the client's bytes to transaction_take(); free() ends it. */
struct repair *repair_new(struct transaction *tx);
void repair_feed(struct repair *repair, const char *bytes, size_t len);
void repair_finish(struct repair *repair); /* the last byte was fed */

/* ---- spam.c ---- */

/* Borrowed from both; NULL: no engine is to be asked. */
const Weir__SpamFacts *transaction_spam_facts(const struct transaction *tx, struct spam_told *told);
/* Decides about each recipient's copy of a clean message. false: the whole has an outcome. */
bool transaction_judge_spam(struct transaction *tx, struct outcome *outcome);
/* As struct dress has it. */
const char *transaction_doubt(const struct transaction *tx);
/* What goes in front of the message, with Received; malloced. See message_dress(). */
char *transaction_dress(struct transaction *tx, bool virus_line, size_t *len, uint64_t *skip);

/* ---- personal.c ---- */

/* The message is complete: asks whether any of its recipients wants nothing from its sender, while it is scanned. */
void transaction_ask_personal(struct transaction *tx);
/* What the answer means for their copies of a message that may go on; nothing where none came. false: nobody is left, and the whole has an outcome. */
bool transaction_apply_personal(struct transaction *tx, struct outcome *outcome);
/* The copy of an accepted recipient is dropped. why: static. */
void transaction_discard(struct transaction *tx, struct entry *entry, const char *why);
/* So many were dropped. false: nobody is left, and the whole has an outcome. */
bool transaction_is_left(struct transaction *tx, unsigned discarded, const char *why, struct outcome *outcome);
/* ---- outbreak.c ---- */

/* true: the cluster was asked whether it is to wait, and it goes on with the answer. */
bool transaction_ask_outbreak(struct transaction *tx);

/* ---- spooled.c ---- */

/* For transaction_recipients_free(): those with a next hop, with their quarantine. */
Weir__SpoolRecipients *transaction_recipients(const struct transaction *tx);
void transaction_recipients_free(Weir__SpoolRecipients *list);

/* The copy of an accepted recipient is for the quarantine: before transaction_hand_over(). Who is discarded by route stays so. */
void transaction_quarantine(struct transaction *tx, struct entry *entry, Weir__Quarantine reason);
/* Whom the policy refuses on a list is left out where his copy would be kept, or all others' are kept or dropped: its only course is a report, to a sender who
 * may well be forged. false: nobody is left, and the whole has an outcome. */
bool transaction_drop_refused(struct transaction *tx, struct outcome *outcome);

/* With a clean verdict, with scanning turned off by name, or `unscanned`. */
void transaction_spool(struct transaction *tx);
/* in_session: one recipient's answer. */
void transaction_late_answer(struct transaction *tx, const struct smtp_reply *reply);

#endif
