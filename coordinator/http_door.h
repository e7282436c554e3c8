#ifndef WEIR_COORDINATOR_HTTP_DOOR_H
#define WEIR_COORDINATOR_HTTP_DOOR_H
/*
 * http_door.h - how many connections an evhttp has open, and a listener that rests when it cannot accept
 *
 * Whoever comes when all connections are taken is let in, and the oldest one is ended for it: those that are held open and
 * say nothing shut nobody out.
 */
#include <event2/http.h>
#include "common/metrics.h"

struct http_door;

/* bound: server's only socket. max: connections at once, 1 or more. A process has one door at a time. */
struct http_door *http_door_new(struct event_base *base, struct evhttp *server, struct evhttp_bound_socket *bound, size_t max,
                                struct metrics *metrics);
/* make gives the connections: with TLS, say. Before the loop runs. */
void http_door_make_by(struct http_door *door, struct bufferevent *(*make)(struct event_base *base, void *arg), void *arg);
void http_door_free(struct http_door **door);  /* before its server */
void http_door_count(struct http_door *door);  /* brings weir_http_connections up to date */

#endif
