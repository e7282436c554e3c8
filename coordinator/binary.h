#ifndef WEIR_COORDINATOR_BINARY_H
#define WEIR_COORDINATOR_BINARY_H
/*
 * binary.h - lengths and OIDs in PostgreSQL's binary form: 32 bits in network order, at any address
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

static inline void binary_put(char *at, uint32_t number)
{
    number = htonl(number);
    memcpy(at, &number, sizeof number);
}

static inline uint32_t binary_get(const char *at)
{
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return ntohl(number);
}

#endif
