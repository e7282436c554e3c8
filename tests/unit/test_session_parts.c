/*
 * test_session_parts.c - the pure pieces of the session: trace headers, relay decision, outcomes, timer wheel, census
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edge/session/census.h"
#include "edge/session/outcome.h"
#include "edge/session/received.h"
#include "edge/session/relay.h"
#include "edge/session/wheel.h"
#include "tests/unit/suite.h"

static const struct {
    const char *name, *text;
    unsigned hops;
    bool ended;
    const char *message_id;
} headers[] = {
    { "none", "", 0, false, "" },
    { "empty header", "\r\nReceived: x\r\n", 0, true, "" },
    { "hops in any case", "Received: a\r\nRECEIVED: b\r\nreceived : c\r\nReceived-SPF: d\r\nX-Received: e\r\n\r\n", 3, true, "" },
    { "folded lines are no fields", "Subject: a\r\n Received: x\r\n\tReceived: y\r\n\r\n", 0, true, "" },
    { "the body does not count", "Subject: a\r\n\r\nReceived: x\r\n", 0, true, "" },
    { "a line that is no field ends the header", "Subject: a\r\nhello world\r\nReceived: x\r\n", 0, true, "" },
    { "an mbox line before it does not", "From a@b Sat Nov 21\r\nReceived: x\r\n\r\n", 1, true, "" },
    { "Message-ID", "Message-ID: <a@b>\r\n\r\n", 0, true, "<a@b>" },
    { "Message-ID on the next line", "message-id:\r\n  <a@b> \r\nSubject: x\r\n\r\n", 0, true, "<a@b>" },
    { "only the first Message-ID", "Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n\r\n", 0, true, "<a@b>" },
    { "Message-ID last", "Subject: x\r\nMessage-ID: <a@b>\r\n\r\n", 0, true, "<a@b>" },
};

START_TEST(test_header_scan)
{
    size_t len = strlen(headers[_i].text);
    for (size_t piece = 1; piece <= len + 1; piece++) {
        struct header_scan scan;
        header_scan_init(&scan);
        for (size_t at = 0; at < len; at += piece) {
            size_t n = len - at < piece ? len - at : piece;
            char *copy = malloc(n);
            memcpy(copy, headers[_i].text + at, n);
            header_scan_feed(&scan, copy, n);
            free(copy);
        }
        ck_assert_msg(scan.hops == headers[_i].hops, "%s in pieces of %zu: %u hops", headers[_i].name, piece, scan.hops);
        ck_assert_msg(scan.ended == headers[_i].ended, "%s in pieces of %zu: end", headers[_i].name, piece);
        ck_assert_msg(strcmp(scan.message_id, headers[_i].message_id) == 0, "%s in pieces of %zu: \"%s\"", headers[_i].name, piece,
                      scan.message_id);
    }
}
END_TEST

START_TEST(test_received)
{
    char out[RECEIVED_MAX];
    struct netaddr client;
    netaddr_parse(&client, "2001:db8::1");
    struct received received = {
        .helo = "evil) by x (with",
        .client = &client,
        .client_name = "client.example",
        .tls = "TLSv1.3 TLS_AES_256_GCM_SHA384",
        .hostname = "edge.test",
        .id = "ID",
        .recipient = "u@example.edu",
        .date = "Sat, 21 Nov 2026 18:48:48 +0000",
        .esmtp = true,
    };
    size_t len = received_format(out, &received);
    ck_assert_str_eq(out, "Received: from evil??by?x??with (client.example [IPv6:2001:db8::1])\r\n"
                          "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n"
                          "\tby edge.test (Weir) with ESMTPS id ID\r\n\tfor <u@example.edu>;\r\n"
                          "\tSat, 21 Nov 2026 18:48:48 +0000\r\n");
    ck_assert_uint_eq(len, strlen(out));
    char longest[SMTP_ADDRESS_MAX], host[256], helo[256];
    memset(longest, 'l', sizeof longest);
    memset(host, 'h', sizeof host);
    longest[sizeof longest - 1] = host[sizeof host - 1] = '\0';
    memcpy(helo, host, sizeof helo);
    received.recipient = longest;
    received.hostname = host;
    received.helo = helo;
    received.client_name = host;
    received_format(out, &received);
    ck_assert(strstr(out, "lll>;\r\n\tSat, 21 Nov 2026 18:48:48 +0000\r\n") != NULL);
    for (const char *line = out; *line != '\0'; line = strchr(line, '\n') + 1)
        ck_assert_uint_le((size_t)(strchr(line, '\n') - line), 998);
    ck_assert_str_eq(received_protocol(false, false, false, false), "SMTP");
    ck_assert_str_eq(received_protocol(true, false, true, false), "UTF8SMTP");
    ck_assert_str_eq(received_protocol(true, true, true, false), "UTF8SMTPS");
    ck_assert_str_eq(received_protocol(true, true, false, true), "ESMTPSA");
    ck_assert_str_eq(received_protocol(true, true, true, true), "UTF8SMTPSA");
}
END_TEST

START_TEST(test_virus_scanned)
{
    char out[VIRUS_SCANNED_MAX];
    virus_scanned_format(out, sizeof out, "edge.test", "Clam\r\nX: (y)", "42");
    ck_assert_str_eq(out, "X-Virus-Scanned: Weir at edge.test (Clam??X: ?y?, signatures 42)\r\n");
}
END_TEST

static const struct relay_case {
    bool outside;
    const char *address, *canonical;
    enum relay_result result;
    int code;
    bool mx_off;
    const char *hop; /* "mx example.org", "h.own.edu"; NULL: not looked at */
    const char *rule;
} relays[] = {
    { true, "<u@own.edu>", "u@own.edu", RELAY_TO_NEXT_HOP, 0, false, NULL, "mailertable:1" },
    { true, "<u@OWN.EDU.>", "u@own.edu", RELAY_TO_NEXT_HOP, 0, false, NULL, "mailertable:1" },
    { true, "<u@else.where>", "u@else.where", RELAY_REFUSED, 550, false, NULL, "" },
    { false, "<u@else.where>", "u@else.where", RELAY_TO_NEXT_HOP, 0, false, NULL, "mailertable:5" },
    { true, "<u%else.where@own.edu>", "u%else.where@own.edu", RELAY_REFUSED, 550, false, NULL, "" },
    { true, "<u%own.edu@own.edu>", "u%own.edu@own.edu", RELAY_REFUSED, 550, false, NULL, "" },
    { false, "<u%else.where@own.edu>", "u%else.where@own.edu", RELAY_TO_NEXT_HOP, 0, false, NULL, "mailertable:1" },
    { true, "<else!u@own.edu>", "else!u@own.edu", RELAY_REFUSED, 550, false, NULL, "" },
    { true, "<@own.edu:u@else.where>", "u@else.where", RELAY_REFUSED, 550, false, NULL, "" },
    { true, "<u@[127.0.0.1]>", "u@[127.0.0.1]", RELAY_REFUSED, 550, false, NULL, "" },
    { true, "<u@[IPv6:::1]>", NULL, RELAY_REFUSED, 550, false, NULL, "" },
    { true, "<postmaster>", "postmaster@own.edu", RELAY_TO_NEXT_HOP, 0, false, NULL, "mailertable:1" },
    { true, "<u@noroute.edu>", "u@noroute.edu", RELAY_TO_NEXT_HOP, 0, false, NULL, "mailertable:5" }, /* by the catch-all: it grants nothing, but routes */
    { true, "<u@err.edu>", "u@err.edu", RELAY_REFUSED, 551, false, NULL, "mailertable:2" },
    { true, "<u@drop.edu>", "u@drop.edu", RELAY_DISCARD, 0, false, NULL, "mailertable:3" },
    { true, "<u@own.edu>", "u@own.edu", RELAY_TO_NEXT_HOP, 0, false, "h.own.edu:26", "mailertable:1" },
    { true, "<u@byname.edu>", "u@byname.edu", RELAY_TO_NEXT_HOP, 0, false, "mx groups.example:25", "mailertable:4" },
    { true, "<u@byname.edu>", "u@byname.edu", RELAY_TO_NEXT_HOP, 0, true, "mx groups.example:25", "mailertable:4" },
    { true, "<u@\uff4fwn.edu>", "u@\uff4fwn.edu", RELAY_TO_NEXT_HOP, 0, false, "h.own.edu:26", "mailertable:1" },
    { true, "<u@\u017ftra\u00dfe.edu>", "u@\u017ftra\u00dfe.edu", RELAY_DISCARD, 0, false, NULL, "mailertable:6" },
    { true, "<u@xn--strae-oqa.edu>", "u@xn--strae-oqa.edu", RELAY_DISCARD, 0, false, NULL, "mailertable:6" },
    { true, "<u@\uff45lse.where>", "u@\uff45lse.where", RELAY_REFUSED, 550, false, NULL, "" },
};

