#ifndef WEIR_WEB_PAGES_H
#define WEIR_WEB_PAGES_H
/*
 * pages.h - the pages of recipients, as HTML
 *
 * Pure. Nothing that a stranger wrote is in a page but as text (text_add_html()); there is no script, no picture, and no address outside of ours in any of them. What changes
 * something is a form that is posted, with `form` in it.
 */
#include <stdbool.h>
#include "coordinator/quarantine/token.h"
#include "coordinator/text.h"
#include "scanner/mime/mime.h"

struct page {
    const char *prefix;  /* of paths: "", or "/quarantine" */
    const char *token;   /* of the link by which it was asked for; "" */
    bool whole;          /* it opens all of a person's quarantine, not one message */
    char form[TOKEN_HASH_LEN + 1];
    const char *who;     /* whose; "" */
    const char *contact; /* whom to ask; "" */
};

struct page_entry {
    const char *id, *when, *sender, *reason, *score;
    const char *subject; /* UTF-8, not cleaned */
    bool releasable;
};

struct page_message {
    struct page_entry entry;
    const char *author;    /* whom a personal list would name; "" */
    const char *bytes;     /* of the message; as many as are looked into */
    size_t len;
    bool cut;              /* there are more */
};

struct page_sender {
    const char *sender, *kind;
};

void page_list(struct text *out, const struct page *page, const struct page_entry *entries, size_t count, const char *after, bool first);
void page_message(struct text *out, const struct page *page, struct mime_parser *parser, const struct page_message *message);
void page_senders(struct text *out, const struct page *page, const struct page_sender *senders, size_t count);
/* What came of a form. */
void page_words(struct text *out, const struct page *page, const char *title, const char *words);
/* A link that opens nothing, whatever is wrong with it: always the same bytes. */
void page_nothing(struct text *out, const struct page *page);
extern const char page_style[]; /* /style.css */

#endif
