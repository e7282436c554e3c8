#ifndef WEIR_SCANNER_MIME_PDF_H
#define WEIR_SCANNER_MIME_PDF_H
/* pdf.h - the links of a PDF file that stand in it uncompressed, and what it would do by itself */
#include "scanner/mime/mime.h"

#define PDF_LINKS_MAX 50

struct pdf {
    struct mime_span links[PDF_LINKS_MAX]; /* point into the file */
    size_t link_count;
    uint32_t pages;
    bool encrypted, script, launch, compressed_objects;
};

bool pdf_is(struct mime_span file);
void pdf_read(struct mime_span file, struct pdf *pdf);

#endif