/* The same without a catch-all: domains without a route. */
static const struct relay_case mx_relays[] = {
    { false, "<u@Else.Where>", "u@else.where", RELAY_TO_NEXT_HOP, 0, false, "mx else.where:25", "" },
    { true, "<u@else.where>", "u@else.where", RELAY_REFUSED, 550, false, NULL, "" },
    { false, "<u@else.where>", "u@else.where", RELAY_REFUSED, 550, true, NULL, "" },
    { false, "<u@noroute.edu>", "u@noroute.edu", RELAY_REFUSED, 451, false, NULL, "" }, /* ours: its MX would be ourselves */
    { false, "<u@[192.0.2.9]>", "u@[192.0.2.9]", RELAY_TO_NEXT_HOP, 0, false, "mx 192.0.2.9:25", "" },
    { false, "<u@[IPv6:2001:db8::9]>", NULL, RELAY_TO_NEXT_HOP, 0, false, "mx 2001:db8::9:25", "" },
    { true, "<u@[192.0.2.9]>", "u@[192.0.2.9]", RELAY_REFUSED, 550, false, NULL, "" },
    { false, "<u@[x400:c=gb]>", NULL, RELAY_REFUSED, 550, false, NULL, "" },
    { false, "<u@B\u00fccher.example>", "u@b\u00fccher.example", RELAY_TO_NEXT_HOP, 0, false, "mx xn--bcher-kva.example:25", "" },
    { false, "<u@xn--bcher-kva.example>", NULL, RELAY_TO_NEXT_HOP, 0, false, "mx xn--bcher-kva.example:25", "" },
};

