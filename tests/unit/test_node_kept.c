/*
 * test_node_kept.c - audit rows from one process to the next, through files that are whole, damaged or somebody else's
 */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"
#include "proto/node_kept.h"
#include "tests/unit/suite.h"

#define ID   "01HQ0000000000000000"
#define NAME "edge-1"

struct process { /* what a worker has of it */
    struct metrics metrics;
    struct node_reports *reports;
    struct node_kept *kept;
    uint64_t batch;
};

static char folder[64], path[128], aside[160];

static void setup(void)
{
    log_open(&(struct log_options){ .ident = "test", .node = "test", .level = LOG_CRIT });
    snprintf(folder, sizeof folder, "%s/test_node_kept.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"); /* syncs take no time there */
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/edge-1.0.audit", folder);
    snprintf(aside, sizeof aside, "%s.damaged", path);
}

static void teardown(void)
{
    unlink(path);
    unlink(aside);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else was left there */
}

static void begin_as(struct process *process, const char *name, unsigned worker, unsigned workers, size_t rows)
{
    memset(process, 0, sizeof *process);
    metrics_init(&process->metrics);
    process->reports = node_reports_new(rows, &process->metrics);
    process->kept = node_kept_new(folder, name, worker, workers, process->reports, &process->metrics);
}

static void begin(struct process *process, size_t rows)
{
    begin_as(process, NAME, 0, 1, rows);
}

/* As if killed: with nothing written. */
static void killed(struct process *process)
{
    node_kept_free(&process->kept);
    node_reports_free(&process->reports);
    metrics_fini(&process->metrics);
}

static void end(struct process *process)
{
    struct error why = { "" };

    ck_assert_msg(node_kept_write(process->kept, &why), "%s", why.text);
    killed(process);
}

static void report(struct process *process, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        Weir__AuditRow row = WEIR__AUDIT_ROW__INIT;
        row.id = wire_text(ID);
        row.recipient_index = i;
        row.recipient = wire_text("bob@example.edu");
        row.disposition = wire_text("delivered");
        row.rule = wire_text("mailertable:3");
        node_reports_add(process->reports, &row);
    }
}

/* What a coordinator is given next: the numbers of the first row and of how many, which follow each other. */
static void expect_batch(struct process *process, unsigned first, unsigned count)
{
    Weir__Report batch = WEIR__REPORT__INIT;

    ck_assert(node_reports_batch(process->reports, PROTO_VERSION, &batch));
    process->batch = batch.batch;
    ck_assert_uint_eq(batch.n_rows, count);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(batch.rows[i]->recipient_index, first + i);
        ck_assert(wire_equal(&batch.rows[i]->recipient, "bob@example.edu"));
        ck_assert(wire_equal(&batch.rows[i]->rule, "mailertable:3"));
    }
}

static void acknowledge(struct process *process)
{
    ck_assert(node_reports_acknowledge(process->reports, process->batch));
    node_kept_look(process->kept);
}

static double value_of(const struct process *process, const char *name, const char *labels)
{
    for (const struct metric *metric = process->metrics.first; metric != NULL; metric = metric->next)
        if (strcmp(metric->name, name) == 0 && strcmp(metric->labels, labels) == 0)
            return metric->value;
    return -1;
}

static bool exists(const char *name)
{
    return access(name, F_OK) == 0;
}

START_TEST(test_rows_outlive_their_process_once)
{
    struct process process;
    struct stat status;

    begin(&process, 100);
    report(&process, 0, 3);
    ck_assert(!exists(path));
    end(&process);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);

    begin(&process, 100);
    report(&process, 3, 2); /* newer ones come behind */
    ck_assert(value_of(&process, "weir_reports_kept", "") == 3);
    ck_assert(value_of(&process, "weir_reports_buffered", "") == 5);
    expect_batch(&process, 0, 5);
    ck_assert(exists(path));
    acknowledge(&process);
    ck_assert(!exists(path));
    ck_assert(value_of(&process, "weir_reports_kept", "") == 0);
    ck_assert(value_of(&process, "weir_reports_kept_acknowledged_total", "") == 3);
    ck_assert(value_of(&process, "weir_reports_acknowledged_total", "") == 5);
    killed(&process);

    begin(&process, 100);
    ck_assert_uint_eq(node_reports_pending_count(process.reports), 0);
    killed(&process);
}
END_TEST

