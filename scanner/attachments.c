/* attachments.c - see attachments.h */
#include "scanner/attachments.h"
#include <string.h>
#include <openssl/evp.h>
#include "common/error.h"
#include "proto/weir.pb-c.h"
#include "scanner/mime/filetype.h"

static EVP_MD *sha256;

/* Danger: what is kept where there are too many. */
static const struct {
    Weir__AttachmentKind kind;
    unsigned danger;
} kinds[] = {
    [FILE_OTHER] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_OTHER, 0 },
    [FILE_EXECUTABLE] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_EXECUTABLE, 3 },
    [FILE_SCRIPT] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_SCRIPT, 3 },
    [FILE_SHORTCUT] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_SHORTCUT, 3 },
    [FILE_MACRO] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_MACRO, 3 },
    [FILE_ARCHIVE_PROGRAM] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_ARCHIVE_PROGRAM, 3 },
    [FILE_ARCHIVE_ENCRYPTED] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_ARCHIVE_ENCRYPTED, 2 },
    [FILE_DISK] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_DISK, 3 },
    [FILE_ARCHIVE] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_ARCHIVE, 1 },
    [FILE_HTML] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_HTML, 1 },
    [FILE_PDF] = { WEIR__ATTACHMENT_KIND__ATTACHMENT_PDF, 1 },
};

struct pick {
    const struct mime_part *part;
    enum file_kind kind;
};

void attachments_begin(void)
{
    if (sha256 == NULL)
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (sha256 == NULL)
        fatal("libcrypto has no SHA-256");
}

static bool is_file(const struct mime_part *part, enum file_kind kind)
{
    if (part->bytes.len == 0)
        return false;
    bool is_named = part->file_name.len > 0 || mime_span_is(part->disposition, "attachment");
    bool is_read = mime_type_is(part, "text", "plain") || mime_type_is(part, "text", "html");
    return is_named || !is_read || (kind != FILE_OTHER && kind != FILE_HTML && kind != FILE_SCRIPT);
}

static void add(struct mime_span bytes, Weir__AttachmentKind kind, struct packet_attachment *out, uint32_t *count)
{
    struct packet_attachment *new = &out[*count];
    unsigned len = CHANNEL_HASH_LEN;
    if (EVP_Digest(bytes.bytes, bytes.len, new->hash, &len, sha256, NULL) != 1)
        fatal("libcrypto cannot hash");
    new->kind = (uint32_t)kind;
    new->size = bytes.len;
    for (uint32_t i = 0; i < *count; i++)
        if (memcmp(out[i].hash, new->hash, CHANNEL_HASH_LEN) == 0)
            return;
    ++*count;
}

/* Among as dangerous ones the first stay. */
static void pick(struct pick picks[CHANNEL_ATTACHMENTS_MAX], size_t *count, struct pick new)
{
    size_t at = *count;
    while (at > 0 && kinds[picks[at - 1].kind].danger < kinds[new.kind].danger)
        at--;
    if (at == CHANNEL_ATTACHMENTS_MAX)
        return;
    size_t moved = *count < CHANNEL_ATTACHMENTS_MAX ? *count - at : CHANNEL_ATTACHMENTS_MAX - 1 - at;
    memmove(&picks[at + 1], &picks[at], moved * sizeof *picks);
    picks[at] = new;
    *count += *count < CHANNEL_ATTACHMENTS_MAX;
}

uint32_t attachments_find(const struct mime_message *message, struct packet_attachment out[CHANNEL_ATTACHMENTS_MAX])
{
    struct pick picks[CHANNEL_ATTACHMENTS_MAX];
    size_t picked = 0;
    uint32_t count = 0;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct mime_part *part = &message->parts[i];
        enum file_kind kind = part->bytes.len > 0 ? file_kind_of(part) : FILE_OTHER;
        if (is_file(part, kind))
            pick(picks, &picked, (struct pick){ part, kind });
    }
    for (size_t i = 0; i < picked; i++)
        add(picks[i].part->bytes, kinds[picks[i].kind].kind, out, &count);
    return count;
}
