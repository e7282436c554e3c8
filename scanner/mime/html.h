#ifndef WEIR_SCANNER_MIME_HTML_H
#define WEIR_SCANNER_MIME_HTML_H
/*
 * html.h - what a reader of an HTML part sees, and where it would lead him
 *
 * A bounded tokenizer, not a browser: no tree, no style sheets. One pass; memory is the text's.
 */
#include "scanner/mime/mime.h"

#define HTML_LINKS_MAX 300

enum html_link_kind { HTML_ANCHOR, HTML_IMAGE, HTML_FORM, HTML_FRAME, HTML_REFRESH };

struct html_link {
    enum html_link_kind kind;
    bool has_image;           /* an anchor around a picture */
    struct mime_span target;  /* entities decoded, no white space or control characters in it */
    struct mime_span text;    /* an anchor's visible text */
};

struct html {
    struct mime_span text;  /* what is seen: UTF-8, blocks apart by line ends */
    struct mime_span title;
    struct html_link links[HTML_LINKS_MAX];
    size_t link_count;
    uint32_t tags, images, forms, inputs, passwords, scripts, frames, comments, styles;
    uint32_t hidden;        /* bytes of text that is there and not shown */
    uint32_t tiny_images;   /* of one pixel or so: these count who reads */
    uint32_t breaks;        /* words cut by tags that show nothing, or by zero-width characters */
    bool has_base;
};

void html_read(struct mime_parser *parser, struct mime_span source, struct html *html);

#endif
