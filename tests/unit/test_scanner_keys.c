/*
 * test_scanner_keys.c - what a key of [scanner] is to zygotes and workers, and one of [spam] to those who ask the engines: each has its own place there
 *
 * All keys have values of their own, so that none can be taken for another. What workers and clients do with them is tested where they are.
 */
#include <check.h>
#include <grp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* The program itself, whose functions are its own. */
int scanner_main(int argc, char **argv);
#define main scanner_main
#include "scanner/main.c"
#undef main
#include "scanner/spam/spam.h"
#include "tests/unit/suite.h"

#define HEX "0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789abcdefABCD"
#define ZYGOTE(field) offsetof(struct service_options, pool.config.field), sizeof(((struct packet_config *)NULL)->field)
#define POOL(field) offsetof(struct service_options, pool.field), sizeof(((struct pool_options *)NULL)->field)

static const struct {
    const char *key, *value;
    size_t offset, size; /* 0: of the spam engines, see below */
    uint64_t told;
} rows[] = {
    { "mime_depth", "11", ZYGOTE(mime.depth), 11 },
    { "mime_parts", "12", ZYGOTE(mime.parts), 12 },
    { "mime_headers", "13", ZYGOTE(mime.headers), 13 },
    { "mime_header_size", "14KiB", ZYGOTE(mime.header_bytes), 14336 },
    { "mime_words", "15", ZYGOTE(mime.words), 15 },
    { "mime_decoded_size", "4294967295", ZYGOTE(mime.decoded), 4294967295 }, /* the most */
    { "mime_text_size", "17KiB", ZYGOTE(mime.text), 17408 },
    { "native_time", "18ms", ZYGOTE(native_us), 18000 },
    { "huge_pages", "off", ZYGOTE(huge_pages), false },
    { "sandbox", "off", ZYGOTE(sandbox), false },
    { "worker_memory", "121MiB", ZYGOTE(worker_memory), 126877696 },
    { "max_scan_size", "4GiB", ZYGOTE(engine.max_scan_size), 4294967296 }, /* the most */
    { "max_file_size", "23KiB", ZYGOTE(engine.max_file_size), 23552 },
    { "max_files", "24", ZYGOTE(engine.max_files), 24 },
    { "max_recursion", "25", ZYGOTE(engine.max_recursion), 25 },
    { "detect_phishing_heuristics", "on", ZYGOTE(engine.detect_phishing), true },
    { "block_encrypted", "on", ZYGOTE(engine.block_encrypted), true },
    { "block_partial", "off", ZYGOTE(engine.block_partial), false },
    { "spare_workers", "31", POOL(spare), 31 },
    { "workers", "32", POOL(workers[LANE_SMALL]), 63 },       /* and the spare ones */
    { "large_workers", "33", POOL(workers[LANE_LARGE]), 64 },
    { "worker_scans", "34", POOL(worker_scans), 34 },
};
#define ROWS (sizeof rows / sizeof *rows)

static const char spam_keys[] = "[spam]\nspam_engines = rspamd*3, spamd\nspam_connections = 41\nspam_timeout = 42s\nspam_reply_size = 43KiB\nrspamd = 127.0.0.44:1\n"
                                "spamd = 192.0.2.45:1\nrspamd_spam = 4.6\nrspamd_reject = 14.7\nspam_pause = 48s\nrspamd_shared_memory = 49KiB\nrspamd_shared_memory_max = 50KiB\n";

/* As many of the rows as told; those with switches turned the other way are looked at in a second file. */
static void read_file(struct scanner *scanner, size_t from, size_t to, const char *more)
{
    char path[] = "/tmp/weir-test-keys-XXXXXX";
    struct error why = { "" };
    int fd = mkstemp(path);
    dprintf(fd, "[coordinator \"a\"]\nlisten = tcp://192.0.2.5:1\npublish = tcp://192.0.2.5:2\npublic_key = " HEX "\n%s[scanner]\n", more);
    for (size_t i = from; i < to; i++)
        dprintf(fd, "%s = %s\n", rows[i].key, rows[i].value);
    close(fd);
    *scanner = (struct scanner){ .command = { .config_path = path, .name = "scanner-1" }, .run_lock = -1 };
    bool done = settings_read(&scanner->settings, &scanner->command, &why);
    unlink(path);
    ck_assert_msg(done, "%s", why.text);
}

