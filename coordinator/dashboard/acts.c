/*
 * acts.c - what an operator does from a page, and what he sees of the spool: the same verbs as weirctl's
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "common/memory.h"
#include "coordinator/dashboard/form.h"
#include "coordinator/dashboard/internal.h"

#define FILTERS 7

static int code_of(unsigned status)
{
    return status == 0 ? 200 : status == EX_USAGE || status == EX_DATAERR || status == EX_NOPERM ? 422 : 503;
}

/* What is worth saying of an answer to a verb that went well. */
static void words_of(char *out, size_t cap, const char *verb, const json_t *body)
{
    const json_t *pending = json_object_get(body, "pending"), *changed = json_object_get(body, "changed"), *released = json_object_get(body, "released");
    if (pending != NULL)
        snprintf(out, cap, "Override %lld does nothing until another operator approves it, here or by weirctl override approve.", (long long)json_integer_value(pending));
    else if (changed != NULL)
        snprintf(out, cap, "%lld entries were changed.%s", (long long)json_integer_value(changed),
                 strcmp(verb, "queue release") == 0 && json_integer_value(changed) == 0 ? " What is held for its sender is released with the sender." : "");
    else if (released != NULL)
        snprintf(out, cap, "%lld held messages go on.", (long long)json_integer_value(released));
    else if (strcmp(verb, "drain") == 0)
        snprintf(out, cap, "It finishes what it has and takes nothing new.");
    else if (strcmp(verb, "undrain") == 0)
        snprintf(out, cap, "It takes work again.");
    else
        snprintf(out, cap, "It is done.");
}

static void on_done(void *arg, uint64_t id, unsigned status, const char *error, const char *body)
{
    (void)id;
    struct visit *visit = arg;
    struct page_who who;
    struct text html;
    char words[256];
    json_error_t bad;
    json_t *told = body != NULL ? json_loads(body, JSON_DECODE_ANY, &bad) : NULL;
    visit->dashboard->read_ms = 0; /* who comes back sees what he did */
    bool anyway = status == EX_NOPERM && strcmp(visit->act.verb, "drain") == 0;
    metric_add(status == 0 ? visit->dashboard->done : visit->dashboard->not_done, 1);
    words_of(words, sizeof words, visit->act.verb, told);
    json_decref(told);
    if (anyway) /* another act than the one that was refused */
        random_hex(visit->act.act, PAGE_TOKEN_LEN);
    visit_page_who(visit, &who);
    text_init(&html);
    page_done(&html, &who, &visit->act, status == 0, status == 0 ? words : error != NULL ? error : "it failed", anyway);
    visit_reply_text(&visit, code_of(status), &html);
}

static void ask(struct visit *visit, const char *verb, const char *token, const char *const *values, size_t count, admin_done_handler done)
{
    Weir__AdminRequest request = WEIR__ADMIN_REQUEST__INIT;
    ProtobufCBinaryData args[FILTERS];
    uint8_t act[PAGE_TOKEN_LEN / 2];
    for (size_t i = 0; i < count; i++)
        args[i] = wire_text(values[i]);
    request.verb = wire_text(verb);
    request.n_args = count;
    request.args = args;
    if (token != NULL) {
        for (size_t i = 0; i < sizeof act; i++) {
            char digits[3] = { token[2 * i], token[2 * i + 1], '\0' };
            act[i] = (uint8_t)strtoul(digits, NULL, 16);
        }
        request.act = wire_bytes(act, sizeof act);
    }
    admin_ask(visit->dashboard->options.admin, visit->operator, &request, NULL, done, visit);
}

void act_do(struct visit *visit)
{
    struct page_act *act = &visit->act;
    char force[8];
    size_t len;
    const char *body = visit_body(visit, &len);
    bool fine = form_field(body, len, "verb", act->verb, sizeof act->verb) && form_field(body, len, "target", act->target, sizeof act->target) &&
                form_field(body, len, "act", act->act, sizeof act->act) && strlen(act->act) == PAGE_TOKEN_LEN && strspn(act->act, "0123456789abcdef") == PAGE_TOKEN_LEN;
    if (!fine) {
        visit_words(&visit, 400, "Not done", "That was no form of this dashboard.");
        return;
    }
    if (!form_field(body, len, "reason", act->reason, sizeof act->reason))
        *act->reason = '\0';
    form_field(body, len, "back", act->back, sizeof act->back);
    form_field(body, len, "force", force, sizeof force);
    const char *values[] = { act->verb, act->target, act->reason, strcmp(force, "true") == 0 ? "true" : "false" };
    ask(visit, "dashboard act", act->act, values, sizeof values / sizeof *values, on_done);
}

/* --- the spool --- */

static void on_listed(void *arg, uint64_t id, unsigned status, const char *error, const char *body)
{
    (void)id;
    struct visit *visit = arg;
    struct page_who who;
    struct text html;
    char act[PAGE_TOKEN_LEN + 1];
    json_error_t bad;
    json_t *entries = status == 0 && body != NULL ? json_loads(body, 0, &bad) : NULL;
    visit_page_who(visit, &who);
    random_hex(act, PAGE_TOKEN_LEN);
    text_init(&html);
    page_spool(&html, &who, entries, &visit->filters, status == 0 ? NULL : error != NULL ? error : "it failed", act);
    json_decref(entries);
    visit_reply_text(&visit, code_of(status), &html);
}

void spool_show(struct visit *visit)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(visit->request));
    struct page_filters *filters = &visit->filters;
    const struct {
        const char *name;
        char *out;
        size_t cap;
    } fields[] = { { "id", filters->id, sizeof filters->id },
                   { "from", filters->from, sizeof filters->from },
                   { "to", filters->to, sizeof filters->to },
                   { "state", filters->state, sizeof filters->state },
                   { "destination", filters->destination, sizeof filters->destination } };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        form_field(query != NULL ? query : "", query != NULL ? strlen(query) : 0, fields[i].name, fields[i].out, fields[i].cap);
    const char *values[FILTERS] = { filters->id, filters->from, filters->to, filters->state, "", filters->destination, "100" };
    ask(visit, "queue list", NULL, values, FILTERS, on_listed);
}
