/* test_probes.c - the open-relay probes against servers of every temper, their replies whole and byte by byte */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/probes/probes.h"
#include "tests/unit/suite.h"

#define OWN     "example.edu"
#define OUTSIDE "far.test"
#define TURNS   2000 /* of the dialog: far more than any of them takes */

#define EHLO_PLAIN "250-mx.example.edu\r\n250-SIZE 1000\r\n250 ENHANCEDSTATUSCODES\r\n"
#define EHLO_EDGE  "250-mx.example.edu\r\n250-SMTPUTF8\r\n250 XWEIR 00112233\r\n"
#define EHLO_TRUST "250-mx.example.edu\r\n250-XCLIENT NAME ADDR PORT\r\n250 XWEIR 00112233\r\n"
#define TAKEN      "250 2.1.5 Ok\r\n"
#define DENIED     "554 5.7.1 Relay access denied\r\n"

/* What a server says to a recipient; NULL: it closes the connection. */
typedef const char *(*judge)(const char *path, size_t len);

struct server {
    const char *greeting, *hello, *mail;
    judge rcpt;
    const char *behind; /* said after each answer to RCPT */
    unsigned errors_max; /* 421 from then on, per connection; 0: never */
};

static bool has(const char *path, size_t len, const char *word)
{
    return memmem(path, len, word, strlen(word)) != NULL;
}

static bool ends(const char *path, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    return len >= word_len && memcmp(path + len - word_len, word, word_len) == 0;
}

/* For mailboxes of the own domain that are there. */
static const char *strict(const char *path, size_t len)
{
    if (has(path, len, "<postmaster@" OWN ">"))
        return TAKEN;
    return has(path, len, "nobody@" OWN) ? "550 5.1.1 No such user\r\n" : DENIED;
}

static const char *wide_open(const char *path, size_t len)
{
    const char *said = strict(path, len);
    return ends(path, len, "@" OUTSIDE ">") ? TAKEN : said;
}

/* The last domain is all it looks at, and then the percent sign is undone. */
static const char *percent(const char *path, size_t len)
{
    return has(path, len, "relay-test%" OUTSIDE "@" OWN ">") ? TAKEN : strict(path, len);
}

static const char *any_local(const char *path, size_t len)
{
    return ends(path, len, "@" OWN ">") ? TAKEN : DENIED;
}

static const char *routed(const char *path, size_t len)
{
    return path[0] == '<' && path[1] == '@' && has(path, len, ":relay-test@" OUTSIDE) ? TAKEN : strict(path, len);
}

static const char *greylist(const char *path, size_t len)
{
    return has(path, len, "<relay-test@" OUTSIDE ">") ? "450 4.7.1 Come again\r\n" : strict(path, len);
}

static const char *defers(const char *path, size_t len)
{
    const char *said = strict(path, len);
    return strcmp(said, DENIED) == 0 ? "454 4.7.1 <relay-test@far.test>: Relay access denied\r\n" : said;
}

static const char *no_such_domain(const char *path, size_t len)
{
    return ends(path, len, "@" OUTSIDE ">") ? "550 5.1.2 Domain not found\r\n" : strict(path, len);
}

static const char *closes_at_nul(const char *path, size_t len)
{
    return memchr(path, '\0', len) != NULL ? NULL : strict(path, len);
}

static const char *closes_at_quotes(const char *path, size_t len)
{
    return has(path, len, "\"relay-test%") ? NULL : strict(path, len);
}

static const char *c_string(const char *path, size_t len)
{
    return memchr(path, '\0', len) != NULL ? TAKEN : strict(path, len);
}

static const char *refuses_all(const char *path, size_t len)
{
    (void)path, (void)len;
    return "550 5.7.1 Your address is listed\r\n";
}

static const char *bare_refusals(const char *path, size_t len)
{
    return has(path, len, "<postmaster@" OWN ">") ? "250 ok\r\n" : "550 relay not permitted\r\n";
}