static void try_relay(const struct relay_case *relay, const char *table)
{
    struct policy_file files[] = { { "mailertable", table, strlen(table) }, { "local-host-names", "own.edu\nnoroute.edu\n", 20 },
                                   { "networks", "10.0.0.0/8\n", 11 } };
    struct error why;
    struct policy *policy = policy_parse(files, 3, &why);
    ck_assert_msg(policy != NULL, "%s", why.text);
    struct netaddr client;
    netaddr_parse(&client, relay->outside ? "192.0.2.7" : "10.1.2.3");
    struct smtp_address address;
    size_t used;
    struct relay_answer answer;
    ck_assert_int_eq(smtp_path_parse(&address, relay->address, strlen(relay->address), true, &used), SMTP_ADDRESS_OK);
    relay_decide(&answer, policy, !relay->mx_off, &(struct relay_client){ &client, &(struct listener_settings){ 0 }, false, 0 }, &address);
    ck_assert_msg(answer.result == relay->result, "%s: %d %s", relay->address, answer.result, answer.text);
    if (relay->canonical != NULL)
        ck_assert_str_eq(answer.address, relay->canonical);
    if (answer.result == RELAY_REFUSED)
        ck_assert_int_eq(answer.code, relay->code);
    if (relay->hop != NULL) {
        char hop[300];
        snprintf(hop, sizeof hop, "%s%s:%u", answer.hop.mx ? "mx " : "", answer.hop.host, answer.hop.port);
        ck_assert_str_eq(hop, relay->hop);
    }
    ck_assert_str_eq(answer.rule, relay->rule);
    policy_free(&policy);
}

#define ROUTES "own.edu smtp:[h.own.edu]:26\nerr.edu error:5.1.6:551 moved\ndrop.edu discard:\nbyname.edu smtp:groups.example\n"

START_TEST(test_relay)
{
    try_relay(&relays[_i], ROUTES ". smtp:[out.own.edu]\nstra\u00dfe.edu discard:\n");
}
END_TEST

START_TEST(test_relay_mx)
{
    try_relay(&mx_relays[_i], ROUTES);
}
END_TEST

