/*
 * scanners.c - which scanners are live, which have room, and which of them gets a scan
 *
 * Everything is decided from what the scanners say themselves (their load, every 200 ms, is also their heartbeat) and
 * from what this process did since. The cluster state can only take scanners away.
 */
#include "edge/scan/state.h"

#define REFUSAL_US                                                                                                     \
    50000u /* a scan does not ask the same scanner again before that, and then only where there is room */

bool scanner_is_live(const struct machine *machine, const struct scanner *scanner)
{
    return scanner->up && !scanner->drained && scanner->state == WEIR__NODE_STATE__NODE_ACTIVE &&
           machine->now - scanner->heard <= machine->scan_stall;
}

bool scanner_has_room(const struct scanner *scanner)
{
    return scanner->used < scanner->slots && scanner->bytes_used < scanner->bytes;
}

bool scanners_some_room(const struct machine *machine)
{
    const struct scanner *scanner;
    TAILQ_FOREACH(scanner, &machine->scanners, next)
    if (scanner_is_live(machine, scanner) && !scanner->full && scanner_has_room(scanner))
        return true;
    return false;
}

bool scanners_some_live(struct machine *machine)
{
    const struct scanner *scanner;
    TAILQ_FOREACH(scanner, &machine->scanners, next)
    if (scanner_is_live(machine, scanner)) {
        machine->live_at = machine->now;
        return true;
    }
    return false;
}

static const struct refusal *refusal_of(const struct scan *scan, const struct scanner *scanner)
{
    for (size_t i = 0; i < scan->refusal_count; i++)
        if (scan->refusals[i].serial == scanner->serial)
            return &scan->refusals[i];
    return NULL;
}

static bool scanner_may_take(const struct machine *machine, const struct scanner *scanner, const struct scan *scan,
                             enum choice choice)
{
    if (scanner->full)
        return false;
    const struct refusal *refusal = refusal_of(scan, scanner);
    if (choice == CHOICE_ASK)
        return refusal == NULL;
    return scanner_has_room(scanner) && (refusal == NULL || machine->now - refusal->at >= REFUSAL_US);
}

/* a's share of used slots is not above b's. Slots are 32 bits wide, so the products fit. */
static bool scanner_is_freer(const struct scanner *a, const struct scanner *b)
{
    return (uint64_t)a->used * b->slots <= (uint64_t)b->used * a->slots;
}

struct scanner *scanners_choose(struct machine *machine, const struct scan *scan, enum choice choice)
{
    /* Known to the coordinators and not to be avoided, if there is such a live scanner; else known; else any. A scanner
     * that would take it only because the better ones are busy is not asked: those will be free soon. */
    enum { AVOIDED_LOST, LOST, AVOIDED, BEST } rank, best = AVOIDED_LOST;
    size_t count = 0;
    struct scanner *scanner;
    TAILQ_FOREACH(scanner, &machine->scanners, next)
    {
        if (!scanner_is_live(machine, scanner))
            continue;
        bool avoided = scanner->serial == scan->avoid;
        rank = scanner->lost ? (avoided ? AVOIDED_LOST : LOST) : (avoided ? AVOIDED : BEST);
        if (rank > best) {
            best = rank;
            count = 0;
        }
        if (rank == best && scanner_may_take(machine, scanner, scan, choice))
            machine->candidates[count++] = scanner;
    }
    if (count <= 1)
        return count == 1 ? machine->candidates[0] : NULL;

    uint64_t dice = machine->io->random(machine->arg);
    size_t first = (size_t)((dice & UINT32_MAX) % count);
    size_t second = (first + 1 + (size_t)((dice >> 32) % (count - 1))) % count;
    struct scanner *a = machine->candidates[first], *b = machine->candidates[second];
    return scanner_is_freer(a, b) ? a : b;
}

void scanner_on_load(struct scanner *scanner, const Weir__ScannerLoad *load)
{
    scanner->state = load->state;
    scanner->slots = load->slots;
    scanner->used = load->slots_used;
    scanner->bytes = load->bytes;
    scanner->bytes_used = load->bytes_used;
}
