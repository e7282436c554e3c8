/* passwords.c - hashing and checking passwords with libcrypt, in a helper process */
#include <crypt.h>
#include <string.h>
#include "coordinator/auth/kinds.h"

static struct crypt_data scratch; /* 32 KiB */

/* Takes the same time wherever they differ. */
static bool are_equal(const char *a, const char *b)
{
    size_t len = strlen(a);
    unsigned different = len != strlen(b);

    for (size_t i = 0; i < len && b[i] != '\0'; i++)
        different |= (unsigned char)(a[i] ^ b[i]);
    return !different;
}

static void check(const char *hash, const char *password, struct packet *answer)
{
    const char *made = crypt_r(password, hash, &scratch);

    packet_add(answer, made != NULL && made[0] != '*' && are_equal(made, hash) ? "yes" : "no");
}

static void make(const char *password, struct packet *answer)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    const char *made = NULL;

    if (crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting) != NULL)
        made = crypt_r(password, setting, &scratch);
    packet_add(answer, made != NULL && made[0] != '*' ? made : "");
}

void passwords_serve(const char *const *fields, size_t count, struct packet *answer)
{
    if (count == 3 && strcmp(fields[0], "check") == 0)
        check(fields[1], fields[2], answer);
    else if (count == 2 && strcmp(fields[0], "make") == 0)
        make(fields[1], answer);
    explicit_bzero(&scratch, sizeof scratch);
}