/* What a listener is for; o: outside, i: inside, a: outside and authenticated; to an own domain, a foreign one, and a foreign one by way of us. */
static const struct {
    enum listener_profile profile;
    enum listener_direction direction;
    const char *own, *foreign, *rerouted; /* whose mail is taken */
} listeners[] = {
    { PROFILE_RELAY, DIRECTION_BOTH, "oia", "ia", "ia" },     { PROFILE_RELAY, DIRECTION_INBOUND, "oia", "", "" },
    { PROFILE_RELAY, DIRECTION_OUTBOUND, "ia", "ia", "ia" },  { PROFILE_SUBMISSION, DIRECTION_BOTH, "ia", "ia", "ia" },
    { PROFILE_SUBMISSION, DIRECTION_INBOUND, "ia", "", "" },   { PROFILE_SUBMISSION, DIRECTION_OUTBOUND, "ia", "ia", "ia" },
    { PROFILE_HANDOFF, DIRECTION_BOTH, "i", "i", "i" },       { PROFILE_HANDOFF, DIRECTION_INBOUND, "i", "", "" },
    { PROFILE_HANDOFF, DIRECTION_OUTBOUND, "i", "i", "i" },
};

START_TEST(test_listener_says_for_whom)
{
    struct policy_file files[] = { { "mailertable", ". smtp:[out]\n", 13 }, { "local-host-names", "own.edu\n", 8 }, { "networks", "10.0.0.0/8\n", 11 } };
    static const char *const recipients[] = { "<u@own.edu>", "<u@far.test>", "<u%far.test@own.edu>" };
    struct listener_settings settings = { .profile = listeners[_i].profile, .direction = listeners[_i].direction };
    struct error why;
    struct policy *policy = policy_parse(files, 3, &why);
    ck_assert_msg(policy != NULL, "%s", why.text);
    for (size_t r = 0; r < 3; r++) {
        const char *allowed = r == 0 ? listeners[_i].own : r == 1 ? listeners[_i].foreign : listeners[_i].rerouted;
        for (const char *who = "oia"; *who != '\0'; who++) {
            struct netaddr client;
            struct smtp_address address;
            struct relay_answer answer;
            size_t used;
            netaddr_parse(&client, *who == 'i' ? "10.1.2.3" : "192.0.2.7");
            ck_assert_int_eq(smtp_path_parse(&address, recipients[r], strlen(recipients[r]), false, &used), SMTP_ADDRESS_OK);
            relay_decide(&answer, policy, true, &(struct relay_client){ &client, &settings, *who == 'a', 0 }, &address);
            ck_assert_msg((answer.result == RELAY_TO_NEXT_HOP) == (strchr(allowed, *who) != NULL), "row %d: %c to %s: %s", _i, *who, recipients[r],
                          answer.text);
            if (answer.result == RELAY_REFUSED)
                ck_assert_int_eq(answer.code, 550);
        }
    }
    policy_free(&policy);
}
END_TEST

/* S75: postmaster and abuse of each local domain, with and without aliases. */
static const struct reserved_case {
    const char *aliases, *address;
    enum relay_result result;
    const char *to;
} reserved[] = {
    { NULL, "postmaster@first.edu", RELAY_TO_NEXT_HOP, "postmaster@first.edu" },
    { NULL, "abuse@first.edu", RELAY_TO_NEXT_HOP, "abuse@first.edu" },
    { NULL, "PostMaster@bare.edu", RELAY_TO_NEXT_HOP, "postmaster@first.edu" },
    { NULL, "Abuse@bare.edu", RELAY_TO_NEXT_HOP, "postmaster@first.edu" },
    { NULL, "postmaster@gone.edu", RELAY_TO_NEXT_HOP, "postmaster@first.edu" },
    { NULL, "other@gone.edu", RELAY_REFUSED, NULL },
    { "joe: joe@first.edu\n", "abuse@bare.edu", RELAY_TO_NEXT_HOP, "postmaster@first.edu" },
    { "joe: joe@first.edu\n", "nobody@bare.edu", RELAY_REFUSED, NULL },
    { "postmaster: joe@first.edu\n", "postmaster@bare.edu", RELAY_TO_NEXT_HOP, "joe@first.edu" },
    { "postmaster: joe@first.edu\n", "abuse@bare.edu", RELAY_TO_NEXT_HOP, "joe@first.edu" },
    { "postmaster: joe@first.edu\n", "abuse@gone.edu", RELAY_TO_NEXT_HOP, "joe@first.edu" },
    { "postmaster: joe@first.edu\nabuse: sue@first.edu\n", "abuse@bare.edu", RELAY_TO_NEXT_HOP, "sue@first.edu" },
    { "postmaster: joe@first.edu, sue@first.edu\n", "abuse@bare.edu", RELAY_SEVERAL, NULL },
    { "postmaster: joe@first.edu, sue@first.edu\n", "abuse@first.edu", RELAY_TO_NEXT_HOP, "abuse@first.edu" },
};

