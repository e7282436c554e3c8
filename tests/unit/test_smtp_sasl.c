/*
 * test_smtp_sasl.c - the AUTH exchange, line by line
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/sasl.h"
#include "tests/unit/suite.h"

struct exchange {
    const char *name;
    const char *lines[4]; /* what stands behind AUTH, then answers */
    enum sasl_result result;
    int code;
    const char *login, *password; /* when complete */
};

static const struct exchange exchanges[] = {
    { "PLAIN with initial response", { "PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=" }, SASL_COMPLETE, 0, "alice", "wonderland" },
    { "lower case", { "plain AGFsaWNlAHdvbmRlcmxhbmQ=" }, SASL_COMPLETE, 0, "alice", "wonderland" },
    { "PLAIN", { "PLAIN", "AGFsaWNlAHdvbmRlcmxhbmQ=" }, SASL_COMPLETE, 0, "alice", "wonderland" },
    { "authorize as oneself", { "PLAIN YWxpY2UAYWxpY2UAd29uZGVybGFuZA==" }, SASL_COMPLETE, 0, "alice", "wonderland" },
    { "authorize as another", { "PLAIN Ym9iAGFsaWNlAHdvbmRlcmxhbmQ=" }, SASL_REFUSED, 535, NULL, NULL },
    { "PLAIN, no password", { "PLAIN AGFsaWNlAA==" }, SASL_REFUSED, 535, NULL, NULL },
    { "PLAIN, no login", { "PLAIN AAB3b25kZXJsYW5k" }, SASL_REFUSED, 535, NULL, NULL },
    { "PLAIN, one NUL", { "PLAIN YWxpY2UAd29uZGVybGFuZA==" }, SASL_REFUSED, 501, NULL, NULL },
    { "PLAIN, three NULs", { "PLAIN AGFsaWNlAHdvbmRlcgBsYW5k" }, SASL_REFUSED, 535, NULL, NULL },
    { "PLAIN, empty initial response", { "PLAIN =" }, SASL_REFUSED, 501, NULL, NULL },
    { "PLAIN, empty answer", { "PLAIN", "" }, SASL_REFUSED, 501, NULL, NULL },
    { "LOGIN", { "LOGIN", "YWxpY2U=", "d29uZGVybGFuZA==" }, SASL_COMPLETE, 0, "alice", "wonderland" },
    { "LOGIN with initial response",
      { "LOGIN YWxpY2U=", "d29uZGVybGFuZA==" },
      SASL_COMPLETE,
      0,
      "alice",
      "wonderland" },
    { "LOGIN, no login", { "LOGIN", "" }, SASL_REFUSED, 535, NULL, NULL },
    { "LOGIN, no password", { "LOGIN", "YWxpY2U=", "" }, SASL_REFUSED, 535, NULL, NULL },
    { "login with a line break", { "LOGIN", "YWxpY2UKYm9i" }, SASL_REFUSED, 535, NULL, NULL },
    { "login with a blank", { "LOGIN", "YWwgaWNl" }, SASL_REFUSED, 535, NULL, NULL },
    { "login with a blank behind", { "LOGIN", "YWxpY2Ug" }, SASL_REFUSED, 535, NULL, NULL },
    { "login with a tab", { "LOGIN", "YWxpY2UJ" }, SASL_REFUSED, 535, NULL, NULL },
    { "login with DEL", { "LOGIN", "YWxpY2V/" }, SASL_REFUSED, 535, NULL, NULL },
    { "password with a NUL", { "LOGIN", "YWxpY2U=", "YQBi" }, SASL_REFUSED, 535, NULL, NULL },
    { "cancelled", { "LOGIN", "*" }, SASL_REFUSED, 501, NULL, NULL },
    { "cancelled later", { "LOGIN", "YWxpY2U=", "*" }, SASL_REFUSED, 501, NULL, NULL },
    { "unknown mechanism", { "CRAM-MD5" }, SASL_REFUSED, 504, NULL, NULL },
    { "no mechanism", { "" }, SASL_REFUSED, 504, NULL, NULL },
    { "no base64", { "PLAIN A*Fs" }, SASL_REFUSED, 501, NULL, NULL },
    { "base64 not padded", { "PLAIN AGFsaWNlAHdvbmRlcmxhbmQ" }, SASL_REFUSED, 501, NULL, NULL },
    { "padding inside", { "PLAIN AG=saWNl" }, SASL_REFUSED, 501, NULL, NULL },
    { "too much padding", { "PLAIN A===" }, SASL_REFUSED, 501, NULL, NULL },
    { "only padding", { "PLAIN ====" }, SASL_REFUSED, 501, NULL, NULL },
    { "bits behind the end", { "PLAIN AGFsaWNlAHdvbmRlcmxhbmR=" }, SASL_REFUSED, 501, NULL, NULL },
    { "blank behind it", { "PLAIN AGFsaWNlAHdvbmRlcmxhbmQ= x" }, SASL_REFUSED, 501, NULL, NULL },
};

