/* score.c - see score.h */
#include "coordinator/ctl/score.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include "common/memory.h"
#include "coordinator/ctl/local.h"
#include "coordinator/ctl/views.h"
#include "coordinator/spam_json.h"
#include "proto/wire.h"
#include "scanner/spam/spam.h"
#include "scanner/worker_native.h"

#define NO_ID "00000000000000000000" /* it has none, as nobody took it */

static int failed(int status, const char *words)
{
    fprintf(stderr, "weirctl: %s\n", words);
    return status;
}

char *score_with_crlf(const struct text *file, size_t *len)
{
    char *out = xmalloc(2 * file->len + 1);
    *len = 0;
    for (size_t i = 0; i < file->len; i++) {
        if (file->data[i] == '\n' && (i == 0 || file->data[i - 1] != '\r'))
            out[(*len)++] = '\r';
        out[(*len)++] = file->data[i];
    }
    return out;
}

static struct spam_facts *make_facts(const struct options *options, const char *hostname)
{
    Weir__ScanOpen open = WEIR__SCAN_OPEN__INIT;
    Weir__SpamFacts facts = WEIR__SPAM_FACTS__INIT;
    open.id = wire_text(NO_ID);
    open.client = wire_text(options->arg_count > 1 ? options->args[1] : "127.0.0.1");
    open.sender = wire_text(options->sender != NULL ? options->sender : "");
    open.spam = &facts;
    facts.login = wire_text(options->login != NULL ? options->login : "");
    facts.direction = options->login != NULL ? WEIR__DIRECTION__DIRECTION_OUTBOUND : WEIR__DIRECTION__DIRECTION_INBOUND;
    facts.edge = wire_text(hostname);
    return spam_facts_new(&open);
}

static void ask_native(struct spam_check *check, const char *bytes, size_t len)
{
    static struct packet_facts facts;
    static struct packet_native said;
    if (!spam_check_tells_native(check, &facts))
        return;
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    worker_native_score(native, &facts, NULL, bytes, len, &said, NULL);
    native_free(&native);
    spam_check_take_native(check, &said);
}

static void on_done(void *arg)
{
    event_base_loopbreak(arg);
}

/* ---- what is said ---- */

void score_print(const json_t *said, FILE *out)
{
    size_t i;
    const json_t *one;
    fprintf(out, "score %.2f\n\n", json_number_value(json_object_get(said, "score")));
    json_array_foreach(json_object_get(said, "engines"), i, one)
    {
        const char *state = view_word(one, "state");
        if (strcmp(state, "ok") == 0)
            fprintf(out, "%-8s %.2f\n", view_word(one, "engine"), json_number_value(json_object_get(one, "score")));
        else
            fprintf(out, "%-8s %s\n", view_word(one, "engine"), state);
    }
    if (json_array_size(json_object_get(said, "symbols")) > 0)
        fputs("\n", out);
    json_array_foreach(json_object_get(said, "symbols"), i, one)
        fprintf(out, "%-8s %8.2f  %-28s %s\n", view_word(one, "engine"), json_number_value(json_object_get(one, "weight")), view_word(one, "symbol"), view_word(one, "detail"));
    if (view_word(said, "authentication")[0] != '\0')
        fprintf(out, "\n%s\n", view_word(said, "authentication"));
}

static int ask_engines(const struct options *options, const struct spam_settings *settings, const struct text *file)
{
    struct event_base *base = event_base_new();
    struct metrics metrics;
    size_t len;
    char *bytes = score_with_crlf(file, &len);
    struct spam_facts *facts = make_facts(options, "weirctl");
    metrics_init(&metrics);
    struct spam *spam = spam_new(base, settings, &metrics);
    struct spam_check *check = spam_check_new(spam, &facts, &(struct spam_message){ .bytes = bytes, .fd = -1, .size = len }, on_done, base);
    ask_native(check, bytes, len);
    if (!spam_check_is_done(check))
        event_base_dispatch(base);
    const Weir__SpamResult *result = spam_check_result(check);
    int status = EX_UNAVAILABLE;
    for (size_t i = 0; i < result->n_engines; i++)
        if (result->engines[i]->state == WEIR__SPAM_STATE__SPAM_OK)
            status = EXIT_SUCCESS;
    json_t *said = spam_json(result);
    if (options->json)
        json_dumpf(said, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER), puts("");
    else
        score_print(said, stdout);
    json_decref(said);
    spam_check_free(&check);
    spam_free(&spam);
    metrics_fini(&metrics);
    event_base_free(base);
    free(bytes);
    return status;
}

int score_file(const struct options *options)
{
    struct error why;
    struct spam_settings settings = { 0 };
    struct text file;
    struct netaddr client;
    int status = EX_CONFIG;
    if (options->arg_count > 1 && !netaddr_parse(&client, options->args[1]))
        return failed(EX_USAGE, "CLIENT: expected an IP address, as 192.0.2.1");
    struct config *config = settings_load(options->config_path, options->overrides, options->override_count, &why);
    if (config == NULL)
        return failed(EX_CONFIG, why.text);
    text_init(&file);
    if (!config_fill(config, "spam", NULL, &settings, &why))
        failed(EX_CONFIG, why.text);
    else if (settings.spam_engines.count == 0)
        failed(EX_CONFIG, "[spam] spam_engines names nobody to ask");
    else if (!local_file_read(options->args[0], &file, &why))
        status = failed(EX_NOINPUT, why.text);
    else
        status = ask_engines(options, &settings, &file);
    text_fini(&file);
    config_clear(settings_table("spam"), &settings);
    config_free(&config);
    return status;
}