static void count_target(void *arg, const struct relay_answer *target)
{
    ck_assert_int_eq(target->result, RELAY_TO_NEXT_HOP);
    ++*(unsigned *)arg;
}

START_TEST(test_S75_reserved_mailboxes)
{
    const struct reserved_case *row = &reserved[_i];
    static const char own[] = "first.edu\nbare.edu\ngone.edu\n", table[] = "first.edu smtp:[a.edu]\ngone.edu error:5.1.1:550 gone\n";
    const struct policy_file files[] = { { "local-host-names", own, strlen(own) }, { "mailertable", table, strlen(table) },
                                         { "aliases", row->aliases, row->aliases != NULL ? strlen(row->aliases) : 0 } };
    struct error why;
    struct policy *policy = policy_parse(files, row->aliases != NULL ? 3 : 2, &why);
    struct smtp_address address;
    struct netaddr client;
    struct relay_answer answer;
    netaddr_parse(&client, "192.0.2.7");
    ck_assert_ptr_nonnull(policy);
    ck_assert_int_eq(smtp_mailbox_parse(&address, row->address, strlen(row->address), false), SMTP_ADDRESS_OK);
    relay_decide(&answer, policy, true, &(struct relay_client){ &client, &(struct listener_settings){ 0 }, false, 0 }, &address);
    ck_assert_msg(answer.result == row->result, "%s: %d %s", row->address, answer.result, answer.text);
    if (row->to != NULL)
        ck_assert_str_eq(answer.address, row->to);
    unsigned targets = 0;
    if (answer.result == RELAY_SEVERAL)
        relay_expand(&answer, policy, true, &address, count_target, &targets);
    ck_assert_uint_eq(targets, answer.result == RELAY_SEVERAL ? 2 : 0);
    policy_free(&policy);
}
END_TEST

/* S75: whatever `verify` says, nobody is asked whether the postmaster exists; of other people's domains nothing is promised. */
static const struct {
    const char *address;
    bool verified;
} role_addresses[] = {
    { "<postmaster@own.edu>", false }, { "<Abuse@OWN.edu>", false },  { "<PostMaster>", false },      { "<postmaster@routed.edu>", false },
    { "<abuse@named.edu>", false },    { "<joe@own.edu>", true },     { "<postmaster@far.test>", true }, { "<postmasters@own.edu>", true },
};

START_TEST(test_S75_role_addresses_are_not_verified)
{
    static const char own[] = "own.edu\nnamed.edu\n", table[] = "own.edu smtp:[a.edu]\nrouted.edu smtp:[a.edu]\n. smtp:[out]\n", all[] = ".\n";
    static const char aliases[] = "abuse: joe@own.edu\n", networks[] = "192.0.2.0/24\n";
    const struct policy_file files[] = { { "local-host-names", own, strlen(own) }, { "mailertable", table, strlen(table) }, { "verify", all, strlen(all) },
                                         { "aliases", aliases, strlen(aliases) }, { "networks", networks, strlen(networks) } };
    const char *text = role_addresses[_i].address;
    struct policy *policy = policy_parse(files, 5, NULL);
    struct smtp_address address;
    struct netaddr client;
    struct relay_answer answer;
    size_t used;
    netaddr_parse(&client, "192.0.2.7");
    ck_assert_ptr_nonnull(policy);
    ck_assert_int_eq(smtp_path_parse(&address, text, strlen(text), false, &used), SMTP_ADDRESS_OK);
    relay_decide(&answer, policy, true, &(struct relay_client){ &client, &(struct listener_settings){ 0 }, false, 0 }, &address);
    ck_assert_msg(answer.result == RELAY_TO_NEXT_HOP, "%s: %s", text, answer.text);
    ck_assert_msg(answer.verify == role_addresses[_i].verified, "%s", text);
    ck_assert_msg((strstr(answer.rule, "verify") != NULL) == answer.verify, "%s: %s", text, answer.rule);
    policy_free(&policy);
}
END_TEST

