/* packet.c - strings in one packet, each with its NUL */
#include "coordinator/auth/packet.h"

#include <string.h>

void packet_add(struct packet *packet, const char *field)
{
    size_t len = strlen(field) + 1;

    if (len > PACKET_MAX - packet->len) {
        packet->bytes[0] = 'x';
        packet->len = 1; /* no NUL: nothing that anybody would take, whatever is added */
        return;
    }
    memcpy(packet->bytes + packet->len, field, len);
    packet->len += len;
}

size_t packet_fields(const struct packet *packet, const char *fields[PACKET_FIELDS_MAX])
{
    size_t count = 0;

    if (packet->len == 0 || packet->bytes[packet->len - 1] != '\0')
        return 0;
    for (size_t at = 0; at < packet->len; at += strlen(packet->bytes + at) + 1) {
        if (count == PACKET_FIELDS_MAX)
            return 0;
        fields[count++] = packet->bytes + at;
    }
    return count;
}

void packet_clear(struct packet *packet)
{
    explicit_bzero(packet->bytes, packet->len);
    packet->len = 0;
}
