/*
 * quarantine.c - see quarantine.h
 */
#include "coordinator/ctl/quarantine.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include "common/memory.h"
#include "coordinator/ctl/override.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "coordinator/quarantine/subject.h"
#include "coordinator/text.h"
#include "scanner/mime/html.h"

#define CELL_MAX  60
#define ARGS_MAX  9
#define TEXT_MAX  20000 /* bytes of a message's text that are shown */

static long long number(const json_t *object, const char *key)
{
    return (long long)json_number_value(json_object_get(object, key));
}

/* ---- asking ---- */

/* The arguments that say which copies are meant. Returns how many. */
static size_t put_filters(const struct options *options, const char *args[ARGS_MAX])
{
    size_t count = 0;
    args[count++] = options->arg_count > 0 ? options->args[0] : "";
    for (size_t i = 0; i <= FILTER_OLDER; i++)
        args[count++] = options->filters[i] != NULL ? options->filters[i] : "";
    args[count++] = options->reason != NULL ? options->reason : "";
    args[count++] = options->score != NULL ? options->score : "";
    return count;
}

static void add_up(json_t *sum, const json_t *part, const char *name)
{
    json_object_set_new(sum, name, json_integer(json_integer_value(json_object_get(sum, name)) + json_integer_value(json_object_get(part, name))));
}

static json_t *parse(const struct reply *reply)
{
    json_error_t error;
    return json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error);
}

/* Acts are done in parts: the reply becomes that to all of them. */
static void act(const struct options *options, struct requester *requester, struct reply *reply)
{
    const char *args[ARGS_MAX];
    size_t count = put_filters(options, args);
    json_t *flags = json_pack("{s:s, s:b, s:b, s:b}", "why", options->why != NULL ? options->why : "", "dry", (options->given & OPTION_DRY_RUN) != 0, "virus",
                              options->virus, "force", (options->given & OPTION_FORCE) != 0);
    json_t *sum = NULL;
    for (;;) {
        char *words = json_dumps(flags, 0);
        args[count] = words;
        requester_ask(requester, options->verb->name, args, count + 1, NULL, 0, reply);
        free(words);
        json_t *part = reply->status == 0 ? parse(reply) : NULL;
        if (part == NULL) {
            if (sum != NULL) {
                char *why = xasprintf("%lld changed, then: %s", number(sum, "changed"), reply->error != NULL ? reply->error : "the answer is not JSON");
                free(reply->error);
                reply->error = why;
                reply->status = reply->status != 0 ? reply->status : EX_PROTOCOL;
            }
            break;
        }
        if (sum == NULL) {
            sum = json_incref(part);
        } else {
            add_up(sum, part, "changed");
            add_up(sum, part, "infected");
            add_up(sum, part, "held");
        }
        const char *next = json_string_value(json_object_get(part, "next"));
        if (next != NULL)
            json_object_set_new(flags, "after", json_string(next));
        json_decref(part);
        if (next == NULL) {
            json_object_del(sum, "next");
            free(reply->body);
            reply->body = json_dumps(sum, 0);
            break;
        }
        reply_clear(reply);
    }
    json_decref(flags);
    json_decref(sum);
}

void quarantine_ask(const struct options *options, struct requester *requester, struct reply *reply)
{
    const char *verb = options->verb->name, *args[ARGS_MAX];
    char limit[16];
    if (strcmp(verb, "quarantine show") == 0) {
        requester_ask(requester, verb, options->args, 1, NULL, 0, reply);
    } else if (strcmp(verb, "quarantine list") == 0) {
        size_t count = put_filters(options, args);
        snprintf(limit, sizeof limit, "%u", options->limit);
        args[count] = limit;
        requester_ask(requester, verb, args, count + (options->limit > 0), NULL, 0, reply);
    } else {
        act(options, requester, reply);
    }
}

/* ---- bytes ---- */

/* false: said why. *done: bytes that are in the file. */
static bool save_part(const struct options *options, struct requester *requester, int fd, long long *done, bool *whole, int *status, FILE *errors)
{
    struct reply reply;
    char start[24];
    snprintf(start, sizeof start, "%lld", *done);
    const char *args[] = { options->args[0], start, options->why };
    requester_ask(requester, "quarantine raw", args, 3, NULL, 0, &reply);
    json_t *body = reply.status == 0 ? parse(&reply) : NULL;
    size_t len = 0;
    char *bytes = unhex(view_word(body, "data"), &len);
    bool fine = body != NULL && (len > 0 || *done == number(body, "size"));
    *status = reply.status != 0 ? reply.status : EX_PROTOCOL;
    if (!fine) {
        fprintf(errors, "weirctl: %s\n", reply.error != NULL ? reply.error : "the answer has no part of the message");
    } else if (len > 0 && write(fd, bytes, len) != (ssize_t)len) {
        fprintf(errors, "weirctl: %s: %s\n", options->raw, strerror(errno));
        *status = EX_IOERR;
        fine = false;
    }
    *done += (long long)len;
    *whole = *done >= number(body, "size");
    free(bytes);
    json_decref(body);
    reply_clear(&reply);
    return fine;
}

