/*
 * test_keys_told.c - what a key of weir.conf is to the database, to helper processes and to probes: each has its own place there
 *
 * The rooms of a coordinator are the real ones. What they begin is written down here instead of being sent, and answered as a test says, so that nothing
 * waits and none of two keys can be taken for the other: all have values of their own. What SQL does with them is tested where the SQL is.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/settings.h"
#include "coordinator/auth/auth.h"
#include "coordinator/auth/helpers.h"
#include "coordinator/auth/kinds.h"
#include "coordinator/auth/packet.h"
#include "coordinator/cluster.h"
#include "coordinator/dashboard/dashboard.h"
#include "coordinator/dns_push.h"
#include "coordinator/leader.h"
#include "coordinator/learn/learn.h"
#include "coordinator/nsupdate.h"
#include "coordinator/outbound.h"
#include "coordinator/outbreak/outbreak.h"
#include "coordinator/probes/prober.h"
#include "coordinator/relay_test.h"
#include "coordinator/reputation.h"
#include "coordinator/signatures/look.h"
#include "coordinator/signatures/signatures.h"
#include "coordinator/turns.h"
#include "scanner/native/model.h"
#include "tests/unit/suite.h"

#define HEX "0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789abcdefABCD"

/* ---- instead of the database: what was asked, and the answers ---- */

#define UNITS_MAX   64
#define QUERIES_MAX 16
#define VALUES_MAX  16

static struct db_unit {
    db_done_handler done;
    void *arg;
    bool ended;
    size_t count;
    struct query {
        const char *sql;
        char *values[VALUES_MAX];
        size_t count;
        db_rows_handler rows;
    } queries[QUERIES_MAX];
} units[UNITS_MAX];
static size_t unit_count;

struct db_unit *__wrap_db_begin(struct db *db, db_done_handler done, void *arg);
void __wrap_db_query(struct db_unit *unit, const char *sql, size_t count, const char *const *values, db_rows_handler rows);
void __wrap_db_query_values(struct db_unit *unit, const char *sql, size_t count, const struct db_value *values, bool binary_rows, db_rows_handler rows);
void __wrap_db_commit(struct db_unit *unit);
bool __wrap_db_is_up(const struct db *db);

struct db_unit *__wrap_db_begin(struct db *db, db_done_handler done, void *arg)
{
    (void)db;
    ck_assert_uint_lt(unit_count, UNITS_MAX);
    units[unit_count] = (struct db_unit){ .done = done, .arg = arg };
    return &units[unit_count++];
}

static struct query *add_query(struct db_unit *unit, const char *sql, size_t count, db_rows_handler rows)
{
    ck_assert_uint_lt(unit->count, QUERIES_MAX);
    ck_assert_uint_le(count, VALUES_MAX);
    struct query *query = &unit->queries[unit->count++];
    *query = (struct query){ .sql = sql, .count = count, .rows = rows };
    return query;
}

void __wrap_db_query(struct db_unit *unit, const char *sql, size_t count, const char *const *values, db_rows_handler rows)
{
    struct query *query = add_query(unit, sql, count, rows);
    for (size_t i = 0; i < count; i++)
        query->values[i] = values[i] != NULL ? xstrdup(values[i]) : NULL;
}

void __wrap_db_query_values(struct db_unit *unit, const char *sql, size_t count, const struct db_value *values, bool binary_rows, db_rows_handler rows)
{
    (void)binary_rows;
    struct query *query = add_query(unit, sql, count, rows);
    for (size_t i = 0; i < count; i++) {
        size_t len = values[i].binary ? values[i].len : strlen(values[i].data) + 1;
        query->values[i] = memcpy(xmalloc(len), values[i].data, len);
    }
}

void __wrap_db_commit(struct db_unit *unit)
{
    (void)unit;
}

bool __wrap_db_is_up(const struct db *db)
{
    (void)db;
    return true;
}

