/*
 * fuzz_policy.c - the operators' files from any bytes: refused with a line number, or every answer keeps the contract
 *
 * The first byte says which files there are; they are separated by a line "%%".
 */
#include <stdlib.h>
#include <string.h>
#include "common/error.h"
#include "common/idn.h"
#include "common/policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_route(const struct policy *policy, const char *domain)
{
    struct route route = policy_route(policy, domain);

    switch (route.kind) {
    case ROUTE_NONE:
        weir_assert(route.file == NULL);
        return;
    case ROUTE_SMTP:
        weir_assert(route.host[0] != '\0' && route.port > 0);
        break;
    case ROUTE_ERROR:
        weir_assert(route.code >= 400 && route.code < 600 && route.code != 421 && route.enhanced[0] - '0' == route.code / 100);
        weir_assert(route.text[0] != '\0');
        for (const char *p = route.text; *p != '\0'; p++)
            weir_assert(*p >= 0x20 && *p < 0x7f); /* it goes into a reply */
        break;
    case ROUTE_DISCARD:
        break;
    }
    weir_assert(route.line > 0);
}

static void check_address(void *arg, const char *local, const char *domain)
{
    unsigned *count = arg;
    weir_assert(*local != '\0' && strlen(local) <= ALIAS_LOCAL_MAX && domain != NULL && *domain != '\0');
    weir_assert(++*count <= ALIAS_TARGETS_MAX);
}

/* Each word of the input is asked for as a domain and as an address. */
static void ask(const struct policy *policy, const char *word)
{
    struct netaddr client, outsider = { .family = 0 };
    char ascii[IDN_NAME_MAX];

    const char *own = policy_first_own_domain(policy);
    unsigned count = 0;

    check_route(policy, word);
    if (idn_to_ascii(ascii, word)) { /* the other spelling of the same name */
        weir_assert(policy_is_own_domain(policy, ascii) == policy_is_own_domain(policy, word));
        weir_assert(policy_is_local(policy, ascii) == policy_is_local(policy, word));
        weir_assert(policy_route(policy, ascii).line == policy_route(policy, word).line);
        weir_assert(policy_verifies(policy, ascii) == policy_verifies(policy, word));
    }
    if (own != NULL)
        weir_assert((policy_alias(policy, word, own, check_address, &count) > 0) == (count > 0));
    struct relay_decision decision = policy_relay(policy, &outsider, false, word);
    weir_assert(decision.allowed == policy_is_own_domain(policy, word));
    weir_assert(!decision.allowed || (decision.file != NULL && decision.line > 0));
    if (netaddr_parse(&client, word)) {
        decision = policy_relay(policy, &client, false, "elsewhere.invalid");
        const struct exception *exception = policy_exception(policy, &client, 1);
        weir_assert(exception == NULL || (netaddr_prefix_contains(&exception->prefix, &client) && exception->expires > 1 &&
                                          exception->limits + exception->max_message_size + exception->max_recipients > 0));
        const struct registered_host *host = policy_host(policy, &client, 1);
        weir_assert(host == NULL || (netaddr_prefix_contains(&host->prefix, &client) && host->prefix.bits > 0 && host->expires > 1 && *host->owner != '\0' && *host->reason != '\0'));
        weir_assert(!policy_is_inside(policy, &client) || (decision.allowed && strcmp(decision.grant, "inside") == 0));
    }
}

/* Nothing that the arithmetic of buckets, or a database, could not hold; and no two lines with one bucket. */
static void check_limits(const struct policy *policy)
{
    const struct limit_rule *rule, *before;
    char name[LIMIT_BUCKET_MAX], other[LIMIT_BUCKET_MAX];

    for (size_t i = 0; (rule = policy_limit_at(policy, i)) != NULL; i++) {
        const struct bucket_rate *rate = &rule->rate;
        weir_assert(rate->amount >= 1 && rate->amount <= BUCKET_AMOUNT_MAX && rate->burst >= 1 && rate->burst <= BUCKET_AMOUNT_MAX);
        weir_assert(rate->period_ms >= 1000 && rate->period_ms <= BUCKET_PERIOD_MAX && rule->line > 0);
        for (size_t k = 0; k < i && (before = policy_limit_at(policy, k)) != NULL; k++)
            weir_assert(strcmp(limit_bucket_name(name, rule, "x"), limit_bucket_name(other, before, "x")) != 0);
    }
}

static void ask_all(const struct policy *policy, const char *text, size_t size)
{
    char *copy = malloc(size + 1), *rest = NULL;

    memcpy(copy, text, size);
    copy[size] = '\0';
    for (char *word = strtok_r(copy, " \t\n!/:,", &rest); word != NULL; word = strtok_r(NULL, " \t\n!/:,", &rest))
        ask(policy, word);
    free(copy);
    check_limits(policy);
    ask(policy, "");
    const char *first = policy_first_own_domain(policy);
    weir_assert(first == NULL || policy_is_own_domain(policy, first));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[8] = { "mailertable", "local-host-names", "networks", "exceptions", "aliases", "list", "limits", "recipient_delimiter" };
    struct policy_file files[8];
    struct error why = { "" };
    size_t count = 0;

    if (size == 0)
        return 0;
    unsigned which = *data++;
    size--;
    const char *text = (const char *)data, *end = text + size;
    for (unsigned i = 0; i < 8; i++) {
        if ((which >> i & 1) == 0)
            continue;
        const char *mark = memmem(text, (size_t)(end - text), "\n%%\n", 4);
        const char *file_end = mark != NULL ? mark + 1 : end;
        /* A list that aliases do not include is no policy file: such an input has hosts in its place. */
        bool hosts = i == 5 && (which >> 4 & 1) == 0;
        files[count++] = (struct policy_file){ hosts ? "hosts" : names[i], text, (size_t)(file_end - text) };
        text = mark != NULL ? mark + 4 : end;
    }
    struct policy *policy = policy_parse(files, count, &why);
    if (policy != NULL)
        ask_all(policy, (const char *)data, size);
    else
        weir_assert(strstr(why.text, ": error: ") != NULL);
    policy_free(&policy);
    return 0;
}
