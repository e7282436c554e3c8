#ifndef WEIR_SCANNER_MIME_FILETYPE_H
#define WEIR_SCANNER_MIME_FILETYPE_H
/* filetype.h - what an attached file is: by its first bytes, then by the end of its name, which a double click goes by */
#include "scanner/mime/mime.h"

#define FILE_EXTENSION_MAX 12 /* with its NUL */

enum file_kind {
    FILE_OTHER,
    FILE_EXECUTABLE,
    FILE_SCRIPT,            /* what a double click runs, and is text */
    FILE_SHORTCUT,          /* only points somewhere */
    FILE_MACRO,             /* a document with macros */
    FILE_ARCHIVE_PROGRAM,   /* an archive that has any of these */
    FILE_ARCHIVE_ENCRYPTED,
    FILE_DISK,              /* an image of a disk */
    FILE_ARCHIVE,
    FILE_HTML,
    FILE_PDF,
};

/* Lower case, "exe"; "" where there is none, or a longer one. before: how long the name is without it. */
void file_extension(struct mime_span name, char out[FILE_EXTENSION_MAX], size_t *before);
/* list: " exe com ", a blank at both ends. */
bool file_extension_is_in(const char *extension, const char *list);
/* Whether a double click on such a name runs it, or opens what can: programs, scripts, shortcuts, images of disks. */
bool file_extension_is_program(const char *extension);
bool file_extension_is_archive(const char *extension);
/* Windows programs and ELF, by their first bytes. */
bool file_is_program(struct mime_span bytes);
bool file_has_macros(struct mime_span bytes, const char *extension);
/* By the headers of its entries, 200 at most. Sets what it finds. */
void file_look_into_zip(struct mime_span bytes, bool *encrypted, bool *program);
bool file_is_encrypted_rar(struct mime_span bytes);

enum file_kind file_kind_of(const struct mime_part *part);

#endif
