/*
 * probes.c - see probes.h
 */
#include "coordinator/probes/probes.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TRIES_MAX 2 /* of a probe whose connection is lost */
#define DEAD_MAX  2 /* connections in a row without a single probe */
#define LOST_MAX  3 /* probes in a row: the server wants no more of us */

/* ---- addresses ---- */

struct path {
    char *out;
    size_t len;
    bool fine; /* everything it needs is known, and there was room */
};

static void add(struct path *path, const char *bytes, size_t len)
{
    if (len == 0 || path->len + len >= PROBES_PATH_MAX) {
        path->fine = false;
        return;
    }
    memcpy(path->out + path->len, bytes, len);
    path->len += len;
}

static void add_ideographic(struct path *path, const char *domain)
{
    for (; *domain != '\0'; domain++)
        add(path, *domain == '.' ? "\xe3\x80\x82" : domain, *domain == '.' ? 3 : 1);
}

static const char *own_domain(const struct probes *probes)
{
    return probes->options.own[0] != '\0' ? probes->options.own : probes->host;
}

static void add_word(struct path *path, const struct probes *probes, char word, bool spelled)
{
    const char *text = "";
    switch (word) {
    case 'o':
        text = own_domain(probes);
        break;
    case 'x':
        text = probes->options.outside;
        break;
    case 'd':
        add_ideographic(path, probes->options.outside);
        return;
    case 'h':
        text = probes->host;
        break;
    case 'i':
        text = probes->literal;
        break;
    case '0':
        add(path, spelled ? "\\0" : "\0", spelled ? 2 : 1);
        return;
    case 'r':
        text = spelled ? "\\r" : "\r";
        break;
    }
    add(path, text, strlen(text));
}

/* The path with its words filled in; 0: one of them is not known. Not NUL-terminated. */
static size_t fill(const struct probes *probes, const char *template, bool spelled, char out[PROBES_PATH_MAX])
{
    struct path path = { out, 0, true };
    for (; *template != '\0' && path.fine; template++) {
        if (*template == '$')
            add_word(&path, probes, *++template, spelled);
        else
            add(&path, template, 1);
    }
    return path.fine ? path.len : 0;
}

static const char *sender_of(const struct probe *probe)
{
    return probe->sender != NULL ? probe->sender : "<relay-test@$x>";
}

char *probes_spell(const struct probes *probes, const char *path, char out[PROBES_PATH_MAX])
{
    out[fill(probes, path != NULL ? path : "<relay-test@$x>", true, out)] = '\0';
    return out;
}

/* ---- saying ---- */

static void say(struct probes *probes, enum probes_state next, const char *words)
{
    probes->state = next;
    probes->out_len = (size_t)snprintf(probes->out, sizeof probes->out, "%s\r\n", words);
}

static void say_path(struct probes *probes, enum probes_state next, const char *verb, const char *path, size_t len, const char *parameters)
{
    size_t at = (size_t)snprintf(probes->out, sizeof probes->out, "%s", verb);
    memcpy(probes->out + at, path, len); /* it may hold a NUL; PROBES_PATH_MAX and the rest fit */
    probes->out_len = at + len + (size_t)snprintf(probes->out + at + len, sizeof probes->out - at - len, "%s\r\n", parameters);
    probes->state = next;
}

static void say_mail(struct probes *probes)
{
    char path[PROBES_PATH_MAX];
    const struct probe *probe = &probes_table[probes->at];
    size_t len = fill(probes, sender_of(probe), false, path);
    say_path(probes, PROBES_MAIL, "MAIL FROM:", path, len, probe->utf8 ? " SMTPUTF8" : "");
}

static void say_rcpt(struct probes *probes)
{
    char path[PROBES_PATH_MAX];
    size_t len = fill(probes, probes_table[probes->at].recipient, false, path);
    say_path(probes, PROBES_RCPT, "RCPT TO:", path, len, "");
}

/* ---- going on ---- */

static struct probe_outcome *outcome(struct probes *probes)
{
    return &probes->outcomes[probes->at];
}

static void decide(struct probes *probes, enum probe_result result, const char *words)
{
    struct probe_outcome *out = outcome(probes);
    out->result = result;
    snprintf(out->words, sizeof out->words, "%s", words);
    out->words[strcspn(out->words, "\n")] = '\0';
    probes->at++;
    probes->tries = probes->dead = 0;
}

/* Why a probe cannot be asked here; NULL: it can. */
static const char *obstacle(const struct probes *probes, const struct probe *probe)
{
    char path[PROBES_PATH_MAX];
    if (probe->kind == PROBE_CONTROL && !probes->options.control)
        return "not asked for";
    if (probe->utf8 && !probes->utf8)
        return "the server has no SMTPUTF8";
    if (fill(probes, sender_of(probe), false, path) == 0 || fill(probes, probe->recipient, false, path) == 0)
        return "the server's name or an own domain is not known";
    return NULL;
}

