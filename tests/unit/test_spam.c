/* test_spam.c - what spam engines are told and answer, what a score means for a copy, and what it writes into a header */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "common/score.h"
#include "edge/spam/author.h"
#include "edge/spam/bands.h"
#include "edge/spam/dress.h"
#include "edge/spam/fields.h"
#include "proto/wire.h"
#include "scanner/native/native.h"
#include "scanner/spam/engine.h"
#include "scanner/spam/http.h"
#include "scanner/spam/spam.h"
#include "tests/unit/suite.h"

/* ---- scores ---- */

static const struct {
    const char *text;
    int64_t score; /* -1: refused */
} scores[] = { { "0", 0 }, { "50", 5000 }, { "49.9", 4990 }, { "0.05", 5 }, { "100", 10000 }, { "100.01", -1 }, { "101", -1 }, { "1.", -1 }, { ".5", -1 }, { "1.234", -1 },
               { "-1", -1 }, { "", -1 }, { "5 ", -1 }, { "5,0", -1 }, { "999999999999", -1 }, { "off", SCORE_OFF } };

START_TEST(a_score_has_two_decimals)
{
    uint32_t score = 0;
    bool taken = score_threshold_parse(&score, scores[_i].text);
    ck_assert_msg(taken == (scores[_i].score >= 0) && (!taken || score == scores[_i].score), "'%s': %d, %u", scores[_i].text, taken, score);
}
END_TEST

START_TEST(a_score_is_shown_with_two_decimals)
{
    char text[SCORE_TEXT_MAX];
    ck_assert_str_eq(score_format(text, 4990), "49.90");
    ck_assert_str_eq(score_format(text, -20), "-0.20");
    ck_assert_str_eq(score_format(text, 5), "0.05");
}
END_TEST

START_TEST(the_curve_only_grows)
{
    static const struct {
        double points;
        uint32_t score;
    } at[] = { { -5, 0 }, { 0, 0 }, { 3, 2500 }, { 5.988, 4990 }, { 6, 5000 }, { 14.9999, 9000 }, { 15, 9000 }, { 15.09, 9010 }, { 24, 10000 }, { 1e9, 10000 } };
    uint32_t before = 0;
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        ck_assert_msg(spam_curve(at[i].points, 6, 15) == at[i].score, "%g: %u", at[i].points, spam_curve(at[i].points, 6, 15));
    for (double points = -1; points < 30; points += 0.01) {
        uint32_t score = spam_curve(points, 6, 15);
        ck_assert_uint_ge(score, before);
        before = score;
    }
    ck_assert_uint_eq(spam_curve(__builtin_nan(""), 6, 15), 0);
}
END_TEST

/* ---- bands ---- */

START_TEST(a_band_begins_at_its_score)
{
    static const struct {
        uint32_t score;
        enum spam_fate fate;
    } at[] = { { 3999, SPAM_FATE_DELIVER }, { 4000, SPAM_FATE_TAG }, { 4999, SPAM_FATE_TAG }, { 5000, SPAM_FATE_QUARANTINE }, { 9000, SPAM_FATE_QUARANTINE }, { 9001, SPAM_FATE_DISCARD } };
    struct spam_bands bands = { .tag = 4000, .quarantine = 5000, .discard = 9000, .action = SPAM_QUARANTINE };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        ck_assert_int_eq(spam_fate(&bands, at[i].score), at[i].fate);
    bands = (struct spam_bands){ .tag = SCORE_OFF, .quarantine = SCORE_OFF, .discard = SCORE_OFF };
    ck_assert_int_eq(spam_fate(&bands, 10000), SPAM_FATE_DELIVER);
    bands = (struct spam_bands){ .tag = SCORE_OFF, .quarantine = 5000, .discard = SCORE_OFF, .action = SPAM_REJECT };
    ck_assert_int_eq(spam_fate(&bands, 10000), SPAM_FATE_REJECT);
}
END_TEST

START_TEST(a_domain_has_bands_of_its_own)
{
    static const char text[] = "example.edu inbound tag>=40.5 discard>95\n.example.edu inbound quarantine>=off action=tag\n. outbound quarantine>=60\nq.example.edu to quarantine>=off\n";
    char off[] = "off", half[] = "50";
    struct spam_settings settings = { .tag_score = off, .quarantine_score = half, .discard_score = off, .spam_action = SPAM_QUARANTINE };
    struct policy_file file = { "spam", text, sizeof text - 1 };
    struct error why;
    struct policy *policy = policy_parse(&file, 1, &why);
    struct spam_bands bands;
    ck_assert_msg(policy != NULL, "%s", why.text);
    spam_bands_of(&bands, &settings, policy, false, "", "example.edu");
    ck_assert(bands.tag == 4050 && bands.quarantine == 5000 && bands.discard == 9500 && bands.action == SPAM_QUARANTINE);
    spam_bands_of(&bands, &settings, policy, false, "example.edu", "cs.example.edu");
    ck_assert(bands.tag == SCORE_OFF && bands.quarantine == SCORE_OFF && bands.action == SPAM_TAG);
    spam_bands_of(&bands, &settings, policy, true, "example.edu", "cs.example.edu");
    ck_assert(bands.quarantine == 6000);
    spam_bands_of(&bands, &settings, policy, true, "", "example.edu");
    ck_assert(bands.quarantine == 6000);
    spam_bands_of(&bands, &settings, policy, false, "", "example.org");
    ck_assert(bands.quarantine == 5000 && bands.discard == SCORE_OFF);
    for (int outbound = 0; outbound < 2; outbound++) {
        spam_bands_of(&bands, &settings, policy, outbound, "example.edu", "q.example.edu");
        ck_assert(bands.quarantine == SCORE_OFF && bands.discard == SCORE_OFF && bands.action == SPAM_QUARANTINE);
    }
    policy_free(&policy);
}
END_TEST

