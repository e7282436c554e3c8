/* dnsbl_site.c - see dnsbl_site.h */
#include "common/dnsbl_site.h"

#include <stdlib.h>
#include <string.h>

#define WEIGHT_MAX 100

static bool parse_number(const char **at, unsigned *value)
{
    char *end;
    if (**at < '0' || **at > '9')
        return false;
    unsigned long number = strtoul(*at, &end, 10);
    *at = end;
    *value = (unsigned)number;
    return number <= 255;
}

static bool octet_add(struct dnsbl_octet *octet, unsigned from, unsigned to)
{
    for (unsigned value = from; value <= to; value++)
        octet->set[value / 64] |= UINT64_C(1) << value % 64;
    return from <= to;
}

static bool parse_octet(const char **at, struct dnsbl_octet *octet)
{
    unsigned from, to;
    if (**at != '[')
        return parse_number(at, &from) && octet_add(octet, from, from);
    do {
        ++*at;
        if (!parse_number(at, &from))
            return false;
        to = from;
        if (strncmp(*at, "..", 2) == 0) {
            *at += 2;
            if (!parse_number(at, &to))
                return false;
        }
        if (!octet_add(octet, from, to))
            return false;
    } while (**at == ';');
    return *(*at)++ == ']';
}

static bool parse_pattern(const char **at, struct dnsbl_octet pattern[4])
{
    for (size_t i = 0; i < 4; i++) {
        if (i > 0 && *(*at)++ != '.')
            return false;
        if (!parse_octet(at, &pattern[i]))
            return false;
    }
    return true;
}

static bool parse_zone(struct dnsbl_site *site, const char *text, size_t len)
{
    if (len > 0 && text[len - 1] == '.')
        len--;
    if (len == 0 || len >= DNSBL_ZONE_MAX)
        return false;
    for (size_t i = 0, label = 0; i < len; i++) {
        char c = text[i];
        bool dot = c == '.', letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        label = dot ? 0 : label + 1;
        if ((!dot && !letter) || (dot && (i == 0 || text[i - 1] == '.')) || label > 63)
            return false;
        site->zone[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return true;
}

bool dnsbl_site_parse(struct dnsbl_site *site, const char *text, struct error *why)
{
    const char *at = text + strcspn(text, "=*");
    *site = (struct dnsbl_site){ .weight = 1, .any = *at != '=' };
    if (!parse_zone(site, text, (size_t)(at - text))) {
        error_set(why, "expected zone[=pattern][*weight], beginning with the name of a zone, as zen.example.org");
        return false;
    }
    if (*at == '=' && (at++, !parse_pattern(&at, site->pattern))) {
        error_set(why, "expected behind = an address or a pattern, as 127.0.0.[2..11] or 127.0.[0;2].4");
        return false;
    }
    if (*at == '*') {
        char *end;
        long weight = strtol(at + 1, &end, 10);
        if (end == at + 1 || weight == 0 || weight < -WEIGHT_MAX || weight > WEIGHT_MAX) {
            error_set(why, "expected behind * a weight, from -%d to %d but not 0", WEIGHT_MAX, WEIGHT_MAX);
            return false;
        }
        site->weight = (int)weight;
        at = end;
    }
    if (*at != '\0')
        error_set(why, "expected zone[=pattern][*weight]; \"%s\" at its end is none of it", at);
    return *at == '\0';
}