/* The last query whose SQL has that, and its unit. */
static struct query *asked(const char *words, struct db_unit **unit)
{
    for (size_t u = unit_count; u-- > 0;)
        for (size_t q = units[u].count; q-- > 0;)
            if (strstr(units[u].queries[q].sql, words) != NULL) {
                if (unit != NULL)
                    *unit = &units[u];
                return &units[u].queries[q];
            }
    ck_abort_msg("%s was not asked", words);
    return NULL;
}

/* A row of text, or of bytes where len is given, for the last such query; all of its unit that has no rows is done with it. */
struct cell {
    const char *bytes;
    int len; /* 0: up to the NUL */
};

static void answer(const char *words, const struct cell *cells, int count)
{
    struct db_unit *unit;
    struct query *query = asked(words, &unit);
    char name[] = "column";
    PGresAttDesc columns[VALUES_MAX] = { { 0 } };
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    for (int i = 0; i < count; i++)
        columns[i].name = name;
    ck_assert(PQsetResultAttrs(result, count, columns));
    for (int i = 0; i < count; i++)
        ck_assert(PQsetvalue(result, 0, i, (char *)(uintptr_t)cells[i].bytes, cells[i].len != 0 ? cells[i].len : (int)strlen(cells[i].bytes)));
    query->rows(unit->arg, result);
    PQclear(result);
}

#define ANSWER(words, ...) answer(words, (const struct cell[]){ __VA_ARGS__ }, sizeof((const struct cell[]){ __VA_ARGS__ }) / sizeof(struct cell))

/* The unit of the last such query has been committed. */
static void commit(const char *words)
{
    struct db_unit *unit;
    struct db_error none = { 0 };
    asked(words, &unit);
    ck_assert_msg(!unit->ended, "%s is over", words);
    unit->ended = true;
    unit->done(unit->arg, DB_OK, &none);
}

/* ---- instead of time: timers go off when a test says so ---- */

#define TIMERS_MAX 32
static struct timer {
    struct event *event;
    event_callback_fn callback;
    void *arg;
} timers[TIMERS_MAX];
static size_t timer_count;

struct event *__real_event_new(struct event_base *base, evutil_socket_t fd, short what, event_callback_fn callback, void *arg);
struct event *__wrap_event_new(struct event_base *base, evutil_socket_t fd, short what, event_callback_fn callback, void *arg);

struct event *__wrap_event_new(struct event_base *base, evutil_socket_t fd, short what, event_callback_fn callback, void *arg)
{
    ck_assert_uint_lt(timer_count, TIMERS_MAX);
    struct event *event = __real_event_new(base, fd, what, callback, arg);
    timers[timer_count++] = (struct timer){ event, callback, arg };
    return event;
}

static void go_off(const void *arg)
{
    for (size_t i = 0; i < timer_count; i++)
        if (timers[i].arg == arg) {
            timers[i].callback(-1, EV_TIMEOUT, timers[i].arg);
            return;
        }
    ck_abort_msg("it has no timer");
}

/* ---- instead of processes and connections ---- */

static struct helpers_options helpers[2]; /* as they were made: the directory, passwords */
static struct packet directory;
static struct prober_options prober;
static uint64_t nsupdate_ms;

struct helpers *__wrap_helpers_new(const struct helpers_options *options);
void __wrap_helpers_free(struct helpers **taken);
struct prober *__wrap_prober_new(const struct prober_options *options);
void __wrap_prober_free(struct prober **taken);
const struct cluster_policy *__wrap_cluster_policy(const struct cluster *cluster);
void __wrap_quarantine_turn(struct quarantine *quarantine);
void __wrap_blocklist_look(struct blocklist *blocklist);
struct nsupdate *__wrap_nsupdate_start(struct event_base *base, const char *script, const char *key_file, uint64_t timeout_ms, nsupdate_done_handler done, void *arg,
                                       struct error *why);
