/* filetype.c - see filetype.h */
#include "scanner/mime/filetype.h"
#include <string.h>
#include "scanner/mime/pdf.h"

#define ZIP_ENTRIES 200

static const char executables[] = " exe com scr pif cpl msi msp jar dll ocx sys chm gadget application appx msix xll ";
static const char scripts[] = " bat cmd vbs vbe js jse wsf wsh hta ps1 psm1 reg inf iqy settingcontent-ms ";
static const char shortcuts[] = " lnk scf url ";
static const char disks[] = " img iso vhd vhdx udf ";
static const char programs[] = " exe com scr pif bat cmd cpl msi msp vbs vbe js jse wsf wsh hta jar ps1 psm1 lnk reg dll ocx sys chm inf scf url gadget application appx msix xll iqy settingcontent-ms ace img vhd vhdx ";
static const char macros[] = " docm dotm xlsm xltm xlam pptm potm ppam sldm ";
static const char archives[] = " zip rar 7z gz tar tgz bz2 xz cab iso arj lzh ";

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

void file_extension(struct mime_span name, char out[FILE_EXTENSION_MAX], size_t *before)
{
    size_t i = name.len;
    out[0] = '\0';
    *before = 0;
    while (i > 0 && name.bytes[i - 1] != '.')
        i--;
    size_t len = name.len - i;
    if (i == 0 || len == 0 || len > FILE_EXTENSION_MAX - 1)
        return;
    for (size_t k = 0; k < len; k++)
        out[k] = lower(name.bytes[i + k]);
    out[len] = '\0';
    *before = i - 1;
}

bool file_extension_is_in(const char *extension, const char *list)
{
    size_t len = strlen(extension);
    for (const char *at = list; len > 0 && (at = strstr(at, extension)) != NULL; at++)
        if (at > list && at[-1] == ' ' && at[len] == ' ')
            return true;
    return false;
}

bool file_extension_is_program(const char *extension)
{
    return file_extension_is_in(extension, programs);
}

bool file_extension_is_archive(const char *extension)
{
    return file_extension_is_in(extension, archives);
}

static bool starts(struct mime_span bytes, const char *with, size_t len)
{
    return bytes.len >= len && memcmp(bytes.bytes, with, len) == 0;
}

bool file_is_program(struct mime_span bytes)
{
    return starts(bytes, "MZ", 2) || starts(bytes, "\x7f" "ELF", 4);
}

bool file_has_macros(struct mime_span bytes, const char *extension)
{
    if (file_extension_is_in(extension, macros))
        return true;
    if (starts(bytes, "PK\x03\x04", 4))
        return memmem(bytes.bytes, bytes.len, "vbaProject.bin", 14) != NULL;
    static const char ole[] = "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", project[] = "_\0V\0B\0A\0_\0P\0R\0O\0J\0E\0C\0T\0";
    return starts(bytes, ole, 8) && memmem(bytes.bytes, bytes.len, project, sizeof project - 1) != NULL;
}

/* APPNOTE 4.4.4: bit 0 of the flags, in each entry's header. */
void file_look_into_zip(struct mime_span bytes, bool *encrypted, bool *program)
{
    const char *at = bytes.bytes, *end = at + bytes.len;
    for (int entries = 0; entries < ZIP_ENTRIES && end - at > 30 && (at = memmem(at, (size_t)(end - at), "PK\x03\x04", 4)) != NULL && end - at > 30; entries++) {
        size_t name = (unsigned char)at[26] | (size_t)(unsigned char)at[27] << 8;
        *encrypted |= (at[6] & 1) != 0;
        if (name > 4 && name < (size_t)(end - at - 30)) {
            char extension[5] = { 0 };
            const char *last = at + 30 + name;
            for (size_t i = 0; i < 4; i++)
                extension[i] = lower(last[(ptrdiff_t)i - 4]);
            *program |= extension[0] == '.' && file_extension_is_program(extension + 1);
            *program |= extension[1] == '.' && file_extension_is_in(extension + 2, " js ");
        }
        at += 4;
    }
}

/* RAR 4: headers are encrypted. RAR 5: its first block is that of encryption (type 4, behind its CRC and size). */
bool file_is_encrypted_rar(struct mime_span bytes)
{
    if (starts(bytes, "Rar!\x1a\x07\x00", 7) && bytes.len > 13)
        return ((unsigned char)bytes.bytes[10] & 0x80) != 0;
    return starts(bytes, "Rar!\x1a\x07\x01\x00", 8) && bytes.len > 13 && bytes.bytes[13] == 4;
}

/* ISO 9660 names itself in its 17th block. */
static bool is_disk(struct mime_span bytes)
{
    return (bytes.len > 0x8006 && memcmp(bytes.bytes + 0x8001, "CD001", 5) == 0) || starts(bytes, "vhdxfile", 8);
}

static bool is_shortcut(struct mime_span bytes)
{
    static const char link[] = "L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0F";
    return starts(bytes, link, sizeof link - 1);
}

static enum file_kind kind_of_zip(struct mime_span bytes)
{
    bool encrypted = false, program = false;
    file_look_into_zip(bytes, &encrypted, &program);
    return program ? FILE_ARCHIVE_PROGRAM : encrypted ? FILE_ARCHIVE_ENCRYPTED : FILE_ARCHIVE;
}

enum file_kind file_kind_of(const struct mime_part *part)
{
    struct mime_span bytes = part->bytes;
    char extension[FILE_EXTENSION_MAX];
    size_t before;
    file_extension(mime_span_trim(part->file_name), extension, &before);
    if (file_is_program(bytes))
        return FILE_EXECUTABLE;
    if (is_shortcut(bytes) || file_extension_is_in(extension, shortcuts))
        return FILE_SHORTCUT;
    if (is_disk(bytes) || file_extension_is_in(extension, disks))
        return FILE_DISK;
    if (file_extension_is_in(extension, executables))
        return FILE_EXECUTABLE;
    if (file_extension_is_in(extension, scripts) || starts(bytes, "#!", 2))
        return FILE_SCRIPT;
    if (file_has_macros(bytes, extension))
        return FILE_MACRO;
    if (starts(bytes, "PK\x03\x04", 4) || file_extension_is_in(extension, " zip ")) /* a reader of zip files takes one that begins later */
        return kind_of_zip(bytes);
    if (file_is_encrypted_rar(bytes))
        return FILE_ARCHIVE_ENCRYPTED;
    if (file_extension_is_archive(extension) || starts(bytes, "Rar!", 4) || starts(bytes, "7z\xbc\xaf\x27\x1c", 6) || starts(bytes, "\x1f\x8b", 2))
        return FILE_ARCHIVE;
    if (file_extension_is_in(extension, " htm html shtml xhtml mht svg ") || mime_type_is(part, "text", "html") || mime_type_is(part, "image", "svg+xml"))
        return FILE_HTML;
    return pdf_is(bytes) ? FILE_PDF : FILE_OTHER; /* last: its signature may stand in a comment of all others */
}
