/*
 * test_native.c - each family of the native engine's rules raises its symbol, and what is harmless raises none of weight
 */
#include <check.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "scanner/native/domain.h"
#include "scanner/native/fold.h"
#include "scanner/native/native.h"
#include "scanner/native/rules.h"
#include "scanner/native/view.h"
#include "tests/unit/suite.h"

#define COMMON "Date: Mon, 2 Jun 2025 10:00:00 +0200\r\nMessage-ID: <1@mail.example>\r\nMIME-Version: 1.0\r\nTo: bob@site.example\r\n"
#define TEXT COMMON "Content-Type: text/plain\r\n"
#define HTML COMMON "Content-Type: text/html; charset=utf-8\r\n"
#define FILE_OF(type, name, encoding, body)                                                                                                    \
    COMMON "From: Al <al@firm.example>\r\nSubject: the file\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHere it is, as you asked.\r\n" \
           "--b\r\nContent-Type: " type "\r\nContent-Disposition: attachment; filename=\"" name "\"\r\nContent-Transfer-Encoding: " encoding "\r\n\r\n" body "\r\n--b--\r\n"

struct example {
    const char *name, *symbol, *message; /* symbol NULL: none above 5.00 */
    uint32_t least, most;                /* score in hundredths; most 0: any */
};

