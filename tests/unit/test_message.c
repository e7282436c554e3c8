/* test_message.c - bytes come back as they went in, and budgets are exact on every way out */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "edge/message/message.h"
#include "tests/unit/suite.h"

static char folder[64];
static struct message_budget budget;

/* The linker puts this in front of open(), so that a file system without O_TMPFILE can be had anywhere. */
int __wrap_open(const char *path, int flags, ...);
int __real_open(const char *path, int flags, ...);
static bool has_tmpfile = true;
static int tmpfiles;

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;

    if ((flags & O_TMPFILE) != O_TMPFILE)
        return __real_open(path, flags);
    tmpfiles++;
    if (!has_tmpfile) {
        errno = EOPNOTSUPP;
        return -1;
    }
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return __real_open(path, flags, mode);
}

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/weir-test-message-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    budget = (struct message_budget){ .memory_max = 100000, .disk_max = 1000000, .threshold = 1000, .tmp_dir = folder };
}

static void teardown(void)
{
    ck_assert_uint_eq(budget.memory_used, 0);
    ck_assert_uint_eq(budget.disk_used, 0);
    ck_assert_int_eq(rmdir(folder), 0); /* and so nothing has a name in it */
}

static char byte_at(uint64_t offset)
{
    return (char)(offset * 31 + offset / 251);
}

static enum message_status append(struct message *message, size_t len, struct error *why)
{
    char *data = malloc(len + 1);
    uint64_t offset = message_size(message);

    for (size_t i = 0; i < len; i++)
        data[i] = byte_at(offset + i);
    enum message_status status = message_append(message, data, len, why);
    free(data);
    return status;
}

static void check_content(const struct message *message, size_t step)
{
    uint64_t offset = 0, size = message_size(message);
    char *out = malloc(step);
    ssize_t got;

    while ((got = message_read(message, offset, out, step, NULL)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            ck_assert_int_eq(out[i], byte_at(offset + (uint64_t)i));
        offset += (uint64_t)got;
    }
    ck_assert_int_eq(got, 0);
    ck_assert_uint_eq(offset, size);
    free(out);
}

static void check_budget(uint64_t memory, uint64_t disk)
{
    ck_assert_uint_eq(budget.memory_used, memory);
    ck_assert_uint_eq(budget.disk_used, disk);
}

START_TEST(small_stays_in_memory)
{
    struct message *message = message_new(&budget);
    size_t len;

    ck_assert_ptr_null(message_peek(message, 0, 10, &len));
    ck_assert_int_eq(append(message, 0, NULL), MESSAGE_OK);
    ck_assert_int_eq(append(message, 400, NULL), MESSAGE_OK);
    ck_assert_int_eq(append(message, 600, NULL), MESSAGE_OK); /* the threshold itself */
    check_budget(1000, 0);
    const char *bytes = message_peek(message, 10, 5, &len);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(len, 5);
    ck_assert_int_eq(bytes[0], byte_at(10));
    message_peek(message, 990, 5000, &len);
    ck_assert_uint_eq(len, 10);
    ck_assert_ptr_null(message_peek(message, 1000, 1, &len));
    ck_assert_uint_eq(len, 0);
    check_content(message, 7);
    message_free(&message);
    ck_assert_ptr_null(message);
    message_free(&message);
}
END_TEST

START_TEST(large_moves_to_a_file)
{
    struct message *message = message_new(&budget);
    size_t len;

    ck_assert_int_eq(append(message, 1000, NULL), MESSAGE_OK);
    ck_assert_int_eq(append(message, 1, NULL), MESSAGE_OK);
    check_budget(0, 1001);
    ck_assert_ptr_null(message_peek(message, 0, 10, &len));
    ck_assert_int_eq(append(message, 5000, NULL), MESSAGE_OK);
    check_budget(0, 6001);
    check_content(message, 997);
    message_free(&message);
}
END_TEST

START_TEST(file_system_without_tmpfile)
{
    struct message *message = message_new(&budget);

    has_tmpfile = false;
    ck_assert_int_eq(append(message, 5000, NULL), MESSAGE_OK);
    ck_assert_int_eq(append(message, 5000, NULL), MESSAGE_OK);
    ck_assert_int_eq(tmpfiles, 1);
    check_content(message, 4096);
    ck_assert_int_eq(rmdir(folder), 0); /* no name already now */
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    message_free(&message);
}
END_TEST

START_TEST(one_large_append)
{
    struct message *message = message_new(&budget);

    ck_assert_int_eq(append(message, 200000, NULL), MESSAGE_OK);
    check_budget(0, 200000);
    check_content(message, 200000);
    message_free(&message);
}
END_TEST

START_TEST(threshold_zero_has_all_on_disk)
{
    budget.threshold = 0;
    struct message *message = message_new(&budget);

    ck_assert_int_eq(append(message, 1, NULL), MESSAGE_OK);
    check_budget(0, 1);
    check_content(message, 10);
    message_free(&message);
}
END_TEST

START_TEST(memory_budget)
{
    struct error why = { "" };
    struct message *a = message_new(&budget), *b = message_new(&budget);

    budget.memory_max = 1500;
    ck_assert_int_eq(append(a, 1000, &why), MESSAGE_OK);
    ck_assert_int_eq(append(b, 501, &why), MESSAGE_OVER_BUDGET);
    ck_assert_str_eq(why.text, "messages in memory hold 1000 of 1500 bytes");
    ck_assert_uint_eq(message_size(b), 0);
    ck_assert_int_eq(append(b, 500, &why), MESSAGE_OK); /* what fits is taken */
    ck_assert_int_eq(append(b, 1, &why), MESSAGE_OVER_BUDGET);
    check_budget(1500, 0);
    message_free(&a);
    check_budget(500, 0);
    ck_assert_int_eq(append(b, 500, &why), MESSAGE_OK);
    check_content(b, 64);
    message_free(&b);
}
END_TEST

START_TEST(disk_budget)
{
    struct error why = { "" };
    struct message *message = message_new(&budget);

    budget.disk_max = 1500;
    ck_assert_int_eq(append(message, 1000, &why), MESSAGE_OK);
    ck_assert_int_eq(append(message, 501, &why), MESSAGE_OVER_BUDGET); /* all of it would have to move */
    ck_assert_str_eq(why.text, "messages in temporary files hold 0 of 1500 bytes");
    check_budget(1000, 0);
    check_content(message, 100);
    ck_assert_int_eq(append(message, 500, &why), MESSAGE_OK);
    ck_assert_int_eq(append(message, 1, &why), MESSAGE_OVER_BUDGET);
    check_budget(0, 1500);
    check_content(message, 100);
    message_free(&message);
}
END_TEST

START_TEST(no_folder)
{
    struct error why = { "" };
    struct message *message = message_new(&budget);

    budget.tmp_dir = "/nonexistent";
    ck_assert_int_eq(append(message, 900, &why), MESSAGE_OK);
    ck_assert_int_eq(append(message, 200, &why), MESSAGE_DISK_ERROR);
    ck_assert_str_eq(why.text, "cannot make a temporary file in /nonexistent: No such file or directory");
    check_budget(900, 0);
    check_content(message, 100);
    message_free(&message);
}
END_TEST

/* RLIMIT_FSIZE stands for a full disk: a write stops in the middle of an append. */
static void limit_files(rlim_t bytes)
{
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ bytes, RLIM_INFINITY }), 0);
}