/* ---- the header of a message ---- */

#define SUBJECT(before, after) { "From: a@b.c\r\nSubject:" before "\r\n\r\n", "From: a@b.c\r\nSubject:" after "\r\n\r\n", NULL, "[SPAM]", false, false }
#define SAME(header) { header, NULL, "mx.example.edu", "[SPAM]", true, false }

static const struct {
    const char *header, *edited; /* NULL: as it is */
    const char *id, *tag;
    bool drop, tag_signed;
} edits[] = {
    SUBJECT(" hi", " [SPAM] hi"),
    SUBJECT("hi", " [SPAM] hi"),
    SUBJECT("", " [SPAM]"),
    SUBJECT(" =?utf-8?B?SGFsbG8=?=\r\n =?utf-8?Q?=21?=", " [SPAM] =?utf-8?B?SGFsbG8=?=\r\n =?utf-8?Q?=21?="),
    SUBJECT("\r\n folded", " [SPAM]\r\n folded"),
    { "FROM: a\r\nsUBJECT : x\r\n\r\nbody", "FROM: a\r\nsUBJECT : [SPAM] x\r\n\r\nbody", NULL, "[SPAM]", false, false },
    { "From: a\r\n\r\n", "Subject: [SPAM]\r\nFrom: a\r\n\r\n", NULL, "[SPAM]", false, false },
    { "\r\nbody", "Subject: [SPAM]\r\n\r\nbody", NULL, "[SPAM]", false, false },
    /* never twice */
    SAME("Subject: [SPAM] hi\r\n\r\n"),
    SAME("Subject: Re: [SPAM] hi\r\n\r\n"),
    SAME("Subject: =?utf-8?Q?Re:_=5BSPAM=5D_hi?=\r\n\r\n"),
    SAME("Subject: =?utf-8?B?W1NQQU1dIGhp?=\r\n\r\n"),
    /* the first Subject is the one */
    { "Subject: win\r\nSubject: [SPAM]\r\n\r\n", "Subject: [SPAM] win\r\nSubject: [SPAM]\r\n\r\n", NULL, "[SPAM]", false, false },
    SAME("Subject: [SPAM] win\r\nSubject: hi\r\n\r\n"),
    /* a signed one only where it is wanted */
    SAME("Subject: hi\r\nDKIM-Signature: v=1\r\n\r\n"),
    { "Subject: hi\r\nDKIM-Signature: v=1\r\n\r\n", "Subject: [SPAM] hi\r\nDKIM-Signature: v=1\r\n\r\n", NULL, "[SPAM]", false, true },
    /* what others say of spam, and what is said in our name */
    { "X-Spam-Flag: NO\r\nA: b\r\nx-spam-x: 1\r\n\t2\r\nX-Spammer: c\r\n\r\n", "A: b\r\nX-Spammer: c\r\n\r\n", NULL, NULL, true, false },
    { "X-Spam-Flag: NO\r\n\r\n", NULL, NULL, NULL, false, false },
    { "Authentication-Results: mx.example.edu; spf=pass\r\nA: b\r\n\r\n", "A: b\r\n\r\n", "mx.example.edu", NULL, false, false },
    { "authentication-results:\r\n (c (d)) MX.example.EDU 1;\r\n spf=pass\r\nA: b\r\n\r\n", "A: b\r\n\r\n", "mx.example.edu", NULL, false, false },
    { "Authentication-Results: \"mx.example.edu\"; spf=pass\r\nA: b\r\n\r\n", "A: b\r\n\r\n", "mx.example.edu", NULL, false, false },
    { "Authentication-Results: \"mx\\.example.ed\\u\"; spf=pass\r\nA: b\r\n\r\n", "A: b\r\n\r\n", "mx.example.edu", NULL, false, false },
    { "Authentication-Results: \"mx.example.edu\\", NULL, "mx.example.edu", NULL, false, false },
    { "Authentication-Results: \"mx.example.ed\\", NULL, "mx.example.edu", NULL, false, false },
    { "Authentication-Results: Edge-1.example.edu; spf=pass\r\nA: b\r\n\r\n", "A: b\r\n\r\n", "mx.example.edu", NULL, false, false },
    { "Authentication-Results: edge-3.example.edu; spf=pass\r\nA: b\r\n\r\n", "A: b\r\n\r\n", "mx.example.edu", NULL, false, false }, /* another edge's */
    { "Authentication-Results: mx.example.edu.evil.example; spf=pass\r\n\r\n", NULL, "mx.example.edu", NULL, false, false },
    { "Authentication-Results: mx.example.org; spf=pass\r\n\r\n", NULL, "mx.example.edu", NULL, false, false },
    { "Authentication-Results: (\r\n\r\n", NULL, "mx.example.edu", NULL, false, false },
    { "Subject: =?\r\nSubject: =?x?q?\r\n\r\n", "Subject: [SPAM] =?\r\nSubject: =?x?q?\r\n\r\n", NULL, "[SPAM]", false, false },
    { "A: b\r\nSubject:", "A: b\r\nSubject: [SPAM]", NULL, "[SPAM]", false, false },
    { "no field at all", NULL, "mx.example.edu", "", true, false },
};

