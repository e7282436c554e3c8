#ifndef WEIR_SCANNER_NATIVE_FOLD_H
#define WEIR_SCANNER_NATIVE_FOLD_H
/* fold.h - text in the one form in which words are compared */
#include <stddef.h>
#include <stdint.h>
#include "scanner/mime/mime.h"

#define FOLD_SPARE 8 /* bytes of room that are left unused: any character and a blank fit */

struct fold {
    char *out;
    size_t len, room;
    uint32_t letters, capitals, wide; /* counted on the way */
    uint32_t styled;                  /* letters for mathematics, as who hides a word from filters writes it */
    uint32_t mixed;                   /* words of letters of two scripts that look alike */
};

/*
 * Adds a text and a blank. Letters of Latin script lose their case and marks, full-width ones their width; Greek and Cyrillic their case; what is
 * neither letter nor digit nor one of "$%@!" becomes one blank, however long: never more bytes than the text has, and the blank. Stops where the room
 * ends; gives the bytes of the text that it read.
 */
size_t fold_text(struct fold *fold, struct mime_span text);

#endif
