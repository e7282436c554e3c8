#ifndef WEIR_EDGE_SMTP_XTEXT_H
#define WEIR_EDGE_SMTP_XTEXT_H
/*
 * xtext.h - the values of the DSN extension (RFC 3461, RFC 6533) and of XCLIENT, on the wire
 *
 * Pure. What is kept in between is decoded.
 */
#include <stdbool.h>
#include <stddef.h>

#define SMTP_ENVID_TEXT_MAX 101  /* RFC 3461 4.4: 100 characters as sent */
#define SMTP_ORCPT_TEXT_MAX 501  /* RFC 3461 4.2: 500 characters as sent */
#define SMTP_NOTIFY_TEXT_MAX 32

/* "+" and two hex digits stand for a byte (RFC 3461 4). false: it is not of that form, does not fit cap with its NUL, or is not printable when decoded, so that it
 * could not be logged and passed on. */
bool smtp_xtext_decode(char *out, size_t cap, const char *text, size_t len);
/* Printable ASCII but "+" and "=" stands for itself, other bytes as +XX. false, and out is "": it does not fit cap with its NUL. */
bool smtp_xtext_encode(char *out, size_t cap, const char *text);
/* "rfc822;a@b" as xtext behind the type; "utf-8;..." with \x{...} for what is not ASCII. */
bool smtp_orcpt_encode(char *out, size_t cap, const char *orcpt);
/* SMTP_NOTIFY_* as "SUCCESS,FAILURE"; "" for 0. Returns out. */
char *smtp_notify_format(char out[SMTP_NOTIFY_TEXT_MAX], unsigned notify);

#endif