void __wrap_nsupdate_free(struct nsupdate **taken);

struct helpers *__wrap_helpers_new(const struct helpers_options *options)
{
    bool passwords = strcmp(options->kind, "passwords") == 0;
    helpers[passwords] = *options;
    if (!passwords)
        directory = *options->setup;
    return NULL;
}

void __wrap_helpers_free(struct helpers **taken)
{
    *taken = NULL;
}

struct prober *__wrap_prober_new(const struct prober_options *options)
{
    prober = *options;
    return NULL;
}

void __wrap_prober_free(struct prober **taken)
{
    *taken = NULL;
}

const struct cluster_policy *__wrap_cluster_policy(const struct cluster *cluster)
{
    static const struct cluster_policy none;
    (void)cluster;
    return &none;
}

void __wrap_quarantine_turn(struct quarantine *quarantine)
{
    (void)quarantine;
}

void __wrap_blocklist_look(struct blocklist *blocklist)
{
    (void)blocklist;
}

struct nsupdate *__wrap_nsupdate_start(struct event_base *loop, const char *script, const char *key_file, uint64_t timeout_ms, nsupdate_done_handler done, void *arg,
                                       struct error *why)
{
    static char one;
    (void)loop, (void)script, (void)key_file, (void)done, (void)arg, (void)why;
    nsupdate_ms = timeout_ms;
    return (struct nsupdate *)&one;
}

void __wrap_nsupdate_free(struct nsupdate **taken)
{
    *taken = NULL;
}

/* ---- the keys ---- */