int quarantine_save(const struct options *options, struct requester *requester, FILE *errors)
{
    long long done = 0;
    bool whole = false;
    int status = EXIT_SUCCESS;
    int fd = open(options->raw, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        fprintf(errors, "weirctl: %s: %s\n", options->raw, strerror(errno));
        return EX_CANTCREAT;
    }
    while (!whole && save_part(options, requester, fd, &done, &whole, &status, errors))
        ;
    if (close(fd) != 0 && whole) {
        fprintf(errors, "weirctl: %s: %s\n", options->raw, strerror(errno));
        whole = false;
        status = EX_IOERR;
    }
    if (whole)
        return EXIT_SUCCESS;
    unlink(options->raw);
    return status;
}

/* ---- what is printed of a message ---- */

static void print_clean(struct mime_span span, FILE *out)
{
    struct text clean;
    text_init(&clean);
    text_add_shown(&clean, span.bytes, span.len, SIZE_MAX);
    fputs(clean.data, out);
    text_fini(&clean);
}

static void print_lines(struct mime_span text, FILE *out)
{
    size_t most = text.len < TEXT_MAX ? text.len : TEXT_MAX;
    for (size_t at = 0; at < most;) {
        const char *end = memchr(text.bytes + at, '\n', most - at);
        size_t len = end != NULL ? (size_t)(end - (text.bytes + at)) : most - at;
        size_t shown = len > 0 && text.bytes[at + len - 1] == '\r' ? len - 1 : len;
        fputs("  | ", out);
        print_clean((struct mime_span){ text.bytes + at, shown }, out);
        fputs("\n", out);
        at += len + 1;
    }
    if (most < text.len)
        fputs("  (and more)\n", out);
}

static void print_part(struct mime_parser *parser, const struct mime_part *part, bool *shown, FILE *out)
{
    struct html html;
    if (part->composite)
        return;
    fputs("\npart        ", out);
    print_clean(part->type, out);
    fputs("/", out);
    print_clean(part->subtype, out);
    fprintf(out, ", %zu bytes", part->bytes.len);
    if (part->file_name.len > 0) {
        fputs(", ", out);
        print_clean(part->file_name, out);
    }
    fputs("\n", out);
    if (*shown || part->text.len == 0 || part->file_name.len > 0)
        return;
    *shown = true;
    if (mime_type_is(part, "text", "html")) {
        html_read(parser, part->text, &html);
        print_lines(html.text, out);
    } else {
        print_lines(part->text, out);
    }
}

static void print_message(const char *bytes, size_t len, FILE *out)
{
    bool shown = false;
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    const struct mime_message *message = mime_parse(parser, bytes, len);
    fputs("\nheader\n", out);
    for (uint32_t i = 0; i < message->parts[0].header_count; i++) {
        const struct mime_header *header = &message->headers[message->parts[0].first_header + i];
        fputs("  | ", out);
        print_clean(header->name, out);
        fputs(": ", out);
        print_clean(header->value, out);
        fputs("\n", out);
    }
    for (size_t i = 0; i < message->part_count; i++)
        print_part(parser, &message->parts[i], &shown, out);
    mime_parser_free(&parser);
}

static char *subject_of(struct mime_parser *parser, const json_t *entry)
{
    size_t len;
    char *raw = unhex(view_word(entry, "subject"), &len), *words = subject_decode(parser, raw, len);
    free(raw);
    return words;
}

/* ---- answers ---- */

static const char *score_text(char out[16], const json_t *entry)
{
    const json_t *score = json_object_get(entry, "score");
    if (!json_is_number(score))
        return "";
    snprintf(out, 16, "%.2f", json_number_value(score));
    return out;
}

static const char *state_text(char out[40], const json_t *entry)
{
    snprintf(out, 40, "%s%s", view_word(entry, "state"), *view_word(entry, "hold_by") != '\0' ? ", held" : "");
    return out;
}