START_TEST(a_header_is_edited)
{
    static const char *const others[] = { "edge-2.example.edu", "edge-3.example.edu", NULL };
    struct header_edit edit = { .others = others, .drop_spam = edits[_i].drop, .names = { "edge-1.example.edu", edits[_i].id }, .tags = { edits[_i].tag }, .tag_signed = edits[_i].tag_signed };
    size_t len = strlen(edits[_i].header), out_len = 0;
    char *header = xmemdup(edits[_i].header, len); /* of its own length, so that the address sanitizer sees one byte read too far */
    char *out = header_edit(&edit, header, len, &out_len);
    const char *wanted = edits[_i].edited;
    ck_assert_msg((out == NULL) == (wanted == NULL) && (out == NULL || (out_len == strlen(wanted) && memcmp(out, wanted, out_len) == 0)), "%s -> %.*s", edits[_i].header,
                  (int)out_len, out != NULL ? out : "");
    if (out != NULL) { /* and not again */
        char *again = header_edit(&edit, out, out_len, &len);
        ck_assert_ptr_null(again);
    }
    free(out);
    free(header);
}
END_TEST

/* Results in our names stay only of the site's MTAs (RFC 8601 5), fields X-Spam-* from outside where no engines are configured; whoever was asked: a virus is
 * quarantined without a question to any engine, and may be released. */
static const struct {
    bool distrusted, from_outside, engines, virus;
    const char *rest; /* of the header; NULL: it stays as it is */
} strangers[] = {
    { true, true, true, false, "A: b\r\n\r\n" },
    { true, true, true, true, "A: b\r\n\r\n" },
    { true, true, false, false, "X-Spam-Flag: NO\r\nA: b\r\n\r\n" },
    { true, false, true, false, "X-Spam-Flag: NO\r\nA: b\r\n\r\n" },
    { true, false, false, true, "X-Spam-Flag: NO\r\nA: b\r\n\r\n" },
    { false, false, true, false, NULL },
    { false, false, true, true, NULL },
    { false, false, false, false, NULL },
};

START_TEST(what_strangers_say_goes_where_no_engine_was_asked_too)
{
    static const char mail[] = "X-Spam-Flag: NO\r\nAuthentication-Results: mx.example.edu; spf=pass\r\nAuthentication-Results: edge-1.example.edu; spf=pass\r\n"
                               "Authentication-Results: edge-2.example.edu; spf=pass\r\nA: b\r\n\r\n";
    static const char *const names[] = { "edge-1.example.edu", "edge-2.example.edu", NULL };
    char id[] = "mx.example.edu", subject[] = "[SPAM]", engine[] = "native", *engines[] = { engine };
    struct spam_settings settings = { .authserv_id = id, .spam_subject = subject, .spam_engines = { engines, strangers[_i].engines } };
    struct scan_result virus = { .verdict = WEIR__VERDICT__VERDICT_BAD };
    struct message_budget budget = { .memory_max = 1 << 20, .disk_max = 1 << 20, .threshold = 4096, .tmp_dir = "/tmp" };
    static const size_t bodies[] = { 4, 5000, 300000 }; /* in memory and in a file; more than is looked at first */
    for (size_t k = 0; k < sizeof bodies / sizeof *bodies; k++) {
        struct message *message = message_new(&budget);
        struct error why;
        char *body = xcalloc(bodies[k], 1), wanted[200];
        memset(body, 'x', bodies[k]);
        ck_assert_int_eq(message_append(message, mail, sizeof mail - 1, &why), MESSAGE_OK);
        ck_assert_int_eq(message_append(message, body, bodies[k], &why), MESSAGE_OK);
        struct dress dress = { .settings = &settings, .hostname = "edge-1.example.edu", .cluster_names = names, .scan = strangers[_i].virus ? &virus : NULL,
                               .distrusted = strangers[_i].distrusted, .from_outside = strangers[_i].from_outside,
                               .sender = "", .helo = "", .received = "Received: x\r\n", .received_len = 13 };
        size_t len;
        uint64_t skip;
        char *prefix = message_dress(&dress, message, &len, &skip);
        snprintf(wanted, sizeof wanted, "Received: x\r\n%s", strangers[_i].rest != NULL ? strangers[_i].rest : "");
        ck_assert_msg(len == strlen(wanted) && memcmp(prefix, wanted, len) == 0, "%zu: %.*s", k, (int)len, prefix);
        ck_assert_uint_eq(skip, strangers[_i].rest != NULL ? sizeof mail - 1 : 0);
        free(prefix);
        free(body);
        message_free(&message);
    }
}
END_TEST