static const struct example examples[] = {
    { "a letter", NULL, TEXT "From: Al <al@firm.example>\r\nSubject: tomorrow\r\n\r\nHi Bob,\r\nlunch at one?\r\nAl\r\n", 0, 500 },
    { "a letter in HTML with a link",
      NULL,
      COMMON "From: Al <al@firm.example>\r\nSubject: minutes\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nSee http://www.firm.example/minutes for the minutes.\r\n"
             "--b\r\nContent-Type: text/html\r\n\r\n<p>See <a href=\"http://www.firm.example/minutes\">www.firm.example/minutes</a> for the minutes.\r\n--b--\r\n",
      0,
      500 },
    { "GTUBE", "GTUBE", TEXT "From: a@b.example\r\nSubject: x\r\n\r\nXJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n", 10000, 10000 },
    { "GTUBE in base64",
      "GTUBE",
      COMMON "From: a@b.example\r\nSubject: x\r\nContent-Transfer-Encoding: base64\r\n\r\nWEpTKkM0SkRCUUFETjEuTlNCTjMqMklETkVOKkdUVUJFLVNUQU5EQVJELUFOVEktVUJFLVRFU1QtRU1BSUwqQy4zNFg=\r\n",
      10000,
      10000 },
    /* phishing */
    { "display name is another's address", "DISPLAY_NAME_OTHER_ADDRESS", TEXT "From: \"boss@site.example\" <x1@other.example>\r\nSubject: a favour\r\n\r\nAre you there?\r\n", 1500, 0 },
    { "display name is a brand", "DISPLAY_NAME_BRAND", TEXT "From: PayPal Service <x1@other.example>\r\nSubject: hello\r\n\r\nHello\r\n", 1500, 0 },
    { "display name in other letters", "DISPLAY_NAME_BRAND", TEXT "From: =?utf-8?B?77yw772B772Z77yw772B772M?= <x1@other.example>\r\nSubject: hello\r\n\r\nHello\r\n", 1500, 0 },
    { "look-alike domain", "LOOK_ALIKE_DOMAIN", TEXT "From: Al <al@paypa1.example>\r\nSubject: hello\r\n\r\nHello\r\n", 2000, 0 },
    { "look-alike of the site's", "LOOK_ALIKE_DOMAIN", TEXT "From: Al <al@ourslte.example>\r\nSubject: hello\r\n\r\nHello\r\n", 2000, 0 },
    { "look-alike in Cyrillic", "LOOK_ALIKE_DOMAIN", TEXT "From: Al <al@xn--pypal-4ve.example>\r\nSubject: hello\r\n\r\nHello\r\n", 2000, 0 },
    { "text of a link", "LINK_TEXT_DIFFERS", HTML "From: Al <al@firm.example>\r\nSubject: hello\r\n\r\n<p>Go to <a href=\"http://evil.example/x\">https://www.bank.example/</a>\r\n", 1000, 0 },
    { "own domain from outside", "OWN_DOMAIN_FROM_OUTSIDE", TEXT "From: Boss <boss@oursite.example>\r\nSubject: hello\r\n\r\nHello\r\n", 800, 1500 },
    { "a service that a site lets write in its name",
      "LINK_COUNTED",
      COMMON "From: News <news@oursite.example>\r\nSubject: news of this week\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nNews, and more news.\r\n--b\r\n"
             "Content-Type: text/html\r\n\r\n<p>News, and more news of this week, as you asked for: <a href=\"http://click.bulk.example/a\">www.oursite.example</a></p>\r\n--b--\r\n",
      300,
      3000 },
    { "reply to a free mailbox", "REPLY_TO_FREE_MAIL", TEXT "From: Al <al@firm.example>\r\nReply-To: al.firm@gmail.com\r\nSubject: hello\r\n\r\nHello\r\n", 1000, 0 },
    { "phishing",
      "PHISHING_DISGUISED",
      HTML "From: PayPal Service <service@paypal-secure.example>\r\nSubject: Your account\r\n\r\n<p>Please <a href=\"http://evil.example/x\">https://www.paypal.com/</a> verify your account\r\n",
      5000,
      0 },
    { "phishing of the site's own",
      "PHISHING_LEADS_AWAY",
      HTML "From: Helpdesk <helpdesk@oursite.example>\r\nSubject: password expires\r\n\r\n<p>Your password will expire: <a href=\"http://evil.example/x\">https://oursite.example/login</a>\r\n",
      5000,
      0 },
    { "phishing by a brand's name and one link",
      "PHISHING_LEADS_AWAY",
      HTML "From: Netflix <x@other.example>\r\nSubject: payment declined\r\n\r\n<p>Update your payment within 24 hours: <a href=\"http://203.0.113.7/x\">Update</a>\r\n",
      5000,
      0 },
    { "a contract's number for a name", "FROM_NAME_CODE", TEXT "From: Portal - Contract 521023603874627 <a@gmail.com>\r\nSubject: hello\r\n\r\nHello\r\n", 1000, 0 },
    { "a code for a name", "FROM_NAME_CODE", TEXT "From: Service BPXBN1ZK8AHW <a@firm.example>\r\nSubject: hello\r\n\r\nHello\r\n", 900, 0 },
    { "a year in a name", NULL, TEXT "From: Meeting 2026 <a@firm.example>\r\nSubject: hello\r\n\r\nHello\r\n", 0, 500 },
    { "marks in a name", "FROM_NAME_MARKS", TEXT "From: \"#Phone_Rewards*\" <a@firm.example>\r\nSubject: hello\r\n\r\nHello\r\n", 600, 0 },
    { "a name in capitals", "FROM_NAME_CAPITALS", TEXT "From: CUSTOMER CARE <a@firm.example>\r\nSubject: hello\r\n\r\nHello\r\n", 500, 0 },
    { "a name that goes on", "FROM_NAME_OPEN", TEXT "From: \"Your order,\" <a@firm.example>\r\nSubject: hello\r\n\r\nHello\r\n", 1000, 0 },
    { "a name of a paragraph",
      "FROM_NAME_LONG",
      TEXT "From: Your order of today has been confirmed and is ready to be sent to you now as you wished <a@firm.example>\r\nSubject: hello\r\n\r\nHello\r\n",
      700,
      0 },
    { "a host with a code", "FROM_HOST_CODE", TEXT "From: Al <al@9980080836134.firm.example>\r\nSubject: hello\r\n\r\nHello\r\n", 900, 0 },
    { "HTML alone of a free mailbox",
      "FREE_MAIL_HTML_ONLY",
      COMMON "From: Al <al@gmail.com>\r\nSubject: hello\r\nContent-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Hello Bob, how are you today?\r\n--b--\r\n",
      1600,
      2000 },
    { "offers of a free mailbox", "FREE_MAIL_OFFERS", HTML "From: Al <al@gmail.com>\r\nSubject: viagra!\r\n\r\n<p>Order now: viagra, cialis, click here, click below, buy now, replica watches\r\n", 2400, 0 },
    /* ordinary mail that has several of these at once */
    { "a student with his number",
      "FROM_WITH_DIGITS",
      HTML "From: \"20231234 Chen Wei\" <20231234chen@163.com>\r\nSubject: Homework 3\r\n\r\n<p>Dear Professor Lee,</p><p>I could not hand in the third homework, as I was ill. May I bring it on Monday?</p>"
           "<p>Kind regards, Chen Wei</p>\r\n",
      0,
      3000 },
    { "a ticket",
      "FROM_NAME_OPEN",
      HTML "From: \"IT Service Desk - INC0012345:\" <servicedesk@firm.example>\r\nImportance: high\r\nSubject: Your request was updated\r\n\r\n<p>Hello Bob, the printer of your office was mended. "
           "What was wrong with it is described <a href=\"http://www.vendor.example/article/12\">here</a> by its vendor.</p>\r\n",
      0,
      4400 },
    { "a ticket of a host with hours in its name",
      "FROM_NAME_CODE",
      HTML "From: \"Service Desk [#4711234]\" <desk@now24hours.example>\r\nImportance: high\r\nSubject: Your request was updated\r\n\r\n<p>Hello Bob, the printer of your office was mended. "
           "What was wrong with it is described <a href=\"http://www.vendor.example/article/12\">here</a> by its vendor.</p>\r\n",
      0,
      4400 },
    { "a ticket whose subject has its number",
      "FROM_NAME_OPEN",
      HTML "From: \"Service Desk INC0012345 -\" <desk@shop24direct.example>\r\nSubject: INC0012345 was updated\r\n\r\n<p>Hello Bob, the printer of your office was mended.</p>\r\n",
      0,
      3000 },
    { "a shop with hours in its name",
      "SUBJECT_EXCLAIMS",
      HTML "From: Shop24Direct <info@shop24direct.example>\r\nX-Priority: 1\r\nSubject: Your order is on its way!\r\n\r\n<p>Dear Bob, your order of Monday has left our house. "
           "You can see where it is at <a href=\"http://www.carrier.example/where/12\">our carrier</a>.</p>\r\n",
      0,
      4600 },
    { "a number that is all his name", NULL, COMMON "Content-Type: text/plain\r\nFrom: \"123456789\" <123456789@qq.com>\r\nSubject: hello\r\n\r\nHello Bob, see you on Monday.\r\n", 0, 500 },
    { "and in HTML", "HTML_ONLY", HTML "From: \"123456789\" <123456789@qq.com>\r\nSubject: hello\r\n\r\n<p>Hello Bob, see you on Monday.\r\n", 0, 2500 },
    { "in capitals, and urgent",
      "FROM_NAME_CAPITALS",
      HTML "From: \"MARTIN DUPONT\" <martin.dupont@yahoo.fr>\r\nX-Priority: 1\r\nSubject: urgent : rapport\r\n\r\n<p>Bonjour, c'est urgent : peux-tu m'envoyer le rapport avant midi ? Merci, Martin</p>\r\n",
      0,
      3500 },
    { "important", "MARKED_IMPORTANT", TEXT "From: Al <al@firm.example>\r\nX-Priority: 1 (Highest)\r\nSubject: hello\r\n\r\nHello\r\n", 400, 0 },
    { "Outlook Express of another system", NULL, TEXT "From: Al <al@firm.example>\r\nX-Mailer: Microsoft Outlook Express Macintosh Edition - 4.5\r\nSubject: hello\r\n\r\nHello\r\n", 0, 500 },
    /* links */
    { "link to an address", "LINK_TO_ADDRESS", TEXT "From: a@b.example\r\nSubject: x\r\n\r\nhttp://203.0.113.7/x\r\n", 500, 0 },
    { "link to a number", "LINK_TO_ADDRESS", TEXT "From: a@b.example\r\nSubject: x\r\n\r\nhttp://3405803783/x\r\n", 500, 0 },
    { "shortened link", "LINK_SHORTENED", TEXT "From: a@b.example\r\nSubject: x\r\n\r\nhttps://bit.ly/x\r\n", 300, 0 },
    { "free page", "LINK_FREE_PAGE", TEXT "From: a@b.example\r\nSubject: x\r\n\r\nhttps://x.web.app/x\r\n", 300, 0 },
    { "link with a user", "LINK_WITH_USER", TEXT "From: a@b.example\r\nSubject: x\r\n\r\nhttp://www.bank.example@evil.example/\r\n", 1000, 0 },
    { "form for a password", "FORM_ASKS_PASSWORD", HTML "From: a@b.example\r\nSubject: x\r\n\r\n<form action=\"http://evil.example/\"><input type=password></form>\r\n", 2000, 0 },
    { "hidden text",
      "HIDDEN_TEXT",
      HTML "From: a@b.example\r\nSubject: x\r\n\r\n<p>buy<div style=\"display:none\">"
           "words and words and words and words and words and words and words and words and words and words and words and words and words and words and words and words and words and words "
           "words and words and words and words and words and words and words and words and words and words and words and words and words and words and words and words and words and words "
           "words and words and words and words and words and words and words and words and words and words and words and words and words and words and words and words and words and words</div>\r\n",
      300,
      0 },
    { "letters of two scripts", "MIXED_SCRIPTS", TEXT "From: a@b.example\r\nSubject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\np\xd0\xb0yp\xd0\xb0l and p\xd0\xb0ssw\xd0\xbero\r\n", 1000, 0 },
    /* pictures and files */
    { "one picture", "IMAGE_ONLY_LINKED", HTML "From: a@b.example\r\nSubject: x\r\n\r\n<a href=\"http://x.example/\"><img src=\"http://x.example/i.png\"></a>\r\n", 1000, 0 },
    { "who brings it is on a list", "CLIENT_LISTED", "From: a@b.example\r\nSubject: x\r\n\r\nhello\r\n", 1500, 0 },
    { "or is slowed down", "CLIENT_ILL_REPUTED", "From: a@b.example\r\nSubject: x\r\n\r\nhello\r\n", 1500, 0 },
    { "PDF with a link",
      "PDF_WITH_LINK",
      FILE_OF("application/pdf", "a.pdf", "7bit", "%PDF-1.4\r\n1 0 obj << /Type /Page /A << /S /URI /URI (http://x.example/a) >> >>"),
      300,
      0 },
    { "program", "FILE_PROGRAM", FILE_OF("application/octet-stream", "a.exe", "7bit", "MZ"), 2000, 0 },
    { "program under another name", "FILE_PROGRAM", FILE_OF("image/png", "a.png", "7bit", "MZ"), 2000, 0 },
    { "two extensions", "FILE_DOUBLE_EXTENSION", FILE_OF("application/octet-stream", "a.pdf.exe", "7bit", "x"), 3500, 0 },
    { "HTML as a file", "FILE_HTML", FILE_OF("text/html", "a.html", "7bit", "<b>"), 500, 0 },
    { "macros", "FILE_MACROS", FILE_OF("application/vnd.ms-word", "a.docm", "7bit", "x"), 1000, 0 },
    { "encrypted archive", "ARCHIVE_ENCRYPTED", FILE_OF("application/zip", "a.zip", "base64", "UEsDBAoAAQAAAAAAAAAAAAAAAAAAAAAAAAAFAAAAYS50eHR4eHg="), 1000, 0 },
    { "archive with a program", "ARCHIVE_WITH_PROGRAM", FILE_OF("application/zip", "a.zip", "base64", "UEsDBAoAAAAAAAAAAAAAAAAAAAAAAAAAAAAFAAAAYS5leGV4eHg="), 2000, 0 },
    /* headers and text */
    { "subject in capitals", "SUBJECT_CAPITALS", TEXT "From: a@b.example\r\nSubject: WHATEVER YOU WANT\r\n\r\nx\r\n", 500, 0 },
    { "no message id", "NO_MESSAGE_ID", "From: a@b.example\r\nSubject: x\r\n\r\nx\r\n", 300, 0 },
    { "a dead man's money",
      "ADVANCE_FEE",
      TEXT "From: Barrister X <x@firm.example>\r\nReply-To: x.law@gmail.com\r\nSubject: business proposal\r\n\r\nDear friend, the next of kin of my late client, the sum of ten million dollars; strictly confidential, I trust you.\r\n",
      5000,
      0 },
    { "medicine in Portuguese, marks or not", "SAYS_MEDICINE", TEXT "From: a@b.example\r\nSubject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\nDisfun\xc3\xa7\xc3\xa3o, emagrecer\r\n", 300, 0 },
    { "trade in Chinese",
      "SAYS_TRADE",
      COMMON "From: a@b.example\r\nSubject: =?gb2312?B?t6LGsQ==?=\r\nContent-Type: text/plain; charset=gb2312\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
             "\xb4\xfa\xbf\xaa\xb7\xa2\xc6\xb1\xa3\xac\xd3\xc5\xbb\xdd\r\n", /* 代开发票，优惠 */
      800,
      0 },
    { "a bounce that returns spam",
      NULL,
      "From: MAILER-DAEMON@mx.example\r\nTo: a@site.example\r\nSubject: failure notice\r\nDate: Mon, 2 Jun 2025 10:00:00 +0200\r\nMessage-ID: <1@mx.example>\r\nMIME-Version: 1.0\r\n"
      "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nNot delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n"
      "--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: PayPal <x@paypal-secure.example>\r\nSubject: VIAGRA!!!\r\n\r\nviagra cialis http://203.0.113.7/ verify your account\r\n--b--\r\n",
      0,
      500 },
};