/* Keys with values of their own, none the default, and where the database is told: the value of the query that has these words. */
static const struct row {
    const char *section, *key, *value;
    const char *words;
    size_t place;     /* $1 is 1 */
    const char *told; /* all of the value, or with a quote: what stands in it, as it is JSON */
} rows[] = {
    { "coordinator", "outbound", "on", "outbound_judge(", 1, "{\"mode\": \"on\", " },
    { "coordinator", "outbound_action", "refuse", "outbound_judge(", 1, " \"action\": \"refuse\"," },
    { "coordinator", "outbound_account_recipients", "101", "outbound_judge(", 1, " \"account_recipients\": 101," },
    { "coordinator", "outbound_host_recipients", "102", "outbound_judge(", 1, " \"host_recipients\": 102," },
    { "coordinator", "outbound_registered_recipients", "103", "outbound_judge(", 1, " \"registered_recipients\": 103," },
    { "coordinator", "outbound_rise", "104", "outbound_judge(", 1, " \"rise\": 104," },
    { "coordinator", "outbound_rise_least", "105", "outbound_judge(", 1, " \"rise_least\": 105," },
    { "coordinator", "outbound_viruses", "106", "outbound_judge(", 1, " \"viruses\": 106," },
    { "coordinator", "outbound_bad_share", "97", "outbound_judge(", 1, " \"bad_share\": 97," },
    { "coordinator", "outbound_bad_least", "108", "outbound_judge(", 1, " \"bad_least\": 108," },
    { "coordinator", "outbound_hold_factor", "109", "outbound_judge(", 1, " \"hold_factor\": 109," },
    { "coordinator", "outbound_held_messages", "110", "outbound_judge(", 1, " \"held_messages\": 110," },
    { "coordinator", "outbound_held_bytes", "111MiB", "outbound_judge(", 1, " \"held_bytes\": 116391936," },
    { "coordinator", "outbound_held_share", "12", "outbound_judge(", 1, " \"held_all\": 25769803776}" }, /* of spool_max_bytes */
    { "coordinator", "outbound_senders", "113", "outbound_tidy(", 1, "113" },
    { "coordinator", "spool_max_bytes", "200GiB", "outbound_judge(", 1, " \"held_all\": 25769803776}" },
    { "coordinator", "outbreak", "watch", "outbreak_turn(", 1, "{\"mode\": \"watch\", " },
    { "coordinator", "outbreak_senders", "121", "outbreak_turn(", 1, " \"senders\": 121," },
    { "coordinator", "outbreak_prefixes", "122", "outbreak_turn(", 1, " \"prefixes\": 122," },
    { "coordinator", "outbreak_window", "123s", "outbreak_turn(", 1, " \"window\": \"123000 ms\"," },
    { "coordinator", "outbreak_known", "124s", "outbreak_turn(", 1, " \"known\": \"124000 ms\"," },
    { "coordinator", "outbreak_hold", "125s", "outbreak_turn(", 1, " \"hold\": \"125000 ms\"," },
    { "coordinator", "outbreak_release_on_clean", "on", "outbreak_turn(", 1, " \"release_on_clean\": true," },
    { "coordinator", "outbreak_memory", "127s", "outbreak_tidy(", 1, " \"memory\": \"127000 ms\"," },
    { "coordinator", "outbreak_entries", "128", "outbreak_tidy(", 1, " \"entries\": 128," },
    { "coordinator", "hunt_days", "129", "outbreak_tidy(", 1, " \"hunt\": true, \"hunt_time\": \"129 days\"}" },
    { "coordinator", "learn_queue", "131", "learn_turn(", 1, "131" },
    { "coordinator", "learn_message_size", "132KiB", "learn_turn(", 2, "135168" },
    { "coordinator", "learn_user_daily", "133", "learn_turn(", 3, "133" },
    { "coordinator", "learn_messages", "134", "learn_turn(", 4, "134" },
    { "coordinator", "turn_timeout", "141s", "turns_look(", 2, "141000 ms" },
    { "coordinator", "max_unavailable", "142", "turns_look(", 3, "142" },
    { "coordinator", "turn_margin", "43", "turns_look(", 4, "43" },
    { "coordinator", "gc_memory_growth", "144", "turns_look(", 6, "144" },
    { "coordinator", "gc_messages", "145", "turns_look(", 7, "145" },
    { "coordinator", "signature_time", "181s", NULL, 0, NULL },
    { "coordinator", "signature_canary_time", "151s", "signature_step(", 2, "151000 ms" },
    { "coordinator", "signature_load_time", "152s", "signature_step(", 3, "152000 ms" },
    { "coordinator", "signature_sets", "53", "signature_step(", 4, "53" },
    { "coordinator", "signature_canary_ends", "154", "signature_step(", 5, "154" },
    { "coordinator", "signature_loads", "155", "signature_step(", 6, "155" },
    { "coordinator", "host_days", "161", "hosts_tidy(", 1, "161 days" },
    { "coordinator", "host_age", "162d", "hosts_tidy(", 2, "13996800000 ms" },
    { "coordinator", "host_entries", "1163", "hosts_tidy(", 3, "1163" },
    { "coordinator", "dashboard_idle", "171s", "operator_tidy(", 1, "171000 ms" },
    { "coordinator", "dashboard_session", "172s", "operator_tidy(", 2, "172000 ms" },
    { "coordinator", "relay_test_client", "198.51.100.81", "relay_test_from(", 5, "{\"192.0.2.82\",\"198.51.100.81\"}" },
    { "coordinator", "relay_test_source", "192.0.2.82", "relay_test_from(", 5, "{\"192.0.2.82\",\"198.51.100.81\"}" },
    { "coordinator", "relay_test_outside", "outside.example.edu", NULL, 0, NULL },
    { "coordinator", "learn_user_score", "29", NULL, 0, NULL },
    { "coordinator", "reputation_half_life", "191m", NULL, 0, NULL },
    { "auth", "auth_account_failures", "201", "auth_begin(", 5, "201" },
    { "auth", "auth_client_failures", "202", "auth_begin(", 6, "202" },
    { "auth", "auth_failure_window", "203s", "auth_begin(", 7, "203000 ms" },
    { "auth", "auth_place_memory", "204s", "auth_begin(", 9, "204000 ms" },
    { "auth", "auth_check_timeout", "205s", "auth_begin(", 8, "410000 ms" }, /* twice: so long it may be under way */
    { "auth", "auth_queue", "206", NULL, 0, NULL },
    { "auth", "ldap_uri", "ldaps://192.0.2.1", NULL, 0, NULL },
    { "auth", "ldap_dn", "uid=%u,dc=example", NULL, 0, NULL },
    { "auth", "ldap_timeout", "27s", NULL, 0, NULL },
    { "auth", "ldap_sender_attribute", "mailLocalAddress", NULL, 0, NULL },
    { "dns", "dns_name", "mx.example.edu", "dns_look(", 2, "mx.example.edu" },
    { "dns", "dns_zone", "example.edu", "dns_look(", 3, "example.edu" },
    { "dns", "dns_server", "192.0.2.53", "dns_look(", 4, "192.0.2.53" },
    { "dns", "dns_ttl", "211s", "dns_look(", 5, "211" },
    { "dns", "drain_dns_wait", "212s", "dns_look(", 6, "212000 ms" },
    { "dns", "dns_former_wait", "213s", "dns_former_due(", 1, "213000 ms" },
    { "dns", "dns_interval", "214s", "dns_former_due(", 2, "214000 ms" },
    { "dns", "dns_push_timeout", "21s", NULL, 0, NULL },
};
#define ROWS (sizeof rows / sizeof *rows)