/* A header that is longer than what is looked at first is edited to its end. */
START_TEST(a_long_header_is_read_whole)
{
    char subject[] = "", name[] = "mx.example.edu";
    struct spam_settings settings = { .authserv_id = name, .spam_subject = subject };
    struct message_budget budget = { .memory_max = 1 << 20, .disk_max = 1 << 20, .threshold = _i == 0 ? 1 << 20 : 4096, .tmp_dir = "/tmp" };
    struct message *message = message_new(&budget);
    struct error why;
    static const char field[] = "X: y\r\n", last[] = "Authentication-Results: mx.example.edu; spf=pass\r\n\r\nbody";
    size_t len, count = 100000 / (sizeof field - 1);
    uint64_t skip;
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(message_append(message, field, sizeof field - 1, &why), MESSAGE_OK);
    ck_assert_int_eq(message_append(message, last, sizeof last - 1, &why), MESSAGE_OK);
    struct dress dress = { .settings = &settings, .hostname = "edge-1.example.edu", .distrusted = true, .sender = "", .helo = "", .received = "", .received_len = 0 };
    char *prefix = message_dress(&dress, message, &len, &skip);
    ck_assert_uint_eq(len, count * (sizeof field - 1) + 2);
    ck_assert_uint_eq(skip, message_size(message) - 4);
    ck_assert(memcmp(prefix + len - 5, "y\r\n\r\n", 5) == 0);
    free(prefix);
    message_free(&message);
}
END_TEST

/* S46: each tag once, in one order; what is signed, and whoever wants no tags, has fields only. */
START_TEST(tags_of_all_kinds)
{
    static const struct {
        const char *mail, *blacklist, *wanted;
        bool tagged_signed;
    } cases[] = {
        { "Subject: =?utf-8?B?SGFsbG8=?=\r\n\r\n", "[BLACKLISTED]", "Subject: [BLACKLISTED] [VIRUS?] [SPAM] =?utf-8?B?SGFsbG8=?=\r\n\r\n", false },
        { "Subject: [VIRUS?] x\r\n\r\n", "[BLACKLISTED]", "Subject: [BLACKLISTED] [SPAM] [VIRUS?] x\r\n\r\n", false },
        { "Subject: x\r\n\r\n", "", "Subject: [VIRUS?] [SPAM] x\r\n\r\n", false },
        { "DKIM-Signature: v=1\r\nSubject: x\r\n\r\n", "[BLACKLISTED]", "", false },
        { "DKIM-Signature: v=1\r\nSubject: x\r\n\r\n", "[BLACKLISTED]", "DKIM-Signature: v=1\r\nSubject: [BLACKLISTED] [VIRUS?] [SPAM] x\r\n\r\n", true },
    };
    char none[] = "", virus[] = "[VIRUS?]", spam[] = "[SPAM]", wanted[512];
    struct message_budget budget = { .memory_max = 4096, .threshold = 4096, .tmp_dir = "/tmp" };
    struct error why;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *blacklist = xstrdup(cases[i].blacklist);
        struct spam_settings settings = { .authserv_id = none, .spam_subject = spam, .virus_subject = virus, .blacklist_subject = blacklist,
                                          .spam_subject_signed = cases[i].tagged_signed };
        struct scan_result scan = { .verdict = WEIR__VERDICT__VERDICT_UNKNOWN, .reason = WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS };
        struct dress dress = { .settings = &settings, .hostname = "edge-1.example.edu", .scan = &scan, .virus_line = true, .tag = true, .doubt = "unknown:limits",
                               .listed = "bl.example", .sender = "", .helo = "", .received = "Received: x\r\n", .received_len = 13 };
        struct message *message = message_new(&budget);
        ck_assert_int_eq(message_append(message, cases[i].mail, strlen(cases[i].mail), &why), MESSAGE_OK);
        size_t len;
        uint64_t skip;
        char *prefix = message_dress(&dress, message, &len, &skip);
        snprintf(wanted, sizeof wanted, "X-Virus-Status: unknown:limits\r\nX-Blacklisted: bl.example\r\nReceived: x\r\n%s", cases[i].wanted);
        ck_assert_msg(len == strlen(wanted) && memcmp(prefix, wanted, len) == 0, "%zu: %.*s", i, (int)len, prefix);
        ck_assert_uint_eq(skip, *cases[i].wanted != '\0' ? strlen(cases[i].mail) : 0);
        free(prefix);
        free(blacklist);
        message_free(&message);
    }
}
END_TEST

START_TEST(a_header_ends_behind_its_empty_line)
{
    ck_assert_uint_eq(header_length("A: b\r\n\r\nbody", 12), 8);
    ck_assert_uint_eq(header_length("\r\nbody", 6), 2);
    ck_assert_uint_eq(header_length("A: b\r\n", 6), 6);
    ck_assert_uint_eq(header_length("", 0), 0);
}
END_TEST

