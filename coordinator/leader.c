/*
 * leader.c - what one coordinator must do for all: fold metrics of ended processes, delete old audit rows, what was
 * left in the spool, what next hops said of recipients and operators were told too long ago, buckets that are full again, and
 * hosts not seen for long; tidy reputations, and judge them anew; look which listeners are to be tested, which scanners are to make new generations, and what is to
 * be done about virus signatures; keep the edges' name right in the DNS; look the site's own addresses up in lists of the DNS; end what is
 * in the quarantine for too long; note what the dashboard draws
 *
 * One unit at a time. Rows are deleted in small batches, with a pause in between, so that nobody waits for them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/leader.h"

#define TURN_MS      2000
#define BUSY_TURN_MS 200 /* while there is more to fold or to delete */
#define RETENTION_MS 60000
#define DELETE_ROWS  5000
#define FOLD_MOST    10 /* processes of one metrics_fold() */
#define LEFTOVERS_MOST 20

struct leader {
    struct db *db;
    struct event *timer;
    const struct coordinator_settings *settings;
    struct relay_test *relay_test;
    struct turns *turns;
    struct signatures *signatures;
    struct outbound *outbound;
    struct dns_push *dns_push;
    struct blocklist *blocklist;
    struct quarantine *quarantine;
    struct dashboard *dashboard;
    struct learn *learn;
    struct outbreak_room *outbreak;
    struct reputation_room *reputation;
    uint64_t retention_at_ms;
    bool leads, more_verified, more_buckets, more_rows, more_processes, more_leftovers, more_hosts;
    struct metric *leading, *terms, *deleted, *abandoned, *verified_expired, *verified_over, *acts_forgotten, *buckets_full, *buckets_over, *hosts_known, *hosts_deleted;
};

static void on_timer(evutil_socket_t fd, short what, void *arg);

static void schedule(struct leader *leader)
{
    bool more = leader->more_rows || leader->more_verified || leader->more_buckets || leader->more_processes || leader->more_leftovers || leader->more_hosts;
    unsigned ms = more || reputation_has_more(leader->reputation) ? BUSY_TURN_MS : TURN_MS;
    event_add(leader->timer, &(struct timeval){ ms / 1000, ms % 1000 * 1000 });
}

struct leader *leader_new(struct event_base *base, struct db *db, const struct coordinator_settings *settings,
                          struct relay_test *relay_test, struct reputation_room *reputation, struct turns *turns, struct signatures *signatures, struct outbound *outbound,
                          struct dns_push *dns_push, struct blocklist *blocklist, struct quarantine *quarantine, struct dashboard *dashboard, struct learn *learn, struct outbreak_room *outbreak, struct metrics *metrics)
{
    struct leader *leader = xcalloc(1, sizeof *leader);
    leader->db = db;
    leader->settings = settings;
    leader->relay_test = relay_test;
    leader->turns = turns;
    leader->signatures = signatures;
    leader->outbound = outbound;
    leader->dns_push = dns_push;
    leader->blocklist = blocklist;
    leader->quarantine = quarantine;
    leader->dashboard = dashboard;
    leader->learn = learn;
    leader->outbreak = outbreak;
    leader->reputation = reputation;
    leader->timer = evtimer_new(base, on_timer, leader);
    leader->leading = metrics_gauge(metrics, "weir_leader", NULL);
    leader->terms = metrics_counter(metrics, "weir_leader_terms_total", NULL);
    leader->abandoned = metrics_counter(metrics, "weir_spool_abandoned_total", NULL);
    leader->verified_expired = metrics_counter(metrics, "weir_verify_entries_deleted_total", "why=\"expired\"");
    leader->verified_over = metrics_counter(metrics, "weir_verify_entries_deleted_total", "why=\"limit\"");
    leader->acts_forgotten = metrics_counter(metrics, "weir_admin_forgotten_total", NULL);
    leader->buckets_full = metrics_counter(metrics, "weir_limit_buckets_deleted_total", "why=\"full\"");
    leader->buckets_over = metrics_counter(metrics, "weir_limit_buckets_deleted_total", "why=\"limit\"");
    leader->hosts_known = metrics_gauge(metrics, "weir_hosts_known", NULL);
    leader->hosts_deleted = metrics_counter(metrics, "weir_hosts_deleted_total", NULL);
    leader->deleted = metrics_counter(metrics, "weir_audit_rows_deleted_total", NULL);
    schedule(leader);
    return leader;
}

