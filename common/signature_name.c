/*
 * signature_name.c - the part of signature_set.h that needs no libcrypto
 */
#include "common/signature_set.h"

#include <stdio.h>
#include <string.h>
#include "common/memory.h"

void signature_hex(const uint8_t hash[SIGNATURE_HASH_LEN], char out[SIGNATURE_HEX_LEN + 1])
{
    for (size_t i = 0; i < SIGNATURE_HASH_LEN; i++)
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool signature_unhex(uint8_t hash[SIGNATURE_HASH_LEN], const char *hex)
{
    if (strlen(hex) != SIGNATURE_HEX_LEN)
        return false;
    for (size_t i = 0; i < SIGNATURE_HASH_LEN; i++) {
        int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        hash[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* As libclamav loads them from a folder (CLI_DBEXT of its readdb.h). What freshclam has beside them (freshclam.dat) is none. */
bool signature_name_is_valid(const char *name)
{
    static const char *const endings[] = { "cat", "cbc", "cdb", "cfg", "cld", "crb", "cud", "cvd", "db",  "fp",  "ftm",  "gdb", "hdb", "hdu", "hsb",
                                           "hsu", "idb", "ign", "ign2", "imp", "ioc", "ldb", "ldu", "mdb", "mdu", "msb",  "msu", "ndb", "ndu", "pdb",
                                           "pwdb", "rmd", "sdb", "sfp", "wdb", "yar", "yara", "zmd" };
    size_t len = strlen(name);
    const char *dot = strrchr(name, '.');
    if (len > SIGNATURE_NAME_MAX || dot == NULL || dot == name || name[0] == '.' ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != len)
        return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (strcmp(dot + 1, endings[i]) == 0)
            return true;
    return false;
}

char *signature_source_public(const char *source)
{
    size_t scheme = strncmp(source, "http://", 7) == 0 ? 7 : strncmp(source, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0)
        return xstrdup(source);
    size_t len = strcspn(source + scheme, "/?#");
    const char *host = source + scheme, *path = host + len, *file = strrchr(path, '/');
    const char *at = memrchr(host, '@', len);
    if (at != NULL)
        host = at + 1;
    bool named = file != NULL && signature_name_is_valid(file + 1);
    const char *hidden = named ? (file == path ? "" : "/...") : strlen(path) > 1 ? "/..." : path;
    return xasprintf("%.*s%.*s%s%s", (int)scheme, source, (int)(path - host), host, hidden, named ? file : "");
}