/* From a heap copy of exactly its length: one byte read too far is seen. */
static enum sasl_result offer(struct sasl *sasl, bool first, const char *line)
{
    size_t len = strlen(line);
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, line, len);
    enum sasl_result result = first ? sasl_begin(sasl, copy, len) : sasl_next(sasl, copy, len);
    free(copy);
    return result;
}

START_TEST(test_exchange)
{
    const struct exchange *row = &exchanges[_i];
    struct sasl sasl;
    enum sasl_result result = offer(&sasl, true, row->lines[0]);

    for (int i = 1; i < 4 && row->lines[i] != NULL; i++) {
        ck_assert_msg(result == SASL_CHALLENGE, "%s: ended before line %d", row->name, i);
        ck_assert_int_eq(sasl.code, 334);
        result = offer(&sasl, false, row->lines[i]);
    }
    ck_assert_msg(result == row->result, "%s: %d %d", row->name, (int)result, sasl.code);
    if (result == SASL_COMPLETE) {
        ck_assert_str_eq(sasl.login, row->login);
        ck_assert_str_eq(sasl.password, row->password);
    } else {
        ck_assert_msg(sasl.code == row->code, "%s: %d", row->name, sasl.code);
        ck_assert_ptr_nonnull(sasl.text);
        ck_assert_str_eq(sasl.password, "");
    }
    sasl_clear(&sasl);
    ck_assert_str_eq(sasl.login, "");
}
END_TEST

static size_t base64(char *out, const char *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t used = 0;
    for (size_t i = 0; i < len; i += 3) {
        unsigned bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (i + k < len ? (unsigned char)bytes[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            out[used++] = i + k <= len ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    out[used] = '\0';
    return used;
}

START_TEST(test_lengths)
{
    char bytes[2048], line[4096];
    struct sasl sasl;

    memset(bytes, 'x', sizeof bytes);
    for (size_t more = 0; more < 2; more++) {
        size_t login = SASL_LOGIN_MAX, password = SASL_PASSWORD_MAX + more;
        memcpy(line, "PLAIN ", 6);
        bytes[login] = bytes[2 * login + 1] = '\0'; /* the longest there is: authorize, too */
        base64(line + 6, bytes, 2 * login + 2 + password);
        ck_assert_int_eq(sasl_begin(&sasl, line, strlen(line)), more ? SASL_REFUSED : SASL_COMPLETE);
        bytes[login] = bytes[2 * login + 1] = 'x';
        base64(line, bytes, login + more);
        ck_assert_int_eq(sasl_begin(&sasl, "LOGIN", 5), SASL_CHALLENGE);
        ck_assert_str_eq(sasl.text, "VXNlcm5hbWU6");
        ck_assert_int_eq(sasl_next(&sasl, line, strlen(line)), more ? SASL_REFUSED : SASL_CHALLENGE);
    }
}
END_TEST

static const struct {
    const char *arguments, *name;
} asked[] = {
    { "plain AGFsaWNlAHdvbmRlcmxhbmQ=", "PLAIN" }, { "LOGIN", "LOGIN" },          { "cram-md5", "CRAM-MD5" },
    { "XOAUTH2 dXNlcj1hbGljZQ==", "XOAUTH2" },     { "", "unknown" },             { " PLAIN", "unknown" },
    { "d29uZGVybGFuZA==", "unknown" },             { "PLAI", "unknown" },         { "PLAIN\x1b[2J", "unknown" },
    { "PLAINS", "unknown" },                       { "wonderland PLAIN", "unknown" },
};

START_TEST(test_asked_name)
{
    size_t len = strlen(asked[_i].arguments);
    char *copy = memcpy(malloc(len), asked[_i].arguments, len); /* no byte behind its end is read */
    ck_assert_str_eq(sasl_asked_name(copy, len), asked[_i].name);
    free(copy);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("smtp_sasl");
    TCase *tcase = tcase_create("exchange");

    tcase_add_loop_test(tcase, test_exchange, 0, sizeof exchanges / sizeof *exchanges);
    tcase_add_test(tcase, test_lengths);
    tcase_add_loop_test(tcase, test_asked_name, 0, sizeof asked / sizeof *asked);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
