/* worker_native.c - see worker_native.h */
#include "scanner/worker_native.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert(NATIVE_SYMBOLS_MAX <= CHANNEL_SYMBOLS_MAX, "all symbols fit a packet");

static void take_features(struct native *native, const struct native_facts *facts, const char *bytes, size_t len, struct packet_features *out)
{
    static struct native_features features;
    native_take_features(native, facts, bytes, len, &features);
    out->language = features.language;
    out->words = (uint32_t)features.words;
    out->count = (uint32_t)features.count;
    memcpy(out->buckets, features.buckets, features.count * sizeof features.buckets[0]);
}

void worker_native_score(struct native *native, const struct packet_facts *facts, const struct native_model *model, const char *bytes, size_t len,
                         struct packet_native *out, struct packet_features *features)
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
        .listed = facts->listed,
        .ill_reputed = facts->ill_reputed,
    };
    native_score(native, &told, model, bytes, len, &found);
    memset(out, 0, sizeof *out);
    out->score = found.score;
    for (size_t i = 0; i < found.symbol_count; i++) {
        struct packet_symbol *symbol = &out->symbols[out->symbol_count++];
        snprintf(symbol->name, sizeof symbol->name, "%s", found.symbols[i].name);
        snprintf(symbol->detail, sizeof symbol->detail, "%s", found.symbols[i].detail);
        symbol->weight = found.symbols[i].weight;
    }
    if (facts->learn)
        take_features(native, &told, bytes, len, features);
}

void worker_native_take_model(const struct native_model **model, int fd)
{
    if (*model != NULL)
        munmap((void *)(uintptr_t)*model, sizeof **model);
    *model = NULL;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof **model, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED)
        *model = mapped; /* the master has looked at it */
}
