/*
 * client_name.c - see client_name.h
 */
#include "edge/dns/client_name.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "edge/dns/dnsbl.h"

#define NAMES_MAX 3 /* of one address; more are not looked at */

struct client_name_query {
    struct dns *dns;
    struct netaddr client;
    void (*done)(void *arg, const char *name);
    void *arg;
    struct dns_question *ptr;
    struct dns_query *forward;
    char names[NAMES_MAX][DNS_NAME_MAX];
    size_t count, at; /* names; the one being confirmed */
};

char *client_name_reverse(char out[DNS_NAME_MAX], const struct netaddr *address)
{
    return dnsbl_name(out, address, address->family == AF_INET ? "in-addr.arpa" : "ip6.arpa");
}

static void query_end(struct client_name_query *query, const char *name)
{
    void (*done)(void *, const char *) = query->done;
    void *arg = query->arg;
    char copy[DNS_NAME_MAX];
    if (name != NULL)
        strcpy(copy, name);
    client_name_cancel(&query);
    done(arg, name != NULL ? copy : NULL);
}

static bool is_host_name(const char *name)
{
    struct netaddr address;
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.")] == '\0' && !netaddr_parse(&address, name);
}

static void confirm_next(struct client_name_query *query);

static void on_forward(void *arg, enum dns_status status, const struct netaddr *addresses, size_t count)
{
    struct client_name_query *query = arg;
    query->forward = NULL;
    for (size_t i = 0; status == DNS_OK && i < count; i++)
        if (netaddr_equal(&addresses[i], &query->client)) {
            query_end(query, query->names[query->at]);
            return;
        }
    query->at++;
    confirm_next(query);
}

static void confirm_next(struct client_name_query *query)
{
    while (query->at < query->count && !is_host_name(query->names[query->at]))
        query->at++;
    if (query->at == query->count)
        query_end(query, NULL);
    else
        query->forward = dns_addresses(query->dns, query->names[query->at], on_forward, query);
}

static void on_ptr(void *arg, const struct dns_answer *answer)
{
    struct client_name_query *query = arg;
    query->ptr = NULL;
    if (answer->status == DNS_OK)
        query->count = dns_packet_ptr(answer->packet, answer->len, query->names, NAMES_MAX);
    confirm_next(query);
}

struct client_name_query *client_name_lookup(struct dns *dns, const struct netaddr *client, void (*done)(void *arg, const char *name),
                                             void *arg)
{
    struct client_name_query *query = xcalloc(1, sizeof *query);
    char reverse[DNS_NAME_MAX];
    query->dns = dns;
    query->client = *client;
    query->done = done;
    query->arg = arg;
    query->ptr = dns_ask(dns, client_name_reverse(reverse, client), DNS_TYPE_PTR, on_ptr, query);
    return query;
}

void client_name_cancel(struct client_name_query **queryp)
{
    struct client_name_query *query = *queryp;
    *queryp = NULL;
    if (query == NULL)
        return;
    dns_question_cancel(&query->ptr);
    dns_cancel(&query->forward);
    free(query);
}
