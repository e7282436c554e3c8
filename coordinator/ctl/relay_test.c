/*
 * relay_test.c - see relay_test.h
 */
#include "coordinator/ctl/relay_test.h"
#include <event2/event.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "coordinator/probes/prober.h"
#include "coordinator/text.h"

#define REPLY_MS        30000
#define OUTSIDE_DEFAULT "example.com" /* RFC 2606: nobody's, and it takes no mail */
#define STATUS_OPEN     1
#define STATUS_UNKNOWN  2

struct server {
    struct relay_test *test;
    char *node, *listener; /* NULL: not one of the cluster's */
    bool outbound;         /* a listener that takes nothing from strangers, not even for own domains */
    struct netaddr address;
    struct prober *prober;
};

struct relay_test {
    const struct options *options;
    struct server *servers;
    size_t count;
};

struct relay_test *relay_test_new(const struct options *options)
{
    struct relay_test *test = xcalloc(1, sizeof *test);
    test->options = options;
    return test;
}

void relay_test_free(struct relay_test **freed)
{
    struct relay_test *test = *freed;
    *freed = NULL;
    for (size_t i = 0; i < test->count; i++) {
        free(test->servers[i].node);
        free(test->servers[i].listener);
    }
    free(test->servers);
    free(test);
}

/* ---- which ---- */

/* NULL: it is there already, or cannot be reached from where we are to ask from. */
static struct server *add_server(struct relay_test *test, const struct netaddr *address)
{
    sa_family_t family = test->options->from_address.family;
    if (family != 0 && family != address->family)
        return NULL;
    for (size_t i = 0; i < test->count; i++)
        if (netaddr_equal(&test->servers[i].address, address) && test->servers[i].address.port == address->port)
            return NULL;
    test->servers = xrealloc(test->servers, (test->count + 1) * sizeof *test->servers);
    struct server *server = &test->servers[test->count++];
    *server = (struct server){ .test = test, .address = *address };
    return server;
}

/* "host:25", "[::1]:25", "::1", "host": its two halves, owned. */
static void split(const char *text, char **host, char **port)
{
    const char *bracket = *text == '[' ? strchr(text, ']') : NULL;
    const char *colon = strrchr(bracket != NULL ? bracket : text, ':');
    if (bracket == NULL && colon != NULL && strchr(text, ':') != colon)
        colon = NULL; /* an IPv6 address by itself */
    *port = xstrdup(colon != NULL ? colon + 1 : "25");
    *host = bracket != NULL ? xstrndup(text + 1, (size_t)(bracket - text - 1)) : xstrndup(text, colon != NULL ? (size_t)(colon - text) : strlen(text));
}

bool relay_test_add_host(struct relay_test *test, const char *text, struct error *why)
{
    char *host, *port;
    struct addrinfo *found = NULL, hints = { .ai_socktype = SOCK_STREAM };
    split(text, &host, &port);
    int failed = getaddrinfo(host, port, &hints, &found);
    for (const struct addrinfo *at = found; failed == 0 && at != NULL; at = at->ai_next) {
        struct netaddr address;
        if (netaddr_from_sockaddr(&address, at->ai_addr))
            add_server(test, &address);
    }
    if (failed != 0)
        error_set(why, "%s: %s; HOST or HOST:PORT is needed", text, gai_strerror(failed));
    else if (test->count == 0)
        error_set(why, "%s has no address that could be reached from --from-address", text);
    if (found != NULL)
        freeaddrinfo(found);
    free(host);
    free(port);
    return test->count > 0;
}

bool relay_test_add_listeners(struct relay_test *test, const char *body, struct error *why)
{
    json_error_t error;
    size_t i;
    json_t *listeners = json_loads(body != NULL ? body : "[]", 0, &error), *one;
    json_array_foreach(listeners, i, one)
    {
        struct netaddr address;
        const char *node = json_string_value(json_object_get(one, "node")), *name = json_string_value(json_object_get(one, "listener"));
        const char *endpoint = json_string_value(json_object_get(one, "endpoint"));
        if (node == NULL || name == NULL || endpoint == NULL || !netaddr_parse_endpoint(&address, endpoint, NULL))
            continue;
        struct server *server = add_server(test, &address);
        if (server == NULL)
            continue;
        server->node = xstrdup(node);
        server->listener = xstrdup(name);
        server->outbound = json_is_true(json_object_get(one, "outbound"));
    }
    json_decref(listeners);
    if (test->count == 0)
        error_set(why, "no edge has told of a listener that could be asked; HOST:PORT names any server");
    return test->count > 0;
}

/* ---- asking ---- */

static void on_done(void *arg, struct prober *prober)
{
    (void)arg, (void)prober; /* the loop ends when nothing is left in it */
}

static void begin(struct server *server, struct event_base *base, const struct policy *policy)
{
    const struct options *options = server->test->options;
    const char *first = policy != NULL ? policy_first_own_domain(policy) : NULL;
    struct prober_options prober = {
        .base = base,
        .target = server->address,
        .source = options->from_address,
        .reply_ms = REPLY_MS,
        .total_ms = (uint64_t)options->timeout_s * 1000,
        .done = on_done,
    };
    struct probes_options *probes = &prober.probes;
    snprintf(probes->own, sizeof probes->own, "%s", options->domain != NULL ? options->domain : first != NULL ? first : "");
    snprintf(probes->outside, sizeof probes->outside, "%s", options->outside != NULL ? options->outside : OUTSIDE_DEFAULT);
    probes->client = options->client;
    probes->edge = server->node != NULL;
    /* Any other server may not know a domain that nobody said is its own. */
    probes->control = !server->outbound && (options->domain != NULL || (server->node != NULL && first != NULL));
    server->prober = prober_new(&prober);
}