/* Of what was accepted before: the domain's route as it is now, and nothing else. */
static const struct again_case {
    const char *address;
    enum relay_result result;
    const char *host; /* of the next hop */
    bool mx;
    const char *why;
} again[] = {
    { "joe@own.edu", RELAY_TO_NEXT_HOP, "a.edu", false, NULL },
    { "Alias@own.edu", RELAY_TO_NEXT_HOP, "a.edu", false, NULL },
    { "postmaster@own.edu", RELAY_TO_NEXT_HOP, "a.edu", false, NULL },
    { "x@else.example", RELAY_TO_NEXT_HOP, "else.example", true, NULL },
    { "x@[192.0.2.9]", RELAY_TO_NEXT_HOP, "192.0.2.9", true, NULL },
    { "x@void.edu", RELAY_DISCARD, NULL, false, NULL },
    { "x@gone.edu", RELAY_REFUSED, NULL, false, "route" },
    { "x@bare.edu", RELAY_REFUSED, NULL, false, "no-user" },
};

START_TEST(test_relay_route_again)
{
    static const char own[] = "own.edu\nbare.edu\n", table[] = "own.edu smtp:[a.edu]\nvoid.edu discard:\ngone.edu error:5.1.2:550 Gone\n";
    static const char aliases[] = "alias: x@gone.edu\n";
    const struct policy_file files[] = { { "local-host-names", own, strlen(own) }, { "mailertable", table, strlen(table) }, { "aliases", aliases, strlen(aliases) } };
    const struct again_case *row = &again[_i];
    struct policy *policy = policy_parse(files, 3, NULL);
    struct smtp_address address;
    struct relay_answer answer;
    ck_assert_ptr_nonnull(policy);
    ck_assert_int_eq(smtp_mailbox_parse(&address, row->address, strlen(row->address), true), SMTP_ADDRESS_OK);
    relay_route_again(&answer, policy, true, &address);
    ck_assert_msg(answer.result == row->result, "%s: %d", row->address, answer.result);
    if (row->host != NULL)
        ck_assert_msg(strcmp(answer.hop.host, row->host) == 0 && answer.hop.mx == row->mx && answer.hop.port == 25, "%s: %s", row->address, answer.hop.host);
    if (row->why != NULL)
        ck_assert_str_eq(answer.why, row->why);
    policy_free(&policy);
}
END_TEST

START_TEST(test_relay_owns_sender)
{
    static const char *const senders[] = { "Joe@first.edu", "@lists.first.edu" };
    ck_assert(relay_owns_sender(senders, 2, "joe@FIRST.edu"));
    ck_assert(relay_owns_sender(senders, 2, "anybody@lists.first.edu"));
    ck_assert(!relay_owns_sender(senders, 2, "sue@first.edu"));
    ck_assert(!relay_owns_sender(senders, 2, "joe@lists.first.edu.example.org"));
    ck_assert(!relay_owns_sender(senders, 0, "joe@first.edu"));
    static const char *const international[] = { "joe@B\u00dcCHER.edu", "@xn--mller-kva.edu" };
    ck_assert(relay_owns_sender(international, 2, "joe@xn--bcher-kva.edu") && relay_owns_sender(international, 2, "Joe@b\u00fccher.edu"));
    ck_assert(relay_owns_sender(international, 2, "sue@m\u00fcller.edu") && relay_owns_sender(international, 2, "sue@xn--mller-kva.edu"));
    ck_assert(!relay_owns_sender(international, 2, "sue@b\u00fccher.edu") && !relay_owns_sender(international, 2, "joe@bucher.edu"));
}
END_TEST

START_TEST(test_relay_names_the_exclusion)
{
    struct policy_file files[] = { { "networks", "10.0.0.0/8\n!10.1.0.0/16\n", 24 } };
    struct error why;
    struct policy *policy = policy_parse(files, 1, &why);
    ck_assert_msg(policy != NULL, "%s", why.text);
    struct netaddr client;
    netaddr_parse(&client, "10.1.2.3");
    struct smtp_address address;
    size_t used;
    struct relay_answer answer;
    ck_assert_int_eq(smtp_path_parse(&address, "<u@a.b>", 7, false, &used), SMTP_ADDRESS_OK);
    relay_decide(&answer, policy, true, &(struct relay_client){ &client, &(struct listener_settings){ 0 }, false, 0 }, &address);
    ck_assert_int_eq(answer.result, RELAY_REFUSED);
    ck_assert_str_eq(answer.rule, "networks:2");
    policy_free(&policy);
}
END_TEST

