/* test_attachments.c - which files a message brings, what each is, and what its decoded bytes hash to */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proto/weir.pb-c.h"
#include "scanner/attachments.h"
#include "scanner/mime/filetype.h"

static struct mime_parser *parser;
static struct packet_attachment found[CHANNEL_ATTACHMENTS_MAX];

static void set_up(void)
{
    parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    attachments_begin();
}

static void tear_down(void)
{
    mime_parser_free(&parser);
}

/* From a copy of its exact length. */
static uint32_t find(const char *mail)
{
    size_t len = strlen(mail);
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, mail, len);
    uint32_t count = attachments_find(mime_parse(parser, copy, len), found);
    free(copy);
    return count;
}

static const char *hex(const uint8_t *hash)
{
    static char out[2 * CHANNEL_HASH_LEN + 1];
    for (size_t i = 0; i < CHANNEL_HASH_LEN; i++)
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
    return out;
}

START_TEST(test_what_is_read_is_no_file)
{
    ck_assert_uint_eq(find("Subject: a\r\n\r\nHello.\r\n"), 0);
    ck_assert_uint_eq(find("MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nHello.\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Hello.\r\n--b--\r\n"), 0);
    ck_assert_uint_eq(find(""), 0);
}
END_TEST

/* The same bytes under another name, in another encoding: one hash, that of what the reader opens. */
START_TEST(test_content_counts_and_no_name)
{
    static const char *const mails[] = {
        "MIME-Version: 1.0\r\nContent-Type: application/pdf; name=invoice.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nTVphYmM=\r\n",
        "MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=4DZabc=\r\n",
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee\r\n--b\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nTVph\r\nYmM=\r\n"
        "--b\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nTVphYmM=\r\n--b--\r\n",
    };
    for (size_t i = 0; i < sizeof mails / sizeof *mails; i++) {
        ck_assert_uint_eq(find(mails[i]), 1);
        ck_assert_uint_eq(found[0].kind, WEIR__ATTACHMENT_KIND__ATTACHMENT_EXECUTABLE);
        ck_assert_uint_eq(found[0].size, 5);
        ck_assert_str_eq(hex(found[0].hash), "b3c33302a88a0806b0ab0ba3be9dc102e6026a7bb82e11d1811c873d8aa64219");
    }
}
END_TEST

static const struct {
    const char *name, *bytes;
    size_t len;
    enum file_kind kind;
} files[] = {
    { "a.txt", "hello", 5, FILE_OTHER },
    { "a.png", "\x89PNG", 4, FILE_OTHER },
    { "a.txt", "MZ\x90", 3, FILE_EXECUTABLE },
    { "", "\x7f" "ELF\2", 5, FILE_EXECUTABLE },
    { "a.SCR", "what", 4, FILE_EXECUTABLE },
    { "a.pdf.js", "alert()", 7, FILE_SCRIPT },
    { "run", "#!/bin/sh\n", 10, FILE_SCRIPT },
    { "a.lnk", "x", 1, FILE_SHORTCUT },
    { "", "L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0F", 20, FILE_SHORTCUT },
    { "a.docm", "PK\x03\x04", 4, FILE_MACRO },
    { "a.docx", "PK\x03\x04 word/vbaProject.bin", 24, FILE_MACRO },
    { "a.zip", "PK\x03\x04\x14\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0a.txt....", 39, FILE_ARCHIVE_ENCRYPTED },
    { "a.zip", "PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0a.exe....", 39, FILE_ARCHIVE_PROGRAM },
    { "a.docx", "PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0a.xml....", 39, FILE_ARCHIVE },
    { "a.rar", "Rar!\x1a\x07\0\0\0\0\x80\0\0\0", 14, FILE_ARCHIVE_ENCRYPTED },
    { "a.rar", "Rar!\x1a\x07\x01\0\0\0\0\0\0\4", 14, FILE_ARCHIVE_ENCRYPTED },
    { "a.7z", "7z\xbc\xaf\x27\x1c", 6, FILE_ARCHIVE },
    { "a.iso", "x", 1, FILE_DISK },
    { "a.htm", "<p>", 3, FILE_HTML },
    { "a.pdf", "%PDF-1.4", 8, FILE_PDF },
    { "a", "\n%PDF-1.4", 9, FILE_PDF },
    { "a.exe", "%PDF-1.4", 8, FILE_EXECUTABLE },
    { "a.js", "/*%PDF-1.4*/alert()", 19, FILE_SCRIPT },
    { "a.hta", "%PDF-1.4<script>", 16, FILE_SCRIPT },
    { "a.docm", "%PDF-1.4", 8, FILE_MACRO },
    { "a.htm", "<!--%PDF-1.4-->", 15, FILE_HTML },
    { "a.pdf", "#!/bin/sh\n#%PDF-1.4", 19, FILE_SCRIPT },
    { "a.docx", "PK\x03\x04 %PDF-1.4 word/vbaProject.bin", 33, FILE_MACRO },
    { "a.zip", "%PDF-1.4PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0a.exe....", 47, FILE_ARCHIVE_PROGRAM },
};

START_TEST(test_kinds)
{
    struct mime_part part = { .file_name = { files[_i].name, strlen(files[_i].name) } };
    char *copy = malloc(files[_i].len);
    memcpy(copy, files[_i].bytes, files[_i].len);
    part.bytes = (struct mime_span){ copy, files[_i].len };
    ck_assert_int_eq(file_kind_of(&part), files[_i].kind);
    free(copy);
}
END_TEST

/* Whoever hides one among many pictures hides nothing. */
START_TEST(test_the_dangerous_ones_come_first)
{
    char mail[16384];
    size_t len = (size_t)snprintf(mail, sizeof mail, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (int i = 0; i < 40; i++)
        len += (size_t)snprintf(mail + len, sizeof mail - len, "--b\r\nContent-Type: image/png; name=%d.png\r\n\r\npicture %d\r\n", i, i);
    snprintf(mail + len, sizeof mail - len, "--b\r\nContent-Type: image/png; name=41.js\r\n\r\nalert()\r\n--b--\r\n");
    ck_assert_uint_eq(find(mail), CHANNEL_ATTACHMENTS_MAX);
    ck_assert_uint_eq(found[0].kind, WEIR__ATTACHMENT_KIND__ATTACHMENT_SCRIPT);
    ck_assert_uint_eq(found[1].kind, WEIR__ATTACHMENT_KIND__ATTACHMENT_OTHER);
    ck_assert_uint_eq(found[1].size, strlen("picture 0"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attachments");
    TCase *tests = tcase_create("attachments");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, test_what_is_read_is_no_file);
    tcase_add_test(tests, test_content_counts_and_no_name);
    tcase_add_loop_test(tests, test_kinds, 0, sizeof files / sizeof *files);
    tcase_add_test(tests, test_the_dangerous_ones_come_first);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