START_TEST(test_example)
{
    const struct example *example = &examples[_i];
    static const char *const recipients[] = { "bob@site.example", "carol@oursite.example" };
    struct native_facts facts = { .sender = "x@other.example", .recipients = recipients, .recipient_count = 2, .direction = NATIVE_INBOUND };
    facts.listed = example->symbol != NULL && strcmp(example->symbol, "CLIENT_LISTED") == 0 ? "bl.example" : "";
    facts.ill_reputed = example->symbol != NULL && strcmp(example->symbol, "CLIENT_ILL_REPUTED") == 0;
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    static struct native_result result;
    size_t len = strlen(example->message);
    char *copy = memcpy(malloc(len), example->message, len);
    bool found = example->symbol == NULL;
    for (int twice = 0; twice < 2; twice++) {
        native_score(native, &facts, NULL, copy, len, &result);
        for (size_t i = 0; i < result.symbol_count; i++) {
            found |= example->symbol != NULL && strcmp(result.symbols[i].name, example->symbol) == 0;
            if (example->symbol == NULL)
                ck_assert_msg(result.symbols[i].weight <= 500, "%s: %s", example->name, result.symbols[i].name);
        }
        ck_assert_msg(found, "%s: no %s", example->name, example->symbol);
        ck_assert_msg(result.score >= example->least, "%s: only %u", example->name, result.score);
        ck_assert_msg(example->most == 0 || result.score <= example->most, "%s: as many as %u", example->name, result.score);
    }
    free(copy);
    native_free(&native);
}
END_TEST

