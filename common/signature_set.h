#ifndef WEIR_COMMON_SIGNATURE_SET_H
#define WEIR_COMMON_SIGNATURE_SET_H
/*
 * signature_set.h - what a set of signature files is called
 *
 * A file is named by the SHA-256 of its bytes, a set by the SHA-256 of its files' names and hashes, so a name never means anything else: coordinators store
 * each file once, and a scanner that has loaded a set can prove that it is the one. The sums need libcrypto
 * (signature_set.c), the names do not (signature_name.c).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

#define SIGNATURE_HASH_LEN 32
#define SIGNATURE_HEX_LEN  64
#define SIGNATURE_NAME_MAX 63
#define SIGNATURE_FILES_MAX 256 /* of one set */

struct signature_file {
    char name[SIGNATURE_NAME_MAX + 1];
    char hash[SIGNATURE_HEX_LEN + 1]; /* lower case */
    uint64_t size;
    uint64_t time_ms; /* wall clock of its making */
};

void signature_hex(const uint8_t hash[SIGNATURE_HASH_LEN], char out[SIGNATURE_HEX_LEN + 1]);
/* 64 hex digits in lower case, and nothing else. */
bool signature_unhex(uint8_t hash[SIGNATURE_HASH_LEN], const char *hex);

/* Whether libclamav takes a file of this name for signatures: letters, digits, ".", "_", "-", and one of its endings. */
bool signature_name_is_valid(const char *name);

/* What may be shown of a mirror or URL: no user's name and password, and of the path, in which a customer's key may be, the file's name only. Others than http
 * and https as they are. The caller frees. */
char *signature_source_public(const char *source);

/* Sums a file up as bytes come. Takes NULL inside. */
struct signature_sum;
struct signature_sum *signature_sum_new(void);
void signature_sum_add(struct signature_sum *sum, const void *bytes, size_t len);
void signature_sum_end(struct signature_sum **sum, char out[SIGNATURE_HEX_LEN + 1]);

/* Reads all signature files of a folder: name, hash, size, time; empty files and those that signature_name_is_valid() refuses are left out. Blocks. At most
 * SIGNATURE_FILES_MAX, and size_max bytes in all. -1: why. */
int signature_folder_read(const char *folder, struct signature_file files[SIGNATURE_FILES_MAX], uint64_t size_max, struct error *why);
/* The name of the set. Sorts the files by name. */
void signature_set_name(struct signature_file *files, size_t count, char out[SIGNATURE_HEX_LEN + 1]);

#endif
