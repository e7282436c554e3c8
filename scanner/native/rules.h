#ifndef WEIR_SCANNER_NATIVE_RULES_H
#define WEIR_SCANNER_NATIVE_RULES_H
/* rules.h - the families of rules; each looks at a view and adds symbols */
#include "scanner/native/native.h"
#include "scanner/native/phrases.h"
#include "scanner/native/view.h"

/* detail may be empty. Adds nothing when the result is full: what matters most comes first. */
void symbol_add(struct native_result *result, const char *name, int32_t weight, struct mime_span detail);
void symbol_text(struct native_result *result, const char *name, int32_t weight, const char *detail);
bool symbol_has(const struct native_result *result, const char *name);

void rules_phishing(const struct view *view, const struct phrase_hits *hits, struct native_result *result);
void rules_links(const struct view *view, struct native_result *result);
void rules_files(const struct view *view, struct native_result *result);
void rules_headers(const struct view *view, struct native_result *result);
void rules_client(const struct view *view, struct native_result *result);
void rules_text(const struct view *view, const struct phrase_hits *hits, struct native_result *result);
void rules_composite(const struct view *view, const struct phrase_hits *hits, struct native_result *result);
int32_t rules_bulk(const struct native_result *result); /* what they say against mail in bulk, together */

#endif
