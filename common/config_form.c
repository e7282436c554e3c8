/* config_form.c - see config_form.h */
#include "common/config_form.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/config.h"
#include "common/dnsbl_site.h"
#include "common/score.h"
#include "common/signature_set.h"
#include "common/attachment_kind.h"
#include "common/spam_engine.h"

#define HOST_MAX 253
#define LABEL_MAX 63
#define LOCAL_PART_MAX 64 /* RFC 5321 4.5.3.1.1 */
#define TIMEZONE_MAX 64
#define WEB_URL_MAX 128 /* links of digests are longer by some 40 characters, and lines of text by what fits one */
#define WORDS_MAX 256     /* a reply's line has 512 */
#define SERVICE_MAX 15    /* RFC 6335 5.1 */
#define GROUP_NAME_MAX 32 /* as groupadd has it */
#define KEY_DIGITS 64
#define SOCKET_PATH_MAX 107 /* of struct sockaddr_un, with its NUL */
#define DNS_PORT 53

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Labels of letters, digits, underscores and hyphens inside; one dot may end it. The last has not digits alone: 192.0.2.300 is no name. */
static bool is_host(const char *text, size_t len)
{
    size_t label = 0;
    bool digits = true;

    if (len > 1 && text[len - 1] == '.')
        len--;
    if (len == 0 || len > HOST_MAX)
        return false;
    for (size_t i = 0; i <= len; i++) {
        bool ends = i == len || text[i] == '.';
        if (ends && (label == 0 || label > LABEL_MAX || text[i - 1] == '-'))
            return false;
        if (!ends && !is_alphanumeric(text[i]) && text[i] != '_' && !(text[i] == '-' && label > 0))
            return false;
        if (!ends)
            digits = (label == 0 || digits) && isdigit((unsigned char)text[i]);
        label = ends ? 0 : label + 1;
    }
    return !digits;
}

/* Without the dot that zone files have: it is compared with names of the DNS, which are kept so, and said to others. */
bool form_host(const char *text, struct error *why)
{
    size_t len = strlen(text);

    if (is_host(text, len) && text[len - 1] != '.')
        return true;
    error_set(why, "expected the name of a host, as mx1.example.edu, without a dot at its end");
    return false;
}

static bool is_port(const char *text)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);

    return isdigit((unsigned char)*text) && *end == '\0' && port >= 1 && port <= 65535;
}

/* HOST:PORT, where HOST is a name, an address, an IPv6 address in brackets; if `any` also * or the address of all zeros. */
static bool is_host_port(const char *text, bool any)
{
    static const struct netaddr zeros;
    struct netaddr address;
    const char *colon = strrchr(text, ':');

    if (colon == NULL || !is_port(colon + 1))
        return false;
    if (netaddr_parse_endpoint(&address, text, NULL))
        return any || memcmp(address.bytes, zeros.bytes, address.family == AF_INET ? 4 : sizeof zeros.bytes) != 0;
    return *text != '[' && is_host(text, (size_t)(colon - text));
}

bool form_host_port(const char *text, struct error *why)
{
    if (is_host_port(text, false))
        return true;
    error_set(why, "expected a host and its port, as mx1.example.edu:25 or [2001:db8::1]:25");
    return false;
}

/* A name of services(5): letters, digits, hyphens inside; a letter, else it would be a port (RFC 6335 5.1). */
static bool is_service(const char *text)
{
    size_t len = strlen(text);
    bool letter = false;

    for (size_t i = 0; i < len; i++) {
        if (!is_alphanumeric(text[i]) && !(text[i] == '-' && i > 0 && i + 1 < len))
            return false;
        letter |= isalpha((unsigned char)text[i]) != 0;
    }
    return letter && len <= SERVICE_MAX;
}

bool form_host_service(const char *text, struct error *why)
{
    char with_port[HOST_MAX + sizeof ".:25"];
    const char *bracket = *text == '[' ? strchr(text, ']') : NULL;
    const char *colon = strchr(bracket != NULL ? bracket : text, ':');
    int len = snprintf(with_port, sizeof with_port, "%.*s:25", (int)(colon != NULL ? (size_t)(colon - text) : strlen(text)), text);

    if ((size_t)len < sizeof with_port && is_host_port(with_port, false) && (colon == NULL || is_port(colon + 1) || is_service(colon + 1)))
        return true;
    error_set(why, "expected a host, with its port or service where that is not 25, as mx1.example.edu:587, mx1.example.edu:submission or [2001:db8::1]:25");
    return false;
}

