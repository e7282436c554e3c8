/*
 * load_message.c - messages that look like mail and are never twice the same
 *
 * A pool of lines is made once. A message is a header of its own plus lines of the pool from a random place, so that
 * making one costs a few hundred nanoseconds and no copy of it exists. Its size is exact: the last line is cut to fit.
 */
#include "deploy/tools/load.h"
#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include "common/clock.h"
#include "common/error.h"
#include "common/memory.h"
#include "edge/smtp/reply.h"

#define LINE_LEN   78 /* with CRLF */
#define POOL_LINES 16384

static uint64_t next_random(struct load_source *source) /* xorshift: quality is no matter, speed is */
{
    uint64_t x = source->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return source->random = x;
}

uint64_t load_source_pick(struct load_source *source, uint64_t least, uint64_t most)
{
    return least + next_random(source) % (most - least + 1);
}

static void make_pool(struct load_source *source)
{
    static const char *const syllables[] = { "ka", "lo", "mi",  "ten", "ra",  "sul", "be", "dor",
                                             "vi", "na", "pes", "tu",  "gra", "fen", "os", "il" };
    source->pool = xmalloc((size_t)POOL_LINES * LINE_LEN);
    for (size_t line = 0; line < POOL_LINES; line++) {
        char *out = source->pool + line * LINE_LEN;
        size_t used = 0;
        while (used < LINE_LEN - 2) {
            for (uint64_t parts = 1 + next_random(source) % 4; parts > 0; parts--) {
                const char *syllable = syllables[next_random(source) % 16];
                for (; *syllable != '\0' && used < LINE_LEN - 2; syllable++)
                    out[used++] = *syllable;
            }
            if (used > 0 && used < LINE_LEN - 3) /* no space at a line's end */
                out[used++] = ' ';
        }
        memcpy(out + used, "\r\n", 2);
    }
}

void load_source_init(struct load_source *source, size_t size, bool mix)
{
    *source = (struct load_source){ .size = size, .mix = mix };
    uint64_t seeds[2];
    if (getrandom(seeds, sizeof seeds, 0) != (ssize_t)sizeof seeds)
        seeds[0] = clock_us(), seeds[1] = clock_wall_ms();
    source->nonce = seeds[0];
    source->random = seeds[1] | 1;
    clock_rfc5322(source->date);
    make_pool(source);
}

static char *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    struct stat about;
    if (file == NULL || fstat(fileno(file), &about) != 0 || !S_ISREG(about.st_mode)) {
        if (file != NULL)
            fclose(file);
        return NULL;
    }
    char *bytes = xmalloc((size_t)about.st_size + 1);
    *len = fread(bytes, 1, (size_t)about.st_size, file);
    fclose(file);
    return bytes;
}

/* Line ends become CRLF, which is what a mail program would have sent of it; the last line gets one. */
static void file_init(struct load_file *file, const char *bytes, size_t len)
{
    char *raw = xmalloc(2 * len + 2);
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\r' && i + 1 < len && bytes[i + 1] == '\n')
            continue;
        if (bytes[i] == '\n' || bytes[i] == '\r') {
            raw[used++] = '\r';
            raw[used++] = '\n';
        } else {
            raw[used++] = bytes[i];
        }
    }
    if (used > 0 && raw[used - 1] != '\n') {
        raw[used++] = '\r';
        raw[used++] = '\n';
    }
    file->raw = raw;
    file->raw_len = used;
    file->stuffed = xmalloc(2 * used + 1);
    bool at_line_start = true;
    file->stuffed_len = smtp_dot_stuff(file->stuffed, raw, used, &at_line_start);
}

long load_source_add_folder(struct load_source *source, const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0)
        return -1;
    for (int i = 0; i < count; i++) {
        char *path = xasprintf("%s/%s", folder, entries[i]->d_name);
        size_t len;
        char *bytes = entries[i]->d_name[0] != '.' ? read_file(path, &len) : NULL;
        if (bytes != NULL) {
            source->files = xrealloc(source->files, (source->file_count + 1) * sizeof *source->files);
            file_init(&source->files[source->file_count++], bytes, len);
        }
        free(bytes);
        free(path);
        free(entries[i]);
    }
    free(entries);
    return (long)source->file_count;
}

void load_source_fini(struct load_source *source)
{
    for (size_t i = 0; i < source->file_count; i++) {
        free(source->files[i].raw);
        free(source->files[i].stuffed);
    }
    free(source->files);
    free(source->pool);
}

