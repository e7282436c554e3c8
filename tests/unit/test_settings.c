/* test_settings.c - what each key of weir.conf takes and refuses by itself, and what several must be to each other */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/config_form.h"
#include "common/dnsbl_site.h"
#include "common/memory.h"
#include "common/settings.h"
#include "common/signature_set.h"
#include "tests/unit/suite.h"

#define LABEL "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" /* 63 */
#define HEX "0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789abcdefABCD"   /* 64 digits */

static const struct source_case {
    const char *source, *shown;
} sources[] = {
    { "database.clamav.net", "database.clamav.net" },
    { "https://mirror.example.edu", "https://mirror.example.edu" },
    { "https://mirror.example.edu/", "https://mirror.example.edu/" },
    { "https://mirror.example.edu:8443/customer-7", "https://mirror.example.edu:8443/..." },
    { "https://us:er@mirror.example.edu/", "https://mirror.example.edu/" },
    { "https://user:p@ss@mirror.example.edu", "https://mirror.example.edu" },
    { "http://mirror.example.edu?key=7", "http://mirror.example.edu/..." },
    { "https://mirror.example.edu/own.ndb", "https://mirror.example.edu/own.ndb" },
    { "https://user:word@mirror.example.edu/customer-7/own.ndb", "https://mirror.example.edu/.../own.ndb" },
    { "https://mirror.example.edu/get?key=7/own.ndb", "https://mirror.example.edu/.../own.ndb" },
    { "https://mirror.example.edu?key=7@b/own.ndb", "https://mirror.example.edu/.../own.ndb" },
    { "file:///srv/signatures/own.ndb", "file:///srv/signatures/own.ndb" },
};

START_TEST(source)
{
    char *shown = signature_source_public(sources[_i].source);
    ck_assert_str_eq(shown, sources[_i].shown);
    free(shown);
}
END_TEST

