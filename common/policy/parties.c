/* parties.c - see parties.h */
#include "common/policy/parties.h"

#include <stdio.h>

static bool subject_of_client(char out[LIMIT_SUBJECT_MAX], const struct exception **excepted, const struct policy *policy, enum limit_by by, const struct limit_party *party)
{
    const struct exception *exception = policy_exception_of_limits(policy, party->client, PREFIXES_LONGEST, party->now);
    const struct registered_host *host = policy_host(policy, party->client, party->now);
    const struct network *network = policy_network(policy, party->client);
    unsigned shared = 0; /* bits of what has the bucket with others */
    bool has = by == LIMIT_BY_REGISTERED     ? host != NULL && limit_subject_of_prefix(out, &host->prefix)
               : by == LIMIT_BY_UNREGISTERED ? host == NULL && policy_is_inside(policy, party->client) && limit_subject_of_client(out, LIMIT_BY_CLIENT, party->client, NULL)
                                             : limit_subject_of_client(out, by, party->client, network);
    *excepted = exception;
    if (!has || exception == NULL)
        return has;
    if (by == LIMIT_BY_PREFIX)
        shared = party->client->family == AF_INET6 ? 48 : 24;
    else if (by == LIMIT_BY_HOST)
        shared = network->prefix.bits;
    else if (by == LIMIT_BY_REGISTERED)
        shared = host->prefix.bits;
    else if (party->client->family == AF_INET6) /* of a client: its neighbour in the /64 may be excepted by a line of his own */
        shared = 64;
    if (shared > 0 && exception->prefix.bits > shared)
        limit_subject_of_prefix(out, &exception->prefix);
    return true;
}

bool limit_subject(char out[LIMIT_SUBJECT_MAX], const struct exception **excepted, const struct policy *policy, enum limit_by by, const struct limit_party *party)
{
    const char *word = by == LIMIT_BY_ACCOUNT ? party->login : by == LIMIT_BY_DOMAIN ? party->domain : NULL;

    *excepted = NULL;
    if (by != LIMIT_BY_ACCOUNT && by != LIMIT_BY_DOMAIN)
        return party->client != NULL && subject_of_client(out, excepted, policy, by, party);
    if (word == NULL)
        return false;
    snprintf(out, LIMIT_SUBJECT_MAX, "%s", word);
    if (by == LIMIT_BY_ACCOUNT)
        *excepted = policy_exception_of_account(policy, word, party->now);
    return true;
}

static uint64_t times(uint64_t amount, unsigned factor)
{
    return amount > BUCKET_AMOUNT_MAX / factor ? BUCKET_AMOUNT_MAX : amount * factor;
}

bool limit_for(struct limit_rule *out, const struct limit_rule *rule, const struct exception *excepted)
{
    *out = *rule;
    if (excepted == NULL)
        return true;
    if (excepted->limits == EXCEPTION_NO_LIMITS)
        return false;
    out->times = excepted->limits;
    out->rate.amount = times(rule->rate.amount, excepted->limits);
    out->rate.burst = times(rule->rate.burst, excepted->limits);
    return true;
}
