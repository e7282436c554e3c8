/*
 * resolver.c - a libunbound context as the dns_ keys want it
 */
#include "edge/dns/resolver.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <unbound-event.h>
#include "common/config_form.h"
#include "common/netaddr.h"
#include "edge/dns/dns.h"

static bool asks_root(const struct edge_settings *settings)
{
    return settings->dns_forward.count == 1 && strcasecmp(settings->dns_forward.items[0], "root") == 0;
}

/* The items were checked when the file was read (form_resolver, form_stub): what is none of these is passed over. */

/* "192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53" as libunbound writes it: "192.0.2.1@5353". */
static bool server_text(char out[NETADDR_TEXT_MAX + 8], const char *item)
{
    struct netaddr address;
    char text[NETADDR_TEXT_MAX];
    if (!form_name_server(&address, item, NULL))
        return false;
    snprintf(out, NETADDR_TEXT_MAX + 8, "%s@%u", netaddr_format(&address, text), address.port);
    return true;
}

/* "example.edu=192.0.2.1" */
static bool stub_split(char zone[DNS_NAME_MAX], char server[NETADDR_TEXT_MAX + 8], const char *item)
{
    const char *equals = strchr(item, '=');
    size_t len = equals != NULL ? (size_t)(equals - item) : 0;
    if (len == 0 || len >= DNS_NAME_MAX)
        return false;
    memcpy(zone, item, len);
    zone[len] = '\0';
    return server_text(server, equals + 1);
}

/* It was there when the edge started; libunbound would say nothing, and fail every question. */
static bool file_is_readable(const char *key, const char *path, struct error *why)
{
    if (path == NULL || *path == '\0' || access(path, R_OK) == 0)
        return true;
    error_set(why, "%s = %s: %s", key, path, strerror(errno));
    return false;
}

/* Each returns libunbound's error code. */

static int use_forwarders(struct ub_ctx *context, const struct edge_settings *settings)
{
    char server[NETADDR_TEXT_MAX + 8];
    int code = 0;
    if (asks_root(settings)) {
        const char *hints = settings->dns_root_hints;
        return hints != NULL && *hints != '\0' ? ub_ctx_set_option(context, "root-hints:", hints) : 0;
    }
    if (settings->dns_forward.count == 0) {
        /* Without resolv.conf libunbound asks the root itself. */
        code = ub_ctx_resolvconf(context, NULL);
        return code == UB_READFILE ? 0 : code;
    }
    for (size_t i = 0; code == 0 && i < settings->dns_forward.count; i++)
        if (server_text(server, settings->dns_forward.items[i]))
            code = ub_ctx_set_fwd(context, server);
    return code;
}

static int use_stubs(struct ub_ctx *context, const struct edge_settings *settings)
{
    char zone[DNS_NAME_MAX], server[NETADDR_TEXT_MAX + 8];
    int code = 0;
    for (size_t i = 0; code == 0 && i < settings->dns_stub.count; i++) {
        if (!stub_split(zone, server, settings->dns_stub.items[i]))
            continue;
        code = ub_ctx_set_stub(context, zone, server, 0);
    }
    return code;
}

/* It answers for some zones (127.in-addr.arpa, test) by itself. The first such call ends what can be set. */
static int give_up_own_zones(struct ub_ctx *context, const struct edge_settings *settings)
{
    char zone[DNS_NAME_MAX], server[NETADDR_TEXT_MAX + 8];
    int code = 0;
    for (size_t i = 0; code == 0 && i < settings->dns_stub.count; i++)
        if (stub_split(zone, server, settings->dns_stub.items[i]))
            code = ub_ctx_zone_remove(context, zone);
    return code;
}

static int use_hosts_file(struct ub_ctx *context)
{
    int code = ub_ctx_hosts(context, NULL); /* without one there are no local names */
    return code == UB_READFILE ? 0 : code;
}

static int use_options(struct ub_ctx *context, const struct edge_settings *settings)
{
    int code = ub_ctx_set_option(context, "do-not-query-localhost:", "no");
    if (code == 0 && !asks_root(settings)) /* a site's own resolver knows the names of private addresses */
        code = ub_ctx_set_option(context, "unblock-lan-zones:", "yes");
    if (code == 0 && !asks_root(settings))
        code = ub_ctx_set_option(context, "insecure-lan-zones:", "yes");
    if (code == 0 && settings->dns_trust_anchor != NULL && *settings->dns_trust_anchor != '\0')
        code = ub_ctx_add_ta_file(context, settings->dns_trust_anchor);
    return code;
}

struct ub_ctx *resolver_new(struct event_base *base, const struct edge_settings *settings, struct error *why)
{
    if (!file_is_readable("dns_trust_anchor", settings->dns_trust_anchor, why) || !file_is_readable("dns_root_hints", settings->dns_root_hints, why))
        return NULL;
    struct ub_ctx *context = ub_ctx_create_event(base);
    if (context == NULL) {
        error_set(why, "cannot make a DNS context");
        return NULL;
    }
    int code = use_options(context, settings);
    if (code == 0)
        code = use_forwarders(context, settings);
    if (code == 0)
        code = use_stubs(context, settings);
    if (code == 0)
        code = use_hosts_file(context);
    if (code == 0)
        code = give_up_own_zones(context, settings);
    if (code != 0) {
        error_set(why, "DNS: %s", ub_strerror(code));
        ub_ctx_delete(context);
        return NULL;
    }
    return context;
}