/* Of 100 messages by count, roughly what a university's relay sees. */
static size_t mixed_size(struct load_source *source)
{
    uint64_t dice = next_random(source) % 100;
    if (dice < 50)
        return 4096;
    if (dice < 80)
        return 16384;
    if (dice < 95)
        return 102400;
    return dice < 99 ? 1048576 : 5242880;
}

static void fill_from_pool(struct load_message *message, struct load_source *source, size_t size)
{
    size_t rest = size > message->prefix_len ? size - message->prefix_len : 0;
    size_t lines = rest / LINE_LEN, tail = rest % LINE_LEN;
    if (tail == 1) { /* no room for CRLF: one line more becomes the tail */
        tail += lines > 0 ? LINE_LEN : 1;
        lines -= lines > 0;
    }
    message->data = source->pool;
    message->data_len = (size_t)POOL_LINES * LINE_LEN;
    message->start = next_random(source) % POOL_LINES * LINE_LEN;
    message->len = lines * LINE_LEN;
    message->filler_len = tail;
    if (tail > 0) {
        memset(message->filler, 'z', tail - 2);
        memcpy(message->filler + tail - 2, "\r\n", 2);
    }
}

void load_message_make(struct load_message *message, struct load_source *source, const char *from, const char *to,
                       bool tag)
{
    message->prefix_len = message->filler_len = 0;
    message->file = NULL;
    snprintf(message->token, sizeof message->token, "%016llx-%08llx", (unsigned long long)source->nonce,
             (unsigned long long)source->counter++);
    if (source->file_count > 0) {
        message->file = &source->files[source->next_file++ % source->file_count];
        message->start = 0;
        if (tag)
            message->prefix_len =
                (size_t)snprintf(message->prefix, sizeof message->prefix, "X-Weir-Load: %s\r\n", message->token);
        return;
    }
    int len = snprintf(message->prefix, sizeof message->prefix,
                       "Date: %s\r\nFrom: Weir Load <%.320s>\r\nTo: <%.320s>\r\nSubject: load %s\r\n"
                       "Message-ID: <%s@load.weir.invalid>\r\n"
                       "X-Weir-Load: %s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n"
                       "Content-Transfer-Encoding: 7bit\r\n\r\nToken %s\r\n",
                       source->date, from, to, message->token, message->token, message->token, message->token);
    message->prefix_len = (size_t)len;
    fill_from_pool(message, source, source->mix ? mixed_size(source) : source->size);
}

void load_message_form(struct load_message *message, bool bdat)
{
    const struct load_file *file = message->file;
    if (file == NULL)
        return; /* has no line that starts with a dot */
    message->data = bdat ? file->raw : file->stuffed;
    message->data_len = message->len = bdat ? file->raw_len : file->stuffed_len;
}

size_t load_message_size(const struct load_message *message)
{
    return message->prefix_len + message->len + message->filler_len;
}

size_t load_message_read(const struct load_message *message, size_t offset, char *out, size_t cap)
{
    size_t used = 0, size = load_message_size(message);
    while (used < cap && offset < size) {
        const char *from;
        size_t have;
        if (offset < message->prefix_len) {
            from = message->prefix + offset;
            have = message->prefix_len - offset;
        } else if (offset < message->prefix_len + message->len) {
            size_t done = offset - message->prefix_len, at = (message->start + done) % message->data_len;
            from = message->data + at;
            have = message->data_len - at < message->len - done ? message->data_len - at : message->len - done;
        } else {
            size_t at = offset - message->prefix_len - message->len;
            from = message->filler + at;
            have = message->filler_len - at;
        }
        if (have > cap - used)
            have = cap - used;
        memcpy(out + used, from, have);
        used += have;
        offset += have;
    }
    return used;
}

void load_message_digest(struct load_message *message, char out[LOAD_DIGEST_LEN + 1])
{
    struct load_message plain = *message;
    unsigned char chunk[16384], digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    load_message_form(&plain, true);
    bool ok = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    for (size_t offset = 0, len; ok && (len = load_message_read(&plain, offset, (char *)chunk, sizeof chunk)) > 0;
         offset += len)
        ok = EVP_DigestUpdate(context, chunk, len) == 1;
    if (!ok || EVP_DigestFinal_ex(context, digest, &digest_len) != 1)
        fatal("cannot make a digest");
    EVP_MD_CTX_free(context);
    for (size_t i = 0; i < LOAD_DIGEST_LEN / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}
