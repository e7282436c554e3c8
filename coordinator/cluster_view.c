/*
 * cluster_view.c - the cluster state as read from the database: JSON in, structs out
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/cluster.h"

static const char *const roles[] = { "unknown", "edge", "scanner", "coordinator", "operator" };
static const char *const states[] = { "unknown", "starting", "active", "draining", "drained" };

static const char *const stops[] = { "unknown", "throttled", "held", "refused", "full" };

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static size_t find(const char *const *words, size_t count, const char *word)
{
    for (size_t i = 1; word != NULL && i < count; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    return 0;
}

const char *role_text(Weir__Role role)
{
    return (size_t)role < COUNT(roles) ? roles[role] : roles[0];
}

Weir__Role role_parse(const char *text)
{
    return (Weir__Role)find(roles, COUNT(roles), text);
}

const char *state_text(Weir__NodeState state)
{
    return (size_t)state < COUNT(states) ? states[state] : states[0];
}

static const char *get_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void parse_node(struct cluster_node *node, const json_t *entry)
{
    node->name = xstrdup(get_text(entry, "name"));
    node->endpoint = xstrdup(get_text(entry, "endpoint"));
    node->role = role_parse(get_text(entry, "role"));
    node->state = (Weir__NodeState)find(states, COUNT(states), get_text(entry, "state"));
    node->drain = json_is_true(json_object_get(entry, "drain"));
    node->lost = json_is_true(json_object_get(entry, "lost"));
    node->drain_number = (uint64_t)json_integer_value(json_object_get(entry, "drain_number"));
    node->gc = (uint64_t)json_integer_value(json_object_get(entry, "gc"));
    node->signature_number = (uint64_t)json_integer_value(json_object_get(entry, "signature_number"));
    node->has_signatures = signature_unhex(node->signature_set, get_text(entry, "signature_set"));
    node->has_key = curve_key_parse(node->public_key, get_text(entry, "public_key"));
}

/* Functions of before tell no letters: all are held. */
static void parse_beyond(struct cluster_view *view, const json_t *root)
{
    const json_t *told = json_object_get(root, "beyond"), *entry;
    const char *letter = get_text(root, "beyond_states");
    size_t i, room = json_array_size(told);
    view->beyond = xcalloc(room + 1, sizeof *view->beyond);
    view->beyond_states = xcalloc(room + 1, sizeof *view->beyond_states);
    json_array_foreach(told, i, entry)
    {
        if (view->beyond_count == WIRE_BEYOND_MAX)
            break;
        view->beyond_states[view->beyond_count] = *letter == 'f'   ? WEIR__OUTBOUND_STATE__OUTBOUND_FULL
                                                  : *letter == 'r' ? WEIR__OUTBOUND_STATE__OUTBOUND_REFUSED
                                                                   : WEIR__OUTBOUND_STATE__OUTBOUND_HELD;
        view->beyond[view->beyond_count++] = wire_subject_digest(json_is_string(entry) ? json_string_value(entry) : "");
        letter += *letter != '\0';
    }
}

bool cluster_view_parse(struct cluster_view *view, const char *text, struct error *why)
{
    *view = (struct cluster_view){ 0 };
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    const json_t *nodes = json_object_get(root, "nodes"), *keys = json_object_get(root, "keys");
    json_int_t epoch = json_integer_value(json_object_get(root, "epoch"));
    if (epoch <= 0 || !json_is_array(nodes) || !json_is_array(keys)) {
        error_set(why, "cluster state: %s", root == NULL ? error.text : "epoch, nodes or keys are missing");
        json_decref(root);
        return false;
    }
    view->epoch = (uint64_t)epoch;
    view->policy_epoch = (uint64_t)json_integer_value(json_object_get(root, "policy_epoch"));
    view->policy_digest = xstrdup(get_text(root, "policy_digest"));
    view->identity = xstrdup(get_text(root, "identity"));
    view->nodes = xcalloc(json_array_size(nodes) + 1, sizeof *view->nodes);
    view->keys = xcalloc(json_array_size(keys) + 1, sizeof *view->keys);
    size_t i;
    json_t *entry;
    json_array_foreach(nodes, i, entry) if (view->node_count < WIRE_NODES_MAX)
        parse_node(&view->nodes[view->node_count++], entry);
    json_array_foreach(keys, i, entry)
    {
        struct link_allowed_key *key = &view->keys[view->key_count];
        key->role = role_parse(get_text(entry, "role"));
        size_t len = strlen(get_text(entry, "name"));
        if (view->key_count == WIRE_KEYS_MAX || key->role == WEIR__ROLE__ROLE_UNSPECIFIED || len >= sizeof key->name ||
            !curve_key_parse(key->key, get_text(entry, "key")))
            continue;
        memcpy(key->name, get_text(entry, "name"), len + 1);
        view->key_count++;
    }
    const json_t *told = json_object_get(root, "stops"); /* NULL: functions of before */
    view->stops = xcalloc(json_array_size(told) + 1, sizeof *view->stops);
    json_array_foreach(told, i, entry)
    {
        size_t state = find(stops, COUNT(stops), get_text(entry, "state")), len = strlen(get_text(entry, "subject"));
        if (state > 0 && len > 0 && len <= WIRE_SUBJECT_MAX && view->stop_count < WIRE_STOPS_MAX)
            view->stops[view->stop_count++] = (struct cluster_stop){ xstrdup(get_text(entry, "subject")), (Weir__OutboundState)state };
    }
    parse_beyond(view, root);
    view->personal_blocks = json_is_true(json_object_get(root, "personal_blocks"));
    told = json_object_get(root, "pools");
    view->pools = xcalloc(json_array_size(told) + 1, sizeof *view->pools);
    json_array_foreach(told, i, entry)
    {
        size_t len = strlen(get_text(entry, "subject")), pool = strlen(get_text(entry, "pool"));
        if (len > 0 && len <= WIRE_SUBJECT_MAX && pool > 0 && pool <= WIRE_NAME_MAX && view->pool_count < WIRE_STOPS_MAX)
            view->pools[view->pool_count++] = (struct cluster_pool){ xstrdup(get_text(entry, "subject")), xstrdup(get_text(entry, "pool")) };
    }
    json_decref(root);
    return true;
}

void cluster_view_clear(struct cluster_view *view)
{
    for (size_t i = 0; i < view->node_count; i++) {
        free(view->nodes[i].name);
        free(view->nodes[i].endpoint);
    }
    for (size_t i = 0; i < view->stop_count; i++)
        free(view->stops[i].subject);
    for (size_t i = 0; i < view->pool_count; i++) {
        free(view->pools[i].subject);
        free(view->pools[i].pool);
    }
    free(view->stops);
    free(view->pools);
    free(view->beyond);
    free(view->beyond_states);
    free(view->policy_digest);
    free(view->identity);
    free(view->nodes);
    free(view->keys);
    *view = (struct cluster_view){ 0 };
}