/* 8 MiB of what costs a careless reader its square: minutes, where these take milliseconds. AddressSanitizer's memmem() reads all it is given each time. */
#ifdef __SANITIZE_ADDRESS__
#define HEAVY_BYTES (256 << 10)
#else
#define HEAVY_BYTES (8 << 20)
#endif
static const struct {
    const char *head, *repeated;
} heavy[] = {
    { "Subject: x\r\n\r\n", "begin " },
    { "Subject: x\r\n\r\n", "begin 644 a\r\n" },
    { "Subject: x\r\n\r\n", "http://" },
    { "Content-Type: application/pdf\r\n\r\n%PDF-", "/URI (" },
    { "Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--bb\r\n" },
    { "Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\n" },
    { "Content-Type: text/html\r\n\r\n", "<a x=\"" },
    { "Content-Type: text/html\r\n\r\n", "<a =\"\" =\">" },
    { "Content-Type: text/html\r\n\r\n", "<a ='\"' =\"'>" },
    { "Subject: ", "=?a?q?x" },
    { "From: ", "," },
    { "Content-Transfer-Encoding: quoted-printable\r\n\r\n", "= " },
};

/* CPU seconds that the pattern costs in a message of about that size. */
static double cost_of(struct native *native, int pattern, size_t size)
{
    static const struct native_facts facts;
    static struct native_result result;
    size_t used = strlen(heavy[pattern].head), len = strlen(heavy[pattern].repeated);
    char *message = malloc(size);
    memcpy(message, heavy[pattern].head, used);
    for (; used + len + 4 <= size; used += len)
        memcpy(message + used, heavy[pattern].repeated, len);
    memcpy(message + used, "\r\n\r\n", 4); /* a field ends, and its header */
    used += 4;
    clock_t began = clock();
    native_score(native, &facts, NULL, message, used, &result);
    double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    ck_assert_uint_le(result.score, NATIVE_SCORE_MAX);
    free(message);
    return seconds;
}

START_TEST(test_heavy)
{
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    cost_of(native, _i, HEAVY_BYTES);
    native_free(&native);
}
END_TEST

#ifndef __SANITIZE_ADDRESS__
/* Below the limits that would hide it: twice the bytes cost twice the work, not four times. What takes no time cannot be compared, and need not. */
START_TEST(test_heavy_is_linear)
{
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    bool linear = false;
    cost_of(native, _i, 240 << 10); /* memory is there, and pages are mapped */
    for (int tries = 0; tries < 8 && !linear; tries++) {
        double twice = cost_of(native, _i, 240 << 10);
        linear = twice < 0.02 || twice < 3.2 * cost_of(native, _i, 120 << 10);
    }
    ck_assert(linear);
    native_free(&native);
}
END_TEST
#endif

