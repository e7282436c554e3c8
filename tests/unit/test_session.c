/*
 * test_session.c - dialogues of client, scanner and next hop with one session, whole segments and then byte by byte
 *
 * A dialogue is a list of lines:
 *   O KEY=VALUE   configuration (before the first other line); O outside, O no-policy, O no-live, O scan=off
 *                 O crowds: crowd-1 to crowd-6 and "crowd of people, 1" to 4, each for 990 addresses, the same for the same number
 *                 O hop-size=N: next hops say SIZE N
 *                 O asked=N: of a list of three the first transaction asks this one first (0)
 *                 O exception: other limits for the inside client, in force, and for the outside one, expired
 *   L KEY NUMBER  a limit smaller than the configuration allows (before the first other line)
 *   C TEXT        the client says a line; C lines in a row are one segment      c TEXT   the same without CRLF, with \r \n \0 \xHH escapes
 *   S TEXT        the next reply line starts with TEXT                          .        no reply is waiting
 *   f SENDER      the next hop was last asked as from it
 *   r CODE E TEXT the same in our words: the next hop is lost
 *   R CODE E TEXT the next hop answers the next recipient                       D CODE E TEXT  and the message;  M: maybe delivered
 *   K scanned|unscanned [of OWNER] [envid=ID] [ret=1|2] RECIPIENTS  what is being stored                                Q stored[ but the first]|full|unavailable: the quarantine lets the first recipient in
 *   V clean|bad|limits|timeout|unscannable      the verdict                     B        the farm is busy
 *   A TEXT        the next audit row is "RECIPIENT DISPOSITION CODE", and " for ALIAS" where the client named one
 *                                                                               N TEXT   what goes to the next hop contains TEXT
 *   F TEXT        what was handed over is exactly TEXT (escapes)                T MS     time passes
 *   O cluster     the cluster's mark is known
 *   O blocks      somebody has a block list             k NUMBER ... of FROM, nobody of FROM, nothing of FROM: who blocked the sender or FROM; no answer
 *   O names       clients' names are looked up                                 Y NAME   the DNS says the client's name; -: it has none
 *   J SCORE[-N] ZONES  the lists of the DNS (O dnsbl=...) say of the client; -N: what friends that are silent might have added
 *   E             the final dot has left to the next hop
 *   H             the client shuts down its side
 *   G             the client is gone                                            X        the session has ended the connection
 *   P 1|0         the scanner's window is full, open again                      W        the worker drains
 *   q 1|0         its coordinator says that the spool is full, has room again
 *   Z exists|missing|unknown TEXT  of the first recipient being verified; z: of the second
 *   O limits=LINE the policy's limits                 l TEXT   the limiter is asked for "BUCKET COST, ..."     m pass|refuse  its answer
 *   e client|login reject|throttle|allow KEY, or -      what the cluster thinks of whoever comes, and of whoever logs in
 *   I LOGIN PASSWORD  a coordinator is asked about                              U accepted LOGIN SENDER|wrong|limited|unavailable|nothing
 * At its end no reply and no audit row may be left.
 */
#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/attachment_kind.h"
#include "common/log.h"
#include "edge/outbreak/outbreak.h"
#include "tests/unit/session_doubles.h"
#include "tests/unit/suite.h"

static const char config_text[] = "[edge]\nhostname = edge.test\ntmp_dir = /tmp\n"
                                  "[listener \"relay\"]\nlisten = 127.0.0.1:2525\n"
                                  "[coordinator \"coordinator-1\"]\nlisten = tcp://127.0.0.1:1\npublish = tcp://127.0.0.1:2\n"
                                  "public_key = 0000000000000000000000000000000000000000000000000000000000000000\n";
static const char mailertable[] = "example.edu smtp:[sink.example.edu]:2525\nother.edu smtp:[other.example.edu]:2525\n"
                                  "gone.edu error:5.1.1:550 Nobody here\nhole.edu discard:\n. smtp:[sink.example.edu]:2525\n"
                                  "moved.edu error:5.1.6:521 Gone elsewhere\nlater.edu error:4.3.0:450 Comes soon\n";
static const char own_domains[] = "example.edu\nnoroute.edu\nlocal.edu\n";
static const char verified[] = "verified.edu\n";
static const char networks[] = "127.0.0.1/32\n";
static const char hosts[] = "127.0.0.0/28 owner=o reason=r\n";
static const char exceptions[] = "127.0.0.1 max_message_size=2KiB max_recipients=3 reason=r owner=o approved_by=a expires=2099-12-31\n"
                                 "127.0.0.2 max_message_size=2KiB max_recipients=3 reason=r owner=o approved_by=a expires=2025-12-31\n";

static const char aliases[] = "sysadm: u@example.edu\nlist: u@example.edu, o@other.edu, u@example.edu, h@hole.edu\nbad: u@example.edu, x@gone.edu\n"
                              "worse: x@gone.edu, y@gone.edu\nnever: x@gone.edu, y@later.edu\nsoon: y@later.edu, u@example.edu\n"
                              "owned: u@example.edu\nowner-owned: x@example.edu\nsunk: h@hole.edu\nowner-sunk: x@example.edu\ncrew: u@example.edu, v@example.edu\nowner-crew: x@example.edu\n"
                              "club: w@example.edu, y@example.edu\nowner-club: x@example.edu\npair: u@example.edu, v@example.edu\nboth: u@example.edu, o@other.edu\nowner-both: x@example.edu\n"
                              "three: a@example.edu, b@example.edu, c@example.edu\n"
                              "leavers: left1@example.edu, left2@example.edu, left3@example.edu, left4@example.edu, left5@example.edu, left6@example.edu, "
                              "u1@example.edu, u2@example.edu, u3@example.edu, u4@example.edu, u5@example.edu, u6@example.edu\n";

#define A_CROWD(n) "crowd-" n ": :include:crowd-" n "\n"
#define QUOTED_CROWD(n) "\"crowd of people, " n "\": :include:crowd-" n "\n"
static const char crowds[] = A_CROWD("1") A_CROWD("2") A_CROWD("3") A_CROWD("4") A_CROWD("5") A_CROWD("6") QUOTED_CROWD("1")
    QUOTED_CROWD("2") QUOTED_CROWD("3") QUOTED_CROWD("4");

struct play {
    const char *name;
    bool trickle;
    struct event_base *base;
    struct metrics metrics;
    struct edge_config *config;
    struct census *census;
    struct server *server;
};

static char *unescape(const char *text, size_t *len)
{
    char *out = malloc(strlen(text) + 1);
    *len = 0;
    for (const char *p = text; *p != '\0'; p++) {
        char byte = *p;
        if (*p == '\\') {
            p++;
            if (*p == 'x') {
                unsigned value;
                ck_assert_int_eq(sscanf(p + 1, "%2x", &value), 1);
                out[(*len)++] = (char)value;
                p += 2;
                continue;
            }
            byte = *p == 'r' ? '\r' : *p == 'n' ? '\n' : *p == '0' ? '\0' : *p == 's' ? ' ' : *p;
        }
        out[(*len)++] = byte;
    }
    out[*len] = '\0';
    return out;
}

/* Limits that are tested with small numbers: the least that the configuration takes would make long dialogues. */
static void set_limit(struct edge_config *config, const char *text)
{
    struct listener_settings *listener = &config->listeners[0].settings;
    struct {
        const char *key;
        uint64_t *value;
    } limits[] = {
        { "max_message_size", &listener->max_message_size }, { "max_header_size", &listener->max_header_size },
        { "max_commands", &listener->max_commands },         { "message_memory", &config->edge.message_memory },
        { "message_disk", &config->edge.message_disk },
    };
    char key[64];
    unsigned long long value;
    ck_assert_int_eq(sscanf(text, "%63s %llu", key, &value), 2);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (strcmp(limits[i].key, key) == 0) {
            *limits[i].value = value;
            return;
        }
    ck_abort_msg("no limit %s", key);
}

struct setup {
    char *overrides[16];
    const char *limits[8];
    size_t override_count, limit_count;
    unsigned asked;
    char *policy_limits;
    Weir__OutboundState stopped; /* the client, by outbound protection */
    bool outside, registered, exception, crowds, no_policy, no_scan, names, cluster, blocks;
};

#define CROWDS 6
#define CROWD  990

static char *make_crowd(int number)
{
    char *text = malloc(CROWD * 80), *end = text;
    for (int i = 0; i < CROWD; i++)
        end += sprintf(end, "somebody-with-quite-a-long-name-in-this-crowd%d-%03d@example.edu\n", number, i);
    return text;
}

/* Ids that are the same in each run, as they say who of a list is asked first: of the twelve of the longest one here, too. */
static struct queue_id_source same_ids(unsigned asked)
{
    struct queue_id_source source = { .last_ms = 1ull << 42 }, begun;
    struct queue_id id;
    do {
        begun = source;
        id = queue_id_next(&source, 0);
    } while (queue_id_scatter(&id) % 12 != asked);
    return begun;
}

static bool begin(struct play *play, const struct setup *setup)
{
    char path[] = "/tmp/weir-test-session-XXXXXX";
    struct error why;
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, config_text, sizeof config_text - 1), (ssize_t)sizeof config_text - 1);
    close(fd);
    play->config = edge_config_load(path, (char **)(uintptr_t)setup->overrides, setup->override_count, &why);
    unlink(path);
    ck_assert_msg(play->config != NULL, "%s: %s", play->name, why.text);

    for (size_t i = 0; i < setup->limit_count; i++)
        set_limit(play->config, setup->limits[i]);
    play->base = event_base_new();
    metrics_init(&play->metrics);
    play->census = census_new(1);
    static int farm, pool, node, dns, limiter, feed;
    play->server = server_new(&(struct server_options){
        .base = play->base,
        .config = play->config,
        .node = "edge-1",
        .census = play->census,
        .metrics = &play->metrics,
        .farm = setup->no_scan ? NULL : (struct scan_farm *)&farm,
        .pool = (struct delivery_pool *)&pool,
        .limiter = (struct limiter *)&limiter,
        .feed = (struct feed *)&feed,
        .dns = setup->names ? (struct dns *)&dns : NULL,
    });
    play->server->ids = same_ids(setup->asked);
    server_set_node(play->server, (struct node *)&node);
    if (setup->cluster)
        server_set_cluster(play->server, "0123456789abcdef");
    if (setup->stopped != WEIR__OUTBOUND_STATE__OUTBOUND_UNSPECIFIED) {
        Weir__OutboundStop stop = WEIR__OUTBOUND_STOP__INIT, *all[] = { &stop };
        Weir__OutboundStops stops = WEIR__OUTBOUND_STOPS__INIT;
        stop.subject = wire_text(setup->outside ? "host 127.0.0.2" : "host 127.0.0.1");
        stop.state = setup->stopped;
        stop.amount = 50;
        stops.stops = all;
        stops.n_stops = 1;
        server_set_stops(play->server, &stops, NULL);
    }
    server_set_personal(play->server, setup->blocks);
    if (!setup->no_policy) {
        const char *names = setup->crowds ? crowds : aliases;
        const char *lines = setup->policy_limits != NULL ? setup->policy_limits : "";
        struct policy_file files[6 + CROWDS] = { { "mailertable", mailertable, sizeof mailertable - 1 },
                                       { "local-host-names", own_domains, sizeof own_domains - 1 },
                                       { "networks", networks, sizeof networks - 1 },
                                       { "aliases", names, strlen(names) },
                                       { "verify", verified, sizeof verified - 1 },
                                       { "limits", lines, strlen(lines) },
                                       { "exceptions", exceptions, sizeof exceptions - 1 } };
        static const char crowd_names[CROWDS][8] = { "crowd-1", "crowd-2", "crowd-3", "crowd-4", "crowd-5", "crowd-6" };
        char *crowd[CROWDS] = { NULL };
        for (int i = 0; setup->crowds && i < CROWDS; i++) {
            crowd[i] = make_crowd(i + 1);
            files[6 + i] = (struct policy_file){ crowd_names[i], crowd[i], strlen(crowd[i]) };
        }
        if (setup->registered)
            files[6] = (struct policy_file){ "hosts", hosts, sizeof hosts - 1 };
        struct policy *parsed = policy_parse(files, setup->crowds ? 6 + CROWDS : setup->exception || setup->registered ? 7 : 6, &why);
        for (int i = 0; i < CROWDS; i++)
            free(crowd[i]);
        ck_assert_msg(parsed != NULL, "%s", why.text);
        server_set_policy(play->server, &parsed, 7);
    }
    struct netaddr client;
    netaddr_parse(&client, setup->outside ? "127.0.0.2" : "127.0.0.1");
    int pair[2];
    ck_assert_int_eq(pipe(pair), 0);
    server_accept(server_port(play->server, "relay"), pair[1], &client);
    bool in = doubles.conn != NULL;
    if (!in) /* turned away: the reply went to the descriptor itself */
        doubles.out_len = (size_t)read(pair[0], doubles.out, sizeof doubles.out);
    else
        close(pair[1]);
    doubles.closed |= !in;
    close(pair[0]);
    doubles_settle(play->base);
    return in;
}

static void end(struct play *play)
{
    server_free(&play->server);
    ck_assert_msg(census_sessions(play->census) == 0, "%s: the census is not empty", play->name);
    ck_assert_msg(doubles.scan == NULL && doubles.delivery == NULL, "%s: a scan or delivery is left", play->name);
    census_free(&play->census);
    metrics_fini(&play->metrics);
    edge_config_unref(&play->config);
    event_base_free(play->base);
}

static void say(struct play *play, const char *bytes, size_t len)
{
    if (!play->trickle) {
        client_sends(bytes, len);
        doubles_settle(play->base);
        return;
    }
    for (size_t i = 0; i < len; i++) {
        client_sends(bytes + i, 1);
        doubles_settle(play->base);
    }
}

static void expect_reply(struct play *play, const char *want, size_t line)
{
    char *end_of_line = memchr(doubles.out, '\n', doubles.out_len);
    ck_assert_msg(end_of_line != NULL, "%s, line %zu: want \"%s\", got nothing", play->name, line, want);
    size_t len = (size_t)(end_of_line - doubles.out) + 1;
    ck_assert_msg(len >= strlen(want) && memcmp(doubles.out, want, strlen(want)) == 0, "%s, line %zu: want \"%s\", got \"%.*s\"",
                  play->name, line, want, (int)len - 2, doubles.out);
    memmove(doubles.out, doubles.out + len, doubles.out_len - len);
    doubles.out_len -= len;
}

static void expect_question(struct play *play, const char *arg, size_t line)
{
    char asked[1024];
    snprintf(asked, sizeof asked, "%s %s", doubles.login, doubles.password);
    ck_assert_msg(doubles.question != NULL && strcmp(asked, arg) == 0, "%s, line %zu: asked about \"%s\"", play->name, line, asked);
}

static void coordinator_answers(const char *arg)
{
    char word[32] = "", account[64] = "", sender[64] = "";
    static const char *const words[] = { "nothing", "accepted", "wrong", "limited", "unavailable" };
    unsigned outcome = 0;
    ck_assert_int_ge(sscanf(arg, "%31s %63s %63s", word, account, sender), 1);
    while (strcmp(words[outcome], word) != 0)
        outcome++;
    coordinator_says((Weir__AuthOutcome)outcome, account, *sender != '\0' ? sender : NULL);
}

/* "0 2 of a@b.test x@y.test": recipients 0 and 2 have blocked one of these. */
static void blocks(struct play *play, const char *text, size_t line)
{
    uint32_t blocked[8];
    size_t count = 0;
    const char *of = strstr(text, "of ");
    ck_assert_msg(doubles.question != NULL && of != NULL && strcmp(doubles.login, of + 3) == 0, "%s, line %zu: asked about \"%s\"", play->name, line,
                  doubles.question != NULL ? doubles.login : "(nothing)");
    for (const char *at = text; at < of; at++)
        if (*at >= '0' && *at <= '7')
            blocked[count++] = (uint32_t)(*at - '0');
    coordinator_knows_blocks(strncmp(text, "nothing", 7) == 0 ? NULL : blocked, count);
}

static void expect_row(struct play *play, const char *want, size_t line)
{
    char *newline = strchr(doubles.row_at, '\n');
    ck_assert_msg(newline != NULL, "%s, line %zu: want audit row \"%s\", got none", play->name, line, want);
    ck_assert_msg((size_t)(newline - doubles.row_at) == strlen(want) && memcmp(doubles.row_at, want, strlen(want)) == 0,
                  "%s, line %zu: want audit row \"%s\", got \"%.*s\"", play->name, line, want, (int)(newline - doubles.row_at),
                  doubles.row_at);
    doubles.row_at = newline + 1;
}

static void verdict(const char *what)
{
    if (strcmp(what, "clean") == 0)
        scanner_says(WEIR__VERDICT__VERDICT_CLEAN, 0, "");
    else if (strcmp(what, "bad") == 0)
        scanner_says(WEIR__VERDICT__VERDICT_BAD, 0, "Eicar-Test");
    else if (strcmp(what, "limits") == 0)
        scanner_says(WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS, "");
    else if (strcmp(what, "timeout") == 0)
        scanner_says(WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT, "");
    else if (strcmp(what, "unscannable") == 0)
        scanner_says(WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE, "");
    else /* a verdict that is none of the three */
        scanner_says(WEIR__VERDICT__VERDICT_UNSPECIFIED, 0, "");
}

enum answered { RECIPIENT, RECIPIENT_BY_US, MESSAGE, MESSAGE_MAYBE };

static void answer(const char *text, enum answered what)
{
    char enhanced[12] = "", words[512] = "";
    int code = 0;
    sscanf(text, "%d %11s %511[^\n]", &code, enhanced, words);
    if (strcmp(enhanced, "-") == 0)
        *enhanced = '\0';
    if (what == RECIPIENT || what == RECIPIENT_BY_US)
        next_hop_answers_rcpt(code, enhanced, words, what == RECIPIENT_BY_US);
    else
        next_hop_answers(code, enhanced, words, what == MESSAGE_MAYBE);
}

static void expect_sent(struct play *play, const char *want, size_t line)
{
    size_t len;
    char *bytes = unescape(want, &len);
    ck_assert_msg(doubles.sent_body != NULL && doubles.sent_len == len && memcmp(doubles.sent_body, bytes, len) == 0,
                  "%s, line %zu: want \"%s\" handed over, got \"%s\"", play->name, line, want,
                  doubles.sent_body != NULL ? doubles.sent_body : "(nothing)");
    free(bytes);
}

static void verifier_opinion(const char *text, bool later)
{
    size_t len = strcspn(text, " ");
    verifier_says(strncmp(text, "exists", len) == 0    ? VERIFY_EXISTS
                  : strncmp(text, "missing", len) == 0 ? VERIFY_MISSING
                                                       : VERIFY_UNKNOWN,
                  text[len] == ' ' ? text + len + 1 : "", later);
}

/* "client throttle 192.0.2.0/24", "host throttle host:127.0.0.0/28", "login reject alice", "client -" */
static void standing(const char *text)
{
    static union {
        struct book_entry entry;
        char room[sizeof(struct book_entry) + 64];
    } put[3];
    char whose[8] = "", action[12] = "", key[64] = "";
    sscanf(text, "%7s %11s %63s", whose, action, key);
    bool login = strcmp(whose, "login") == 0, host = strcmp(whose, "host") == 0, none = strcmp(action, "-") == 0;
    size_t place = login ? 1 : host ? 2 : 0;
    struct book_entry *entry = &put[place].entry;
    *entry = (struct book_entry){ .login = login, .host = host, .action = strcmp(action, "reject") == 0     ? REPUTATION_REJECT
                                                            : strcmp(action, "throttle") == 0 ? REPUTATION_THROTTLE
                                                                                              : REPUTATION_ALLOW };
    memcpy(put[place].room + offsetof(struct book_entry, key), key, strlen(key) + 1);
    const char *bits = strchr(key, '/');
    entry->family = login ? 0 : AF_INET;
    entry->bits = (uint8_t)(bits != NULL ? atoi(bits + 1) : login ? 0 : 32);
    *(login ? &doubles.login_entry : host ? &doubles.host_entry : &doubles.client_entry) = none ? NULL : entry;
}

