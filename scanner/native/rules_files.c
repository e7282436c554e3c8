/* rules_files.c - attachments: what they are, whatever they are called */
#include <string.h>
#include "scanner/mime/filetype.h"
#include "scanner/mime/pdf.h"
#include "scanner/native/rules.h"

static const char document[] = " pdf doc docx xls xlsx ppt pptx txt jpg jpeg png gif htm html rtf odt zip ";

static void one_archive(const struct view_file *file, struct native_result *result)
{
    struct mime_span bytes = file->part->bytes;
    bool encrypted = false, program = false;
    if (bytes.len >= 4 && memcmp(bytes.bytes, "PK\x03\x04", 4) == 0)
        file_look_into_zip(bytes, &encrypted, &program);
    else
        encrypted = file_is_encrypted_rar(bytes);
    if (program)
        symbol_add(result, "ARCHIVE_WITH_PROGRAM", 3000, file->name);
    if (encrypted)
        symbol_add(result, "ARCHIVE_ENCRYPTED", 1200, file->name);
}

static void one_pdf(const struct view *view, const struct view_file *file, struct native_result *result)
{
    struct pdf pdf;
    pdf_read(file->part->bytes, &pdf);
    if (pdf.launch || pdf.script)
        symbol_add(result, "PDF_ACTS", 800, file->name);
    if (pdf.link_count == 0)
        return;
    bool short_text = view->folded.len - view->folded_subject < 600;
    symbol_add(result, "PDF_WITH_LINK", view->is_reply ? 100 : short_text && pdf.pages <= 2 ? 900 : 400, pdf.links[0]);
    for (size_t i = 0; i < pdf.link_count; i++) {
        char host[HOST_MAX];
        url_host(pdf.links[i], host);
        if (host_is_shortener(host) || host_is_free_page(host) || host_is_address(host)) {
            symbol_text(result, "PDF_LINK_ODD", 900, host);
            return;
        }
    }
}

static bool is_html(const struct view_file *file)
{
    return file_extension_is_in(file->extension, " htm html shtml xhtml mht svg ") || mime_type_is(file->part, "text", "html") || mime_type_is(file->part, "image", "svg+xml");
}

static void one_file(const struct view *view, const struct view_file *file, struct native_result *result)
{
    struct mime_span bytes = file->part->bytes;
    if (file_extension_is_program(file->extension) && file_extension_is_in(file->inner, document))
        symbol_add(result, "FILE_DOUBLE_EXTENSION", 4000, file->name);
    else if (file_extension_is_program(file->extension) || file_is_program(bytes))
        symbol_add(result, "FILE_PROGRAM", 2500, file->name);
    else if (is_html(file) && (mime_span_is(file->part->disposition, "attachment") || file->name.len > 0))
        symbol_add(result, "FILE_HTML", file->part->parent >= 0 && mime_type_is(file->part, "text", "html") && file_extension_is_in(file->extension, " html htm shtml ") ? 1500 : 800, file->name);
    else if (file_has_macros(bytes, file->extension))
        symbol_add(result, "FILE_MACROS", 1500, file->name);
    else if (file_extension_is_archive(file->extension))
        one_archive(file, result);
    else if (pdf_is(bytes))
        one_pdf(view, file, result);
    static const char bidi[] = "\xe2\x80\xae"; /* right to left: "gpj.exe" */
    if (file->name.len > 3 && memmem(file->name.bytes, file->name.len, bidi, 3) != NULL)
        symbol_add(result, "FILE_NAME_REVERSED", 3500, file->name);
}

void rules_files(const struct view *view, struct native_result *result)
{
    for (size_t i = 0; i < view->file_count; i++) {
        size_t before = result->symbol_count;
        one_file(view, &view->files[i], result);
        if (result->symbol_count > before && result->symbol_count >= 6) /* enough is known */
            return;
    }
}
