/*
 * cases.c - see cases.h
 */
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "common/policy/lines.h"
#include "common/policy/mailertable.h"
#include "coordinator/ctl/cases.h"
#include "coordinator/ctl/views.h"
#include "coordinator/text.h"
#include "edge/session/relay.h"

#define WORDS_MAX 64

enum { CLIENT, LOGIN, SENDER, RECIPIENT, ARROW, EXPECTED }; /* words of a line */

struct answered { /* what the policy says to a case */
    json_t *body;        /* NULL: not an address, so 501 */
    const json_t *reply; /* in it; NULL: none, so 250 */
    int code;
    char enhanced[12];
    struct error why;
};

/* ---- asking ---- */

static const char *unless_dash(const char *word)
{
    return strcmp(word, "-") == 0 ? NULL : word;
}

/* What the client hears where it is refused. An alias for several is where all of them are, and the first one says how, of those that are refused for now
 * where there is one: as edge/session/recipients.c decides. */
static const json_t *refusal(const json_t *body)
{
    size_t i;
    const json_t *target, *refused = NULL, *reply = json_object_get(body, "reply");
    if (json_is_object(reply))
        return reply;
    json_array_foreach(json_object_get(body, "targets"), i, target)
    {
        reply = json_object_get(target, "reply");
        if (!json_is_object(reply))
            return NULL;
        if (refused == NULL || (json_integer_value(json_object_get(reply, "code")) < 500 && json_integer_value(json_object_get(refused, "code")) >= 500))
            refused = reply;
    }
    return refused;
}

static struct answered answer(const struct explained_policy *policy, char *const *words, int64_t now)
{
    struct answered out = { .code = 250 };
    const struct explained_client client = { .address = words[CLIENT], .login = unless_dash(words[LOGIN]), .sender = unless_dash(words[SENDER]) };
    out.body = explain_relay(policy, &client, words[RECIPIENT], now, &out.why);
    out.reply = refusal(out.body);
    if (out.body == NULL)
        out.code = 501;
    else if (out.reply != NULL)
        out.code = (int)json_integer_value(json_object_get(out.reply, "code"));
    snprintf(out.enhanced, sizeof out.enhanced, "%s", view_word(out.reply, "enhanced"));
    return out;
}

/* Whom the recipient stands for: as many as fit. Borrowed. */
static size_t targets_of(const json_t *body, const char **out)
{
    size_t i, count = 0;
    const json_t *target;
    if (strcmp(view_word(body, "result"), "expand") != 0) {
        out[count++] = *view_word(body, "stands_for") != '\0' ? view_word(body, "stands_for") : view_word(body, "recipient");
        return count;
    }
    json_array_foreach(json_object_get(body, "targets"), i, target)
    {
        if (count < WORDS_MAX)
            out[count++] = *view_word(target, "stands_for") != '\0' ? view_word(target, "stands_for") : view_word(target, "recipient");
    }
    return count;
}

static bool has_address(const char *const *addresses, size_t count, const char *address)
{
    char asked[SMTP_ADDRESS_MAX], known[SMTP_ADDRESS_MAX];
    relay_address_ascii(asked, address);
    for (size_t i = 0; i < count; i++) {
        relay_address_ascii(known, addresses[i]);
        if (strcmp(known, asked) == 0)
            return true;
    }
    return false;
}

static bool stands_for(const json_t *body, const char *const *wanted, size_t count)
{
    const char *targets[WORDS_MAX];
    size_t found = targets_of(body, targets);
    for (size_t i = 0; i < count; i++)
        if (!has_address(targets, found, wanted[i]))
            return false;
    for (size_t i = 0; i < found; i++)
        if (!has_address(wanted, count, targets[i]))
            return false;
    return true;
}

