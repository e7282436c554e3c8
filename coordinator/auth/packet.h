#ifndef WEIR_COORDINATOR_AUTH_PACKET_H
#define WEIR_COORDINATOR_AUTH_PACKET_H
/*
 * packet.h - what a coordinator and its helper processes say to each other: a few strings in one packet
 */
#include <stdbool.h>
#include <stddef.h>

#define PACKET_MAX        16384
#define PACKET_FIELDS_MAX 300

struct packet {
    size_t len;
    char bytes[PACKET_MAX];
};

void packet_add(struct packet *packet, const char *field); /* what does not fit spoils it: packet_fields() finds none */
/* The strings in it, borrowed; returns how many. 0: it is empty, or not such a packet. */
size_t packet_fields(const struct packet *packet, const char *fields[PACKET_FIELDS_MAX]);
void packet_clear(struct packet *packet); /* wipes it: it may hold a password */

#endif
