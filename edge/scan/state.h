#ifndef WEIR_EDGE_SCAN_STATE_H
#define WEIR_EDGE_SCAN_STATE_H
/*
 * state.h - what the machine knows: scans, scanners, and the table of attempts
 *
 * Private to machine.c (what a scan does next), answers.c (what scanners say), scanners.c (who is live, who has room, whom
 * to choose) and attempts.c (the table).
 */
#include <sys/queue.h>
#include "common/fair.h"
#include "edge/scan/machine.h"

/*
 * The normal path of a small message:
 *     QUIET - finish - SEEKING - OPEN(whole) - ASKED - VERDICT - ENDED
 * of a large one:
 *     QUIET - feed - SEEKING - OPEN - OPENED - GRANT - STREAMING - last CHUNK - ASKED - VERDICT - ENDED
 *
 * Ways out: BUSY, a scanner that is lost, a crash or an answer that does not fit lead back to SEEKING (or QUIET); from
 * SEEKING, when nobody takes it, and from the others, when no verdict comes, to ENDED.
 */
enum scan_state {
    SCAN_QUIET,     /* still being received; nothing is sent before it grows or finishes */
    SCAN_SEEKING,   /* wants a scanner */
    SCAN_OPENED,    /* OPEN was sent without the message: GRANT or BUSY comes */
    SCAN_STREAMING, /* granted: chunks go out as bytes come in, within the window */
    SCAN_ASKED,     /* every byte was sent: VERDICT or BUSY comes */
    SCAN_ENDED,     /* the result is known and will be told */
    SCAN_TELLING,   /* it is being told: freed right after */
};

struct refusal { /* a scanner said BUSY to this scan */
    uint64_t serial;
    uint64_t at;
};

struct scan {
    struct machine *machine;
    enum scan_state state;
    struct queue_id id;
    const struct message *message;
    struct scan_handlers handlers;
    void *arg;
    const char *client, *helo, *sender; /* behind the struct, in the same allocation */
    uint32_t recipients;
    uint64_t size_hint;
    Weir__SpamFacts *spam; /* own; NULL: none */
    bool names_attachments;

    bool finished;
    uint64_t source, order, cost; /* whose it is, and its turn among those waiting (common/fair.h); 0: it has not waited yet */
    uint64_t finished_at;
    uint64_t seeking_since; /* scan_wait counts from here: the finish, or the loss of a scanner */

    /* the attempt under way, in OPENED, STREAMING and ASKED */
    uint64_t attempt;
    struct scanner *scanner;
    uint64_t promised;      /* the size hint of its OPEN; 0: none */
    uint64_t allowed, sent; /* bytes from the beginning of the message */
    uint64_t progress_at;
    struct scan *next_attempt; /* in the table */

    struct refusal *refusals;
    size_t refusal_count;
    uint64_t avoid;  /* serial of the scanner that crashed on it, failed or answered wrongly */
    unsigned faults; /* answers that did not fit */
    unsigned crashes;
    bool starved;       /* a scanner had no bytes for more of it; as a complete message it gets all at once, or none */
    bool engine_failed; /* a scanner's engine did, once */

    bool full, told_full; /* pressure: as it is, as last told */
    bool in_tells;
    const char *busy_why; /* ENDED: busy() with these words instead of done() */
    struct scan_result result;

    TAILQ_ENTRY(scan) place; /* machine->waiting, machine->receiving or scanner->scans */
    TAILQ_ENTRY(scan) age;   /* machine->finished */
    TAILQ_ENTRY(scan) tell;  /* machine->tells */
};
TAILQ_HEAD(scan_list, scan);

struct pending_cancel {
    struct queue_id id;
    uint64_t attempt;
};

struct scanner {
    uint64_t serial; /* never reused, never 0 */
    char name[MACHINE_NAME_MAX];
    void *link;
    bool up;
    bool full;    /* the link took no more */
    bool drained; /* the cluster state says so */
    bool lost;
    uint64_t heard;
    Weir__NodeState state; /* as it says itself; unspecified since the link came up: not yet */
    uint32_t slots, used;  /* used: as it said, plus what we opened and minus what it answered since */
    uint64_t bytes, bytes_used;
    struct scan_list scans;
    struct pending_cancel *cancels; /* that the full link did not take */
    size_t cancel_count, cancel_cap;
    TAILQ_ENTRY(scanner) next;
};