/* I2: of all verdicts and reasons, and whatever the operator chose for the others, only an explicit clean goes on. */
START_TEST(test_only_clean_goes_on)
{
    struct queue_id id = { "01234567890123456789" };
    for (int verdict = -1; verdict <= 8; verdict++)
        for (int reason = -1; reason <= 12; reason++)
            for (int action = UNKNOWN_TEMPFAIL; action <= UNKNOWN_QUARANTINE; action++) {
                struct edge_settings settings = {
                    .virus_action = action == UNKNOWN_DISCARD ? VIRUS_DISCARD : VIRUS_REJECT,
                    .unknown_action = action,
                    .unscannable_action = action,
                    .limits_action = action,
                };
                struct scan_result result = { .verdict = (Weir__Verdict)verdict, .reason = (Weir__UnknownReason)reason };
                struct outcome outcome = { .code = 0 };
                bool goes_on = outcome_of_verdict(&outcome, &result, &settings, false, &id);
                ck_assert_int_eq(goes_on, verdict == WEIR__VERDICT__VERDICT_CLEAN);
                if (!goes_on)
                    ck_assert(outcome.disposition != DISPOSITION_DELIVERED && outcome.code != 0);
            }
}
END_TEST

START_TEST(test_next_hop_words)
{
    struct queue_id id = { "01234567890123456789" };
    struct smtp_reply reply = { .code = 550, .enhanced = "" };
    struct outcome outcome;
    memset(reply.text, 'x', sizeof reply.text - 1);
    outcome_of_next_hop(&outcome, &reply, false, &id);
    ck_assert_str_eq(outcome.enhanced, "5.0.0");
    ck_assert_ptr_nonnull(strstr(outcome.text, "(id 01234567890123456789)")); /* however much it says */
    reply = (struct smtp_reply){ .code = 354, .text = "" };
    outcome_of_next_hop(&outcome, &reply, false, &id);
    ck_assert_int_eq(outcome.code, 451);
    ck_assert_int_eq(outcome.disposition, DISPOSITION_DEFERRED);
    reply = (struct smtp_reply){ .code = 250, .enhanced = "2.6.0", .text = "one\ntwo" };
    outcome_of_next_hop(&outcome, &reply, false, &id);
    ck_assert_str_eq(outcome.text, "Ok: queued as 01234567890123456789 (one two)");
}
END_TEST

START_TEST(test_wheel)
{
    struct wheel wheel;
    struct wheel_entry near = { 0 }, far = { 0 }, moved = { 0 }, gone = { 0 };
    wheel_init(&wheel, 5000);
    wheel_set(&wheel, &near, 5250);
    wheel_set(&wheel, &far, 5000 + 10 * WHEEL_SLOTS * WHEEL_SLOT_MS);
    wheel_set(&wheel, &moved, 9000);
    wheel_set(&wheel, &moved, 6000);  /* earlier: moves */
    wheel_set(&wheel, &moved, 20000); /* later: comes up at 6000, its owner puts it back */
    wheel_set(&wheel, &gone, 5500);
    wheel_remove(&gone);
    ck_assert_ptr_null(wheel_pop(&wheel, 5250));
    ck_assert_ptr_eq(wheel_pop(&wheel, 5350), &near);
    ck_assert_ptr_null(wheel_pop(&wheel, 5999));
    ck_assert_ptr_eq(wheel_pop(&wheel, 6100), &moved);
    ck_assert_ptr_null(wheel_pop(&wheel, 50000));
    ck_assert_ptr_eq(wheel_pop(&wheel, 5000 + 2 * WHEEL_SLOTS * WHEEL_SLOT_MS), &far); /* once a turn */
    wheel_set(&wheel, &far, 1); /* long past: comes up next, and not in this round for ever */
    ck_assert_ptr_eq(wheel_pop(&wheel, 5000 + 2 * WHEEL_SLOTS * WHEEL_SLOT_MS + 200), &far);
    wheel_set(&wheel, &near, 200000);
    ck_assert_ptr_eq(wheel_pop(&wheel, 100000000), &near); /* after a stop of the process nothing is lost */
}
END_TEST

/* So many clients that each cell has its session: hardly anybody is taken for two. */
START_TEST(test_census_of_many)
{
    struct census *census = census_new(1);
    struct netaddr client = { .family = AF_INET };
    unsigned wrong = 0;
    for (unsigned i = 0; i < 20000; i++) {
        memcpy(client.bytes, &(uint32_t){ htonl(0x0a000000 + i) }, 4);
        census_enter(census, 0, &client);
    }
    for (unsigned i = 20000; i < 40000; i++) {
        memcpy(client.bytes, &(uint32_t){ htonl(0x0a000000 + i) }, 4);
        wrong += census_of_client(census, &client) > 0;
    }
    ck_assert_uint_lt(wrong, 1000);
    census_free(&census);
}
END_TEST

