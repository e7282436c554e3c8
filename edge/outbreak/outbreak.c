/*
 * outbreak.c - see outbreak.h
 */
#include "edge/outbreak/outbreak.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/attachment_kind.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

#define LOG_MS 10000 /* that nobody answers is logged so often */

struct outbreak {
    struct node *node; /* NULL: none yet */
    unsigned kinds;    /* bits: outbreak_types */
    uint64_t timeout_ms, logged_ms;
    struct metric *answers[OUTBREAK_ANSWERS];
};

struct outbreak_question {
    struct outbreak *owner;
    struct node_question *question;
    outbreak_handler answer;
    void *arg;
};

void outbreak_reload(struct outbreak *outbreak, const struct edge_settings *settings)
{
    outbreak->timeout_ms = settings->outbreak_timeout;
    outbreak->kinds = 0;
    for (size_t i = 0; i < settings->outbreak_types.count; i++)
        outbreak->kinds |= 1u << attachment_kind_find(settings->outbreak_types.items[i]);
}

struct outbreak *outbreak_new(const struct edge_settings *settings, struct metrics *metrics)
{
    static const char *const names[OUTBREAK_ANSWERS] = { "pass", "hold", "block", "none" };
    struct outbreak *outbreak = xcalloc(1, sizeof *outbreak);
    for (int i = 0; i < OUTBREAK_ANSWERS; i++)
        outbreak->answers[i] = metrics_counter(metrics, "weir_edge_outbreak_asked_total", "answer=\"%s\"", names[i]);
    outbreak_reload(outbreak, settings);
    return outbreak;
}

void outbreak_free(struct outbreak **outbreak)
{
    free(*outbreak);
    *outbreak = NULL;
}

void outbreak_set_node(struct outbreak *outbreak, struct node *node)
{
    outbreak->node = node;
}

bool outbreak_concerns(const struct outbreak *outbreak, const struct scan_result *scan)
{
    for (unsigned i = 0; i < scan->attachment_count; i++)
        if (outbreak->kinds >> scan->attachments[i].kind & 1)
            return true;
    return false;
}

/* ---- the answer ---- */

static void count_unanswered(struct outbreak *outbreak)
{
    uint64_t now = clock_ms();
    metric_add(outbreak->answers[OUTBREAK_ANSWER_NONE], 1);
    if (outbreak->logged_ms != 0 && now - outbreak->logged_ms < LOG_MS)
        return;
    outbreak->logged_ms = now;
    log_write(LOG_WARNING, "outbreak: no coordinator says whether an attachment is spreading: what was found clean goes on");
}

static enum outbreak_answer answer_of(const Weir__Answer *answer)
{
    if (answer == NULL || answer->status != WEIR__ANSWER_STATUS__ANSWER_OK || answer->body_case != WEIR__ANSWER__BODY_OUTBREAK_WORD)
        return OUTBREAK_ANSWER_NONE;
    return answer->outbreak_word->action == WEIR__OUTBREAK_ACTION__OUTBREAK_HOLD    ? OUTBREAK_ANSWER_HOLD
           : answer->outbreak_word->action == WEIR__OUTBREAK_ACTION__OUTBREAK_BLOCK ? OUTBREAK_ANSWER_BLOCK
                                                                                    : OUTBREAK_ANSWER_PASS;
}

static void format_name(char out[OUTBREAK_NAME_MAX], enum outbreak_answer answer, const ProtobufCBinaryData *hash)
{
    int len = snprintf(out, OUTBREAK_NAME_MAX, "Weir.%s.", answer == OUTBREAK_ANSWER_BLOCK ? "Blocked" : "Outbreak");
    for (size_t i = 0; i < hash->len && i < 8; i++)
        len += snprintf(out + len, (size_t)(OUTBREAK_NAME_MAX - len), "%02x", hash->data[i]);
}

static void on_answer(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    (void)payloads, (void)count;
    struct outbreak_question *question = arg;
    outbreak_handler handler = question->answer;
    void *handler_arg = question->arg;
    enum outbreak_answer word = answer_of(answer);
    char name[OUTBREAK_NAME_MAX] = "";
    if (word == OUTBREAK_ANSWER_NONE)
        count_unanswered(question->owner);
    else
        metric_add(question->owner->answers[word], 1);
    if (word == OUTBREAK_ANSWER_HOLD || word == OUTBREAK_ANSWER_BLOCK)
        format_name(name, word, &answer->outbreak_word->hash);
    free(question);
    handler(handler_arg, word, name);
}

/* ---- the question ---- */

static size_t tell_attachments(Weir__Attachment out[], Weir__Attachment *list[], const struct outbreak *outbreak, const struct outbreak_case *asked)
{
    size_t count = 0;
    for (unsigned i = 0; asked->scan != NULL && i < asked->scan->attachment_count; i++) {
        const struct scan_attachment *attachment = &asked->scan->attachments[i];
        if (!asked->record && !(outbreak->kinds >> attachment->kind & 1))
            continue;
        list[count] = &out[count];
        weir__attachment__init(list[count]);
        list[count]->hash = wire_bytes(attachment->hash, WIRE_HASH_LEN);
        list[count]->kind = attachment->kind;
        list[count]->size = attachment->size;
        /* Of other kinds it is only written down that they came. */
        list[count]->counts = outbreak->kinds >> attachment->kind & 1;
        count++;
    }
    return count;
}

struct outbreak_question *outbreak_ask(struct outbreak *outbreak, const struct outbreak_case *asked, outbreak_handler answer, void *arg)
{
    Weir__Attachment attachments[WIRE_ATTACHMENTS_MAX], *list[WIRE_ATTACHMENTS_MAX];
    Weir__OutbreakAsk body = WEIR__OUTBREAK_ASK__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    body.id = asked->id;
    body.sender = asked->sender;
    body.client = asked->client;
    body.login = asked->login;
    body.attachments = list;
    body.n_attachments = tell_attachments(attachments, list, outbreak, asked);
    body.signatures = wire_text(asked->scan != NULL ? asked->scan->signatures : "");
    body.held = asked->held;
    body.record = asked->record;
    question.body_case = WEIR__QUESTION__BODY_OUTBREAK_ASK;
    question.outbreak_ask = &body;
    struct outbreak_question *made = xcalloc(1, sizeof *made);
    *made = (struct outbreak_question){ .owner = outbreak, .answer = answer, .arg = arg };
    if (outbreak->node != NULL && node_is_connected(outbreak->node))
        made->question = node_ask(outbreak->node, &question, NULL, 0, outbreak->timeout_ms, on_answer, made);
    if (made->question == NULL) {
        count_unanswered(outbreak);
        free(made);
        return NULL;
    }
    return made;
}

void outbreak_cancel(struct outbreak_question **question)
{
    if (*question != NULL)
        node_question_cancel(&(*question)->question);
    free(*question);
    *question = NULL;
}