/* A part beyond the limits is not judged, and the result says so. */
START_TEST(test_limit_is_told)
{
    static const char message[] = COMMON "From: Al <al@firm.example>\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n";
    static const struct native_facts facts;
    static struct native_result result;
    struct mime_limits limits = MIME_LIMITS_DEFAULT;
    for (uint32_t parts = 2; parts <= 3; parts++) {
        bool told = false;
        limits.parts = parts;
        struct native *native = native_new(&limits);
        native_score(native, &facts, NULL, message, sizeof message - 1, &result);
        for (size_t i = 0; i < result.symbol_count; i++)
            told |= strcmp(result.symbols[i].name, "NOT_ALL_SEEN") == 0 && strcmp(result.symbols[i].detail, "limit_parts") == 0;
        ck_assert_int_eq(told, parts == 2);
        native_free(&native);
    }
}
END_TEST

/* A text that is too long is looked at where it begins and where it ends, and the result says so. */
START_TEST(test_long_text)
{
    static const struct native_facts facts;
    static struct native_result result;
    static struct view view;
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    size_t size = (size_t)30 << 10 << _i, len; /* from 30 KiB to 480 KiB */
    char *message = malloc(size + 1024);
    for (int last = 0; last < 2; last++) {
        len = (size_t)sprintf(message, TEXT "From: Al <al@firm.example>\r\nSubject: x\r\n\r\n%s\r\n", last ? "" : "first words");
        for (size_t end = len + size; len < end; len += 10)
            memcpy(message + len, "plain \xc3\xa9 \n", 10);
        len += (size_t)sprintf(message + len, "%s\r\n", last ? "last words" : "");
        view_make(&view, parser, mime_parse(parser, message, len), &facts, &(struct watch){ .now_us = NULL });
        ck_assert_ptr_nonnull(memmem(view.folded.bytes, view.folded.len, last ? " last words " : " first words ", last ? 12 : 13));
        ck_assert_uint_le(view.folded.len, VIEW_FOLDED_MAX);
        native_score(native, &facts, NULL, message, len, &result);
        bool told = false;
        for (size_t i = 0; i < result.symbol_count; i++)
            told |= strcmp(result.symbols[i].name, "NOT_ALL_SEEN") == 0 && strcmp(result.symbols[i].detail, "limit_text") == 0;
        ck_assert_int_eq(told, _i > 1);
    }
    free(message);
    mime_parser_free(&parser);
    native_free(&native);
}
END_TEST

/* Who is authenticated may write from the site's own domain, and its own people to others. */
START_TEST(test_own_domain_used_rightly)
{
    static const char message[] = TEXT "From: Boss <boss@site.example>\r\nSubject: hello\r\n\r\nHello\r\n";
    static const char *const recipients[] = { "bob@site.example" };
    struct native_facts facts[] = {
        { .recipients = recipients, .recipient_count = 1, .direction = NATIVE_INBOUND, .authenticated = true },
        { .recipients = recipients, .recipient_count = 1, .direction = NATIVE_OUTBOUND },
    };
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    static struct native_result result;
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        native_score(native, &facts[i], NULL, message, sizeof message - 1, &result);
        ck_assert_uint_le(result.score, 500);
    }
    native_free(&native);
}
END_TEST

static const struct {
    const char *host, *organisation;
} organisations[] = {
    { "example.com", "example.com" },         { "www.example.com", "example.com" }, { "a.b.example.co.uk", "example.co.uk" },
    { "example.co.uk", "example.co.uk" },     { "x.web.app", "x.web.app" },         { "a.x.github.io", "x.github.io" },
    { "github.io", "github.io" },             { "localhost", "localhost" },         { "", "" },
    { "mail.example.com.br", "example.com.br" },
};

START_TEST(test_organisation)
{
    ck_assert_str_eq(host_organisation(organisations[_i].host), organisations[_i].organisation);
}
END_TEST

static const struct {
    const char *url, *host;
} urls[] = {
    { "http://Example.com/x", "example.com" }, { "https://u:p@example.com:8080/x", "example.com" }, { "//example.com", "example.com" },
    { "www.example.com/x", "www.example.com" }, { "http:\\\\example.com", "example.com" },          { "http:////example.com", "example.com" },
    { "mailto:a@b.example", "" },               { "#top", "" },                                      { "http://", "" },
    { "http://[2001:db8::1]:80/", "[2001:db8::1]" }, { "http://example.com.", "example.com" },
};

START_TEST(test_url)
{
    char host[HOST_MAX];
    url_host((struct mime_span){ urls[_i].url, strlen(urls[_i].url) }, host);
    ck_assert_str_eq(host, urls[_i].host);
}
END_TEST

/* S29: text in any character set comes to the same words. */
static const struct {
    const char *text, *folded;
} folds[] = {
    { "Caf\xc3\xa9 \xc3\x85RHUS", "cafe arhus " },
    { "CAFE\xcc\x81", "cafe " },
    { "don't  stop!", "dont stop! " },
    { "\xef\xbc\xb6\xef\xbc\xa9\xef\xbc\xa1", "via " },
    { "\xe5\x8f\x91\xe7\xa5\xa8\xef\xbc\x8c\xe4\xbc\x98", "\xe5\x8f\x91\xe7\xa5\xa8 \xe4\xbc\x98 " },
    { "\xd0\x9f\xd0\xa0", "\xd0\xbf\xd1\x80 " },
};

