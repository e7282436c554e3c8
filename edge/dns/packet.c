/*
 * packet.c - what a DNS answer in wire format holds
 */
#include "edge/dns/packet.h"
#include <string.h>

enum { HEADER_SIZE = 12, RECORD_FIXED_SIZE = 10, CLASS_IN = 1 };

/* Walks through the answer section. */
struct walk {
    const uint8_t *packet;
    size_t len, at;
    unsigned left;
    size_t owner;        /* of the present record: where its name stands */
    size_t data, data_len;
};

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

/* The position behind a name, 0 when it does not end inside the packet. A compression pointer ends a name; what it points to is of no
 * interest here, so loops cannot happen. */
static size_t skip_name(const uint8_t *packet, size_t len, size_t at)
{
    while (at < len) {
        uint8_t label = packet[at];
        if (label == 0)
            return at + 1;
        if ((label & 0xc0) == 0xc0)
            return at + 2 <= len ? at + 2 : 0;
        if ((label & 0xc0) != 0)
            return 0;
        at += 1 + (size_t)label;
    }
    return 0;
}

static bool walk_begin(struct walk *walk, const uint8_t *packet, size_t len)
{
    *walk = (struct walk){ .packet = packet, .len = len, .at = HEADER_SIZE };
    if (len < HEADER_SIZE)
        return false;
    for (unsigned questions = get16(packet + 4); questions > 0; questions--) {
        walk->at = skip_name(packet, len, walk->at);
        if (walk->at == 0 || len - walk->at < 4)
            return false;
        walk->at += 4;
    }
    walk->left = get16(packet + 6);
    return true;
}

/* The next record of this type. */
static bool walk_next(struct walk *walk, int type)
{
    while (walk->left > 0) {
        size_t at = skip_name(walk->packet, walk->len, walk->at);
        walk->left--;
        if (at == 0 || walk->len - at < RECORD_FIXED_SIZE)
            break;
        const uint8_t *record = walk->packet + at;
        walk->owner = walk->at;
        walk->data = at + RECORD_FIXED_SIZE;
        walk->data_len = get16(record + 8);
        if (walk->len - walk->data < walk->data_len)
            break;
        walk->at = walk->data + walk->data_len;
        if (get16(record) == (unsigned)type && get16(record + 2) == CLASS_IN)
            return true;
    }
    walk->left = 0;
    return false;
}

/* The name at `at` as text. Pointers may only lead backwards, so they cannot form a loop. false: it is broken, or has bytes in it that would
 * make something else of it as text (a dot inside a label) or cannot be in a host's name. */
static bool name_text(const uint8_t *packet, size_t len, size_t at, char out[DNS_NAME_MAX])
{
    size_t used = 0, lowest = at;
    while (at < len && packet[at] != 0) {
        size_t label = packet[at];
        if ((label & 0xc0) == 0xc0) {
            if (at + 2 > len)
                return false;
            at = get16(packet + at) & 0x3fff;
            if (at >= lowest)
                return false;
            lowest = at;
            continue;
        }
        if ((label & 0xc0) != 0 || label > len - at - 1 || used + label + 1 >= DNS_NAME_MAX)
            return false;
        for (size_t i = 1; i <= label; i++) {
            uint8_t byte = packet[at + i];
            if (byte <= ' ' || byte > '~' || byte == '.' || byte == '[' || byte == '\\')
                return false;
            out[used++] = (char)(byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte);
        }
        out[used++] = '.';
        at += 1 + label;
    }
    if (at >= len)
        return false;
    out[used > 0 ? used - 1 : 0] = '\0';
    return true;
}

size_t dns_packet_addresses(const uint8_t *packet, size_t len, int type, struct netaddr *out, size_t max)
{
    struct walk walk;
    size_t count = 0, size = type == DNS_TYPE_A ? 4 : 16;
    if (!walk_begin(&walk, packet, len))
        return 0;
    while (count < max && walk_next(&walk, type)) {
        if (walk.data_len != size)
            continue;
        struct netaddr *address = &out[count++];
        memset(address, 0, sizeof *address);
        address->family = type == DNS_TYPE_A ? AF_INET : AF_INET6;
        memcpy(address->bytes, packet + walk.data, size);
    }
    return count;
}

size_t dns_packet_mx(const uint8_t *packet, size_t len, struct dns_mx *out, size_t max, bool *more)
{
    struct walk walk;
    struct dns_mx one;
    size_t count = 0;
    *more = false;
    if (!walk_begin(&walk, packet, len))
        return 0;
    while (walk_next(&walk, DNS_TYPE_MX)) {
        if (walk.data_len < 3 || !name_text(packet, len, walk.data + 2, one.host))
            continue;
        one.preference = (uint16_t)get16(packet + walk.data);
        *more = count == max;
        if (*more)
            break;
        out[count++] = one;
    }
    return count;
}

size_t dns_packet_ptr(const uint8_t *packet, size_t len, char (*out)[DNS_NAME_MAX], size_t max)
{
    struct walk walk;
    size_t count = 0;
    if (!walk_begin(&walk, packet, len))
        return 0;
    while (count < max && walk_next(&walk, DNS_TYPE_PTR))
        count += name_text(packet, len, walk.data, out[count]) && out[count][0] != '\0';
    return count;
}

size_t dns_packet_tlsa(const uint8_t *packet, size_t len, struct dns_tlsa *out, size_t max)
{
    struct walk walk;
    size_t count = 0;
    if (!walk_begin(&walk, packet, len))
        return 0;
    while (count < max && walk_next(&walk, DNS_TYPE_TLSA)) {
        const uint8_t *data = packet + walk.data;
        if (walk.data_len > 3)
            out[count++] = (struct dns_tlsa){ data[0], data[1], data[2], data + 3, walk.data_len - 3 };
    }
    return count;
}

bool dns_packet_owner(const uint8_t *packet, size_t len, int type, char out[DNS_NAME_MAX])
{
    struct walk walk;
    return walk_begin(&walk, packet, len) && walk_next(&walk, type) && name_text(packet, len, walk.owner, out);
}

bool dns_tlsa_is_usable(const struct dns_tlsa *tlsa)
{
    enum { CERTIFICATE_OR_KEY = 0, SHA2_256 = 1, SHA2_512 = 2 };
    if ((tlsa->usage != 2 && tlsa->usage != 3) || tlsa->selector > 1)
        return false;
    return tlsa->matching == CERTIFICATE_OR_KEY || (tlsa->matching == SHA2_256 && tlsa->len == 32) ||
           (tlsa->matching == SHA2_512 && tlsa->len == 64);
}
