/*
 * book.c - see book.h
 *
 * One hash table. An address is looked up once for each length that a prefix of its family has: few, as lengths are counted.
 */
#include "edge/reputation/book.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "common/error.h"
#include "common/memory.h"

#define SLOTS_MIN 256u /* a power of 2; doubled as the book fills */
#define BITS_MAX  128
#define HOST      "host:" /* in front of a registered host's prefix, so that it is no client's */

struct book {
    struct book_entry **slots;
    size_t size, count, swept;
    uint32_t seed; /* keys are of strangers' making: they shall not know what falls on what */
    size_t lengths[2][2][BITS_MAX + 1]; /* entries by authority, family (IPv6: 1) and bits */
};

struct name { /* what an entry is found by */
    bool login, host, by_operator;
    uint8_t family, bits, address[16];
    const char *text; /* of a login */
};

struct book *book_new(void)
{
    struct book *book = xcalloc(1, sizeof *book);
    book->size = SLOTS_MIN;
    book->slots = xcalloc(book->size, sizeof *book->slots);
    if (getrandom(&book->seed, sizeof book->seed, 0) != sizeof book->seed)
        fatal("no random numbers");
    return book;
}

void book_free(struct book **taken)
{
    struct book *book = *taken;
    *taken = NULL;
    if (book == NULL)
        return;
    for (size_t i = 0; i < book->size; i++)
        for (struct book_entry *entry = book->slots[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            free(entry);
        }
    free(book->slots);
    free(book);
}

static uint32_t hash_bytes(uint32_t hash, const void *bytes, size_t len)
{
    for (const unsigned char *at = bytes, *end = at + len; at < end; at++) /* FNV-1a */
        hash = (hash ^ *at) * 0x01000193u;
    return hash;
}

static uint32_t hash_of(const struct book *book, const struct name *name)
{
    const uint8_t head[] = { name->login, name->host, name->by_operator, name->family, name->bits };
    uint32_t hash = hash_bytes(book->seed, head, sizeof head);
    hash = name->login ? hash_bytes(hash, name->text, strlen(name->text)) : hash_bytes(hash, name->address, sizeof name->address);
    return hash ^ hash >> 15;
}

static bool is_named(const struct book_entry *entry, const struct name *name)
{
    return entry->login == name->login && entry->host == name->host && entry->by_operator == name->by_operator && entry->family == name->family && entry->bits == name->bits &&
           memcmp(entry->address, name->address, sizeof name->address) == 0 && (!name->login || strcmp(entry->key, name->text) == 0);
}

static struct book_entry **link_of(const struct book *book, const struct name *name, uint32_t hash)
{
    struct book_entry **link = &book->slots[hash & (book->size - 1)];
    while (*link != NULL && ((*link)->hash != hash || !is_named(*link, name)))
        link = &(*link)->next;
    return link;
}

static size_t *length_of(struct book *book, const struct book_entry *entry)
{
    return &book->lengths[entry->by_operator][entry->family == AF_INET6][entry->bits];
}

static void take_out(struct book *book, struct book_entry **link)
{
    struct book_entry *entry = *link;
    *link = entry->next;
    if (!entry->login && !entry->host)
        --*length_of(book, entry);
    book->count--;
    free(entry);
}

static void grow(struct book *book)
{
    size_t size = book->size * 2;
    struct book_entry **slots = xcalloc(size, sizeof *slots);
    for (size_t i = 0; i < book->size; i++)
        for (struct book_entry *entry = book->slots[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            entry->next = slots[entry->hash & (size - 1)];
            slots[entry->hash & (size - 1)] = entry;
        }
    free(book->slots);
    book->slots = slots;
    book->size = size;
    book->swept = 0;
}

static void mask(uint8_t out[16], const uint8_t address[16], uint8_t family, unsigned bits)
{
    unsigned most = family == AF_INET6 ? 16 : 4;
    memset(out, 0, 16);
    memcpy(out, address, bits / 8 < most ? bits / 8 : most);
    if (bits % 8 != 0)
        out[bits / 8] = (uint8_t)(address[bits / 8] & (0xff << (8 - bits % 8)));
}

static void name_take_prefix(struct name *out, const struct netaddr_prefix *prefix)
{
    out->family = prefix->address.family;
    out->bits = prefix->bits;
    mask(out->address, prefix->address.bytes, out->family, out->bits);
}

static bool name_parse(struct name *out, const char *key, bool login, bool by_operator)
{
    struct netaddr_prefix prefix;
    struct error why;
    *out = (struct name){ .login = login, .by_operator = by_operator, .text = key };
    if (login)
        return *key != '\0';
    out->host = strncmp(key, HOST, sizeof HOST - 1) == 0;
    if (!netaddr_prefix_parse(&prefix, out->host ? key + sizeof HOST - 1 : key, &why))
        return false;
    name_take_prefix(out, &prefix);
    return true;
}

bool book_put(struct book *book, const char *key, bool login, bool by_operator, enum reputation_action action, uint64_t until_ms, uint64_t override, uint64_t now_ms)
{
    struct name name;
    if (!name_parse(&name, key, login, by_operator))
        return false;
    uint32_t hash = hash_of(book, &name);
    struct book_entry **link = link_of(book, &name, hash), *entry = *link;
    if (until_ms <= now_ms) {
        if (entry != NULL)
            take_out(book, link);
        return true;
    }
    if (entry == NULL) {
        if (book->count >= BOOK_ENTRIES_MAX)
            return false;
        size_t len = strlen(key) + 1;
        entry = *link = xcalloc(1, sizeof *entry + len);
        *entry = (struct book_entry){ .hash = hash, .login = login, .host = name.host, .by_operator = by_operator, .family = name.family, .bits = name.bits };
        memcpy(entry->address, name.address, sizeof entry->address);
        memcpy(entry->key, key, len);
        if (!login && !name.host)
            ++*length_of(book, entry);
        book->count++;
    }
    entry->action = action;
    entry->until_ms = until_ms;
    entry->override = override;
    if (book->count > book->size)
        grow(book);
    return true;
}

static struct book_entry *find(const struct book *book, const struct name *name, uint64_t now_ms)
{
    struct book_entry *entry = *link_of(book, name, hash_of(book, name));
    return entry != NULL && now_ms < entry->until_ms ? entry : NULL;
}

static struct book_entry *find_client(const struct book *book, const struct netaddr *client, bool by_operator, uint64_t now_ms)
{
    const size_t *lengths = book->lengths[by_operator][client->family == AF_INET6];
    struct name name = { .by_operator = by_operator, .family = client->family };
    struct book_entry *strictest = NULL;
    for (int bits = client->family == AF_INET6 ? 128 : 32; bits >= 0; bits--) {
        if (lengths[bits] == 0)
            continue;
        name.bits = (uint8_t)bits;
        mask(name.address, client->bytes, client->family, name.bits);
        struct book_entry *entry = find(book, &name, now_ms);
        if (entry != NULL && by_operator)
            return entry;
        if (entry != NULL && (strictest == NULL || entry->action > strictest->action))
            strictest = entry;
    }
    return strictest;
}

struct book_entry *book_client(const struct book *book, const struct netaddr *client, uint64_t now_ms)
{
    struct book_entry *said = find_client(book, client, true, now_ms);
    return said != NULL ? said : find_client(book, client, false, now_ms);
}

static struct book_entry *find_named(const struct book *book, struct name *name, uint64_t now_ms)
{
    name->by_operator = true;
    struct book_entry *said = find(book, name, now_ms);
    name->by_operator = false;
    return said != NULL ? said : find(book, name, now_ms);
}

struct book_entry *book_host(const struct book *book, const struct netaddr_prefix *host, uint64_t now_ms)
{
    struct name name = { .host = true };
    name_take_prefix(&name, host);
    return find_named(book, &name, now_ms);
}

struct book_entry *book_login(const struct book *book, const char *login, uint64_t now_ms)
{
    struct name name = { .login = true, .text = login };
    return find_named(book, &name, now_ms);
}

void book_sweep(struct book *book, unsigned parts, uint64_t now_ms)
{
    size_t each = book->size / parts + 1;
    for (size_t n = 0; n < each; n++, book->swept = (book->swept + 1) & (book->size - 1))
        for (struct book_entry **link = &book->slots[book->swept]; *link != NULL;) {
            if (now_ms >= (*link)->until_ms)
                take_out(book, link);
            else
                link = &(*link)->next;
        }
}

void book_each(const struct book *book, void (*each)(void *arg, const struct book_entry *entry), void *arg)
{
    for (size_t i = 0; i < book->size; i++)
        for (const struct book_entry *entry = book->slots[i]; entry != NULL; entry = entry->next)
            each(arg, entry);
}

size_t book_count(const struct book *book)
{
    return book->count;
}
