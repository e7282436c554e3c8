/*
 * test_mime.c - messages taken apart: one line a part, "depth type/subtype [charset] name: text", and what is odd about them
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "scanner/mime/html.h"
#include "scanner/mime/mime.h"
#include "scanner/mime/pdf.h"
#include "tests/unit/suite.h"

#define HEAD "MIME-Version: 1.0\r\n"
#define MIXED HEAD "Content-Type: multipart/mixed; boundary=b\r\n\r\n"

struct example {
    const char *name, *message;
    const char *parts;     /* as describe() writes them */
    const char *anomalies; /* names, each followed by a blank */
};

static const struct example examples[] = {
    { "text", "Subject: a\r\n\r\nhello\r\n", "0 text/plain [] : hello\r\n\n", "" },
    { "empty", "", "0 text/plain [] : \n", "no_header_end " },
    { "only a header", "Subject: a\r\n", "0 text/plain [] : \n", "no_header_end " },
    { "no header", "\r\nhello", "0 text/plain [] : hello\n", "" },
    { "LF alone", "Subject: a\n\nhello\n", "0 text/plain [] : hello\n\n", "" },
    { "both line ends", "Subject: a\r\n\nhello\r\n", "0 text/plain [] : hello\r\n\n", "mixed_line_ends " },
    { "CR alone", "Subject: a\rb\r\n\r\nhello", "0 text/plain [] : hello\n", "bare_cr " },
    { "base64", HEAD "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n", "0 text/plain [utf-8] : hello\n", "" },
    { "base64 with junk", HEAD "Content-Transfer-Encoding: base64\r\n\r\naG*Vs\r\nbG8=\r\n", "0 text/plain [] : hello\n", "bad_base64 " },
    { "base64 behind its end", HEAD "Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\naGVsbG8=\r\n", "0 text/plain [] : hellohello\n", "bad_base64 " },
    { "base64 cut", HEAD "Content-Transfer-Encoding: base64\r\n\r\naGVsbG8", "0 text/plain [] : hello\n", "bad_base64 " },
    { "quoted-printable", HEAD "Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc=C3=A4  =  \r\nd", "0 text/plain [] : a=bc\xc3\xa4  d\n", "" },
    { "bad quoted-printable", HEAD "Content-Transfer-Encoding: quoted-printable\r\n\r\na=zz", "0 text/plain [] : a=zz\n", "bad_qp " },
    { "unknown encoding", HEAD "Content-Transfer-Encoding: rot13\r\n\r\nhello", "0 text/plain [] : hello\n", "unknown_encoding " },
    { "8 bits as 7", HEAD "\r\n\xc3\xa4", "0 text/plain [] : \xc3\xa4\n", "8bit_as_7bit " },
    { "two parts", MIXED "preamble\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>two\r\n--b--\r\nepilogue",
      "0 multipart/mixed [] : \n1 text/plain [] : one\n1 text/html [] : <p>two\n", "" },
    { "no end", MIXED "--b\r\n\r\none\r\n", "0 multipart/mixed [] : \n1 text/plain [] : one\r\n\n", "missing_end " },
    { "no part", MIXED "hello\r\n", "0 multipart/mixed [] : hello\r\n\n", "missing_end empty_multipart " },
    { "no boundary", HEAD "Content-Type: multipart/mixed\r\n\r\n--b\r\n", "0 text/plain [] : --b\r\n\n", "no_boundary " },
    { "a part without a body", MIXED "--b\r\nX: y\r\n--b--\r\n", "0 multipart/mixed [] : \n1 text/plain [] : \n", "no_header_end " },
    { "a line that begins with a boundary", MIXED "--b\r\n\r\none\r\n--bcd\r\n--b--\r\n", "0 multipart/mixed [] : \n1 text/plain [] : one\r\n--bcd\n", "boundary_prefix " },
    { "a part in the preamble", MIXED "--c\r\nContent-Type: text/html\r\n\r\nx\r\n--b\r\n\r\none\r\n--b--\r\n", "0 multipart/mixed [] : \n1 text/plain [] : one\n", "preamble_part " },
    { "nested", MIXED "--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\none\r\n--c--\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
      "0 multipart/mixed [] : \n1 multipart/alternative [] : \n2 text/plain [] : one\n1 text/plain [] : two\n", "" },
    { "an inner part never ends", MIXED "--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
      "0 multipart/mixed [] : \n1 multipart/alternative [] : \n2 text/plain [] : one\n1 text/plain [] : two\n", "missing_end " },
    { "digest", HEAD "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\none\r\n--b--\r\n",
      "0 multipart/digest [] : \n1 message/rfc822 [] : \n2 text/plain [] : one\n", "" },
    { "a message", HEAD "Content-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: text/html\r\n\r\n<b>", "0 message/rfc822 [] : \n1 text/html [] : <b>\n", "" },
    { "a message in base64", HEAD "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA0KDQpoZWxsbw==\r\n",
      "0 message/rfc822 [] : \n1 text/plain [] : hello\n", "encoded_composite " },
    { "two types", HEAD "Content-Type: text/html\r\nContent-Type: text/plain\r\n\r\n<b>", "0 text/html [] : <b>\n", "duplicate_type " },
    { "two boundaries", HEAD "Content-Type: multipart/mixed; boundary=b; boundary=c\r\n\r\n--b\r\n\r\none\r\n--b--\r\n",
      "0 multipart/mixed [] : \n1 text/plain [] : one\n", "duplicate_parameter " },
    { "no semicolon", HEAD "Content-Type: multipart/mixed\r\n\tboundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n", "0 multipart/mixed [] : \n1 text/plain [] : one\n", "bad_parameter " },
    { "comment", HEAD "Content-Type: text/html (really)\r\n\r\n<b>", "0 text/html [] : <b>\n", "comment " },
    { "bad type", HEAD "Content-Type: html\r\n\r\n<b>", "0 text/plain [] : <b>\n", "bad_type " },
    { "no version", "Content-Type: text/html\r\n\r\n<b>", "0 text/html [] : <b>\n", "no_version " },
    { "two subjects", "Subject: a\r\nSubject: b\r\n\r\nx", "0 text/plain [] : x\n", "duplicate_field " },
    { "a line that is no field", "Subject: a\r\nhello there\r\n\r\nx", "0 text/plain [] : hello there\r\n\r\nx\n", "no_header_end " },
    { "a blank before the colon", "Subject : a\r\n\r\nx", "0 text/plain [] : x\n", "bad_header " },
    { "mbox", "From a@b Thu\r\nSubject: a\r\n\r\nx", "0 text/plain [] : x\n", "bad_header " },
    { "name", HEAD "Content-Type: application/pdf; name=\"a b.pdf\"\r\n\r\nx", "0 application/pdf [] a b.pdf: \n", "" },
    { "name with blanks", HEAD "Content-Type: application/pdf; name=a b.pdf\r\n\r\nx", "0 application/pdf [] a b.pdf: \n", "bad_parameter " },
    { "RFC 2231", HEAD "Content-Disposition: attachment;\r\n filename*=utf-8''%e2%82%ac.pdf\r\n\r\nx", "0 text/plain [] \xe2\x82\xac.pdf: x\n", "" },
    { "RFC 2231 in pieces", HEAD "Content-Type: a/b; name*0*=utf-8''%e2%82; name*1*=%ac; name*2=\".pdf\"\r\n\r\nx", "0 a/b [] \xe2\x82\xac.pdf: \n", "" },
    { "two forms of a name", HEAD "Content-Disposition: attachment; filename=a.txt; filename*=utf-8''a.exe\r\n\r\nx", "0 text/plain [] a.exe: x\n", "name_conflict " },
    { "two names", HEAD "Content-Type: a/b; name=a.txt\r\nContent-Disposition: attachment; filename=a.exe\r\n\r\nx", "0 a/b [] a.exe: \n", "name_conflict " },
    { "an encoded word as a name", HEAD "Content-Disposition: attachment; filename=\"=?utf-8?B?4oKsLnBkZg==?=\"\r\n\r\nx", "0 text/plain [] \xe2\x82\xac.pdf: x\n", "word_in_parameter " },
    { "uuencode", "Subject: a\r\n\r\nhello\r\nbegin 644 a.txt\r\n%:&5L;&\\\r\n`\r\nend\r\n",
      "0 text/plain [] : hello\r\nbegin 644 a.txt\r\n%:&5L;&\\\r\n`\r\nend\r\n\n1 application/octet-stream [] a.txt: \n", "uuencode " },
    { "ISO-2022-JP", HEAD "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B$3$s\x1b(B", "0 text/plain [iso-2022-jp] : \xe3\x81\x93\xe3\x82\x93\n", "" },
    { "Shift_JIS", HEAD "Content-Type: text/plain; charset=Shift_JIS\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\x82\xb1\x82\xf1", "0 text/plain [shift_jis] : \xe3\x81\x93\xe3\x82\x93\n", "" },
    { "EUC-JP", HEAD "Content-Type: text/plain; charset=EUC-JP\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xa4\xb3\xa4\xf3", "0 text/plain [euc-jp] : \xe3\x81\x93\xe3\x82\x93\n", "" },
    { "GB18030", HEAD "Content-Type: text/plain; charset=gb2312\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xb7\xa2\xc6\xb1", "0 text/plain [gb2312] : \xe5\x8f\x91\xe7\xa5\xa8\n", "" },
    { "Big5", HEAD "Content-Type: text/plain; charset=big5\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xb5\x6f\xb2\xbc", "0 text/plain [big5] : \xe7\x99\xbc\xe7\xa5\xa8\n", "" },
    { "KOI8-R", HEAD "Content-Type: text/plain; charset=koi8-r\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc4\xc1", "0 text/plain [koi8-r] : \xd0\xb4\xd0\xb0\n", "" },
    { "UTF-7", HEAD "Content-Type: text/plain; charset=utf-7\r\n\r\n+AGgAZQBsAGwAbw-", "0 text/plain [utf-7] : hello\n", "" },
    { "no such charset", HEAD "Content-Type: text/plain; charset=none-such\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe4", "0 text/plain [none-such] : \xc3\xa4\n", "unknown_charset bad_charset " },
    { "a lying charset", HEAD "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\na\xe4z", "0 text/plain [utf-8] : a\xef\xbf\xbdz\n", "bad_charset " },
    { "TNEF", HEAD "Content-Type: application/ms-tnef; name=winmail.dat\r\n\r\nx", "0 application/ms-tnef [] winmail.dat: \n", "tnef " },
    { "partial", HEAD "Content-Type: message/partial; id=x\r\n\r\nx", "0 message/partial [] : \n", "partial " },
};