static void next_probe(struct probes *probes)
{
    const char *words;
    bool ended = probes->on_connection > 0 && probes_table[probes->at - 1].ends;
    while (probes->at < probes_count && (words = obstacle(probes, &probes_table[probes->at])) != NULL)
        decide(probes, PROBE_LEFT_OUT, words);
    if (probes->at == probes_count || probes->on_connection >= PROBES_PER_CONNECTION || ended) {
        say(probes, PROBES_QUIT, "QUIT");
        return;
    }
    if (probes->on_connection++ > 0) {
        say(probes, PROBES_RESET, "RSET");
    } else {
        probes->unspoken = probes->unspoken || !probes->spoken;
        say_mail(probes);
    }
}

void probes_init(struct probes *probes, const struct probes_options *options)
{
    memset(probes, 0, sizeof *probes);
    probes->options = *options;
}

void probes_connected(struct probes *probes, const struct netaddr *peer)
{
    char text[NETADDR_TEXT_MAX];
    snprintf(probes->literal, sizeof probes->literal, "[%s%s]", peer->family == AF_INET6 ? "IPv6:" : "", netaddr_format(peer, text));
    smtp_reply_parser_init(&probes->parser);
    probes->state = PROBES_GREETING;
    probes->on_connection = 0;
    probes->out_len = 0;
    probes->ask_client = probes->options.client.family != 0;
    probes->spoken = false;
}

const char *probes_output(struct probes *probes, size_t *len)
{
    *len = probes->out_len;
    probes->out_len = 0;
    return probes->out;
}

void probes_give_up(struct probes *probes, const char *why)
{
    while (probes->at < probes_count)
        decide(probes, PROBE_UNCLEAR, why);
    probes->state = PROBES_DONE;
    probes->out_len = 0;
}

void probes_closed(struct probes *probes)
{
    probes->state = probes->at == probes_count ? PROBES_DONE : PROBES_CONNECT;
}

void probes_lost(struct probes *probes, const char *why)
{
    bool asking = probes->state == PROBES_MAIL || probes->state == PROBES_RCPT;
    probes->out_len = 0;
    if (asking && probes->state == PROBES_RCPT && probes_table[probes->at].ends) {
        decide(probes, PROBE_REFUSED, why);
    } else if (asking && ++probes->tries >= TRIES_MAX) {
        decide(probes, PROBE_UNCLEAR, why);
        probes->lost++;
    } else if (!asking && probes->on_connection == 0) {
        probes->dead++;
    }
    if (probes->dead >= DEAD_MAX || probes->lost >= LOST_MAX)
        probes_give_up(probes, why);
    else
        probes_closed(probes);
}

/* ---- hearing ---- */

/* While the connection is still there. */
static void lost_here(struct probes *probes, const char *why)
{
    probes_lost(probes, why);
    if (probes->state == PROBES_CONNECT)
        probes->state = PROBES_CLOSE;
}

static void lost_by(struct probes *probes, const struct smtp_reply *reply)
{
    char why[PROBES_WORDS_MAX];
    snprintf(why, sizeof why, "%d %.*s", reply->code, (int)sizeof why - 8, reply->text);
    lost_here(probes, why);
}

static bool is_name(const char *text, size_t len)
{
    bool dot = false;
    for (size_t i = 0; i < len; i++) {
        bool letter = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z') || (text[i] >= '0' && text[i] <= '9') || text[i] == '-';
        dot = dot || text[i] == '.';
        if (!letter && text[i] != '.')
            return false;
    }
    return dot && len <= PROBES_NAME_MAX && text[0] != '.' && text[len - 1] != '.';
}

/* Whether one of the lines behind the first is XCLIENT with ADDR. */
static bool offers_xclient(const char *text)
{
    for (const char *line = strchr(text, '\n'); line != NULL; line = strchr(line, '\n')) {
        line++;
        size_t len = strcspn(line, "\n");
        for (const char *word = line + 7; strncasecmp(line, "XCLIENT ", 8) == 0 && word < line + len; word++)
            if (strncasecmp(word, " ADDR", 5) == 0 && (word[5] == ' ' || word + 5 == line + len))
                return true;
    }
    return false;
}