START_TEST(test_a_process_that_is_killed_while_it_hands_in_loses_none)
{
    struct process process;

    begin(&process, 100);
    report(&process, 0, 3);
    end(&process);
    for (int i = 0; i < 3; i++) {
        begin(&process, 100);
        expect_batch(&process, 0, 3);
        killed(&process);
    }
    ck_assert(exists(path));
}
END_TEST

START_TEST(test_what_is_acknowledged_is_not_kept_again)
{
    struct process process;

    begin(&process, 100);
    report(&process, 0, 3);
    end(&process);
    begin(&process, 100);
    expect_batch(&process, 0, 3);
    report(&process, 3, 2);
    acknowledge(&process);
    end(&process);
    begin(&process, 100);
    expect_batch(&process, 3, 2);
    report(&process, 5, 1);
    end(&process); /* the old ones are still not acknowledged */
    begin(&process, 100);
    expect_batch(&process, 3, 3);
    killed(&process);
}
END_TEST

#define DROPPED(process) value_of(process, "weir_reports_dropped_total", "reason=\"overflow\"")

/* Hands in batch by batch until nothing waits, and counts how often each row came, by its number. */
static void hand_in_all(struct process *process, unsigned char *times, size_t numbers)
{
    for (Weir__Report batch = WEIR__REPORT__INIT; node_reports_batch(process->reports, PROTO_VERSION, &batch);) {
        for (size_t i = 0; i < batch.n_rows; i++) {
            ck_assert_uint_lt(batch.rows[i]->recipient_index, numbers);
            ck_assert_uint_lt(++times[batch.rows[i]->recipient_index], 100); /* it ends */
        }
        process->batch = batch.batch;
        acknowledge(process);
    }
}

/* More than one frame has room for, and more than is taken up at once; and more than the buffer has, where it is smaller now. */
START_TEST(test_as_many_as_the_buffer_has)
{
    struct process process;

    begin(&process, 20000);
    report(&process, 0, 20000);
    end(&process);
    begin(&process, 20000);
    ck_assert(value_of(&process, "weir_reports_kept", "") == 4096);
    unsigned got = 0;
    for (Weir__Report batch = WEIR__REPORT__INIT; node_reports_batch(process.reports, PROTO_VERSION, &batch);) {
        ck_assert(exists(path));
        for (size_t i = 0; i < batch.n_rows; i++)
            ck_assert_uint_eq(batch.rows[i]->recipient_index, got++);
        process.batch = batch.batch;
        acknowledge(&process);
    }
    ck_assert_uint_eq(got, 20000);
    ck_assert(!exists(path));
    report(&process, 0, 3000);
    end(&process);

    begin(&process, 10);
    ck_assert(value_of(&process, "weir_reports_kept", "") == 5);
    report(&process, 3000, 7);
    ck_assert(value_of(&process, "weir_reports_kept", "") == 3);
    unsigned char times[3007] = { 0 };
    hand_in_all(&process, times, 3007);
    for (size_t i = 0; i < 3007; i++)
        ck_assert_uint_eq(times[i], i >= 2 && i < 5 ? 2 : 1); /* those beside the two that made room came twice */
    ck_assert(DROPPED(&process) == 0);
    ck_assert(!exists(path));
    killed(&process);
}
END_TEST