/* A server's words, which may be anything. */
static json_t *words_json(const char *words)
{
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, words, strlen(words), SIZE_MAX);
    json_t *out = json_string(clean.data);
    text_fini(&clean);
    return out;
}

static json_t *probes_json(const struct probes *probes)
{
    json_t *out = json_array();
    for (size_t i = 0; i < probes_count; i++) {
        const struct probe *probe = &probes_table[i];
        const struct probe_outcome *outcome = &probes->outcomes[i];
        char sender[PROBES_PATH_MAX], recipient[PROBES_PATH_MAX];
        json_t *one = json_pack("{s:s, s:s, s:b, s:i, s:s, s:s, s:s, s:s}", "probe", probe->name, "result", probe_result_text(outcome->result), "open",
                                probe_shows_open(probes, i), "code", outcome->code, "enhanced", outcome->enhanced, "sender",
                                probes_spell(probes, probe->sender, sender), "recipient", probes_spell(probes, probe->recipient, recipient), "why",
                                probe->why);
        json_object_set_new(one, "words", words_json(outcome->words));
        json_array_append_new(out, one);
    }
    return out;
}

static json_t *address_json(const struct netaddr *address)
{
    char text[NETADDR_TEXT_MAX];
    return address->family != 0 ? json_string(netaddr_format(address, text)) : json_null();
}

static json_t *server_json(const struct server *server, const struct policy *policy)
{
    char text[NETADDR_TEXT_MAX], reason[PROBES_REASON_MAX];
    const struct probes *probes = prober_probes(server->prober);
    const struct netaddr *local = prober_local(server->prober);
    /* Our policy says nothing of who may relay by way of other servers. */
    bool known = policy != NULL && local->family != 0 && (server->node != NULL || probes->weir);
    bool inside = known && policy_is_inside(policy, local);
    enum probes_verdict verdict = probes_judge(probes, inside, reason);
    json_t *out = json_pack("{s:s, s:s?, s:s?, s:s, s:o, s:s, s:o, s:o}", "server", netaddr_format_endpoint(&server->address, text), "node", server->node,
                            "listener", server->listener, "verdict", probes_verdict_text(verdict), "reason", words_json(reason), "host", probes->host,
                            "from_address", address_json(local), "inside", known ? json_boolean(inside) : json_null());
    json_object_set_new(out, "client", probes_spoke(probes) ? address_json(&probes->options.client) : json_null());
    json_object_set_new(out, "domain", json_string(probes->options.own[0] != '\0' ? probes->options.own : probes->host));
    json_object_set_new(out, "outside", json_string(probes->options.outside));
    json_object_set_new(out, "probes", probes_json(probes));
    return out;
}

json_t *relay_test_run(struct relay_test *test, const struct policy *policy)
{
    struct event_base *base = event_base_new();
    json_t *out = json_array();
    for (size_t i = 0; i < test->count; i++)
        begin(&test->servers[i], base, policy);
    event_base_dispatch(base);
    for (size_t i = 0; i < test->count; i++) {
        json_array_append_new(out, server_json(&test->servers[i], policy));
        prober_free(&test->servers[i].prober);
    }
    event_base_free(base);
    return out;
}

/* ---- telling ---- */

static void print_probes(const json_t *probes, FILE *out)
{
    static const char *const titles[] = { "PROBE", "RESULT", "RECIPIENT", "REPLY" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    const json_t *one;
    size_t i;
    json_array_foreach(probes, i, one)
    {
        char code[16] = "";
        if (json_integer_value(json_object_get(one, "code")) != 0)
            snprintf(code, sizeof code, "%d ", (int)json_integer_value(json_object_get(one, "code")));
        char *reply = xasprintf("%s%s%s%s", code, view_word(one, "enhanced"), *view_word(one, "enhanced") != '\0' ? " " : "", view_word(one, "words"));
        table_add(table, view_word(one, "probe"));
        table_add(table, json_is_true(json_object_get(one, "open")) ? "OPEN" : view_word(one, "result"));
        table_add(table, view_word(one, "recipient"));
        table_add(table, reply);
        free(reply);
    }
    table_print(table, out);
    table_free(&table);
}

void relay_test_print(const char *verb, const json_t *body, FILE *out)
{
    const json_t *server;
    size_t i;
    (void)verb;
    json_array_foreach(body, i, server)
    {
        const char *node = view_word(server, "node"), *client = view_word(server, "client"), *from = view_word(server, "from_address");
        print_probes(json_object_get(server, "probes"), out);
        fprintf(out, "\n%s%s%s%s%s%s: %s: %s\n", view_word(server, "server"), *node != '\0' ? " (" : "", node, *node != '\0' ? ", listener " : "",
                view_word(server, "listener"), *node != '\0' ? ")" : "", view_word(server, "verdict"), view_word(server, "reason"));
        if (*from != '\0')
            fprintf(out, "asked from %s, which %s%s%s%s\n", from,
                    json_is_true(json_object_get(server, "inside"))    ? "is inside"
                    : json_is_false(json_object_get(server, "inside")) ? "is outside"
                                                                       : "may be inside or outside for that server",
                    *client != '\0' ? ", as if for " : "", client, i + 1 < json_array_size(body) ? "\n" : "");
    }
}

int relay_test_status(const json_t *body)
{
    int status = EXIT_SUCCESS;
    const json_t *server;
    size_t i;
    json_array_foreach(body, i, server)
    {
        if (strcmp(view_word(server, "verdict"), "open") == 0)
            return STATUS_OPEN;
        if (strcmp(view_word(server, "verdict"), "closed") != 0)
            status = STATUS_UNKNOWN;
    }
    return status;
}
