/*
 * settings_check.c - what values of several keys must be to each other, and to the files of this machine
 *
 * What one value must look like by itself its key's type and form say (settings.c). Errors here carry the place of one of the values.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/config_form.h"
#include "common/dnsbl_site.h"
#include "common/input.h"
#include "common/memory.h"
#include "common/score.h"
#include "common/settings.h"
#include "common/spam_engine.h"

/* One section as its struct; instance NULL for an unnamed one. */
typedef bool (*section_check)(const struct config *config, const char *instance, const void *settings, struct error *why);

/* ---- listeners ------------------------------------------------------------------------------------------------------------------ */

/* Who bound an address, as far as the listeners were looked at. */
struct bound {
    struct netaddr address;
    const char *listener;
};

struct bounds {
    struct bound *items; /* owned */
    size_t count;
};

/* The kernel would let both have it (SO_REUSEPORT), and deal its clients out to them. */
static bool addresses_are_free(struct bounds *bounds, const struct config *config, const char *name, const struct listener_settings *listener,
                               struct error *why)
{
    for (size_t i = 0; i < listener->listen.count; i++) {
        struct bound fresh = { .listener = name };
        netaddr_parse_endpoint(&fresh.address, listener->listen.items[i], NULL); /* its type is checked */
        for (size_t k = 0; k < bounds->count; k++) {
            const struct bound *other = &bounds->items[k];
            if (!netaddr_equal(&other->address, &fresh.address) || other->address.port != fresh.address.port)
                continue;
            config_blame(config, "listener", name, "listen", why, "[listener \"%s\"] has %s, too: give each an address or a port of its own",
                         other->listener, listener->listen.items[i]);
            return false;
        }
        bounds->items = xrealloc(bounds->items, (bounds->count + 1) * sizeof *bounds->items);
        bounds->items[bounds->count++] = fresh;
    }
    return true;
}

/* Whoever is listed may say of itself what it wants: listed as a whole, the internet could relay. */
static bool nobody_is_everybody(const struct config *config, const char *name, const char *key, const struct config_list *list, struct error *why)
{
    for (size_t i = 0; i < list->count; i++) {
        struct netaddr_prefix prefix;
        if (!netaddr_prefix_parse(&prefix, list->items[i], NULL) || prefix.bits > 0)
            continue;
        config_blame(config, "listener", name, key, why, "a prefix of length 0 is everybody, who could then send as anybody; list the peers themselves");
        return false;
    }
    return true;
}

/* Without a certificate there is no TLS: nobody could speak to the one, or log in at the other, unless a peer did that for its clients (XCLIENT). */
static bool needs_no_tls(const struct config *config, const char *name, const struct listener_settings *listener, struct error *why)
{
    const char *key = listener->implicit_tls ? "implicit_tls" : "auth", *more = "";

    if (!listener->implicit_tls && (listener_auth(listener) == AUTH_OFF || listener->xclient_from.count > 0))
        return true;
    if (!listener->implicit_tls)
        more = listener->auth != AUTH_PROFILE ? ", and AUTH is under TLS only"
                                              : ", and AUTH, which submission requires unless auth = off, is under TLS only";
    config_blame(config, "listener", name, key, why, "[tls] has no certificate%s", more);
    return false;
}

static bool check_listeners(const struct config *config, struct error *why)
{
    struct bounds bounds = { 0 };
    struct tls_settings tls;
    const char *name;

    if (!config_fill(config, "tls", NULL, &tls, why))
        return false;
    bool tls_is_there = *tls.certificate != '\0', fine = tls_is_there || *tls.key == '\0';
    if (!fine)
        config_blame(config, "tls", NULL, "key", why, "is set, but certificate is not");
    for (size_t i = 0; fine && (name = config_instance(config, "listener", i)) != NULL; i++) {
        struct listener_settings listener;
        fine = config_fill(config, "listener", name, &listener, why);
        if (!fine)
            break;
        fine = addresses_are_free(&bounds, config, name, &listener, why) &&
               nobody_is_everybody(config, name, "proxy_from", &listener.proxy_from, why) &&
               nobody_is_everybody(config, name, "xclient_from", &listener.xclient_from, why) &&
               (tls_is_there || needs_no_tls(config, name, &listener, why));
        config_clear(settings_table("listener"), &listener);
    }
    free(bounds.items);
    config_clear(settings_table("tls"), &tls);
    return fine;
}

/* ---- the other sections ----------------------------------------------------------------------------------------------------------- */

