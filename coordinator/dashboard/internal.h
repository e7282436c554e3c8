#ifndef WEIR_COORDINATOR_DASHBOARD_INTERNAL_H
#define WEIR_COORDINATOR_DASHBOARD_INTERNAL_H
/*
 * internal.h - one request of a browser, and what answers it
 *
 *     visit_new --who is it?--> route --database, helpers--> visit_reply, which ends it
 *
 * The connection may close meanwhile: then the request is gone, and the answer goes nowhere.
 */
#include <jansson.h>
#include <stdbool.h>
#include <sys/queue.h>
#include "coordinator/dashboard/dashboard.h"
#include "coordinator/dashboard/page.h"

#define TOKEN_LEN 64 /* hex digits of a session's cookie, of its digest, and of what forms carry */
#define CLIENT_MAX 64

struct visit {
    TAILQ_ENTRY(visit) link;
    struct dashboard *dashboard;
    struct evhttp_request *request; /* NULL: gone */
    const struct route *route;
    bool live; /* the page looks again by itself */
    char path[64];
    char client[CLIENT_MAX];
    char token[TOKEN_LEN + 1], digest[TOKEN_LEN + 1], csrf[TOKEN_LEN + 1]; /* "" without a cookie */
    char operator[64];                                                      /* "": nobody's session */
    uint64_t began_ms;
    /* a login */
    char name[64], guess[24];
    char *password, *hash; /* hash: NULL where nobody of that name may log in */
    bool limited, entered;
    /* an act */
    struct page_act act;
    struct page_filters filters;
};

TAILQ_HEAD(visits, visit);

struct dashboard {
    struct dashboard_options options;
    struct visits visits;          /* whose requests are not answered */
    struct visits waiting;         /* for the overview: asked once for all */
    json_t *doc;                   /* the last one read; NULL: none */
    uint64_t read_ms, sampled_ms, tidied_ms;
    bool asking, sampling, resting;
    char silence[32], idle[32], longest[32];
    size_t count;
    struct metric *pages, *refused, *full, *accepted, *wrong, *limited, *failed, *done, *not_done;
};

/* --- dashboard.c --- */
void visit_reply(struct visit **visit, int code, const char *type, const char *body, size_t len); /* ends it */
void visit_reply_text(struct visit **visit, int code, struct text *html);                         /* a page; clears it */
void visit_redirect(struct visit **visit, const char *where);
void visit_words(struct visit **visit, int code, const char *title, const char *words);
void visit_page_who(const struct visit *visit, struct page_who *who);
void visit_cookie(struct visit *visit, const char *value, bool end);
void random_hex(char *out, size_t digits); /* and a NUL */
void token_digest(char out[TOKEN_LEN + 1], const char *purpose, const char *token);
/* false: it is no form of a page of ours, and visit was answered. */
bool visit_form_is_ours(struct visit **visit, bool with_token);
const char *visit_body(const struct visit *visit, size_t *len);

/* --- login.c --- */
void login_begin(struct visit *visit);
void logout(struct visit *visit);

/* --- acts.c --- */
void act_do(struct visit *visit);
void spool_show(struct visit *visit);

#endif
