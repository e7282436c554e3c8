/* limits.c - see limits.h */
#include "coordinator/ctl/limits.h"

#include <stdlib.h>
#include <string.h>
#include "common/idn.h"
#include "common/memory.h"
#include "common/policy/parties.h"
#include "coordinator/ctl/table.h"

static void set(struct limit_subjects *out, enum limit_by by, const char *text)
{
    snprintf(out->names[by], sizeof out->names[by], "%s", text);
}

/* As edges write it: lower case, ASCII. */
static void set_domain(struct limit_subjects *out, const char *text)
{
    char ascii[IDN_NAME_MAX];
    set(out, LIMIT_BY_DOMAIN, idn_to_ascii(ascii, text) ? ascii : text);
}

static void set_all(struct limit_subjects *out, const struct policy *policy, const struct limit_party *party)
{
    for (int by = 0; by < LIMIT_BYS; by++)
        if (!limit_subject(out->names[by], &out->excepted[by], policy, (enum limit_by)by, party))
            set(out, (enum limit_by)by, "");
}

bool limit_subjects_parse(struct limit_subjects *out, const struct policy *policy, const char *word, int64_t now, struct error *why)
{
    struct netaddr client;
    struct netaddr_prefix prefix;
    const char *at = strrchr(word, '@');
    *out = (struct limit_subjects){ 0 };
    if (*word == '\0' || strlen(word) >= LIMIT_SUBJECT_MAX || strpbrk(word, " \t") != NULL) {
        error_set(why, "'%.80s' is no address, prefix, account or domain", word);
        return false;
    }
    if (netaddr_parse(&client, word)) {
        set_all(out, policy, &(struct limit_party){ .client = &client, .now = now });
    } else if (strchr(word, '/') != NULL) {
        char text[NETADDR_TEXT_MAX];
        if (!netaddr_prefix_parse(&prefix, word, why))
            return false;
        for (int by = LIMIT_BY_CLIENT; by <= LIMIT_BY_HOST; by++) {
            snprintf(out->names[by], sizeof out->names[by], "%s/%u", netaddr_format(&prefix.address, text), prefix.bits);
            out->excepted[by] = policy_exception_of_limits(policy, &prefix.address, prefix.bits, now);
        }
        set(out, LIMIT_BY_REGISTERED, out->names[LIMIT_BY_HOST]);
        out->excepted[LIMIT_BY_REGISTERED] = out->excepted[LIMIT_BY_HOST];
    } else {
        set(out, LIMIT_BY_ACCOUNT, word);
        for (char *p = out->names[LIMIT_BY_ACCOUNT]; *p != '\0'; p++) /* as coordinators fold logins */
            if (*p >= 'A' && *p <= 'Z')
                *p = (char)(*p | 0x20);
        out->excepted[LIMIT_BY_ACCOUNT] = policy_exception_of_account(policy, out->names[LIMIT_BY_ACCOUNT], now);
        set_domain(out, at != NULL ? at + 1 : word);
    }
    return true;
}

size_t limit_subjects_list(const struct limit_subjects *subjects, const char *names[LIMIT_BYS])
{
    size_t count = 0;
    for (int by = 0; by < LIMIT_BYS; by++) {
        bool known = subjects->names[by][0] == '\0';
        for (size_t i = 0; i < count && !known; i++)
            known = strcmp(names[i], subjects->names[by]) == 0;
        if (!known)
            names[count++] = subjects->names[by];
    }
    return count;
}

/* Full, where no row says otherwise. */
static struct bucket bucket_of(const json_t *shown, const char *name)
{
    const json_t *one;
    size_t i;
    json_array_foreach(json_object_get(shown, "buckets"), i, one)
    {
        const char *text = json_string_value(json_object_get(one, "name"));
        if (text != NULL && strcmp(text, name) == 0)
            return (struct bucket){ (uint64_t)json_integer_value(json_object_get(one, "missing")), (uint64_t)json_integer_value(json_object_get(one, "at_ms")) };
    }
    return (struct bucket){ 0 };
}

