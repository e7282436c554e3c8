#ifndef WEIR_COORDINATOR_SIGNATURES_SOURCES_H
#define WEIR_COORDINATOR_SIGNATURES_SOURCES_H
/*
 * sources.h - which files of signatures come from the mirrors and URLs of a configuration
 */
#include <stdbool.h>
#include <stddef.h>

/* The file's name in a URL that form_signature_url() took; borrowed from it. */
const char *source_file(const char *url);
/* main, daily and bytecode, whole (.cvd) or as incremental updates made them (.cld). */
bool source_is_official(const char *name);
/* Whether a file of this name is freshclam's to keep. mirrors: official ones are fetched. */
bool source_is_wanted(const char *name, bool mirrors, char *const *urls, size_t url_count);
/* The name that an official file has in its other form, as both are one and the same thing; NULL: none. Borrowed, for ever. */
const char *source_other_form(const char *name);

#endif