static bool goes_by(const json_t *body, const struct mailer *route)
{
    const json_t *hop = json_object_get(body, "next_hop");
    if (route->kind == ROUTE_DISCARD)
        return strcmp(view_word(body, "result"), "discard") == 0;
    return json_is_object(hop) && strcmp(view_word(hop, "host"), route->host) == 0 && json_integer_value(json_object_get(hop, "port")) == route->port &&
           json_is_true(json_object_get(hop, "mx")) == route->mx;
}

static bool is_code(const char *word)
{
    return strspn(word, "0123456789") == 3 && word[3] == '\0' && strchr("245", word[0]) != NULL;
}

static bool compare_route(const struct answered *answered, char *expected, bool *holds)
{
    struct domain_spellings made = { 0 };
    struct mailer route;
    struct error why;
    bool good = mailer_parse(&route, expected, &made, &why) && route.kind != ROUTE_ERROR;
    *holds = good && answered->code == 250 && goes_by(answered->body, &route);
    domain_spellings_fini(&made);
    return good;
}

/* false: the line says nothing that could be expected (why), else *holds. */
static bool compare(const struct answered *answered, char **expected, size_t count, bool *holds, struct error *why)
{
    const char *word = expected[0];
    if (count == 1 && strcmp(word, "accept") == 0) {
        *holds = answered->code == 250;
    } else if (count == 1 && strcmp(word, "refuse") == 0) {
        *holds = answered->code != 250;
    } else if (count <= 2 && is_code(word)) {
        *holds = answered->code == atoi(word) && (count == 1 || strcmp(answered->enhanced, expected[1]) == 0);
    } else if (count > 1 && strcmp(word, "to") == 0) {
        *holds = answered->code == 250 && stands_for(answered->body, (const char *const *)expected + 1, count - 1);
    } else if (count != 1 || !compare_route(answered, expected[0], holds)) {
        error_set(why, "what is expected is accept, refuse, a code as 550 or 550 5.7.1, a route as smtp:[host]:port or discard:, or: to ADDRESS...");
        return false;
    }
    return true;
}

/* ---- telling ---- */

static void add_route(struct text *out, const json_t *body)
{
    const json_t *hop = json_object_get(body, "next_hop");
    const char *targets[WORDS_MAX];
    if (json_is_object(hop)) {
        bool mx = json_is_true(json_object_get(hop, "mx"));
        text_printf(out, " smtp:%s%s%s:%d", mx ? "" : "[", view_word(hop, "host"), mx ? "" : "]", (int)json_integer_value(json_object_get(hop, "port")));
    } else if (strcmp(view_word(body, "result"), "discard") == 0) {
        text_puts(out, " discard:");
    }
    if (strcmp(view_word(body, "result"), "expand") != 0 && *view_word(body, "stands_for") == '\0')
        return;
    text_puts(out, " to");
    size_t count = targets_of(body, targets);
    for (size_t i = 0; i < count; i++)
        text_printf(out, " %s", targets[i]);
}

/* It quotes what was asked, and may have cut that within a character. */
static void add_why(struct text *out, const struct error *why)
{
    text_puts(out, " ");
    text_add_clean(out, why->text, strlen(why->text), SIZE_MAX);
}

static json_t *failure(const char *name, unsigned line, const char *asked, const char *expected, const struct answered *answered)
{
    struct text said, where;
    text_init(&said);
    text_init(&where);
    text_printf(&said, "%d", answered->code);
    if (answered->body == NULL)
        add_why(&said, &answered->why);
    else if (answered->reply != NULL)
        text_printf(&said, " %s %s", answered->enhanced, view_word(answered->reply, "text"));
    else
        add_route(&said, answered->body);
    text_add_clean(&where, name, strlen(name), SIZE_MAX);
    text_printf(&where, ":%u", line);
    json_t *out = json_pack("{s:s, s:s, s:s, s:s}", "line", where.data, "case", asked, "expected", expected, "answer", said.data), *rules = json_array(), *rule;
    size_t i;
    json_array_foreach(json_object_get(answered->body, "decided_by"), i, rule)
        json_array_append_new(rules, json_string(view_word(rule, "rule")));
    json_object_set_new(out, "decided_by", rules);
    text_fini(&where);
    text_fini(&said);
    return out;
}

