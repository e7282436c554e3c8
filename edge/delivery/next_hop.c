/*
 * next_hop.c - a next hop as text: what the spool calls a destination
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edge/delivery/delivery.h"

bool next_hop_is_same(const struct next_hop *a, const struct next_hop *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

char *next_hop_format(char out[NEXT_HOP_TEXT_MAX], const struct next_hop *hop)
{
    snprintf(out, NEXT_HOP_TEXT_MAX, "[%s]:%u", hop->host, hop->port);
    return out;
}

bool next_hop_parse(struct next_hop *hop, const char *text)
{
    const char *end = strrchr(text, ']');
    size_t len = end != NULL ? (size_t)(end - text) - 1 : 0;
    if (text[0] != '[' || end == NULL || len == 0 || len >= sizeof hop->host || end[1] != ':')
        return false;
    char *rest;
    unsigned long port = strtoul(end + 2, &rest, 10);
    if (end[2] < '0' || end[2] > '9' || *rest != '\0' || port == 0 || port > 65535)
        return false;
    memset(hop, 0, sizeof *hop);
    memcpy(hop->host, text + 1, len);
    hop->port = (uint16_t)port;
    return true;
}