enum drop_reason { DROP_LATE, DROP_ID, DROP_SCANNER, DROP_EARLY, DROP_SIZE, DROP_STATE, DROP_KIND, DROP_REASONS };
enum replay_why {
    REPLAY_DOWN,
    REPLAY_STALL,
    REPLAY_UNANSWERED,
    REPLAY_WINDOW,
    REPLAY_CRASH,
    REPLAY_PROTOCOL,
    REPLAY_REMOVED,
    REPLAY_OUTGREW,
    REPLAY_ENGINE,
    REPLAY_WHYS
};
#define VERDICTS        4 /* values of enum Verdict, of UnknownReason, of BusyReason */
#define UNKNOWN_REASONS 7
#define BUSY_REASONS    5

struct machine {
    const struct scan_io *io;
    void *arg;
    uint64_t real, now; /* microseconds, see machine.h */
    uint64_t scan_wait, scan_stall, scan_timeout;
    uint64_t chunk;
    uint8_t *scratch; /* of chunk bytes, for messages that are in a file */

    TAILQ_HEAD(, scanner) scanners;
    size_t scanner_count;
    struct scanner **candidates; /* room for scanner_count */
    uint64_t last_serial;
    uint64_t live_at; /* when some scanner was last live */

    struct scan_list waiting;   /* SEEKING, finished; by order: clients take turns */
    struct scan_list receiving; /* SEEKING, not finished */
    struct scan *asking;        /* the first of those waiting, while it asks a scanner that looks full */
    struct scan_list finished;  /* all that are, until they end; by finish */
    struct scan_list tells;
    struct fair fair;
    size_t scan_count;

    struct scan **attempts; /* hash table by attempt, chained */
    size_t attempt_buckets, attempt_count;

    struct metric *duration[VERDICTS], *unknown[UNKNOWN_REASONS], *busy[BUSY_REASONS];
    struct metric *dropped[DROP_REASONS], *replays[REPLAY_WHYS];
    struct metric *given_up_busy, *given_up_none;
    struct metric *in_flight, *waiting_gauge, *live;
};

/* --- machine.c: the moves, for what is decided elsewhere --- */
/* The only writer of a scan's state, and of the list it stands in. */
void scan_enter(struct scan *scan, enum scan_state state);
/* The attempt is over for us; `cancel` where the scanner may not know it yet. The scan enters `next`. */
void scan_drop_attempt(struct scan *scan, bool cancel, enum scan_state next);
/* Where a scan without an attempt belongs. */
enum scan_state scan_resting_state(const struct scan *scan);
/* This attempt is worth nothing: look for another scanner. */
void scan_restart(struct scan *scan, enum replay_why why, bool cancel);
/* The end, with scan->result as the verdict, or with unknown. */
void scan_end_verdict(struct scan *scan, bool cancel);
void scan_end_unknown(struct scan *scan, Weir__UnknownReason reason, const char *words, bool cancel);
/* Sends what the scanner's window allows. */
void scan_stream(struct scan *scan);
/* For all who wait, in order: at the end of every event that may have made room. */
void machine_seek(struct machine *machine);

/* --- series.c --- */
void machine_make_metrics(struct machine *machine, struct metrics *metrics);

/* --- attempts.c: answers find their scan by the attempt's number --- */
void attempts_init(struct machine *machine);
void attempts_fini(struct machine *machine);
void attempts_add(struct machine *machine, struct scan *scan);
void attempts_remove(struct machine *machine, struct scan *scan);
struct scan *attempts_find(const struct machine *machine, uint64_t attempt);

/* --- scanners.c --- */
/* It is up, has spoken within scan_stall, says it is active, and nobody drained it. */
bool scanner_is_live(const struct machine *machine, const struct scanner *scanner);
bool scanner_has_room(const struct scanner *scanner);
/* Some live scanner has room and a link that takes frames. */
bool scanners_some_room(const struct machine *machine);
/* Some scanner is live; remembers the time. */
bool scanners_some_live(struct machine *machine);
enum choice {
    CHOICE_ROOM, /* only where the last load shows room, and not where it was refused within the last 50 ms */
    CHOICE_ASK,  /* where it was not refused yet, whatever the load shows */
};
/* The less loaded of two random scanners that may be given this scan; NULL when there is none. */
struct scanner *scanners_choose(struct machine *machine, const struct scan *scan, enum choice choice);
void scanner_on_load(struct scanner *scanner, const Weir__ScannerLoad *load);

#endif
