/*
 * token.c - see token.h
 */
#include "coordinator/quarantine/token.h"
#include <assert.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include "common/error.h"

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

void token_make(char out[TOKEN_LEN + 1])
{
    uint8_t random[TOKEN_LEN];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        fatal("getrandom: no random bytes");
    for (size_t i = 0; i < TOKEN_LEN; i++)
        out[i] = digits[random[i] & 31];
    out[TOKEN_LEN] = '\0';
}

bool token_parse(char out[TOKEN_LEN + 1], const char *text, size_t len)
{
    if (len != TOKEN_LEN)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 0x20) : text[i];
        if (c == '\0' || strchr(digits, c) == NULL)
            return false;
        out[i] = c;
    }
    out[len] = '\0';
    return true;
}

static void digest(unsigned char sum[SHA256_DIGEST_LENGTH], const char *prefix, const char *token)
{
    char text[16 + TOKEN_LEN + 1];
    int len = snprintf(text, sizeof text, "%s%s", prefix, token);
    SHA256((const unsigned char *)text, (size_t)len, sum);
}

static void hash(char out[TOKEN_HASH_LEN + 1], const char *prefix, const char *token)
{
    unsigned char sum[SHA256_DIGEST_LENGTH];
    digest(sum, prefix, token);
    for (size_t i = 0; i < sizeof sum; i++)
        snprintf(out + 2 * i, 3, "%02x", sum[i]);
}

void token_hash(char out[TOKEN_HASH_LEN + 1], const char *token)
{
    hash(out, "", token);
}

void token_mail(char out[TOKEN_LEN + 1], const char *token)
{
    unsigned char sum[SHA256_DIGEST_LENGTH];
    static_assert(sizeof sum == TOKEN_LEN, "a byte for each digit");
    digest(sum, "mail ", token);
    for (size_t i = 0; i < TOKEN_LEN; i++)
        out[i] = digits[sum[i] & 31];
    out[TOKEN_LEN] = '\0';
}

void token_form(char out[TOKEN_HASH_LEN + 1], const char *token)
{
    hash(out, "form ", token);
}
