#ifndef WEIR_COORDINATOR_DASHBOARD_PAGE_H
#define WEIR_COORDINATOR_DASHBOARD_PAGE_H
/*
 * page.h - the dashboard's pages as HTML, out of JSON documents. Pure: no socket, no database, no clock
 *
 * All text from elsewhere goes through form_escape(). Nothing is inline: scripts and styles are files of their own, so the Content-Security-Policy forbids all
 * others.
 */
#include <jansson.h>
#include <stdbool.h>
#include "coordinator/text.h"

#define PAGE_TOKEN_LEN 32 /* hex digits of an act's token */

struct page_who {
    const char *cluster; /* its name */
    const char *coordinator;
    const char *operator; /* NULL: nobody has logged in */
    const char *csrf;     /* of the operator's session */
    bool database;        /* it is there; else the page is as old as it says */
};

/* doc: what dashboard_overview() says, with "spool" put in; NULL: nothing was ever read. act: a fresh token for the forms of this page. */
void page_overview(struct text *out, const struct page_who *who, const json_t *doc, const char *act);
/* words: what was wrong with the last try; NULL: this is the first. */
void page_login(struct text *out, const struct page_who *who, const char *words);
/* entries: what admin_queue_list() says. filters as they were typed. */
struct page_filters {
    char id[64], from[322], to[322], state[16], destination[322];
};
void page_spool(struct text *out, const struct page_who *who, const json_t *entries, const struct page_filters *filters, const char *problem, const char *act);

struct page_act {
    char verb[32], target[322], reason[2048], act[PAGE_TOKEN_LEN + 1], back[16];
};
/* What became of an act; anyway: it can be done with force. */
void page_done(struct text *out, const struct page_who *who, const struct page_act *done, bool fine, const char *words, bool anyway);
/* A page with a title and a sentence. */
void page_words(struct text *out, const struct page_who *who, const char *title, const char *words);

#endif