static uint64_t field(const struct service_options *options, size_t row)
{
    uint64_t number = 0; /* little or big: the sizes are those of the fields */
    const char *at = (const char *)options + rows[row].offset;
    switch (rows[row].size) {
    case sizeof(bool):
        return *(const bool *)at;
    case sizeof(uint32_t):
        return *(const uint32_t *)at;
    default:
        ck_assert_uint_eq(rows[row].size, sizeof number);
        memcpy(&number, at, sizeof number);
        return number;
    }
}

START_TEST(each_key_has_its_place)
{
    static struct scanner scanner;
    read_file(&scanner, 0, ROWS, "");
    struct service_options options = service_options(&scanner);
    for (size_t i = 0; i < ROWS; i++)
        ck_assert_msg(field(&options, i) == rows[i].told, "%s = %s: %llu", rows[i].key, rows[i].value, (unsigned long long)field(&options, i));
    settings_fini(&scanner.settings);
}
END_TEST

/* A switch and its neighbour may have the same value above: here each stands alone, and no other field is moved by it. */
START_TEST(a_key_moves_nothing_else)
{
    static struct scanner scanner;
    struct service_options plain, options;
    uint64_t usual[ROWS];
    read_file(&scanner, 0, 0, "");
    plain = service_options(&scanner);
    for (size_t i = 0; i < ROWS; i++)
        usual[i] = field(&plain, i);
    settings_fini(&scanner.settings);
    read_file(&scanner, (size_t)_i, (size_t)_i + 1, "");
    options = service_options(&scanner);
    for (size_t i = 0; i < ROWS; i++) {
        bool workers = strcmp(rows[_i].key, "spare_workers") == 0 || strcmp(rows[_i].key, "workers") == 0; /* one adds to both lanes, and large_workers is half of the other */
        if (i == (size_t)_i)
            ck_assert_msg(field(&options, i) != usual[i], "%s does nothing", rows[i].key);
        else if (!workers)
            ck_assert_msg(field(&options, i) == usual[i], "%s moves %s", rows[_i].key, rows[i].key);
    }
    settings_fini(&scanner.settings);
}
END_TEST

/* ---- those who ask the engines: written down, and answered as a test says ---- */

static struct engine_double {
    struct spam_client_options options;
    char server[40];
    spam_call_handler done;
    void *arg;
} engines[2];
static size_t engine_count;

struct spam_client *__wrap_spam_client_new(struct event_base *base, const struct spam_client_options *options);
void __wrap_spam_client_free(struct spam_client **client);
struct spam_call *__wrap_spam_client_ask(struct spam_client *client, const struct spam_facts *facts, const struct spam_message *message, spam_call_handler done, void *arg);

struct spam_client *__wrap_spam_client_new(struct event_base *base, const struct spam_client_options *options)
{
    (void)base;
    ck_assert_uint_lt(engine_count, 2);
    struct engine_double *engine = &engines[engine_count++];
    *engine = (struct engine_double){ .options = *options };
    snprintf(engine->server, sizeof engine->server, "%s", options->server);
    return (struct spam_client *)engine;
}

void __wrap_spam_client_free(struct spam_client **client)
{
    *client = NULL;
}

struct spam_call *__wrap_spam_client_ask(struct spam_client *client, const struct spam_facts *facts, const struct spam_message *message, spam_call_handler done, void *arg)
{
    (void)facts, (void)message;
    struct engine_double *engine = (struct engine_double *)client;
    engine->done = done;
    engine->arg = arg;
    return NULL;
}

