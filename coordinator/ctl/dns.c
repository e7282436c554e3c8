/*
 * dns.c - see dns.h
 */
#include "coordinator/ctl/dns.h"
#include <string.h>
#include "coordinator/ctl/views.h"
#include "coordinator/dns_records.h"

#define NO_HEALTHY "no edge is healthy, and a name without addresses would take the site off: the last ones stay"

static void print_records(const json_t *body, const json_t *addresses, FILE *out)
{
    struct text records;
    size_t i;
    const json_t *address;

    text_init(&records);
    json_array_foreach(addresses, i, address)
        dns_record_add(&records, view_word(body, "name"), (uint64_t)json_integer_value(json_object_get(body, "ttl")), json_string_value(address));
    fputs(records.data, out);
    text_fini(&records);
}

static void print_edges(const json_t *body, FILE *out)
{
    size_t i, k;
    const json_t *edge, *address;

    json_array_foreach(json_object_get(body, "edges"), i, edge)
    {
        fprintf(out, "; %s", view_word(edge, "node"));
        json_array_foreach(json_object_get(edge, "addresses"), k, address)
            fprintf(out, " %s", json_string_value(address));
        if (!json_is_true(json_object_get(edge, "healthy")))
            fprintf(out, " is left out: %s", view_word(edge, "why"));
        fputs("\n", out);
    }
}

static void print_push(const json_t *body, FILE *out)
{
    char when[32];

    if (*view_word(body, "server") == '\0')
        return;
    if (*view_word(body, "pushed_at") != '\0')
        fprintf(out, "; pushed to %s by %s at %s\n", view_word(body, "server"), view_word(body, "pushed_by"), view_time(when, view_word(body, "pushed_at")));
    if (*view_word(body, "failed_at") != '\0')
        fprintf(out, "; the push at %s failed: %s\n", view_time(when, view_word(body, "failed_at")), view_word(body, "error"));
}

static void print_former(const json_t *body, FILE *out)
{
    char when[32];
    size_t i;
    const json_t *former;

    json_array_foreach(json_object_get(body, "former"), i, former)
        fprintf(out, "; %s, the name before %s, still has addresses at %s%s%s\n", view_word(former, "name"), view_time(when, view_word(former, "left_at")),
                view_word(former, "server"), *view_word(former, "error") != '\0' ? ": " : "", view_word(former, "error"));
}

bool dns_print(const json_t *body, FILE *out, struct error *why)
{
    const json_t *addresses = json_object_get(body, "addresses"), *pushed = json_object_get(body, "pushed");
    bool healthy = json_array_size(addresses) > 0;

    if (*view_word(body, "name") == '\0')
        error_set(why, "the leading coordinator's configuration has no dns_name in [dns]: which name's addresses are they?");
    else if (!healthy && json_array_size(pushed) == 0)
        error_set(why, "no edge is healthy, and nothing is known of before");
    else {
        if (!healthy)
            fputs("; no edge is healthy; these were the last that were pushed\n", out);
        print_edges(body, out);
        print_push(body, out);
        print_former(body, out);
        print_records(body, healthy ? addresses : pushed, out);
        return true;
    }
    return false;
}

bool dns_print_script(const json_t *body, FILE *out, struct error *why)
{
    struct dns_update update = {
        .server = view_word(body, "server"),
        .zone = view_word(body, "zone"),
        .name = view_word(body, "name"),
        .ttl_s = (uint64_t)json_integer_value(json_object_get(body, "ttl")),
    };
    struct text script;

    if (*update.server == '\0') {
        error_set(why, "nothing is pushed: the leading coordinator's configuration has no dns_server in [dns]");
        return false;
    }
    text_init(&script);
    bool fine = dns_update_script(&script, &update, json_object_get(body, "addresses"));
    if (fine)
        fputs(script.data, out);
    else
        error_set(why, NO_HEALTHY);
    text_fini(&script);
    return fine;
}