/* What the server says to a command; NULL: it closes. */
static const char *answer(const struct server *server, const char *command, size_t len, unsigned *errors)
{
    ck_assert_msg(len > 2 && ends(command, len, "\r\n"), "a command without an end");
    len -= 2;
    if (len >= 4 && memcmp(command, "EHLO", 4) == 0)
        return server->hello;
    if (len >= 7 && memcmp(command, "XCLIENT", 7) == 0)
        return "220 mx.example.edu again\r\n";
    if (len == 4 && memcmp(command, "QUIT", 4) == 0)
        return "221 2.0.0 Bye\r\n";
    if (memcmp(command, "RSET", 4) == 0 || memcmp(command, "HELO", 4) == 0)
        return "250 mx.example.edu\r\n";
    if (server->errors_max > 0 && *errors >= server->errors_max)
        return "421 4.7.0 Too many errors\r\n";
    if (memcmp(command, "MAIL FROM:", 10) == 0)
        return server->mail;
    ck_assert_msg(memcmp(command, "RCPT TO:", 8) == 0, "never anything else: %.*s", (int)len, command);
    char *copy = memcpy(xmalloc(len - 8), command + 8, len - 8); /* of its length, for ASan */
    const char *said = server->rcpt(copy, len - 8);
    free(copy);
    *errors += said == NULL || *said == '5';
    return said;
}

/* The reply in pieces of that many bytes; what is not used comes again. */
static void feed(struct probes *probes, const char *reply, size_t piece)
{
    size_t len = strlen(reply), held = 0;
    char *bytes = xmalloc(len);
    for (size_t at = 0; at < len;) {
        size_t more = piece < len - at ? piece : len - at;
        memcpy(bytes + held, reply + at, more);
        held += more, at += more;
        size_t used = probes_input(probes, bytes, held);
        memmove(bytes, bytes + used, held - used);
        held -= used;
    }
    free(bytes);
}

static void converse(struct probes *probes, const struct server *server, const struct probes_options *options, size_t piece)
{
    struct netaddr peer;
    unsigned errors = 0, turns = 0;
    ck_assert(netaddr_parse(&peer, "192.0.2.1"));
    probes_init(probes, options);
    while (probes->state != PROBES_DONE) {
        size_t len;
        ck_assert_uint_lt(turns++, TURNS);
        if (probes->state == PROBES_CLOSE) {
            probes_closed(probes);
        } else if (probes->state == PROBES_CONNECT && server->greeting == NULL) {
            probes_lost(probes, "no connection");
        } else if (probes->state == PROBES_CONNECT) {
            errors = 0;
            probes_connected(probes, &peer);
            feed(probes, server->greeting, piece);
        } else {
            const char *command = probes_output(probes, &len), *said = answer(server, command, len, &errors);
            bool asked = len > 4 && memcmp(command, "RCPT", 4) == 0;
            if (said == NULL) {
                probes_lost(probes, "closed");
            } else if (asked && server->behind != NULL) {
                char *both = xasprintf("%s%s", said, server->behind);
                feed(probes, both, SIZE_MAX); /* in one piece: it is there before we look */
                free(both);
            } else {
                feed(probes, said, piece);
            }
        }
    }
}

static struct probes_options options_of(unsigned flags)
{
    struct probes_options options = { .own = OWN, .outside = OUTSIDE, .control = !(flags & 1), .edge = (flags & 2) != 0 };
    if (flags & 4)
        ck_assert(netaddr_parse(&options.client, "198.51.100.7"));
    return options;
}

#define GREETING "220 mx.example.edu ESMTP\r\n"
#define MAIL_OK  "250 2.1.0 Ok\r\n"

enum { NO_CONTROL = 1, EDGE = 2, CLIENT = 4, INSIDE = 8 };