static bool resolvers_fit(const struct config *config, const char *section, const char *instance, const char *key, const struct config_list *resolvers, struct error *why)
{
    for (size_t i = 0; resolvers->count > 1 && i < resolvers->count; i++)
        if (strcasecmp(resolvers->items[i], "root") == 0) {
            config_blame(config, section, instance, key, why, "root stands alone: either the root servers are asked, or resolvers");
            return false;
        }
    return true;
}

static bool check_edge(const struct config *config, const char *instance, const void *settings, struct error *why)
{
    const struct edge_settings *edge = settings;

    if (edge->public_addresses.count > PUBLIC_ADDRESSES_MAX) {
        config_blame(config, "edge", instance, "public_addresses", why, "%zu addresses; at most %d", edge->public_addresses.count, PUBLIC_ADDRESSES_MAX);
        return false;
    }
    if (!resolvers_fit(config, "edge", instance, "dns_forward", &edge->dns_forward, why))
        return false;
    if (edge->dnsbl.count <= DNSBL_MAX)
        return true;
    config_blame(config, "edge", instance, "dnsbl", why, "%zu lists; at most %d", edge->dnsbl.count, DNSBL_MAX);
    return false;
}

/* Edges connect to where a scanner listens unless it says another place. */
static bool check_egress(const struct config *config, const char *instance, const void *settings, struct error *why)
{
    const struct egress_settings *egress = settings;
    if (egress->addresses.count > 0 && egress->addresses.count <= EGRESS_ADDRESSES_MAX)
        return true;
    config_blame(config, "egress", instance, "addresses", why, "%zu addresses: from one to %d are needed", egress->addresses.count, EGRESS_ADDRESSES_MAX);
    return false;
}

/* Or it would depend on their order where such mail goes out. */
static bool classes_have_one_egress(const struct config *config, struct error *why)
{
    char *owners[EGRESS_CLASSES] = { NULL };
    const char *name;
    bool fine = true;
    for (size_t i = 0; fine && (name = config_instance(config, "egress", i)) != NULL; i++) {
        struct egress_settings egress = { 0 };
        fine = config_fill(config, "egress", name, &egress, why);
        for (size_t k = 0; fine && k < egress.use_for.count; k++) {
            enum egress_class class = egress_class_find(egress.use_for.items[k]);
            fine = owners[class] == NULL;
            if (!fine)
                config_blame(config, "egress", name, "use_for", why, "[egress \"%s\"] has %s, too", owners[class], egress.use_for.items[k]);
            else
                owners[class] = xstrdup(name);
        }
        config_clear(settings_table("egress"), &egress);
    }
    for (size_t i = 0; i < EGRESS_CLASSES; i++)
        free(owners[i]);
    return fine;
}

static bool check_scanner(const struct config *config, const char *instance, const void *settings, struct error *why)
{
    const struct scanner_settings *scanner = settings;
    struct error reason;

    if (*scanner->advertise != '\0' || form_link_to(scanner->listen, &reason))
        return true;
    config_blame(config, "scanner", instance, "advertise", why, "listen = %s is all addresses: say here which one edges connect to", scanner->listen);
    return false;
}

/* name is zone, or below it. */
static bool is_within(const char *name, const char *zone)
{
    size_t len = strlen(name), tail = strlen(zone);
    return len >= tail && strcasecmp(name + len - tail, zone) == 0 && (len == tail || name[len - tail - 1] == '.');
}

static bool check_dns(const struct config *config, const char *instance, const void *settings, struct error *why)
{
    const struct dns_settings *dns = settings;

    if (*dns->dns_server == '\0')
        return true;
    if (*dns->dns_name == '\0')
        config_blame(config, "dns", instance, "dns_server", why, "is set, but dns_name is not: which name's addresses are pushed?");
    else if (*dns->dns_zone == '\0')
        config_blame(config, "dns", instance, "dns_server", why, "is set, but dns_zone is not: which of its zones has dns_name?");
    else if (!is_within(dns->dns_name, dns->dns_zone))
        config_blame(config, "dns", instance, "dns_zone", why, "dns_name = %s is not in it", dns->dns_name);
    else
        return true;
    return false;
}

