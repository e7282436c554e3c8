#ifndef WEIR_COORDINATOR_AUTH_KINDS_H
#define WEIR_COORDINATOR_AUTH_KINDS_H
/*
 * kinds.h - what helper processes can do; each runs alone in its process and may block
 *
 * passwords   "check" HASH PASSWORD -> "yes" | "no"
 *             "make" PASSWORD       -> HASH (yescrypt with libcrypt's default cost); "" when it cannot be hashed
 * directory   LOGIN PASSWORD        -> "accepted" SENDER... | "wrong" | "unavailable" WHY
 *             its setup: see enum directory_field
 */
#include "coordinator/auth/packet.h"

void passwords_serve(const char *const *fields, size_t count, struct packet *answer);

enum directory_field {
    DIRECTORY_URI,
    DIRECTORY_STARTTLS, /* "on": before anything is said */
    DIRECTORY_CA_FILE,  /* "": the system's */
    DIRECTORY_DN,       /* template of a user's DN; "": it is looked for */
    DIRECTORY_BASE,     /* where, by which filter, and as whom */
    DIRECTORY_FILTER,
    DIRECTORY_SERVICE_DN,
    DIRECTORY_SERVICE_PASSWORD,
    DIRECTORY_SENDER_ATTRIBUTE,
    DIRECTORY_TIMEOUT_MS,
    DIRECTORY_FIELDS
};

/* false: the setup is not one. */
bool directory_setup(const char *const *fields, size_t count);
void directory_serve(const char *const *fields, size_t count, struct packet *answer);

/* A template with %s (the login), %u (its part before the last @) and %d (behind it), each with what has a meaning in a
 * DN (RFC 4514) or a filter (RFC 4515) escaped. false: it does not fit. */
bool directory_expand_dn(char *out, size_t cap, const char *template, const char *login);
bool directory_expand_filter(char *out, size_t cap, const char *template, const char *login);

/* What of a login decides whose it is. An alternative in a filter ("(|(uid=%u)(mail=%s))") may leave the domain out, so
 * it does not count as looking at it. */
enum directory_login {
    DIRECTORY_LOGIN_NOTHING, /* the template names nobody, or only a domain */
    DIRECTORY_LOGIN_USER,    /* what stands before its last @: alice and alice@anywhere are one user */
    DIRECTORY_LOGIN_WHOLE,
};
enum directory_login directory_login_of(const char *template);

#endif
