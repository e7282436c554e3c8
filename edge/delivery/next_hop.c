/*
 * next_hop.c - a next hop as text: what the spool calls a destination
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edge/delivery/delivery.h"

#define REFUSAL   "error:" /* as the route of mailertable that most of them come from */
#define EXPANSION "expanded:"
#define LIST      "list"

bool next_hop_is_same(const struct next_hop *a, const struct next_hop *b)
{
    return a->port == b->port && a->mx == b->mx && strcmp(a->host, b->host) == 0;
}

char *next_hop_format(char out[NEXT_HOP_TEXT_MAX], const struct next_hop *hop)
{
    bool list;
    if (hop->port == 0)
        snprintf(out, NEXT_HOP_TEXT_MAX, "%s%s", next_hop_is_expansion(hop, &list) ? EXPANSION : REFUSAL, hop->host);
    else
        snprintf(out, NEXT_HOP_TEXT_MAX, hop->mx ? "%s:%u" : "[%s]:%u", hop->host, hop->port);
    return out;
}

void next_hop_set_refusal(struct next_hop *hop, int code, const char *enhanced, const char *text)
{
    *hop = (struct next_hop){ .port = 0 };
    snprintf(hop->host, sizeof hop->host, "%d %s %s", code, enhanced, text);
}

void next_hop_set_expansion(struct next_hop *hop, bool list)
{
    *hop = (struct next_hop){ .port = 0 };
    snprintf(hop->host, sizeof hop->host, "%s", list ? LIST : "");
}

bool next_hop_is_expansion(const struct next_hop *hop, bool *list)
{
    *list = strcmp(hop->host, LIST) == 0;
    return hop->port == 0 && (*list || *hop->host == '\0');
}

bool next_hop_refusal(const struct next_hop *hop, struct smtp_reply *out)
{
    int at = 0;
    if (hop->port != 0)
        return false;
    *out = (struct smtp_reply){ .own = true };
    return sscanf(hop->host, "%3d %11[0-9.] %n", &out->code, out->enhanced, &at) == 2 && at > 0 && out->code >= 400 && out->code < 600 &&
           snprintf(out->text, sizeof out->text, "%s", hop->host + at) > 0;
}

static bool parse_refusal(struct next_hop *hop, const char *words)
{
    struct smtp_reply reply;
    *hop = (struct next_hop){ .port = 0 };
    return (size_t)snprintf(hop->host, sizeof hop->host, "%s", words) < sizeof hop->host && next_hop_refusal(hop, &reply);
}

bool next_hop_parse(struct next_hop *hop, const char *text)
{
    if (strcmp(text, EXPANSION) == 0 || strcmp(text, EXPANSION LIST) == 0) {
        next_hop_set_expansion(hop, text[sizeof EXPANSION - 1] != '\0');
        return true;
    }
    if (strncmp(text, REFUSAL, sizeof REFUSAL - 1) == 0 && parse_refusal(hop, text + sizeof REFUSAL - 1))
        return true;
    bool mx = text[0] != '[';
    const char *host = mx ? text : text + 1, *colon = strrchr(text, ':'), *end = mx ? colon : strrchr(text, ']');
    size_t len = end != NULL && end > host ? (size_t)(end - host) : 0;
    if (colon == NULL || len == 0 || len >= sizeof hop->host || (!mx && end + 1 != colon))
        return false;
    char *rest;
    unsigned long port = strtoul(colon + 1, &rest, 10);
    if (colon[1] < '0' || colon[1] > '9' || *rest != '\0' || port == 0 || port > 65535)
        return false;
    memset(hop, 0, sizeof *hop);
    memcpy(hop->host, host, len);
    hop->port = (uint16_t)port;
    hop->mx = mx;
    return true;
}
