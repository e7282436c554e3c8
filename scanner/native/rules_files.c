/* rules_files.c - attachments: what they are, whatever they are called */
#include <string.h>
#include "scanner/mime/pdf.h"
#include "scanner/native/rules.h"

static bool listed(const char *extension, const char *list)
{
    size_t len = strlen(extension);
    for (const char *at = list; len > 0 && (at = strstr(at, extension)) != NULL; at++)
        if (at > list && at[-1] == ' ' && at[len] == ' ')
            return true;
    return false;
}

static const char executable[] = " exe com scr pif bat cmd cpl msi msp vbs vbe js jse wsf wsh hta jar ps1 psm1 lnk reg dll ocx sys chm inf scf url gadget application appx msix xll iqy settingcontent-ms ace img vhd vhdx ";
static const char document[] = " pdf doc docx xls xlsx ppt pptx txt jpg jpeg png gif htm html rtf odt zip ";
static const char macros[] = " docm dotm xlsm xltm xlam pptm potm ppam sldm ";
static const char archive[] = " zip rar 7z gz tar tgz bz2 xz cab iso arj lzh ";

static bool starts(struct mime_span bytes, const char *with, size_t len)
{
    return bytes.len >= len && memcmp(bytes.bytes, with, len) == 0;
}

/* Windows program, ELF, Mach-O are told by their first bytes. */
static bool is_program(struct mime_span bytes)
{
    return starts(bytes, "MZ", 2) || starts(bytes, "\x7f" "ELF", 4);
}

static bool has_macros(const struct view_file *file)
{
    struct mime_span bytes = file->part->bytes;
    if (listed(file->extension, macros))
        return true;
    if (starts(bytes, "PK\x03\x04", 4))
        return memmem(bytes.bytes, bytes.len, "vbaProject.bin", 14) != NULL;
    static const char ole[] = "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", project[] = "_\0V\0B\0A\0_\0P\0R\0O\0J\0E\0C\0T\0";
    return starts(bytes, ole, 8) && memmem(bytes.bytes, bytes.len, project, sizeof project - 1) != NULL;
}

/* Zip (APPNOTE 4.4.4: bit 0 of the flags, in each entry's header), and names of the files in it. */
static void look_into_zip(struct mime_span bytes, bool *encrypted, bool *program)
{
    const char *at = bytes.bytes, *end = at + bytes.len;
    for (int entries = 0; entries < 200 && end - at > 30 && (at = memmem(at, (size_t)(end - at), "PK\x03\x04", 4)) != NULL && end - at > 30; entries++) {
        size_t name = (unsigned char)at[26] | (size_t)(unsigned char)at[27] << 8;
        *encrypted |= (at[6] & 1) != 0;
        if (name > 4 && name < (size_t)(end - at - 30)) {
            char extension[5] = { 0 };
            const char *last = at + 30 + name;
            for (size_t i = 0; i < 4; i++)
                extension[i] = (char)(last[(ptrdiff_t)i - 4] >= 'A' && last[(ptrdiff_t)i - 4] <= 'Z' ? last[(ptrdiff_t)i - 4] | 0x20 : last[(ptrdiff_t)i - 4]);
            *program |= extension[0] == '.' && listed(extension + 1, executable);
            *program |= extension[1] == '.' && listed(extension + 2, " js ");
        }
        at += 4;
    }
}

static void one_archive(const struct view_file *file, struct native_result *result)
{
    struct mime_span bytes = file->part->bytes;
    bool encrypted = false, program = false;
    if (starts(bytes, "PK\x03\x04", 4))
        look_into_zip(bytes, &encrypted, &program);
    else if (starts(bytes, "Rar!\x1a\x07\x00", 7) && bytes.len > 13)
        encrypted = ((unsigned char)bytes.bytes[10] & 0x80) != 0; /* RAR 4: headers are encrypted */
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
    return listed(file->extension, " htm html shtml xhtml mht svg ") || mime_type_is(file->part, "text", "html") || mime_type_is(file->part, "image", "svg+xml");
}

static void one_file(const struct view *view, const struct view_file *file, struct native_result *result)
{
    struct mime_span bytes = file->part->bytes;
    if (listed(file->extension, executable) && listed(file->inner, document))
        symbol_add(result, "FILE_DOUBLE_EXTENSION", 4000, file->name);
    else if (listed(file->extension, executable) || is_program(bytes))
        symbol_add(result, "FILE_PROGRAM", 2500, file->name);
    else if (is_html(file) && (mime_span_is(file->part->disposition, "attachment") || file->name.len > 0))
        symbol_add(result, "FILE_HTML", file->part->parent >= 0 && mime_type_is(file->part, "text", "html") && listed(file->extension, " html htm shtml ") ? 1500 : 800, file->name);
    else if (has_macros(file))
        symbol_add(result, "FILE_MACROS", 1500, file->name);
    else if (listed(file->extension, archive))
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
