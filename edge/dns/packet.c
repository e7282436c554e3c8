/*
 * packet.c - addresses out of a DNS answer in wire format
 */
#include "edge/dns/packet.h"
#include <string.h>

enum { HEADER_SIZE = 12, RECORD_FIXED_SIZE = 10, CLASS_IN = 1 };

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

size_t dns_packet_addresses(const uint8_t *packet, size_t len, int type, struct netaddr *out, size_t max)
{
    size_t count = 0, at = HEADER_SIZE, size = type == DNS_TYPE_A ? 4 : 16;
    if (len < HEADER_SIZE)
        return 0;
    for (unsigned questions = get16(packet + 4); questions > 0; questions--) {
        at = skip_name(packet, len, at);
        if (at == 0 || len - at < 4)
            return 0;
        at += 4;
    }
    for (unsigned answers = get16(packet + 6); answers > 0 && count < max; answers--) {
        at = skip_name(packet, len, at);
        if (at == 0 || len - at < RECORD_FIXED_SIZE)
            break;
        const uint8_t *record = packet + at;
        size_t data_len = get16(record + 8);
        at += RECORD_FIXED_SIZE;
        if (len - at < data_len)
            break;
        if (get16(record) == (unsigned)type && get16(record + 2) == CLASS_IN && data_len == size) {
            struct netaddr *address = &out[count++];
            memset(address, 0, sizeof *address);
            address->family = type == DNS_TYPE_A ? AF_INET : AF_INET6;
            memcpy(address->bytes, packet + at, size);
        }
        at += data_len;
    }
    return count;
}
