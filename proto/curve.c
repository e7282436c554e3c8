/*
 * curve.c - node keys: made by libzmq, kept as hex
 *
 * libzmq speaks Z85; files and configuration speak hex, because half of Z85's alphabet means something to a shell.
 * Secrets are wiped from every buffer they passed through.
 */
#include "proto/curve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#define Z85_LEN      40
#define KEY_FILE_MAX 512

static bool derive_public(uint8_t public_key[CURVE_KEY_LEN], const uint8_t secret_key[CURVE_KEY_LEN])
{
    char secret[Z85_LEN + 1], public[Z85_LEN + 1];

    bool ok = zmq_z85_encode(secret, secret_key, CURVE_KEY_LEN) != NULL && zmq_curve_public(public, secret) == 0 &&
              zmq_z85_decode(public_key, public) != NULL;
    explicit_bzero(secret, sizeof secret);
    return ok;
}

void curve_keypair_generate(struct curve_keypair *pair)
{
    char public[Z85_LEN + 1], secret[Z85_LEN + 1];

    if (zmq_curve_keypair(public, secret) != 0)
        fatal("cannot make a CURVE key pair: %s", zmq_strerror(zmq_errno()));
    weir_assert(zmq_z85_decode(pair->public_key, public) != NULL && zmq_z85_decode(pair->secret_key, secret) != NULL);
    explicit_bzero(secret, sizeof secret);
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, bytes, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        bytes += done;
        len -= (size_t)done;
    }
    return true;
}

bool curve_keypair_write(const struct curve_keypair *pair, const char *path, struct error *why)
{
    char text[KEY_FILE_MAX], public[CURVE_HEX_LEN + 1], secret[CURVE_HEX_LEN + 1];

    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        error_set(why, "%s: %s", path, strerror(errno));
        return false;
    }
    int len = snprintf(text, sizeof text, "public = %s\nsecret = %s\n", curve_key_format(pair->public_key, public),
                       curve_key_format(pair->secret_key, secret));
    bool ok = write_all(fd, text, (size_t)len) && fsync(fd) == 0;
    int error = errno;
    ok = close(fd) == 0 && ok;
    explicit_bzero(text, sizeof text);
    explicit_bzero(secret, sizeof secret);
    if (!ok) {
        unlink(path);
        error_set(why, "%s: %s", path, strerror(error));
    }
    return ok;
}

/* The value of "NAME = HEX" at the start of *line; moves *line to the next one. */
static bool parse_line(const char **line, const char *name, uint8_t key[CURVE_KEY_LEN])
{
    const char *at = *line;
    size_t name_len = strlen(name);
    char hex[CURVE_HEX_LEN + 1];

    if (strncmp(at, name, name_len) != 0)
        return false;
    at += name_len;
    at += strspn(at, " \t");
    if (*at++ != '=')
        return false;
    at += strspn(at, " \t");
    size_t len = strcspn(at, " \t\r\n");
    if (len != CURVE_HEX_LEN)
        return false;
    memcpy(hex, at, len);
    hex[len] = '\0';
    at += len;
    at += strspn(at, " \t\r\n");
    *line = at;
    bool ok = curve_key_parse(key, hex);
    explicit_bzero(hex, sizeof hex);
    return ok;
}

static bool parse_file(struct curve_keypair *pair, const char *text)
{
    return parse_line(&text, "public", pair->public_key) && parse_line(&text, "secret", pair->secret_key) &&
           *text == '\0';
}

static bool file_is_private(int fd, const char *path, struct error *why)
{
    struct stat status;

    if (fstat(fd, &status) != 0) {
        error_set(why, "%s: %s", path, strerror(errno));
        return false;
    }
    if (!S_ISREG(status.st_mode)) {
        error_set(why, "%s: not a regular file", path);
        return false;
    }
    if ((status.st_mode & 0077) != 0) {
        error_set(why, "%s: mode %04o lets others at the secret key; it must be 0600", path,
                  (unsigned)status.st_mode & 07777);
        return false;
    }
    return true;
}

bool curve_keypair_read(struct curve_keypair *pair, const char *path, struct error *why)
{
    char text[KEY_FILE_MAX];
    uint8_t derived[CURVE_KEY_LEN];

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_set(why, "%s: %s", path, strerror(errno));
        return false;
    }
    if (!file_is_private(fd, path, why)) {
        close(fd);
        return false;
    }
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    text[len > 0 ? len : 0] = '\0';
    bool ok = parse_file(pair, text);
    explicit_bzero(text, sizeof text);
    if (!ok) {
        error_set(why, "%s: not a key file (two lines, \"public = HEX\" and \"secret = HEX\", %d digits each)", path,
                  CURVE_HEX_LEN);
        return false;
    }
    if (!derive_public(derived, pair->secret_key) || memcmp(derived, pair->public_key, CURVE_KEY_LEN) != 0) {
        error_set(why, "%s: the public key does not belong to the secret key", path);
        return false;
    }
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool curve_key_parse(uint8_t key[CURVE_KEY_LEN], const char *hex)
{
    if (hex == NULL || strlen(hex) != CURVE_HEX_LEN)
        return false;
    for (size_t i = 0; i < CURVE_KEY_LEN; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        key[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

char *curve_key_format(const uint8_t key[CURVE_KEY_LEN], char out[CURVE_HEX_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < CURVE_KEY_LEN; i++) {
        out[2 * i] = digits[key[i] >> 4];
        out[2 * i + 1] = digits[key[i] & 15];
    }
    out[CURVE_HEX_LEN] = '\0';
    return out;
}
