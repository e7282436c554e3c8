/*
 * signature_set.c - see signature_set.h
 */
#include "common/signature_set.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/memory.h"

#define READ_SIZE (256u * 1024)

struct signature_sum {
    EVP_MD_CTX *context;
};

/* --- sums --- */

struct signature_sum *signature_sum_new(void)
{
    struct signature_sum *sum = xcalloc(1, sizeof *sum);
    sum->context = EVP_MD_CTX_new();
    if (sum->context == NULL || EVP_DigestInit_ex(sum->context, EVP_sha256(), NULL) != 1)
        fatal("libcrypto has no SHA-256");
    return sum;
}

void signature_sum_add(struct signature_sum *sum, const void *bytes, size_t len)
{
    if (EVP_DigestUpdate(sum->context, bytes, len) != 1)
        fatal("libcrypto cannot go on with a SHA-256");
}

void signature_sum_end(struct signature_sum **taken, char out[SIGNATURE_HEX_LEN + 1])
{
    struct signature_sum *sum = *taken;
    uint8_t hash[EVP_MAX_MD_SIZE];
    *taken = NULL;
    if (sum == NULL)
        return;
    if (EVP_DigestFinal_ex(sum->context, hash, NULL) != 1)
        fatal("libcrypto cannot end a SHA-256");
    EVP_MD_CTX_free(sum->context);
    free(sum);
    signature_hex(hash, out);
}

/* --- files --- */

static bool read_file(int folder, struct signature_file *file, struct error *why)
{
    int fd = openat(folder, file->name, O_RDONLY | O_CLOEXEC);
    struct signature_sum *sum = signature_sum_new();
    char *buffer = xmalloc(READ_SIZE);
    ssize_t len = -1;
    file->size = 0;
    while (fd >= 0 && (len = read(fd, buffer, READ_SIZE)) > 0) {
        signature_sum_add(sum, buffer, (size_t)len);
        file->size += (uint64_t)len;
    }
    if (len < 0)
        error_set(why, "%s: %s", file->name, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(buffer);
    signature_sum_end(&sum, file->hash);
    return len == 0;
}

int signature_folder_read(const char *folder, struct signature_file files[SIGNATURE_FILES_MAX], uint64_t size_max, struct error *why)
{
    DIR *dir = opendir(folder);
    int count = 0;
    uint64_t size = 0;
    if (dir == NULL) {
        error_set(why, "%s: %s", folder, strerror(errno));
        return -1;
    }
    for (const struct dirent *entry; count >= 0 && (entry = readdir(dir)) != NULL;) {
        struct stat st;
        if (!signature_name_is_valid(entry->d_name) || fstatat(dirfd(dir), entry->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
            continue;
        if (count == SIGNATURE_FILES_MAX) {
            error_set(why, "%s: more than %d signature files", folder, SIGNATURE_FILES_MAX);
            count = -1;
            break;
        }
        struct signature_file *file = &files[count];
        snprintf(file->name, sizeof file->name, "%.*s", SIGNATURE_NAME_MAX, entry->d_name);
        file->time_ms = (uint64_t)(st.st_mtim.tv_sec > 0 ? st.st_mtim.tv_sec : 0) * 1000;
        size += (uint64_t)st.st_size;
        if (size > size_max) {
            error_set(why, "%s: more than %llu bytes of signatures", folder, (unsigned long long)size_max);
            count = -1;
        } else {
            count = read_file(dirfd(dir), file, why) ? count + 1 : -1;
        }
    }
    closedir(dir);
    return count;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct signature_file *)a)->name, ((const struct signature_file *)b)->name);
}

void signature_set_name(struct signature_file *files, size_t count, char out[SIGNATURE_HEX_LEN + 1])
{
    struct signature_sum *sum = signature_sum_new();
    qsort(files, count, sizeof *files, compare_names);
    for (size_t i = 0; i < count; i++) {
        signature_sum_add(sum, files[i].name, strlen(files[i].name));
        signature_sum_add(sum, " ", 1);
        signature_sum_add(sum, files[i].hash, SIGNATURE_HEX_LEN);
        signature_sum_add(sum, "\n", 1);
    }
    signature_sum_end(&sum, out);
}
