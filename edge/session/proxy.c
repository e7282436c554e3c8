/*
 * proxy.c - see proxy.h
 */
#include "edge/session/proxy.h"
#include <netinet/in.h>
#include <string.h>

#define V1_MAX 107 /* with CRLF */
#define V1_SPACES 5
#define V2_FIXED 16

static const char v1_start[] = "PROXY ";
static const char v2_start[] = "\r\n\r\n\0\r\nQUIT\n";

enum { V2_UNSPEC = 0x00, V2_TCP4 = 0x11, V2_TCP6 = 0x21, V2_UNIX_STREAM = 0x31, V2_UNIX_DATAGRAM = 0x32 }; /* family and transport */
enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };                                                               /* version and command */
enum { V2_TCP4_LEN = 12, V2_TCP6_LEN = 36, V2_UNIX_LEN = 216 };

static enum proxy_event need(struct proxy_header *out, size_t len)
{
    out->len = len;
    return PROXY_NEED_MORE;
}

static enum proxy_event bad(struct proxy_header *out, const char *why)
{
    *out = (struct proxy_header){ .why = why };
    return PROXY_BAD;
}

static bool starts(const char *buf, size_t len, const char *with, size_t size)
{
    return memcmp(buf, with, len < size ? len : size) == 0;
}

/* ---- version 1: a line ---- */

/* How many bytes a line that goes on like this has at least: each field still to come is a space and a character. */
static size_t v1_least(const char *line, size_t len)
{
    size_t spaces = 0;
    for (size_t i = 0; i < len; i++)
        spaces += line[i] == ' ';
    if (line[len - 1] == '\r')
        return len + 1;
    if (starts(line, len, "PROXY TCP", 9) && spaces <= V1_SPACES)
        return len + 2 * (V1_SPACES - spaces) + 2;
    return len + 1;
}

/* The next word of a line that ends at `end`; words are separated by one space each. */
static bool next_word(const char **at, const char *end, char *out, size_t cap)
{
    const char *space = *at < end ? memchr(*at, ' ', (size_t)(end - *at)) : NULL;
    size_t len = (size_t)((space != NULL ? space : end) - *at);
    if (len == 0 || len >= cap)
        return false;
    memcpy(out, *at, len);
    out[len] = '\0';
    *at = space != NULL ? space + 1 : end;
    return strlen(out) == len;
}

static bool parse_port(const char *text, uint16_t *out)
{
    unsigned value = 0;
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len > 5 || text[len] != '\0')
        return false;
    for (size_t i = 0; i < len; i++)
        value = value * 10 + (unsigned)(text[i] - '0');
    *out = (uint16_t)value;
    return value <= UINT16_MAX;
}

static bool v1_addresses(struct proxy_header *out, const char *at, const char *end, bool ipv6)
{
    char client[NETADDR_TEXT_MAX], server[NETADDR_TEXT_MAX], client_port[8], server_port[8];
    return next_word(&at, end, client, sizeof client) && next_word(&at, end, server, sizeof server) &&
           next_word(&at, end, client_port, sizeof client_port) && next_word(&at, end, server_port, sizeof server_port) && at == end &&
           end[-1] != ' ' && (strchr(client, ':') != NULL) == ipv6 && (strchr(server, ':') != NULL) == ipv6 &&
           netaddr_parse(&out->client, client) && netaddr_parse(&out->server, server) &&
           parse_port(client_port, &out->client.port) && parse_port(server_port, &out->server.port);
}

static enum proxy_event read_v1(struct proxy_header *out, const char *buf, size_t len)
{
    const char *lf = memchr(buf, '\n', len < V1_MAX ? len : V1_MAX);
    if (lf == NULL) {
        if (len >= V1_MAX)
            return bad(out, "the line of version 1 is too long");
        size_t least = len < PROXY_HEADER_LEAST ? PROXY_HEADER_LEAST : v1_least(buf, len);
        return need(out, least < V1_MAX ? least : V1_MAX);
    }
    if (lf[-1] != '\r')
        return bad(out, "the line of version 1 does not end in CRLF");
    const char *end = lf - 1, *at = buf + sizeof v1_start - 1;
    char family[8];
    if (!next_word(&at, end, family, sizeof family))
        return bad(out, "version 1 names no family");
    out->len = (size_t)(lf - buf) + 1;
    if (strcmp(family, "UNKNOWN") == 0) /* whatever stands behind it */
        return PROXY_LOCAL;
    bool ipv6 = strcmp(family, "TCP6") == 0;
    if (!ipv6 && strcmp(family, "TCP4") != 0)
        return bad(out, "version 1 names a family that is none");
    return v1_addresses(out, at, end, ipv6) ? PROXY_CLIENT : bad(out, "version 1 with addresses or ports that are none");
}