static void describe(const struct mime_message *message, char *out, size_t cap)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < message->part_count; i++) {
        const struct mime_part *part = &message->parts[i];
        int len = snprintf(out + used, cap - used, "%u %.*s/%.*s [%.*s] %.*s: %.*s\n", part->depth, (int)part->type.len, part->type.bytes, (int)part->subtype.len,
                           part->subtype.bytes, (int)part->charset.len, part->charset.bytes, (int)part->file_name.len, part->file_name.bytes, (int)part->text.len,
                           part->text.bytes);
        used += (size_t)len;
        ck_assert_uint_lt(used, cap);
    }
}

static void name_anomalies(uint64_t anomalies, char *out)
{
    out[0] = '\0';
    for (int i = 0; i < MIME_ANOMALIES; i++)
        if ((anomalies & MIME_BIT(i)) != 0)
            strcat(strcat(out, mime_anomaly_name((enum mime_anomaly)i)), " ");
}

/* From a copy of exactly its length, so that a byte read too far is seen. */
static const struct mime_message *parse(struct mime_parser *parser, const char *text, size_t len, char **copy)
{
    *copy = malloc(len + 1);
    memcpy(*copy + 1, text, len);
    return mime_parse(parser, *copy + 1, len);
}

START_TEST(test_example)
{
    const struct example *example = &examples[_i];
    char found[4096], anomalies[1024], *copy;
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    for (int twice = 0; twice < 2; twice++) { /* nothing is left of the message before */
        const struct mime_message *message = parse(parser, example->message, strlen(example->message), &copy);
        describe(message, found, sizeof found);
        name_anomalies(message->anomalies, anomalies);
        ck_assert_msg(strcmp(found, example->parts) == 0, "%s: parts\n%swant\n%s", example->name, found, example->parts);
        ck_assert_msg(strcmp(anomalies, example->anomalies) == 0, "%s: anomalies \"%s\", want \"%s\"", example->name, anomalies, example->anomalies);
        ck_assert_int_eq(mime_is_strict(message), example->anomalies[0] == '\0');
        free(copy);
    }
    mime_parser_free(&parser);
}
END_TEST