/* Keys of these rooms that are told to somebody else, with their tests there. */
static const char *const elsewhere[] = { "outbound_throttle" /* the state that edges are told: integration/test_outbound.py */ };

static struct coordinator_settings settings;
static struct auth_settings auth_settings;
static struct dns_settings dns_settings;
static struct metrics metrics;
static struct event_base *base;
static struct questions *questions;
static struct relay_test *relay_test;
static struct turns *turns;
static struct signatures *signatures;
static struct outbound *outbound;
static struct dashboard *dashboard;
static struct learn *learn;
static struct outbreak_room *outbreak;
static struct reputation_room *reputation;
static struct auth *auth;
static struct dns_push *dns_push;
static struct leader *leader;

static void add_section(char **text, const char *section, const char *head)
{
    char *longer = xasprintf("%s%s", *text, head);
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].section, section) == 0) {
            char *more = xasprintf("%s%s = %s\n", longer, rows[i].key, rows[i].value);
            free(longer);
            longer = more;
        }
    free(*text);
    *text = longer;
}

static void read_settings(void)
{
    char path[] = "/tmp/weir-test-keys-XXXXXX", *text = xstrdup("");
    struct error why = { "" };
    add_section(&text, "coordinator", "[coordinator \"a\"]\nlisten = tcp://192.0.2.5:1\npublish = tcp://192.0.2.5:2\npublic_key = " HEX "\n");
    add_section(&text, "auth", "[auth]\n");
    add_section(&text, "dns", "[dns]\n");
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    struct config *config = settings_load(path, NULL, 0, &why);
    unlink(path);
    ck_assert_msg(config != NULL, "%s", why.text);
    ck_assert_msg(config_fill(config, "coordinator", "a", &settings, &why), "%s", why.text);
    ck_assert_msg(config_fill(config, "auth", NULL, &auth_settings, &why), "%s", why.text);
    ck_assert_msg(config_fill(config, "dns", NULL, &dns_settings, &why), "%s", why.text);
    config_free(&config);
    free(text);
}