static const struct form_case {
    bool (*form)(const char *text, struct error *why);
    const char *text, *why; /* why NULL: taken; else what the words begin with */
} forms[] = {
    { form_host, "mx1.example.edu", NULL },
    { form_host, "mx_1.Example.edu", NULL },
    { form_host, "mx1.example.edu.", "expected the name of a host, as mx1.example.edu, without a dot at its end" },
    { form_host, "localhost", NULL },
    { form_host, LABEL "." LABEL ".edu", NULL },
    { form_host, "a" LABEL ".edu", "expected the name of a host" },
    { form_host, LABEL "." LABEL "." LABEL "." LABEL, "expected" }, /* 255 octets */
    { form_host, "", "expected" },
    { form_host, ".", "expected" },
    { form_host, "a..b", "expected" },
    { form_host, "-a.b", "expected" },
    { form_host, "a-.b", "expected" },
    { form_host, "two words", "expected" },
    { form_spam_server, "127.0.0.1:11333", NULL },
    { form_spam_server, "[::1]:11333", NULL },
    { form_spam_server, "/run/rspamd/worker.sock", NULL },
    { form_spam_server, "unix:/run/rspamd/worker.sock", NULL },
    { form_spam_server, "unix:run/worker.sock", "expected an address with a port, as 127.0.0.1:11333, or a unix socket's absolute path" },
    { form_spam_server, "unix:127.0.0.1:11333", "expected" },
    { form_spam_server, "unix:", "expected" },
    { form_spam_server, "/" LABEL LABEL, "expected" }, /* no struct sockaddr_un holds that */
    { form_spam_server, "rspamd", "expected" },
    { form_group, "", NULL },
    { form_group, "_rspamd", NULL },
    { form_group, "-x", "expected a group's name, as _rspamd, or nothing" },
    { form_group, "a b", "expected" },
    { form_group, "abcdefghijklmnopqrstuvwxyz0123456", "expected" },
    { form_host, "192.0.2.300", "expected" },
    { form_host, "m\xc3\xbcller.example", "expected" },
    { form_host_port, "mx1.example.edu:25", NULL },
    { form_host_port, "[2001:db8::1]:25", NULL },
    { form_host_port, "192.0.2.1:65535", NULL },
    { form_host_port, "mx1.example.edu", "expected a host and its port" },
    { form_host_port, "mx1.example.edu:0", "expected" },
    { form_host_port, "mx1.example.edu:65536", "expected" },
    { form_host_port, "mx1.example.edu:25x", "expected" },
    { form_host_port, "*:25", "expected" },
    { form_host_port, "[::]:25", "expected" },
    { form_host_port, "2001:db8::1:25", "expected" },
    { form_host_service, "localhost", NULL },
    { form_host_service, "mx1.example.edu.", NULL },
    { form_host_service, "mx1.example.edu:587", NULL },
    { form_host_service, "mx1.example.edu:submission", NULL },
    { form_host_service, "mx1.example.edu:z39-50", NULL },
    { form_host_service, "192.0.2.1", NULL },
    { form_host_service, "192.0.2.1:smtp", NULL },
    { form_host_service, "[2001:db8::1]", NULL },
    { form_host_service, "[2001:db8::1]:submissions", NULL },
    { form_host_service, LABEL "." LABEL "." LABEL ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.:25", NULL }, /* 253 and a dot */
    { form_host_service, LABEL "." LABEL "." LABEL "." LABEL, "expected a host, with its port or service" },
    { form_host_service, "", "expected" },
    { form_host_service, ":25", "expected" },
    { form_host_service, "mx1.example.edu:", "expected" },
    { form_host_service, "mx1.example.edu:0", "expected" },
    { form_host_service, "mx1.example.edu:65536", "expected" },
    { form_host_service, "mx1.example.edu:25:25", "expected" },
    { form_host_service, "mx1.example.edu:-smtp", "expected" },
    { form_host_service, "mx1.example.edu:sixteen-letters-", "expected" },
    { form_host_service, "mx1.example.edu:a-service-of-17-l", "expected" },
    { form_host_service, "mx1.example.edu:no_service", "expected" },
    { form_host_service, "192.0.2.300", "expected" },
    { form_host_service, "*:25", "expected" },
    { form_host_service, "2001:db8::1", "expected" },
    { form_host_service, "[2001:db8::1", "expected" },
    { form_host_service, "[2001:db8::1]25", "expected" },
    { form_host_service, "[mx1.example.edu]:25", "expected" },
    { form_mailbox, "verify@example.edu", NULL },
    { form_mailbox, "a.b+c=d@example.edu", NULL },
    { form_mailbox, "verify", "expected a mail address" },
    { form_mailbox, "@example.edu", "expected" },
    { form_mailbox, "a b@example.edu", "expected" },
    { form_mailbox, ".a@example.edu", "expected" },
    { form_mailbox, "a.@example.edu", "expected" },
    { form_mailbox, "a..b@example.edu", "expected" },
    { form_mailbox, "a@b@example.edu", "expected" },
    { form_mailbox, "a@", "expected" },
    { form_mailbox, "a" LABEL "a@example.edu", "expected" },
    { form_path, "/var/lib/weir", NULL },
    { form_path, "weir", "expected an absolute path" },
    { form_path, "", "expected" },
    { form_log_file, "-", NULL },
    { form_log_file, "/var/log/weir.log", NULL },
    { form_log_file, "weir.log", "expected an absolute path" },
    { form_words, "Call 555", NULL },
    { form_words, "J\xc3\xb6rg", "expected at most 256 printable ASCII" },
    { form_words, "a\tb", "expected" },
    { form_words, LABEL LABEL LABEL LABEL LABEL, "expected" },
    { form_endpoint, "192.0.2.1:25", NULL },
    { form_endpoint, "example.edu:25", "expected an address with a port" },
    { form_link, "tcp://192.0.2.5:7025", NULL },
    { form_link, "tcp://*:7025", NULL },
    { form_link, "tcp://0.0.0.0:7025", NULL },
    { form_link, "tcp://[2001:db8::5]:7025", NULL },
    { form_link, "tcp://node.example.edu:7025", NULL },
    { form_link, "192.0.2.5:7025", "expected tcp://" },
    { form_link, "tcp://192.0.2.5", "expected" },
    { form_link, "tcp://192.0.2.500:7025", "expected" },
    { form_link, "udp://192.0.2.5:7025", "expected" },
    { form_link_to, "tcp://node.example.edu:7025", NULL },
    { form_link_to, "tcp://node.example.edu.:7025", NULL }, /* a name that is looked up may be said to be whole */
    { form_link_to, "tcp://*:7025", "expected tcp://ADDRESS:PORT that others can connect to" },
    { form_link_to, "tcp://0.0.0.0:7025", "expected" },
    { form_link_to, "tcp://[::]:7025", "expected" },
    { form_curve_key, HEX, NULL },
    { form_curve_key, "0" HEX, "expected 64 hex digits" },
    { form_curve_key, "x", "expected" },
    { form_address, "192.0.2.1", NULL },
    { form_address, "2001:db8::1", NULL },
    { form_address, "192.0.2.1:25", "expected an IP address" },
    { form_address, "mx.example.edu", "expected an IP address" },
    { form_server_address, "192.0.2.53", NULL },
    { form_server_address, "[2001:db8::1]:5353", NULL },
    { form_server_address, "root", "expected the address of a name server" },
    { form_resolver, "192.0.2.1", NULL },
    { form_resolver, "[2001:db8::1]:5353", NULL },
    { form_resolver, "Root", NULL },
    { form_resolver, "ns.example", "expected the address of a name server" },
    { form_stub, "example.edu=192.0.2.1", NULL },
    { form_stub, "127.in-addr.arpa=[2001:db8::1]:5353", NULL },
    { form_stub, ".=192.0.2.1", NULL },
    { form_stub, "example.edu.=192.0.2.1", NULL },
    { form_stub, "example.edu", "expected ZONE=ADDRESS" },
    { form_stub, "=192.0.2.1", "expected" },
    { form_stub, "example.edu=ns", "expected" },
    { form_dnsbl, "zen.example.org=127.0.0.[2..11]*2", NULL },
    { form_dnsbl, "zen.example.org=127.0.0", "expected behind = an address or a pattern" },
    { form_ldap_uri, "ldaps://192.0.2.1", NULL },
    { form_ldap_uri, "LDAPI:///run/slapd", NULL },
    { form_ldap_uri, "192.0.2.1", "expected ldap://" },
    { form_ldap_template, "uid=%u,dc=example", NULL },
    { form_ldap_template, "uid=you,dc=%d", "expected %s (the login) or %u" },
    { form_ldap_attribute, "mail", NULL },
    { form_ldap_attribute, "0.9.2342.19200300.100.1.3", NULL },
    { form_ldap_attribute, "mail address", "expected an attribute's name" },
    { form_ldap_attribute, "", "expected" },
};

START_TEST(form)
{
    const struct form_case *c = &forms[_i];
    struct error why = { "" };
    char *exact = xstrdup(c->text); /* so that ASan sees one byte read too far */
    bool taken = c->form(exact, &why);

    free(exact);
    ck_assert_msg(taken == (c->why == NULL), "'%s': %s", c->text, taken ? "taken" : why.text);
    if (!taken)
        ck_assert_msg(strncmp(why.text, c->why, strlen(c->why)) == 0, "'%s': %s", c->text, why.text);
}
END_TEST

/* settings_load() of text in a file named "c", whose path it had */
static struct config *load_text(const char *text, char path[64], struct error *why)
{
    char folder[] = "/tmp/weir-test-settings-XXXXXX";

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, 64, "%s/c", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    struct config *config = settings_load(path, NULL, 0, why);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
    return config;
}

/* The words on an error, without the file's folder, or "" */
static void load(const char *text, char words[600])
{
    char path[64];
    struct error why = { "" };

    struct config *config = load_text(text, path, &why);
    ck_assert((config == NULL) == (why.text[0] != '\0'));
    snprintf(words, 600, "%s", strncmp(why.text, path, strlen(path)) == 0 ? why.text + strlen(path) - 1 : why.text);
    config_free(&config);
}

/* A file whose second line is that. */
static char *with_key(const struct config_section *section, const char *key, const char *value)
{
    return xasprintf("[%s%s]\n%s = %s\n", section->name, section->named ? " \"x\"" : "", key, value);
}

/* Texts that none of the programs could use, for keys that take nearly every text. NULL: every text may be right there. */
static const struct {
    const char *key, *bad;
} free_texts[] = {
    { "name", "J\xc3\xb6rg" },   { "contact", "J\xc3\xb6rg" },
    { "dnsbl_text", "J\xc3\xb6rg" }, { "spam_subject", "J\xc3\xb6rg" }, { "virus_subject", "J\xc3\xb6rg" }, { "blacklist_subject", "J\xc3\xb6rg" }, { "database", NULL }, { "web_database", NULL }, /* libpq's, whose words the coordinator's -t tells */
    { "ldap_base", NULL },          { "ldap_service_dn", NULL }, /* the directory's */
};

static const char *bad_value(const char *key)
{
    for (size_t i = 0; i < sizeof free_texts / sizeof *free_texts; i++)
        if (strcmp(free_texts[i].key, key) == 0)
            return free_texts[i].bad;
    return "no such value";
}

/* A key that is new and takes this has no form, and needs one, or a line above. */
START_TEST(every_key_refuses_what_is_wrong_at_its_line)
{
    for (const struct config_section *section = settings_tables; section->name != NULL; section++)
        for (const struct config_key *key = section->keys; key->name != NULL; key++) {
            const char *bad = bad_value(key->name);
            if (bad == NULL)
                continue;
            char words[600], *text = with_key(section, key->name, bad), *place = xasprintf("c:2: error: %s", key->name);
            load(text, words);
            ck_assert_msg(strncmp(words, place, strlen(place)) == 0, "[%s] %s: \"%s\"", section->name, key->name, words);
            ck_assert_msg(strstr(words, "expected") != NULL || strstr(words, "is not an IP address") != NULL || strstr(words, "has no port") != NULL,
                          "[%s] %s: \"%s\" says not what is right", section->name, key->name, words);
            free(text);
            free(place);
        }
}
END_TEST

START_TEST(every_limit_is_told_at_its_line)
{
    for (const struct config_section *section = settings_tables; section->name != NULL; section++)
        for (const struct config_key *key = section->keys; key->name != NULL; key++) {
            char words[600], place[200];
            snprintf(place, sizeof place, "c:2: error: %s = ", key->name);
            if (key->type != CONFIG_UINT && key->type != CONFIG_SIZE && key->type != CONFIG_DURATION)
                continue;
            for (int high = 0; high < 2; high++) {
                if (high ? key->max == 0 : key->min == 0)
                    continue;
                char *value = xasprintf(key->type == CONFIG_DURATION ? "%llums" : "%llu", (unsigned long long)(high ? key->max + 1 : key->min - 1));
                char *text = with_key(section, key->name, value);
                load(text, words);
                ck_assert_msg(strncmp(words, place, strlen(place)) == 0 && strstr(words, high ? "the most is" : "the least is") != NULL, "[%s] %s: \"%s\"",
                              section->name, key->name, words);
                free(text);
                free(value);
            }
        }
}
END_TEST

#define COORDINATOR(name, port) "[coordinator \"" name "\"]\nlisten = tcp://192.0.2.5:" port "1\npublish = tcp://192.0.2.5:" port "2\npublic_key = " HEX "\n"

static const struct {
    const char *text, *why; /* "": taken */
} wholes[] = {
    { "", "" },
    { "[dns]\ndns_server = 192.0.2.53\ndns_name = mx.example.edu\ndns_zone = Example.edu\n", "" },
    { "[dns]\ndns_server = 192.0.2.53\ndns_name = example.edu\ndns_zone = example.edu\n", "" },
    { "[dns]\ndns_server = 192.0.2.53\n", "c:2: error: [dns] dns_server: is set, but dns_name is not: which name's addresses are pushed?" },
    { "[dns]\ndns_server = 192.0.2.53\ndns_name = mx.example.edu\n", "c:2: error: [dns] dns_server: is set, but dns_zone is not: which of its zones has dns_name?" },
    { "[dns]\ndns_server = 192.0.2.53\ndns_name = mx.anexample.edu\ndns_zone = example.edu\n",
      "c:4: error: [dns] dns_zone: dns_name = mx.anexample.edu is not in it" },
    { "[edge]\npublic_addresses = ::1, ::2, ::3, ::4, ::5, ::6, ::7, ::8, ::9, ::a, ::b, ::c, ::d, ::e, ::f, ::10, ::11\n",
      "c:2: error: [edge] public_addresses: 17 addresses; at most 16" },
    { "[listener \"a\"]\nlisten = 192.0.2.1:25, [::]:25\n[listener \"b\"]\nlisten = 192.0.2.1:26, [::1]:25\n", "" },
    { "[listener \"a\"]\nlisten = 192.0.2.1:25\n[listener \"b\"]\nlisten = 192.0.2.2:25, 192.0.2.1:25\n",
      "c:4: error: [listener \"b\"] listen: [listener \"a\"] has 192.0.2.1:25, too: give each an address or a port of its own" },
    { "[listener \"a\"]\nlisten = [2001:db8::1]:25, [2001:DB8:0::1]:25\n",
      "c:2: error: [listener \"a\"] listen: [listener \"a\"] has [2001:DB8:0::1]:25, too: give each an address or a port of its own" },
    { "[listener \"a\"]\n[listener \"b\"]\n",
      "c:2: error: [listener \"b\"] listen: [listener \"a\"] has 127.0.0.1:25, too: give each an address or a port of its own" },
    { "[listener \"a\"]\nproxy_from = 192.0.2.4, ::/0\n",
      "c:2: error: [listener \"a\"] proxy_from: a prefix of length 0 is everybody, who could then send as anybody; list the peers themselves" },
    { "[listener \"a\"]\nxclient_from = 0.0.0.0/0\n",
      "c:2: error: [listener \"a\"] xclient_from: a prefix of length 0 is everybody, who could then send as anybody; list the peers themselves" },
    { "[listener \"a\"]\nimplicit_tls = on\n", "c:2: error: [listener \"a\"] implicit_tls: [tls] has no certificate" },
    { "[tls]\ncertificate = /x\n[listener \"a\"]\nimplicit_tls = on\n", "" },
    { "[listener \"a\"]\nprofile = submission\n",
      "c:1: error: [listener \"a\"] auth: [tls] has no certificate, and AUTH, which submission requires unless auth = off, is under TLS only" },
    { "[listener \"a\"]\nprofile = submission\nauth = off\n", "" },
    { "[listener \"a\"]\nprofile = submission\nxclient_from = 192.0.2.4\n", "" },
    { "[listener \"a\"]\nauth = offer\n", "c:2: error: [listener \"a\"] auth: [tls] has no certificate, and AUTH is under TLS only" },
    { "[tls]\nkey = /x\n", "c:2: error: [tls] key: is set, but certificate is not" },
    { "[edge]\ndns_forward = root\n", "" },
    { "[edge]\ndns_forward = 192.0.2.1, root\n",
      "c:2: error: [edge] dns_forward: root stands alone: either the root servers are asked, or resolvers" },
    { "[egress \"a\"]\naddresses = 192.0.2.81, 2001:db8::81\nuse_for = handoff, suspect\n[egress \"b\"]\naddresses = 192.0.2.82\n", "" },
    { "[egress \"a\"]\nhostname = a.example.edu\n", "c:1: error: [egress \"a\"] addresses: 0 addresses: from one to 64 are needed" },
    { "[egress \"a\"]\naddresses = 192.0.2.81\nuse_for = reports, inbound\n[egress \"b\"]\naddresses = 192.0.2.82\nuse_for = inbound\n",
      "c:6: error: [egress \"b\"] use_for: [egress \"a\"] has inbound, too" },
    { "[scanner]\nlisten = tcp://*:7100\n",
      "c:1: error: [scanner] advertise: listen = tcp://*:7100 is all addresses: say here which one edges connect to" },
    { "[scanner]\nlisten = tcp://*:7100\nadvertise = tcp://192.0.2.7:7100\n", "" },
    { "[auth]\nldap_uri = ldap://192.0.2.1\n", "c:2: error: [auth] ldap_uri: needs either ldap_dn (a template) or ldap_base (where to search)" },
    { "[auth]\nldap_uri = ldap://192.0.2.1\nldap_dn = uid=%u\nldap_base = dc=example\n",
      "c:2: error: [auth] ldap_uri: needs either ldap_dn (a template) or ldap_base (where to search)" },
    { "[auth]\nldap_uri = ldap://192.0.2.1\nldap_base = dc=example\n", "" },
    { COORDINATOR("a", "1"), "" },
    { "[coordinator \"a\"]\nlisten = tcp://192.0.2.5:1\n", "c:1: error: [coordinator \"a\"] needs publish: it has no default" },
    { "[coordinator \"a\"]\nlisten = tcp://192.0.2.5:1\npublish = tcp://192.0.2.5:1\npublic_key = " HEX "\n",
      "c:3: error: [coordinator \"a\"] publish: is the same as listen; it needs a port of its own" },
    { COORDINATOR("a", "1") "blocklist_zones = a.example=127.0.0.2*3, b.example\nblocklist_forward = 192.0.2.1, 192.0.2.2\n", "" },
    { COORDINATOR("a", "1") "blocklist_zones = a.example, A.example.=127.0.0.3\n",
      "c:5: error: [coordinator \"a\"] blocklist_zones: a.example is there twice: say it once, with one pattern" },
    { COORDINATOR("a", "1") "blocklist_zones = a.example*-2\n",
      "c:5: error: [coordinator \"a\"] blocklist_zones: a.example*-2: a list with a negative weight is one of friends" },
    { COORDINATOR("a", "1") "blocklist_forward = 192.0.2.1, root\n",
      "c:5: error: [coordinator \"a\"] blocklist_forward: root stands alone: either the root servers are asked, or resolvers" },
    { "[spam]\nrspamd = 192.0.2.1:11333\nrspamd_shared_memory = 1MiB\n",
      "c:3: error: [spam] rspamd_shared_memory: needs rspamd on this machine: rspamd must be a unix socket or an address of loopback; or set it to 0" },
    { "[spam]\nrspamd_shared_memory = 5MiB\n", "c:2: error: [spam] rspamd_shared_memory: is more than spam_size: no message would be handed over so" },
    { "[spam]\nrspamd_shared_memory = 2MiB\nrspamd_shared_memory_max = 1MiB\n",
      "c:2: error: [spam] rspamd_shared_memory: is more than rspamd_shared_memory_max: no message would have room there" },
    { COORDINATOR("a", "1") "policy_size = 4MiB\n[cluster]\nlink_message = 4MiB\n",
      "c:5: error: [coordinator \"a\"] policy_size: must be less than link_message: a policy is one message" },
};

START_TEST(whole)
{
    char words[600];

    load(wholes[_i].text, words);
    ck_assert_str_eq(words, wholes[_i].why);
}
END_TEST

START_TEST(too_many_lists)
{
    char words[600], *text = xstrdup("[edge]\ndnsbl = a.example");

    for (size_t i = 0; i < DNSBL_MAX; i++) {
        char *longer = xasprintf("%s, a.example", text);
        free(text);
        text = longer;
    }
    load(text, words);
    ck_assert_str_eq(words, "c:2: error: [edge] dnsbl: 33 lists; at most 32");
    free(text);
}
END_TEST

/* What a site gets that sets nothing: promised in the documentation, relied on by operators. */
#define MIB (1024 * 1024ull)
#define SECONDS 1000ull
#define MINUTES (60 * SECONDS)
#define HOURS (60 * MINUTES)
#define DAYS (24 * HOURS)

static const struct {
    const char *section, *key;
    uint64_t number;  /* bytes, ms, a count, on as 1 */
    const char *text; /* of an enum, of strings, and of a list with ", " between its items; NULL: a number */
} shipped[] = {
    { "coordinator", "act_memory", 24 * 60 * MINUTES, NULL },
    { "coordinator", "database_session", 30 * SECONDS, NULL },
    { "coordinator", "quarantine_days", 14, NULL },
    { "web", "digest_messages", 100, NULL },
    { "web", "digest_times", 0, "09:00, 15:00" },
    { "spam", "discard_score", 0, "off" },
    { "web", "web_rate", 120, NULL },
    { "web", "web_list_entries", 1000, NULL },
    { "web", "web_answers", 20, NULL },
    { "coordinator", "quarantine_max_messages", 5000000, NULL },
    { "coordinator", "quarantine_max_bytes", 500 * 1024 * MIB, NULL },
    { "coordinator", "spool_max_messages", 1000000, NULL },
    { "coordinator", "spool_max_bytes", 100 * 1024 * MIB, NULL },
    { "coordinator", "spool_per_destination", 100, NULL },
    { "coordinator", "spool_lease", 30 * SECONDS, NULL },
    { "coordinator", "spool_look", 5 * SECONDS, NULL },
    { "coordinator", "spool_retry_min", 5 * MINUTES, NULL },
    { "coordinator", "spool_retry_max", 4 * HOURS, NULL },
    { "coordinator", "spool_life", 5 * DAYS, NULL },
    { "coordinator", "spool_delay_warning", 4 * HOURS, NULL },
    { "coordinator", "audit_days", 30, NULL },
    { "coordinator", "verify_positive_expire", 7 * DAYS, NULL },
    { "coordinator", "verify_positive_refresh", 1 * DAYS, NULL },
    { "coordinator", "verify_negative_expire", 1 * HOURS, NULL },
    { "coordinator", "verify_negative_refresh", 10 * MINUTES, NULL },
    { "coordinator", "policy_size", 32 * MIB, NULL },
    { "auth", "auth_account_failures", 20, NULL },
    { "auth", "auth_failure_window", 15 * MINUTES, NULL },
    { "auth", "ldap_uri", 0, "" },
    { "auth", "ldap_starttls", true, NULL },
    { "cluster", "contact", 0, "" },
    { "cluster", "node_timeout", 3 * SECONDS, NULL },
    { "cluster", "source_prefix4", 32, NULL },
    { "cluster", "source_prefix6", 64, NULL },
    { "edge", "scan", true, NULL },
    { "edge", "spool_concurrency", 20, NULL },
    { "edge", "spool_spare", 5, NULL },
    { "scanner", "spare_workers", 1, NULL },
    { "edge", "virus_action", 0, "reject" },
    { "edge", "virus_action_outbound", 0, "same" },
    { "edge", "virus_notice", true, NULL },
    { "edge", "unknown_action", 0, "tempfail" },
    { "edge", "unscannable_action", 0, "quarantine" },
    { "edge", "limits_action", 0, "reject" },
    { "edge", "mx_delivery", true, NULL },
    { "edge", "next_hop_tls", 0, "may" },
    { "edge", "next_hop_dane", true, NULL },
    { "edge", "dnsbl", 0, "" },
    { "edge", "verify_unknown", 0, "accept" },
    { "edge", "limit_timeout", 1 * SECONDS, NULL },
    { "edge", "limit_memory", 10000, NULL },
    { "edge", "limit_lot", 32, NULL },
    { "edge", "limit_lot_time", 1 * SECONDS, NULL },
    { "coordinator", "limit_buckets", 1000000, NULL },
    { "edge", "verify_sender", 0, "" },
    { "listener", "profile", 0, "relay" },
    { "listener", "listen", 0, "127.0.0.1:25, [::1]:25" },
    { "listener", "max_message_size", 52428800, NULL },
    { "listener", "max_recipients", 100, NULL },
    { "listener", "max_hops", 100, NULL },
    { "listener", "proxy_from", 0, "" },
    { "listener", "xclient_from", 0, "" },
    { "listener", "starttls", true, NULL },
    { "listener", "auth", 0, "profile" },
    { "listener", "sender_login_match", false, NULL },
    { "coordinator", "outbound", 0, "dry_run" }, /* an upgrade slows nobody down */
    { "coordinator", "signature_interval", 300000, NULL },
    { "coordinator", "signature_canary_time", 20000, NULL },
    { "coordinator", "signature_loads", 8, NULL },
    { "scanner", "max_scan_size", 400 * MIB, NULL },
    { "scanner", "block_encrypted", false, NULL },
};

static void text_of(char out[256], const struct config_key *key, const void *field)
{
    const struct config_list *list = field;

    *out = '\0';
    if (key->type == CONFIG_STRING) {
        snprintf(out, 256, "%s", *(char *const *)field);
    } else if (key->type == CONFIG_ENUM) {
        const char *choice = key->choices;
        for (int i = *(const int *)field; i > 0; i--)
            choice = strchr(choice, '|') + 1;
        snprintf(out, 256, "%.*s", (int)strcspn(choice, "|"), choice);
    } else {
        for (size_t i = 0; i < list->count; i++)
            snprintf(out + strlen(out), 256 - strlen(out), "%s%s", i > 0 ? ", " : "", list->items[i]);
    }
}

static void check_field(int row, const struct config_key *key, const void *field)
{
    char text[256];

    if (shipped[row].text != NULL) {
        text_of(text, key, field);
        ck_assert_msg(strcmp(text, shipped[row].text) == 0, "%s is '%s'", key->name, text);
    } else {
        uint64_t number = key->type == CONFIG_BOOL ? *(const bool *)field : *(const uint64_t *)field;
        ck_assert_msg(number == shipped[row].number, "%s is %llu", key->name, (unsigned long long)number);
    }
}

START_TEST(shipped_defaults)
{
    const struct config_section *table = settings_table(shipped[_i].section);
    struct error why = { "" };
    char path[64];
    struct config *config = load_text(COORDINATOR("a", "1") "[listener \"a\"]\n", path, &why); /* a section that nothing names is not there */
    ck_assert_msg(config != NULL, "%s", why.text);
    void *filled = xcalloc(1, table->size);
    ck_assert_msg(config_fill(config, table->name, table->named ? "a" : NULL, filled, &why), "%s", why.text);
    const struct config_key *key = table->keys;
    while (key->name != NULL && strcmp(key->name, shipped[_i].key) != 0)
        key++;
    ck_assert_msg(key->name != NULL, "no key %s", shipped[_i].key);
    check_field(_i, key, (const char *)filled + key->offset);
    config_clear(table, filled);
    free(filled);
    config_free(&config);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("settings");
    TCase *tcase = tcase_create("settings");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, source, 0, (int)(sizeof sources / sizeof *sources));
    tcase_add_loop_test(tcase, form, 0, (int)(sizeof forms / sizeof *forms));
    tcase_add_test(tcase, every_key_refuses_what_is_wrong_at_its_line);
    tcase_add_test(tcase, every_limit_is_told_at_its_line);
    tcase_add_loop_test(tcase, whole, 0, (int)(sizeof wholes / sizeof *wholes));
    tcase_add_test(tcase, too_many_lists);
    tcase_add_loop_test(tcase, shipped_defaults, 0, (int)(sizeof shipped / sizeof *shipped));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
