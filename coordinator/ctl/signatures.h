#ifndef WEIR_CTL_SIGNATURES_H
#define WEIR_CTL_SIGNATURES_H
/* signatures.h - what every verb about signatures answers with, for people: the last look, the sets, and which scanner uses which */
#include <jansson.h>
#include <stdio.h>

void signatures_print(const json_t *body, FILE *out);

#endif