static const struct {
    const char *raw, *value;
} values[] = {
    { "plain", "plain" },
    { "a\r\n b", "a b" },
    { "=?utf-8?B?w6Q=?=", "\xc3\xa4" },
    { "=?utf-8?Q?a_=C3=A4?= b", "a \xc3\xa4 b" },
    { "=?utf-8?B?w6Q=?=\r\n =?utf-8?Q?=C3=B6?=", "\xc3\xa4\xc3\xb6" },
    { "x =?utf-8?B?w6Q=?= y =?iso-8859-1?Q?=E4?= z", "x \xc3\xa4 y \xc3\xa4 z" },
    { "=?utf-8?Q?=E2=82?= =?utf-8?Q?=AC?=", "\xe2\x82\xac" }, /* cut within a character */
    { "=?iso-2022-jp?B?GyRCJDMkcxsoQg==?=", "\xe3\x81\x93\xe3\x82\x93" },
    { "=?gb2312?B?t6LGsQ==?=", "\xe5\x8f\x91\xe7\xa5\xa8" },
    { "=?big5?B?tW+yvA==?=", "\xe7\x99\xbc\xe7\xa5\xa8" },
    { "=?utf-8*de?Q?=C3=A4?=", "\xc3\xa4" },
    { "=?utf-8?X?a?=", "=?utf-8?X?a?=" },
    { "=?utf-8?Q?a", "=?utf-8?Q?a" },
    { "=?", "=?" },
    { "a =? b", "a =? b" },
    { "\xb7\xa2\xc6\xb1", "\xe5\x8f\x91\xe7\xa5\xa8" },
    { "caf\xe9", "caf\xc3\xa9" },
    { "caf\xc3\xa9", "caf\xc3\xa9" },
};