START_TEST(what_is_found_is_written_down)
{
    Weir__SpamEngine one = WEIR__SPAM_ENGINE__INIT, two = WEIR__SPAM_ENGINE__INIT, *engines[] = { &one, &two };
    Weir__SpamSymbol symbol = WEIR__SPAM_SYMBOL__INIT, *symbols[] = { &symbol, &symbol };
    Weir__SpamResult result = WEIR__SPAM_RESULT__INIT;
    ProtobufCBinaryData signature = wire_text("v=1;\r\n\tb=x");
    char out[SPAM_FIELDS_MAX];
    one.name = wire_text("rspamd"), one.state = WEIR__SPAM_STATE__SPAM_OK, one.score = 6240;
    two.name = wire_text("spamd"), two.state = WEIR__SPAM_STATE__SPAM_TIMEOUT;
    symbol.name = wire_text("FOO"), symbol.weight = -120, symbol.engine = one.name;
    result.score = 6240;
    result.engines = engines, result.n_engines = 2;
    result.symbols = symbols, result.n_symbols = 2;
    result.authentication = wire_text("dkim=none; spf=pass");
    result.signatures = &signature, result.n_signatures = 1;
    struct spam_fields fields = { .result = &result, .authserv_id = "mx.example.edu", .sender = "a@example.org", .helo = "x", .required = 5000 };
    out[spam_fields_format(out, &fields)] = '\0';
    ck_assert_str_eq(out, "X-Spam-Flag: YES\r\nX-Spam-Score: 62.40\r\nX-Spam-Status: Yes, score=62.40 required=50.00 engines=rspamd(62.40)\r\n spamd(timeout) tests=FOO(-1.20),"
                          " FOO(-1.20)\r\nAuthentication-Results: mx.example.edu; dkim=none; spf=pass\r\n smtp.mailfrom=example.org\r\nDKIM-Signature: v=1;\r\n\tb=x\r\n");
    ck_assert(spam_is_incomplete(&result));
    two.state = WEIR__SPAM_STATE__SPAM_SIZE;
    ck_assert(!spam_is_incomplete(&result));
    fields.required = SCORE_OFF;
    fields.sender = "";
    out[spam_fields_format(out, &fields)] = '\0';
    ck_assert(strncmp(out, "X-Spam-Flag: NO\r\n", 17) == 0 && strstr(out, "required=off") != NULL && strstr(out, "smtp.helo=x\r\n") != NULL);
    fields.sender = "a@b c"; /* what is no domain is not written into a header */
    out[spam_fields_format(out, &fields)] = '\0';
    ck_assert_ptr_null(strstr(out, "smtp.mailfrom"));
    result.authentication.len = 10; /* bytes of a verdict, which no NUL ends: of their own length, so that the address sanitizer sees one byte read too far */
    result.authentication.data = xmemdup("a=b;      ", 10);
    out[spam_fields_format(out, &fields)] = '\0';
    ck_assert_ptr_nonnull(strstr(out, "Authentication-Results: mx.example.edu; a=b;\r\n"));
    free(result.authentication.data);
}
END_TEST

/* ---- engines ---- */