START_TEST(each_client_is_told)
{
    static struct scanner scanner;
    struct metrics metrics;
    struct event_base *base = event_base_new();
    metrics_init(&metrics);
    engine_count = 0;
    const struct group *own = getgrgid(getegid());
    ck_assert_ptr_nonnull(own);
    char *keys = xasprintf("%srspamd_shared_memory_group = %s\n", spam_keys, own->gr_name);
    read_file(&scanner, 0, 0, keys);
    free(keys);
    struct spam *spam = spam_new(base, service_options(&scanner).spam, &metrics);
    ck_assert_uint_eq(engine_count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct spam_client_options *told = &engines[i].options;
        ck_assert(told->connections == 41 && told->timeout_ms == 42000 && told->reply_max == 44032);
        ck_assert(told->scale.half == 4.6 && told->scale.most == 14.7);
        ck_assert(i == 1 ? told->sharing.from == 0 : told->sharing.from == 50176 && told->sharing.max == 51200 && told->sharing.pause_ms == 48000 && told->sharing.group == getegid());
        ck_assert_str_eq(engines[i].server, i == 0 ? "127.0.0.44:1" : "192.0.2.45:1");
    }
    spam_free(&spam);
    settings_fini(&scanner.settings);
    metrics_fini(&metrics);
    event_base_free(base);
}
END_TEST

static void on_checked(void *arg)
{
    *(bool *)arg = true;
}

/* Scores of 80 (weight 3) and 40. */
static const struct {
    const char *combine;
    bool second_answers;
    uint32_t score;
} combined_rows[] = { { "", true, 8000 }, { "spam_combine = max\n", true, 8000 }, { "spam_combine = mean\n", true, 7000 }, { "spam_combine = mean\n", false, 8000 } };

START_TEST(scores_are_combined)
{
    static struct scanner scanner;
    static struct spam_answer first, second;
    struct metrics metrics;
    struct event_base *base = event_base_new();
    struct spam_message message = { .bytes = "", .fd = -1, .size = 10 };
    Weir__ScanOpen open = WEIR__SCAN_OPEN__INIT;
    Weir__SpamFacts facts = WEIR__SPAM_FACTS__INIT;
    bool checked = false;
    char *keys = xasprintf("%s%s", spam_keys, combined_rows[_i].combine);
    metrics_init(&metrics);
    engine_count = 0;
    read_file(&scanner, 0, 0, keys);
    struct spam *spam = spam_new(base, service_options(&scanner).spam, &metrics);
    open.spam = &facts;
    struct spam_facts *taken = spam_facts_new(&open);
    struct spam_check *check = spam_check_new(spam, &taken, &message, on_checked, &checked);
    first.score = 8000;
    second.score = 4000;
    engines[0].done(engines[0].arg, SPAM_CALL_ANSWERED, &first, NULL);
    ck_assert(!checked);
    engines[1].done(engines[1].arg, combined_rows[_i].second_answers ? SPAM_CALL_ANSWERED : SPAM_CALL_GARBAGE, &second, "no JSON");
    ck_assert(checked);
    ck_assert_uint_eq(spam_check_result(check)->score, combined_rows[_i].score);
    spam_check_free(&check);
    spam_free(&spam);
    settings_fini(&scanner.settings);
    metrics_fini(&metrics);
    event_base_free(base);
    free(keys);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scanner_keys");
    TCase *tcase = tcase_create("scanner_keys");
    log_open(&(struct log_options){ .ident = "test", .node = "test", .level = LOG_CRIT });
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, each_key_has_its_place);
    tcase_add_loop_test(tcase, a_key_moves_nothing_else, 0, (int)ROWS);
    tcase_add_test(tcase, each_client_is_told);
    tcase_add_loop_test(tcase, scores_are_combined, 0, (int)(sizeof combined_rows / sizeof *combined_rows));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