START_TEST(test_value)
{
    char message[512];
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    snprintf(message, sizeof message, "Subject: %s\r\n\r\n", values[_i].raw);
    const struct mime_message *parsed = mime_parse(parser, message, strlen(message));
    const struct mime_header *subject = mime_header(parsed, &parsed->parts[0], "subject");
    ck_assert_ptr_nonnull(subject);
    ck_assert_msg(mime_span_is(subject->value, values[_i].value), "%s: \"%.*s\"", values[_i].raw, (int)subject->value.len, subject->value.bytes);
    mime_parser_free(&parser);
}
END_TEST

/* --- limits: the rest stays as it is, and the message says so --- */

static uint64_t limited(const struct mime_limits *limits, const char *message, size_t *parts)
{
    struct mime_parser *parser = mime_parser_new(limits);
    const struct mime_message *parsed = mime_parse(parser, message, strlen(message));
    uint64_t anomalies = parsed->anomalies;
    if (parts != NULL)
        *parts = parsed->part_count;
    mime_parser_free(&parser);
    return anomalies;
}

START_TEST(test_limits)
{
    struct mime_limits limits = MIME_LIMITS_DEFAULT;
    size_t parts;
    static const char nested[] = HEAD "Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nx";
    limits.depth = 2;
    ck_assert_uint_ne(limited(&limits, nested, &parts) & MIME_BIT(MIME_LIMIT_DEPTH), 0);
    ck_assert_uint_eq(parts, 3);
    limits = MIME_LIMITS_DEFAULT;
    limits.parts = 3;
    ck_assert_uint_ne(limited(&limits, MIXED "--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b\r\n\r\n3\r\n--b--\r\n", &parts) & MIME_BIT(MIME_LIMIT_PARTS), 0);
    ck_assert_uint_eq(parts, 3);
    limits = MIME_LIMITS_DEFAULT;
    limits.headers = 2;
    ck_assert_uint_ne(limited(&limits, "A: b\r\nB: c\r\nC: d\r\n\r\nx", NULL) & MIME_BIT(MIME_LIMIT_HEADER), 0);
    limits = MIME_LIMITS_DEFAULT;
    limits.header_bytes = 8;
    ck_assert_uint_ne(limited(&limits, "A: b\r\nB: c\r\nC: d\r\n\r\nx", NULL) & MIME_BIT(MIME_LIMIT_HEADER), 0);
    limits = MIME_LIMITS_DEFAULT;
    limits.words = 1;
    ck_assert_uint_ne(limited(&limits, "A: =?utf-8?Q?a?= =?utf-8?Q?b?=\r\n\r\nx", NULL) & MIME_BIT(MIME_LIMIT_WORDS), 0);
    limits = MIME_LIMITS_DEFAULT;
    limits.decoded = 4;
    ck_assert_uint_ne(limited(&limits, HEAD "Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=", NULL) & MIME_BIT(MIME_LIMIT_DECODED), 0);
    static const char *const texts[] = { /* cut as they are, as they are converted, and as they are mended: four bytes fit, five do not */
        HEAD "\r\nabcde",
        HEAD "Content-Type: text/plain; charset=iso-8859-1\r\n\r\na\xe9\xe9",
        HEAD "Content-Type: text/plain; charset=utf-8\r\n\r\nab\xff",
    };
    limits = MIME_LIMITS_DEFAULT;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (limits.text = 4; limits.text <= 5; limits.text++)
            ck_assert_int_eq((limited(&limits, texts[i], NULL) & MIME_BIT(MIME_LIMIT_TEXT)) != 0, limits.text == 4);
}
END_TEST