START_TEST(disk_full_while_moving)
{
    struct error why = { "" };
    struct message *message = message_new(&budget);

    ck_assert_int_eq(append(message, 900, &why), MESSAGE_OK);
    limit_files(950);
    ck_assert_int_eq(append(message, 200, &why), MESSAGE_DISK_ERROR);
    limit_files(RLIM_INFINITY);
    ck_assert_str_eq(why.text, "cannot write a temporary file: File too large");
    check_budget(900, 0);
    check_content(message, 100);
    ck_assert_int_eq(append(message, 200, &why), MESSAGE_OK);
    check_content(message, 100);
    message_free(&message);
}
END_TEST

START_TEST(disk_full_while_appending)
{
    struct error why = { "" };
    struct message *message = message_new(&budget);

    ck_assert_int_eq(append(message, 2000, &why), MESSAGE_OK);
    limit_files(2500);
    ck_assert_int_eq(append(message, 1000, &why), MESSAGE_DISK_ERROR);
    limit_files(RLIM_INFINITY);
    check_budget(0, 2000);
    check_content(message, 300);
    ck_assert_int_eq(append(message, 1000, &why), MESSAGE_OK);
    check_content(message, 300);
    message_free(&message);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("message");
    TCase *tests = tcase_create("message");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, small_stays_in_memory);
    tcase_add_test(tests, large_moves_to_a_file);
    tcase_add_test(tests, file_system_without_tmpfile);
    tcase_add_test(tests, one_large_append);
    tcase_add_test(tests, threshold_zero_has_all_on_disk);
    tcase_add_test(tests, memory_budget);
    tcase_add_test(tests, disk_budget);
    tcase_add_test(tests, no_folder);
    tcase_add_test(tests, disk_full_while_moving);
    tcase_add_test(tests, disk_full_while_appending);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
