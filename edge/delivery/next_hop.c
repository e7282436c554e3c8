/*
 * next_hop.c - a next hop as text: what the spool calls a destination
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edge/delivery/delivery.h"

bool next_hop_is_same(const struct next_hop *a, const struct next_hop *b)
{
    return a->port == b->port && a->mx == b->mx && strcmp(a->host, b->host) == 0;
}

char *next_hop_format(char out[NEXT_HOP_TEXT_MAX], const struct next_hop *hop)
{
    snprintf(out, NEXT_HOP_TEXT_MAX, hop->mx ? "%s:%u" : "[%s]:%u", hop->host, hop->port);
    return out;
}

bool next_hop_parse(struct next_hop *hop, const char *text)
{
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
