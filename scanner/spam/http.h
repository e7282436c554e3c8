#ifndef WEIR_SCANNER_SPAM_HTTP_H
#define WEIR_SCANNER_SPAM_HTTP_H
/*
 * http.h - the head of an answer in HTTP/1.1 (RFC 9112), as far as rspamd's needs it
 *
 * Pure. Only answers with a Content-Length are taken: what ends with its connection cannot be told from what was cut off.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

#define HTTP_HEAD_MAX 16384

struct http_head {
    size_t len;    /* of the head, with its empty line; 0: it has not come whole yet */
    int status;
    uint64_t body; /* Content-Length */
    bool close;    /* the connection ends with it */
};

/* Looks at the first len bytes of an answer. false: why. */
bool http_head_parse(struct http_head *head, const char *bytes, size_t len, struct error *why);

#endif