START_TEST(test_no_room_for_any_of_them)
{
    struct process process;

    begin(&process, 10);
    report(&process, 0, 10);
    end(&process);
    begin(&process, 10);
    for (unsigned again = 1; again <= 3; again++) {
        report(&process, 10 * again, 10);
        ck_assert(value_of(&process, "weir_reports_kept", "") == 0);
        expect_batch(&process, 10 * again, 10);
        acknowledge(&process);
        ck_assert(exists(path));
        ck_assert(value_of(&process, "weir_reports_kept", "") == 5); /* there is room now */
    }
    expect_batch(&process, 0, 5);
    acknowledge(&process);
    expect_batch(&process, 5, 5);
    acknowledge(&process);
    ck_assert(!exists(path));
    ck_assert(DROPPED(&process) == 0);
    ck_assert_uint_eq(node_reports_pending_count(process.reports), 0);
    killed(&process);
}
END_TEST

/* Newer rows that are no part of the batch leave little room, and none while as many come as go. */
START_TEST(test_room_for_some_of_them)
{
    struct process process;
    unsigned char times[20000] = { 0 };
    unsigned next = 3000, count = 2000;

    begin(&process, 3000);
    report(&process, 0, 3000);
    end(&process);
    begin(&process, 3000);
    for (int round = 0; round < 7; round++) {
        Weir__Report batch = WEIR__REPORT__INIT;
        report(&process, next, count);
        next += count;
        ck_assert(node_reports_batch(process.reports, PROTO_VERSION, &batch));
        for (size_t i = 0; i < batch.n_rows; i++)
            times[batch.rows[i]->recipient_index]++;
        process.batch = batch.batch;
        count = (unsigned)batch.n_rows;
        acknowledge(&process);
        ck_assert(exists(path));
    }
    hand_in_all(&process, times, next);
    ck_assert(!exists(path));
    ck_assert(DROPPED(&process) == 0);
    for (size_t i = 0; i < next; i++)
        ck_assert_msg(times[i] >= 1, "%zu never came", i);
    killed(&process);
}
END_TEST

/* Rows that come all the time, fewer than half of the buffer between two acknowledgements: the batch has them or not. */
static const struct steady {
    unsigned rows, each; /* in the buffer and in the file; new ones for each batch */
    bool under_way;      /* they come when the batch is under way */
} steady[] = {
    { 2, 1, false }, { 3, 1, false }, { 3, 1, true },    { 4, 1, true },      { 10, 1, false },
    { 10, 1, true }, { 10, 4, true }, { 10, 4, false }, { 9000, 1, true }, { 9000, 499, true },
};

START_TEST(test_a_file_ends_while_rows_come_steadily)
{
    const struct steady *at = &steady[_i];
    unsigned char *times = calloc(at->rows, 1);
    unsigned batches = 0, next = at->rows;
    struct process process;

    ck_assert_ptr_nonnull(times);
    begin(&process, at->rows);
    report(&process, 0, at->rows);
    end(&process);
    begin(&process, at->rows);
    for (; exists(path); batches++, next += at->each) {
        Weir__Report batch = WEIR__REPORT__INIT;
        ck_assert_uint_lt(batches, at->rows);
        if (!at->under_way)
            report(&process, next, at->each);
        ck_assert(node_reports_batch(process.reports, PROTO_VERSION, &batch));
        for (size_t i = 0; i < batch.n_rows; i++)
            if (batch.rows[i]->recipient_index < at->rows)
                times[batch.rows[i]->recipient_index]++;
        process.batch = batch.batch;
        if (at->under_way)
            report(&process, next, at->each);
        acknowledge(&process);
    }
    for (size_t i = 0; i < at->rows; i++)
        ck_assert_uint_eq(times[i], 1);
    ck_assert(DROPPED(&process) == 0);
    ck_assert(value_of(&process, "weir_reports_kept_acknowledged_total", "") == at->rows);
    ck_assert(value_of(&process, "weir_reports_acknowledged_total", "") + (double)node_reports_pending_count(process.reports) == next);
    killed(&process);
    free(times);
}
END_TEST