static void on_hello(struct probes *probes, const struct smtp_reply *reply)
{
    size_t len = strcspn(reply->text, " \n");
    if (is_name(reply->text, len)) {
        memcpy(probes->host, reply->text, len);
        probes->host[len] = '\0';
    }
    probes->weir = probes->weir || reply->extensions.cluster[0] != '\0';
    probes->utf8 = reply->extensions.smtputf8;
    if (!probes->ask_client || !offers_xclient(reply->text)) {
        next_probe(probes);
        return;
    }
    char address[NETADDR_TEXT_MAX], words[NETADDR_TEXT_MAX + 64];
    const struct netaddr *client = &probes->options.client;
    snprintf(words, sizeof words, "XCLIENT ADDR=%s%s NAME=[UNAVAILABLE]", client->family == AF_INET6 ? "IPV6:" : "", netaddr_format(client, address));
    probes->ask_client = false;
    say(probes, PROBES_XCLIENT, words);
}

/* An answer about the recipient's domain or host, not about who may send there (RFC 3463 3.2, 3.3, 3.5; RFC 7504). */
static bool is_about_the_domain(const struct smtp_reply *reply)
{
    static const char *const codes[] = { "5.1.0", "5.1.1", "5.1.2", "5.1.10" };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(reply->enhanced, codes[i]) == 0)
            return true;
    return reply->code == 556 || strncmp(reply->enhanced, "5.2.", 4) == 0 || strncmp(reply->enhanced, "5.4.", 4) == 0;
}

static enum probe_result result_of(const struct probes *probes, const struct smtp_reply *reply)
{
    const struct probe *probe = &probes_table[probes->at];
    bool at_mail = probes->state == PROBES_MAIL, outside = probe->kind == PROBE_PLAIN || probe->kind == PROBE_OUTSIDE;
    if (reply->code / 100 == 2 && !at_mail)
        return PROBE_ACCEPTED;
    /* As Postfix says it by default (defer_unauth_destination), in case its configuration is about to be mended. */
    if (reply->code == 454 && strcasestr(reply->text, "relay") != NULL)
        return PROBE_REFUSED;
    if (reply->code / 100 != 5 || (reply->code == 530 && strcasestr(reply->text, "TLS") != NULL))
        return PROBE_UNCLEAR;
    if (probe->kind == PROBE_PLAIN && probe->sender == NULL && at_mail)
        return reply->code == 530 ? PROBE_REFUSED : PROBE_UNCLEAR; /* 530: nobody who has not logged in; else it may be about this sender */
    bool syntax = reply->code == 501 || reply->code == 553;
    if (outside && !at_mail && !syntax && probes->options.edge && probes->weir && is_about_the_domain(reply))
        return PROBE_ACCEPTED;
    return probe->kind == PROBE_PLAIN && is_about_the_domain(reply) ? PROBE_UNCLEAR : PROBE_REFUSED;
}

static void on_answer(struct probes *probes, const struct smtp_reply *reply)
{
    struct probe_outcome *out = outcome(probes);
    if (reply->code == 421) {
        lost_by(probes, reply);
        return;
    }
    if (probes->state == PROBES_MAIL && reply->code / 100 == 2) {
        say_rcpt(probes);
        return;
    }
    out->code = reply->code;
    out->at_mail = probes->state == PROBES_MAIL;
    memcpy(out->enhanced, reply->enhanced, sizeof out->enhanced);
    probes->lost = 0;
    decide(probes, result_of(probes, reply), reply->text);
    next_probe(probes);
}

static void on_reply(struct probes *probes, const struct smtp_reply *reply)
{
    bool fine = reply->code / 100 == 2;
    switch (probes->state) {
    case PROBES_GREETING:
    case PROBES_XCLIENT:
        probes->spoken = fine && probes->state == PROBES_XCLIENT;
        if (fine)
            say(probes, PROBES_HELLO, "EHLO weir-relay-test.invalid");
        else if (probes->state == PROBES_XCLIENT && reply->code != 421)
            next_probe(probes); /* we stay who we are */
        else
            lost_by(probes, reply);
        break;
    case PROBES_HELLO:
        if (fine)
            on_hello(probes, reply);
        else if (reply->code / 100 == 5)
            say(probes, PROBES_HELO, "HELO weir-relay-test.invalid");
        else
            lost_by(probes, reply);
        break;
    case PROBES_HELO:
        if (fine)
            next_probe(probes);
        else
            lost_by(probes, reply);
        break;
    case PROBES_MAIL:
    case PROBES_RCPT:
        on_answer(probes, reply);
        break;
    case PROBES_RESET:
        if (fine)
            say_mail(probes);
        else
            probes->state = PROBES_CLOSE;
        break;
    default:
        probes->state = PROBES_CLOSE;
    }
}