START_TEST(test_fold)
{
    char out[128];
    struct fold fold = { .out = out, .room = sizeof out };
    fold_text(&fold, (struct mime_span){ folds[_i].text, strlen(folds[_i].text) });
    ck_assert_msg(fold.len == strlen(folds[_i].folded) && memcmp(out, folds[_i].folded, fold.len) == 0, "%s: \"%.*s\"", folds[_i].text, (int)fold.len, out);
}
END_TEST

static uint64_t ticks;
static uint64_t tick(void)
{
    return ticks++;
}

/* However short the time: there is a score, of what was looked at, and that this is not all is said; with time enough all is seen. */
START_TEST(test_time_is_bounded)
{
    static const char message[] = HTML "From: PayPal Service <service@paypal-secure.example>\r\nSubject: FREE MONEY NOW!!!\r\n\r\n<p>Please <a href=\"http://evil.example/x\">https://www.paypal.com/</a>\r\n";
    static const struct native_facts facts;
    static struct native_result result, whole;
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    native_score(native, &facts, NULL, message, sizeof message - 1, &whole);
    for (uint64_t most = 1; most < 20; most++) {
        bool told = false;
        native_limit_time(native, tick, most);
        native_score(native, &facts, NULL, message, sizeof message - 1, &result);
        for (size_t i = 0; i < result.symbol_count; i++)
            told |= strcmp(result.symbols[i].name, NATIVE_NOT_ALL_SEEN) == 0 && strcmp(result.symbols[i].detail, NATIVE_LATE) == 0;
        ck_assert_msg(told ? result.symbol_count <= whole.symbol_count : result.score == whole.score, "%d ticks: %u", (int)most, result.score);
        ck_assert(told || most > 1);
        ck_assert(!told || most < 19);
    }
    native_limit_time(native, tick, 0);
    native_score(native, &facts, NULL, message, sizeof message - 1, &result);
    ck_assert_uint_eq(result.score, whole.score);
    native_free(&native);
}
END_TEST

/* --- what is learned --- */

/* One spam and one ham of each language, of which every message takes other words: those of the spam never stand in ham. */
static const struct {
    const char *name, *learned_in, *seen_in; /* character sets */
    const char *spam[8], *ham[8];
} tongues[] = {
    { "Japanese", "ISO-2022-JP", "SHIFT_JIS",
      { "今すぐ登録", "高収入のお仕事", "簡単に稼げます", "完全無料です", "会員限定の特典", "秘密は厳守", "写真を公開中", "期間限定の機会" },
      { "会議の資料を送ります", "来週の予定です", "ご確認ください", "よろしくお願いします", "打ち合わせの議事録", "報告書を添付します", "質問があります", "お疲れ様でした" } },
    { "Japanese, otherwise", "EUC-JP", "UTF-8",
      { "今すぐ登録", "高収入のお仕事", "簡単に稼げます", "完全無料です", "会員限定の特典", "秘密は厳守", "写真を公開中", "期間限定の機会" },
      { "会議の資料を送ります", "来週の予定です", "ご確認ください", "よろしくお願いします", "打ち合わせの議事録", "報告書を添付します", "質問があります", "お疲れ様でした" } },
    { "Chinese", "GB18030", "UTF-8",
      { "特价商品清仓", "保证赚取收益", "立即点击领取", "免费赠送礼品", "轻松月入万元", "限时抢购活动", "信用贷款放款", "中奖通知领取" },
      { "请查收会议纪要", "明天下午三点见面", "附件是项目报告", "谢谢你的回复", "周末一起吃饭吗", "考试成绩出来了", "论文修改意见", "火车票已经买好" } },
    { "traditional Chinese", "BIG5", "UTF-8",
      { "特價商品清倉", "保證賺取收益", "立即點擊領取", "免費贈送禮品", "輕鬆月入萬元", "限時搶購活動", "信用貸款放款", "中獎通知領取" },
      { "請查收會議紀要", "明天下午三點見面", "附件是項目報告", "謝謝你的回覆", "週末一起吃飯嗎", "考試成績出來了", "論文修改意見", "火車票已經買好" } },
};
#define TEXTS 8

static size_t make_message(char *out, size_t cap, const char *charset, const char *const texts[TEXTS], unsigned number, unsigned pick)
{
    char text[1024] = "";
    for (unsigned i = 0; i < TEXTS; i++)
        if ((pick >> i & 1) != 0)
            strcat(strcat(text, texts[i]), "\r\n");
    size_t used = (size_t)snprintf(out, cap, COMMON "From: a%u@b%u.example\r\nSubject: %u\r\nContent-Transfer-Encoding: 8bit\r\nContent-Type: text/plain; charset=%s\r\n\r\n", number, number, number, charset);
    char *from = text, *to = out + used;
    size_t left = strlen(text), room = cap - used;
    iconv_t converter = iconv_open(charset, "UTF-8");
    ck_assert_int_eq((int)iconv(converter, &from, &left, &to, &room), 0);
    ck_assert_int_eq((int)iconv(converter, NULL, NULL, &to, &room), 0);
    iconv_close(converter);
    return (size_t)(to - out);
}

static void learn(struct native *native, struct native_model *model, const char *message, size_t len, enum native_class class, bool undo)
{
    static const struct native_facts facts;
    static struct native_features features;
    native_take_features(native, &facts, message, len, &features);
    ck_assert_uint_gt(features.count, 0);
    (undo ? native_model_unlearn : native_model_learn)(model, &features, 0, class);
}

