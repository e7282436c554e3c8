#ifndef WEIR_CTL_VIEWS_H
#define WEIR_CTL_VIEWS_H
/*
 * views.h - a coordinator's JSON answer, as a person wants to read it
 */
#include <jansson.h>
#include <stdio.h>

/* verb: "node list", ...; coordinator: who answered. */
void view_print(const char *verb, const json_t *body, const char *coordinator, FILE *out);

/* node: the answer to "drain"; says nothing where no client is pinned to it. */
void view_warn_of_pinned(const json_t *node, FILE *out);

/* account: the answer to "account add"; says nothing where it may send as somebody. */
void view_warn_of_no_senders(const json_t *account, FILE *out);

/* How far a node's drain is, or else its state: "finishing: 2 sessions, 1 lease of the spool". The caller frees it. */
char *view_drain_step(const json_t *node);

/* A string of an answer; "" where it has none under that key. Borrowed. */
const char *view_word(const json_t *object, const char *key);

/* The end of a word that counts: "" of one, "s" of others. */
const char *view_plural(long long count);

/* "2026-11-21T19:20:38.337087+00:00" as local time "2026-11-21 19:20:38"; "-" for NULL. Returns out. */
char *view_time(char out[32], const char *iso);

#endif