void leader_free(struct leader **freed)
{
    struct leader *leader = *freed;
    *freed = NULL;
    if (leader == NULL)
        return;
    event_free(leader->timer);
    free(leader);
}

static void set_leads(struct leader *leader, bool leads)
{
    if (leads && !leader->leads) {
        log_write(LOG_NOTICE, "this coordinator leads");
        metric_add(leader->terms, 1);
    }
    leader->leads = leads;
    relay_test_lead(leader->relay_test, leads);
    turns_lead(leader->turns, leads);
    if (!leads)
        signatures_rest(leader->signatures);
    outbound_lead(leader->outbound, leads);
    dns_push_lead(leader->dns_push, leads);
    outbreak_lead(leader->outbreak, leads);
    metric_set(leader->leading, leads ? 1 : 0);
}

void leader_database_down(struct leader *leader)
{
    set_leads(leader, false);
}

static void on_lock(void *arg, const PGresult *result)
{
    set_leads(arg, PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), "t") == 0);
}

static void on_deleted(void *arg, const PGresult *result)
{
    struct leader *leader = arg;
    double rows = strtod(PQcmdTuples((PGresult *)(uintptr_t)result), NULL);
    metric_add(leader->deleted, rows);
    leader->more_rows = rows >= DELETE_ROWS;
}

static void on_acts_tidied(void *arg, const PGresult *result)
{
    struct leader *leader = arg;
    metric_add(leader->acts_forgotten, strtod(PQgetvalue(result, 0, 0), NULL));
}

static void on_verify_tidied(void *arg, const PGresult *result)
{
    struct leader *leader = arg;
    double expired = strtod(PQgetvalue(result, 0, 0), NULL), over = strtod(PQgetvalue(result, 0, 1), NULL);
    metric_add(leader->verified_expired, expired);
    metric_add(leader->verified_over, over);
    leader->more_verified = expired >= DELETE_ROWS || over >= DELETE_ROWS;
}

static void on_hosts_tidied(void *arg, const PGresult *result)
{
    struct leader *leader = arg;
    metric_add(leader->hosts_deleted, strtod(PQgetvalue(result, 0, 0), NULL));
    metric_set(leader->hosts_known, strtod(PQgetvalue(result, 0, 1), NULL));
    leader->more_hosts = atoi(PQgetvalue(result, 0, 0)) >= DELETE_ROWS || atoi(PQgetvalue(result, 0, 2)) >= DELETE_ROWS;
}

/* The last of its turn. */
static void on_buckets_tidied(void *arg, const PGresult *result)
{
    struct leader *leader = arg;
    double full = strtod(PQgetvalue(result, 0, 0), NULL), over = strtod(PQgetvalue(result, 0, 1), NULL);
    metric_add(leader->buckets_full, full);
    metric_add(leader->buckets_over, over);
    leader->more_buckets = full >= DELETE_ROWS || over >= DELETE_ROWS;
    leader->retention_at_ms = leader->more_rows || leader->more_verified || leader->more_buckets || leader->more_hosts ? 0 : clock_ms() + RETENTION_MS;
}

static void on_folded(void *arg, const PGresult *result)
{
    struct leader *leader = arg;
    leader->more_processes = PQntuples(result) == 1 && atoi(PQgetvalue(result, 0, 0)) >= FOLD_MOST;
}

static void on_abandoned(void *arg, const PGresult *result)
{
    struct leader *leader = arg;
    int count = PQntuples(result) == 1 ? atoi(PQgetvalue(result, 0, 0)) : 0;
    metric_add(leader->abandoned, count);
    leader->more_leftovers = count >= LEFTOVERS_MOST;
    if (count > 0)
        log_write(LOG_NOTICE, "spool: %d incomplete messages removed, as nobody went on with them", count);
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct leader *leader = arg;
    if (outcome == DB_FAILED) {
        log_write(LOG_ERR, "database: housekeeping: %s", error->why.text);
        leader->more_rows = leader->more_verified = leader->more_buckets = leader->more_processes = leader->more_leftovers = leader->more_hosts = false;
    }
    schedule(leader);
}

