/* worker_native.c - see worker_native.h */
#include "scanner/worker_native.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert(NATIVE_SYMBOLS_MAX <= CHANNEL_SYMBOLS_MAX, "all symbols fit a packet");

void worker_native_score(struct native *native, const struct packet_facts *facts, const char *bytes, size_t len, struct packet_native *out)
{
    static struct native_result found; /* one thread, and large */
    const char *recipients[CHANNEL_RECIPIENTS_MAX];
    for (size_t i = 0; i < facts->recipient_count; i++)
        recipients[i] = facts->recipients[i];
    struct native_facts told = {
        .client_address = facts->client,
        .client_name = *facts->client_name != '\0' ? facts->client_name : NULL,
        .helo = facts->helo,
        .sender = facts->sender,
        .recipients = recipients,
        .recipient_count = facts->recipient_count,
        .direction = facts->outbound ? NATIVE_OUTBOUND : NATIVE_INBOUND,
        .authenticated = facts->authenticated,
    };
    native_score(native, &told, NULL, bytes, len, &found);
    memset(out, 0, sizeof *out);
    out->score = found.score;
    for (size_t i = 0; i < found.symbol_count; i++) {
        struct packet_symbol *symbol = &out->symbols[out->symbol_count++];
        snprintf(symbol->name, sizeof symbol->name, "%s", found.symbols[i].name);
        snprintf(symbol->detail, sizeof symbol->detail, "%s", found.symbols[i].detail);
        symbol->weight = found.symbols[i].weight;
    }
}

bool worker_native_score_file(struct native *native, const struct packet_facts *facts, int fd, uint64_t offset, uint64_t size, struct packet_native *out)
{
    char *bytes = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return false;
    worker_native_score(native, facts, bytes + offset, (size_t)(size - offset), out);
    munmap(bytes, (size_t)size);
    return true;
}
