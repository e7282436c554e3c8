/* pdf.c - see pdf.h: looks for names (ISO 32000-1 7.3.5), of which it must only know where they begin */
#include "scanner/mime/pdf.h"
#include <string.h>

#define LINK_MAX 4096 /* bytes of one */
#define SIGNATURE_WITHIN 1024 /* readers take a header that begins later than the file */

bool pdf_is(struct mime_span file)
{
    size_t len = file.len < SIGNATURE_WITHIN ? file.len : SIGNATURE_WITHIN;
    return len > 5 && memmem(file.bytes, len, "%PDF-", 5) != NULL;
}

static bool name_is(struct mime_span rest, const char *name)
{
    size_t len = strlen(name);
    if (rest.len <= len || memcmp(rest.bytes, name, len) != 0)
        return false;
    char after = rest.bytes[len];
    return !((after >= 'a' && after <= 'z') || (after >= 'A' && after <= 'Z') || (after >= '0' && after <= '9'));
}

/* "/URI (http://...)": the string's bytes; escapes stay, as no host has them. */
static void take_link(struct mime_span rest, struct pdf *pdf)
{
    const char *at = rest.bytes + 4, *end = rest.bytes + rest.len;
    while (at < end && (*at == ' ' || *at == '\r' || *at == '\n'))
        at++;
    if (at == end || *at != '(' || pdf->link_count == PDF_LINKS_MAX)
        return;
    size_t within = (size_t)(end - at) < LINK_MAX ? (size_t)(end - at) : LINK_MAX;
    const char *close = memchr(at, ')', within);
    if (close != NULL && close > at + 1)
        pdf->links[pdf->link_count++] = (struct mime_span){ at + 1, (size_t)(close - at - 1) };
}

void pdf_read(struct mime_span file, struct pdf *pdf)
{
    *pdf = (struct pdf){ .link_count = 0 };
    const char *at = file.bytes, *end = at + file.len;
    while (at < end && (at = memchr(at, '/', (size_t)(end - at))) != NULL) {
        struct mime_span rest = { at, (size_t)(end - at) };
        if (name_is(rest, "/URI"))
            take_link(rest, pdf);
        else if (name_is(rest, "/Page"))
            pdf->pages++;
        else if (name_is(rest, "/JavaScript") || name_is(rest, "/JS"))
            pdf->script = true;
        else if (name_is(rest, "/Launch"))
            pdf->launch = true;
        else if (name_is(rest, "/Encrypt"))
            pdf->encrypted = true;
        else if (name_is(rest, "/ObjStm"))
            pdf->compressed_objects = true;
        at++;
    }
}