size_t probes_input(struct probes *probes, const char *bytes, size_t len)
{
    size_t used = 0;
    if (probes->state == PROBES_CONNECT || probes->state >= PROBES_CLOSE)
        return len;
    enum smtp_reply_status status = smtp_reply_parser_next(&probes->parser, bytes, len, &used);
    if (status == SMTP_REPLY_MORE)
        return used;
    if (status == SMTP_REPLY_BROKEN) {
        lost_here(probes, "what it says is not SMTP");
        return len;
    }
    struct smtp_reply reply = probes->parser.reply;
    smtp_reply_parser_init(&probes->parser);
    on_reply(probes, &reply);
    if (used < len && probes->state < PROBES_CLOSE) { /* it saw two commands in one: nothing on this connection can be matched any more */
        if (probes->state == PROBES_RCPT) /* which was not said yet */
            probes->state = PROBES_MAIL;
        lost_here(probes, "it answers more than it was asked");
    }
    return len;
}

/* ---- judging ---- */

bool probe_shows_open(const struct probes *probes, size_t index)
{
    const struct probe_outcome *any = &probes->outcomes[1];
    if (probes->outcomes[index].result != PROBE_ACCEPTED)
        return false;
    enum probe_kind kind = probes_table[index].kind;
    return kind == PROBE_PLAIN || kind == PROBE_OUTSIDE || (kind == PROBE_LOCAL && any->result == PROBE_REFUSED);
}

static enum probes_verdict judge(char reason[PROBES_REASON_MAX], enum probes_verdict verdict, const char *format, ...) __attribute__((format(printf, 3, 4)));

static enum probes_verdict judge(char reason[PROBES_REASON_MAX], enum probes_verdict verdict, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, PROBES_REASON_MAX, format, args);
    va_end(args);
    return verdict;
}

/* Of a client that the server takes for a stranger. */
static enum probes_verdict judge_stranger(const struct probes *probes, char reason[PROBES_REASON_MAX])
{
    unsigned refused = 0, left_out = 0;
    const struct probe_outcome *control = &probes->outcomes[0];
    for (size_t i = 0; i < probes_count; i++)
        if (probe_shows_open(probes, i))
            return judge(reason, PROBES_OPEN, "%s was accepted: %s", probes_table[i].name, probes->outcomes[i].words);
    for (size_t i = 0; i < probes_count; i++) {
        const struct probe_outcome *one = &probes->outcomes[i];
        if (probes_table[i].kind < PROBE_PLAIN)
            continue;
        if (one->result == PROBE_UNCLEAR || one->result == PROBE_UNTRIED)
            return judge(reason, PROBES_UNKNOWN, "%s has no clear answer: %s", probes_table[i].name, one->words);
        if (one->result == PROBE_ACCEPTED)
            return judge(reason, PROBES_UNKNOWN, "%s was accepted, but so may be every local part of the domain", probes_table[i].name);
        refused += one->result == PROBE_REFUSED;
        left_out += one->result == PROBE_LEFT_OUT;
    }
    /* 530 to MAIL: nobody sends anything without a login. */
    if (control->result == PROBE_REFUSED && !(control->at_mail && control->code == 530))
        return judge(reason, PROBES_UNKNOWN, "this client is refused even for the own domain: %d %s", control->code, control->words);
    if (refused == 0)
        return judge(reason, PROBES_UNKNOWN, "no probe could be asked: %s", probes->outcomes[probes_count - 1].words);
    return judge(reason, PROBES_CLOSED, "%u probes refused, %u left out", refused, left_out);
}

bool probes_spoke(const struct probes *probes)
{
    return probes->spoken && !probes->unspoken;
}

enum probes_verdict probes_judge(const struct probes *probes, bool inside, char reason[PROBES_REASON_MAX])
{
    if (probes->host[0] != '\0' && probes->options.edge && !probes->weir)
        return judge(reason, PROBES_UNKNOWN, "%s answered, which is no edge", probes->host);
    if (inside && !probes_spoke(probes))
        return judge(reason, PROBES_UNKNOWN, "this client is inside, and may relay: ask from an outside address, or be listed in xclient_from");
    return judge_stranger(probes, reason);
}

const char *probes_verdict_text(enum probes_verdict verdict)
{
    static const char *const texts[] = { [PROBES_CLOSED] = "closed", [PROBES_OPEN] = "open", [PROBES_UNKNOWN] = "unknown" };
    return texts[verdict];
}

const char *probe_result_text(enum probe_result result)
{
    static const char *const texts[] = {
        [PROBE_UNTRIED] = "untried", [PROBE_REFUSED] = "refused", [PROBE_ACCEPTED] = "accepted", [PROBE_UNCLEAR] = "unclear", [PROBE_LEFT_OUT] = "left out",
    };
    return texts[result];
}
