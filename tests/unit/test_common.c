/* test_common.c - errors, memory, clock, UTF-8, metrics and queue ids */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/error.h"
#include "common/idn.h"
#include "common/input.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "common/process_watch.h"
#include "common/queue_id.h"
#include "common/utf8.h"
#include "tests/unit/suite.h"

START_TEST(error_words)
{
    struct error why;

    error_set(NULL, "%s", "nobody listens");
    error_set(&why, "%s", "two\nlines\r\n\n");
    ck_assert_str_eq(why.text, "two lines ");
    error_set(&why, "first");
    error_set(&why, "%s: second", why.text); /* old words inside new ones */
    ck_assert_str_eq(why.text, "first: second");

    char long_text[2000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    error_set(&why, "%s", long_text);
    ck_assert_uint_eq(strlen(why.text), sizeof why.text - 1);
}
END_TEST

/* Of a file, and of a pipe into which it is written in pieces. */
static const struct {
    const char *first, *second, *line; /* NULL: refused */
} inputs[] = {
    { "", "", "" },           { "a line", "", "a line" }, { "a line\n", "", "a line" },     { "a ", "line\r\n", "a line" },
    { "one\n", "two", "one" }, { "\n", "two", "" },        { "1234567", "", "1234567" },    { "1234567", "8", NULL },
    { "123", "45678\n", NULL }, { "one\n2345", "678", "one" },
};

static void write_pieces(const char *path, const char *first, const char *second)
{
    FILE *out = fopen(path, "w");
    ck_assert_ptr_nonnull(out);
    fputs(first, out);
    fflush(out);
    fputs(second, out);
    fclose(out);
}

START_TEST(input_lines)
{
    char folder[] = "/tmp/weir-test.XXXXXX", path[64], line[8];
    struct error why = { "" };
    ck_assert_ptr_nonnull(mkdtemp(folder));
    for (int pipe = 0; pipe < 2; pipe++) {
        pid_t writer = 0;
        snprintf(path, sizeof path, "%s/%d", folder, pipe);
        if (pipe)
            ck_assert_int_eq(mkfifo(path, 0600), 0);
        if (!pipe)
            write_pieces(path, inputs[_i].first, inputs[_i].second);
        else if ((writer = fork()) == 0) {
            signal(SIGPIPE, SIG_IGN); /* nobody reads past the line */
            write_pieces(path, inputs[_i].first, inputs[_i].second);
            _exit(0);
        }
        ck_assert_int_eq(input_read_line(path, line, sizeof line, &why), inputs[_i].line != NULL);
        if (inputs[_i].line != NULL)
            ck_assert_str_eq(line, inputs[_i].line);
        else
            ck_assert_str_eq(why.text, "its first line has more than 7 bytes");
        ck_assert_int_eq(input_is_no_pipe(path, &why), !pipe);
        if (writer > 0)
            ck_assert_int_eq(waitpid(writer, NULL, 0), writer);
        unlink(path);
    }
    ck_assert(!input_read_line(path, line, sizeof line, &why));
    ck_assert_str_eq(why.text, "No such file or directory");
    ck_assert(input_is_no_pipe(path, &why)); /* whoever opens it will say so */
    rmdir(folder);
}
END_TEST

START_TEST(fatal_exits)
{
    fatal("cannot go on: %d", 7);
}
END_TEST

START_TEST(assert_aborts)
{
    weir_assert(1 + 1 == 3);
}
END_TEST

START_TEST(memory_copies)
{
    char *text = xstrndup("abcdef", 3);
    ck_assert_str_eq(text, "abc");
    free(text);
    char unterminated[2] = { 'x', 'y' };
    text = xstrndup(unterminated, sizeof unterminated);
    ck_assert_str_eq(text, "xy");
    free(text);
    text = xasprintf("%s-%d", "edge", 1);
    ck_assert_str_eq(text, "edge-1");
    free(text);
    void *nothing = xmemdup(NULL, 0);
    ck_assert_ptr_nonnull(nothing);
    free(nothing);
    free(xmalloc(0));
    free(xcalloc(0, 8));
    free(xrealloc(xmalloc(8), 0));
}
END_TEST

START_TEST(memory_overflow_ends_the_process)
{
    volatile size_t huge = SIZE_MAX / 2; /* volatile: or the compiler sees through it and warns */
    free(xcalloc(huge, 4));
}
END_TEST

START_TEST(clock_reads)
{
    char date[40];
    uint64_t before = clock_ms();
    uint64_t us = clock_us();

    ck_assert_uint_ge(us / 1000, before);
    ck_assert_uint_ge(clock_wall_ms(), 1600000000000u);
    uint64_t ran = clock_cpu_us(), since = clock_us();
    usleep(20000);
    ck_assert_uint_lt(clock_cpu_us() - ran, clock_us() - since); /* it stands while we sleep */
    for (since = clock_cpu_us(); clock_cpu_us() - since < 1000;) /* and runs while we do */
        ;
    setenv("TZ", "WST+3:30", 1); /* west of Greenwich, not a whole hour */
    tzset();
    ck_assert_ptr_eq(clock_rfc5322(date), date);
    ck_assert_str_eq(date + strlen(date) - 6, " -0330");
    setenv("TZ", "YYY-5:45", 1);
    tzset();
    clock_rfc5322(date);
    ck_assert_str_eq(date + strlen(date) - 6, " +0545");
    int day, year;
    char name[4], month[4];
    ck_assert_int_eq(sscanf(date, "%3s, %d %3s %d", name, &day, month, &year), 4);
}
END_TEST

static const struct {
    const char *text;
    size_t len, size;
    uint32_t code;
} utf8_cases[] = {
    { "a", 1, 1, 'a' },
    { "", 0, 0, 0 },
    { "\0", 1, 1, 0 },
    { "\xc3\xa9", 2, 2, 0xe9 },
    { "\xc3", 1, 0, 0 },
    { "\xc3(", 2, 0, 0 },
    { "\xc0\xaf", 2, 0, 0 },             /* overlong */
    { "\xe0\x80\xaf", 3, 0, 0 },         /* overlong */
    { "\xe2\x82\xac", 3, 3, 0x20ac },
    { "\xed\xa0\x80", 3, 0, 0 },         /* surrogate */
    { "\xf0\x9f\x93\xa7", 4, 4, 0x1f4e7 },
    { "\xf0\x80\x80\x80", 4, 0, 0 },     /* overlong */
    { "\xf4\x90\x80\x80", 4, 0, 0 },     /* above U+10FFFF */
    { "\xff", 1, 0, 0 },
    { "\x80", 1, 0, 0 },
};

START_TEST(utf8_reads)
{
    uint32_t code = 0;

    ck_assert_uint_eq(utf8_read(utf8_cases[_i].text, utf8_cases[_i].len, &code), utf8_cases[_i].size);
    if (utf8_cases[_i].size > 0)
        ck_assert_uint_eq(code, utf8_cases[_i].code);
}
END_TEST

START_TEST(metrics_are_found_again)
{
    struct metrics metrics;

    metrics_init(&metrics);
    struct metric *a = metrics_counter(&metrics, "weir_x_total", "listener=\"%s\"", "relay");
    struct metric *b = metrics_counter(&metrics, "weir_x_total", "listener=\"%s\"", "other");
    struct metric *plain = metrics_gauge(&metrics, "weir_y", NULL);
    ck_assert_ptr_ne(a, b);
    ck_assert_ptr_eq(metrics_counter(&metrics, "weir_x_total", "listener=\"relay\""), a);
    ck_assert_ptr_eq(metrics_gauge(&metrics, "weir_y", NULL), plain);
    ck_assert_str_eq(plain->labels, "");
    metric_add(a, 2);
    metric_add(a, 1);
    metric_set(plain, 7);
    metric_add(plain, -1);
    ck_assert_double_eq(a->value, 3);
    ck_assert_double_eq(plain->value, 6);
    metric_relabel(plain, "version=\"%d\"", 2);
    ck_assert_str_eq(plain->labels, "version=\"2\"");
    ck_assert_ptr_eq(metrics_gauge(&metrics, "weir_y", "version=\"2\""), plain);
    ck_assert_ptr_eq(metrics.first, a);
    ck_assert_ptr_eq(a->next, b);
    metrics_fini(&metrics);
    ck_assert_ptr_null(metrics.first);
}
END_TEST

START_TEST(metrics_histogram_buckets)
{
    struct metrics metrics;

    metrics_init(&metrics);
    struct metric *h = metrics_histogram(&metrics, "weir_size_bytes", metrics_bytes_bounds, metrics_bytes_count, NULL);
    metric_observe(h, 1024);  /* a bound belongs to its bucket */
    metric_observe(h, 1025);
    metric_observe(h, 0);
    metric_observe(h, 1e12);  /* above all */
    ck_assert_uint_eq(h->buckets[0], 2);
    ck_assert_uint_eq(h->buckets[1], 1);
    ck_assert_uint_eq(h->count, 4);
    ck_assert(fabs(h->value - (1e12 + 2049)) < 1);
    ck_assert_double_eq(metrics_bytes_bounds[metrics_bytes_count - 1], 64.0 * 1024 * 1024);
    ck_assert_double_eq(metrics_seconds_bounds[0], 0.0005);
    ck_assert_double_eq(metrics_seconds_bounds[metrics_seconds_count - 1], 120);
    for (size_t i = 1; i < metrics_seconds_count; i++)
        ck_assert(metrics_seconds_bounds[i - 1] < metrics_seconds_bounds[i]);
    metrics_fini(&metrics);
}
END_TEST

START_TEST(queue_ids_grow)
{
    struct queue_id_source source;
    const uint64_t start = 1795287000123u;

    queue_id_source_init(&source, "edge-1", 0, 42);
    source.counter = (1u << 24) - 3; /* wraps within one millisecond */
    struct queue_id last = queue_id_next(&source, start);
    ck_assert_uint_eq(strlen(last.text), QUEUE_ID_LEN);
    ck_assert(queue_id_is_valid(last.text, QUEUE_ID_LEN));
    ck_assert_uint_eq(queue_id_wall_ms(&last), start);
    for (int i = 0; i < 1000; i++) {
        /* the clock stands still, steps back, goes on */
        uint64_t now = i < 300 ? start : i < 600 ? start - 3600000 : start + (uint64_t)i;
        struct queue_id id = queue_id_next(&source, now);
        ck_assert_int_lt(strcmp(last.text, id.text), 0);
        last = id;
    }
}
END_TEST

/* Ids of one millisecond, which are as alike as any. */
START_TEST(queue_ids_scatter)
{
    struct queue_id_source source;
    unsigned count[7] = { 0 };

    queue_id_source_init(&source, "edge-1", 0, 42);
    for (int i = 0; i < 7000; i++) {
        struct queue_id id = queue_id_next(&source, 1795287000123u);
        count[queue_id_scatter(&id) % 7]++;
    }
    for (int i = 0; i < 7; i++)
        ck_assert(count[i] > 850 && count[i] < 1150); /* the same in each run */
}
END_TEST

START_TEST(queue_ids_name_the_process)
{
    struct queue_id_source a, b, c;

    queue_id_source_init(&a, "edge-1", 0, 1);
    queue_id_source_init(&b, "edge-1", 1, 1);
    queue_id_source_init(&c, "edge-2", 0, 1);
    ck_assert_uint_ne(a.process, b.process);
    ck_assert_uint_ne(a.process, c.process);
    ck_assert_uint_lt(a.process, 1u << 28);
    struct queue_id id = queue_id_next(&a, 0);
    ck_assert(queue_id_is_valid(id.text, QUEUE_ID_LEN));
    /* all bits of the process are in the id */
    struct queue_id_source full = { .process = (1u << 28) - 1, .counter = (1u << 24) - 2 }, zero = { .counter = (1u << 24) - 1 };
    ck_assert_str_eq(queue_id_next(&full, 5).text, "000000000QZZZZZZZZZZ");
    ck_assert_str_eq(queue_id_next(&zero, 5).text, "000000000M0000000000");
}
END_TEST

static const struct {
    const char *text;
    bool valid;
} id_cases[] = {
    { "06FZQ7XKC3ABCDEFGHJK", true },   { "06FZQ7XKC3ABCDEFGHJ", false },  { "06FZQ7XKC3ABCDEFGHJKM", false },
    { "06fzq7xkc3abcdefghjk", false },  { "06FZQ7XKC3ABCDEFGHJI", false }, { "06FZQ7XKC3ABCDEFGHJU", false },
    { "06FZQ7XKC3ABCDEFGH\nK", false }, { "", false },
};

START_TEST(queue_id_validity)
{
    ck_assert_int_eq(queue_id_is_valid(id_cases[_i].text, strlen(id_cases[_i].text)), id_cases[_i].valid);
    ck_assert(!queue_id_is_valid("06FZQ7XKC3ABCDEFGHJ\0", 20));
}
END_TEST

static const struct {
    const char *name, *ascii;
} idns[] = {
    { "example.edu", "example.edu" },
    { "_x.EXAMPLE.edu.", "_x.EXAMPLE.edu." }, /* as it is */
    { "b\u00fccher.example", "xn--bcher-kva.example" },
    { "B\u00dcCHER.EXAMPLE", "xn--bcher-kva.example" },
    { "bu\u0308cher.example", "xn--bcher-kva.example" }, /* decomposed */
    { "\uff42\u00fccher.example", "xn--bcher-kva.example" }, /* a wide b */
    { "b\u00fccher.XN--BCHER-KVA.example", "xn--bcher-kva.xn--bcher-kva.example" },
    { "stra\u00dfe.example", "xn--strae-oqa.example" }, /* not transitional: not strasse */
    { "\u00df.de", "xn--zca.de" },
    { "\u1e9e.de", "xn--zca.de" }, /* its capital: not ss.de */
    { "STRA\u1e9eE.\u1e9e\u1e9e.example", "xn--strae-oqa.xn--zcaa.example" },
    { "_x.b\u00fccher.example.", "_x.xn--bcher-kva.example." },
    { "\u4f8b\u3048.\u30c6\u30b9\u30c8", "xn--r8jz45g.xn--zckzah" },
    { "\uff11\uff12.\uff10", "12.0" },
    { "\u202e.example", NULL },          /* a control character */
    { "exa\u200bmple.edu", NULL },       /* nobody sees these */
    { "\ufeffexample.edu", NULL },
    { "exa\u00admple.edu", NULL },
    { "exa\u00a0mple.edu", NULL },       /* a space, after mapping */
    { "\u2100.edu", NULL },              /* "a/c" */
    { "b\u00fccher\u3002example", NULL }, /* another script's full stop */
    { "b\u00fccher\u2024example", NULL },
    { "\u00fc.xn--zz.edu", NULL },       /* not what punycode makes */
    { "\u0301a.example", NULL },
    { "-\u00fc.example", NULL },
    { "\xff.example", NULL },
    { "\xc3.example", NULL },
};

START_TEST(internationalized_names)
{
    char out[IDN_NAME_MAX], again[IDN_NAME_MAX];
    bool good = idn_to_ascii(out, idns[_i].name);
    ck_assert_msg(good == (idns[_i].ascii != NULL), "%s", idns[_i].name);
    if (!good)
        return;
    ck_assert_str_eq(out, idns[_i].ascii);
    ck_assert(idn_is_ascii(out) && idn_to_ascii(again, out));
    ck_assert_str_eq(again, out);
}
END_TEST

static const struct {
    const char *name, *unicode; /* NULL: refused */
} names_in_unicode[] = {
    { "Example.EDU", "example.edu" },
    { "xn--bcher-kva.example", "b\u00fccher.example" },
    { "XN--BCHER-KVA.example", "b\u00fccher.example" },
    { "xn--r8jz45g.xn--zckzah", "\u4f8b\u3048.\u30c6\u30b9\u30c8" },
    { "xn--zca.de", "\u00df.de" },
    { "xn--zz.edu", NULL },        /* not what punycode makes */
    { "xn--.edu", NULL },
    { "xn--example-nka.edu", NULL }, /* with what nobody sees */
};

START_TEST(internationalized_names_in_unicode)
{
    char out[IDN_NAME_MAX];
    bool good = idn_to_unicode(out, names_in_unicode[_i].name);
    ck_assert_msg(good == (names_in_unicode[_i].unicode != NULL), "%s: %s", names_in_unicode[_i].name, good ? out : "refused");
    if (good)
        ck_assert_str_eq(out, names_in_unicode[_i].unicode);
}
END_TEST

START_TEST(internationalized_names_too_long)
{
    char name[400], out[IDN_NAME_MAX];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    ck_assert(!idn_to_ascii(out, name));
    memcpy(name, "\u00fc.", 3);
    ck_assert(!idn_to_ascii(out, name));
}
END_TEST

/* Two looks, as a name, a state and the time used in each: was the process starved between them? */
static const struct {
    const char *before, *after;
    bool starved;
} watch_cases[] = {
    { "(weir-edge) R 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0 20 0 4 0 99", "(weir-edge) R 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0 20 0 4 0 99", true },
    { "(weir-edge) S 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0", "(weir-edge) R 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0", true }, /* it has just got work */
    { "(weir-edge) R 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0", "(weir-edge) R 1 2 2 0 -1 4194560 90 0 1 0 8 3 0 0", false }, /* spins */
    { "(weir-edge) R 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0", "(weir-edge) R 1 2 2 0 -1 4194560 90 0 1 0 7 4 0 0", false }, /* in the kernel */
    { "(weir-edge) R 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0", "(weir-edge) S 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0", false }, /* waits for something */
    { "(weir-edge) R 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0", "(weir-edge) D 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0", false },
    { "(weir-edge) R 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0", "(weir-edge) T 1 2 2 0 -1 4194560 90 0 1 0 7 3 0 0", false },
    { "(a) S) (b) R 1 2 2 0 -1 1 90 0 1 0 7 3 0 0", "(a) S) (b) R 1 2 2 0 -1 1 90 0 1 0 7 3 0 0", true },
    { "(weir-edge) R 1 2 2 0 -1 1 90 0 1 0 7 3 0 0", "(weir-edge) R 1 2", false },
    { "(weir-edge) R 1 2", "(weir-edge) R 1 2 2 0 -1 1 90 0 1 0 7 3 0 0", false },
    { "", "(weir-edge) R 1 2 2 0 -1 1 90 0 1 0 0 0 0 0", false },
};

START_TEST(process_watch_judges)
{
    struct process_watch watch = { 0 };
    char before[200], after[200];
    snprintf(before, sizeof before, "4711 %s\n", watch_cases[_i].before);
    snprintf(after, sizeof after, "4711 %s\n", watch_cases[_i].after);
    ck_assert(!process_watch_take(&watch, before));
    ck_assert_int_eq(process_watch_take(&watch, after), watch_cases[_i].starved);
}
END_TEST

START_TEST(process_watch_looks_at_processes)
{
    struct process_watch watch = { 0 };
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    ck_assert_int_gt(pid, 0);
    ck_assert(!process_watch_look(&watch, pid));
    ck_assert(watch.seen);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert(!process_watch_look(&watch, pid));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("common");
    TCase *tests = tcase_create("common");

    tcase_add_test(tests, error_words);
    tcase_add_exit_test(tests, fatal_exits, 1);
    tcase_add_test_raise_signal(tests, assert_aborts, 6);
    tcase_add_test(tests, memory_copies);
    tcase_add_exit_test(tests, memory_overflow_ends_the_process, 1);
    tcase_add_test(tests, clock_reads);
    tcase_add_loop_test(tests, utf8_reads, 0, sizeof utf8_cases / sizeof utf8_cases[0]);
    tcase_add_loop_test(tests, internationalized_names, 0, sizeof idns / sizeof idns[0]);
    tcase_add_loop_test(tests, internationalized_names_in_unicode, 0, sizeof names_in_unicode / sizeof *names_in_unicode);
    tcase_add_test(tests, internationalized_names_too_long);
    tcase_add_loop_test(tests, input_lines, 0, sizeof inputs / sizeof inputs[0]);
    tcase_add_test(tests, metrics_are_found_again);
    tcase_add_test(tests, metrics_histogram_buckets);
    tcase_add_test(tests, queue_ids_grow);
    tcase_add_test(tests, queue_ids_scatter);
    tcase_add_test(tests, queue_ids_name_the_process);
    tcase_add_loop_test(tests, queue_id_validity, 0, sizeof id_cases / sizeof id_cases[0]);
    tcase_add_loop_test(tests, process_watch_judges, 0, sizeof watch_cases / sizeof *watch_cases);
    tcase_add_test(tests, process_watch_looks_at_processes);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
