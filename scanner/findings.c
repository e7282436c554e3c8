/* findings.c - see findings.h */
#include "scanner/findings.h"
#include <string.h>
#include <sys/mman.h>
#include "scanner/attachments.h"
#include "scanner/worker_native.h"

void findings_make(struct native *native, const struct packet_facts *facts, const struct native_model *model, bool scores, const char *bytes, size_t len,
                   struct packet_findings *out, struct packet_features *features)
{
    memset(out, 0, sizeof *out);
    out->scored = scores && facts->wanted;
    if (out->scored)
        worker_native_score(native, facts, model, bytes, len, &out->native, features);
    if (facts->attachments)
        out->attachment_count = attachments_find(out->scored ? native_scored(native) : native_parse(native, bytes, len), out->attachments);
}

bool findings_make_file(struct native *native, const struct packet_facts *facts, const struct native_model *model, bool scores, int fd, uint64_t offset, uint64_t size,
                        struct packet_findings *out, struct packet_features *features)
{
    char *bytes = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return false;
    findings_make(native, facts, model, scores, bytes + offset, (size_t)(size - offset), out, features);
    munmap(bytes, (size_t)size);
    return true;
}