/* A process that ends while some of its file are not in memory: they are written down again as far as there is room. */
START_TEST(test_rows_out_of_memory_at_the_end)
{
    struct process process;
    unsigned char times[30] = { 0 };

    begin(&process, 10);
    report(&process, 0, 10);
    end(&process);
    begin(&process, 10);
    report(&process, 10, 10);
    expect_batch(&process, 10, 10);
    report(&process, 20, 4); /* four of the batch under way are lost */
    ck_assert(DROPPED(&process) == 4);
    acknowledge(&process);
    ck_assert(value_of(&process, "weir_reports_kept", "") == 1); /* the four that wait take their half */
    end(&process);
    begin(&process, 20);
    ck_assert(value_of(&process, "weir_reports_kept", "") == 10);
    hand_in_all(&process, times, 30);
    for (size_t i = 0; i < 30; i++)
        ck_assert_uint_eq(times[i], i < 6 || (i >= 20 && i < 24) ? 1 : 0);
    report(&process, 0, 20);
    end(&process);

    begin(&process, 10); /* there is room for half of the file */
    expect_batch(&process, 0, 5);
    ck_assert(!node_reports_acknowledge(process.reports, process.batch + 1));
    end(&process);
    begin(&process, 20);
    expect_batch(&process, 0, 10); /* no more may be kept */
    killed(&process);
}
END_TEST

/* The same where others' rows were acknowledged meanwhile, so that there is room. */
START_TEST(test_rows_out_of_memory_find_room_at_the_end)
{
    struct process process;
    unsigned char times[5100] = { 0 };

    begin(&process, 5000);
    report(&process, 0, 2500);
    end(&process);
    begin(&process, 5000);
    report(&process, 2500, 2600); /* 0 to 99 made room */
    Weir__Report batch = WEIR__REPORT__INIT;
    ck_assert(node_reports_batch(process.reports, PROTO_VERSION, &batch)); /* a frame's worth, from 100 on */
    size_t acknowledged = batch.n_rows;
    process.batch = batch.batch;
    acknowledge(&process);
    ck_assert(node_reports_batch(process.reports, PROTO_VERSION, &batch)); /* one is under way */
    end(&process);
    begin(&process, 5000);
    hand_in_all(&process, times, 5100);
    for (size_t i = 0; i < 5100; i++)
        ck_assert_uint_eq(times[i], i < 100 || i >= 100 + acknowledged ? 1 : 0);
    ck_assert(DROPPED(&process) == 0);
    killed(&process);
}
END_TEST

START_TEST(test_fewer_workers_than_before)
{
    struct process process;
    char other[2][128];

    for (unsigned worker = 0; worker < 4; worker++) {
        begin_as(&process, NAME, worker, 4, 100);
        report(&process, 10 * worker, 2);
        end(&process);
    }
    begin_as(&process, NAME, 1, 2, 100);
    expect_batch(&process, 10, 2);
    acknowledge(&process);
    ck_assert_uint_eq(node_reports_pending_count(process.reports), 0); /* the others' are not its business */
    killed(&process);

    snprintf(other[0], sizeof other[0], "%s/edge-1.2.audit", folder);
    snprintf(other[1], sizeof other[1], "%s/edge-1.3.audit", folder);
    begin_as(&process, NAME, 0, 2, 100);
    expect_batch(&process, 0, 2);
    report(&process, 22, 1);
    ck_assert(exists(path) && exists(other[0]) && exists(other[1]));
    acknowledge(&process);
    ck_assert(!exists(path) && exists(other[0]));
    expect_batch(&process, 20, 3); /* in front of newer ones */
    end(&process);
    ck_assert(exists(path) && !exists(other[0]) && exists(other[1]));
    begin_as(&process, NAME, 0, 2, 100);
    expect_batch(&process, 20, 3);
    acknowledge(&process);
    expect_batch(&process, 30, 2);
    acknowledge(&process);
    ck_assert(!exists(path) && !exists(other[1]));
    killed(&process);
}
END_TEST

/* --- files that are not what they should be --- */

static size_t read_back(uint8_t *bytes, size_t cap)
{
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    size_t len = fread(bytes, 1, cap, file);
    ck_assert(len < cap);
    fclose(file);
    return len;
}

static void put_there(const void *bytes, size_t len)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, len, file), len);
    fclose(file);
}

