#ifndef WEIR_PROTO_CURVE_H
#define WEIR_PROTO_CURVE_H
/*
 * curve.h - node keys: CURVE key pairs, as files and as 64 hex digits
 *
 * A key file has two lines, "public = HEX" and "secret = HEX", and mode 0600; a file that others can read is refused.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"

#define CURVE_KEY_LEN 32
#define CURVE_HEX_LEN 64

struct curve_keypair {
    uint8_t public_key[CURVE_KEY_LEN];
    uint8_t secret_key[CURVE_KEY_LEN];
};

void curve_keypair_generate(struct curve_keypair *pair);
bool curve_keypair_write(const struct curve_keypair *pair, const char *path,
                         struct error *why); /* fails if it exists */
bool curve_keypair_read(struct curve_keypair *pair, const char *path, struct error *why);
bool curve_key_parse(uint8_t key[CURVE_KEY_LEN], const char *hex);
char *curve_key_format(const uint8_t key[CURVE_KEY_LEN], char out[CURVE_HEX_LEN + 1]);

#endif