static json_t *limit_json(const struct explained_policy *policy, const struct limit_rule *line, const char *subject, const struct exception *excepted, const json_t *shown)
{
    struct limit_rule allowed;
    const struct limit_rule *rule = &allowed;
    bool limited = limit_for(&allowed, line, excepted);
    char name[LIMIT_BUCKET_MAX], rate[LIMIT_RATE_TEXT_MAX];
    uint64_t now = (uint64_t)json_integer_value(json_object_get(shown, "now_ms"));
    struct bucket bucket = bucket_of(shown, limit_bucket_name(name, rule, subject));
    json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "direction", limit_direction_name(rule->direction), "by", limit_by_name(rule->by), "subject", subject,
                            "of", limit_what_name(rule->what), "rate", limit_rate_text(rate, rule), "dry_run", rule->dry_run);
    json_object_set_new(out, "burst", json_integer((json_int_t)rule->rate.burst));
    json_object_set_new(out, "left", json_integer((json_int_t)bucket_left(&bucket, &rule->rate, now)));
    json_object_set_new(out, "next_ms", json_integer((json_int_t)bucket_wait(&bucket, &rule->rate, now, 1)));
    json_object_set_new(out, "full_ms", json_integer((json_int_t)bucket_wait(&bucket, &rule->rate, now, rule->rate.burst)));
    json_object_set_new(out, "line", explain_rule(policy, "limits", rule->line));
    json_object_set_new(out, "exception", excepted != NULL ? explain_rule(policy, "exceptions", excepted->line) : json_null());
    json_object_set_new(out, "limited", json_boolean(limited));
    return out;
}

json_t *explain_limits(const struct explained_policy *policy, const struct limit_subjects *subjects, const char *body, struct error *why)
{
    json_error_t error;
    const struct limit_rule *rule;
    json_t *shown = json_loads(body != NULL ? body : "", 0, &error);
    if (shown == NULL) {
        error_set(why, "the coordinator's buckets are not JSON: %s", error.text);
        return NULL;
    }
    json_t *limits = json_array();
    for (size_t i = 0; (rule = policy_limit_at(policy->parsed, i)) != NULL; i++)
        if (subjects->names[rule->by][0] != '\0')
            json_array_append_new(limits, limit_json(policy, rule, subjects->names[rule->by], subjects->excepted[rule->by], shown));
    json_decref(shown);
    return json_pack("{s:I, s:o}", "policy", (json_int_t)policy->epoch, "limits", limits);
}

/* "now", "5 s", "3 min", "2 h": rounded up. */
static char *time_text(json_int_t ms)
{
    if (ms == 0)
        return xstrdup("now");
    if (ms <= 120000)
        return xasprintf("%lld s", (long long)(ms + 999) / 1000);
    if (ms <= 7200000)
        return xasprintf("%lld min", (long long)(ms + 59999) / 60000);
    return xasprintf("%lld h", (long long)(ms + 3599999) / 3600000);
}

static void add_owned(struct table *table, char *text)
{
    table_add(table, text);
    free(text);
}

void explain_limits_print(const char *verb, const json_t *body, FILE *out)
{
    (void)verb;
    static const char *const titles[] = { "LINE", "LIMIT", "OF", ">LEFT", ">BURST", "ONE MORE", "FULL IN", "" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    const json_t *one, *limits = json_object_get(body, "limits");
    size_t i;
    json_array_foreach(limits, i, one)
    {
        const char *direction, *by, *of, *subject;
        json_unpack((json_t *)(uintptr_t)one, "{s:s, s:s, s:s, s:s}", "direction", &direction, "by", &by, "of", &of, "subject", &subject);
        table_add(table, json_string_value(json_object_get(json_object_get(one, "line"), "rule")));
        add_owned(table, xasprintf("%s %s %s %.*s", direction, by, of, (int)strcspn(json_string_value(json_object_get(one, "rate")), " "),
                                   json_string_value(json_object_get(one, "rate"))));
        table_add(table, subject);
        add_owned(table, xasprintf("%lld", (long long)json_integer_value(json_object_get(one, "left"))));
        add_owned(table, xasprintf("%lld", (long long)json_integer_value(json_object_get(one, "burst"))));
        add_owned(table, time_text(json_integer_value(json_object_get(one, "next_ms"))));
        add_owned(table, time_text(json_integer_value(json_object_get(one, "full_ms"))));
        const char *exception = json_string_value(json_object_get(json_object_get(one, "exception"), "rule"));
        const char *mode = json_is_false(json_object_get(one, "limited")) ? "not limited" : json_is_true(json_object_get(one, "dry_run")) ? "dry run" : "";
        add_owned(table, exception == NULL ? xstrdup(mode) : xasprintf("%s%s%s", mode, *mode != '\0' ? ", " : "", exception));
    }
    if (json_array_size(limits) == 0)
        fputs("no line of limits is about that\n", out);
    else
        table_print(table, out);
    table_free(&table);
}