static void make_rooms(void)
{
    struct error why = { "" };
    struct relay_test_options testing = { .base = base, .name = "a", .settings = &settings, .node_timeout_ms = 3000, .metrics = &metrics };
    struct turns_options turning = { .base = base, .settings = &settings, .node_timeout_ms = 3000, .metrics = &metrics };
    struct signatures_options signing = { .base = base, .questions = questions, .name = "a", .settings = &settings, .node_timeout_ms = 3000, .metrics = &metrics };
    struct dashboard_options showing = { .base = base, .name = "a", .cluster = "c", .settings = &settings, .auth_settings = &auth_settings, .metrics = &metrics };
    struct dns_push_options pushing = { .base = base, .name = "a", .settings = &dns_settings, .node_timeout_ms = 3000, .metrics = &metrics };
    relay_test = relay_test_new(&testing);
    turns = turns_new(&turning);
    signatures = signatures_new(&signing);
    outbound = outbound_new(base, NULL, &settings, &metrics);
    dashboard = dashboard_new(&showing);
    learn = learn_new(NULL, questions, &settings, "a", &metrics);
    outbreak = outbreak_room_new(base, NULL, NULL, questions, &settings, &metrics);
    reputation = reputation_new(base, NULL, NULL, questions, &settings, &metrics);
    auth = auth_new(base, NULL, questions, &auth_settings, &metrics, &why);
    ck_assert_msg(auth != NULL, "%s", why.text);
    dns_push = dns_push_new(&pushing);
    leader = leader_new(base, NULL, &settings, relay_test, reputation, turns, signatures, outbound, dns_push, NULL, NULL, dashboard, learn, outbreak, &metrics);
}

/* An edge asks whether a login is right. */
static void answered(void *asker, Weir__Frame *frame, const struct link_payload *payloads, size_t count)
{
    (void)asker, (void)frame, (void)payloads, (void)count;
}

static bool is_there(const void *asker)
{
    (void)asker;
    return true;
}

static void ask_login(void)
{
    static const struct question_asker functions = { .answered = answered, .is_there = is_there };
    static uint8_t login[] = "alice", password[] = "word", client[] = "192.0.2.9";
    Weir__AuthCheck check = WEIR__AUTH_CHECK__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    Weir__Frame frame = WEIR__FRAME__INIT;
    check.login = wire_bytes(login, sizeof login - 1);
    check.password = wire_bytes(password, sizeof password - 1);
    check.client = wire_bytes(client, sizeof client - 1);
    question.request = 1;
    question.body_case = WEIR__QUESTION__BODY_AUTH_CHECK;
    question.auth_check = &check;
    frame.body_case = WEIR__FRAME__BODY_QUESTION;
    frame.question = &question;
    struct link_message message = { .frame = &frame };
    questions_take(questions, "edge-1", &message, &functions, NULL);
}

/* Each room once, up to what it tells last. */
static void setup(void)
{
    log_open(&(struct log_options){ .ident = "test", .node = "test", .level = LOG_CRIT });
    read_settings();
    metrics_init(&metrics);
    base = event_base_new();
    questions = questions_new(2, &metrics);
    make_rooms();
    ask_login();
    go_off(leader);
    ANSWER("pg_try_advisory_lock", { "t", 0 });
    commit("pg_try_advisory_lock");
    go_off(leader);
    go_off(outbound);
    commit("outbound_judge(");
    ANSWER("relay_test_claim(", { "edge-1", 0 }, { "relay", 0 }, { "192.0.2.90:25", 0 }, { "f", 0 }, { "7", 0 });
    commit("relay_test_claim(");
    commit("relay_test_from(");
    go_off(dns_push);
    ANSWER("dns_look(", { "[\"192.0.2.91\"]", 0 }, { "[]", 0 }, { "t", 0 }, { "t", 0 }, { "0", 0 }, { "1", 0 }, { "0", 0 });
    commit("dns_look(");
}

