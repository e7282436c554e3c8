#ifndef WEIR_EDGE_REPUTATION_BOOK_H
#define WEIR_EDGE_REPUTATION_BOOK_H
/*
 * book.h - who is throttled or refused, by address, prefix, registered host or login; pure
 *
 * Of one key there may be an operator's word and what was counted of it, each with its end. Times are those of the caller's clock, in ms.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/netaddr.h"

#define BOOK_ENTRIES_MAX 2000000 /* above what coordinators tell: reputation_listed and what operators say */

enum reputation_action { REPUTATION_ALLOW, REPUTATION_THROTTLE, REPUTATION_REJECT };

struct book_entry {
    struct book_entry *next; /* of its hash */
    uint32_t hash;
    bool login, host, by_operator;
    enum reputation_action action;
    uint8_t family, bits;
    uint8_t address[16];   /* zeros behind the prefix; logins: all zeros */
    uint64_t until_ms;
    uint64_t told_ms;      /* the book's owner notes when it last wrote down a refusal; 0: never */
    uint64_t override;     /* the number by which operators know their word; 0: it has none, or is a score */
    char key[];            /* as it was put in: "192.0.2.0/24", "host:192.0.2.64/28" */
};

struct book;

struct book *book_new(void);
void book_free(struct book **book);
/* Puts it in, or in the place of what was known of the same key by the same authority; with until_ms <= now_ms it is taken out. false: the key is no address,
 * prefix, host or login, or the book is full. */
bool book_put(struct book *book, const char *key, bool login, bool by_operator, enum reputation_action action, uint64_t until_ms, uint64_t override, uint64_t now_ms);
/* What decides for a client, a registered host (as the policy names it: all of its addresses) or a login now. NULL: nothing. Borrowed until the book is changed; only
 * told_ms may be written. */
struct book_entry *book_client(const struct book *book, const struct netaddr *client, uint64_t now_ms);
struct book_entry *book_host(const struct book *book, const struct netaddr_prefix *host, uint64_t now_ms);
struct book_entry *book_login(const struct book *book, const char *login, uint64_t now_ms);
/* Takes out what has ended in a part of the book: all of it in `parts` calls. */
void book_sweep(struct book *book, unsigned parts, uint64_t now_ms);
/* All of them, in no order; also those that have ended and were not taken out yet. */
void book_each(const struct book *book, void (*each)(void *arg, const struct book_entry *entry), void *arg);
size_t book_count(const struct book *book);

#endif