bool form_mailbox(const char *text, struct error *why)
{
    const char *at = strchr(text, '@');
    size_t len = at != NULL ? (size_t)(at - text) : 0;
    bool good = len > 0 && len <= LOCAL_PART_MAX && text[0] != '.' && is_host(at + 1, strlen(at + 1));

    for (size_t i = 0; good && i < len; i++)
        good = is_alphanumeric(text[i]) || strchr("!#$%&'*+-/=?^_`{|}~", text[i]) != NULL ||
               (text[i] == '.' && text[i + 1] != '.' && i + 1 < len);
    if (!good)
        error_set(why, "expected a mail address, as verify@example.edu");
    return good;
}

bool form_path(const char *text, struct error *why)
{
    if (*text == '/')
        return true;
    error_set(why, "expected an absolute path, as /var/lib/weir");
    return false;
}

bool form_log_file(const char *text, struct error *why)
{
    if (*text == '/' || strcmp(text, "-") == 0)
        return true;
    error_set(why, "expected an absolute path, as /var/log/weir.log, or - for stderr");
    return false;
}

bool form_words(const char *text, struct error *why)
{
    bool good = strlen(text) <= WORDS_MAX;

    for (const char *p = text; good && *p != '\0'; p++)
        good = *p >= ' ' && *p <= '~';
    if (!good)
        error_set(why, "expected at most %d printable ASCII characters: it goes into replies", WORDS_MAX);
    return good;
}

bool form_address(const char *text, struct error *why)
{
    struct netaddr address;

    if (netaddr_parse(&address, text))
        return true;
    error_set(why, "expected an IP address, as 192.0.2.1 or 2001:db8::1");
    return false;
}

bool form_endpoint(const char *text, struct error *why)
{
    struct netaddr address;
    struct error reason;

    if (netaddr_parse_endpoint(&address, text, &reason))
        return true;
    error_set(why, "expected an address with a port, as 192.0.2.1:25 (%s)", reason.text);
    return false;
}

bool form_attachment_kind(const char *text, struct error *why)
{
    if (attachment_kind_find(text) != 0)
        return true;
    error_set(why, "expected a kind of attachment: executable, script, shortcut, macro, archive_program, archive_encrypted, disk, archive, html, pdf or other");
    return false;
}

bool form_spam_engine(const char *text, struct error *why)
{
    struct spam_engine_entry entry;

    return spam_engine_parse(&entry, text, why);
}

