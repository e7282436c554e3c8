/* score.c - see score.h */
#include "coordinator/ctl/score.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include "common/memory.h"
#include "common/score.h"
#include "coordinator/ctl/local.h"
#include "proto/wire.h"
#include "scanner/spam/spam.h"
#include "scanner/worker_native.h"

#define NO_ID "00000000000000000000" /* it has none, as nobody took it */

static int failed(int status, const char *words)
{
    fprintf(stderr, "weirctl: %s\n", words);
    return status;
}

/* As it would come by SMTP. */
static char *with_crlf(const struct text *file, size_t *len)
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
    worker_native_score(native, &facts, bytes, len, &said);
    native_free(&native);
    spam_check_take_native(check, &said);
}

static void on_done(void *arg)
{
    event_base_loopbreak(arg);
}

/* ---- what is said ---- */

static const char *state_name(Weir__SpamState state)
{
    static const char *const names[] = { [WEIR__SPAM_STATE__SPAM_OK] = "ok", [WEIR__SPAM_STATE__SPAM_TIMEOUT] = "timeout", [WEIR__SPAM_STATE__SPAM_ERROR] = "error",
                                         [WEIR__SPAM_STATE__SPAM_PAUSED] = "paused", [WEIR__SPAM_STATE__SPAM_SIZE] = "too large" };
    return names[state];
}

static json_t *text_of(const ProtobufCBinaryData *bytes)
{
    return json_stringn_nocheck((const char *)bytes->data, bytes->len); /* cleaned by the engines' rooms */
}

static void print_json(const Weir__SpamResult *result)
{
    json_t *engines = json_array(), *symbols = json_array();
    for (size_t i = 0; i < result->n_engines; i++)
        json_array_append_new(engines, json_pack("{s:o, s:s, s:f}", "engine", text_of(&result->engines[i]->name), "state", state_name(result->engines[i]->state), "score",
                                                 result->engines[i]->score / 100.0));
    for (size_t i = 0; i < result->n_symbols; i++)
        json_array_append_new(symbols, json_pack("{s:o, s:o, s:f, s:o}", "engine", text_of(&result->symbols[i]->engine), "symbol", text_of(&result->symbols[i]->name),
                                                 "weight", result->symbols[i]->weight / 100.0, "detail", text_of(&result->symbols[i]->detail)));
    json_t *all = json_pack("{s:f, s:o, s:o, s:o}", "score", result->score / 100.0, "engines", engines, "symbols", symbols, "authentication",
                            text_of(&result->authentication));
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    puts("");
    json_decref(all);
}

static void print_table(const Weir__SpamResult *result)
{
    char score[SCORE_TEXT_MAX];
    printf("score %s\n\n", score_format(score, (int32_t)result->score));
    for (size_t i = 0; i < result->n_engines; i++) {
        const Weir__SpamEngine *engine = result->engines[i];
        printf("%-8.*s %s\n", (int)engine->name.len, (const char *)engine->name.data,
               engine->state == WEIR__SPAM_STATE__SPAM_OK ? score_format(score, (int32_t)engine->score) : state_name(engine->state));
    }
    if (result->n_symbols > 0)
        puts("");
    for (size_t i = 0; i < result->n_symbols; i++) {
        const Weir__SpamSymbol *symbol = result->symbols[i];
        printf("%-8.*s %8s  %-28.*s %.*s\n", (int)symbol->engine.len, (const char *)symbol->engine.data, score_format(score, symbol->weight), (int)symbol->name.len,
               (const char *)symbol->name.data, (int)symbol->detail.len, (const char *)symbol->detail.data);
    }
    if (result->authentication.len > 0)
        printf("\n%.*s\n", (int)result->authentication.len, (const char *)result->authentication.data);
}

static int ask_engines(const struct options *options, const struct spam_settings *settings, const struct text *file)
{
    struct event_base *base = event_base_new();
    struct metrics metrics;
    size_t len;
    char *bytes = with_crlf(file, &len);
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
    if (options->json)
        print_json(result);
    else
        print_table(result);
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