/* Set aside, and what came out of it is the first of what was there. */
static void expect_damaged(size_t most)
{
    struct process process;

    begin(&process, 10000);
    ck_assert(!exists(path));
    ck_assert(exists(aside));
    ck_assert(value_of(&process, "weir_reports_files_damaged_total", "") == 1);
    size_t rows = node_reports_pending_count(process.reports);
    ck_assert_uint_le(rows, most);
    if (rows > 0) {
        Weir__Report batch = WEIR__REPORT__INIT;
        ck_assert(node_reports_batch(process.reports, PROTO_VERSION, &batch));
        ck_assert_uint_eq(batch.rows[0]->recipient_index, 0);
    }
    killed(&process);
    unlink(aside);
}

START_TEST(test_every_cut_and_every_flipped_byte_is_seen)
{
    struct process process;
    uint8_t bytes[1024];

    begin(&process, 10);
    report(&process, 0, 3);
    end(&process);
    size_t len = read_back(bytes, sizeof bytes);
    for (size_t cut = 0; cut < len; cut++) {
        put_there(bytes, cut);
        expect_damaged(3);
    }
    for (size_t at = 0; at < len; at++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1u << bit);
            put_there(bytes, len);
            expect_damaged(3);
            bytes[at] ^= (uint8_t)(1u << bit);
        }
    put_there(bytes, len);
    begin(&process, 10);
    expect_batch(&process, 0, 3);
    killed(&process);
}
END_TEST

/* Whole frames in front of the damage are handed in. */
START_TEST(test_what_is_whole_of_a_damaged_file_is_handed_in)
{
    struct process process;
    struct stat status;

    begin(&process, 10000);
    report(&process, 0, 8000);
    end(&process);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_eq(truncate(path, status.st_size / 2), 0);
    begin(&process, 10000);
    size_t rows = node_reports_pending_count(process.reports);
    ck_assert_uint_gt(rows, 2000);
    ck_assert_uint_lt(rows, 4000);
    ck_assert(exists(aside));
    end(&process); /* and kept again: now the file is whole */
    begin(&process, 10000);
    ck_assert_uint_eq(node_reports_pending_count(process.reports), rows);
    ck_assert(value_of(&process, "weir_reports_files_damaged_total", "") == 0);
    killed(&process);
}
END_TEST

/* Behind what is taken up at once, so it is come upon later. */
START_TEST(test_damage_far_behind)
{
    struct process process;
    struct stat status;
    unsigned char times[10000] = { 0 };
    size_t rows = 0;

    begin(&process, 10000);
    report(&process, 0, 10000);
    end(&process);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_eq(truncate(path, status.st_size / 4 * 3), 0);
    begin(&process, 10000);
    ck_assert(exists(path) && !exists(aside));
    hand_in_all(&process, times, 10000);
    ck_assert(!exists(path) && exists(aside));
    ck_assert(value_of(&process, "weir_reports_files_damaged_total", "") == 1);
    while (rows < 10000 && times[rows] == 1)
        rows++;
    ck_assert_uint_gt(rows, 5000);
    for (size_t i = rows; i < 10000; i++)
        ck_assert_uint_eq(times[i], 0);
    killed(&process);
}
END_TEST

static void put_garbage(unsigned seed, size_t len, bool begins_well)
{
    static const char magic[] = "weir-audit-1\n";
    uint8_t *bytes = malloc(len);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)rand_r(&seed);
    if (begins_well && len >= sizeof magic - 1)
        memcpy(bytes, magic, sizeof magic - 1);
    put_there(bytes, len);
    free(bytes);
}

START_TEST(test_garbage)
{
    for (unsigned seed = 1; seed <= 200; seed++) {
        put_garbage(seed, seed * 37, seed % 2 == 0);
        expect_damaged(0);
    }
}
END_TEST

START_TEST(test_a_file_of_another_node)
{
    struct process process;
    char others[128];

    begin_as(&process, "edge-2", 0, 1, 10);
    report(&process, 0, 3);
    end(&process);
    snprintf(others, sizeof others, "%s/edge-2.0.audit", folder);
    ck_assert_int_eq(rename(others, path), 0);
    expect_damaged(0);
}
END_TEST

