/* test_curve.c - node keys as hex and as files */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "proto/curve.h"
#include "tests/unit/suite.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static char folder[64], path[96];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/test_curve.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/key", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

START_TEST(test_hex)
{
    uint8_t key[CURVE_KEY_LEN];
    char out[CURVE_HEX_LEN + 1];

    ck_assert(curve_key_parse(key, HEX));
    ck_assert_str_eq(curve_key_format(key, out), HEX);
    ck_assert(curve_key_parse(key, "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"));
    ck_assert_str_eq(curve_key_format(key, out), HEX);
    ck_assert(!curve_key_parse(key, NULL));
    ck_assert(!curve_key_parse(key, ""));
    ck_assert(!curve_key_parse(key, HEX "0"));
    ck_assert(!curve_key_parse(key, HEX + 1));
    ck_assert(!curve_key_parse(key, "g0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"));
}
END_TEST

START_TEST(test_file)
{
    struct curve_keypair pair, back, other;
    struct error why;
    struct stat status;

    curve_keypair_generate(&pair);
    curve_keypair_generate(&other);
    ck_assert_mem_ne(pair.secret_key, other.secret_key, CURVE_KEY_LEN);
    ck_assert(curve_keypair_write(&pair, path, &why));
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0600);
    ck_assert(curve_keypair_read(&back, path, &why));
    ck_assert_mem_eq(&pair, &back, sizeof pair);
    ck_assert(!curve_keypair_write(&other, path, &why)); /* never over another key */
    ck_assert(curve_keypair_read(&back, path, &why));
    ck_assert_mem_eq(&pair, &back, sizeof pair);
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert(!curve_keypair_read(&back, path, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "0640"));
}
END_TEST

static const char *const bad_files[] = {
    "",
    "public = " HEX "\n",
    "public = " HEX "\nsecret = " HEX "\n", /* not a pair */
    "secret = " HEX "\npublic = " HEX "\n",
    "public = " HEX "\nsecret = " HEX "\nmore\n",
    "public " HEX "\nsecret " HEX "\n",
    "public = 00\nsecret = 00\n",
};

START_TEST(test_bad_files)
{
    struct curve_keypair pair;
    struct error why = { "" };
    const char *text = bad_files[_i];

    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    ck_assert(!curve_keypair_read(&pair, path, &why));
    ck_assert_ptr_nonnull(strstr(why.text, path));
}
END_TEST

START_TEST(test_no_file)
{
    struct curve_keypair pair;
    struct error why;

    ck_assert(!curve_keypair_read(&pair, path, &why));
    ck_assert(!curve_keypair_read(&pair, folder, &why));
    ck_assert(!curve_keypair_write(&pair, "/nowhere/at/all", &why));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("curve");
    TCase *tcase = tcase_create("keys");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_hex);
    tcase_add_test(tcase, test_file);
    tcase_add_loop_test(tcase, test_bad_files, 0, sizeof bad_files / sizeof *bad_files);
    tcase_add_test(tcase, test_no_file);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