static const struct {
    const char *name;
    struct server server;
    unsigned flags;
    enum probes_verdict verdict;
    const char *reason; /* in it */
} temper_table[] = {
    { "closed", { GREETING, EHLO_PLAIN, MAIL_OK, strict, NULL, 0 }, 0, PROBES_CLOSED, "probes refused" },
    { "closed, without enhanced codes", { GREETING, EHLO_PLAIN, MAIL_OK, bare_refusals, NULL, 0 }, 0, PROBES_CLOSED, "" },
    { "closed edge", { GREETING, EHLO_EDGE, MAIL_OK, strict, NULL, 0 }, EDGE, PROBES_CLOSED, "0 left out" },
    { "closed, and patient with six errors only", { GREETING, EHLO_PLAIN, MAIL_OK, strict, NULL, 7 }, 0, PROBES_CLOSED, "" },
    { "closed, without EHLO", { GREETING, "502 what\r\n", MAIL_OK, strict, NULL, 0 }, 0, PROBES_CLOSED, "" },
    { "open", { GREETING, EHLO_PLAIN, MAIL_OK, wide_open, NULL, 0 }, 0, PROBES_OPEN, "plain was accepted" },
    { "open by percent sign", { GREETING, EHLO_PLAIN, MAIL_OK, percent, NULL, 0 }, 0, PROBES_OPEN, "percent was accepted" },
    { "open by source routes", { GREETING, EHLO_PLAIN, MAIL_OK, routed, NULL, 0 }, 0, PROBES_OPEN, "source-route was accepted" },
    { "open by a NUL", { GREETING, EHLO_PLAIN, MAIL_OK, c_string, NULL, 0 }, 0, PROBES_OPEN, "nul was accepted" },
    { "takes every local part", { GREETING, EHLO_PLAIN, MAIL_OK, any_local, NULL, 0 }, 0, PROBES_UNKNOWN, "every local part" },
    { "greylisting", { GREETING, EHLO_PLAIN, MAIL_OK, greylist, NULL, 0 }, 0, PROBES_UNKNOWN, "plain has no clear answer" },
    { "closed, as Postfix is before it is configured", { GREETING, EHLO_PLAIN, MAIL_OK, defers, NULL, 0 }, 0, PROBES_CLOSED, "" },
    { "of which the domain is not known", { GREETING, EHLO_PLAIN, MAIL_OK, no_such_domain, NULL, 0 }, 0, PROBES_UNKNOWN, "Domain not found" },
    { "an edge that looked it up", { GREETING, EHLO_EDGE, MAIL_OK, no_such_domain, NULL, 0 }, EDGE, PROBES_OPEN, "plain was accepted" },
    { "closes at a NUL", { GREETING, EHLO_PLAIN, MAIL_OK, closes_at_nul, NULL, 0 }, 0, PROBES_CLOSED, "" },
    { "closes at something harmless", { GREETING, EHLO_PLAIN, MAIL_OK, closes_at_quotes, NULL, 0 }, 0, PROBES_UNKNOWN, "quoted-percent has no clear answer: closed" },
    { "closed, and without patience", { GREETING, EHLO_PLAIN, MAIL_OK, strict, NULL, 1 }, 0, PROBES_CLOSED, "" },
    { "ends every connection", { GREETING, EHLO_PLAIN, "421 4.7.0 Not you\r\n", strict, NULL, 0 }, 0, PROBES_UNKNOWN, "plain has no clear answer: 421 Not you" },
    { "refuses this client", { GREETING, EHLO_PLAIN, MAIL_OK, refuses_all, NULL, 0 }, 0, PROBES_UNKNOWN, "even for the own domain: 550 Your address" },
    { "refuses all by its direction", { GREETING, EHLO_PLAIN, MAIL_OK, refuses_all, NULL, 0 }, NO_CONTROL, PROBES_CLOSED, "" },
    { "wants a login", { GREETING, EHLO_PLAIN, "530 5.7.0 Authentication required\r\n", strict, NULL, 0 }, 0, PROBES_CLOSED, "" },
    { "wants TLS", { GREETING, EHLO_PLAIN, "530 5.7.0 Must issue a STARTTLS command first\r\n", strict, NULL, 0 }, 0, PROBES_UNKNOWN, "STARTTLS" },
    { "refuses the sender", { GREETING, EHLO_PLAIN, "550 5.7.23 SPF\r\n", strict, NULL, 0 }, 0, PROBES_UNKNOWN, "plain has no clear answer" },
    { "no server", { NULL, NULL, NULL, NULL, NULL, 0 }, 0, PROBES_UNKNOWN, "no connection" },
    { "busy", { "421 4.3.2 Come again\r\n", NULL, NULL, NULL, NULL, 0 }, 0, PROBES_UNKNOWN, "421 Come again" },
    { "no mail", { "554 5.3.2 No mail here\r\n", NULL, NULL, NULL, NULL, 0 }, 0, PROBES_UNKNOWN, "554" },
    { "another protocol", { "SSH-2.0-OpenSSH\r\n", NULL, NULL, NULL, NULL, 0 }, 0, PROBES_UNKNOWN, "not SMTP" },
    { "says more than it is asked", { GREETING, EHLO_PLAIN, MAIL_OK, strict, "500 what\r\n", 0 }, 0, PROBES_CLOSED, "" },
    { "open to insiders", { GREETING, EHLO_EDGE, MAIL_OK, wide_open, NULL, 0 }, EDGE | INSIDE, PROBES_UNKNOWN, "inside" },
    { "closed to an insider", { GREETING, EHLO_EDGE, MAIL_OK, strict, NULL, 0 }, EDGE | INSIDE, PROBES_UNKNOWN, "inside" },
    { "closed, as it believes us", { GREETING, EHLO_TRUST, MAIL_OK, strict, NULL, 0 }, EDGE | INSIDE | CLIENT, PROBES_CLOSED, "" },
    { "open, though it believes us", { GREETING, EHLO_TRUST, MAIL_OK, wide_open, NULL, 0 }, EDGE | INSIDE | CLIENT, PROBES_OPEN, "plain" },
    { "does not believe us", { GREETING, EHLO_EDGE, MAIL_OK, strict, NULL, 0 }, EDGE | INSIDE | CLIENT, PROBES_UNKNOWN, "inside" },
    { "closed, but somebody else", { GREETING, EHLO_PLAIN, MAIL_OK, strict, NULL, 0 }, EDGE, PROBES_UNKNOWN, "mx.example.edu answered, which is no edge" },
};