void quarantine_print_list(const json_t *list, FILE *out)
{
    static const char *const titles[] = { "SINCE", "COPY", "REASON", ">SCORE", "STATE", ">SIZE", "FROM", "TO", "SUBJECT" };
    const json_t *entry;
    size_t i;
    char when[32], copy[64], score[16], state[40], size[24];
    if (json_array_size(list) == 0) {
        fputs("nothing in the quarantine matches\n", out);
        return;
    }
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    json_array_foreach(list, i, entry)
    {
        char *subject = subject_of(parser, entry);
        snprintf(copy, sizeof copy, "%s/%lld", view_word(entry, "id"), number(entry, "number"));
        snprintf(size, sizeof size, "%lld", number(entry, "size"));
        table_add(table, view_time(when, view_word(entry, "kept_at")));
        table_add(table, copy);
        table_add_clean(table, view_word(entry, "reason"), CELL_MAX);
        table_add(table, score_text(score, entry));
        table_add(table, state_text(state, entry));
        table_add(table, size);
        table_add_clean(table, view_word(entry, "sender"), CELL_MAX);
        table_add_clean(table, view_word(entry, "recipient"), CELL_MAX);
        table_add_clean(table, subject, CELL_MAX);
        free(subject);
    }
    table_print(table, out);
    table_free(&table);
    mime_parser_free(&parser);
}

static void print_fact(const char *title, const json_t *body, const char *key, FILE *out)
{
    const char *word = view_word(body, key);
    if (*word == '\0')
        return;
    fprintf(out, "%-12s", title);
    print_clean((struct mime_span){ word, strlen(word) }, out);
    fputs("\n", out);
}

static void print_copies(const json_t *copies, FILE *out)
{
    static const char *const titles[] = { ">COPY", "TO", "STATE", "REASON", ">SCORE", "SINCE", "BY", "WHY" };
    const json_t *copy;
    size_t i;
    char when[32], score[16], state[40], place[24];
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    fputs("\n", out);
    json_array_foreach(copies, i, copy)
    {
        bool held = *view_word(copy, "hold_by") != '\0';
        char *reason = xasprintf("%s %s", view_word(copy, "reason"), view_word(copy, "signature"));
        snprintf(place, sizeof place, "%lld", number(copy, "number"));
        table_add(table, place);
        table_add_clean(table, view_word(copy, "recipient"), CELL_MAX);
        table_add(table, state_text(state, copy));
        table_add_clean(table, reason, CELL_MAX);
        table_add(table, score_text(score, copy));
        table_add(table, view_time(when, view_word(copy, "changed_at")));
        table_add_clean(table, view_word(copy, held ? "hold_by" : "changed_by"), CELL_MAX);
        table_add_clean(table, view_word(copy, held ? "hold_why" : "why"), CELL_MAX);
        free(reason);
    }
    table_print(table, out);
    table_free(&table);
}

static void print_events(const json_t *events, FILE *out)
{
    static const char *const titles[] = { "TIME", "WHAT", ">COPIES", "BY", "WHY" };
    const json_t *event;
    size_t i;
    char when[32], amount[24];
    if (json_array_size(events) == 0)
        return;
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    fputs("\n", out);
    json_array_foreach(events, i, event)
    {
        snprintf(amount, sizeof amount, "%lld", number(event, "recipients"));
        table_add(table, view_time(when, view_word(event, "at")));
        table_add(table, view_word(event, "what"));
        table_add(table, amount);
        table_add_clean(table, view_word(event, "who"), CELL_MAX);
        table_add_clean(table, view_word(event, "reply"), CELL_MAX);
    }
    table_print(table, out);
    table_free(&table);
}

void quarantine_print_one(const json_t *body, FILE *out)
{
    char when[32];
    size_t len;
    const json_t *copies = json_object_get(body, "copies");
    fprintf(out, "id          %s\narrived     %s\nsize        %lld\nfrom        <", view_word(body, "id"), view_time(when, view_word(body, "arrived_at")),
            number(body, "size"));
    print_clean((struct mime_span){ view_word(body, "sender"), strlen(view_word(body, "sender")) }, out);
    fputs(">\n", out);
    print_fact("message-id", body, "message_id", out);
    print_fact("client", body, "client", out);
    print_fact("helo", body, "helo", out);
    print_fact("listener", body, "listener", out);
    print_fact("verdict", body, "verdict", out);
    print_fact("engine", body, "engine", out);
    print_fact("symbols", json_array_get(copies, 0), "symbols", out);
    print_copies(copies, out);
    print_events(json_object_get(body, "events"), out);
    char *bytes = unhex(view_word(body, "body"), &len);
    if (len > 0)
        print_message(bytes, len, out);
    else
        fputs("\nits body is not kept any more\n", out);
    free(bytes);
}

void quarantine_print_act(const json_t *body, FILE *out)
{
    long long changed = number(body, "changed"), infected = number(body, "infected"), held = number(body, "held");
    if (override_print_pending(body, out))
        return;
    fprintf(out, "%lld %s%s", changed, changed == 1 ? "copy" : "copies", json_is_true(json_object_get(body, "dry")) ? " would be changed (dry run)" : " changed");
    if (infected > 0)
        fprintf(out, "; %lld with a virus or not scanned left alone: --virus means those, too", infected);
    if (held > 0)
        fprintf(out, "; %lld on legal hold left alone", held);
    fputs("\n", out);
}
