#ifndef WEIR_QUARANTINE_SUBJECT_H
#define WEIR_QUARANTINE_SUBJECT_H
/* subject.h - a Subject as the quarantine keeps it (the field's raw bytes, in hex where the database tells it) as text for people */
#include "scanner/mime/mime.h"

/* Freed by the caller; never NULL. What is no hex ends it. */
char *unhex(const char *hex, size_t *len);
/* The field's words, encoded ones decoded, UTF-8; not cleaned. Freed by the caller; never NULL. */
char *subject_decode(struct mime_parser *parser, const char *raw, size_t len);

#endif