/* ---- the file ---- */

static size_t split(char *text, char **words)
{
    size_t count = 0;
    for (char *word; (word = strsep(&text, " \t")) != NULL;)
        if (*word != '\0' && count < WORDS_MAX)
            words[count++] = word;
    return count;
}

static char *join(char *const *words, size_t count)
{
    char *out = xstrdup("");
    for (size_t i = 0; i < count; i++) {
        char *more = xasprintf("%s%s%s", out, i > 0 ? " " : "", words[i]);
        free(out);
        out = more;
    }
    return out;
}

static bool run_case(const struct explained_policy *policy, const char *name, char *text, unsigned line, int64_t now, json_t *failed, struct error *why)
{
    char *words[WORDS_MAX];
    struct netaddr client;
    size_t count = split(text, words);
    bool holds = false;
    if (count <= EXPECTED || strcmp(words[ARROW], "->") != 0) {
        error_set(why, "write CLIENT LOGIN SENDER RECIPIENT -> EXPECTED; LOGIN and SENDER may be -");
        return false;
    }
    if (!netaddr_parse(&client, words[CLIENT])) {
        error_set(why, "'%.80s' is not an IP address: write 192.0.2.7 or 2001:db8::7", words[CLIENT]);
        return false;
    }
    char *asked = join(words, ARROW), *expected = join(words + EXPECTED, count - EXPECTED); /* comparing edits the words */
    struct answered answered = answer(policy, words, now);
    bool fine = compare(&answered, words + EXPECTED, count - EXPECTED, &holds, why);
    if (fine && !holds)
        json_array_append_new(failed, failure(name, line, asked, expected, &answered));
    json_decref(answered.body);
    free(asked);
    free(expected);
    return fine;
}

/* What is not text could be compared, but not told: failures are JSON. */
static bool is_text(const char *name, const char *text, size_t len, struct error *why)
{
    size_t valid = text_valid_prefix(text, len);
    unsigned line = 1;
    for (size_t i = 0; i < valid; i++)
        line += text[i] == '\n';
    if (valid < len)
        error_set(why, "%s:%u: error: the line is not UTF-8", name, line);
    return valid == len;
}

json_t *cases_run(const struct explained_policy *policy, const char *name, char *text, size_t len, int64_t now, struct error *why)
{
    struct lines lines;
    struct error reason;
    enum lines_status status;
    char *one;
    unsigned line = 0, count = 0;
    if (!is_text(name, text, len, why))
        return NULL;
    json_t *failed = json_array();
    lines_init(&lines, text, len);
    while ((status = lines_next(&lines, &one, &line, &reason)) == LINES_LINE) {
        if (!run_case(policy, name, one, line, now, failed, &reason))
            break;
        count++;
    }
    if (status == LINES_END)
        return json_pack("{s:i, s:o}", "cases", (int)count, "failed", failed);
    error_set(why, "%s:%u: error: %s", name, line, reason.text);
    json_decref(failed);
    return NULL;
}

void cases_print(const json_t *body, FILE *out)
{
    size_t i, k;
    const json_t *one, *rule, *failed = json_object_get(body, "failed");
    json_array_foreach(failed, i, one)
    {
        fprintf(out, "%s: %s: expected %s, got %s", view_word(one, "line"), view_word(one, "case"), view_word(one, "expected"), view_word(one, "answer"));
        json_array_foreach(json_object_get(one, "decided_by"), k, rule)
            fprintf(out, "%s%s", k == 0 ? " (" : ", ", json_string_value(rule));
        fputs(json_array_size(json_object_get(one, "decided_by")) > 0 ? ")\n" : "\n", out);
    }
    fprintf(out, "%d cases, %zu not as expected\n", (int)json_integer_value(json_object_get(body, "cases")), json_array_size(failed));
}
