#ifndef WEIR_TESTS_UNIT_SESSION_DOUBLES_H
#define WEIR_TESTS_UNIT_SESSION_DOUBLES_H
/*
 * session_doubles.h - stand-ins for what a session talks to: sockets, scanner farm, next hop, coordinator and clock
 *
 * They are linked in place of libnet, libscan and libdelivery, so that a test is client, scanner and next hop in one and nothing depends
 * on time. One session, one scan and one delivery at a time are enough.
 */
#include "edge/session/internal.h"

struct doubles {
    /* the client's side of the connection */
    struct net_conn *conn;
    char out[1 << 17]; /* what the session wrote, not yet looked at */
    size_t out_len;
    bool closed;       /* the session ended the connection */
    size_t most;       /* what the session wants to be offered at once */
    bool choke;        /* the client does not read */
    /* the DNS */
    void (*name_done)(void *arg, const char *name); /* of the client's name that is being looked up; NULL: none */
    void *name_arg;
    unsigned names_cancelled;
    void (*lists_done)(void *arg, const struct dnsbl_verdict *verdict); /* of the lists that are asked; NULL: none */
    void *lists_arg;
    uint64_t dnsbl_pause_ms;       /* of the lists made last */
    /* scanner farm */
    bool farm_live;
    bool names_attachments;        /* the last scan does */
    struct scan *scan;
    unsigned scans_started, scans_finished, scans_cancelled;
    /* next hop */
    struct delivery *delivery;
    bool dot_sent;                 /* delivery_take_back() comes too late */
    unsigned deliveries, deliveries_cancelled, hop_rcpts;
    char hop_host[300];
    char hop_recipients[4096]; /* joined with spaces, of all deliveries */
    char sent_prefix[4096];
    char *sent_body; /* NULL: nothing was handed over */
    size_t sent_len;
    /* coordinator */
    char rows[16384]; /* "RECIPIENT DISPOSITION CODE\n" */
    uint64_t row_policy_epoch; /* of the last of them */
    char row_rule[64];
    char *row_at;
    char hop_sender[160];          /* as from whom the last one was asked */
    uint64_t hop_size;             /* what next hops say that they take */
    bool spool_up;                 /* a coordinator is there */
    bool spool_full;               /* and says so */
    struct spool_store *store;     /* being stored */
    unsigned stores;
    unsigned let_in;               /* a bit for each recipient whom the quarantine does not take */
    char stored_as[4096];          /* "scanned|unscanned ADDRESS>DESTINATION ..." of the last, cut where it is longer */
    bool stored_fits;              /* its list of recipients is not too long for a coordinator */
    struct node_question *question; /* under way */
    uint64_t question_ms;           /* how long the last one may take */
    unsigned suspects;              /* attachments that count, of the last question about an outbreak */
    char login[256], password[512]; /* last asked about */
    unsigned questions_cancelled;
    /* limiter */
    struct limit_query *limit;  /* asked */
    char limit_asked[4096];     /* "BUCKET COST, ..." */
    struct limit_rule limit_first; /* of that, which refuses */
    char limit_subject[LIMIT_SUBJECT_MAX];
    /* reputation */
    struct book_entry *client_entry, *login_entry, *host_entry; /* what decides; NULL: nothing */
    /* verifier */
    struct verify_wait *waits[8];  /* recipients being verified, in order; NULL: none, and behind the last */
    /* clock */
    uint64_t now_ms;
};

extern struct doubles doubles;

void doubles_reset(void);
/* The client sends; bytes the session does not want wait. */
void client_sends(const char *bytes, size_t len);
void client_goes(void);
void client_ends(void); /* it sends no more, but reads */
/* The loop's next turns: resumed input, buried sessions. */
void doubles_settle(struct event_base *base);
bool next_hop_owes_recipients(void); /* some recipient was offered and is not answered yet */
bool next_hop_has_message(void);
/* own: in the edge's words, the host is lost. */
void next_hop_answers_rcpt(int code, const char *enhanced, const char *text, bool own);
void spool_answers(enum spool_stored stored);
void next_hop_answers(int code, const char *enhanced, const char *text, bool maybe);
/* Of the recipient that has been verified for longest, or (later) of the next one. */
void verifier_says(enum verify_result result, const char *text, bool later);
/* Of what is asked: it passes, or is refused by the first of the limits. */
void limiter_says(bool refused);
void dns_says_name(const char *name); /* NULL: none that is confirmed */
void dnsbl_says(int score, int missing, const char *zones);
void scanner_says(Weir__Verdict verdict, Weir__UnknownReason reason, const char *signature);
void farm_is_busy(void);
void farm_presses(bool full);
/* Of AuthCheck: outcome 0 is no answer at all. sender may be NULL. */
/* Of the recipients that were asked about, these have blocked the sender; NULL: nobody answers. */
void coordinator_knows_blocks(uint32_t *blocked, size_t count);
void coordinator_says(Weir__AuthOutcome outcome, const char *account, const char *sender);

#endif