static const struct {
    const char *bytes;
    enum spam_reply reply;
    bool ended, again;
    uint32_t score; /* with MORE: the bytes of the whole answer */
} rspamd_answers[] = {
    { "HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{\"score\":6.0,\"symbols\":{}}", SPAM_REPLY_DONE, false, true, 5000 },
    { "HTTP/1.1 200 OK\r\ncontent-length: 26\r\nConnection: close\r\n\r\n{\"score\":6.0,\"symbols\":{}}", SPAM_REPLY_DONE, false, false, 5000 },
    { "HTTP/1.1 200 OK\r\nContent-Length: 49\r\n\r\n{\"score\":9.0,\"required_score\":9.0,\"symbols\":{  }}", SPAM_REPLY_DONE, false, true, 9000 },
    { "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"score\":6.0,\"symbols\":{}}", SPAM_REPLY_MORE, false, false, 66 },
    { "HTTP/1.1 200 OK\r\nContent-Length: 67000000\r\n\r\n", SPAM_REPLY_MORE, false, false, 67000045 },
    { "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"score\":6.0,\"symbols\":{}}", SPAM_REPLY_BAD, true, false, 0 },
    { "HTTP/1.1 2", SPAM_REPLY_MORE, false, false, 0 },
    { "HTTP/1.1 200 OK\r\n\r\n{}", SPAM_REPLY_BAD, false, false, 0 },
    { "HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n", SPAM_REPLY_REFUSED, false, false, 0 },
    { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", SPAM_REPLY_BAD, false, false, 0 },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", SPAM_REPLY_BAD, false, false, 0 },
    { "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", SPAM_REPLY_BAD, false, false, 0 },
    { "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", SPAM_REPLY_BAD, false, false, 0 },
    { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", SPAM_REPLY_BAD, false, false, 0 },
    { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[1,2]", SPAM_REPLY_BAD, false, false, 0 },
    { "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", SPAM_REPLY_BAD, false, false, 0 },
    { "SMTP\r\n\r\n", SPAM_REPLY_BAD, false, false, 0 },
};

static enum spam_reply answer_of(const struct spam_protocol *protocol, const char *bytes, bool ended, struct spam_answer *answer, bool *again, uint64_t *wanted)
{
    struct evbuffer *in = evbuffer_new();
    struct spam_scale scale = { 6, 15 };
    struct error why;
    *wanted = 0;
    memset(answer, 0, sizeof *answer);
    evbuffer_add(in, bytes, strlen(bytes));
    evbuffer_freeze(in, 0); /* as a bufferevent's is */
    enum spam_reply reply = protocol->read(in, ended, &scale, answer, wanted, again, &why);
    evbuffer_free(in);
    return reply;
}

START_TEST(an_answer_of_rspamd_is_whole_or_none)
{
    struct spam_answer answer;
    bool again = false;
    uint64_t wanted;
    ck_assert_int_eq(answer_of(&rspamd_protocol, rspamd_answers[_i].bytes, rspamd_answers[_i].ended, &answer, &again, &wanted), rspamd_answers[_i].reply);
    if (rspamd_answers[_i].reply == SPAM_REPLY_DONE) {
        ck_assert_uint_eq(answer.score, rspamd_answers[_i].score);
        ck_assert_int_eq(again, rspamd_answers[_i].again);
    }
    if (rspamd_answers[_i].reply == SPAM_REPLY_MORE)
        ck_assert_uint_eq(wanted, rspamd_answers[_i].score);
    spam_answer_fini(&answer);
}
END_TEST

START_TEST(an_answer_of_rspamd_says_why)
{
    static const char json[] = "{\"score\":3,\"symbols\":{\"R_SPF_FAIL\":{\"score\":1.5,\"options\":[\"-all\"]},\"R_DKIM_ALLOW\":{\"score\":-0.2,\"options\":[\"example.org:s=x\",\"b.example:s\"]},"
                               "\"DMARC_NA\":{\"score\":0,\"options\":[\"evil\\r\\nX: y\"]},\"A B(\":{\"score\":4e300,\"options\":[\"c)\\\\\",7]},\"BIG\":{\"score\":40}},"
                               "\"milter\":{\"add_headers\":{\"DKIM-Signature\":[{\"value\":\"v=1;\\r\\n\\tb=x\"},{\"value\":\"v=1;\\r\\nX: y\"}]}}}";
    struct spam_answer answer;
    bool again;
    uint64_t wanted;
    char *bytes = xasprintf("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(json), json);
    ck_assert_int_eq(answer_of(&rspamd_protocol, bytes, false, &answer, &again, &wanted), SPAM_REPLY_DONE);
    ck_assert_str_eq(answer.authentication, "spf=fail; dkim=pass header.d=example.org; dkim=pass header.d=b.example; dmarc=none header.from=evil");
    ck_assert_uint_eq(answer.symbol_count, 5);
    ck_assert_str_eq(answer.symbols[0].name, "BIG");
    ck_assert_int_eq(answer.symbols[0].weight, 4000);
    ck_assert_str_eq(answer.symbols[1].name, "R_SPF_FAIL");
    ck_assert_str_eq(answer.symbols[1].detail, "-all");
    for (size_t i = 0; i < answer.symbol_count; i++)
        ck_assert_uint_eq(strcspn(answer.symbols[i].name, " ()"), strlen(answer.symbols[i].name));
    ck_assert_uint_eq(answer.signature_count, 1); /* the other one would be a field of its own */
    ck_assert_str_eq(answer.signatures[0], "v=1;\r\n\tb=x");
    spam_answer_fini(&answer);
    free(bytes);
}
END_TEST

static const struct {
    const char *authentication, *from, *sender, *author; /* NULL: nobody */
} proofs[] = {
    { "spf=pass; dkim=none", "", "a@example.org", "a@example.org" },
    { "spf=pass; dkim=none", "b@example.net", "a@example.org", "a@example.org" },
    { "spf=fail; dkim=none", "a@example.org", "a@example.org", NULL },
    { "", "a@example.org", "a@example.org", NULL },
    { "spf=pass", "a@example.org", "", NULL },
    { "spf=pass; dkim=pass header.d=example.org; dmarc=fail header.from=example.org", "a@example.org", "a@example.org", NULL },
    { "spf=softfail; dkim=pass header.d=Example.Org:s=x", "a@example.org", "b@example.net", "a@example.org" },
    { "spf=softfail; dkim=pass header.d=example.org.evil.example", "a@example.org", "a@example.org", NULL },
    { "dkim=pass header.d=evil.example; dmarc=none", "a@example.org", "a@example.org", NULL },
    { "dkim=none; dmarc=pass header.from=example.org", "a@example.org", "", "a@example.org" },
    { "dmarc=pass header.from=example.net", "a@example.org", "a@example.org", NULL },
    { "spf=pass; dkim=pass header.d=example.org", "a@example.org", "list@example.net", "a@example.org" },
    /* signed for one account of a domain, and sent again in another one's name */
    { "spf=fail; dkim=pass header.d=example.org; dmarc=pass header.from=example.org", "spammer@example.org", "friend@example.org", "spammer@example.org" },
    { "spf=fail; dkim=pass header.d=example.org", "", "friend@example.org", NULL },
};

static const struct {
    const char *header, *author; /* NULL: none, or not one */
} authors[] = {
    { "To: x@y\r\nFrom: A@Example.org\r\n\r\nFrom: b@example.org", "A@example.org" },
    { "from :\r\n \"B, \\\" <x@y>\" (c (d\\)) @) <a@example.org> (e)\r\n\r\n", "a@example.org" },
    { "From: b@example.net <a@example.org>\r\n", "a@example.org" },
    { "From: =?utf-8?Q?=2C?= <\"a\"@example.org>\r\n", "a@example.org" },
    { "From: (c) a@example.org", "a@example.org" },
    { "From: \"a b\"@example.org\r\n", "\"a b\"@example.org" },
    { "From: a@example.org, b@example.org\r\n", NULL },
    { "From: A <a@example.org>, B <b@example.org>\r\n", NULL },
    { "From: <a@example.org> <b@example.org>\r\n", NULL },
    { "From: <a@example.org> b\r\n", NULL },
    { "From: g: a@example.org;\r\n", NULL },
    { "From: a@example.org\r\nfrom: a@example.org\r\n", NULL },
    { "From: <a@example.org\r\n", NULL },
    { "From: a@example.org (c", NULL },
    { "From: \"a@example.org\\", NULL },
    { "From: a\r\n", NULL },
    { "From:", NULL },
    { "To: a@example.org\r\n", NULL },
    { "", NULL },
};

START_TEST(a_header_has_one_author)
{
    size_t len = strlen(authors[_i].header);
    char *header = xmemdup(authors[_i].header, len), out[SMTP_ADDRESS_MAX] = "";
    bool found = header_author(out, header, header_length(header, len));
    ck_assert_msg(found == (authors[_i].author != NULL) && (!found || strcmp(out, authors[_i].author) == 0), "%s -> %s", authors[_i].header, out);
    free(header);
}
END_TEST

/* What a recipient's safe list goes by: a sender whom anybody could have named has no benefit of it. */
START_TEST(an_author_is_proved)
{
    Weir__SpamResult result = WEIR__SPAM_RESULT__INIT;
    result.authentication = wire_text(proofs[_i].authentication);
    const char *author = spam_author(&result, proofs[_i].from, proofs[_i].sender);
    ck_assert_msg((author == NULL) == (proofs[_i].author == NULL) && (author == NULL || strcmp(author, proofs[_i].author) == 0), "%s", author != NULL ? author : "nobody");
}
END_TEST

static const struct {
    const char *authentication;
    int32_t weight, settled; /* of the symbol; settled 0: it is gone */
} own_domains[] = {
    { "", NATIVE_OWN_DOMAIN_UNKNOWN, NATIVE_OWN_DOMAIN_UNKNOWN },
    { "spf=pass smtp.mailfrom=example.edu; dmarc=none", NATIVE_OWN_DOMAIN_UNKNOWN, NATIVE_OWN_DOMAIN_UNKNOWN },
    { "spf=pass smtp.mailfrom=bulk.example; dkim=pass header.d=example.edu; dmarc=pass header.from=example.edu", NATIVE_OWN_DOMAIN_UNKNOWN, 0 },
    { "dmarc=pass", NATIVE_OWN_DOMAIN_LIST, 0 },
    { "spf=fail; dmarc=fail header.from=example.edu", NATIVE_OWN_DOMAIN_UNKNOWN, NATIVE_OWN_DOMAIN_FORGED },
    { "dmarc=fail", NATIVE_OWN_DOMAIN_LIST, NATIVE_OWN_DOMAIN_LIST },
};

/* Mail in a site's own name from outside: by itself it is little, and rspamd's DMARC says what it is. */
START_TEST(an_own_domain_is_what_dmarc_says)
{
    struct spam_answer answer = { .score = 2100 };
    spam_answer_add(&answer, "HEAVY", 1300, "");
    spam_answer_add(&answer, NATIVE_OWN_DOMAIN, own_domains[_i].weight, "example.edu");
    spam_answer_add(&answer, "LIGHT", 100, "");
    for (int twice = 0; twice < 2; twice++) {
        int32_t weight = 0, last = INT32_MAX;
        spam_answer_settle(&answer, own_domains[_i].authentication);
        for (size_t i = 0; i < answer.symbol_count; i++) {
            bool own = strcmp(answer.symbols[i].name, NATIVE_OWN_DOMAIN) == 0;
            weight = own ? answer.symbols[i].weight : weight;
            ck_assert(!own || strcmp(answer.symbols[i].detail, "example.edu") == 0);
            ck_assert_int_le(answer.symbols[i].weight, last);
            last = answer.symbols[i].weight;
        }
        ck_assert_int_eq(weight, own_domains[_i].settled);
        ck_assert_uint_eq(answer.symbol_count, weight == 0 ? 2 : 3);
        ck_assert_int_eq((int32_t)answer.score, 2100 - own_domains[_i].weight + weight);
    }
}
END_TEST

START_TEST(only_the_heaviest_symbols_are_kept)
{
    struct spam_answer answer = { .score = 0 };
    char name[16];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "S%d", i);
        spam_answer_add(&answer, name, i % 2 == 0 ? i : -i, "");
    }
    ck_assert_uint_eq(answer.symbol_count, SPAM_SYMBOLS_MAX);
    ck_assert_str_eq(answer.symbols[0].name, "S199");
    ck_assert_str_eq(answer.symbols[SPAM_SYMBOLS_MAX - 1].name, "S136");
}
END_TEST

static const struct {
    const char *bytes;
    enum spam_reply reply;
    uint32_t score;
} spamd_answers[] = {
    { "SPAMD/1.1 0 EX_OK\r\nContent-length: 9\r\nSpam: True ; 5.0 / 5.0\r\n\r\nA,GTUBE\r\n", SPAM_REPLY_DONE, 5000 },
    { "SPAMD/1.1 0 EX_OK\r\nSpam: False ; -1.2 / 5.0\r\n\r\n", SPAM_REPLY_DONE, 0 },
    { "SPAMD/1.1 0 EX_OK\r\nSpam: True ; 1000.0 / 5.0\r\n\r\nGTUBE", SPAM_REPLY_DONE, 10000 },
    { "SPAMD/1.0 76 Bad header line\r\n", SPAM_REPLY_BAD, 0 },
    { "SPAMD/1.1 0 EX_OK\r\nSpam: True ; nan / 5.0\r\n\r\n", SPAM_REPLY_BAD, 0 },
    { "SPAMD/1.1 0 EX_OK\r\nSpam: True ; 7 / 0\r\n\r\n", SPAM_REPLY_BAD, 0 },
    { "SPAMD/1.1 0 EX_OK\r\n\r\nSpam: True ; 7 / 5\r\n", SPAM_REPLY_BAD, 0 },
    { "", SPAM_REPLY_BAD, 0 },
};

START_TEST(an_answer_of_spamd_is_whole_or_none)
{
    struct spam_answer answer;
    bool again;
    uint64_t wanted;
    ck_assert_int_eq(answer_of(&spamd_protocol, spamd_answers[_i].bytes, false, &answer, &again, &wanted), SPAM_REPLY_MORE);
    ck_assert_int_eq(answer_of(&spamd_protocol, spamd_answers[_i].bytes, true, &answer, &again, &wanted), spamd_answers[_i].reply);
    if (spamd_answers[_i].reply == SPAM_REPLY_DONE)
        ck_assert_uint_eq(answer.score, spamd_answers[_i].score);
}
END_TEST

START_TEST(a_question_has_no_line_of_a_stranger)
{
    const char *to[] = { "alice@example.edu", "bob@example.edu\nX: y" };
    struct spam_facts facts = { .id = "Q", .client = "192.0.2.1", .client_name = "", .helo = "a\r\nUser: root", .sender = "", .login = "", .edge = "mx", .recipients = to,
                                .recipient_count = 2, .size = 7 };
    struct evbuffer *out = evbuffer_new();
    rspamd_protocol.ask(out, &facts, NULL);
    evbuffer_add(out, "", 1);
    ck_assert_str_eq((char *)evbuffer_pullup(out, -1), "POST /checkv2 HTTP/1.1\r\nHost: rspamd\r\nConnection: keep-alive\r\nContent-Length: 7\r\nQueue-Id: Q\r\nIP: 192.0.2.1\r\n"
                                                       "Helo: a\r\nFrom: <>\r\nRcpt: alice@example.edu\r\nRcpt: bob@example.edu\r\nMTA-Name: mx\r\n\r\n");
    evbuffer_free(out);
}
END_TEST

static void on_checked(void *arg)
{
    *(bool *)arg = true;
}

/* A message that killed a worker may have done so in a rule: the second one does not try that. */
START_TEST(native_is_not_asked_of_what_killed_a_worker)
{
    static char native[] = "native", points[] = "6", *engines[] = { native };
    struct spam_settings settings = { .spam_engines = { engines, 1 }, .rspamd_spam = points, .rspamd_reject = points, .spam_size = 1000 };
    struct spam_message message = { .bytes = "", .fd = -1, .size = 10 };
    struct packet_facts told;
    bool checked = false;
    struct event_base *base = event_base_new();
    struct metrics metrics;
    metrics_init(&metrics);
    struct spam *spam = spam_new(base, &settings, &metrics);
    Weir__ScanOpen open = WEIR__SCAN_OPEN__INIT;
    Weir__SpamFacts facts = WEIR__SPAM_FACTS__INIT;
    open.spam = &facts;
    open.crashes = (uint32_t)_i;
    struct spam_facts *taken = spam_facts_new(&open);
    struct spam_check *check = spam_check_new(spam, &taken, &message, on_checked, &checked);
    ck_assert_int_eq(spam_check_tells_native(check, &told), _i == 0);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert(checked == (_i > 0) && spam_check_is_done(check) == checked);
    if (checked) {
        const Weir__SpamResult *result = spam_check_result(check);
        ck_assert(result->n_engines == 1 && result->engines[0]->state == WEIR__SPAM_STATE__SPAM_ERROR && result->score == 0);
        spam_check_take_native(check, NULL); /* its worker says nothing of it */
    }
    spam_check_free(&check);
    spam_free(&spam);
    metrics_fini(&metrics);
    event_base_free(base);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spam");
    TCase *tests = tcase_create("all");
    tcase_add_loop_test(tests, a_score_has_two_decimals, 0, sizeof scores / sizeof *scores);
    tcase_add_test(tests, a_score_is_shown_with_two_decimals);
    tcase_add_test(tests, the_curve_only_grows);
    tcase_add_test(tests, a_band_begins_at_its_score);
    tcase_add_test(tests, a_domain_has_bands_of_its_own);
    tcase_add_loop_test(tests, a_header_is_edited, 0, sizeof edits / sizeof *edits);
    tcase_add_loop_test(tests, what_strangers_say_goes_where_no_engine_was_asked_too, 0, sizeof strangers / sizeof *strangers);
    tcase_add_loop_test(tests, a_long_header_is_read_whole, 0, 2);
    tcase_add_test(tests, a_header_ends_behind_its_empty_line);
    tcase_add_test(tests, tags_of_all_kinds);
    tcase_add_test(tests, what_is_found_is_written_down);
    tcase_add_loop_test(tests, an_answer_of_rspamd_is_whole_or_none, 0, sizeof rspamd_answers / sizeof *rspamd_answers);
    tcase_add_test(tests, an_answer_of_rspamd_says_why);
    tcase_add_loop_test(tests, an_author_is_proved, 0, sizeof proofs / sizeof *proofs);
    tcase_add_loop_test(tests, a_header_has_one_author, 0, sizeof authors / sizeof *authors);
    tcase_add_loop_test(tests, an_own_domain_is_what_dmarc_says, 0, sizeof own_domains / sizeof *own_domains);
    tcase_add_test(tests, only_the_heaviest_symbols_are_kept);
    tcase_add_loop_test(tests, an_answer_of_spamd_is_whole_or_none, 0, sizeof spamd_answers / sizeof *spamd_answers);
    tcase_add_test(tests, a_question_has_no_line_of_a_stranger);
    tcase_add_loop_test(tests, native_is_not_asked_of_what_killed_a_worker, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
