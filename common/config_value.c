/* config_value.c - see config_value.h */
#include "common/config_value.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/memory.h"
#include "common/netaddr.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    { "", 1 },           { "B", 1 },           { "KiB", 1ull << 10 },   { "MiB", 1ull << 20 },      { "GiB", 1ull << 30 },
    { "TiB", 1ull << 40 }, { "kB", 1000 },     { "KB", 1000 },          { "MB", 1000000 },          { "GB", 1000000000 },
    { "TB", 1000000000000 }, { NULL, 0 },
};

static const struct unit duration_units[] = {
    { "", 1000 },    { "ms", 1 },        { "s", 1000 },  { "m", 60000 },
    { "h", 3600000 }, { "d", 86400000 }, { NULL, 0 },
};

static const struct unit no_units[] = { { "", 1 }, { NULL, 0 } };

/* Digits, perhaps white space, a unit. false: not of that form, or too large for 64 bits. */
static bool parse_quantity(const char *text, const struct unit *units, uint64_t *out)
{
    uint64_t value = 0;

    if (!isdigit((unsigned char)*text))
        return false;
    for (; isdigit((unsigned char)*text); text++)
        if (__builtin_mul_overflow(value, 10u, &value) || __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return false;
    while (*text == ' ' || *text == '\t')
        text++;
    for (; units->name != NULL; units++)
        if (strcmp(text, units->name) == 0)
            return !__builtin_mul_overflow(value, units->factor, out);
    return false;
}

/* The text a value would have in a file, for errors about limits. */
static char *format_quantity(enum config_type type, uint64_t value)
{
    static const struct unit sizes[] = { { "TiB", 1ull << 40 }, { "GiB", 1ull << 30 }, { "MiB", 1ull << 20 }, { "KiB", 1ull << 10 }, { NULL, 0 } };
    static const struct unit durations[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL, 0 } };
    const struct unit *units = type == CONFIG_SIZE ? sizes : type == CONFIG_DURATION ? durations : no_units;

    for (; value > 0 && units->name != NULL; units++)
        if (value % units->factor == 0)
            return xasprintf("%llu%s", (unsigned long long)(value / units->factor), units->name);
    return xasprintf("%llu", (unsigned long long)value);
}

bool config_parse_size(const char *text, uint64_t *bytes)
{
    return parse_quantity(text, size_units, bytes);
}

bool config_parse_duration(const char *text, uint64_t *ms)
{
    return parse_quantity(text, duration_units + 1, ms); /* without the first, which is for none */
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = { "on", "yes", "true", "1" }, *const no[] = { "off", "no", "false", "0" };

    for (size_t i = 0; i < 4; i++) {
        if (strcasecmp(text, yes[i]) == 0)
            return *out = true, true;
        if (strcasecmp(text, no[i]) == 0)
            return *out = false, true;
    }
    return false;
}

/* Position of text in "a|b|c", or -1. */
static int find_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);

    for (int index = 0;; index++) {
        size_t size = strcspn(choices, "|");
        if (size == len && strncmp(choices, text, len) == 0)
            return index;
        if (choices[size] == '\0')
            return -1;
        choices += size + 1;
    }
}

static const char *skip_space(const char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    return text;
}

/* Splits at commas. false: an item is empty (a doubled or trailing comma). Nothing at all is an empty list. */
static bool parse_list(const char *text, struct config_list *out)
{
    *out = (struct config_list){ 0 };
    text = skip_space(text);
    while (*text != '\0') {
        size_t size = strcspn(text, ","), len = size;
        while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
            len--;
        bool trailing = text[size] == ',' && *skip_space(text + size + 1) == '\0';
        if (len == 0 || trailing)
            return false;
        out->items = xrealloc(out->items, (out->count + 1) * sizeof *out->items);
        out->items[out->count++] = xstrndup(text, len);
        text = skip_space(text + size + (text[size] == ',' ? 1 : 0));
    }
    return true;
}

void config_list_clear(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct config_list){ 0 };
}

static bool check_limits(const struct config_key *key, const char *text, uint64_t value, struct error *why)
{
    bool low = value < key->min, high = key->max > 0 && value > key->max;

    if (!low && !high)
        return true;
    char *limit = format_quantity(key->type, low ? key->min : key->max);
    error_set(why, "%s = %s is too %s: the %s is %s", key->name, text, low ? "small" : "large", low ? "least" : "most", limit);
    free(limit);
    return false;
}