static bool check_web(const struct config *config, const char *instance, const void *settings, struct error *why)
{
    const struct web_settings *web = settings;

    if (*web->web_key != '\0' && *web->web_certificate == '\0')
        config_blame(config, "web", instance, "web_key", why, "is set, but web_certificate is not");
    else if (*web->web_certificate != '\0' && *web->web_key == '\0')
        config_blame(config, "web", instance, "web_certificate", why, "is set, but web_key is not");
    else if (*web->digest_from != '\0' && web->digest_times.count == 0)
        config_blame(config, "web", instance, "digest_times", why, "is empty, but digest_from is set: when are digests sent?");
    else
        return true;
    return false;
}

static bool check_auth(const struct config *config, const char *instance, const void *settings, struct error *why)
{
    const struct auth_settings *auth = settings;

    if (*auth->ldap_uri == '\0' || (*auth->ldap_dn == '\0') != (*auth->ldap_base == '\0'))
        return true;
    config_blame(config, "auth", instance, "ldap_uri", why, "needs either ldap_dn (a template) or ldap_base (where to search)");
    return false;
}

/* What was found is kept by zone; and to be in a list of friends is nothing to warn of. */
static bool blocklists_fit(const struct config *config, const char *instance, const struct config_list *lists, struct error *why)
{
    struct dnsbl_site sites[DNSBL_MAX];

    if (lists->count > DNSBL_MAX) {
        config_blame(config, "coordinator", instance, "blocklist_zones", why, "%zu lists; at most %d", lists->count, DNSBL_MAX);
        return false;
    }
    for (size_t i = 0; i < lists->count; i++) {
        bool fine = dnsbl_site_parse(&sites[i], lists->items[i], NULL) && sites[i].weight > 0; /* its form is checked */
        if (!fine)
            config_blame(config, "coordinator", instance, "blocklist_zones", why, "%s: a list with a negative weight is one of friends", lists->items[i]);
        for (size_t k = 0; fine && k < i; k++)
            if (strcmp(sites[k].zone, sites[i].zone) == 0) {
                config_blame(config, "coordinator", instance, "blocklist_zones", why, "%s is there twice: say it once, with one pattern", sites[i].zone);
                fine = false;
            }
        if (!fine)
            return false;
    }
    return true;
}

static bool check_coordinator(const struct config *config, const char *instance, const void *settings, struct error *why)
{
    const struct coordinator_settings *coordinator = settings;
    struct cluster_settings cluster;

    if (strcmp(coordinator->listen, coordinator->publish) == 0) {
        config_blame(config, "coordinator", instance, "publish", why, "is the same as listen; it needs a port of its own");
        return false;
    }
    if (coordinator->reputation_reject > 0 && coordinator->reputation_reject < coordinator->reputation_throttle) {
        config_blame(config, "coordinator", instance, "reputation_reject", why, "is less than reputation_throttle: nobody would be throttled");
        return false;
    }
    if (!blocklists_fit(config, instance, &coordinator->blocklist_zones, why) ||
        !resolvers_fit(config, "coordinator", instance, "blocklist_forward", &coordinator->blocklist_forward, why))
        return false;
    if (!config_fill(config, "cluster", NULL, &cluster, why))
        return false;
    bool fits = coordinator->policy_size < cluster.link_message;
    if (!fits)
        config_blame(config, "coordinator", instance, "policy_size", why, "must be less than link_message: a policy is one message");
    config_clear(settings_table("cluster"), &cluster);
    return fits;
}

static bool engines_fit(const struct config *config, const char *instance, const struct config_list *engines, struct error *why)
{
    unsigned seen = 0;

    for (size_t i = 0; i < engines->count; i++) {
        struct spam_engine_entry entry;
        if (!spam_engine_parse(&entry, engines->items[i], why)) /* its form is checked */
            return false;
        if (seen >> entry.kind & 1) {
            config_blame(config, "spam", instance, "spam_engines", why, "%s is there twice", spam_engine_name(entry.kind));
            return false;
        }
        seen |= 1u << entry.kind;
    }
    return true;
}

static bool sharing_fits(const struct config *config, const char *instance, const struct spam_settings *spam, struct error *why)
{
    const char *what = NULL;

    if (spam->rspamd_shared_memory == 0)
        return true;
    if (!spam_server_is_local(spam->rspamd))
        what = "needs rspamd on this machine: rspamd must be a unix socket or an address of loopback; or set it to 0";
    else if (spam->rspamd_shared_memory > spam->spam_size)
        what = "is more than spam_size: no message would be handed over so";
    else if (spam->rspamd_shared_memory > spam->rspamd_shared_memory_max)
        what = "is more than rspamd_shared_memory_max: no message would have room there";
    if (what != NULL)
        config_blame(config, "spam", instance, "rspamd_shared_memory", why, "%s", what);
    return what == NULL;
}

