#ifndef WEIR_WEB_WEB_H
#define WEIR_WEB_WEB_H
/*
 * web.h - one weir-web process: where recipients look after their quarantine
 *
 * It has no key of a node and no right on any table: what it may do are the functions web_...() of the database, and whose copies are meant the link says.
 */
#include <event2/http.h>
#include "common/command.h"
#include "common/netaddr.h"
#include "common/settings.h"
#include "coordinator/db.h"
#include "coordinator/http_door.h"
#include "coordinator/web/pages.h"
#include "coordinator/web/rate.h"

struct web_config {
    struct config *source;
    struct web_settings own;
    struct cluster_settings cluster;
    struct log_settings log;
    char *conninfo;
};

struct web_mail;

struct web {
    const struct command *command;
    const struct web_config *config;
    struct event_base *base;
    struct metrics metrics;
    struct lineage lineage;
    struct db *db;
    struct evhttp *server, *metrics_server;
    struct http_door *door;
    struct web_mail *mail;
    struct rate *rate;
    struct mime_parser *parser;
    struct netaddr_prefix *proxies;
    size_t proxy_count, pending;
    char *prefix, *origin;  /* of web_url: its path, and what stands before it */
    char list_entries[24];
    bool stopping, said_rights;
    struct process_stats *stats;
    struct metric *limited, *clients, *busy, *refused, *waiting, *cut;
};

/* false: why says what is wrong, with file and line where there is one. What was filled is cleared. */
bool web_config_load(struct web_config *config, const struct command *command, struct error *why);
void web_config_clear(struct web_config *config);
bool web_config_files(const struct web_config *config, struct error *why);
/* Runs until TERM or INT; returns the exit status. */
int web_run(const struct command *command, const struct web_config *config);

/* --- visit.c: one request for a page --- */
void web_visit(struct evhttp_request *request, void *web);
/* Ends a request with a page, and counts it. */
void web_reply(struct web *web, struct evhttp_request *request, int code, const char *what, const struct text *body);

/* --- mail.c: commands by mail --- */
struct web_mail *web_mail_new(struct web *web, struct error *why);
void web_mail_free(struct web_mail **mail);

#endif