/* out is to be cleared by the caller either way. */
static bool check_endpoints(const struct config_key *key, const char *text, struct config_list *out, struct error *why)
{
    struct netaddr address;
    struct error reason;

    if (!parse_list(text, out) || out->count == 0) {
        error_set(why, "%s = %s: expected addresses with ports, separated by commas", key->name, text);
        return false;
    }
    for (size_t i = 0; i < out->count; i++)
        if (!netaddr_parse_endpoint(&address, out->items[i], &reason)) {
            error_set(why, "%s: %s", key->name, reason.text);
            return false;
        }
    return true;
}

/* out is to be cleared by the caller either way. */
static bool check_networks(const struct config_key *key, const char *text, struct config_list *out, struct error *why)
{
    struct netaddr_prefix prefix;
    struct error reason;

    if (!parse_list(text, out)) {
        error_set(why, "%s = %s: the list has an empty item", key->name, text);
        return false;
    }
    for (size_t i = 0; i < out->count; i++)
        if (!netaddr_prefix_parse(&prefix, out->items[i], &reason)) {
            error_set(why, "%s: %s", key->name, reason.text);
            return false;
        }
    return true;
}

static bool check_form(const struct config_key *key, const char *text, const char *whole, struct error *why)
{
    struct error reason;

    if (key->form == NULL || key->form(text, &reason))
        return true;
    if (text == whole)
        error_set(why, "%s = %s: %s", key->name, whole, reason.text);
    else
        error_set(why, "%s: '%s': %s", key->name, text, reason.text);
    return false;
}

/* out is to be cleared by the caller either way. */
static bool check_list(const struct config_key *key, const char *text, struct config_list *out, struct error *why)
{
    if (!parse_list(text, out)) {
        error_set(why, "%s = %s: the list has an empty item", key->name, text);
        return false;
    }
    for (size_t i = 0; i < out->count; i++)
        if (!check_form(key, out->items[i], NULL, why))
            return false;
    return true;
}

static bool check_string(const struct config_key *key, const char *text, struct error *why)
{
    bool nothing_is_fine = key->value != NULL && *key->value == '\0';

    return (*text == '\0' && nothing_is_fine) || check_form(key, text, text, why);
}

bool config_value_convert(const struct config_key *key, const char *text, union config_value *out, struct error *why)
{
    switch (key->type) {
    case CONFIG_STRING:
        if (!check_string(key, text, why))
            return false;
        out->string = xstrdup(text);
        return true;
    case CONFIG_BOOL:
        if (parse_bool(text, &out->boolean))
            return true;
        error_set(why, "%s = %s: expected on or off", key->name, text);
        return false;
    case CONFIG_UINT:
        if (parse_quantity(text, no_units, &out->number))
            return check_limits(key, text, out->number, why);
        error_set(why, "%s = %s: expected a whole number", key->name, text);
        return false;
    case CONFIG_SIZE:
        if (parse_quantity(text, size_units, &out->number))
            return check_limits(key, text, out->number, why);
        error_set(why, "%s = %s: expected a size, as 512, 64KiB, 50MiB, 1GiB", key->name, text);
        return false;
    case CONFIG_DURATION:
        if (parse_quantity(text, duration_units, &out->number))
            return check_limits(key, text, out->number, why);
        error_set(why, "%s = %s: expected a duration, as 250ms, 5s, 10m, 2h, 14d", key->name, text);
        return false;
    case CONFIG_LIST:
        if (check_list(key, text, &out->list, why))
            return true;
        config_list_clear(&out->list);
        return false;
    case CONFIG_ENDPOINTS:
        if (check_endpoints(key, text, &out->list, why))
            return true;
        config_list_clear(&out->list);
        return false;
    case CONFIG_NETWORKS:
        if (check_networks(key, text, &out->list, why))
            return true;
        config_list_clear(&out->list);
        return false;
    case CONFIG_ENUM:
        out->choice = find_choice(key->choices, text);
        if (out->choice >= 0)
            return true;
        error_set(why, "%s = %s: expected one of %s", key->name, text, key->choices);
        return false;
    }
    return false;
}

bool config_value_is_good(const struct config_key *key, const char *text, struct error *why)
{
    union config_value value;

    if (!config_value_convert(key, text, &value, why))
        return false;
    if (key->type == CONFIG_STRING)
        free(value.string);
    else if (key->type == CONFIG_LIST || key->type == CONFIG_ENDPOINTS || key->type == CONFIG_NETWORKS)
        config_list_clear(&value.list);
    return true;
}