/* S29: spam of a language is caught after training, whatever character set it comes in; ham of that language is not. Unlearned, nothing is left. */
START_TEST(test_trained_language)
{
    static const struct native_facts facts;
    static struct native_result result;
    struct native_model *model = malloc(sizeof *model), *empty = malloc(sizeof *empty);
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    char message[4096];
    native_model_init(model);
    native_model_init(empty);
    for (int undo = 0; undo < 2; undo++) {
        for (unsigned i = 0; i < 60; i++) {
            unsigned pick = (i * 37 + 11) % 255 + 1;
            size_t len = make_message(message, sizeof message, tongues[_i].learned_in, tongues[_i].spam, i, pick);
            learn(native, model, message, len, CLASS_SPAM, undo);
            len = make_message(message, sizeof message, tongues[_i].learned_in, tongues[_i].ham, i, pick);
            learn(native, model, message, len, CLASS_HAM, undo);
        }
        if (undo)
            break;
        size_t len = make_message(message, sizeof message, tongues[_i].seen_in, tongues[_i].spam, 1000, 0x7f);
        native_score(native, &facts, model, message, len, &result);
        ck_assert_msg(result.score >= NATIVE_SPAM, "%s: spam has %u", tongues[_i].name, result.score);
        len = make_message(message, sizeof message, tongues[_i].seen_in, tongues[_i].ham, 1000, 0x7f);
        native_score(native, &facts, model, message, len, &result);
        ck_assert_msg(result.score < 2000, "%s: ham has %u", tongues[_i].name, result.score);
    }
    ck_assert_mem_eq(model, empty, sizeof *model);
    native_free(&native);
    free(model);
    free(empty);
}
END_TEST

/* Where all mail of a language was spam, the language is none. */
START_TEST(test_language_is_no_sign)
{
    static const struct native_facts facts;
    static struct native_result result;
    struct native_model *model = malloc(sizeof *model);
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    char message[4096];
    native_model_init(model);
    for (unsigned i = 0; i < 60; i++) {
        unsigned pick = (i * 37 + 11) % 255 + 1;
        size_t len = make_message(message, sizeof message, "UTF-8", tongues[0].ham, i, pick);
        learn(native, model, message, len, CLASS_SPAM, false);
        len = (size_t)snprintf(message, sizeof message, TEXT "From: a%u@b.example\r\nSubject: minutes\r\n\r\nthe report of the meeting that you have asked for, number %u\r\n", i, i);
        learn(native, model, message, len, CLASS_HAM, false);
    }
    size_t len = make_message(message, sizeof message, "UTF-8", tongues[0].ham, 1000, 0x7f);
    native_score(native, &facts, model, message, len, &result);
    ck_assert_uint_lt(result.score, NATIVE_SPAM);
    native_free(&native);
    free(model);
}
END_TEST

START_TEST(test_model_bytes)
{
    struct native_model *model = malloc(sizeof *model);
    native_model_init(model);
    const char *why;
    ck_assert_ptr_eq(native_model_open(model, sizeof *model, &why), model);
    ck_assert_ptr_null(native_model_open(model, sizeof *model - 1, NULL));
    ck_assert_ptr_null(native_model_open((char *)model + 1, sizeof *model, NULL));
    model->counts[NATIVE_BUCKETS - 1][NATIVE_PARTS - 1][CLASS_SPAM] = 1; /* in more messages than there were */
    ck_assert_ptr_null(native_model_open(model, sizeof *model, &why));
    ck_assert_str_eq(why, "its counts are impossible");
    model->messages[NATIVE_PARTS - 1][CLASS_SPAM] = 1;
    ck_assert_ptr_eq(native_model_open(model, sizeof *model, &why), model);
    model->version++;
    ck_assert_ptr_null(native_model_open(model, sizeof *model, &why));
    ck_assert_str_eq(why, "it is a model of another version");
    free(model);
}
END_TEST

/* Nothing was learned: nothing is added; and what was never there cannot be taken away. */
START_TEST(test_empty_model)
{
    struct native_model *model = malloc(sizeof *model);
    struct native_features features = { .buckets = { 1, 2, NATIVE_BUCKETS - 1, UINT32_MAX }, .count = 4, .words = 2 };
    double p;
    native_model_init(model);
    ck_assert_int_eq(native_model_weigh(model, &features, &p), 0);
    ck_assert_double_eq(p, 0.5);
    native_model_unlearn(model, &features, 1, CLASS_SPAM);
    ck_assert_uint_eq(model->counts[1][1][CLASS_SPAM], 0);
    ck_assert_uint_eq(model->messages[1][CLASS_SPAM], 0);
    free(model);
}
END_TEST

static void some_features(struct native_features *features, uint32_t from, size_t count)
{
    *features = (struct native_features){ .count = count, .language = LANGUAGE_ENGLISH };
    for (size_t i = 0; i < count; i++)
        features->buckets[i] = from + (uint32_t)i;
}

