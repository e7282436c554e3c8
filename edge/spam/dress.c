/* dress.c - see dress.h */
#include "edge/spam/dress.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/scan/stamp.h"
#include "edge/spam/author.h"
#include "edge/spam/fields.h"

#define MARKS_MAX  1024          /* bytes of X-Virus-Status and X-Blacklisted */
#define HEADER_MOSTLY 16384      /* bytes are looked at first: nearly every header ends there, and what is in a file has to be read */
#define HEADER_MAX (1024u * 1024) /* a longer header is not edited: max_header_size refuses it by default */

static const char *authserv_id(const struct dress *dress)
{
    return *dress->settings->authserv_id != '\0' ? dress->settings->authserv_id : dress->hostname;
}

/* The first `want` bytes. NULL: they cannot be read. */
static const char *first_bytes(const struct message *message, size_t want, size_t *len, char **copy)
{
    struct error why;
    const char *bytes = message_peek(message, 0, want, len);
    if (bytes != NULL && *len == want)
        return bytes;
    bytes = *copy = xrealloc(*copy, want + 1);
    for (*len = 0; *len < want;) {
        ssize_t got = message_read(message, *len, *copy + *len, want - *len, &why);
        if (got <= 0) {
            log_write(LOG_ERR, "cannot read a message back for its header: %s", got < 0 ? why.text : "it ends early");
            return NULL;
        }
        *len += (size_t)got;
    }
    return bytes;
}

const char *message_beginning(const struct message *message, size_t *len, char **copy)
{
    size_t most = message_size(message) < HEADER_MAX ? (size_t)message_size(message) : HEADER_MAX;
    *copy = NULL;
    for (size_t want = HEADER_MOSTLY;; want *= 4) {
        size_t now = want < most ? want : most;
        const char *bytes = first_bytes(message, now, len, copy);
        if (bytes == NULL || now == most || header_length(bytes, now) < now)
            return bytes;
    }
}

bool message_from(const struct message *message, char out[SMTP_ADDRESS_MAX])
{
    char *copy;
    size_t len;
    const char *bytes = message_beginning(message, &len, &copy);
    bool found = bytes != NULL && header_author(out, bytes, header_length(bytes, len));
    if (!found)
        *out = '\0';
    free(copy);
    return found;
}

static bool is_checked(const struct dress *dress)
{
    return dress->scan != NULL && dress->scan->spam != NULL;
}

/* What is to be known about it beside its score, for whoever's Subject stays as it is, too. */
static size_t marks_format(char *out, size_t cap, const struct dress *dress)
{
    int len = 0;
    if (dress->doubt != NULL)
        len = snprintf(out, cap, "X-Virus-Status: %s\r\n", dress->doubt);
    if (dress->listed != NULL)
        len += snprintf(out + len, cap - (size_t)len, "X-Blacklisted: %s\r\n", dress->listed);
    return (size_t)len < cap ? (size_t)len : 0;
}

static char *edited_header(const struct dress *dress, const struct message *message, size_t *edited_len, uint64_t *skip)
{
    bool will_be_signed = dress->scan != NULL && dress->scan->spam != NULL && dress->scan->spam->n_signatures > 0; /* and Subject is signed */
    struct header_edit edit = { .drop_spam = (dress->from_outside && dress->settings->spam_engines.count > 0) || (is_checked(dress) && !dress->outbound),
                                .names = { authserv_id(dress), dress->hostname }, /* before there was an authserv_id, it was that one */
                                .others = dress->cluster_names,
                                .tags = { dress->listed != NULL && !will_be_signed ? dress->settings->blacklist_subject : NULL,
                                          dress->doubt != NULL && !will_be_signed ? dress->settings->virus_subject : NULL,
                                          dress->tag && !will_be_signed ? dress->settings->spam_subject : NULL },
                                .tag_signed = dress->settings->spam_subject_signed };
    char *copy, *edited = NULL;
    size_t len;
    const char *bytes = message_beginning(message, &len, &copy);
    size_t header = bytes != NULL ? header_length(bytes, len) : 0;
    if (header > 0 && (header < len || len == message_size(message)))
        edited = header_edit(&edit, bytes, header, edited_len);
    *skip = edited != NULL ? header : 0;
    free(copy);
    return edited;
}

uint64_t message_dress_max(const struct spam_settings *settings)
{
    return VIRUS_SCANNED_MAX + MARKS_MAX + (settings->spam_engines.count > 0 ? SPAM_FIELDS_MAX : 0);
}

char *message_dress(const struct dress *dress, const struct message *message, size_t *len, uint64_t *skip)
{
    size_t edited_len = 0, used = 0;
    char *edited = NULL;
    bool checked = is_checked(dress);
    *skip = 0;
    if (checked || dress->distrusted || dress->from_outside || dress->doubt != NULL || dress->listed != NULL)
        edited = edited_header(dress, message, &edited_len, skip);
    char *out = xmalloc(VIRUS_SCANNED_MAX + MARKS_MAX + (checked ? SPAM_FIELDS_MAX : 0) + dress->received_len + edited_len + 1);
    if (dress->scan != NULL && dress->virus_line && dress->doubt == NULL)
        used = virus_scanned_format(out, VIRUS_SCANNED_MAX, dress->hostname, dress->scan->engine, dress->scan->signatures);
    used += marks_format(out + used, MARKS_MAX, dress);
    if (checked)
        used += spam_fields_format(out + used, &(struct spam_fields){ .result = dress->scan->spam, .authserv_id = authserv_id(dress),
                                                                      .sender = dress->sender, .helo = dress->helo, .required = dress->required });
    memcpy(out + used, dress->received, dress->received_len);
    used += dress->received_len;
    if (edited != NULL)
        memcpy(out + used, edited, edited_len);
    free(edited);
    *len = used + edited_len;
    return out;
}