/* Whatever neighbours an address has, they are no more often its own count than chance would have it: the hashes are other ones in each process. */
START_TEST(test_neighbours_are_not_taken_for_a_client)
{
    unsigned hits = 0;
    for (int round = 0; round < 100; round++) {
        struct census *census = census_new(1);
        struct netaddr client = { .family = AF_INET };
        for (unsigned i = 1; i <= 4096; i++) {
            memcpy(client.bytes, &(uint32_t){ htonl(0xc6336400 + i) }, 4);
            census_enter(census, 0, &client);
        }
        memcpy(client.bytes, &(uint32_t){ htonl(0x7f000001) }, 4);
        hits += census_of_client(census, &client) > 0;
        census_free(&census);
    }
    ck_assert_uint_le(hits, 2); /* each with a chance of 1 in 60,000 */
}
END_TEST

START_TEST(test_census)
{
    struct census *census = census_new(2);
    struct netaddr a, b, c;
    netaddr_parse(&a, "192.0.2.1");
    netaddr_parse(&b, "192.0.2.2");
    census_begin(census, 0);
    census_begin(census, 1);
    census_enter(census, 0, &a);
    census_enter(census, 1, &a);
    census_enter(census, 1, &b);
    ck_assert_uint_eq(census_sessions(census), 3);
    ck_assert_uint_eq(census_of_client(census, &a), 2);
    ck_assert_uint_eq(census_of_client(census, &b), 1);
    census_leave(census, 0, &a);
    ck_assert_uint_eq(census_of_client(census, &a), 1);
    census_hand_over(census, 1);
    census_hand_over(census, 1);
    census_answered(census, 1, 1);
    ck_assert_uint_eq(census_note_orphans(census, 1), 1);
    census_begin(census, 1); /* that worker died */
    ck_assert_uint_eq(census_note_orphans(census, 1), 0);
    ck_assert_uint_eq(census_take_orphans(census, 0), 0);
    ck_assert_uint_eq(census_take_orphans(census, 1), 1);
    ck_assert_uint_eq(census_take_orphans(census, 1), 0);
    ck_assert_uint_eq(census_sessions(census), 0);
    ck_assert_uint_eq(census_of_client(census, &b), 0);
    netaddr_parse(&a, "2001:db8::1");
    netaddr_parse(&b, "2001:db8::2"); /* the same customer's /64 */
    netaddr_parse(&c, "2001:db8:0:1::1");
    census_enter(census, 0, &a);
    ck_assert_uint_eq(census_of_client(census, &b), 1);
    ck_assert_uint_eq(census_of_client(census, &c), 0);
    census_free(&census);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session parts");
    TCase *tcase = tcase_create("parts");
    tcase_add_loop_test(tcase, test_header_scan, 0, (int)(sizeof headers / sizeof *headers));
    tcase_add_test(tcase, test_received);
    tcase_add_test(tcase, test_virus_scanned);
    tcase_add_loop_test(tcase, test_relay, 0, (int)(sizeof relays / sizeof *relays));
    tcase_add_loop_test(tcase, test_relay_mx, 0, (int)(sizeof mx_relays / sizeof *mx_relays));
    tcase_add_loop_test(tcase, test_listener_says_for_whom, 0, (int)(sizeof listeners / sizeof *listeners));
    tcase_add_loop_test(tcase, test_S75_reserved_mailboxes, 0, (int)(sizeof reserved / sizeof *reserved));
    tcase_add_loop_test(tcase, test_S75_role_addresses_are_not_verified, 0, (int)(sizeof role_addresses / sizeof *role_addresses));
    tcase_add_loop_test(tcase, test_relay_route_again, 0, (int)(sizeof again / sizeof *again));
    tcase_add_test(tcase, test_relay_owns_sender);
    tcase_add_test(tcase, test_relay_names_the_exclusion);
    tcase_add_test(tcase, test_only_clean_goes_on);
    tcase_add_test(tcase, test_next_hop_words);
    tcase_add_test(tcase, test_wheel);
    tcase_add_test(tcase, test_census);
    tcase_add_test(tcase, test_census_of_many);
    tcase_add_test(tcase, test_neighbours_are_not_taken_for_a_client);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