START_TEST(test_what_is_no_file)
{
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_damaged(0);
    ck_assert_int_eq(symlink("/etc/hostname", path), 0);
    expect_damaged(0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    expect_damaged(0);
    ck_assert_int_eq(rmdir(aside), 0);
}
END_TEST

START_TEST(test_a_folder_that_is_gone)
{
    struct process process;
    struct error why = { "" };

    begin(&process, 10);
    report(&process, 0, 1);
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert(!node_kept_write(process.kept, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "No such file or directory"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    killed(&process);
}
END_TEST

/* A disk that fills up while rows are written: what was kept before is still there. */
START_TEST(test_a_full_disk)
{
    struct process process;
    struct error why = { "" };
    struct rlimit limit, none;

    begin(&process, 10);
    report(&process, 0, 2);
    end(&process);
    begin(&process, 10);
    report(&process, 2, 1);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    none = limit;
    none.rlim_cur = 100; /* a part of it is written */
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    bool written = node_kept_write(process.kept, &why);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert(!written);
    ck_assert_ptr_nonnull(strstr(why.text, "File too large"));
    killed(&process);
    begin(&process, 10);
    expect_batch(&process, 0, 2);
    killed(&process);
}
END_TEST

/* So many descriptors as are open now. */
static void allow_no_more(struct rlimit *before)
{
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, before), 0);
    struct rlimit none = *before;
    int next = dup(STDERR_FILENO);
    close(next);
    none.rlim_cur = (rlim_t)next;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
}

/* No descriptor is free at the start, or at a window's end: the file is whole, and waits. */
START_TEST(test_no_descriptor_for_now)
{
    struct process process;
    struct error why = { "" };
    struct rlimit limit;

    begin(&process, 10);
    report(&process, 0, 7);
    end(&process);
    allow_no_more(&limit);
    begin(&process, 10);
    node_kept_look(process.kept);
    ck_assert(!node_kept_write(process.kept, &why)); /* what nobody has read must not be replaced */
    ck_assert_ptr_nonnull(strstr(why.text, "cannot be read"));
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    node_kept_look(process.kept);
    expect_batch(&process, 0, 5);
    allow_no_more(&limit);
    acknowledge(&process);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert(exists(path) && !exists(aside));
    node_kept_look(process.kept);
    expect_batch(&process, 5, 2);
    acknowledge(&process);
    ck_assert(!exists(path));
    killed(&process);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node_kept");
    TCase *tcase = tcase_create("files");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_rows_outlive_their_process_once);
    tcase_add_test(tcase, test_a_process_that_is_killed_while_it_hands_in_loses_none);
    tcase_add_test(tcase, test_what_is_acknowledged_is_not_kept_again);
    tcase_add_test(tcase, test_as_many_as_the_buffer_has);
    tcase_add_test(tcase, test_no_room_for_any_of_them);
    tcase_add_test(tcase, test_room_for_some_of_them);
    tcase_add_loop_test(tcase, test_a_file_ends_while_rows_come_steadily, 0, sizeof steady / sizeof *steady);
    tcase_add_test(tcase, test_rows_out_of_memory_at_the_end);
    tcase_add_test(tcase, test_rows_out_of_memory_find_room_at_the_end);
    tcase_add_test(tcase, test_fewer_workers_than_before);
    tcase_add_test(tcase, test_every_cut_and_every_flipped_byte_is_seen);
    tcase_add_test(tcase, test_what_is_whole_of_a_damaged_file_is_handed_in);
    tcase_add_test(tcase, test_damage_far_behind);
    tcase_add_test(tcase, test_garbage);
    tcase_add_test(tcase, test_a_file_of_another_node);
    tcase_add_test(tcase, test_what_is_no_file);
    tcase_add_test(tcase, test_a_folder_that_is_gone);
    tcase_add_test(tcase, test_a_full_disk);
    tcase_add_test(tcase, test_no_descriptor_for_now);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
