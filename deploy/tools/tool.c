/*
 * tool.c - the command line's values, and a process ready for many connections
 */
#include "deploy/tools/tool.h"
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

const char *tool_name = "weir";

void tool_fail(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", tool_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(status);
}

uint64_t tool_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 || value < min || value > max)
        tool_fail(TOOL_USAGE, "%s: not a number from %llu to %llu: %s", option, (unsigned long long)min,
                  (unsigned long long)max, text);
    return value;
}

struct netaddr tool_endpoint(const char *text)
{
    struct netaddr address;
    struct error why;
    if (netaddr_parse_endpoint(&address, text, &why))
        return address;
    const char *colon = strrchr(text, ':');
    char host[256];
    if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof host)
        tool_fail(TOOL_USAGE, "not HOST:PORT: %s", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    int failed = getaddrinfo(host, NULL, &hints, &found);
    if (failed != 0)
        tool_fail(TOOL_USAGE, "%s: %s", host, gai_strerror(failed));
    if (!netaddr_from_sockaddr(&address, found->ai_addr))
        tool_fail(TOOL_USAGE, "%s: no IP address", host);
    freeaddrinfo(found);
    address.port = (uint16_t)tool_number("port", colon + 1, 1, 65535);
    return address;
}

void tool_prepare(void)
{
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}
