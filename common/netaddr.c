/* netaddr.c - see netaddr.h */
#include "common/netaddr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void set_ipv4(struct netaddr *out, const void *bytes)
{
    *out = (struct netaddr){ .family = AF_INET };
    memcpy(out->bytes, bytes, 4);
}

/* One host has one value, whichever way its address was written or arrived. */
static void set_ipv6(struct netaddr *out, const void *bytes)
{
    if (memcmp(bytes, mapped, sizeof mapped) == 0) {
        set_ipv4(out, (const uint8_t *)bytes + sizeof mapped);
        return;
    }
    *out = (struct netaddr){ .family = AF_INET6 };
    memcpy(out->bytes, bytes, 16);
}

bool netaddr_from_sockaddr(struct netaddr *out, const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        set_ipv4(out, &in.sin_addr);
        out->port = ntohs(in.sin_port);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        set_ipv6(out, &in6.sin6_addr);
        out->port = ntohs(in6.sin6_port);
        return true;
    }
    *out = (struct netaddr){ 0 };
    return false;
}

socklen_t netaddr_to_sockaddr(const struct netaddr *address, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (address->family == AF_INET) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(address->port) };
        memcpy(&in.sin_addr, address->bytes, 4);
        memcpy(out, &in, sizeof in);
        return sizeof in;
    }
    if (address->family == AF_INET6) {
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(address->port) };
        memcpy(&in6.sin6_addr, address->bytes, 16);
        memcpy(out, &in6, sizeof in6);
        return sizeof in6;
    }
    return 0;
}

bool netaddr_parse(struct netaddr *out, const char *text)
{
    uint8_t bytes[16];

    if (inet_pton(AF_INET, text, bytes) == 1) {
        set_ipv4(out, bytes);
        return true;
    }
    if (inet_pton(AF_INET6, text, bytes) == 1) {
        set_ipv6(out, bytes);
        return true;
    }
    return false;
}

/* Decimal digits only, no sign, no white space; -1 when it is not a number up to max. */
static long parse_number(const char *text, long max)
{
    long value = 0;

    if (*text == '\0')
        return -1;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        value = value * 10 + (*text - '0');
        if (value > max)
            return -1;
    }
    return value;
}

bool netaddr_parse_endpoint(struct netaddr *out, const char *text, struct error *why)
{
    char host[NETADDR_TEXT_MAX];
    const char *colon = strrchr(text, ':');
    bool brackets = text[0] == '[';

    if (colon == NULL || (brackets && (colon == text || colon[-1] != ']'))) {
        error_set(why, "'%s' has no port: write ADDRESS:PORT, as 192.0.2.1:25 or [2001:db8::1]:25", text);
        return false;
    }
    long port = parse_number(colon + 1, 65535);
    if (port < 1) {
        error_set(why, "'%s': the port is a number from 1 to 65535", text);
        return false;
    }
    size_t len = (size_t)(colon - text) - (brackets ? 2 : 0);
    if (len >= sizeof host) {
        error_set(why, "'%s': the address is too long", text);
        return false;
    }
    memcpy(host, text + (brackets ? 1 : 0), len);
    host[len] = '\0';
    if (strcmp(host, "*") == 0 && !brackets)
        strcpy(host, "0.0.0.0");
    if (!brackets && strchr(host, ':') != NULL) {
        error_set(why, "'%s': an IPv6 address is written in brackets: [%s]:%ld", text, host, port);
        return false;
    }
    if ((brackets && strchr(host, ':') == NULL) || !netaddr_parse(out, host)) {
        error_set(why, "'%s': '%s' is not an IP address", text, host);
        return false;
    }
    out->port = (uint16_t)port;
    return true;
}

/* Clears what lies behind the first `bits`; says whether there was anything. */
static bool clear_host_bits(struct netaddr *address, unsigned bits)
{
    unsigned size = address->family == AF_INET ? 4 : 16;
    bool any = false;

    for (unsigned i = bits / 8; i < size; i++) {
        unsigned keep = i == bits / 8 ? 0xff00u >> bits % 8 & 0xff : 0;
        any |= (address->bytes[i] & ~keep) != 0;
        address->bytes[i] = (uint8_t)(address->bytes[i] & keep);
    }
    return any;
}

bool netaddr_prefix_parse(struct netaddr_prefix *out, const char *text, struct error *why)
{
    char host[NETADDR_TEXT_MAX];
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    struct netaddr address;

    if (len >= sizeof host) {
        error_set(why, "'%.80s' is not an IP address or network", text);
        return false;
    }
    memcpy(host, text, len);
    host[len] = '\0';
    if (!netaddr_parse(&address, host)) {
        error_set(why, "'%s' is not an IP address or network: write 192.0.2.0/24 or 2001:db8::/32", text);
        return false;
    }
    bool was_mapped = address.family == AF_INET && strchr(host, ':') != NULL;
    int most = address.family == AF_INET && !was_mapped ? 32 : 128;
    long bits = slash != NULL ? parse_number(slash + 1, most) : most;
    if (bits < 0 || (was_mapped && bits < 96)) {
        error_set(why, "'%s': the prefix length is a number from %d to %d", text, was_mapped ? 96 : 0, most);
        return false;
    }
    if (was_mapped)
        bits -= 96;
    if (clear_host_bits(&address, (unsigned)bits)) {
        char right[NETADDR_TEXT_MAX];
        error_set(why, "'%s' has bits set behind the prefix: write %s/%ld", text, netaddr_format(&address, right), bits);
        return false;
    }
    *out = (struct netaddr_prefix){ .address = address, .bits = (uint8_t)bits };
    return true;
}

bool netaddr_prefix_contains(const struct netaddr_prefix *prefix, const struct netaddr *address)
{
    if (prefix->address.family == 0 || prefix->address.family != address->family)
        return false;
    unsigned whole = prefix->bits / 8, rest = prefix->bits % 8;
    if (memcmp(prefix->address.bytes, address->bytes, whole) != 0)
        return false;
    return rest == 0 || ((prefix->address.bytes[whole] ^ address->bytes[whole]) & (uint8_t)(0xff00 >> rest)) == 0;
}

bool netaddr_equal(const struct netaddr *a, const struct netaddr *b)
{
    size_t size = a->family == AF_INET ? 4 : a->family == AF_INET6 ? 16 : 0;

    return a->family == b->family && memcmp(a->bytes, b->bytes, size) == 0;
}

char *netaddr_format(const struct netaddr *address, char out[NETADDR_TEXT_MAX])
{
    if (address->family == 0 || inet_ntop(address->family, address->bytes, out, NETADDR_TEXT_MAX) == NULL)
        strcpy(out, "unknown");
    return out;
}

char *netaddr_prefix_format(const struct netaddr_prefix *prefix, char out[NETADDR_TEXT_MAX])
{
    netaddr_format(&prefix->address, out);
    size_t len = strlen(out);
    if (prefix->bits < (prefix->address.family == AF_INET6 ? 128 : 32))
        snprintf(out + len, NETADDR_TEXT_MAX - len, "/%u", prefix->bits);
    return out;
}

char *netaddr_format_endpoint(const struct netaddr *address, char out[NETADDR_TEXT_MAX])
{
    char host[NETADDR_TEXT_MAX];

    netaddr_format(address, host);
    snprintf(out, NETADDR_TEXT_MAX, address->family == AF_INET6 ? "[%.46s]:%u" : "%.46s:%u", host, address->port);
    return out;
}
