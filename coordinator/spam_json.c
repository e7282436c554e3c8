/* spam_json.c - see spam_json.h */
#include "coordinator/spam_json.h"
#include "coordinator/text.h"

static const char *state_name(Weir__SpamState state)
{
    static const char *const names[] = { [WEIR__SPAM_STATE__SPAM_OK] = "ok", [WEIR__SPAM_STATE__SPAM_TIMEOUT] = "timeout", [WEIR__SPAM_STATE__SPAM_ERROR] = "error",
                                         [WEIR__SPAM_STATE__SPAM_PAUSED] = "paused", [WEIR__SPAM_STATE__SPAM_SIZE] = "too large" };
    return names[state];
}

/* Engines' words, which quote mail. */
static json_t *text_of(const ProtobufCBinaryData *bytes)
{
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, (const char *)bytes->data, bytes->len, SIZE_MAX);
    json_t *text = json_string_nocheck(clean.data);
    text_fini(&clean);
    return text;
}

json_t *spam_json(const Weir__SpamResult *result)
{
    json_t *engines = json_array(), *symbols = json_array();
    for (size_t i = 0; i < result->n_engines; i++)
        json_array_append_new(engines, json_pack("{s:o, s:s, s:f}", "engine", text_of(&result->engines[i]->name), "state", state_name(result->engines[i]->state), "score",
                                                 result->engines[i]->score / 100.0));
    for (size_t i = 0; i < result->n_symbols; i++)
        json_array_append_new(symbols, json_pack("{s:o, s:o, s:f, s:o}", "engine", text_of(&result->symbols[i]->engine), "symbol", text_of(&result->symbols[i]->name),
                                                 "weight", result->symbols[i]->weight / 100.0, "detail", text_of(&result->symbols[i]->detail)));
    return json_pack("{s:f, s:o, s:o, s:o}", "score", result->score / 100.0, "engines", engines, "symbols", symbols, "authentication", text_of(&result->authentication));
}