static void step(struct play *play, const char *text, size_t line)
{
    const char *arg = text[1] == ' ' ? text + 2 : "";
    char *bytes;
    size_t len;
    switch (*text) {
    case 'c':
        bytes = unescape(arg, &len);
        say(play, bytes, len);
        free(bytes);
        return;
    case 'S':
        expect_reply(play, arg, line);
        return;
    case '.':
        ck_assert_msg(doubles.out_len == 0, "%s, line %zu: unexpected reply \"%.*s\"", play->name, line, (int)doubles.out_len,
                      doubles.out);
        return;
    case 'R':
        answer(arg, RECIPIENT);
        break;
    case 'r':
        answer(arg, RECIPIENT_BY_US);
        break;
    case 'D':
    case 'M':
        answer(arg, *text == 'M' ? MESSAGE_MAYBE : MESSAGE);
        break;
    case 'V':
        verdict(arg);
        break;
    case 'B':
        farm_is_busy();
        break;
    case 'Q':
        doubles.let_in = strcmp(arg, "stored but the first") == 0;
        spool_answers(strncmp(arg, "stored", 6) == 0 ? SPOOL_STORED : strcmp(arg, "full") == 0 ? SPOOL_FULL : SPOOL_UNAVAILABLE);
        break;
    case 'q':
        doubles.spool_full = *arg == '1';
        return;
    case 'f':
        ck_assert_msg(strcmp(doubles.hop_sender, arg) == 0, "%s, line %zu: asked as from \"%s\"", play->name, line, doubles.hop_sender);
        return;
    case 'K':
        ck_assert_msg(doubles.store != NULL && strcmp(doubles.stored_as, arg) == 0, "%s, line %zu: want \"%s\" stored, got \"%s\"", play->name,
                      line, arg, doubles.store != NULL ? doubles.stored_as : "(nothing)");
        return;
    case 'k':
        blocks(play, arg, line);
        break;
    case 'Z':
    case 'z':
        verifier_opinion(arg, *text == 'z');
        break;
    case 'l':
        ck_assert_msg(doubles.limit != NULL && strcmp(doubles.limit_asked, arg) == 0, "%s, line %zu: asked for \"%s\"", play->name, line,
                      doubles.limit != NULL ? doubles.limit_asked : "(nothing)");
        return;
    case 'e':
        standing(arg);
        return;
    case 'm':
        limiter_says(strcmp(arg, "refuse") == 0);
        break;
    case 'I':
        expect_question(play, arg, line);
        return;
    case 'U':
        coordinator_answers(arg);
        break;
    case 'P':
        farm_presses(*arg == '1');
        break;
    case 'A':
        expect_row(play, arg, line);
        return;
    case 'N':
        ck_assert_msg(strstr(doubles.sent_prefix, arg) != NULL, "%s, line %zu: \"%s\" is not in \"%s\"", play->name, line, arg,
                      doubles.sent_prefix);
        return;
    case 'F':
        expect_sent(play, arg, line);
        return;
    case 'T':
        doubles.now_ms += strtoull(arg, NULL, 10);
        event_active(play->server->tick, EV_TIMEOUT, 0);
        break;
    case 'Y':
        dns_says_name(*arg == '-' ? NULL : arg);
        break;
    case 'J':
        ck_assert_msg(doubles.lists_done != NULL, "%s, line %zu: no list is asked", play->name, line);
        dnsbl_says(atoi(arg), arg[strcspn(arg, "- ")] == '-' ? atoi(strchr(arg, '-')) : 0, arg + strcspn(arg, " ") + 1);
        break;
    case 'E':
        doubles.dot_sent = true;
        return;
    case 'H':
        client_ends();
        break;
    case 'G':
        client_goes();
        break;
    case 'W':
        server_drain(play->server, NULL, NULL);
        break;
    case 'X':
        ck_assert_msg(doubles.closed, "%s, line %zu: the session is still open", play->name, line);
        return;
    default:
        ck_abort_msg("%s: what is \"%s\"?", play->name, text);
    }
    doubles_settle(play->base);
}

static void run(const char *name, const char *dialogue, bool trickle)
{
    struct play play = { .name = name, .trickle = trickle };
    struct setup setup = { 0 };
    char *copy = strdup(dialogue), *save = NULL, segment[65536];
    size_t line = 0, segment_len = 0;
    bool begun = false;
    doubles_reset();
    for (char *text = strtok_r(copy, "\n", &save); text != NULL; text = strtok_r(NULL, "\n", &save)) {
        line++;
        if (*text == 'L') {
            setup.limits[setup.limit_count++] = text + 2;
            continue;
        }
        if (*text == 'O') {
            char *option = text + 2;
            if (strcmp(option, "outside") == 0)
                setup.outside = true;
            else if (strcmp(option, "registered") == 0)
                setup.registered = true;
            else if (strcmp(option, "names") == 0)
                setup.names = true;
            else if (strcmp(option, "cluster") == 0)
                setup.cluster = true;
            else if (strcmp(option, "blocks") == 0)
                setup.blocks = true;
            else if (strcmp(option, "crowds") == 0)
                setup.crowds = true;
            else if (strncmp(option, "limits=", 7) == 0)
                setup.policy_limits = unescape(option + 7, &(size_t){ 0 });
            else if (strncmp(option, "stopped=", 8) == 0)
                setup.stopped = (Weir__OutboundState)atoi(option + 8);
            else if (strncmp(option, "asked=", 6) == 0)
                setup.asked = (unsigned)atoi(option + 6);
            else if (strncmp(option, "hop-size=", 9) == 0)
                doubles.hop_size = strtoull(option + 9, NULL, 10);
            else if (strcmp(option, "exception") == 0)
                setup.exception = true;
            else if (strcmp(option, "no-policy") == 0)
                setup.no_policy = true;
            else if (strcmp(option, "no-live") == 0)
                doubles.farm_live = false;
            else if (strcmp(option, "no-spool") == 0)
                doubles.spool_up = false;
            else if (strcmp(option, "scan=off") == 0)
                setup.no_scan = true;
            else
                setup.overrides[setup.override_count++] = option;
            continue;
        }
        if (!begun)
            begin(&play, &setup);
        begun = true;
        if (*text == 'C') {
            segment_len += (size_t)sprintf(segment + segment_len, "%s\r\n", text[1] == ' ' ? text + 2 : "");
            continue;
        }
        if (segment_len > 0)
            say(&play, segment, segment_len);
        segment_len = 0;
        step(&play, text, line);
    }
    if (segment_len > 0)
        say(&play, segment, segment_len);
    ck_assert_msg(doubles.out_len == 0, "%s: replies are left: \"%.*s\"", name, (int)doubles.out_len, doubles.out);
    ck_assert_msg(*doubles.row_at == '\0', "%s: audit rows are left: \"%s\"", name, doubles.row_at);
    end(&play);
    doubles_reset();
    free(setup.policy_limits);
    free(copy);
}

#define HELLO "S 220 edge.test ESMTP\nC EHLO client.test\nS 250-edge.test\nS 250-PIPELINING\nS 250-SIZE\nS 250-8BITMIME\n" \
              "S 250-CHUNKING\nS 250-ENHANCEDSTATUSCODES\nS 250-SMTPUTF8\nS 250 DSN\n"
#define OCTETS_128 \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define OCTETS_512 OCTETS_128 OCTETS_128 OCTETS_128 OCTETS_128
#define READY "S 220\nC HELO client.test\nS 250 edge.test\n"
#define SIXTY "123456789012345678901234567890123456789012345678901234567890"
#define ONE_RCPT READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\n.\nR 250 2.1.5 ok\nS 250 2.1.5\n"
#define KEPT_AS(reason) "K unscanned u@example.edu>[sink.example.edu]:2525 for " reason "\n"
#define ONE_DATA ONE_RCPT "C DATA\nS 354\n"
/* Under TLS, and outside: nothing but a login lets it relay. */
#define SECURED "O certificate=/x\nO outside\nS 220\nC HELO x.test\nS 250\nC STARTTLS\nS 220 2.0.0\nC EHLO y.test\nS 250-edge.test\nS 250-PIPELINING\n" \
    "S 250-SIZE\nS 250-8BITMIME\nS 250-CHUNKING\nS 250-ENHANCEDSTATUSCODES\nS 250-SMTPUTF8\nS 250-DSN\nS 250 AUTH PLAIN LOGIN\n"
#define OFFERED "O auth=offer\n" SECURED
#define DEVICE_MAIL "C Date: d\nC Message-ID: <i>\nC From: f\nC\nC x\nC .\n"
#define DEVICE_TEXT "Date: d\\r\\nMessage-ID: <i>\\r\\nFrom: f\\r\\n\\r\\nx\\r\\n"
#define MAIL "C Subject: x\nC\nC hello\nC .\n"
#define FROM_MAIL "C From: <x@y.test>\nC\nC hello\nC .\n"
#define TWO_AGAIN "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@example.edu>\nR 250 - ok\nS 250\nC RCPT TO:<v@example.edu>\nR 250 - ok\nS 250\nC DATA\nS 354\n"
#define TWO_DATA READY TWO_AGAIN
#define MAIL_TEXT "Subject: x\\r\\n\\r\\nhello\\r\\n"