/* A message of each class, of which some ham looks like spam. Gives the offset that trying the model on all but `left_out` of them brings. */
static int32_t tried(unsigned spammy, unsigned left_out)
{
    struct native_model *model = malloc(sizeof *model), *before = malloc(sizeof *before);
    struct native_trial *trial = calloc(1, sizeof *trial);
    struct native_features features;
    native_model_init(model);
    for (int trying = 0; trying < 2; trying++) {
        if (trying)
            memcpy(before, model, sizeof *model);
        for (unsigned i = 0; i < (trying ? 60 - left_out : 60); i++) {
            some_features(&features, i < spammy ? 1970 : 1000, 40);
            trying ? native_trial_add(trial, model, &features, CLASS_HAM) : native_model_learn(model, &features, 0, CLASS_HAM);
            some_features(&features, 2000, 40);
            trying ? native_trial_add(trial, model, &features, CLASS_SPAM) : native_model_learn(model, &features, 0, CLASS_SPAM);
        }
    }
    ck_assert_mem_eq(model, before, sizeof *model);
    native_trial_end(trial, model);
    int32_t offset = model->offset;
    ck_assert_ptr_eq(native_model_open(model, sizeof *model, NULL), model);
    model->offset = NATIVE_OFFSET_MOST + 1;
    ck_assert_ptr_null(native_model_open(model, sizeof *model, NULL));
    free(model);
    free(before);
    free(trial);
    return offset;
}

/* Classes that stand far apart need no offset; where ham reaches into spam, the threshold is higher. Few messages say nothing. */
START_TEST(test_trial)
{
    ck_assert_int_ge(tried(0, 0), 0);
    ck_assert_int_le(tried(0, 0), 500);
    ck_assert_int_lt(tried(8, 0), -500);
    ck_assert_int_eq(tried(8, 11), 0);
}
END_TEST

/* What speaks against mail in bulk weighs less where a model knows mail of the language, and no user alone makes it so. */
START_TEST(test_bulk_is_learned)
{
    static const char newsletter[] = COMMON "From: Shop <news@shop.example>\r\nSubject: offers!!\r\nContent-Type: text/html\r\n\r\n"
                                          "<p>the offers that you and your friends have not seen from this shop: <a href=\"http://other.example/a\">buy now</a></p>\r\n";
    static const struct native_facts facts;
    static struct native_result rules, result;
    static struct native_features features;
    struct native_model *model = malloc(sizeof *model);
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    native_score(native, &facts, NULL, newsletter, sizeof newsletter - 1, &rules);
    ck_assert(symbol_has(&rules, "HTML_ONLY"));
    for (unsigned part = 0; part < 2; part++) {
        native_model_init(model);
        for (uint32_t i = 0; i < 60; i++) {
            some_features(&features, 1000 + 50 * i, 40);
            native_model_learn(model, &features, part, CLASS_HAM);
            some_features(&features, 100000 + 50 * i, 40);
            native_model_learn(model, &features, part, CLASS_SPAM);
        }
        native_score(native, &facts, model, newsletter, sizeof newsletter - 1, &result);
        ck_assert_int_eq(symbol_has(&result, "LEARNED_BULK"), part == 0);
    }
    native_free(&native);
    free(model);
}
END_TEST

/* What one user teaches, however often, moves a score by personal_most at most, up or down; when another one agrees it counts in full. */
START_TEST(test_one_user_is_bounded)
{
    struct native_model *model = malloc(sizeof *model);
    struct native_features features;
    double p;
    native_model_init(model);
    for (uint32_t i = 0; i < 60; i++) {
        some_features(&features, 1000 + 50 * i, 40);
        native_model_learn(model, &features, 0, CLASS_HAM);
        some_features(&features, 100000 + 50 * i, 40);
        native_model_learn(model, &features, 0, CLASS_SPAM);
    }
    some_features(&features, 200000, 40);
    ck_assert_int_eq(native_model_weigh(model, &features, &p), 0);
    for (int i = 0; i < 100; i++)
        native_model_learn(model, &features, 2, CLASS_SPAM);
    int32_t alone = native_model_weigh(model, &features, &p);
    ck_assert_int_gt(alone, 0);
    ck_assert_int_le(alone, NATIVE_PERSONAL_MOST);
    native_model_learn(model, &features, 3, CLASS_SPAM);
    ck_assert_int_ge(native_model_weigh(model, &features, &p), NATIVE_SPAM);
    some_features(&features, 100000, 40); /* spam, to the operators */
    int32_t before = native_model_weigh(model, &features, &p);
    for (int i = 0; i < 100; i++)
        native_model_learn(model, &features, 1, CLASS_HAM);
    ck_assert_int_ge(native_model_weigh(model, &features, &p), before - NATIVE_PERSONAL_MOST);
    free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("native");
    TCase *tcase = tcase_create("native");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, test_example, 0, sizeof examples / sizeof *examples);
    tcase_add_loop_test(tcase, test_heavy, 0, sizeof heavy / sizeof *heavy);
#ifndef __SANITIZE_ADDRESS__
    tcase_add_loop_test(tcase, test_heavy_is_linear, 0, sizeof heavy / sizeof *heavy);
#endif
    tcase_add_test(tcase, test_limit_is_told);
    tcase_add_loop_test(tcase, test_long_text, 0, 5);
    tcase_add_test(tcase, test_own_domain_used_rightly);
    tcase_add_loop_test(tcase, test_organisation, 0, sizeof organisations / sizeof *organisations);
    tcase_add_loop_test(tcase, test_url, 0, sizeof urls / sizeof *urls);
    tcase_add_loop_test(tcase, test_fold, 0, sizeof folds / sizeof *folds);
    tcase_add_loop_test(tcase, test_trained_language, 0, sizeof tongues / sizeof *tongues);
    tcase_add_test(tcase, test_language_is_no_sign);
    tcase_add_test(tcase, test_model_bytes);
    tcase_add_test(tcase, test_time_is_bounded);
    tcase_add_test(tcase, test_empty_model);
    tcase_add_test(tcase, test_trial);
    tcase_add_test(tcase, test_bulk_is_learned);
    tcase_add_test(tcase, test_one_user_is_bounded);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
