#ifndef WEIR_EDGE_SMTP_XTEXT_H
#define WEIR_EDGE_SMTP_XTEXT_H
/*
 * xtext.h - the values of the DSN extension (RFC 3461, RFC 6533), written for the wire
 *
 * Pure. command.c reads them; what is kept in between is decoded.
 */
#include <stdbool.h>
#include <stddef.h>

#define SMTP_ENVID_TEXT_MAX 101  /* RFC 3461 4.4: 100 characters as sent */
#define SMTP_ORCPT_TEXT_MAX 501  /* RFC 3461 4.2: 500 characters as sent */
#define SMTP_NOTIFY_TEXT_MAX 32

/* Printable ASCII but "+" and "=" stands for itself, other bytes as +XX. false, and out is "": it does not fit cap with its NUL. */
bool smtp_xtext_encode(char *out, size_t cap, const char *text);
/* "rfc822;a@b" as xtext behind the type; "utf-8;..." with \x{...} for what is not ASCII. */
bool smtp_orcpt_encode(char *out, size_t cap, const char *orcpt);
/* SMTP_NOTIFY_* as "SUCCESS,FAILURE"; "" for 0. Returns out. */
char *smtp_notify_format(char out[SMTP_NOTIFY_TEXT_MAX], unsigned notify);

#endif