static const struct {
    const char *name;
    bool segments_only; /* what is tested is that bytes come together */
    const char *dialogue;
} dialogues[] = {
    { "limits: a client that comes too often hears it in place of the banner", false,
      "O outside\nO limits=inbound client connections 1/day\n.\nl inbound client connections/86400 127.0.0.2 1\n.\nm refuse\n"
      "S 421 4.7.0 edge.test Too many connections from client 127.0.0.2, try again later\nX\n" },
    { "limits: who comes too often is not looked up any further", false,
      "O outside\nO names\nO dnsbl=zen.test\nO limits=inbound client connections 1/day\n.\nl inbound client connections/86400 127.0.0.2 1\n.\nm refuse\nS 421 4.7.0\nX\n" },
    { "limits: or may come in", false,
      "O outside\nO limits=inbound prefix connections 1/min\n.\nl inbound prefix connections/60 127.0.0.0/24 1\nm pass\n" HELLO "C QUIT\nS 221\nX\n" },
    { "limits: the banner waits for the name, too", false,
      "O names\nO limits=outbound host connections 1/h\n.\nl outbound host connections/3600 127.0.0.1/32 1\nm pass\n.\nY -\nS 220\n" },
    { "reputation: who is throttled has a bucket of the cluster, beside the policy's", false,
      "O outside\nO limits=inbound client messages 9/h\n" HELLO "e client throttle 127.0.0.0/24\nC MAIL FROM:<a@b.test>\n"
      "l inbound client messages/60 reputation:127.0.0.2 in 127.0.0.0/24 1, inbound client messages/3600 127.0.0.2 1\nm refuse\n"
      "S 450 4.7.1 Too many messages for the reputation of 127.0.0.2 in 127.0.0.0/24, try again later\nC MAIL FROM:<a@b.test>\n"
      "l inbound client messages/60 reputation:127.0.0.2 in 127.0.0.0/24 1, inbound client messages/3600 127.0.0.2 1\nm pass\nS 250 2.1.0\n"
      "C RSET\nS 250\ne client allow 127.0.0.2\nC MAIL FROM:<a@b.test>\nl inbound client messages/3600 127.0.0.2 1\nm pass\nS 250 2.1.0\n" },
    { "reputation: the inside is not judged", false, HELLO "e client throttle 127.0.0.0/24\nC MAIL FROM:<a@b.test>\nS 250 2.1.0\n" },
    { "reputation: nor is a host that is not registered, by one that is", false, HELLO "e host throttle host:127.0.0.0/28\nC MAIL FROM:<a@b.test>\nS 250 2.1.0\n" },
    { "reputation: a registered host has one bucket for all of its addresses", false,
      "O registered\n" HELLO "e client reject 127.0.0.1\ne host throttle host:127.0.0.0/28\nC MAIL FROM:<a@b.test>\n"
      "l outbound client messages/60 reputation:host:127.0.0.0/28 1\nm refuse\n"
      "S 450 4.7.1 Too many messages for the reputation of host:127.0.0.0/28, try again later\ne host allow host:127.0.0.0/28\nC MAIL FROM:<a@b.test>\nS 250 2.1.0\n" },
    { "limits: a client that leaves before it is known", false, "O limits=outbound client connections 1/h\n.\nl outbound client connections/3600 127.0.0.1 1\nG\n" },
    { "limits: a message more than may come", false,
      "O limits=outbound domain messages 1/s\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nl outbound domain messages/1 b.test 1\n.\nm refuse\n"
      "S 450 4.7.1 Too many messages from domain b.test, try again later\nS 503 5.5.1 Need MAIL first\nC MAIL FROM:<a@b.test>\nm pass\nS 250 2.1.0\nC RSET\nS 250\n" },
    { "limits: a stranger's domain is counted with the first recipient that we take", false,
      "O outside\nO limits=inbound domain messages 1/s\\ninbound client recipients 1/s\n" READY "C MAIL FROM:<a@b.test>\nS 250 2.1.0\nC RCPT TO:<x@elsewhere.test>\n"
      "S 550 5.7.1\nA x@elsewhere.test refused:relay 550\nC RCPT TO:<u@example.edu>\nl inbound client recipients/1 127.0.0.2 1, inbound domain messages/1 b.test 1\n"
      "m refuse\nS 450 4.7.1\nA u@example.edu deferred:limit 450\nC RCPT TO:<u@example.edu>\nl inbound client recipients/1 127.0.0.2 1, inbound domain messages/1 b.test 1\n"
      "m pass\nR 250 2.1.5 ok\nS 250 2.1.5\nC RCPT TO:<v@example.edu>\nl inbound client recipients/1 127.0.0.2 1\nm pass\nR 250 2.1.5 ok\nS 250 2.1.5\n" },
    { "limits: the null sender has no domain, another direction another limit", false,
      "O limits=outbound domain messages 1/s\n" READY "C MAIL FROM:<>\nS 250 2.1.0\n" },
    { "limits: another direction", false, "O limits=inbound client messages 1/s\n" READY "C MAIL FROM:<a@b.test>\nS 250 2.1.0\n" },
    { "limits: all that is about a message is asked together", false,
      "O limits=outbound client messages 5/s\\noutbound prefix messages 6/s\\noutbound client bytes 7/s\n" READY "C MAIL FROM:<a@b.test>\n"
      "l outbound client messages/1 127.0.0.1 1, outbound prefix messages/1 127.0.0.0/24 1, outbound client bytes/1 127.0.0.1 0\nm pass\nS 250 2.1.0\n" },
    { "limits: recipients keep their order", false,
      "O limits=outbound client recipients 1/s\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<v@example.edu>\nC RCPT TO:<w@gone.edu>\nC DATA\n"
      "S 250 2.1.0\nl outbound client recipients/1 127.0.0.1 1\nm pass\n.\nm refuse\n.\nR 250 2.1.5 ok\nS 250 2.1.5\n"
      "S 450 4.7.1 Too many recipients from client 127.0.0.1, try again later\nS 550 5.1.1\nA v@example.edu deferred:limit 450\nA w@gone.edu refused:route 550\n"
      "S 354\n" MAIL "V clean\nD 250 2.0.0 taken\nS 250 2.0.0\nA u@example.edu delivered 250\n" },
    { "S63: a host that is slowed down has a bucket of its own beside those of the policy", false,
      "O stopped=1\nO limits=outbound client recipients 1/s\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\n"
      "l outbound client recipients/1 127.0.0.1 1, outbound client recipients/7200 127.0.0.1 1\nm pass\nR 250 2.1.5 ok\nS 250 2.1.5\n" },
    { "S63: and hears of it", false,
      "O stopped=1\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nl outbound client recipients/7200 127.0.0.1 1\nm refuse\n"
      "S 450 4.7.1 Mail from host 127.0.0.1 is slowed down, as too much of it came or was refused; try again later\nA u@example.edu deferred:limit 450\n" },
    { "S63: nobody slows down a device, which cannot come again", false,
      "O stopped=1\nO profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n" },
    { "S63: a stranger is not the host he was", false,
      "O stopped=2\nO outside\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\n" MAIL
      "V clean\nD 250 2.0.0 taken\nS 250 2.0.0\nA u@example.edu delivered 250\n" },
    { "S63: what one next hop would take rests in the spool", false,
      "O stopped=2\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\n" MAIL
      "V clean\nK scanned, to rest for host 127.0.0.1, u@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\nA u@example.edu spooled 250\n.\n" },
    { "S63: and goes out on no other way when the spool is away", false,
      "O stopped=2\nO no-spool\nO profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nC DATA\nS 354\n"
      DEVICE_MAIL "V clean\nQ unavailable\nS 451 4.3.0\nA u@example.edu deferred:spool-unavailable 451\n.\n" },
    { "S63: refused", false,
      "O stopped=3\n" READY "C MAIL FROM:<a@b.test>\nS 550 5.7.1 Mail from host 127.0.0.1 is stopped, as too much of it came or was refused\n" },
    { "S63: a device that is to be refused is held", false,
      "O stopped=3\nO profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nC DATA\nS 354\n" DEVICE_MAIL
      "V clean\nK scanned, to rest for host 127.0.0.1, u@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\nA u@example.edu spooled 250\n" },
    { "S63: as much is held as may be", false,
      "O stopped=4\nO profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nS 450 4.7.1 Mail from host 127.0.0.1 is held\n" },
    { "limits: a recipient that we refuse costs nothing", false,
      "O outside\nO limits=inbound client recipients 1/s\n" READY "C MAIL FROM:<a@b.test>\nS 250 2.1.0\nC RCPT TO:<x@elsewhere.test>\n"
      "S 550 5.7.1 <x@elsewhere.test>: Relay access denied\nA x@elsewhere.test refused:relay 550\nC RCPT TO:<w@gone.edu>\nS 550 5\nA w@gone.edu refused:route 550\n"
      "C RCPT TO:<u@example.edu>\nl inbound client recipients/1 127.0.0.2 1\nm pass\nR 250 2.1.5 ok\nS 250 2.1.5\n" },
    { "limits: one recipient more than a transaction may have costs nothing", false,
      "O max_recipients=1\nO limits=outbound client recipients 1/s\n" READY "C MAIL FROM:<a@b.test>\nS 250 2.1.0\nC RCPT TO:<u@example.edu>\nm pass\n"
      "R 250 2.1.5 ok\nS 250 2.1.5\nC RCPT TO:<v@example.edu>\nS 452 4.5.3\nA v@example.edu deferred:recipients 452\n" },
    { "limits: the next hop answers while the next recipient is asked", false,
      "O limits=outbound client recipients 1/s\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nm pass\nC RCPT TO:<v@example.edu>\n"
      "R 250 2.1.5 ok\nS 250 2.1.5\n.\nm pass\nR 250 2.1.5 ok\nS 250 2.1.5\n" },
    { "limits: a client that is gone while a recipient is asked", false,
      "O limits=outbound client recipients 1/s\n" READY "C MAIL FROM:<a@b.test>\nS 250 2.1.0\nC RCPT TO:<u@example.edu>\nl outbound client recipients/1 127.0.0.1 1\nG\n" },
    { "limits: bytes are taken when they are here", false,
      "O limits=outbound client bytes 1/s\n" READY "C MAIL FROM:<a@b.test>\nl outbound client bytes/1 127.0.0.1 0\nm pass\nS 250 2.1.0\nC RCPT TO:<u@example.edu>\n"
      "R 250 2.1.5 ok\nS 250 2.1.5\nC DATA\nS 354\n" MAIL ".\nl outbound client bytes/1 127.0.0.1 21\nm pass\nV clean\nD 250 2.0.0 taken\nS 250 2.0.0\nA u@example.edu delivered 250\n" },
    { "limits: more bytes than may come", false,
      "O limits=outbound client bytes 1/s\n" READY "C MAIL FROM:<a@b.test>\nm pass\nS 250 2.1.0\nC RCPT TO:<u@example.edu>\n"
      "R 250 2.1.5 ok\nS 250 2.1.5\nC DATA\nS 354\n" MAIL ".\nm refuse\nS 450 4.7.1 Too many bytes from client 127.0.0.1\nA u@example.edu deferred:limit 450\n"
      "C MAIL FROM:<a@b.test>\nm refuse\nS 450 4.7.1 Too many bytes\n" },
    { "limits: a client that is gone while its bytes are asked", false,
      "O limits=outbound client bytes 1/s\n" READY "C MAIL FROM:<a@b.test>\nm pass\nS 250 2.1.0\nC RCPT TO:<u@example.edu>\n"
      "R 250 2.1.5 ok\nS 250 2.1.5\nC DATA\nS 354\n" MAIL "G\nA u@example.edu deferred:client-gone 0\n" },
    { "limits: a farm that gets full while bytes are asked", false,
      "O limits=outbound client bytes 1/s\n" READY "C MAIL FROM:<a@b.test>\nm pass\nS 250 2.1.0\nC RCPT TO:<u@example.edu>\n"
      "R 250 2.1.5 ok\nS 250 2.1.5\nC DATA\nS 354\n" MAIL "B\n.\nm pass\nS 421 4.7.0\nA u@example.edu deferred:busy 421\nX\n" },
    { "a recipient is verified first", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@verified.edu>\nS 250 2.1.0\n.\nZ exists\n.\nR 250 2.1.5 ok\nS 250 2.1.5\n" },
    { "a recipient that its next hop does not know", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@verified.edu>\nS 250 2.1.0\n.\nZ missing No such user\n"
            "S 550 5.1.1 <u@verified.edu>: Recipient address rejected: No such user\nA u@verified.edu refused:verify 550\nC DATA\nS 554 5.5.1\n" },
    { "a next hop that does not say", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@verified.edu>\nS 250 2.1.0\nZ unknown\n.\nR 452 4.2.2 full\nS 452 4.2.2 full\n"
            "A u@verified.edu deferred:next-hop 452\n" },
    { "a next hop that has to say", false,
      "O verify_unknown=defer\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@verified.edu>\nS 250 2.1.0\nZ unknown\n"
      "S 450 4.1.1 <u@verified.edu>: Recipient address cannot be verified now, try again later\nA u@verified.edu deferred:verify 450\n" },
    { "verified in any order, answered in the client's", true,
      HELLO "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@verified.edu>\nC RCPT TO:<v@example.edu>\nC RCPT TO:<x@verified.edu>\nS 250 2.1.0\n.\n"
            "R 250 2.1.5 ok\n.\nz missing Nobody\n.\nZ exists\n.\nR 452 4.2.2 full\nS 452 4.2.2 full\nS 250 2.1.5\nS 550 5.1.1\n"
            "A u@verified.edu deferred:next-hop 452\nA x@verified.edu refused:verify 550\n" },
    { "verified before", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<nobody@verified.edu>\nS 250 2.1.0\nS 550 5.1.1 <nobody@verified.edu>: Recipient address rejected: remembered\n"
            "A nobody@verified.edu refused:verify 550\nC RCPT TO:<known@verified.edu>\n.\nR 250 2.1.5 ok\nS 250 2.1.5\n" },
    { "verified for a device", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@verified.edu>\nC RCPT TO:<v@verified.edu>\nS 250 2.1.0\n.\nZ missing Nobody\nS 550 5.1.1\n"
      "A u@verified.edu refused:verify 550\nZ exists\nS 250 2.1.5\n" },
    { "the client goes while a recipient is verified", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@verified.edu>\nS 250 2.1.0\nG\n" },
    { "too many unknown ones", false,
      "O max_unknown_recipients=2\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@verified.edu>\nS 250 2.1.0\nZ missing No\nS 550 5.1.1\nA u@verified.edu refused:verify 550\n"
      "C RCPT TO:<nobody@verified.edu>\nS 550 5.1.1\nA nobody@verified.edu refused:verify 550\nC NOOP\nS 421 4.7.0\nX\n" },
    { "a clean message", false,
      HELLO "C MAIL FROM:<a@b.test> SIZE=20 BODY=8BITMIME\nC RCPT TO:<U@Example.EDU.>\nS 250 2.1.0 Ok\n.\nR 250 2.1.5 ok\nS 250 2.1.5 Ok\n"
      "C DATA\nS 354\n" MAIL ".\nV clean\n.\nN Received: from client.test (unknown [127.0.0.1])\nN by edge.test (Weir) with ESMTP id\n"
      "N for <U@example.edu>;\nN X-Virus-Scanned: Weir at edge.test (ClamAV 1.4.6, signatures 42)\nF " MAIL_TEXT
      "\nD 250 2.0.0 stored as 7\nS 250 2.0.0 Ok: queued as 0\nA U@example.edu delivered 250\nC QUIT\nS 221\nX" },
    { "scanning turned off by name", false, "O scan=off\n" ONE_DATA MAIL "N with SMTP id\nD 250 - fine\nS 250 2.0.0\nA u@example.edu delivered 250" },
    { "dots are unstuffed", false, ONE_DATA "C ..x\nC .y\nC .\nV clean\nF .x\\r\\ny\\r\\n\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "two messages, the second pipelined behind the first's end", false,
      ONE_DATA "C x\nC .\nC MAIL FROM:<>\nC RCPT TO:<v@example.edu>\n.\nV clean\n.\nD 250 - ok\nS 250 2.0.0\nS 250 2.1.0\nA u@example.edu delivered 250\n"
      "R 250 - ok\nS 250 2.1.5\nC RSET\nS 250 2.0.0" },

    { "replies keep the order of the commands", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<x@gone.edu>\nC RCPT TO:<v@example.edu>\nC NOOP\n"
            "S 250 2.1.0\n.\nR 250 - ok\nS 250 2.1.5\nS 550 5.1.1 <x@gone.edu>: Nobody here\nA x@gone.edu refused:route 550\n.\n"
            "R 550 5.1.1 no such user\nS 550 5.1.1 no such user\nA v@example.edu refused:next-hop 550\nS 250 2.0.0 Ok" },
    { "a syntax error waits for its turn", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC RCPT u\nS 250 2.1.0\n.\nR 250 - ok\nS 250 2.1.5\nS 501 5.5.4" },
    { "DATA waits for the recipients' answers", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC DATA\nS 250 2.1.0\n.\nR 250 - ok\nS 250 2.1.5\nS 354\nC x\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "no recipient accepted", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC DATA\nS 250 2.1.0\nR 450 4.2.1 later\nS 450 4.2.1 later\nA u@example.edu deferred:next-hop 450\n"
            "S 554 5.5.1 No valid recipients\nC RSET\nS 250" },
    { "a next hop's 421 does not close the client's session", false,
      READY "C MAIL FROM:<>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nR 421 - going down\nS 450 4.0.0 going down\nA u@example.edu deferred:next-hop 450\nC NOOP\nS 250" },
    { "two next hops: asked both, then stored", false,
      ONE_RCPT "C RCPT TO:<o@other.edu>\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\n.\nV clean\n"
               "K scanned u@example.edu>[sink.example.edu]:2525 o@other.edu>[other.example.edu]:2525\n.\nQ stored\nS 250 2.0.0 Ok: queued as\n"
               "A u@example.edu spooled 250\nA o@other.edu spooled 250\nC NOOP\nS 250" },
    { "two next hops that take no such message", false,
      "O hop-size=3714\n" ONE_RCPT "C RCPT TO:<o@other.edu>\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nS 552 5.3.4 Message is larger than 2 bytes\n"
      "A u@example.edu refused:size 552\nA o@other.edu refused:size 552\n.\n" },
    { "two next hops that take it", false,
      "O hop-size=3715\n" ONE_RCPT "C RCPT TO:<o@other.edu>\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\n.\nV clean\nQ stored\nS 250 2.0.0\n"
      "A u@example.edu spooled 250\nA o@other.edu spooled 250\n" },
    { "two next hops, and a device that cannot hear of it", false,
      "O profile=handoff\nO hop-size=1\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<o@other.edu>\nS 250 2.1.0\nS 250 2.1.5\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\n.\nV clean\nQ stored\nS 250 2.0.0\nA u@example.edu spooled 250\nA o@other.edu spooled 250\n" },
    { "two next hops, one of which refuses: direct", false,
      ONE_RCPT "C RCPT TO:<o@other.edu>\nR 550 5.1.1 no\nS 550 5.1.1 no\nA o@other.edu refused:next-hop 550\nC DATA\nS 354\nC x\nC .\nV clean\n.\n" },
    { "two next hops and the spool is full", false,
      ONE_RCPT "C RCPT TO:<o@other.edu>\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\nQ full\nS 452 4.3.1\n"
               "A u@example.edu deferred:spool-full 452\nA o@other.edu deferred:spool-full 452\nC NOOP\nS 250" },
    { "two next hops and a virus", false,
      ONE_RCPT "C RCPT TO:<o@other.edu>\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV bad\nS 550 5.7.1\n"
               "A u@example.edu refused:virus 550\nA o@other.edu refused:virus 550\n.\n" },
    { "two next hops and no coordinator", false,
      "O no-spool\n" ONE_RCPT "C RCPT TO:<o@other.edu>\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\nS 451 4.3.0\n"
               "A u@example.edu deferred:spool-unavailable 451\nA o@other.edu deferred:spool-unavailable 451\nC NOOP\nS 250" },
    { "NOTIFY=SUCCESS and a next hop without DSN", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu> NOTIFY=SUCCESS\nS 250 2.1.0\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n"
            "K scanned u@example.edu>[sink.example.edu]:2525 notify=SUCCESS\nQ stored\nS 250 2.0.0\nA u@example.edu spooled 250\n.\n" },
    { "submission: nobody is asked, then stored", false,
      "O profile=submission\nO auth=off\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<x@hole.edu>\nS 250 2.1.0\nS 250 2.1.5\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\n.\nV clean\nK scanned u@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\n"
      "A u@example.edu spooled 250\nA x@hole.edu discarded:route 250\n.\n" },
    { "submission: no coordinator", false,
      "O profile=submission\nO auth=off\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\n.\nV clean\nQ unavailable\nS 451 4.3.0\nA u@example.edu deferred:spool-unavailable 451\n.\n" },
    { "submission: scanners are busy", false,
      "O profile=submission\nO auth=off\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\n.\nB\nS 421 4.7.0\nA u@example.edu deferred:busy 421\nX" },
    { "handoff: no scanner lives", false,
      "O profile=handoff\nO no-live\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\nK unscanned u@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\nA u@example.edu spooled 250\n.\n" },
    { "handoff: scanners are busy", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\n.\nB\nK unscanned u@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\nA u@example.edu spooled 250\n.\n" },
    { "handoff: a scan that took too long is done again from the spool", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\n.\nV timeout\nK unscanned u@example.edu>[sink.example.edu]:2525\nQ full\nS 452 4.3.1\nA u@example.edu deferred:spool-full 452\n.\n" },
    { "handoff: the spool is full", false,
      "O profile=handoff\n" READY "q 1\nC MAIL FROM:<a@b.test>\nS 452 4.3.1 Insufficient system storage\nC RCPT TO:<u@example.edu>\nS 503\n"
      "q 0\nC MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\n.\nV clean\nQ stored\nS 250 2.0.0\n"
      "A u@example.edu spooled 250\n" },
    { "submission: the spool is full", false,
      "O profile=submission\nO auth=off\n" READY "q 1\nC MAIL FROM:<a@b.test>\nS 452 4.3.1\nC MAIL FROM:<>\nS 452 4.3.1\nq 0\nC MAIL FROM:<a@b.test>\nS 250\n" },
    { "handoff: the spool is full, the message was under way", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nq 1\nC DATA\nS 354\nC x\nC .\n.\n"
      "V clean\nQ full\nS 452 4.3.1\nA u@example.edu deferred:spool-full 452\nC MAIL FROM:<a@b.test>\nS 452 4.3.1\n" },
    { "handoff: the spool was full and is away", false,
      "O profile=handoff\nO no-spool\n" READY "q 1\nC MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n" },
    { "relay: a full spool is nothing to it", false, READY "q 1\nC MAIL FROM:<a@b.test>\nS 250 2.1.0\n" },
    { "handoff: a virus", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\n.\nV bad\nS 550 5.7.1\nA u@example.edu refused:virus 550\n.\n" },
    { "handoff: all that is forgiven", false,
      "O profile=handoff\nO no-spool\nO qualify_domain=site.test\nS 220\nc MAIL FROM:root\\n\nS 250 2.1.0\nc RCPT TO: u@example.edu\\n\nS 250 2.1.5\n"
      "c DATA\\n\nS 354\nc Date: d\\nMessage-ID: <i>\\nDate: e\\nhello\\0 you\\r\\r\\n..\\n.\\r\\n.\\r\\n\n.\nV clean\nR 250 - ok\n"
      "F Date: d\\r\\nMessage-ID: <i>\\r\\nFrom: <root@site.test>\\r\\n\\r\\nhello you\\r\\n.\\r\\n.\\r\\n\nD 250 - ok\nS 250 2.0.0\n"
      "N Received: from [127.0.0.1] (\nN with SMTP id\nA u@example.edu delivered 250\nc NOOP\\n\nS 250\n" },
    { "handoff: no From is added where add_from is off", false,
      "O profile=handoff\nO no-spool\nO add_from=off\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n"
      "C DATA\nS 354\nC Date: d\nC Message-ID: <i>\nC\nC x\nC .\n.\nV clean\nR 250 - ok\n"
      "F Date: d\\r\\nMessage-ID: <i>\\r\\n\\r\\nx\\r\\n\nD 250 - ok\nS 250 2.0.0\nA u@example.edu delivered 250\n" },
    { "handoff: HELO without a name", false,
      "O profile=handoff\nS 220\nc HELO\\n\nS 250 edge.test\nc EHLO two words\\n\nS 250-edge.test\nS 250-PIPELINING\nS 250-SIZE\nS 250-8BITMIME\n"
      "S 250-CHUNKING\nS 250-ENHANCEDSTATUSCODES\nS 250-SMTPUTF8\nS 250 DSN\n" },
    { "edges of a cluster know each other", false,
      "O cluster\nS 220\nC EHLO x.test\nS 250-edge.test\nS 250-PIPELINING\nS 250-SIZE\nS 250-8BITMIME\nS 250-CHUNKING\nS 250-ENHANCEDSTATUSCODES\n"
      "S 250-SMTPUTF8\nS 250-DSN\nS 250 XWEIR 0123456789abcdef\nC HELO x.test\nS 250 edge.test\n" },
    { "handoff: a whole conversation at once", true,
      "O profile=handoff\nC EHLO x.test\nC MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC DATA\n" DEVICE_MAIL "C QUIT\nS 220\nS 250-edge.test\nS 250-PIPELINING\n"
      "S 250-SIZE\nS 250-8BITMIME\nS 250-CHUNKING\nS 250-ENHANCEDSTATUSCODES\nS 250-SMTPUTF8\nS 250 DSN\nS 250 2.1.0\nS 250 2.1.5\nS 354\n.\nV clean\n.\n"
      "Q stored\nS 250 2.0.0\nA u@example.edu spooled 250\nS 221\nX" },
    { "handoff: before the banner", true,
      "O profile=handoff\nO banner_delay=2s\nC HELO x.test\nC MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC DATA\n" DEVICE_MAIL "C QUIT\n.\nT 2500\nS 220\n"
      "S 250 edge.test\nS 250 2.1.0\nS 250 2.1.5\nS 354\nV clean\nQ stored\nS 250 2.0.0\nA u@example.edu spooled 250\nS 221\nX" },
    { "handoff: two messages at once", true,
      "O profile=handoff\nO no-spool\nC HELO x.test\nC MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC DATA\n" DEVICE_MAIL
      "C MAIL FROM:<a@b.test>\nC RCPT TO:<v@example.edu>\nC DATA\n" DEVICE_MAIL "S 220\nS 250 edge.test\nS 250 2.1.0\nS 250 2.1.5\nS 354\n.\n"
      "V clean\nR 250 - ok\nF " DEVICE_TEXT "\nD 250 - ok\nS 250 2.0.0\nA u@example.edu delivered 250\nS 250 2.1.0\nS 250 2.1.5\nS 354\n"
      "V clean\nR 250 - ok\nF " DEVICE_TEXT "\nD 250 - ok\nS 250 2.0.0\nA v@example.edu delivered 250\n" },
    { "handoff: a message behind a DATA that is refused is no commands", true,
      "O profile=handoff\nC HELO x.test\nC MAIL FROM:<a@b.test>\nC RCPT TO:<x@gone.edu>\nC DATA\nC RSET\nC MAIL FROM:<evil@b.test>\nC RCPT TO:<u@example.edu>\n"
      "C DATA\nC x\nC .\nS 220\nS 250 edge.test\nS 250 2.1.0\nS 550 5.1.1\nA x@gone.edu refused:route 550\nS 554 5.5.1\nX" },
    { "handoff: nor is one that comes later", false,
      "O profile=handoff\nS 220\nC HELO x.test\nS 250\nC MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<x@gone.edu>\nS 550 5.1.1\nA x@gone.edu refused:route 550\n"
      "C DATA\nS 554 5.5.1\nX" },
    { "handoff: nor behind a DATA without MAIL", false,
      "O profile=handoff\nO max_message_size=1MiB\nS 220\nC HELO x.test\nS 250\nC MAIL FROM:<a@b.test> SIZE=2000000\nS 552 5.3.4\nC DATA\nS 503 5.5.1\nX" },
    { "handoff: who comes from outside waits for replies", true,
      "O profile=handoff\nO outside\nC HELO x.test\nC MAIL FROM:<a@b.test>\nS 220\nS 554 5.5.0\nX" },
    { "handoff: and for the banner", false, "O profile=handoff\nO outside\nO banner_delay=2s\nC HELO x.test\nS 554 5.5.1\nX" },
    { "handoff: no device begins with nonsense", true,
      "O profile=handoff\nC Host: edge.test\nC HELO x.test\nC MAIL FROM:<a@b.test>\nS 220\nS 500\nS 554 5.5.0\nX" },
    { "handoff: not even without EHLO", true,
      "O profile=handoff\nC ZZZZ / x\nC Host: edge.test\nC MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC DATA\n" DEVICE_MAIL
      "S 220\nS 500\nS 500\nS 250 2.1.0\nS 250 2.1.5\nS 554 5.5.0\nX" },
    { "handoff: a refused recipient is no nonsense", true,
      "O profile=handoff\nO no-spool\nC HELO x.test\nC MAIL FROM:<a@b.test>\nC RCPT TO:<x@gone.edu>\nC RCPT TO:<u@example.edu>\nC DATA\n" DEVICE_MAIL
      "S 220\nS 250 edge.test\nS 250 2.1.0\nS 550 5.1.1\nA x@gone.edu refused:route 550\nS 250 2.1.5\nS 354\n.\nV clean\nR 250 - ok\n"
      "F " DEVICE_TEXT "\nD 250 - ok\nS 250 2.0.0\nA u@example.edu delivered 250\n" },
    { "handoff: nothing waits behind STARTTLS", true,
      "O profile=handoff\nO certificate=/x\nS 220\nC HELO x.test\nC STARTTLS\nC MAIL FROM:<a@b.test>\nS 250\nS 554 5.5.0\nX" },
    { "submission: nobody is that hasty", true, "O profile=submission\nO auth=off\nC HELO x.test\nC MAIL FROM:<a@b.test>\nS 220\nS 554 5.5.0\nX" },
    { "handoff: nobody from outside, not even to us", false,
      "O profile=handoff\nO outside\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<u@far.test>\nS 250 2.1.0\n"
      "S 550 5.7.1 <u@example.edu>: Relay access denied\nS 550 5.7.1\nA u@example.edu refused:relay 550\nA u@far.test refused:relay 550\n" },
    { "handoff: smuggling", true,
      "O profile=handoff\nO no-spool\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nC DATA\nS 354\n"
      "c Date: d\\r\\nMessage-ID: <i>\\r\\nFrom: f\\r\\n\\r\\nx\\n.\\r\\nMAIL FROM:<evil@b.test>\\n.\\nRSET\\r.\\r\\n.\\r\\n\n.\nV clean\nR 250 - ok\n"
      "F Date: d\\r\\nMessage-ID: <i>\\r\\nFrom: f\\r\\n\\r\\nx\\r\\n.\\r\\nMAIL FROM:<evil@b.test>\\r\\n.\\r\\nRSET .\\r\\n\nD 250 - ok\nS 250 2.0.0\n"
      "A u@example.edu delivered 250\n" },
    { "relay and submission forgive nothing", false,
      "O profile=submission\nO auth=off\nS 220\nC MAIL FROM:<a@b.test>\nS 503 5.5.1 Send EHLO first\nC HELO\nS 501\nC HELO a b\nS 501\nC HELO a\nS 250\n"
      "C MAIL FROM:a@b.test\nS 501\nC MAIL FROM:<a>\nS 501\nc NOOP\\n\nS 521 5.5.2\nX" },
    { "submission: bare LF in the message", false,
      "O profile=submission\nO auth=off\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nC DATA\nS 354\n"
      "c x\\n.\\n\\r\\n.\\r\\n\nS 550 5.6.0\nA u@example.edu refused:content 550\n" },
    { "submission: who are you", false,
      "O profile=submission\nO certificate=/x\n" READY "C MAIL FROM:<a@b.test>\nS 530 5.7.0\nC RCPT TO:<u@example.edu>\nS 503\n" },
    { "an inbound listener relays nothing out", false,
      "O direction=inbound\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@far.test>\nS 250 2.1.0\nS 550 5.7.1\nA u@far.test refused:relay 550\n" },
    { "an outbound listener takes nothing in", false,
      "O direction=outbound\nO outside\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 550 5.7.1\nA u@example.edu refused:relay 550\n" },
    { "S59: an inside host that is not registered is a stranger where that is asked for", false,
      "O unregistered=refuse\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@far.test>\nS 250 2.1.0\nS 550 5.7.1 <u@far.test>: This host is not registered to send mail\n"
      "A u@far.test refused:unregistered 550\nC RCPT TO:<u@example.edu>\nR 250 - ok\nS 250 2.1.5\n" },
    { "S59: it hands nothing off, and nothing out", false,
      "O profile=handoff\nO unregistered=refuse\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\n"
      "S 550 5.7.1 <u@example.edu>: This host is not registered to send mail\nA u@example.edu refused:unregistered 550\n" },
    { "S59: a stranger hears what strangers hear", false,
      "O unregistered=refuse\nO outside\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@far.test>\nS 250 2.1.0\nS 550 5.7.1 <u@far.test>: Relay access denied\n"
      "A u@far.test refused:relay 550\n" },
    { "handoff: no coordinator, delivered within the session", false,
      "O profile=handoff\nO no-spool\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<v@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nS 250 2.1.5\n"
      "C DATA\nS 354\n" DEVICE_MAIL "V clean\n.\nR 250 - ok\nR 250 - ok\nF " DEVICE_TEXT "\nD 250 - took it\nS 250 2.0.0 Ok: queued as\n"
      "A u@example.edu delivered 250\nA v@example.edu delivered 250\n.\n" },
    { "handoff: the database goes while it is stored, and the next hop refuses one of two", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<v@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\nV clean\nQ unavailable\n.\nR 250 - ok\nR 550 - no\nS 451 4.3.0\n"
      "A u@example.edu deferred:next-hop 451\nA v@example.edu deferred:next-hop 451\n.\n" },
    { "handoff: the same, and it refuses both", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<v@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\nV clean\nQ unavailable\n.\nR 550 - no\nR 550 - no\nS 550\n"
      "A u@example.edu refused:next-hop 550\nA v@example.edu refused:next-hop 550\n.\n" },
    { "handoff: neither coordinator nor scanner", false,
      "O profile=handoff\nO no-spool\nO no-live\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\nQ unavailable\nS 451 4.3.0\nA u@example.edu deferred:spool-unavailable 451\n.\n" },
    { "handoff: no scanner, and a coordinator that is back in time", false,
      "O profile=handoff\nO no-spool\nO no-live\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\nQ stored\nS 250 2.0.0\nA u@example.edu spooled 250\n.\n" },
    { "a client that goes while its message is stored", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\n"
      "C DATA\nS 354\nC x\nC .\nV clean\nG\nQ stored\nA u@example.edu spooled 250" },
    { "a hop that refused all makes way for another", false,
      READY "C MAIL FROM:<>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nR 550 - no\nS 550 5.0.0 no\nA u@example.edu refused:next-hop 550\n"
            "C RCPT TO:<o@other.edu>\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\nD 250 - ok\nS 250\nA o@other.edu delivered 250" },
    { "the recipient over the limit", false,
      "O max_recipients=2\n" READY "C MAIL FROM:<>\nC RCPT TO:<a@example.edu>\nC RCPT TO:<b@example.edu>\nC RCPT TO:<c@example.edu>\nS 250 2.1.0\n"
      "R 250 - ok\nS 250 2.1.5\nR 250 - ok\nS 250 2.1.5\nS 452 4.5.3\nA c@example.edu deferred:recipients 452\nC DATA\nS 354\nC x\nC .\nV clean\nD 250 - ok\nS 250\n"
      "A a@example.edu delivered 250\nA b@example.edu delivered 250" },

    { "an outsider may send to own domains only", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<x@elsewhere.test>\nS 550 5.7.1 <x@elsewhere.test>: Relay access denied\nA x@elsewhere.test refused:relay 550\n"
      "C RCPT TO:<x%elsewhere.test@example.edu>\nS 550 5.7.1\nA x%elsewhere.test@example.edu refused:relay 550\n"
      "C RCPT TO:<elsewhere.test!x@example.edu>\nS 550 5.7.1\nA elsewhere.test!x@example.edu refused:relay 550\n"
      "C RCPT TO:<\"x@elsewhere.test\"@example.edu>\nS 550 5.7.1\nA \"x@elsewhere.test\"@example.edu refused:relay 550\n"
      "C RCPT TO:<x@[127.0.0.1]>\nS 550 5.7.1\nA x@[127.0.0.1] refused:relay 550\n"
      "C RCPT TO:<@example.edu:x@elsewhere.test>\nS 550 5.7.1\nA x@elsewhere.test refused:relay 550\n"
      "C RCPT TO:<u@example.edu>\nR 250 - ok\nS 250" },
    { "an insider may send anywhere", false, READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<x@elsewhere.test>\nR 250 - ok\nS 250" },
    { "bare postmaster", false, "O outside\n" READY "C MAIL FROM:<>\nS 250\nC RCPT TO:<PostMaster>\nR 250 - ok\nS 250\nC DATA\nS 354\nC x\nC .\nV clean\nD 250 - ok\nS 250\nA postmaster@example.edu delivered 250" },
    { "a route that discards", false,
      READY "C MAIL FROM:<>\nC RCPT TO:<x@hole.edu>\nS 250\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nS 250 2.0.0 Ok: queued as\nA x@hole.edu discarded:route 250" },
    { "a route that discards beside one that delivers", false,
      ONE_RCPT "C RCPT TO:<x@hole.edu>\nS 250\nC DATA\nS 354\nC x\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250\nA x@hole.edu discarded:route 250" },

    { "S60 S61 an exception lets a larger message in, and EHLO says so", false,
      "O exception\nL max_message_size 100\nS 220\nC EHLO client.test\nS 250-edge.test\nS 250-PIPELINING\nS 250-SIZE 2048\nS 250-8BITMIME\nS 250-CHUNKING\n"
      "S 250-ENHANCEDSTATUSCODES\nS 250-SMTPUTF8\nS 250 DSN\nC MAIL FROM:<> SIZE=2049\nS 552 5.3.4 Message size exceeds the limit of 2048\nC MAIL FROM:<a@b.test> SIZE=2048\nS 250\n"
      "C RCPT TO:<u@example.edu>\nR 250 - ok\nS 250\nC DATA\nS 354\nC " SIXTY SIXTY "\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "S61 and others not", false, "L max_message_size 100\n" ONE_DATA "C " SIXTY SIXTY "\nC .\nS 552 5.3.4 Message is larger than 100 bytes\nA u@example.edu refused:size 552" },
    { "S60 an exception has its own limits", false,
      "O exception\nO max_recipients=1\nL max_message_size 100\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<a@example.edu>\nC RCPT TO:<b@example.edu>\nC RCPT TO:<c@example.edu>\n"
      "C RCPT TO:<d@example.edu>\nS 250 2.1.0\nR 250 - ok\nS 250\nR 250 - ok\nS 250\nR 250 - ok\nS 250\nS 452 4.5.3\nA d@example.edu deferred:recipients 452\nC RSET\nS 250" },
    { "S60 an expired exception is none", false,
      "O outside\nO exception\nL max_message_size 100\n" READY "C MAIL FROM:<a@b.test> SIZE=101\nS 552 5.3.4 Message size exceeds the limit of 100" },

#define CREW(u, v) "crew@local.edu>u@example.edu>[sink.example.edu]:2525" u " crew@local.edu>v@example.edu>[sink.example.edu]:2525" v
#define BAD_SPOOLED                                                                                                                                      \
    "K scanned bad@local.edu>u@example.edu>[sink.example.edu]:2525 bad@local.edu>x@gone.edu>error:550 5.1.1 Nobody here\nQ stored\nS 250 2.0.0\n"        \
    "A u@example.edu spooled 250 for bad@local.edu\nA x@gone.edu spooled 250 for bad@local.edu"
#define CREW_SPOOLED "A u@example.edu spooled 250 for crew@local.edu\nA v@example.edu spooled 250 for crew@local.edu"
    { "S49 an alias for one address is handed over directly", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<SysAdm@local.edu>\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250 for SysAdm@local.edu" },
    { "S49 what the next hop says of it", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<sysadm@local.edu>\nR 550 5.1.1 no\nS 550 5.1.1 no\nA u@example.edu refused:next-hop 550 for sysadm@local.edu" },
    { "S49 an alias for several goes into the spool, one copy for each", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<list@local.edu>\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned list@local.edu>u@example.edu>[sink.example.edu]:2525 list@local.edu>o@other.edu>[other.example.edu]:2525\nQ stored\nS 250 2.0.0\n"
      "A u@example.edu spooled 250 for list@local.edu\nA o@other.edu spooled 250 for list@local.edu\nA h@hole.edu discarded:route 250 for list@local.edu" },
    { "S49 success of a list's members is nobody's business outside", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test> RET=FULL ENVID=x\nS 250\nC RCPT TO:<crew@local.edu> NOTIFY=SUCCESS,FAILURE\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned envid=x ret=1 " CREW(" as owner-crew@local.edu", " as owner-crew@local.edu") " crew@local.edu>expanded:list notify=SUCCESS\nQ stored\nS 250 2.0.0\n" CREW_SPOOLED },
    { "S49 nor are who wrote's own words the owner's, where nobody asked for success", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test> RET=FULL ENVID=x\nS 250\nC RCPT TO:<crew@local.edu> NOTIFY=DELAY\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned of owner-crew@local.edu " CREW("", "") "\nQ stored\nS 250 2.0.0\n" CREW_SPOOLED },
    { "S49 nor is it of one without an owner", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test> RET=FULL ENVID=x\nS 250\nC RCPT TO:<list@local.edu> NOTIFY=SUCCESS,FAILURE\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned envid=x ret=1 list@local.edu>u@example.edu>[sink.example.edu]:2525 notify=FAILURE list@local.edu>o@other.edu>[other.example.edu]:2525 notify=FAILURE list@local.edu>expanded: notify=SUCCESS\n"
      "Q stored\nS 250 2.0.0\nA u@example.edu spooled 250 for list@local.edu\nA o@other.edu spooled 250 for list@local.edu\nA h@hole.edu discarded:route 250 for list@local.edu" },
    { "S49 who wants to hear of success alone hears nothing", false,
      "O profile=handoff\n" READY "C MAIL FROM:<>\nS 250\nC RCPT TO:<crew@local.edu> NOTIFY=SUCCESS\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned " CREW(" notify=NEVER", " notify=NEVER") "\nQ stored\nS 250 2.0.0\n" CREW_SPOOLED },
    { "S49 who is refused on a list is told of by a report, and the others get it", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<bad@local.edu>\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n" BAD_SPOOLED },
    { "S49 and without a spool they get it all the same", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<bad@local.edu>\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\nQ unavailable\n.\nR 250 - ok\n.\nD 250 - ok\nS 250\n"
      "A u@example.edu delivered 250 for bad@local.edu\nA x@gone.edu discarded:refused 250 for bad@local.edu" },
    { "S49 but not of a message that nobody gets: it is kept for those who are not refused", false,
      "O virus_action=quarantine\nO profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<bad@local.edu>\nS 250 2.1.5\nC DATA\nS 354\n" MAIL "V bad\n"
      "K unscanned bad@local.edu>u@example.edu>[sink.example.edu]:2525 for virus\nQ stored\nS 250 2.0.0\nA u@example.edu quarantined:virus 250 for bad@local.edu\n"
      "A x@gone.edu discarded:refused 250 for bad@local.edu" },
    { "S49 nor of one that is dropped for them", false,
      "O blocks\nO spam.block_action=discard\nO profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<bad@local.edu>\nS 250 2.1.5\nC DATA\nS 354\n" FROM_MAIL
      "k 0 of a@b.test x@y.test\nV clean\nS 250 2.0.0\nA u@example.edu discarded:blocklist 250 for bad@local.edu\nA x@gone.edu discarded:refused 250 for bad@local.edu" },
    { "S49 whoever is asked first, the refused one is not", false,
      "O outside\nO asked=1\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<bad@local.edu>\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n" BAD_SPOOLED },
    { "S49 a list whose other half its next hop refuses is refused", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<bad@local.edu>\nR 550 5.1.1 no u\nS 550 5.1.1 no u\nA u@example.edu refused:next-hop 550 for bad@local.edu\n"
      "A x@gone.edu refused:route 550 for bad@local.edu\nC DATA\nS 554 5.5.1" },
    { "S49 for now only, where a route may come", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<soon@local.edu>\nR 550 5.1.1 no u\nS 450 4.3.0 Comes soon\n"
      "A y@later.edu deferred:route 450 for soon@local.edu\nA u@example.edu deferred:route 450 for soon@local.edu\nC DATA\nS 554 5.5.1" },
    { "S49 a list whose addresses the policy refuses all is refused, for now where that is for one of them", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<worse@local.edu>\nS 550 5.1.1 <worse@local.edu>: Nobody here\nA worse@local.edu refused:route 550\n"
      "C RCPT TO:<never@local.edu>\nS 450 4.3.0 <never@local.edu>: Comes soon\nA never@local.edu deferred:route 450" },
#define TEN(what)      what what what what what what what what what what
#define HUNDRED_SUNK   TEN(TEN("C RCPT TO:<sunk@local.edu>\nS 250 2.1.5\n"))
#define HUNDRED_GONE   TEN(TEN("A h@hole.edu discarded:route 250 for sunk@local.edu\n"))
    { "S49 a list with an owner comes with others, each asked about as from its sender, and goes into the spool", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test> ENVID=x\nS 250\nC RCPT TO:<u@example.edu>\nR 250 - ok\nf a@b.test\nS 250\nC RCPT TO:<owned@local.edu>\nR 250 - ok\nf owner-owned@local.edu\nS 250 2.1.5\n"
      "C RCPT TO:<crew@local.edu>\nR 250 - ok\nf owner-crew@local.edu\nS 250 2.1.5\nC RCPT TO:<y@example.edu>\nR 250 - ok\nf a@b.test\nS 250\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned envid=x u@example.edu>[sink.example.edu]:2525 crew@local.edu>v@example.edu>[sink.example.edu]:2525 as owner-crew@local.edu y@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\n"
      "A u@example.edu spooled 250\nA v@example.edu spooled 250 for crew@local.edu\nA y@example.edu spooled 250" },
    { "S49 a list goes into the spool whoever of it is named besides", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<pair@local.edu>\nR 250 - ok\nS 250 2.1.5\nC RCPT TO:<v@example.edu>\nR 250 - ok\nS 250\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned pair@local.edu>u@example.edu>[sink.example.edu]:2525 v@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\nA u@example.edu spooled 250 for pair@local.edu\nA v@example.edu spooled 250" },
    { "S49 an answer is of who was asked, not of who is on a list that others are still asked for", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<both@local.edu>\nR 550 5.1.1 no\nC RCPT TO:<w@example.edu>\nR 250 - ok\nC RCPT TO:<o@other.edu>\nR 250 - ok\n"
      "C RCPT TO:<both@local.edu>\nf owner-both@local.edu\nR 250 - ok" },
    { "S49 what is said of one sender's recipient is not believed of the other's", false,
      "O outside\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<owned@local.edu>\nR 250 - ok\nS 250\nC RCPT TO:<u@example.edu>\nR 550 5.7.1 not you\nf a@b.test\nS 550 5.7.1 not you\n"
      "A u@example.edu refused:next-hop 550\nC DATA\nS 354\nC x\nC .\nV clean\nK scanned of owner-owned@local.edu owned@local.edu>u@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\n"
      "A u@example.edu spooled 250 for owned@local.edu" },
    { "S49 the spool keeps so many owners, the client of a relay comes again with more", false,
      "O outside\nO max_recipients=200\n" READY "C MAIL FROM:<a@b.test>\nS 250\n" HUNDRED_SUNK "C RCPT TO:<sunk@local.edu>\nS 452 4.5.3 Too many\nA h@hole.edu deferred:recipients 452 for sunk@local.edu\n"
      "C RCPT TO:<u@example.edu>\nR 250 - ok\nS 250" },
    { "S49 and where the client cannot come again, its sender stays", false,
      "O profile=handoff\nO max_recipients=200\n" READY "C MAIL FROM:<a@b.test>\nS 250\n" HUNDRED_SUNK "C RCPT TO:<owned@local.edu>\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned owned@local.edu>u@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\n" HUNDRED_GONE "A u@example.edu spooled 250 for owned@local.edu" },
    { "who is named and on two lists gets one copy", false,
      "O profile=handoff\n" READY "C MAIL FROM:<>\nS 250\nC RCPT TO:<crew@local.edu>\nS 250 2.1.5\nC RCPT TO:<list@local.edu> NOTIFY=DELAY\nS 250 2.1.5\nC RCPT TO:<u@example.edu> NOTIFY=SUCCESS\nS 250 2.1.5\n"
      "C RCPT TO:<v@example.edu> NOTIFY=NEVER\nS 250 2.1.5\nC RCPT TO:<U@example.edu> NOTIFY=NEVER\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned list@local.edu>o@other.edu>[other.example.edu]:2525 notify=DELAY u@example.edu>[sink.example.edu]:2525 notify=SUCCESS,FAILURE,DELAY v@example.edu>[sink.example.edu]:2525 "
      "U@example.edu>[sink.example.edu]:2525 notify=NEVER\nQ stored\nS 250 2.0.0\n"
      "A o@other.edu spooled 250 for list@local.edu\nA h@hole.edu discarded:route 250 for list@local.edu\nA u@example.edu spooled 250\nA v@example.edu spooled 250\nA U@example.edu spooled 250" },
    { "who is named twice is asked about once", false,
      "O outside\n" READY "C MAIL FROM:<>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<v@example.edu>\nS 250 2.1.0\nR 250 - ok\nS 250\nS 250\nR 550 5.1.1 no\nS 550 5.1.1 no\n"
      "A v@example.edu refused:next-hop 550\nC RCPT TO:<u@example.edu>\nS 250\nC DATA\nS 354\nC x\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "and once where the second is verified before the first", false,
      READY "C MAIL FROM:<>\nC RCPT TO:<u@verified.edu>\nC RCPT TO:<u@verified.edu>\nS 250 2.1.0\n.\nz exists\n.\nZ exists\n.\nR 250 - ok\nS 250\nS 250\nC DATA\nS 354\n"
      "C x\nC .\nV clean\nD 250 - ok\nS 250\nA u@verified.edu delivered 250" },
    { "and refused twice", false,
      "O outside\n" READY "C MAIL FROM:<>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nR 450 4.2.1 later\nS 450 4.2.1 later\nA u@example.edu deferred:next-hop 450\n"
      "S 450 4.2.1 later\nA u@example.edu deferred:next-hop 450\nC RCPT TO:<u@example.edu>\nR 250 - ok\nS 250" },
    { "but not where its reports differ", false,
      "O outside\n" READY "C MAIL FROM:<>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<u@example.edu> NOTIFY=NEVER\nS 250 2.1.0\nR 250 - ok\nS 250\nR 250 - ok\nS 250\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "D 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "who is named twice gets one copy, for the quarantine, too", false,
      "O virus_action=quarantine\n" READY "C MAIL FROM:<>\nS 250\nC RCPT TO:<u@example.edu>\nR 250 - ok\nS 250\nC RCPT TO:<u@example.edu>\nS 250\nC DATA\nS 354\n" MAIL "V bad\n"
      KEPT_AS("virus") "Q stored\nS 250 2.0.0 Ok: queued as\nA u@example.edu quarantined:virus 250" },
    { "S49 where clients cannot come again a list with an owner comes with others, and its owner is the sender of its copies alone", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test> ENVID=x\nS 250\nC RCPT TO:<crew@local.edu>\nS 250 2.1.5\nC RCPT TO:<o@other.edu> NOTIFY=SUCCESS\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned envid=x " CREW(" as owner-crew@local.edu", " as owner-crew@local.edu") " o@other.edu>[other.example.edu]:2525 notify=SUCCESS\nQ stored\nS 250 2.0.0\n" CREW_SPOOLED "\nA o@other.edu spooled 250" },
    { "S49 whichever is named first, and with another such list", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<o@other.edu>\nS 250 2.1.5\nC RCPT TO:<club@local.edu>\nS 250 2.1.5\nC RCPT TO:<crew@local.edu>\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n"
      "K scanned o@other.edu>[other.example.edu]:2525 club@local.edu>w@example.edu>[sink.example.edu]:2525 as owner-club@local.edu club@local.edu>y@example.edu>[sink.example.edu]:2525 as owner-club@local.edu " CREW(" as owner-crew@local.edu", " as owner-crew@local.edu") "\nQ stored\nS 250 2.0.0\n"
      "A o@other.edu spooled 250\nA w@example.edu spooled 250 for club@local.edu\nA y@example.edu spooled 250 for club@local.edu\n" CREW_SPOOLED },
    { "S49 two lists of one owner keep it", false,
      "O profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<club@local.edu>\nS 250 2.1.5\nC RCPT TO:<club@local.edu>\nS 250 2.1.5\nC RCPT TO:<x@gone.edu>\nS 550 5.1.1\nA x@gone.edu refused:route 550\n"
      "C DATA\nS 354\nC x\nC .\nV clean\nK scanned of owner-club@local.edu club@local.edu>w@example.edu>[sink.example.edu]:2525 club@local.edu>y@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\n"
      "A w@example.edu spooled 250 for club@local.edu\nA y@example.edu spooled 250 for club@local.edu" },
    { "S49 a list's own refused address makes way", false,
      READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<owned@local.edu>\nR 550 - no\nS 550\nA u@example.edu refused:next-hop 550 for owned@local.edu\nC RCPT TO:<u@example.edu>\nR 250 - ok\nS 250" },
    { "S49 mail from nobody has no owner", false,
      READY "C MAIL FROM:<>\nS 250\nC RCPT TO:<owned@local.edu>\nR 250 - ok\nS 250\nC RCPT TO:<u@example.edu>\nS 250" },
    { "S49 an alias counts as one recipient", false,
      "O max_recipients=1\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<crew@local.edu>\nR 250 - ok\nS 250\nC RCPT TO:<crew@local.edu>\nS 452 4.5.3 Too many\nA crew@local.edu deferred:recipients 452" },

#define DEAD "R 550 5.1.1 no such a\nR 550 5.1.1 no such b\n"
#define ALL_DEAD                                                                                                                                         \
    DEAD "R 553 5.1.3 no such c\nS 550 5.1.1 no such a\nA a@example.edu refused:next-hop 550 for three@local.edu\nA b@example.edu refused:next-hop 550 for three@local.edu\n"              \
         "A c@example.edu refused:next-hop 553 for three@local.edu\n"
#define THREE "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<three@local.edu>\n"
#define CROWD_AS(n) "C RCPT TO:<crowd-" n "@local.edu> ORCPT=rfc822;" SIXTY SIXTY "@elsewhere.edu\n"
#define THREE_SPOOLED                                                                                                                                    \
    "K scanned three@local.edu>a@example.edu>[sink.example.edu]:2525 three@local.edu>b@example.edu>[sink.example.edu]:2525 "                             \
    "three@local.edu>c@example.edu>[sink.example.edu]:2525\nQ stored\nS 250 2.0.0\n"                                                                    \
    "A a@example.edu spooled 250 for three@local.edu\nA b@example.edu spooled 250 for three@local.edu\nA c@example.edu spooled 250 for three@local.edu"
    { "a list whose addresses are all refused is refused", false,
      "O outside\n" READY THREE ALL_DEAD "C DATA\nS 554 5.5.1\nC RCPT TO:<u@example.edu>\nR 250 - ok\nS 250\nC DATA\nS 354\nC x\nC .\nV clean\nD 250 - ok\n"
      "S 250\nA u@example.edu delivered 250" },
    { "one that lives is asked no further", false,
      "O outside\n" READY THREE "R 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n" THREE_SPOOLED },
    { "a list dead in part goes into the spool", false,
      "O outside\n" READY THREE DEAD "R 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n" THREE_SPOOLED },
    { "a list of which one may come to life is accepted", false,
      "O outside\n" READY THREE DEAD "R 451 4.3.0 later\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n" THREE_SPOOLED },
    { "a list dead as far as its next hop could be asked", false,
      "O outside\n" READY THREE DEAD "R 421 4.7.0 too many errors\nS 450 4.7.0 too many errors\nA a@example.edu deferred:next-hop 450 for three@local.edu\n"
      "A b@example.edu deferred:next-hop 450 for three@local.edu\nA c@example.edu deferred:next-hop 450 for three@local.edu\nC DATA\nS 554 5.5.1" },
    { "a list dead as far as its next hop could be asked, pipelined", false,
      "O outside\nO max_recipients=1\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<three@local.edu>\nC RCPT TO:<x@gone.edu>\nS 250 2.1.0\nR 550 5.1.1 no such a\n"
      "r 451 4.4.2 lost connection\nS 451 4.4.2 lost connection\nA a@example.edu deferred:next-hop 451 for three@local.edu\n"
      "A b@example.edu deferred:next-hop 451 for three@local.edu\nA c@example.edu deferred:next-hop 451 for three@local.edu\n"
      "S 550 5.1.1 <x@gone.edu>\nA x@gone.edu refused:route 550\nC RCPT TO:<u@example.edu>\nR 250 - ok\nS 250 2.1.5" },
    { "a list is asked from another one on, and around", false,
      "O outside\nO asked=1\n" READY THREE "R 550 5.1.1 no such b\nR 553 5.1.3 no such c\n.\nR 550 5.1.1 no such a\nS 550 5.1.1 no such a\n"
      "A a@example.edu refused:next-hop 550 for three@local.edu\nA b@example.edu refused:next-hop 550 for three@local.edu\n"
      "A c@example.edu refused:next-hop 553 for three@local.edu\nC DATA\nS 554 5.5.1" },
    { "a list of which only the one before the first asked lives", false,
      "O outside\nO asked=2\n" READY THREE "R 550 5.1.1 no such c\nR 550 5.1.1 no such a\n.\nR 250 - ok\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n" THREE_SPOOLED },
    { "a list dead as far as its next hop could be asked, from its last on", false,
      "O outside\nO asked=2\n" READY THREE "R 550 5.1.1 no such c\nR 421 4.7.0 too many errors\nS 450 4.7.0 too many errors\n"
      "A a@example.edu deferred:next-hop 450 for three@local.edu\nA b@example.edu deferred:next-hop 450 for three@local.edu\n"
      "A c@example.edu deferred:next-hop 450 for three@local.edu\nC DATA\nS 554 5.5.1" },
    { "a list that nobody could be asked about is accepted, wherever that began", false,
      "O outside\nO asked=2\n" READY THREE "r 451 4.4.1 lost connection\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n" THREE_SPOOLED },
    { "a list that nobody could be asked about is accepted", false,
      "O outside\n" READY THREE "r 451 4.4.1 lost connection\nS 250 2.1.5\nC DATA\nS 354\nC x\nC .\nV clean\n" THREE_SPOOLED },
    { "a dead list that waits for what is before it takes nobody's place: who comes next is asked about at once", false,
      "O max_recipients=2\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@verified.edu>\nC RCPT TO:<three@local.edu>\nS 250 2.1.0\n" DEAD "R 553 5.1.3 no such c\n"
      "C RCPT TO:<y@example.edu>\nR 250 - ok\n.\nZ missing No such user\nS 550 5.1.1\nA u@verified.edu refused:verify 550\nS 550 5.1.1 no such a\n"
      "A a@example.edu refused:next-hop 550 for three@local.edu\nA b@example.edu refused:next-hop 550 for three@local.edu\n"
      "A c@example.edu refused:next-hop 553 for three@local.edu\nS 250 2.1.5" },
    { "lists that fit the spool's list together", false,
      "O profile=handoff\nO crowds\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<crowd-1@local.edu>\nC RCPT TO:<crowd-2@local.edu>\nC RCPT TO:<crowd-3@local.edu>\n"
      "C RCPT TO:<crowd-4@local.edu>\nC RCPT TO:<crowd-5@local.edu>\nC RCPT TO:<crowd-6@local.edu>\nS 250 2.1.0\nS 250 2.1.5\nS 250 2.1.5\nS 250 2.1.5\nS 250 2.1.5\n"
      "S 250 2.1.5\nS 452 4.5.3 Too many recipients\nA crowd-6@local.edu deferred:recipients 452" },
    { "lists that do not, as the client's own names are longer", false,
      "O profile=handoff\nO crowds\n" READY "C MAIL FROM:<a@b.test>\n" CROWD_AS("1") CROWD_AS("2") CROWD_AS("3") CROWD_AS("4") "S 250 2.1.0\nS 250 2.1.5\n"
      "S 250 2.1.5\nS 250 2.1.5\nS 452 4.5.3 Too many recipients\nA crowd-4@local.edu deferred:recipients 452\nC RCPT TO:<u@example.edu>\nS 250 2.1.5\n"
      "C RSET\nS 250\nC MAIL FROM:<a@b.test>\nS 250\n" CROWD_AS("4") "S 250 2.1.5" },
    { "what is pipelined behind a list waits for it", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<three@local.edu>\nC RCPT TO:<x@gone.edu>\nC NOOP\nS 250 2.1.0\n" ALL_DEAD
      "S 550 5.1.1 <x@gone.edu>\nA x@gone.edu refused:route 550\nS 250 2.0.0" },
    { "a list that has no answer yet counts as one recipient", false,
      "O max_recipients=2\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<three@local.edu>\nS 250 2.1.0\n" DEAD "C RCPT TO:<h@hole.edu>\nC RCPT TO:<i@hole.edu>\n"
      "R 550 5.1.1 no such c\nS 550 5.1.1 no such a\nA a@example.edu refused:next-hop 550 for three@local.edu\nA b@example.edu refused:next-hop 550 for three@local.edu\n"
      "A c@example.edu refused:next-hop 550 for three@local.edu\nS 250 2.1.5\nS 250 2.1.5" },
    { "refused lists count as unknown recipients", false,
      "O max_unknown_recipients=1\n" READY THREE ALL_DEAD "C NOOP\nS 421 4.7.0\nX" },
    { "a client that goes while a list is asked about", false, READY THREE "R 550 5.1.1 no such a\nG" },

    { "a virus", false, ONE_DATA MAIL "V bad\nS 550 5.7.1 Message refused: virus Eicar-Test found (id 0\nA u@example.edu refused:virus 550\nC NOOP\nS 250" },
    { "a virus, discarded", false, "O virus_action=discard\n" ONE_DATA MAIL "V bad\nS 250 2.0.0 Ok: queued as\nA u@example.edu discarded:virus 250" },
    { "a virus, for the quarantine: the next hop is given back, and 250 waits for the commit", false,
      "O virus_action=quarantine\n" ONE_DATA MAIL "V bad\n" KEPT_AS("virus") "Q stored\nS 250 2.0.0 Ok: queued as\nA u@example.edu quarantined:virus 250\nC NOOP\nS 250" },
    { "who blocked the sender has it in the quarantine, the others get it", false,
      "O blocks\n" TWO_DATA FROM_MAIL "V clean\n.\nk 1 of a@b.test x@y.test\n" 
      "K scanned u@example.edu>[sink.example.edu]:2525 v@example.edu>[sink.example.edu]:2525 for blocklist\nQ stored\nS 250 2.0.0 Ok: queued as\n"
      "A u@example.edu spooled 250\nA v@example.edu quarantined:blocklist 250" },
    { "or has it discarded, and the answer may come first", false,
      "O blocks\nO spam.block_action=discard\n" TWO_DATA FROM_MAIL "k 0 1 of a@b.test x@y.test\nV clean\nS 250 2.0.0 Ok: queued as\n"
      "A u@example.edu discarded:blocklist 250\nA v@example.edu discarded:blocklist 250" },
    { "of some: the others get it through the spool", false,
      "O blocks\nO spam.block_action=discard\n" TWO_DATA FROM_MAIL "k 0 of a@b.test x@y.test\nV clean\n"
      "K scanned v@example.edu>[sink.example.edu]:2525\nQ stored\nS 250\nA u@example.edu discarded:blocklist 250\nA v@example.edu spooled 250" },
    { "nobody did, or nobody knows in time: it goes its way", false,
      "O blocks\n" TWO_DATA FROM_MAIL "V clean\nk nobody of a@b.test x@y.test\nD 250 2.0.0 ok\nS 250\nA u@example.edu delivered 250\nA v@example.edu delivered 250\n"
      TWO_AGAIN FROM_MAIL "V clean\n.\nk nothing of a@b.test x@y.test\nD 250 2.0.0 ok\nS 250\nA u@example.edu delivered 250\nA v@example.edu delivered 250" },
    { "a virus is a virus, and without a scanner handoff's copy is kept all the same", false,
      "O blocks\nO profile=handoff\nO no-live\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nC DATA\nS 354\n" FROM_MAIL
      "k 0 of a@b.test x@y.test\n" KEPT_AS("blocklist") "Q stored\nS 250\nA u@example.edu quarantined:blocklist 250" },
    { "the client goes while it is asked", false, "O blocks\n" TWO_DATA FROM_MAIL "V clean\nG\nA u@example.edu deferred:client-gone 0\nA v@example.edu deferred:client-gone 0" },
    { "whose list lets it in is said to have it on its way", false,
      "O virus_action=quarantine\n" READY "C MAIL FROM:<>\nS 250\nC RCPT TO:<u@example.edu>\nR 250 - ok\nS 250\nC RCPT TO:<v@example.edu>\nR 250 - ok\nS 250\nC DATA\nS 354\n" MAIL "V bad\n"
      "K unscanned u@example.edu>[sink.example.edu]:2525 for virus v@example.edu>[sink.example.edu]:2525 for virus\nQ stored but the first\nS 250 2.0.0 Ok: queued as\n"
      "A u@example.edu spooled 250\nA v@example.edu quarantined:virus 250" },
    { "a virus, and the quarantine is full", false,
      "O virus_action=quarantine\n" ONE_DATA MAIL "V bad\n" KEPT_AS("virus") "Q full\nS 452 4.3.1\nA u@example.edu deferred:spool-full 452" },
    { "a virus, and no coordinator to keep it: also where clients cannot come again", false,
      "O virus_action=quarantine\nO profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nC DATA\nS 354\n" MAIL "V bad\n" KEPT_AS("virus") "Q unavailable\nS 451 4.3.0\nA u@example.edu deferred:spool-unavailable 451" },
    { "what cannot be scanned, for the quarantine", false,
      "O unscannable_action=quarantine\n" ONE_DATA MAIL "V unscannable\n" KEPT_AS("unscannable") "Q stored\nS 250 2.0.0 Ok: queued as\nA u@example.edu quarantined:unscannable 250" },
    { "a virus from inside has an action of its own", false,
      "O virus_action_outbound=discard\n" ONE_DATA MAIL "V bad\nS 250 2.0.0 Ok: queued as\nA u@example.edu discarded:virus 250" },
    { "S46 what a scan limit was reached with goes on tagged where an operator says so; nobody vouches for it, and a Subject has a tag once", false,
      "O limits_action=tag\n" ONE_DATA MAIL "V limits\nN X-Virus-Status: unknown:limits\nN Subject: [VIRUS?] x\nD 250 2.0.0 ok\nS 250\nA u@example.edu delivered 250\n"
      "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@example.edu>\nR 250 - ok\nS 250\nC DATA\nS 354\nC Subject: Re: =?utf-8?Q?=5BVIRUS=3F=5D?= x\nC\nC .\nV limits\n"
      "F Subject: Re: =?utf-8?Q?=5BVIRUS=3F=5D?= x\\r\\n\\r\\n\nD 250 2.0.0 ok\nS 250\nA u@example.edu delivered 250" },
    { "S46 through the spool, which does not scan it again; other reasons are not meant", false,
      "O limits_action=tag\nO profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nC DATA\nS 354\n" MAIL "V limits\n"
      "K scanned u@example.edu>[sink.example.edu]:2525\nQ stored\nS 250\nA u@example.edu spooled 250\n"
      "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nC DATA\nS 354\n" MAIL "V timeout\nK unscanned u@example.edu>[sink.example.edu]:2525\nQ stored\nS 250\n"
      "A u@example.edu spooled 250" },
    { "a scan limit", false, ONE_DATA MAIL "V limits\nS 550 5.7.1\nA u@example.edu refused:limits 550" },
    { "a scan that took too long", false, ONE_DATA MAIL "V timeout\nS 451 4.3.0\nA u@example.edu deferred:timeout 451" },
    { "an unscannable message without a coordinator is not lost", false,
      "O unscannable_action=quarantine\nO profile=handoff\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\nS 250 2.1.5\nC DATA\nS 354\n" MAIL "V unscannable\n" KEPT_AS("unscannable") "Q unavailable\nS 451 4.3.0\nA u@example.edu deferred:spool-unavailable 451" },
    { "unscannable", false, "O unscannable_action=reject\n" ONE_DATA MAIL "V unscannable\nS 550 5.7.1\nA u@example.edu refused:unscannable 550" },
    { "a verdict that is none", false, ONE_DATA MAIL "V nonsense\nS 451 4.3.0\nA u@example.edu deferred:unknown 451" },
    { "clean before the end is no verdict on the whole", false,
      ONE_DATA "C Subject: x\nV clean\nC more\nC .\nS 451 4.3.0\nA u@example.edu deferred:protocol 451" },
    { "the farm is full", false, ONE_DATA MAIL "B\nS 421 4.7.0 edge.test I'm busy, try again later\nX\nA u@example.edu deferred:busy 421" },
    { "the farm is full before the end", false, ONE_DATA "C x\nB\n.\nC .\nS 421 4.7.0\nX\nA u@example.edu deferred:busy 421" },
    { "no scanner at connect", false, "O no-live\nS 421 4.7.0 edge.test I'm busy, try again later\nX" },
    { "no policy yet", false, "O no-policy\nS 421 4.3.0 edge.test\nX" },
    { "the next hop refuses the message", false,
      ONE_DATA MAIL "V clean\nD 550 5.7.1 spam\nS 550 5.7.1 spam (id 0\nA u@example.edu refused:next-hop 550" },
    { "the next hop defers the message", false, ONE_DATA MAIL "V clean\nD 451 - later\nS 451 4.0.0 later (id 0\nA u@example.edu deferred:next-hop 451" },
    { "the next hop's answer is lost", false,
      ONE_DATA MAIL "V clean\nM 451 4.4.2 lost\nS 451 4.4.2 lost (id 0\nA u@example.edu deferred:maybe-delivered 451" },
    { "the client goes after the hand-over", false, ONE_DATA MAIL "V clean\nG\nA u@example.edu deferred:client-gone 0" },
    { "the client goes after the final dot went to the next hop", false,
      ONE_DATA MAIL "V clean\nE\nG\nD 250 - ok\nA u@example.edu delivered 250" },
    { "the client goes while the message is scanned", false, ONE_DATA MAIL "G\nA u@example.edu deferred:client-gone 0" },
    { "a client that shuts its side down behind the final dot gets its reply", false,
      ONE_DATA MAIL "H\n.\nV clean\nD 250 - ok\nS 250 2.0.0\nX\nA u@example.edu delivered 250" },
    { "a client that shuts its side down behind its commands gets its replies", false,
      READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250\nH\n.\nR 550 5.1.1 no\nS 550 5.1.1\nX\nA u@example.edu refused:next-hop 550" },
    { "an end in the middle of a message is no end of the message", false, ONE_DATA "C x\nH\n.\nX\nA u@example.edu deferred:client-gone 0" },
    { "the client goes in the middle", false, ONE_DATA "C x\nG\nA u@example.edu deferred:client-gone 0" },
    { "the client goes before the message", false, ONE_RCPT "G" },

    { "SIZE over the limit", false, "L max_message_size 100\n" READY "C MAIL FROM:<> SIZE=101\nS 552 5.3.4\nC MAIL FROM:<> SIZE=100\nS 250" },
    { "bytes over the limit: read to the end, then refused", false,
      "L max_message_size 10\n" ONE_DATA "C 0123456789\nC more\nC .\nS 552 5.3.4\nA u@example.edu refused:size 552\nC NOOP\nS 250" },
    { "exactly the limit", false, "L max_message_size 12\n" ONE_DATA "C 0123456789\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "over the budget", false, "L message_memory 4\nL message_disk 4\n" ONE_DATA "C 0123456789\nC .\nS 452 4.3.1\nA u@example.edu deferred:storage 452\nC NOOP\nS 250" },
    { "bare LF in the message", false, ONE_DATA "c a\\nb\\r\\n.\\r\\n\nS 550 5.6.0 Message refused: bare LF not allowed\nA u@example.edu refused:content 550\nC NOOP\nS 250" },
    { "smuggling: LF.CRLF does not end the message", false,
      ONE_DATA "c a\\n.\\r\\nMAIL FROM:<x@y>\\r\\n.\\r\\n\nS 550 5.6.0 Message refused: bare LF\nA u@example.edu refused:content 550\n." },
    { "bare CR and NUL", false, ONE_DATA "c a\\rb\\0\\r\\n.\\r\\n\nS 550 5.6.0 Message refused: bare CR, NUL byte not\nA u@example.edu refused:content 550" },
    { "a line longer than max_text_line", false,
      "O max_text_line=12\n" ONE_DATA "C 0123456789a\nC .\nS 550 5.6.0 Message refused: line too long not allowed\nA u@example.edu refused:content 550\nC NOOP\nS 250" },
    { "lines as long as max_text_line", false,
      "O max_text_line=12\n" ONE_DATA "C 0123456789\nC 0123456789\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "max_text_line is off by itself", false, ONE_DATA "C " OCTETS_512 OCTETS_512 "\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "too many hops", false,
      "O max_hops=2\n" ONE_DATA "C Received: a\nC Received: b\nC  received: folded\nC RECEIVED: c\nC\nC x\nC .\nS 554 5.4.6\nA u@example.edu refused:loop 554" },
    { "just enough hops", false, "O max_hops=2\n" ONE_DATA "C Received: a\nC Received: b\nC\nC Received: x\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "a header that does not end", false, "L max_header_size 20\n" ONE_DATA "C Subject: 0123456789\nC X: y\nC .\nS 552 5.3.4\nA u@example.edu refused:header 552" },

    { "BDAT", false, ONE_RCPT "c BDAT 7 LAST\\r\\nhello\\r\\n\nV clean\nF hello\\r\\n\nD 250 - ok\nS 250 2.0.0 Ok: queued\nA u@example.edu delivered 250" },
    { "BDAT in chunks, dots as they are", false,
      ONE_RCPT "c BDAT 4\\r\\na\\r\\n.\nS 250 2.0.0 Ok: 4 octets\nc BDAT 3\\r\\n\\r\\n.BDAT 0 LAST\\r\\n\nS 250 2.0.0 Ok: 7 octets\nV clean\nF a\\r\\n.\\r\\n.\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "BDAT without a transaction is read and refused", false, READY "c BDAT 6\\r\\nQUIT\\r\\n\nS 503 5.5.1\nC NOOP\nS 250" },
    { "BDAT without a recipient is read and refused", false,
      READY "C MAIL FROM:<>\nC RCPT TO:<u@example.edu>\nS 250\nR 550 5.1.1 no\nS 550\nA u@example.edu refused:next-hop 550\nc BDAT 6 LAST\\r\\nQUIT\\r\\n\nS 554 5.5.1\nC RSET\nS 250" },
    { "DATA after BDAT", false, ONE_RCPT "c BDAT 2\\r\\nxx\nS 250\nC DATA\nS 503 5.5.1 DATA cannot follow BDAT\nC RSET\nS 250\nA u@example.edu deferred:reset 0" },
    { "a chunk over the limit ends the message; those behind it are read", false,
      "L max_message_size 10\n" ONE_RCPT "c BDAT 11\\r\\n0123456789aBDAT 6 LAST\\r\\nQUIT\\r\\n\nS 552 5.3.4\nA u@example.edu refused:size 552\nS 503 5.5.1\nC NOOP\nS 250" },
    { "a BDAT whose size is not known cannot be skipped", false, ONE_RCPT "C BDAT x\nS 501\nX" },
    { "a CR at the end of the last chunk is bare", false, ONE_RCPT "c BDAT 2 LAST\\r\\na\\r\nS 550 5.6.0 Message refused: bare CR\nA u@example.edu refused:content 550" },
    { "a CR at the end of a chunk may go on in the next", false,
      ONE_RCPT "c BDAT 2\\r\\na\\r\nS 250\nc BDAT 1 LAST\\r\\n\\n\nV clean\nF a\\r\\n\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },

    { "commands out of order", false,
      "S 220\nC MAIL FROM:<>\nS 503 5.5.1 Send EHLO first\nC HELO x.test\nS 250\nC RCPT TO:<a@example.edu>\nS 503 5.5.1 Need MAIL first\nC DATA\nS 503 5.5.1 Need MAIL first\n"
      "C MAIL FROM:<>\nS 250\nC MAIL FROM:<>\nS 503 5.5.1 Nested\nC DATA\nS 503 5.5.1 Need RCPT first" },
    { "small talk", false, READY "C VRFY u\nS 252 2.1.5\nC EXPN l\nS 502 5.5.1\nC HELP\nS 214\nC NOOP x\nS 250\nC RSET\nS 250\nC AUTH PLAIN x\nS 502\nC XYZZY\nS 50" },
    { "STARTTLS is not offered without a certificate", false, READY "C STARTTLS\nS 502 5.5.1" },
    { "STARTTLS forgets what was said before", false,
      "O certificate=/x\nS 220\nC HELO x.test\nS 250\nC STARTTLS\nS 220 2.0.0\nC MAIL FROM:<>\nS 503 5.5.1 Send EHLO first\nC EHLO y.test\nS 250-edge.test\nS 250-PIPELINING\nS 250-SIZE\n"
      "S 250-8BITMIME\nS 250-CHUNKING\nS 250-ENHANCEDSTATUSCODES\nS 250-SMTPUTF8\nS 250 DSN\nC STARTTLS\nS 503" },
    { "AUTH is not there where it is off", false, READY "C AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nS 502 5.5.1" },
    { "S17 AUTH in clear is refused unread", false,
      "O certificate=/x\nO auth=offer\nS 220\nC EHLO x.test\nS 250-edge.test\nS 250-PIPELINING\nS 250-SIZE\nS 250-8BITMIME\nS 250-CHUNKING\n"
      "S 250-ENHANCEDSTATUSCODES\nS 250-SMTPUTF8\nS 250-DSN\nS 250 STARTTLS\nC AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nS 538 5.7.11\nC NOOP\nS 250" },
    { "S16 AUTH PLAIN opens the relay", false,
      OFFERED "C AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nI alice wonderland\n.\nU accepted alice@example.edu alice@example.edu\nS 235 2.7.0\n"
      "C AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nS 503 5.5.1\nC MAIL FROM:<bob@elsewhere.test>\nS 250\nC RCPT TO:<x@elsewhere.test>\n"
      "R 250 2.1.5 ok\nS 250\nC DATA\nS 354\nC x\nC .\nV clean\nN with ESMTPSA id\nD 250 2.0.0 ok\nS 250\nA x@elsewhere.test delivered 250" },
    { "S16 without it the relay is closed", false,
      OFFERED "C MAIL FROM:<bob@elsewhere.test>\nS 250\nC RCPT TO:<x@elsewhere.test>\nS 550 5.7.1\nA x@elsewhere.test refused:relay 550" },
    { "AUTH PLAIN and LOGIN with challenges", false,
      OFFERED "C AUTH PLAIN\nS 334 \nC AGFsaWNlAHdvbmRlcmxhbmQ=\nI alice wonderland\nU wrong\nS 535 5.7.8\nC AUTH LOGIN\nS 334 VXNlcm5hbWU6\n"
      "C YWxpY2U=\nS 334 UGFzc3dvcmQ6\nC d29uZGVybGFuZA==\nI alice wonderland\nU accepted alice\nS 235 2.7.0" },
    { "AUTH cancelled, malformed, unknown", false,
      OFFERED "C AUTH LOGIN\nS 334\nC *\nS 501 5.7.0\nC AUTH LOGIN\nS 334\nC HELO x\nS 501 5.5.2\nC AUTH PLAIN =\nS 501 5.5.2\nC AUTH NTLM\nS 504 5.5.4\nC AUTH\nS 501 5.5.4\nC NOOP\nS 250" },
    { "AUTH line that is too long", false, "O max_command_line=512\n" OFFERED "C AUTH LOGIN\nS 334\nc "
      "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
      "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
      "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
      "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
      "\\r\\n\nS 500 5.5.6\nC NOOP\nS 250" },
    { "AUTH not now", false,
      OFFERED "C AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nU limited\nS 454 4.7.0\nC AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nU unavailable\nS 454 4.7.0\n"
      "C AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nU nothing\nS 454 4.7.0" },
    { "AUTH inside a transaction", false, OFFERED "C MAIL FROM:<a@example.edu>\nS 250\nC AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nS 503 5.5.1" },
    { "bytes behind AUTH close the session", true, OFFERED "C AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nC NOOP\nS 554 5.5.0\nX" },
    { "client goes while its password is checked", false, OFFERED "C AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nI alice wonderland\nG" },
    { "S19 MAIL without the AUTH that is required", false,
      "O auth=require\n" SECURED "C MAIL FROM:<alice@example.edu>\nS 530 5.7.0 Authentication\nC AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nU accepted alice\nS 235\n"
      "C MAIL FROM:<alice@example.edu>\nS 250" },
    { "MAIL in clear where AUTH is required", false,
      "O certificate=/x\nO auth=require\nS 220\nC HELO x.test\nS 250\nC MAIL FROM:<alice@example.edu>\nS 530 5.7.0 Must issue a STARTTLS" },
    { "S19 a submission listener requires it by itself", false,
      "O profile=submission\nO certificate=/x\nS 220\nC HELO x.test\nS 250\nC MAIL FROM:<alice@example.edu>\nS 530 5.7.0 Must issue a STARTTLS" },
    { "S19 sender_login_match", false,
      "O sender_login_match=on\n" OFFERED "C AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nU accepted alice alice@example.edu\nS 235\n"
      "C MAIL FROM:<bob@example.edu>\nS 553 5.7.1 <bob@example.edu>\nC MAIL FROM:<Alice@Example.EDU>\nS 250\nC RSET\nS 250\nC MAIL FROM:<>\nS 250\nC RSET\nS 250\n"
      "C MAIL FROM:<x@alice@example.edu>\nS 501\nC MAIL FROM:<alice@example.edu.evil.test>\nS 553" },
    { "sender_login_match by domain", false,
      "O sender_login_match=on\n" OFFERED "C AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nU accepted alice @example.edu\nS 235\n"
      "C MAIL FROM:<bob@example.edu>\nS 250\nC RSET\nS 250\nC MAIL FROM:<bob@sub.example.edu>\nS 553" },
    { "bytes behind STARTTLS close the session", true, "O certificate=/x\nS 220\nC HELO x.test\nS 250\nC STARTTLS\nC NOOP\nS 554 5.5.0\nX" },
    { "bytes behind DATA close the session", true, ONE_RCPT "C DATA\nC Subject: x\nS 554 5.5.0\nX" },
    { "commands behind a DATA that is refused", true, READY "C MAIL FROM:<>\nC DATA\nC NOOP\nS 250\nS 503\nS 250" },
    { "commands behind a DATA without valid recipients", true,
      READY "C MAIL FROM:<>\nC RCPT TO:<u@example.edu>\nC DATA\nC QUIT\nS 250\nR 550 - no\nS 550\nA u@example.edu refused:next-hop 550\nS 554 5.5.1\nS 221\nX" },
    { "bytes behind EHLO close the session", true, "S 220\nC EHLO x\nC MAIL FROM:<>\nS 554 5.5.0\nX" },
    { "a browser", true, "S 220\nC POST / HTTP/1.1\nC Host: x\nS 554 5.5.1\nX" },
    { "too many errors", false, "O max_errors=3\n" READY "C XA\nC XB\nC XC\nC NOOP\nS 50\nS 50\nS 50\nS 421 4.7.0 edge.test Too many errors\nX" },
    { "too many errors of a stranger are written down", false,
      "O outside\nO max_errors=2\n" READY "C XA\nC XB\nC NOOP\nS 50\nS 50\nS 421 4.7.0\nX\nA  refused:protocol 421\n" },
    { "too many commands", false, "L max_commands 3\n" READY "C NOOP\nC NOOP\nC NOOP\nS 250\nS 250\nS 421 4.7.0 edge.test Too many commands\nX" },
    { "a line too long", false, "O max_command_line=512\n" READY "C NOOP 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\nS 500 5.5.2\nC NOOP\nS 250" },
    { "the rest of a line too long is no command, even where the next one is put off", false,
      "O max_command_line=512\n" READY "C MAIL FROM:<s@example.org>\nS 250\n"
      "c RCPT TO:<u@example.edu>\\r\\n" OCTETS_512 "RSET\\r\\nDATA\\r\\n\n.\nR 250 - ok\nS 250\nS 500 5.5.2 Line too long\nS 354\nC x\nC .\n"
      "V clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "a command that ends in a bare LF", false, READY "c NOOP\\nNOOP\\r\\nNOOP\\r\\n\nS 521 5.5.2\nX" },
    { "a client that sends LF only is told at once", false, "S 220\nc EHLO there\\n\nS 521 5.5.2 Lines must end in CRLF\nX" },
    { "a bare LF behind a recipient that is still asked", false,
      READY "C MAIL FROM:<s@example.org>\nS 250\nc RCPT TO:<u@example.edu>\\r\\nNOOP\\nRSET\\r\\nNOOP\\r\\n\n.\nR 250 - ok\nS 250\nS 521 5.5.2\n.\nX" },

    { "a load balancer's client is not the balancer", false,
      "O proxy_from=127.0.0.1\n.\nc PROXY TCP4 127.0.0.2 127.0.0.1 4000 25\\r\\n\nS 220\nC HELO x\nS 250\nC MAIL FROM:<a@b.test>\nS 250\n"
      "C RCPT TO:<u@far.test>\nS 550 5.7.1\nA u@far.test refused:relay 550\nC QUIT\nS 221\nX" },
    { "a load balancer's client has its own rights", false,
      "O outside\nO proxy_from=127.0.0.0/30\nc PROXY TCP4 127.0.0.1 127.0.0.1 4000 25\\r\\n\nS 220\nC HELO x\nS 250\nC MAIL FROM:<a@b.test>\nS 250\n"
      "C RCPT TO:<u@far.test>\nR 250 2.1.5 ok\nS 250\nC QUIT\nS 221\nX" },
    { "a load balancer's client in the trace", false,
      "O proxy_from=127.0.0.1\nc \\r\\n\\r\\n\\0\\r\\nQUIT\\n\\x21\\x21\\x00\\x27\\x20\\x01\\x0d\\xb8\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\x07\\x20\\x01\\x0d\\xb8\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\x01"
      "\\x10\\0\\0\\x19\\x04\\0\\0\n"
      ONE_DATA MAIL "V clean\nN from client.test (unknown [IPv6:2001:db8::7])\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "a load balancer's own session", false,
      "O proxy_from=127.0.0.1\nc PROXY UNKNOWN\\r\\n\nS 220\nC HELO x\nS 250\nC MAIL FROM:<a@b.test>\nS 450 4.7.1\nC QUIT\nS 221\nX" },
    { "a load balancer's own session is not judged", false,
      "O outside\nO proxy_from=127.0.0.2\ne client reject 127.0.0.2\nc PROXY UNKNOWN\\r\\n\nS 220\nC QUIT\nS 221\nX" },
    { "a load balancer that names its own end of the connection", false,
      "O proxy_from=127.0.0.1\nc PROXY TCP4 127.0.0.1 127.0.0.9 0 25\\r\\n\nS 220\nC HELO x\nS 250\nC MAIL FROM:<a@b.test>\nS 450 4.7.1\nC QUIT\nS 221\nX" },
    { "a load balancer that says nothing of a client", false, "O proxy_from=127.0.0.1\nC EHLO client.test\nS 421 4.3.5\nX" },
    { "a load balancer that says nothing", false, "O proxy_from=127.0.0.1\nO proxy_timeout=2s\nT 1500\n.\nT 1000\nS 421 4.4.2\nX" },
    { "a load balancer that only looks whether we are there", false, "O proxy_from=127.0.0.1\n.\nG\n.\nH" },
    { "who is no load balancer has no header", false,
      "O outside\nO proxy_from=127.0.0.1\nS 220\nC PROXY TCP4 127.0.0.1 127.0.0.1 4000 25\nS 500 5.5.2\nC HELO x\nS 250\nC MAIL FROM:<a@b.test>\nS 250\n"
      "C RCPT TO:<u@far.test>\nS 550 5.7.1\nA u@far.test refused:relay 550" },
    { "the banner waits from the header on", false,
      "O proxy_from=127.0.0.1\nO banner_delay=2s\nT 1500\nc PROXY TCP4 127.0.0.2 127.0.0.1 4000 25\\r\\n\nT 1500\n.\nT 1000\nS 220\nC QUIT\nS 221\nX" },
    { "an early talker behind a load balancer", false,
      "O proxy_from=127.0.0.1\nO banner_delay=2s\nc PROXY TCP4 127.0.0.2 127.0.0.1 4000 25\\r\\nEHLO x\\r\\n\nS 554 5.5.1\nX\nA  refused:protocol 554\n" },
    { "a load balancer while we drain", false,
      "O proxy_from=127.0.0.1\nW\n.\nc PROXY TCP4 127.0.0.2 127.0.0.1 4000 25\\r\\n\nS 421 4.3.2\nX" },
    { "TLS behind a load balancer's header", false,
      "O certificate=/x\nO implicit_tls=on\nO proxy_from=127.0.0.1\nc PROXY TCP4 127.0.0.2 127.0.0.1 4000 25\\r\\nHELO x\\r\\n\nS 220\nS 250\nC STARTTLS\nS 503\nC QUIT\nS 221\nX" },
    { "nothing is said in clear where TLS is due", false,
      "O certificate=/x\nO implicit_tls=on\nO proxy_from=127.0.0.1\nW\nc PROXY TCP4 127.0.0.2 127.0.0.1 4000 25\\r\\n\n.\nX" },
    { "nor where the header is wrong", false, "O certificate=/x\nO implicit_tls=on\nO proxy_from=127.0.0.1\nC EHLO x\n.\nX" },
    { "a name is looked up for the client of a load balancer", false,
      "O names\nO proxy_from=127.0.0.1\nT 3000\n.\nc PROXY TCP4 127.0.0.2 127.0.0.1 4000 25\\r\\n\n.\nY host.example\nS 220\nC QUIT\nS 221\nX" },
    { "a peer that is not listed speaks for itself only", false,
      "O xclient_from=127.0.0.9\n" READY "C XCLIENT ADDR=127.0.0.2\nS 550 5.7.0\nC XCLIENT\nS 501\n" "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@far.test>\nR 250 - ok\nS 250" },
    { "XCLIENT is announced to those who are listed", false,
      "O xclient_from=127.0.0.1\nS 220\nC EHLO x\nS 250-edge.test\nS 250-PIPELINING\nS 250-SIZE\nS 250-8BITMIME\nS 250-CHUNKING\nS 250-ENHANCEDSTATUSCODES\n"
      "S 250-SMTPUTF8\nS 250-DSN\nS 250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT" },
    { "XCLIENT: another client's rights", false,
      "O xclient_from=127.0.0.1\n" READY "C XCLIENT ADDR=127.0.0.2\nS 220\nC MAIL FROM:<a@b.test>\nS 503\nC EHLO x\nS 250-\nS 250-\nS 250-\nS 250-\nS 250-\nS 250-\nS 250-\nS 250 DSN\n"
      "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@far.test>\nS 550 5.7.1\nA u@far.test refused:relay 550" },
    { "XCLIENT: the client, whose bytes a proxy passes on, cannot become another", false,
      "O outside\nO xclient_from=127.0.0.2\nS 220\nC XCLIENT ADDR=127.0.0.9 NAME=host.example\nS 220\nC XCLIENT ADDR=127.0.0.1\nS 550 5.7.0\nC XCLIENT LOGIN=boss@example.edu\nS 550 5.7.0\n"
      "C HELO x\nS 250\nC RSET\nS 250\nC XCLIENT ADDR=127.0.0.1\nS 550 5.7.0\nC MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@far.test>\nS 550 5.7.1\nA u@far.test refused:relay 550" },
    { "XCLIENT: from one listed client to another", false,
      "O outside\nO xclient_from=127.0.0.0/8\nS 220\nC XCLIENT ADDR=127.0.0.9 NAME=host.example LOGIN=alice\nS 220\nC XCLIENT ADDR=127.0.0.3\nS 220\nC HELO x\nS 250\n"
      "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@far.test>\nS 550 5.7.1\nA u@far.test refused:relay 550" },
    { "XCLIENT in the trace", false,
      "O xclient_from=127.0.0.1\nO names\nY peer.example\nS 220\nC XCLIENT NAME=Host.Example ADDR=IPV6:2001:db8::7 PROTO=ESMTP HELO=said.example\nS 220\n"
      "C HELO client.test\nS 250 edge.test\n"
      "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\n.\nR 250 2.1.5 ok\nS 250 2.1.5\nC DATA\nS 354\n" MAIL
      "V clean\nN from said.example (host.example [IPv6:2001:db8::7])\nN with ESMTP id\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "XCLIENT: a name that is not told is looked up", false,
      "O xclient_from=127.0.0.1\nO names\nY peer.example\nS 220\nC XCLIENT ADDR=127.0.0.2\n.\nY other.example\nS 220\nC HELO client.test\nS 250\n"
      "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250 2.1.0\n.\nR 250 2.1.5 ok\nS 250 2.1.5\nC DATA\nS 354\n" MAIL
      "V clean\nN from client.test (other.example [127.0.0.2])\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "XCLIENT: an unavailable name is not looked up", false,
      "O xclient_from=127.0.0.1\nO names\nY peer.example\nS 220\nC XCLIENT ADDR=127.0.0.2 NAME=[TEMPUNAVAIL]\nS 220\nC QUIT\nS 221\nX" },
    { "XCLIENT: nobody sends no mail", false,
      "O xclient_from=127.0.0.1\nS 220\nC XCLIENT ADDR=[UNAVAILABLE]\nS 220\nC HELO x\nS 250\nC MAIL FROM:<a@b.test>\nS 450 4.7.1\nC XCLIENT ADDR=127.0.0.1\nS 550 5.7.0" },
    { "XCLIENT in a transaction", false, "O xclient_from=127.0.0.1\n" READY "C MAIL FROM:<a@b.test>\nS 250\nC XCLIENT ADDR=127.0.0.2\nS 503 5.5.1\nC RSET\nS 250\nC XCLIENT ADDR=127.0.0.2\nS 220" },
    { "XCLIENT with a wrong value changes nothing", false,
      "O xclient_from=127.0.0.1\n" READY "C XCLIENT LOGIN=u ADDR=127.0.0.256\nS 501 5.5.4\nC MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@far.test>\nR 250 - ok\nS 250" },
    { "nothing waits behind XCLIENT", true, "O xclient_from=127.0.0.1\n" READY "C XCLIENT ADDR=127.0.0.2\nC HELO x\nS 554 5.5.0\nX" },
    { "XCLIENT while we drain", false, "O xclient_from=127.0.0.1\n" READY "W\nC XCLIENT ADDR=127.0.0.2\nS 421 4.3.2\nX" },
    { "XCLIENT: a login is believed", false,
      "O outside\nO auth=require\nO sender_login_match=on\nO xclient_from=127.0.0.2\nS 220\nC XCLIENT LOGIN=Alice@Example.EDU\nS 220\nC HELO x\nS 250\nC MAIL FROM:<bob@example.edu>\nS 553 5.7.1 <bob@example.edu>: Sender address rejected: not owned by alice@example.edu\n"
      "C MAIL FROM:<alice@example.edu>\nS 250\nC RCPT TO:<u@far.test>\nR 250 - ok\nS 250\nC RSET\nS 250\nC XCLIENT LOGIN=[UNAVAILABLE]\nS 220\nC HELO x\nS 250\nC MAIL FROM:<alice@example.edu>\nS 530 5.7.0" },
    { "XCLIENT: a login in clear is forgotten under TLS", false,
      "O certificate=/x\nO outside\nO xclient_from=127.0.0.2\nS 220\nC XCLIENT LOGIN=alice@example.edu ADDR=127.0.0.3\nS 220\nC HELO x\nS 250\nC STARTTLS\nS 220 2.0.0\nC HELO x\nS 250\n"
      "C MAIL FROM:<alice@example.edu>\nS 250\nC RCPT TO:<u@far.test>\nS 550 5.7.1\nA u@far.test refused:relay 550" },
    { "XCLIENT behind a load balancer is the client's", false,
      "O proxy_from=127.0.0.1\nO xclient_from=127.0.0.1\nc PROXY TCP4 127.0.0.2 127.0.0.1 4000 25\\r\\n\nS 220\nC XCLIENT ADDR=127.0.0.1\nS 550 5.7.0" },
    { "a banner that waits", false, "O banner_delay=2s\n.\nT 1000\n.\nT 1500\nS 220\nC QUIT\nS 221\nX" },
    { "an early talker", false, "O banner_delay=2s\n.\nT 1000\nC EHLO x\nS 554 5.5.1\nX" },
    { "a banner that waits for the client's name", false,
      "O names\n.\nT 500\n.\nY host.example\n" ONE_DATA MAIL "V clean\nN from client.test (host.example [127.0.0.1])\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "a client without a name", false, "O names\nY -\n" ONE_DATA MAIL "V clean\nN (unknown [127.0.0.1])\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },
    { "a name that does not come in time", false, "O names\nO ptr_wait=2s\n.\nT 1500\n.\nT 1000\nS 220\nC QUIT\nS 221\nX" },
    { "who talks while we look for its name is only heard later", false, "O names\nC HELO x\n.\nY a.example\nS 220\nS 250\nC QUIT\nS 221\nX" },
    { "a name is known before the banner is due", false, "O names\nO banner_delay=2s\nY a.example\n.\nT 2500\nS 220\nC QUIT\nS 221\nX" },
    { "a banner is due before the name is known", false, "O names\nO ptr_wait=5s\nO banner_delay=2s\n.\nT 2500\n.\nC QUIT\n.\nY a.example\nS 220\nS 221\nX" },
    { "an early talker whose name is looked for", false, "O names\nO banner_delay=2s\nC EHLO x\nS 554 5.5.1\nX" },
    { "gone before its name is known", false, "O names\nG" },
    { "S43 who is listed is told at RCPT", false,
      "O names\nO outside\nO dnsbl=bl.test\nO contact=help@example.edu\nY a.example\n.\nJ 1 bl.test\nS 220\nC HELO x.test\nS 250\nC MAIL FROM:<a@b.test>\nS 250\n"
      "C RCPT TO:<u@example.edu>\nS 550 5.7.1 Service unavailable; client [127.0.0.2] blocked using bl.test help@example.edu\nA u@example.edu refused:dnsbl 550" },
    { "S38 whatever code refuses a recipient or a message, it says whom to ask", false,
      "O contact=help@example.edu\n" READY "C MAIL FROM:<a@b.test> X=1\nS 555 5.5.4 Parameter not recognized help@example.edu\nC MAIL FROM:<a@b.test>\nS 250\n"
      "C RCPT TO:<x@moved.edu>\nS 521 5.1.6 <x@moved.edu>: Gone elsewhere help@example.edu\nA x@moved.edu refused:route 521\n"
      "C RCPT TO:<x@example.edu>\nR 556 5.1.10 null MX\nS 556 5.1.10 null MX help@example.edu\nA x@example.edu refused:next-hop 556\n"
      "C RCPT TO:<u@example.edu>\nR 250 - ok\nS 250\nC DATA\nS 354\n" MAIL "V clean\nD 571 5.7.1 not you\nS 571 5.7.1 not you (id 0\nA u@example.edu refused:next-hop 571" },
    { "S43 in own words", false,
      "O names\nO outside\nO dnsbl=bl.test\nO dnsbl_text=%s see www.example.edu\nJ 1 bl.test\nY -\nS 220\nC HELO x.test\nS 250\nC MAIL FROM:<a@b.test>\nS 250\n"
      "C RCPT TO:<u@example.edu>\nS 550 5.7.1 Service unavailable; client [127.0.0.2] blocked: %s see www.example.edu\nA u@example.edu refused:dnsbl 550" },
    { "S43 the postmaster hears who is listed wrongly", false,
      "O names\nO outside\nO dnsbl=bl.test\nJ 1 bl.test\nY -\nS 220\nC HELO x.test\nS 250\nC MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<Abuse@example.edu>\n.\nR 250 - ok\nS 250" },
    { "S43 below the threshold", false,
      "O names\nO outside\nO dnsbl=bl.test\nO dnsbl_threshold=3\nJ 2 bl.test\nY -\nS 220\nC HELO x.test\nS 250\nC MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@example.edu>\n.\nR 250 - ok\nS 250" },
    { "S46 who is listed and let in, below the threshold or as configured, has it said", false,
      "O names\nO outside\nO dnsbl=bl.test\nO dnsbl_action=tag\nJ 1 bl.test\nY -\nS 220\nC HELO x.test\nS 250\nC MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@example.edu>\n.\nR 250 - ok\nS 250\n"
      "C DATA\nS 354\n" MAIL "V clean\nN X-Blacklisted: bl.test\nN Subject: [BLACKLISTED] x\nN X-Virus-Scanned: \nD 250 2.0.0 ok\nS 250\nA u@example.edu delivered 250" },
    { "S43 own clients are not looked up", false, "O names\nO dnsbl=bl.test\nY -\nS 220\nC QUIT\nS 221\nX" },
    { "S43 gone before the lists say anything", false, "O names\nO outside\nO dnsbl=bl.test\nY -\nG" },
    { "S43 XCLIENT: the lists are asked about whom it names", false,
      "O xclient_from=127.0.0.2\nO names\nO outside\nO dnsbl=bl.test\nY -\nJ 1 bl.test\nS 220\nC XCLIENT ADDR=127.0.0.9\nY -\n.\nJ 0 \nS 220\nC HELO x.test\nS 250\n"
      "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@example.edu>\n.\nR 250 - ok\nS 250" },
    { "S43 who may have friends is not refused for good", false,
      "O names\nO outside\nO dnsbl=bl.test\nO dnsbl_threshold=2\nJ 2-1 bl.test\nY -\nS 220\nC HELO x.test\nS 250\nC MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<u@example.edu>\n"
      "S 450 4.7.1 Service unavailable\nA u@example.edu deferred:dnsbl 450" },
    { "S43 the banner waits for the lists, too", false, "O names\nO outside\nO dnsbl=bl.test\nO banner_delay=2s\nY -\nT 2100\n.\nJ 0 \nS 220\nC QUIT\nS 221\nX" },
    { "idle", false, "O idle_timeout=5s\n" READY "T 4000\nC NOOP\nS 250\nT 4500\n.\nT 1000\nS 421 4.4.2\nX" },
    { "idle in the middle of a message", false, "O idle_timeout=5s\n" ONE_DATA "C x\nT 6000\nS 421 4.4.2\nX\nA u@example.edu deferred:timeout 421" },
    { "not idle while the scanner works", false, "O idle_timeout=5s\n" ONE_DATA MAIL "T 60000\n.\nV clean\nT 60000\n.\nD 250 - ok\nS 250\nA u@example.edu delivered 250\nT 4000\n.\nT 2000\nS 421\nX" },
    { "a session that is too old ends behind the message that is coming", false,
      "O session_timeout=10s\n" ONE_RCPT "T 9000\n.\nC DATA\nS 354\nC x\nT 2000\n.\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250\nT 200\nS 421 4.4.2\nX" },
    { "a message that comes too slowly", false, "O data_rate_grace=10s\nO min_data_rate=10\n" ONE_DATA "C 0123456789\nT 5000\n.\nC 01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\nT 5500\n.\nC 0\nT 10500\nS 421 4.4.2\nX\nA u@example.edu deferred:too-slow 421" },
    { "slow because the scanner holds it back", false, "O data_rate_grace=10s\nO min_data_rate=1000\n" ONE_DATA "C x\nP 1\nT 9000\nT 9000\n.\nP 0\nT 9000\n.\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250" },

    { "draining: an idle session is told, a message is finished", false,
      ONE_DATA "C x\nW\nT 9000\n.\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250\nT 5000\n.\nT 6000\nS 421 4.3.2\nX" },
    { "draining: how long a session may be idle is configured", false, "O drain_idle=2s\n" ONE_DATA "C x\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250\nW\nT 1500\n.\nT 700\nS 421 4.3.2\nX" },
    { "a session that is too old ends with its recipients named", false, "O session_timeout=10s\n" ONE_RCPT "T 6000\nC NOOP\nS 250\nT 4500\nS 421 4.4.2\nX" },
    { "a session that is too old ends in a message that is refused already", false,
      "L max_message_size 10\nO session_timeout=10s\n" ONE_DATA "C 0123456789\nT 11000\nS 421 4.4.2\nX\nA u@example.edu deferred:timeout 421" },
    { "a session that is too old ends behind the message that comes in chunks", false,
      "O session_timeout=10s\n" ONE_RCPT "T 9000\nc BDAT 3\\r\\nx\\r\\n\nS 250\nT 2000\n.\nc BDAT 3 LAST\\r\\ny\\r\\n\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250\nT 200\nS 421 4.4.2\nX" },
    { "chunks that come too slowly", false,
      "O data_rate_grace=10s\nO min_data_rate=10\n" ONE_RCPT "c BDAT 1\\r\\nx\nS 250\nT 6000\n.\nc BDAT 1\\r\\nx\nS 250\nT 6000\nS 421 4.4.2\nX\nA u@example.edu deferred:too-slow 421" },
    { "a chunk without leave that comes too slowly", false,
      "O data_rate_grace=10s\nO min_data_rate=10\n" READY "c BDAT 1000\\r\\nx\nT 6000\n.\nc x\nT 6000\nS 421 4.4.2\nX" },
    { "a chunk without leave that is too large", false, "L max_message_size 1000\n" READY "C BDAT 100000000\nS 552 5.3.4\nX" },
    { "a session that is too old ends in a chunk without leave", false, "O session_timeout=10s\n" READY "c BDAT 1000\\r\\nx\nT 11000\nS 421 4.4.2\nX" },
    { "QUIT and EHLO between chunks give the message up", false,
      ONE_RCPT "c BDAT 1\\r\\nx\nS 250\nC HELO y.test\nS 250\nA u@example.edu deferred:reset 0\nC MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250\nR 250 - ok\n"
      "S 250\nc BDAT 1\\r\\nx\nS 250\nC QUIT\nS 221\nX\nA u@example.edu deferred:reset 0" },
    { "lines that are no commands are errors, too", false,
      "O max_errors=2\n" READY "c \\0\\r\\n\nS 500\nc \\0\\r\\n\nS 500\nc \\0\\r\\n\nS 421 4.7.0 edge.test Too many errors\nX" },
    { "recipients the next hop does not know are counted", false,
      "O max_unknown_recipients=2\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250\nR 550 5.1.1 no\nS 550\nA u@example.edu refused:next-hop 550\n"
      "C RCPT TO:<v@example.edu>\nR 550 5.1.1 no\nS 550\nA v@example.edu refused:next-hop 550\nC RCPT TO:<w@example.edu>\nS 421 4.7.0 edge.test Too many unknown\nX" },
    { "a list with dead addresses gets through", false,
      "O max_unknown_recipients=2\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250\nR 550 5.1.1 no\nS 550\nA u@example.edu refused:next-hop 550\n"
      "C RCPT TO:<v@example.edu>\nR 250 - ok\nS 250\nC DATA\nS 354\nC x\nC .\nV clean\nD 250 - ok\nS 250\nA v@example.edu delivered 250\n"
      "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nS 250\nR 550 5.1.1 no\nS 550\nA u@example.edu refused:next-hop 550\nC NOOP\nS 250" },
    { "only valid recipients count for max_recipients", false,
      "O max_recipients=1\n" READY "C MAIL FROM:<a@b.test>\nC RCPT TO:<u@example.edu>\nC RCPT TO:<x@gone.edu>\nC RCPT TO:<v@example.edu>\nC RCPT TO:<w@example.edu>\nS 250\n.\n"
      "R 550 5.1.1 no\nS 550 5.1.1\nA u@example.edu refused:next-hop 550\nS 550 5.1.1\nA x@gone.edu refused:route 550\n.\nR 250 - ok\nS 250\nS 452 4.5.3\n"
      "A w@example.edu deferred:recipients 452" },
    { "draining: nobody stays beyond drain_timeout", false, "O edge.drain_timeout=20s\n" ONE_RCPT "W\nT 15000\n.\nT 6000\nS 421 4.3.2\nX" },
};

START_TEST(test_dialogue)
{
    run(dialogues[_i].name, dialogues[_i].dialogue, false);
    if (!dialogues[_i].segments_only)
        run(dialogues[_i].name, dialogues[_i].dialogue, true);
}
END_TEST

/* S64: what a line calls the recipient, and whom the client named, as Postfix's do. */
static const struct {
    const char *dialogue, *line, *never;
} lines[] = {
    { READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<sysadm@local.edu>\nR 250 - ok\nS 250\nC DATA\nS 354\nC x\nC .\nV clean\nD 250 - ok\nS 250\n"
            "A u@example.edu delivered 250 for sysadm@local.edu",
      ": to=<u@example.edu>, orig_to=<sysadm@local.edu>, relay=", NULL },
    { ONE_DATA "C x\nC .\nV clean\nD 250 - ok\nS 250\nA u@example.edu delivered 250", ": to=<u@example.edu>, relay=", "orig_to=" },
    { READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<sysadm@local.edu>\nR 550 5.1.1 no\nS 550\nA u@example.edu refused:next-hop 550 for sysadm@local.edu",
      " from=<a@b.test> to=<sysadm@local.edu> proto=", "to=<u@example.edu>" },
    { READY "C MAIL FROM:<a@b.test>\nS 250\nC RCPT TO:<worse@local.edu>\nS 550\nA worse@local.edu refused:route 550", " to=<worse@local.edu> proto=", "to=<x@gone.edu>" },
    /* one for the RCPT command, not one for each that the list stands for */
    { READY THREE ALL_DEAD, " from=<a@b.test> to=<three@local.edu> proto=", "no such b" },
};

START_TEST(test_log_lines)
{
    char path[] = "/tmp/weir-test-session-XXXXXX", text[8192] = "";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    log_open(&(struct log_options){ .ident = "test", .node = "test", .file = path, .level = LOG_INFO });
    run("a line of the log", lines[_i].dialogue, false);
    log_open(&(struct log_options){ .ident = "test", .node = "test" });
    ck_assert_int_gt(read(fd, text, sizeof text - 1), 0);
    close(fd);
    unlink(path);
    ck_assert_msg(strstr(text, lines[_i].line) != NULL, "%s is not in:\n%s", lines[_i].line, text);
    ck_assert_msg(lines[_i].never == NULL || strstr(text, lines[_i].never) == NULL, "%s is in:\n%s", lines[_i].never, text);
}
END_TEST

static double series(const struct metrics *metrics, const char *name, const char *labels)
{
    for (const struct metric *m = metrics->first; m != NULL; m = m->next)
        if (strcmp(m->name, name) == 0 && strcmp(m->labels, labels) == 0)
            return m->value;
    return -1;
}

/* I9: after any mix of endings, accepted = delivered + discarded. */
START_TEST(test_conservation)
{
    struct play play = { .name = "conservation" };
    doubles_reset();
    begin(&play, &(struct setup){ 0 });
    const char *verdicts[] = { "clean", "bad", "limits", "clean", "timeout", "clean" };
    int codes[] = { 250, 0, 0, 550, 0, 451 };
    say(&play, "HELO x.test\r\n", 13);
    for (int i = 0; i < 6; i++) {
        static const char text[] = "MAIL FROM:<>\r\nRCPT TO:<u@example.edu>\r\nRCPT TO:<v@example.edu>\r\nRCPT TO:<x@hole.edu>\r\n";
        say(&play, text, sizeof text - 1);
        next_hop_answers_rcpt(250, "", "ok", false);
        next_hop_answers_rcpt(250, "", "ok", false);
        doubles_settle(play.base);
        say(&play, "DATA\r\n", 6);
        say(&play, "x\r\n.\r\n", 6);
        verdict(verdicts[i]);
        if (codes[i] != 0)
            next_hop_answers(codes[i], "", "so", false);
        doubles_settle(play.base);
    }
    double accepted = series(&play.metrics, "weir_recipients_accepted_total", "");
    double delivered = series(&play.metrics, "weir_recipients_total", "disposition=\"delivered\"");
    double discarded = series(&play.metrics, "weir_recipients_total", "disposition=\"discarded\"");
    ck_assert_uint_eq(play.server->budget.memory_used + play.server->budget.disk_used, 0); /* I4: all given back */
    ck_assert_double_eq(accepted, 3);
    ck_assert_double_eq(delivered, 2);
    ck_assert_double_eq(discarded, 1);
    ck_assert_double_eq(series(&play.metrics, "weir_messages_total", "direction=\"outbound\",disposition=\"refused\""), 3);
    ck_assert_double_eq(series(&play.metrics, "weir_messages_total", "direction=\"outbound\",disposition=\"deferred\""), 2);

    /* A message that began is counted however it ends: given up, and with the server. */
    static const char begun[] = "MAIL FROM:<>\r\nRCPT TO:<u@example.edu>\r\n";
    say(&play, begun, sizeof begun - 1);
    next_hop_answers_rcpt(250, "", "ok", false);
    doubles_settle(play.base);
    say(&play, "BDAT 1\r\nxRSET\r\n", 15);
    ck_assert_double_eq(series(&play.metrics, "weir_messages_total", "direction=\"outbound\",disposition=\"deferred\""), 3);
    say(&play, begun, sizeof begun - 1);
    next_hop_answers_rcpt(250, "", "ok", false);
    doubles_settle(play.base);
    say(&play, "DATA\r\n", 6);
    server_break_off(play.server);
    ck_assert_double_eq(series(&play.metrics, "weir_messages_total", "direction=\"outbound\",disposition=\"deferred\""), 4);
    ck_assert_ptr_nonnull(strstr(doubles.rows, "u@example.edu deferred:stop 0"));
    ck_assert_uint_eq(doubles.row_policy_epoch, 7);
    ck_assert_str_eq(doubles.row_rule, "mailertable:1");
    end(&play);
    doubles_reset();
}
END_TEST

/* A next hop that hears of three wrong addresses and no more, and half of the list has left: the same try again comes through. */
START_TEST(test_a_list_with_leavers_gets_through)
{
    struct play play = { .name = "leavers" };
    static const char hello[] = "EHLO x.test\r\n";
    unsigned taken = 0, tries = 0;
    doubles_reset();
    begin(&play, &(struct setup){ .outside = true });
    say(&play, hello, sizeof hello - 1);
    for (; tries < 8; tries++) {
        static const char try[] = "RSET\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<leavers@local.edu>\r\n";
        doubles.out_len = 0;
        *doubles.hop_recipients = '\0';
        say(&play, try, sizeof try - 1);
        for (unsigned wrong = 0; next_hop_owes_recipients(); wrong++) {
            const char *asked = doubles.hop_recipients;
            for (const char *space; (space = strchr(asked, ' ')) != NULL && space[1] != '\0';)
                asked = space + 1;
            bool left = strncmp(asked, "left", 4) == 0;
            next_hop_answers_rcpt(wrong == 3 ? 421 : left ? 550 : 250, "", "so", false);
            doubles_settle(play.base);
        }
        char *reply = doubles.out + doubles.out_len - 2;
        while (reply > doubles.out && reply[-1] != '\n')
            reply--;
        ck_assert_msg(strncmp(reply, "450 ", 4) == 0 || strncmp(reply, "250 2.1.5", 9) == 0, "%.*s", (int)doubles.out_len, doubles.out);
        ck_assert(tries > 0 || *reply == '4'); /* begins with the first */
        taken += *reply == '2';
    }
    ck_assert_uint_ge(taken, 3);
    end(&play);
    doubles_reset();
}
END_TEST

/* max_commands is about commands: a message may have any number of chunks, as long as they bring something. */
START_TEST(test_a_message_in_many_chunks)
{
    static const struct {
        unsigned bytes;
        bool ends;
    } chunks[] = { { 1024, false }, { 1023, true } };
    struct play play = { .name = "many chunks" };
    struct setup setup = { .overrides = { "max_recipients=10" }, .override_count = 1, .limits = { "max_commands 5" }, .limit_count = 1 };
    static const char hello[] = "EHLO x.test\r\n", envelope[] = "MAIL FROM:<a@b.test>\r\nRCPT TO:<u@example.edu>\r\n";
    char chunk[1100];
    size_t len = (size_t)snprintf(chunk, sizeof chunk, "BDAT %u\r\n", chunks[_i].bytes);
    memset(chunk + len, 'x', chunks[_i].bytes);
    doubles_reset();
    begin(&play, &setup);
    say(&play, hello, sizeof hello - 1);
    say(&play, envelope, sizeof envelope - 1);
    next_hop_answers_rcpt(250, "2.1.5", "ok", false);
    doubles_settle(play.base);
    for (unsigned i = 0; i < 100 && !doubles.closed; i++) {
        doubles.out_len = 0;
        say(&play, chunk, len + chunks[_i].bytes);
    }
    ck_assert_int_eq(strncmp(doubles.out, "421 4.7.0", 9) == 0, chunks[_i].ends);
    ck_assert_int_eq(strncmp(doubles.out, "250 2.0.0", 9) == 0, !chunks[_i].ends);
    end(&play);
    doubles_reset();
}
END_TEST

/* As many recipients as the spool's list has room for, alone or behind lists, and no more: what is accepted can be stored. */
static const struct {
    unsigned crowds, least, most; /* plain recipients, of about 450 bytes each */
    bool quoted;                  /* the crowds' names */
} full_lists[] = { { 0, 2200, 2500, false }, { 3, 1000, 1500, false }, { 5, 500, 1000, false }, { 4, 500, 1000, true } };

START_TEST(test_recipients_fit_their_list)
{
    struct play play = { .name = "full list" };
    struct setup setup = { .overrides = { "max_recipients=100000", "profile=handoff" }, .override_count = 2, .crowds = true };
    static const char hello[] = "EHLO x.test\r\nMAIL FROM:<a@b.test>\r\n";
    unsigned accepted = 0;
    char rcpt[1024];
    doubles_reset();
    begin(&play, &setup);
    say(&play, hello, sizeof hello - 1);
    for (unsigned i = 0; i < full_lists[_i].crowds; i++)
        say(&play, rcpt, (size_t)snprintf(rcpt, sizeof rcpt, full_lists[_i].quoted ? "RCPT TO:<\"crowd of people, %u\"@local.edu>\r\n"
                                                                                    : "RCPT TO:<crowd-%u@local.edu>\r\n", i + 1));
    ck_assert_ptr_null(strstr(doubles.out, "452"));
    for (;; accepted++) {
        int len = snprintf(rcpt, sizeof rcpt, "RCPT TO:<u%05u@example.edu> ORCPT=rfc822;" SIXTY SIXTY SIXTY SIXTY SIXTY SIXTY "@b.test\r\n", accepted);
        doubles.out_len = 0;
        say(&play, rcpt, (size_t)len);
        if (strncmp(doubles.out, "250 2.1.5", 9) != 0)
            break;
    }
    ck_assert_msg(strncmp(doubles.out, "452 4.5.3", 9) == 0, "%.*s", (int)doubles.out_len, doubles.out);
    ck_assert_msg(accepted >= full_lists[_i].least && accepted <= full_lists[_i].most, "%u", accepted);
    say(&play, "DATA\r\n", 6);
    say(&play, "x\r\n.\r\n", 6);
    verdict("clean");
    doubles_settle(play.base);
    ck_assert(doubles.store != NULL && doubles.stored_fits);
    end(&play);
    doubles_reset();
}
END_TEST

/* A client that pipelines commands and never reads does not make the session grow. */
START_TEST(test_client_that_does_not_read)
{
    struct play play = { .name = "choke" };
    doubles_reset();
    begin(&play, &(struct setup){ 0 });
    doubles.out_len = 0;
    doubles.choke = true;
    static char flood[60 * 8000];
    for (size_t i = 0; i < sizeof flood; i += 6)
        memcpy(flood + i, "NOOP\r\n", 6);
    say(&play, flood, sizeof flood);
    ck_assert_uint_lt(doubles.out_len, sizeof doubles.out);
    end(&play);
    doubles_reset();
}
END_TEST

/* Bytes that have to wait for a next hop are copied: few are taken at once, but for a message. */
START_TEST(test_few_bytes_are_taken_at_once)
{
    struct play play = { .name = "at once" };
    doubles_reset();
    begin(&play, &(struct setup){ 0 });
    static const char text[] = "HELO x.test\r\n";
    static const char envelope[] = "MAIL FROM:<>\r\nRCPT TO:<x@hole.edu>\r\n";
    say(&play, text, sizeof text - 1);
    ck_assert_uint_le(doubles.most, 16 * 1024);
    say(&play, envelope, sizeof envelope - 1);
    ck_assert_uint_le(doubles.most, 16 * 1024);
    say(&play, "DATA\r\n", 6);
    ck_assert_uint_gt(doubles.most, 16 * 1024);
    say(&play, ".\r\n", 3);
    ck_assert_uint_le(doubles.most, 16 * 1024);
    end(&play);
    doubles_reset();
}
END_TEST

START_TEST(test_limits_of_the_door)
{
    struct play play = { .name = "door" };
    struct setup setup = { .overrides = { "sessions_per_client=1" }, .override_count = 1 };
    doubles_reset();
    begin(&play, &setup);
    struct net_conn *first = doubles.conn;
    struct netaddr client;
    int pair[2];
    char reply[128] = "";
    netaddr_parse(&client, "127.0.0.1");
    ck_assert_int_eq(pipe(pair), 0);
    server_accept(server_port(play.server, "relay"), pair[1], &client);
    ck_assert_int_gt(read(pair[0], reply, sizeof reply - 1), 0);
    ck_assert_msg(strncmp(reply, "421 4.7.0 ", 10) == 0, "%s", reply);
    close(pair[0]);
    ck_assert_ptr_eq(doubles.conn, first);
    ck_assert_uint_eq(server_sessions(play.server), 1);
    end(&play);
    doubles_reset();
}
END_TEST

static const struct {
    const char *override, *said; /* NULL: taken */
} configurations[] = {
    { "hostname=mx_1.Example.edu", NULL },
    { "hostname=", NULL },
    { "hostname=two words", "--set hostname=two words: error: hostname = two words: expected the name of a host" },
    { "hostname=a(b)", "expected the name of a host" },
    { "verify_sender=two words@x.example", "verify_sender = two words@x.example: expected a mail address, as verify@example.edu" },
    { "verify_sender=a@b.example> SIZE=1", "expected a mail address" },
    { "listener.listen=relay.example.edu:25", "listen" },
    { "qualify_domain=example.edu", NULL },
    { "qualify_domain=example edu", "qualify_domain = example edu: expected the name of a host" },
    { "proxy_from=192.0.2.4, 2001:db8::/32", NULL },
    { "proxy_from=", NULL },
    { "proxy_from=192.0.2.4/24", "proxy_from: '192.0.2.4/24' has bits set behind the prefix: write 192.0.2.0/24" },
    { "proxy_from=balancer.example.edu", "proxy_from: 'balancer.example.edu' is not an IP address or network" },
    { "xclient_from=192.0.2.300", "xclient_from: '192.0.2.300' is not an IP address or network" },
    { "xclient_from=192.0.2.4, 0.0.0.0/0", "--set: error: [listener \"relay\"] xclient_from: a prefix of length 0 is everybody" },
    { "proxy_from=::/0", "[listener \"relay\"] proxy_from: a prefix of length 0 is everybody" },
    { "implicit_tls=on", "--set: error: [listener \"relay\"] implicit_tls: [tls] has no certificate" },
    { "auth=offer", "--set: error: [listener \"relay\"] auth: [tls] has no certificate" },
    { "auth=require", "auth: [tls] has no certificate" },
    { "profile=submission", ":4: error: [listener \"relay\"] auth: [tls] has no certificate, and AUTH, which submission requires" },
    { "auth=off", NULL },
};

START_TEST(test_configuration)
{
    char path[] = "/tmp/weir-test-session-XXXXXX", *override = strdup(configurations[_i].override);
    struct error why = { "" };
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, config_text, sizeof config_text - 1), (ssize_t)sizeof config_text - 1);
    close(fd);
    struct edge_config *config = edge_config_load(path, &override, 1, &why);
    unlink(path);
    ck_assert_msg((config != NULL) == (configurations[_i].said == NULL), "%s", why.text);
    if (config == NULL)
        ck_assert_msg(strstr(why.text, configurations[_i].said) != NULL, "%s", why.text);
    else
        ck_assert(*config->hostname != '\0');
    edge_config_unref(&config);
    free(override);
}
END_TEST

/* Keys whose work is done by whom doubles stand in for: as they are shipped, and with other values. */
static const struct keys {
    const char *overrides[5];
    uint64_t dnsbl_pause_ms, personal_ms, outbreak_ms;
    bool names_attachments;
    unsigned suspects; /* of a script and a disk */
} keys[] = {
    { { NULL }, 60000, 2000, 2000, true, 2 },
    { { "dnsbl_pause=0", "personal_timeout=100ms", "outbreak_timeout=101ms", "hash_attachments=off", "outbreak_types=script" }, 0, 100, 101, false, 1 },
    { { "dnsbl_pause=1h", "personal_timeout=1m", "outbreak_timeout=59s", "hash_attachments=on", "outbreak_types=" }, 3600000, 60000, 59000, true, 0 },
};

static void on_word(void *arg, enum outbreak_answer answer, const char *name)
{
    (void)arg, (void)answer, (void)name;
}

static void check_outbreak(struct play *play, const struct keys *expected)
{
    static int node;
    struct scan_result scan = { .attachment_count = 2, .attachments = { { .kind = attachment_kind_find("script") }, { .kind = attachment_kind_find("disk") } } };
    struct outbreak_case asked = { .scan = &scan };
    struct outbreak *outbreak = outbreak_new(&play->config->edge, &play->metrics);
    outbreak_set_node(outbreak, (struct node *)&node);
    ck_assert_int_eq(outbreak_concerns(outbreak, &scan), expected->suspects > 0);
    struct outbreak_question *question = outbreak_ask(outbreak, &asked, on_word, NULL);
    ck_assert_uint_eq(doubles.question_ms, expected->outbreak_ms);
    ck_assert_uint_eq(doubles.suspects, expected->suspects);
    outbreak_cancel(&question);
    outbreak_free(&outbreak);
}

START_TEST(test_keys_that_others_obey)
{
    struct play play = { .name = "keys" };
    struct setup setup = { .blocks = true };
    static const char text[] = "HELO x.test\r\n", envelope[] = "MAIL FROM:<a@b.test>\r\nRCPT TO:<u@example.edu>\r\n", mail[] = "From: <x@y.test>\r\n\r\nx\r\n.\r\n";
    while (setup.override_count < 5 && keys[_i].overrides[setup.override_count] != NULL) {
        setup.overrides[setup.override_count] = strdup(keys[_i].overrides[setup.override_count]);
        setup.override_count++;
    }
    doubles_reset();
    begin(&play, &setup);
    ck_assert_uint_eq(doubles.dnsbl_pause_ms, keys[_i].dnsbl_pause_ms);
    say(&play, text, sizeof text - 1);
    say(&play, envelope, sizeof envelope - 1);
    next_hop_answers_rcpt(250, "2.1.5", "ok", false);
    doubles_settle(play.base);
    say(&play, "DATA\r\n", 6);
    say(&play, mail, sizeof mail - 1);
    ck_assert(doubles.scan != NULL && doubles.names_attachments == keys[_i].names_attachments);
    ck_assert_ptr_nonnull(doubles.question);
    ck_assert_uint_eq(doubles.question_ms, keys[_i].personal_ms);
    coordinator_knows_blocks(NULL, 0);
    check_outbreak(&play, &keys[_i]);
    client_goes();
    doubles_settle(play.base);
    end(&play);
    doubles_reset();
    while (setup.override_count > 0)
        free(setup.overrides[--setup.override_count]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tcase = tcase_create("dialogues");
    tcase_add_loop_test(tcase, test_dialogue, 0, (int)(sizeof dialogues / sizeof *dialogues));
    tcase_add_loop_test(tcase, test_log_lines, 0, (int)(sizeof lines / sizeof *lines));
    tcase_add_loop_test(tcase, test_configuration, 0, (int)(sizeof configurations / sizeof *configurations));
    tcase_add_test(tcase, test_conservation);
    tcase_add_test(tcase, test_a_list_with_leavers_gets_through);
    tcase_add_loop_test(tcase, test_a_message_in_many_chunks, 0, 2);
    tcase_add_loop_test(tcase, test_recipients_fit_their_list, 0, (int)(sizeof full_lists / sizeof *full_lists));
    tcase_add_test(tcase, test_client_that_does_not_read);
    tcase_add_test(tcase, test_few_bytes_are_taken_at_once);
    tcase_add_test(tcase, test_limits_of_the_door);
    tcase_add_loop_test(tcase, test_keys_that_others_obey, 0, (int)(sizeof keys / sizeof *keys));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
