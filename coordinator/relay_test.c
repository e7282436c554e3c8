/*
 * relay_test.c - see relay_test.h
 */
#include "coordinator/relay_test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/policy/policy.h"
#include "coordinator/probes/prober.h"
#include "coordinator/rows.h"
#include "coordinator/text.h"

#define LOOK_MIN_MS 2000
#define LOOK_MAX_MS 60000
#define REPLY_MS 30000
#define TOTAL_MS 120000
#define LEASE    "5 minutes" /* more than TOTAL_MS, and the database's time to hear of it */

struct under_way { /* one test */
    char *node, *listener, *endpoint, *claim;
    bool outbound;
    struct netaddr target, source; /* source: as configured; no family: the system's choice */
    struct policy *policy; /* who is inside, and the first own domain; NULL: not known */
};

struct relay_test {
    struct relay_test_options options;
    uint64_t looked_ms;
    bool leads;
    bool asking; /* the database */
    struct under_way current;
    struct prober *prober; /* NULL: none under way */
    struct metric *tested[PROBES_UNKNOWN + 1];
};

struct relay_test *relay_test_new(const struct relay_test_options *options)
{
    struct relay_test *test = xcalloc(1, sizeof *test);
    test->options = *options;
    for (enum probes_verdict verdict = PROBES_CLOSED; verdict <= PROBES_UNKNOWN; verdict++) {
        test->tested[verdict] = metrics_counter(options->metrics, "weir_relay_tests_total", "verdict=\"%s\"", probes_verdict_text(verdict));
    }
    return test;
}

static void forget_current(struct relay_test *test)
{
    struct under_way *current = &test->current;
    prober_free(&test->prober);
    policy_free(&current->policy);
    free(current->node);
    free(current->listener);
    free(current->endpoint);
    free(current->claim);
    *current = (struct under_way){ 0 };
}

void relay_test_free(struct relay_test **freed)
{
    struct relay_test *test = *freed;
    *freed = NULL;
    if (test == NULL)
        return;
    forget_current(test);
    free(test);
}

/* ---- testing ---- */

/* Of the policy only what is asked here: parsing all of a large one would hold up the loop. NULL: there is none, or (a bug) it is of no use. */
static struct policy *parse_policy(const struct cluster *cluster)
{
    const struct cluster_policy *policy = cluster_policy(cluster);
    struct policy_file files[WIRE_PAYLOADS_MAX];
    struct error why;
    size_t count = 0;
    for (size_t i = 0; i < policy->count; i++) {
        const struct wire_file *file = &policy->files[i];
        if (strcmp(file->name, "networks") == 0 || strcmp(file->name, "local-host-names") == 0)
            files[count++] = (struct policy_file){ file->name, file->text, file->len };
    }
    struct policy *parsed = policy_parse(files, count, &why);
    if (parsed == NULL)
        log_write(LOG_ERR, "relay test: %s", why.text);
    return parsed;
}

static void on_told(void *arg, const PGresult *result)
{
    (void)arg;
    if (PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), "t") != 0)
        log_write(LOG_INFO, "relay test: the result came late; another coordinator tests that listener");
}

static void on_tell_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct relay_test *test = arg;
    test->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: relay test: %s", error->why.text);
    if (outcome == DB_OK && test->leads) {
        test->looked_ms = 0;
        relay_test_look(test);
    }
}

static void tell(struct relay_test *test, enum probes_verdict verdict, const char *reason)
{
    const struct under_way *current = &test->current;
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, reason, strlen(reason), SIZE_MAX);
    const char *const values[] = { test->options.name, current->node, current->listener, current->endpoint, current->claim, probes_verdict_text(verdict), clean.data };
    test->asking = true;
    struct db_unit *unit = db_begin(test->options.db, on_tell_done, test);
    db_query(unit, "SELECT relay_test_result($1, $2, $3, $4, $5::bigint, $6, $7)", sizeof values / sizeof *values, values, on_told);
    db_commit(unit);
    text_fini(&clean);
}

static void on_tested(void *arg, struct prober *prober)
{
    struct relay_test *test = arg;
    const struct under_way *current = &test->current;
    const struct netaddr *local = prober_local(prober);
    char reason[PROBES_REASON_MAX];
    bool inside = current->policy == NULL || (local->family != 0 && policy_is_inside(current->policy, local)); /* "closed" needs to be known */
    enum probes_verdict verdict = probes_judge(prober_probes(prober), inside, reason);
    metric_add(test->tested[verdict], 1);
    log_write(verdict == PROBES_CLOSED ? LOG_INFO : verdict == PROBES_OPEN ? LOG_WARNING : LOG_NOTICE, "relay test: %s listener=%s address=%s verdict=%s: %s",
              current->node, current->listener, current->endpoint, probes_verdict_text(verdict), reason);
    tell(test, verdict, reason);
    forget_current(test);
}

