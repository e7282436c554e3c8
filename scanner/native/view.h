#ifndef WEIR_SCANNER_NATIVE_VIEW_H
#define WEIR_SCANNER_NATIVE_VIEW_H
/*
 * view.h - one message as the rules look at it: who, about what, which text, which links, which files
 *
 * Messages within the message are left out: what a bounce returns, or somebody forwards to ask about it, is not what he says.
 */
#include "scanner/mime/filetype.h"
#include "scanner/mime/html.h"
#include "scanner/native/domain.h"
#include "scanner/native/native.h"

#define VIEW_LINKS_MAX 400
#define VIEW_HOSTS_MAX 64
#define VIEW_FILES_MAX 64
#define VIEW_FOLDED_MAX ((size_t)64 << 10)

struct view_address {
    struct mime_span name;     /* display name, UTF-8 */
    struct mime_span address;  /* "user@host", as written; empty when there is none */
    char host[HOST_MAX];       /* lower case; "" when there is none */
};

struct view_host {
    char host[HOST_MAX];
    const char *organisation; /* points into host */
    bool is_address, is_shortener, is_free_page, is_odd_zone;
    uint32_t links;
};

struct view_link {
    enum html_link_kind kind;
    struct mime_span url, text;
    const struct view_host *host; /* NULL: beyond VIEW_HOSTS_MAX, or none */
    bool in_html, has_image;
};

struct view_file {
    const struct mime_part *part;
    struct mime_span name; /* may be empty */
    char extension[FILE_EXTENSION_MAX], inner[FILE_EXTENSION_MAX]; /* lower case: "exe", and "pdf" of "a.pdf.exe" */
    bool inline_image;
};

/* Looked at before each piece of work. */
struct watch {
    uint64_t (*now_us)(void); /* NULL: there is no end */
    uint64_t end_us;
    bool late; /* it was seen to be; it stays so */
};
bool watch_is_late(struct watch *watch);

struct view {
    struct mime_parser *parser;
    const struct mime_message *message;
    const struct mime_part *top;
    const struct native_facts *facts;

    struct view_address from, reply_to, to;
    struct mime_span subject;
    bool has_message_id, is_reply, is_list, is_bounce, from_is_own;

    struct mime_span folded;         /* subject and text, lower case, marks taken off letters, one blank between words, blank at both ends; of long texts both ends */
    bool text_cut;                   /* that is not all of the text */
    size_t folded_subject;           /* its first bytes are the subject */
    struct mime_span seen[16];       /* visible text of each part, as it is */
    size_t seen_count, seen_bytes;
    size_t plain_bytes, html_bytes, html_seen; /* of text/plain, of HTML source, of what is visible in it */
    struct html *html;               /* the largest HTML part; NULL: none */
    uint32_t hidden, breaks, forms, passwords, scripts, images, tiny_images, mixed_words;
    uint32_t styled; /* letters for mathematics, in subject and text */
    uint32_t letters, capitals, wide; /* ASCII letters, those in capitals; characters of Chinese, Japanese, Korean */

    struct view_host hosts[VIEW_HOSTS_MAX];
    size_t host_count;
    struct view_link links[VIEW_LINKS_MAX];
    size_t link_count;
    struct view_file files[VIEW_FILES_MAX];
    size_t file_count;
};

void view_make(struct view *view, struct mime_parser *parser, const struct mime_message *message, const struct native_facts *facts, struct watch *watch);
/* The host is of the site that gets the message. */
bool view_is_own(const struct view *view, const char *host);
struct mime_span view_header(const struct view *view, const char *name); /* empty: none */

#endif
