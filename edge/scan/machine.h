#ifndef WEIR_EDGE_SCAN_MACHINE_H
#define WEIR_EDGE_SCAN_MACHINE_H
/*
 * machine.h - the scan conversation without sockets and clocks: frames and times go in, frames and results come out
 *
 * Private to edge/scan. farm.c feeds it what the links say and what time it is; tests feed it tables. It sends through
 * scan_io, and never calls a scan's handlers except from machine_deliver(), which its owner calls at the end of every
 * event of the loop and, when asked by scan_io.wake, in the next turn. So nobody is called back from inside his own
 * call.
 *
 * Time: machine_time() is told the real monotonic clock before anything else in an event. The machine's own clock
 * follows it, but by at most 250 ms a step: a process that was stopped for a minute does not find every scanner silent
 * when it wakes up.
 */
#include <stdbool.h>
#include <stdint.h>
#include "edge/scan/scan.h"

#define MACHINE_NAME_MAX 64 /* bytes of a scanner's name with its NUL, as in struct scan_result */

struct machine;
struct scanner; /* one scanner, as this process sees it */

struct scan_io {
    /* As link_send(); `link` is what machine_scanner_add() was given. */
    enum link_status (*send)(void *arg, void *link, Weir__Frame *frame, const struct link_payload *payloads,
                             size_t count);
    uint64_t (*random)(void *arg); /* not to be guessed by peers: these are the attempts' numbers */
    void (*wake)(void *arg);       /* call machine_deliver() from the loop soon */
};

struct machine *machine_new(const struct edge_settings *settings, const struct scan_io *io, void *arg,
                            struct metrics *metrics);
/* scan_wait, scan_stall and scan_timeout of a reload; they count for scans under way too. */
void machine_set_times(struct machine *machine, const struct edge_settings *settings);
void machine_free(struct machine **machine); /* every scan has ended or was cancelled */

/* Before each of the calls below, once an event: the real monotonic clock in microseconds. */
void machine_time(struct machine *machine, uint64_t now_us);

struct scanner *machine_scanner_add(struct machine *machine, const char *name, void *link);
void machine_scanner_remove(struct machine *machine, struct scanner **scanner); /* its scans start over elsewhere */
/* What the cluster state says of it. Drained: nothing new. Lost: nothing new while another scanner is live, because the
 * coordinators may only have lost sight of it themselves (I7). */
void machine_scanner_set(struct machine *machine, struct scanner *scanner, bool drained, bool lost);
void machine_up(struct machine *machine, struct scanner *scanner);
void machine_down(struct machine *machine, struct scanner *scanner);
void machine_writable(struct machine *machine, struct scanner *scanner);
void machine_message(struct machine *machine, struct scanner *scanner, const struct link_message *message);
void machine_tick(struct machine *machine); /* every MACHINE_TICK_MS */
void machine_deliver(struct machine *machine);

#define MACHINE_TICK_MS 50

bool machine_has_live(struct machine *machine);
bool machine_has_room(struct machine *machine);

/* As scan_start() and so on in scan.h. */
struct scan *machine_start(struct machine *machine, const struct queue_id *id, const struct message *message,
                           const struct scan_facts *facts, const struct scan_handlers *handlers, void *arg);
struct machine *machine_of(const struct scan *scan);
void machine_feed(struct scan *scan);
void machine_finish(struct scan *scan);
void machine_cancel(struct scan **scan);

#endif
