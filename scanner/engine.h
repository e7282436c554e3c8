#ifndef WEIR_SCANNER_ENGINE_H
#define WEIR_SCANNER_ENGINE_H
/*
 * engine.h - libclamav, and what its answers mean
 *
 * Loaded once per generation (in the zygote) and shared by its workers copy-on-write. Not thread-safe, and need not be.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "proto/weir.pb-c.h"
#include "scanner/channel.h"

struct engine;

struct engine_result {
    Weir__Verdict verdict;
    Weir__UnknownReason reason; /* with unknown */
    char name[256];             /* signature with bad, words with unknown, else empty */
};

/*
 * What is put before every message when its bytes are kept. libclamav decides by the first line whether it sees mail: with an
 * unusual header first ("X-Any: thing") it takes the whole for text, decodes no part, and finds nothing. "Received: " is always mail.
 * "From " would be, too, but turns on its mbox mode, in which a body line can start another message.
 */
#define ENGINE_MAIL_PREFIX "Received: by weir\r\n"
#define ENGINE_MAIL_PREFIX_LEN (sizeof ENGINE_MAIL_PREFIX - 1)

/* Loads and compiles the signature set. NULL: why says what is wrong. */
struct engine *engine_load(const struct engine_options *options, struct engine_info *info, struct error *why);
void engine_free(struct engine **engine);

/* Where libclamav unpacks; for a worker after its fork. */
bool engine_set_tmp_dir(struct engine *engine, const char *path, struct error *why);

/*
 * Scans a message that begins with ENGINE_MAIL_PREFIX. Clean only when libclamav says that it has seen everything and found nothing; a limit reached is
 * unknown(limits), unless something bad was found as well. time_ms: libclamav's own clock, looked at only at some points of a scan.
 */
void engine_scan(struct engine *engine, const void *bytes, size_t size, uint32_t time_ms, struct engine_result *result);
/* The same for the first size bytes of a file. */
void engine_scan_file(struct engine *engine, int fd, uint64_t size, uint32_t time_ms, struct engine_result *result);

/* The messages of a self-test: the EICAR test file, the same inside a base64 part, and a clean mail. Past the end: false. */
bool engine_test_message(size_t index, char *out, size_t cap, size_t *len, Weir__Verdict *expected);

#endif
