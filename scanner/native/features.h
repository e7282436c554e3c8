#ifndef WEIR_SCANNER_NATIVE_FEATURES_H
#define WEIR_SCANNER_NATIVE_FEATURES_H
/* features.h - a view as the numbers that a model counts */
#include "scanner/native/model.h"
#include "scanner/native/rules.h"

struct feature_maker;
struct feature_maker *feature_maker_new(void);
void feature_maker_free(struct feature_maker **maker);

/* Words of the text (of scripts without blanks: pairs of characters), organisations that are linked to, kinds of parts, and the rules that spoke. */
void features_make(struct feature_maker *maker, const struct view *view, const struct native_result *rules, struct native_features *features);

#endif