static bool check_spam(const struct config *config, const char *instance, const void *settings, struct error *why)
{
    const struct spam_settings *spam = settings;
    int32_t half, most;

    if (!engines_fit(config, instance, &spam->spam_engines, why) || !sharing_fits(config, instance, spam, why))
        return false;
    if (score_points_parse(&half, spam->rspamd_spam) && score_points_parse(&most, spam->rspamd_reject) && half < most)
        return true;
    config_blame(config, "spam", instance, "rspamd_reject", why, "must be more than rspamd_spam: 90 is more than 50");
    return false;
}

/* Every section is filled, so that a key without a value is found whosever it is. */
static bool check_section(const struct config *config, const struct config_section *section, const char *instance, section_check check,
                          struct error *why)
{
    void *filled = xcalloc(1, section->size);
    bool fine = config_fill(config, section->name, instance, filled, why) && (check == NULL || check(config, instance, filled, why));

    config_clear(section, filled);
    free(filled);
    return fine;
}

static section_check check_of(const char *section)
{
    static const struct {
        const char *section;
        section_check check;
    } checks[] = {
        { "auth", check_auth }, { "dns", check_dns }, { "coordinator", check_coordinator }, { "edge", check_edge }, { "egress", check_egress },
        { "scanner", check_scanner }, { "spam", check_spam }, { "web", check_web },
    };

    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (strcmp(checks[i].section, section) == 0)
            return checks[i].check;
    return NULL;
}

static bool check_all(const struct config *config, struct error *why)
{
    for (const struct config_section *section = settings_tables; section->name != NULL; section++) {
        const char *instance;
        section_check check = check_of(section->name);
        if (!section->named && !check_section(config, section, NULL, check, why))
            return false;
        for (size_t i = 0; section->named && (instance = config_instance(config, section->name, i)) != NULL; i++)
            if (!check_section(config, section, instance, check, why))
                return false;
    }
    return check_listeners(config, why) && classes_have_one_egress(config, why);
}

struct config *settings_load(const char *path, char *const *overrides, size_t count, struct error *why)
{
    struct config *config = config_load(path, settings_tables, overrides, count, why);

    if (config != NULL && !check_all(config, why))
        config_free(&config);
    return config;
}

/* ---- this machine ------------------------------------------------------------------------------------------------------------------ */

bool settings_check_folder(const struct config *config, const char *section, const char *key, const char *path, struct error *why)
{
    struct stat found;
    bool there = stat(path, &found) == 0;

    if (there && !S_ISDIR(found.st_mode)) {
        errno = ENOTDIR;
        there = false;
    }
    if (there && faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0)
        return true;
    config_blame(config, section, NULL, key, why, "%s: %s", path, strerror(errno));
    return false;
}

bool settings_check_input(const struct config *config, const char *section, const char *key, const char *path, struct error *why)
{
    int fd = *path != '\0' ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
    struct stat found;

    if (*path == '\0')
        return true;
    bool there = fd >= 0 && fstat(fd, &found) == 0;
    if (there && S_ISDIR(found.st_mode)) {
        errno = EISDIR;
        there = false;
    }
    if (!there)
        config_blame(config, section, NULL, key, why, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return there;
}

bool settings_check_file(const struct config *config, const char *section, const char *key, const char *path, struct error *why)
{
    struct error reason;

    if (input_is_no_pipe(path, &reason))
        return settings_check_input(config, section, key, path, why);
    config_blame(config, section, NULL, key, why, "%s %s", path, reason.text);
    return false;
}

bool settings_check_private(const struct config *config, const char *section, const char *key, const char *path, struct error *why)
{
    struct stat found;

    if (stat(path, &found) != 0 || (found.st_mode & S_IROTH) == 0)
        return true;
    config_blame(config, section, NULL, key, why, "%s: mode %04o lets everybody read the private key; chmod o= it", path,
                 (unsigned)found.st_mode & 07777);
    return false;
}

bool settings_check_log(const struct config *config, const char *path, struct error *why)
{
    if (strcmp(path, "-") == 0 || faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0)
        return true;
    if (errno == ENOENT) { /* it will be made */
        char *folder = xasprintf("%.*s", (int)(strrchr(path, '/') - path + 1), path);
        bool fine = faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0;
        free(folder);
        if (fine)
            return true;
    }
    config_blame(config, "log", NULL, "file", why, "%s: %s", path, strerror(errno));
    return false;
}