/* A depth that only the stack of boundaries bounds, and what is quadratic in parsers that look for each boundary anew. */
START_TEST(test_deep)
{
    struct mime_limits limits = MIME_LIMITS_DEFAULT;
    limits.depth = limits.parts = 100000;
    size_t cap = 1 << 22, used = 0;
    char *message = malloc(cap);
    for (int i = 0; i < 20000 && used < cap - 256; i++)
        used += (size_t)sprintf(message + used, "%sContent-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i == 0 ? HEAD : "", i, i);
    struct mime_parser *parser = mime_parser_new(&limits);
    const struct mime_message *parsed = mime_parse(parser, message, used);
    ck_assert_uint_gt(parsed->part_count, 50);
    mime_parser_free(&parser);
    free(message);
}
END_TEST

/* --- HTML --- */

static const struct {
    const char *source, *text;
    const char *link, *anchor; /* of the first link; NULL: none */
} pages[] = {
    { "<p>one</p><p>two", "one\ntwo", NULL, NULL },
    { "a&amp;b &lt;c&gt; &eacute;&#233;&#xe9; &copy", "a&b <c> \xc3\xa9\xc3\xa9\xc3\xa9 \xc2\xa9", NULL, NULL },
    { "via<b></b>gra", "viagra", NULL, NULL },
    { "via<!-- x -->gra", "viagra", NULL, NULL },
    { "<style>p { color: red }</style><script>a < b</script>x", "x", NULL, NULL },
    { "a<span style='display: none'>hidden <span>more</span></span>b", "ab", NULL, NULL },
    { "a<div style=\"FONT-SIZE:0px\">hidden</div>b", "a\nb", NULL, NULL },
    { "a<div style=\"font-size:0.9em\">seen</div>b", "a\nseen\nb", NULL, NULL },
    { "<a href=\"http://x.example/\">text</a>", "text", "http://x.example/", "text" },
    { "<a class=b href=http://x.example/>te<b>x</b>t</a> more", "text more", "http://x.example/", "text" },
    { "<A HREF='htt&#112;://x\n.example/'>text", "text", "http://x.example/", "text" },
    { "<form action=https://x.example/post><input type=password></form>", "", "https://x.example/post", "" },
    { "<meta http-equiv=refresh content='0; url=http://x.example/'>", "", "http://x.example/", "" },
    { "<a href=\"http://x.example/", "", "http://x.example/", "" },
    { "<i x=\"y><a title='a > b' href=http://x.example/>t</a>", "t", "http://x.example/", "t" },
    { "a < b > c", "a < b > c", NULL, NULL },
    { "<", "<", NULL, NULL },
    { "<a", "", NULL, NULL },
    { "<!--", "", NULL, NULL },
    { "&#0;&#99999999999;&", "\xef\xbf\xbd\xef\xbf\xbd&", NULL, NULL },
};

START_TEST(test_page)
{
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    static struct html html;
    size_t len = strlen(pages[_i].source);
    char *copy = memcpy(malloc(len), pages[_i].source, len);
    mime_parse(parser, "", 0);
    html_read(parser, (struct mime_span){ copy, len }, &html);
    ck_assert_msg(mime_span_is(html.text, pages[_i].text), "%s: \"%.*s\"", pages[_i].source, (int)html.text.len, html.text.bytes);
    ck_assert_uint_eq(html.link_count, pages[_i].link != NULL);
    if (pages[_i].link != NULL) {
        ck_assert_msg(mime_span_is(html.links[0].target, pages[_i].link), "%s: %.*s", pages[_i].source, (int)html.links[0].target.len, html.links[0].target.bytes);
        ck_assert(mime_span_is(html.links[0].text, pages[_i].anchor));
    }
    free(copy);
    mime_parser_free(&parser);
}
END_TEST

START_TEST(test_pdf)
{
    static const char file[] = "%PDF-1.4\n1 0 obj << /Type /Page /A << /S /URI /URI (http://x.example/a) >> >> /Pages /JS (app)";
    struct pdf pdf;
    struct mime_span span = { file, sizeof file - 1 };
    ck_assert(pdf_is(span));
    pdf_read(span, &pdf);
    ck_assert_uint_eq(pdf.link_count, 1);
    ck_assert(mime_span_is(pdf.links[0], "http://x.example/a"));
    ck_assert_uint_eq(pdf.pages, 1);
    ck_assert(pdf.script && !pdf.launch && !pdf.encrypted);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mime");
    TCase *tcase = tcase_create("mime");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, test_example, 0, sizeof examples / sizeof *examples);
    tcase_add_loop_test(tcase, test_value, 0, sizeof values / sizeof *values);
    tcase_add_test(tcase, test_limits);
    tcase_add_test(tcase, test_deep);
    tcase_add_loop_test(tcase, test_page, 0, sizeof pages / sizeof *pages);
    tcase_add_test(tcase, test_pdf);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