/* ---- version 2: binary ---- */

static uint16_t read_u16(const char *at)
{
    return (uint16_t)((unsigned char)at[0] << 8 | (unsigned char)at[1]);
}

static void v2_tcp4(struct proxy_header *out, const char *at)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    memcpy(&in.sin_addr, at, 4);
    netaddr_from_sockaddr(&out->client, (struct sockaddr *)&in);
    memcpy(&in.sin_addr, at + 4, 4);
    netaddr_from_sockaddr(&out->server, (struct sockaddr *)&in);
    out->client.port = read_u16(at + 8);
    out->server.port = read_u16(at + 10);
}

static void v2_tcp6(struct proxy_header *out, const char *at)
{
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    memcpy(&in6.sin6_addr, at, 16);
    netaddr_from_sockaddr(&out->client, (struct sockaddr *)&in6);
    memcpy(&in6.sin6_addr, at + 16, 16);
    netaddr_from_sockaddr(&out->server, (struct sockaddr *)&in6);
    out->client.port = read_u16(at + 32);
    out->server.port = read_u16(at + 34);
}

static enum proxy_event read_v2(struct proxy_header *out, const char *buf, size_t len)
{
    if (len < V2_FIXED)
        return need(out, V2_FIXED);
    unsigned command = (unsigned char)buf[12], family = (unsigned char)buf[13], rest = read_u16(buf + 14);
    const char *addresses = buf + V2_FIXED;
    if (command != V2_LOCAL && command != V2_PROXY)
        return bad(out, "version 2 with a command that is none");
    if (V2_FIXED + rest > PROXY_HEADER_MAX)
        return bad(out, "version 2 is too long");
    if (len < V2_FIXED + rest)
        return need(out, V2_FIXED + rest);
    out->len = V2_FIXED + rest;
    if (command == V2_LOCAL)
        return PROXY_LOCAL;
    switch (family) {
    case V2_UNSPEC:
        return PROXY_LOCAL;
    case V2_UNIX_STREAM:
    case V2_UNIX_DATAGRAM:
        return rest >= V2_UNIX_LEN ? PROXY_LOCAL : bad(out, "version 2 is too short for its addresses");
    case V2_TCP4:
        if (rest < V2_TCP4_LEN)
            return bad(out, "version 2 is too short for its addresses");
        v2_tcp4(out, addresses);
        return PROXY_CLIENT;
    case V2_TCP6:
        if (rest < V2_TCP6_LEN)
            return bad(out, "version 2 is too short for its addresses");
        v2_tcp6(out, addresses);
        return PROXY_CLIENT;
    default:
        return bad(out, "version 2 names a family that is not TCP");
    }
}

enum proxy_event proxy_header_read(struct proxy_header *out, const char *buf, size_t len)
{
    *out = (struct proxy_header){ 0 };
    if (len == 0)
        return need(out, PROXY_HEADER_LEAST);
    if (starts(buf, len, v1_start, sizeof v1_start - 1))
        return read_v1(out, buf, len);
    if (starts(buf, len, v2_start, sizeof v2_start - 1))
        return read_v2(out, buf, len);
    return bad(out, "it sent something else");
}

/* ---- writing ---- */

static char *put_address(char *at, const struct netaddr *address, bool six)
{
    static const char mapped[] = "\0\0\0\0\0\0\0\0\0\0\xff\xff";
    size_t len = address->family == AF_INET6 ? 16 : 4;
    if (six && len == 4) {
        memcpy(at, mapped, sizeof mapped - 1);
        at += sizeof mapped - 1;
    }
    memcpy(at, address->bytes, len);
    return at + len;
}

static char *put_port(char *at, uint16_t port)
{
    *at++ = (char)(port >> 8);
    *at++ = (char)(port & 255);
    return at;
}

size_t proxy_header_write(char out[PROXY_HEADER_WRITTEN_MAX], const struct netaddr *client, const struct netaddr *server)
{
    bool six = client->family == AF_INET6 || server->family == AF_INET6;
    char *at = out;
    memcpy(at, v2_start, sizeof v2_start - 1);
    at += sizeof v2_start - 1;
    *at++ = V2_PROXY;
    *at++ = six ? V2_TCP6 : V2_TCP4;
    at = put_port(at, six ? V2_TCP6_LEN : V2_TCP4_LEN); /* two bytes in network order, too */
    at = put_address(put_address(at, client, six), server, six);
    at = put_port(put_port(at, client->port), server->port);
    return (size_t)(at - out);
}