START_TEST(test_temper)
{
    static struct probes probes;
    struct probes_options options = options_of(temper_table[_i].flags);
    char reason[PROBES_REASON_MAX];
    for (size_t piece = 1; piece != 0; piece = piece == 1 ? SIZE_MAX : 0) {
        converse(&probes, &temper_table[_i].server, &options, piece);
        enum probes_verdict verdict = probes_judge(&probes, (temper_table[_i].flags & INSIDE) != 0, reason);
        ck_assert_msg(verdict == temper_table[_i].verdict, "%s: %s: %s", temper_table[_i].name, probes_verdict_text(verdict), reason);
        ck_assert_msg(strstr(reason, temper_table[_i].reason) != NULL, "%s: %s", temper_table[_i].name, reason);
    }
}
END_TEST

START_TEST(test_table)
{
    ck_assert_uint_ge(probes_count, 24);
    ck_assert_uint_le(probes_count, PROBES_MAX);
    ck_assert_int_eq(probes_table[0].kind, PROBE_CONTROL);
    ck_assert_int_eq(probes_table[1].kind, PROBE_ANY_LOCAL);
    for (size_t i = 0; i < probes_count; i++) {
        ck_assert_str_ne(probes_table[i].why, "");
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(probes_table[i].name, probes_table[k].name);
    }
}
END_TEST