static void teardown(void)
{
    leader_free(&leader);
    dns_push_free(&dns_push);
    outbound_free(&outbound);
    outbreak_room_free(&outbreak);
    learn_free(&learn);
    dashboard_free(&dashboard);
    auth_free(&auth);
    reputation_free(&reputation);
    signatures_free(&signatures);
    turns_free(&turns);
    relay_test_free(&relay_test);
    questions_free(&questions);
    event_base_free(base);
    metrics_fini(&metrics);
    config_clear(settings_table("coordinator"), &settings);
    config_clear(settings_table("auth"), &auth_settings);
    config_clear(settings_table("dns"), &dns_settings);
    for (size_t u = 0; u < unit_count; u++)
        for (size_t q = 0; q < units[u].count; q++)
            for (size_t i = 0; i < units[u].queries[q].count; i++)
                free(units[u].queries[q].values[i]);
    unit_count = timer_count = 0;
}

START_TEST(each_key_has_its_place)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].words == NULL)
            continue;
        const struct query *query = asked(rows[i].words, NULL);
        ck_assert_msg(rows[i].place <= query->count, "%s: %s has %zu values", rows[i].key, rows[i].words, query->count);
        const char *told = query->values[rows[i].place - 1];
        bool json = told[0] == '{' && rows[i].told[0] != '\0' && strchr(rows[i].told, ':') != NULL;
        ck_assert_msg(json ? strstr(told, rows[i].told) != NULL : strcmp(told, rows[i].told) == 0, "%s = %s: %s $%zu is %s", rows[i].key, rows[i].value, rows[i].words,
                      rows[i].place, told);
    }
}
END_TEST

static bool is_known(const char *key)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].key, key) == 0)
            return true;
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        if (strcmp(elsewhere[i], key) == 0)
            return true;
    return false;
}

/* A key that is new has a line above, or one in the list of those that are told elsewhere. */
START_TEST(no_key_of_these_rooms_is_left_out)
{
    for (const struct config_key *key = settings_table("coordinator")->keys; key->name != NULL; key++)
        if (strncmp(key->name, "outbound_", 9) == 0 || strncmp(key->name, "outbreak_", 9) == 0)
            ck_assert_msg(is_known(key->name), "%s is in no test", key->name);
}
END_TEST

START_TEST(helpers_are_told)
{
    const char *fields[PACKET_FIELDS_MAX];
    ck_assert_uint_eq(helpers[0].queue_max, 206);
    ck_assert_uint_eq(helpers[1].queue_max, 206);
    ck_assert_uint_eq(helpers[0].timeout_ms, 27000);
    ck_assert_uint_eq(helpers[1].timeout_ms, 205000);
    ck_assert_uint_eq(packet_fields(&directory, fields), DIRECTORY_FIELDS);
    ck_assert_str_eq(fields[DIRECTORY_SENDER_ATTRIBUTE], "mailLocalAddress");
}
END_TEST

START_TEST(probes_are_told)
{
    char text[NETADDR_TEXT_MAX];
    ck_assert_str_eq(prober.probes.outside, "outside.example.edu");
    ck_assert_str_eq(netaddr_format(&prober.probes.client, text), "198.51.100.81");
    ck_assert_str_eq(netaddr_format(&prober.source, text), "192.0.2.82");
}
END_TEST

START_TEST(nsupdate_is_told)
{
    ck_assert_uint_eq(nsupdate_ms, 21000);
}
END_TEST

START_TEST(each_connection_is_told)
{
    char *told = reputation_setup(&settings);
    ck_assert_msg(strstr(told, "SET weir.reputation_half_life = '11460.000';") != NULL, "%s", told);
    free(told);
}
END_TEST

/* A model says itself what one user may do to a score: it is stored with one message of spam in it, of an operator. */
START_TEST(a_model_is_told)
{
    static const char number[8] = { 0 }, features[8] = { 0 };
    ANSWER("learn_turn(", { "2", 0 }, { "0", 0 }, { "1", 0 });
    commit("learn_turn(");
    ANSWER("learn_events(", { number, 8 }, { number, 8 }, { number, 8 }, { "spam", 0 }, { features, 8 });
    commit("learn_events(");
    commit("learn_trial(");
    commit("learn_sample(");
    commit("learn_model_begin(");
    uint32_t most;
    memcpy(&most, asked("learn_model_put(", NULL)->values[2] + offsetof(struct native_model, personal_most), sizeof most);
    ck_assert_uint_eq(most, 2900);
}
END_TEST