static void tidy_hosts(struct leader *leader, struct db_unit *unit)
{
    char days[32], age[32], entries[24], most[16];
    snprintf(days, sizeof days, "%llu days", (unsigned long long)leader->settings->host_days);
    snprintf(age, sizeof age, "%llu ms", (unsigned long long)leader->settings->host_age);
    snprintf(entries, sizeof entries, "%llu", (unsigned long long)leader->settings->host_entries);
    snprintf(most, sizeof most, "%d", DELETE_ROWS);
    const char *const values[] = { days, age, entries, most };
    db_query(unit, "SELECT hosts, known, days FROM hosts_tidy($1::interval, $2::interval, $3::bigint, $4::integer)", 4, values, on_hosts_tidied);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct leader *leader = arg;
    struct db_unit *unit = db_begin(leader->db, on_done, leader);
    if (!leader->leads) {
        db_query(unit, "SELECT pg_try_advisory_lock(hashtextextended('weir leader', 0))", 0, NULL, on_lock);
        db_commit(unit);
        return;
    }
    db_query(unit, "SELECT metrics_fold()", 0, NULL, on_folded);
    /* Coordinators have no key to revoke: one that was taken away is forgotten after a day. */
    db_query(unit,
             "DELETE FROM node WHERE role = 'coordinator' AND lost AND NOT EXISTS (SELECT FROM node_process p WHERE "
             "p.node = name"
             " AND p.seen_at > now() - interval '1 day')",
             0, NULL, NULL);
    char leftover[32], leftovers[16];
    snprintf(leftover, sizeof leftover, "%llu ms", (unsigned long long)leader->settings->spool_leftover);
    snprintf(leftovers, sizeof leftovers, "%d", LEFTOVERS_MOST);
    const char *const abandon[] = { leftover, leftovers };
    db_query(unit, "SELECT spool_abandon($1::interval, $2::integer)", 2, abandon, on_abandoned);
    if (clock_ms() >= leader->retention_at_ms) {
        char days[24], most[16], entries[24], memory[32], buckets[24];
        snprintf(days, sizeof days, "%llu days", (unsigned long long)leader->settings->audit_days);
        snprintf(most, sizeof most, "%d", DELETE_ROWS);
        const char *const values[] = { days, most };
        db_query(unit,
                 "DELETE FROM audit WHERE ctid = ANY (ARRAY(SELECT ctid FROM audit WHERE time < now() - $1::interval"
                 " ORDER BY time LIMIT $2::integer))",
                 2, values, on_deleted);
        db_query(unit, "SELECT spool_tidy($1::interval, $2::integer)", 2, values, NULL);
        snprintf(memory, sizeof memory, "%llu ms", (unsigned long long)leader->settings->act_memory);
        const char *const acts[] = { memory, most };
        db_query(unit, "SELECT act_tidy($1::interval, $2::integer)", 2, acts, on_acts_tidied);
        snprintf(entries, sizeof entries, "%llu", (unsigned long long)leader->settings->verify_entries);
        const char *const verified[] = { entries, most };
        db_query(unit, "SELECT expired, over FROM verify_tidy($1::bigint, $2::integer)", 2, verified, on_verify_tidied);
        tidy_hosts(leader, unit);
        snprintf(buckets, sizeof buckets, "%llu", (unsigned long long)leader->settings->limit_buckets);
        const char *const limited[] = { buckets, most };
        db_query(unit, "SELECT filled, over FROM limit_tidy($1::bigint, $2::integer)", 2, limited, on_buckets_tidied);
    }
    db_commit(unit);
    reputation_turn(leader->reputation);
    relay_test_look(leader->relay_test);
    blocklist_look(leader->blocklist);
    quarantine_turn(leader->quarantine);
    dashboard_turn(leader->dashboard);
    learn_turn(leader->learn);
    outbreak_turn(leader->outbreak);
    turns_look(leader->turns);
    signatures_turn(leader->signatures);
}
