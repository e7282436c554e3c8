#ifndef WEIR_COORDINATOR_FORWARDED_H
#define WEIR_COORDINATOR_FORWARDED_H
/*
 * forwarded.h - whom a proxy names in X-Forwarded-For
 *
 * The proxy's word is the last one: of the last field of that name, as some append to the field that the client sent, and others add one of their own behind it.
 * All before are anybody's words.
 */
#include <stdbool.h>
#include <stddef.h>
#include <event2/http.h>

/* Whether there is such a field; out is cut to cap. Whether it is an address is for the caller to know. */
bool forwarded_client(struct evhttp_request *request, char *out, size_t cap);

#endif