static const struct {
    const char *probe, *recipient;
} spelling_table[] = {
    { "plain", "<relay-test@far.test>" },
    { "percent-literal", "<relay-test%far.test@[192.0.2.1]>" },
    { "source-route-two", "<@example.edu,@mx.example.edu:relay-test@far.test>" },
    { "ideographic-dot", "<relay-test@far\xe3\x80\x82test>" },
    { "nul", "<relay-test@far.test>\\0@example.edu>" },
    { "carriage-return", "<relay-test@far.test>\\r@example.edu>" },
    { "own-as-suffix", "<relay-test@weir-relay-test-example.edu>" },
};

START_TEST(test_spelling)
{
    static struct probes probes;
    struct server server = { GREETING, EHLO_EDGE, MAIL_OK, strict, NULL, 0 };
    struct probes_options options = options_of(0);
    char out[PROBES_PATH_MAX];
    converse(&probes, &server, &options, SIZE_MAX);
    for (size_t i = 0; i < probes_count; i++)
        if (strcmp(probes_table[i].name, spelling_table[_i].probe) == 0)
            ck_assert_str_eq(probes_spell(&probes, probes_table[i].recipient, out), spelling_table[_i].recipient);
}
END_TEST

/* A server whose name and domain nobody knows is asked what can be asked. */
START_TEST(test_nameless)
{
    static struct probes probes;
    struct server server = { GREETING, "250 hello\r\n", MAIL_OK, strict, NULL, 0 };
    struct probes_options options = { .outside = OUTSIDE };
    char reason[PROBES_REASON_MAX];
    unsigned left_out = 0;
    converse(&probes, &server, &options, SIZE_MAX);
    for (size_t i = 0; i < probes_count; i++)
        left_out += probes.outcomes[i].result == PROBE_LEFT_OUT;
    ck_assert_uint_gt(left_out, 20);
    ck_assert_int_eq(probes_judge(&probes, false, reason), PROBES_CLOSED);
}
END_TEST

/* Who is not asked anything has refused nothing. */
START_TEST(test_nothing_to_ask)
{
    static struct probes probes;
    struct server server = { GREETING, EHLO_EDGE, MAIL_OK, strict, NULL, 0 };
    struct probes_options options = { .own = OWN };
    char reason[PROBES_REASON_MAX];
    converse(&probes, &server, &options, SIZE_MAX);
    ck_assert_int_eq(probes_judge(&probes, false, reason), PROBES_UNKNOWN);
}
END_TEST

/* Time is over in the middle: no word of the rest. */
START_TEST(test_give_up)
{
    static struct probes probes;
    struct netaddr peer;
    struct probes_options options = options_of(0);
    char reason[PROBES_REASON_MAX];
    ck_assert(netaddr_parse(&peer, "2001:db8::1"));
    probes_init(&probes, &options);
    probes_connected(&probes, &peer);
    feed(&probes, GREETING, SIZE_MAX);
    ck_assert_str_eq(probes.literal, "[IPv6:2001:db8::1]");
    probes_give_up(&probes, "the server takes too long");
    ck_assert_int_eq(probes.state, PROBES_DONE);
    ck_assert_int_eq(probes_judge(&probes, false, reason), PROBES_UNKNOWN);
    ck_assert_ptr_nonnull(strstr(reason, "too long"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("probes");
    TCase *tcase = tcase_create("probes");
    tcase_add_loop_test(tcase, test_temper, 0, sizeof temper_table / sizeof *temper_table);
    tcase_add_test(tcase, test_table);
    tcase_add_loop_test(tcase, test_spelling, 0, sizeof spelling_table / sizeof *spelling_table);
    tcase_add_test(tcase, test_nameless);
    tcase_add_test(tcase, test_nothing_to_ask);
    tcase_add_test(tcase, test_give_up);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