static void begin(struct relay_test *test)
{
    const struct coordinator_settings *settings = test->options.settings;
    struct under_way *current = &test->current;
    current->policy = parse_policy(test->options.cluster);
    const char *own = current->policy != NULL ? policy_first_own_domain(current->policy) : NULL;
    struct prober_options prober = {
        .base = test->options.base,
        .target = current->target,
        .source = current->source,
        .reply_ms = REPLY_MS,
        .total_ms = TOTAL_MS,
        .probes = { .control = own != NULL && !current->outbound, .edge = true },
        .done = on_tested,
        .arg = test,
    };
    snprintf(prober.probes.own, sizeof prober.probes.own, "%s", own != NULL ? own : "");
    snprintf(prober.probes.outside, sizeof prober.probes.outside, "%s", settings->relay_test_outside);
    netaddr_parse(&prober.probes.client, settings->relay_test_client);
    test->prober = prober_new(&prober);
}

static void on_from_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct relay_test *test = arg;
    test->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: relay test: %s", error->why.text);
    if (outcome == DB_OK)
        begin(test);
    else /* the claim is still ours: we may have it again */
        forget_current(test);
}

/* Where the system would connect from: nothing is sent. No family: from nowhere. */
static struct netaddr system_source(const struct netaddr *target)
{
    struct sockaddr_storage address;
    struct netaddr source = { 0 };
    socklen_t len = netaddr_to_sockaddr(target, &address);
    int fd = socket(target->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, len) == 0) {
        len = sizeof address;
        if (getsockname(fd, (struct sockaddr *)&address, &len) != 0 || !netaddr_from_sockaddr(&source, (struct sockaddr *)&address))
            source.family = 0;
    }
    if (fd >= 0)
        close(fd);
    return source;
}

static void add_address(struct rows *rows, const struct netaddr *address)
{
    char text[NETADDR_TEXT_MAX];
    if (address->family == 0)
        return;
    rows_string(rows, netaddr_format(address, text));
    rows_end(rows);
}

/* Edges report what they refuse to it: the database must know by then whose refusals they are. */
static void tell_source(struct relay_test *test)
{
    const struct coordinator_settings *settings = test->options.settings;
    struct under_way *current = &test->current;
    struct netaddr client = { 0 }, local;
    struct rows from;
    rows_init(&from, 1);
    for (size_t i = 0; i < settings->relay_test_source.count; i++) {
        struct netaddr source;
        if (netaddr_parse(&source, settings->relay_test_source.items[i]) && source.family == current->target.family)
            current->source = source;
    }
    local = current->source.family != 0 ? current->source : system_source(&current->target);
    add_address(&from, &local);
    if (netaddr_parse(&client, settings->relay_test_client))
        add_address(&from, &client);
    const char *const values[] = { current->node, current->listener, current->endpoint, current->claim, *rows_values(&from) };
    test->asking = true;
    struct db_unit *unit = db_begin(test->options.db, on_from_done, test);
    db_query(unit, "SELECT relay_test_from($1, $2, $3, $4::bigint, $5::text[])", sizeof values / sizeof *values, values, NULL);
    db_commit(unit);
    rows_fini(&from);
}

/* ---- looking ---- */

void relay_test_lead(struct relay_test *test, bool leads)
{
    test->leads = leads;
}

static void on_claimed(void *arg, const PGresult *result)
{
    struct relay_test *test = arg;
    if (PQntuples(result) == 0)
        return;
    test->current = (struct under_way){
        .node = xstrdup(PQgetvalue(result, 0, 0)),
        .listener = xstrdup(PQgetvalue(result, 0, 1)),
        .endpoint = xstrdup(PQgetvalue(result, 0, 2)),
        .outbound = strcmp(PQgetvalue(result, 0, 3), "t") == 0,
        .claim = xstrdup(PQgetvalue(result, 0, 4)),
    };
}

static void on_claim_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct relay_test *test = arg;
    test->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: relay test: %s", error->why.text);
    if (outcome != DB_OK) { /* a claim that was made all the same is of our name: we may have it again */
        forget_current(test);
    } else if (test->current.node != NULL && netaddr_parse_endpoint(&test->current.target, test->current.endpoint, NULL)) {
        tell_source(test);
    } else if (test->current.node != NULL) {
        tell(test, PROBES_UNKNOWN, "the edge told of no address");
        forget_current(test);
    }
}

/* How often it is worth a look: a new edge need not be tested to the second. */
static uint64_t look_ms(const struct relay_test *test)
{
    uint64_t part = test->options.settings->relay_test_interval / 100;
    return part < LOOK_MIN_MS ? LOOK_MIN_MS : part > LOOK_MAX_MS ? LOOK_MAX_MS : part;
}

void relay_test_look(struct relay_test *test)
{
    uint64_t now = clock_ms();
    if (test->asking || test->prober != NULL || (test->looked_ms != 0 && now - test->looked_ms < look_ms(test)))
        return;
    test->looked_ms = now;
    test->asking = true;
    char silence[32], every[32];
    snprintf(silence, sizeof silence, "%llu ms", (unsigned long long)test->options.node_timeout_ms);
    snprintf(every, sizeof every, "%llu ms", (unsigned long long)test->options.settings->relay_test_interval);
    const char *const values[] = { test->options.name, silence, every, LEASE };
    struct db_unit *unit = db_begin(test->options.db, on_claim_done, test);
    db_query(unit, "SELECT node, listener, endpoint, outbound, claim FROM relay_test_claim($1, $2::interval, $3::interval, $4::interval)", 4, values, on_claimed);
    db_commit(unit);
}
