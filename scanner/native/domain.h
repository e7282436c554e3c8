#ifndef WEIR_SCANNER_NATIVE_DOMAIN_H
#define WEIR_SCANNER_NATIVE_DOMAIN_H
/*
 * domain.h - hosts and addresses as they stand in mail: whose they are, and what they look like to a reader
 *
 * Without the list of public suffixes: an organisation is told by a few rules and a table, which is enough to compare two names of one mail.
 */
#include <stdbool.h>
#include <stddef.h>
#include "scanner/mime/mime.h"

#define HOST_MAX 254 /* with the NUL */

/* The host of a URL, lower case, A-labels or as written; "" when it has none. Takes "http://user@host:80/", "//host", "www.host/...". */
void url_host(struct mime_span url, char out[HOST_MAX]);
bool url_is_web(struct mime_span url); /* http, https, ftp or no scheme at all before a host */
bool url_has_user(struct mime_span url); /* "http://bank.example@192.0.2.1/" */

/* Points into host: "mail.example.co.uk" belongs to "example.co.uk", "shop.github.io" to itself. */
const char *host_organisation(const char *host);
bool host_is_address(const char *host);    /* 192.0.2.1, 0xC0000201, 3221225985, [2001:db8::1] */
bool host_is_shortener(const char *host);
bool host_is_free_page(const char *host);  /* anybody can have a page or form there */
bool host_is_free_mail(const char *host);  /* anybody can have an address there */
bool host_is_odd_zone(const char *host);   /* a top-level domain that costs next to nothing, and is used accordingly */
bool is_host_name(const char *text, size_t len);    /* labels and dots */
bool looks_like_host(const char *text, size_t len); /* such, in a top-level domain that there is */

/* What a reader takes a label for: "рaypa1" is "paypal". Never longer than HOST_MAX. */
void label_skeleton(const char *label, size_t len, char out[HOST_MAX]);
/* The first label of a host's organisation: "example" of "www.example.co.uk". */
size_t organisation_label(const char *host, const char **label);
/* Whether host is not of, but looks like, organisation's name: the same skeleton, or one letter away in a long one. */
bool host_resembles(const char *host, const char *organisation);

#endif
