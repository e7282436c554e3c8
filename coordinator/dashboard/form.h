#ifndef WEIR_COORDINATOR_DASHBOARD_FORM_H
#define WEIR_COORDINATOR_DASHBOARD_FORM_H
/*
 * form.h - what browsers send and get: fields of a form, cookies, text in HTML. Pure: no socket, no database
 */
#include <stdbool.h>
#include <stddef.h>
#include "coordinator/text.h"

#define FORM_FIELD_MAX 2048 /* bytes of a field, decoded */

/* The field `name` of application/x-www-form-urlencoded bytes (a body, or a query). false, and out is "": it is not there, is there twice, does not fit, or is
 * not text (a broken %, a NUL, no UTF-8, a control character). An empty one is there. */
bool form_field(const char *bytes, size_t len, const char *name, char *out, size_t cap);
/* The cookie `name` of a Cookie header. false: it is not there (out is ""), or does not fit. The first counts. */
bool form_cookie(const char *header, const char *name, char *out, size_t cap);
/* Appends text so that it means nothing in HTML, in an element or in a quoted attribute; what is no text (control characters, no UTF-8) becomes \xNN, and
 * marks that change the direction of text are left out. */
void form_escape(struct text *out, const char *text);
/* Whether a request that changes something comes from a page of ours, as far as the browser says (Sec-Fetch-Site, else Origin and Host; each NULL when absent). */
bool form_is_own(const char *fetch_site, const char *origin, const char *host);
/* Whether two strings are the same, in a time that depends on the length of the first only. */
bool form_same(const char *secret, const char *given);

#endif