/* ---- a look: a process of its own, which is this program again ---- */

static struct look_result found;

static void on_looked(void *arg, const struct look_result *result)
{
    (void)arg;
    found = *result;
    event_base_loopbreak(base);
}

static void write_file(const char *folder, const char *name, size_t len)
{
    char *path = xasprintf("%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    for (size_t i = 0; i < len; i++)
        fputc('x', file);
    ck_assert_int_eq(fclose(file), 0);
    free(path);
}

static void remove_folder(const char *folder)
{
    char *command = xasprintf("rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
    free(command);
}

/* Two files of 600 bytes are more than 1199, and no more than 1200. */
static const struct {
    uint64_t size;
    size_t files;
} sizes[] = { { 1199, 0 }, { 1200, 2 } };

START_TEST(a_set_is_no_larger_than_signature_size)
{
    char folder[] = "/tmp/weir-test-look-XXXXXX", work[64];
    struct coordinator_settings own = settings;
    struct error why;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(work, sizeof work, "%s/work", folder);
    write_file(folder, "a.ndb", 600);
    write_file(folder, "b.ndb", 600);
    own.signature_folder = folder;
    own.signature_work = work;
    own.signature_size = sizes[_i].size;
    struct look *look = look_new(base, &own, on_looked, NULL, &why);
    ck_assert_msg(look != NULL, "%s", why.text);
    event_base_dispatch(base);
    ck_assert_uint_eq(found.count, sizes[_i].files);
    ck_assert_msg((strstr(found.words, ": more than 1199 bytes of signatures") != NULL) == (sizes[_i].files == 0), "%s", found.words);
    remove_folder(folder);
}
END_TEST

/* Nothing has to take so long for that: the timer is the key's, and ends the look. */
START_TEST(a_look_ends_after_signature_time)
{
    char folder[] = "/tmp/weir-test-look-XXXXXX", nothing[] = "";
    struct coordinator_settings own = settings;
    struct error why;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    own.signature_folder = nothing;
    own.signature_work = folder;
    struct look *look = look_new(base, &own, on_looked, NULL, &why);
    ck_assert_msg(look != NULL, "%s", why.text);
    struct event *limit = timers[timer_count - 1].event;
    struct timeval due, now;
    ck_assert(event_pending(limit, EV_TIMEOUT, &due));
    gettimeofday(&now, NULL);
    ck_assert_msg(due.tv_sec - now.tv_sec <= 182 && due.tv_sec - now.tv_sec > 181 - 60, "%ld s", (long)(due.tv_sec - now.tv_sec));
    timers[timer_count - 1].callback(-1, EV_TIMEOUT, look);
    ck_assert_msg(strstr(found.words, "it takes longer than signature_time") != NULL && found.count == 0, "%s", found.words);
    remove_folder(folder);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], HELPERS_WORD) == 0 && strcmp(argv[2], LOOK_WORD) == 0)
        return look_fetch();
    Suite *suite = suite_create("keys_told");
    TCase *tcase = tcase_create("keys_told");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, each_key_has_its_place);
    tcase_add_test(tcase, no_key_of_these_rooms_is_left_out);
    tcase_add_test(tcase, helpers_are_told);
    tcase_add_test(tcase, probes_are_told);
    tcase_add_test(tcase, nsupdate_is_told);
    tcase_add_test(tcase, each_connection_is_told);
    tcase_add_test(tcase, a_model_is_told);
    tcase_add_loop_test(tcase, a_set_is_no_larger_than_signature_size, 0, 2);
    tcase_add_test(tcase, a_look_ends_after_signature_time);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