bool form_group(const char *text, struct error *why)
{
    if (*text == '\0' || (*text != '-' && strlen(text) <= GROUP_NAME_MAX && text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")] == '\0'))
        return true;
    error_set(why, "expected a group's name, as _rspamd, or nothing");
    return false;
}

bool form_spam_server(const char *text, struct error *why)
{
    struct error reason;

    const char *path = strncmp(text, "unix:", 5) == 0 ? text + 5 : text;
    if (path[0] == '/' ? strlen(path) <= SOCKET_PATH_MAX : path == text && form_endpoint(text, &reason))
        return true;
    error_set(why, "expected an address with a port, as 127.0.0.1:11333, or a unix socket's absolute path of at most %d bytes, as unix:/run/rspamd/worker.sock", SOCKET_PATH_MAX);
    return false;
}

bool form_threshold(const char *text, struct error *why)
{
    uint32_t threshold;

    if (score_threshold_parse(&threshold, text))
        return true;
    error_set(why, "expected a score from 0 to 100 with at most two decimals, as 50 or 49.9, or off");
    return false;
}

bool form_points(const char *text, struct error *why)
{
    int32_t points;

    if (score_points_parse(&points, text) && points > 0)
        return true;
    error_set(why, "expected a score over 0 with at most two decimals, as 6 or 7.5");
    return false;
}

static bool is_link(const char *text, bool any)
{
    return strncmp(text, "tcp://", 6) == 0 && is_host_port(text + 6, any);
}

bool form_link(const char *text, struct error *why)
{
    if (is_link(text, true))
        return true;
    error_set(why, "expected tcp://ADDRESS:PORT, as tcp://192.0.2.5:7025");
    return false;
}

bool form_link_to(const char *text, struct error *why)
{
    if (is_link(text, false))
        return true;
    error_set(why, "expected tcp://ADDRESS:PORT that others can connect to, as tcp://192.0.2.5:7025");
    return false;
}

/* It becomes a line of freshclam's configuration. */
static bool is_plain(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~' || *c == '"' || *c == '#')
            return false;
    return *text != '\0';
}

static bool is_web(const char *text)
{
    return strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
}

bool form_signature_mirror(const char *text, struct error *why)
{
    struct error reason;
    if (is_plain(text) && (is_web(text) || form_host_service(text, &reason)))
        return true;
    error_set(why, "expected a mirror of ClamAV's signatures, as database.clamav.net or https://mirror.example.edu");
    return false;
}

bool form_signature_url(const char *text, struct error *why)
{
    const char *name = strrchr(text, '/');
    if (is_plain(text) && (is_web(text) || strncmp(text, "file:///", 8) == 0) && signature_name_is_valid(name + 1))
        return true;
    error_set(why, "expected http, https or file and a name that ClamAV loads, as https://mirror.example.edu/own.ndb");
    return false;
}

bool form_curve_key(const char *text, struct error *why)
{
    size_t digits = 0;

    while (isxdigit((unsigned char)text[digits]))
        digits++;
    if (digits == KEY_DIGITS && text[digits] == '\0')
        return true;
    error_set(why, "expected %d hex digits, as `weirctl keys generate` prints them", KEY_DIGITS);
    return false;
}

bool form_name_server(struct netaddr *out, const char *text, struct error *why)
{
    if (netaddr_parse(out, text))
        out->port = DNS_PORT;
    else if (!netaddr_parse_endpoint(out, text, NULL)) {
        error_set(why, "expected the address of a name server, as 192.0.2.1 or [2001:db8::1]:5353");
        return false;
    }
    return true;
}

bool form_server_address(const char *text, struct error *why)
{
    struct netaddr address;

    return form_name_server(&address, text, why);
}

bool form_resolver(const char *text, struct error *why)
{
    struct netaddr address;

    return strcasecmp(text, "root") == 0 || form_name_server(&address, text, why);
}

bool form_stub(const char *text, struct error *why)
{
    struct netaddr address;
    const char *equals = strchr(text, '=');
    size_t len = equals != NULL ? (size_t)(equals - text) : 0;
    bool root = len == 1 && *text == '.';

    if ((root || is_host(text, len)) && form_name_server(&address, equals + 1, NULL))
        return true;
    error_set(why, "expected ZONE=ADDRESS of its name server, as example.edu=192.0.2.1 or example.edu=[2001:db8::1]:5353");
    return false;
}

bool form_time_of_day(unsigned *minutes, const char *text)
{
    static const char form[] = "dd:dd";
    for (size_t i = 0; i < sizeof form; i++) {
        if (form[i] == 'd' ? !isdigit((unsigned char)text[i]) : text[i] != form[i])
            return false;
    }
    unsigned hour = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0'), minute = (unsigned)(text[3] - '0') * 10 + (unsigned)(text[4] - '0');
    if (hour > 23 || minute > 59)
        return false;
    *minutes = hour * 60 + minute;
    return true;
}

bool form_schedule(const char *text, struct error *why)
{
    unsigned minutes;
    uint64_t ms;
    if (form_time_of_day(&minutes, text) || (config_parse_duration(text, &ms) && ms >= 60000))
        return true;
    error_set(why, "expected a time of day, as 03:30, or an interval of a minute or more, as 12h");
    return false;
}

bool form_time(const char *text, struct error *why)
{
    unsigned minutes;
    if (form_time_of_day(&minutes, text))
        return true;
    error_set(why, "expected a time of day, as 09:00");
    return false;
}

bool form_timezone(const char *text, struct error *why)
{
    if (*text != '\0' && strlen(text) <= TIMEZONE_MAX && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") == strlen(text))
        return true;
    error_set(why, "expected a time zone of the IANA's, as Europe/Berlin");
    return false;
}

bool form_web_url(const char *text, struct error *why)
{
    size_t scheme = strncmp(text, "https://", 8) == 0 ? 8 : strncmp(text, "http://", 7) == 0 ? 7 : 0;
    size_t len = strlen(text), host = scheme > 0 ? strcspn(text + scheme, "/") : 0;
    bool good = host > 0 && len <= WEB_URL_MAX && text[len - 1] != '/' &&
                strspn(text + scheme, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:-_~[]/") == len - scheme;
    if (!good)
        error_set(why, "expected https://HOST, perhaps with a port and a path and without a slash at its end, as https://quarantine.example.edu");
    return good;
}

bool form_dnsbl(const char *text, struct error *why)
{
    struct dnsbl_site site;

    return dnsbl_site_parse(&site, text, why);
}

bool form_ldap_uri(const char *text, struct error *why)
{
    if (strncasecmp(text, "ldap://", 7) == 0 || strncasecmp(text, "ldaps://", 8) == 0 || strncasecmp(text, "ldapi://", 8) == 0)
        return true;
    error_set(why, "expected ldap://HOST, ldaps://HOST or ldapi://PATH");
    return false;
}

bool form_ldap_template(const char *text, struct error *why)
{
    if (strstr(text, "%s") != NULL || strstr(text, "%u") != NULL)
        return true;
    error_set(why, "expected %%s (the login) or %%u (its part before the @) in it: so it names no user");
    return false;
}

bool form_ldap_attribute(const char *text, struct error *why)
{
    bool good = is_alphanumeric(*text);

    for (const char *p = text; good && *p != '\0'; p++)
        good = is_alphanumeric(*p) || *p == '-' || *p == '.' || *p == ';';
    if (!good)
        error_set(why, "expected an attribute's name, as mail");
    return good;
}
