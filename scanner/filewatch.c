/*
 * filewatch.c - whether any file operation of this process failed for want of room
 *
 * The dynamic linker binds libclamav's calls to the symbols here, because the program comes before the C library.
 */
#include "scanner/filewatch.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int failure;

void filewatch_begin(void)
{
    failure = 0;
}

int filewatch_failure(void)
{
    return failure;
}

/* ENOENT and the like are answers to questions; these mean that something could not be kept. */
static void note(int error)
{
    if (failure == 0 && (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO || error == EMFILE ||
                         error == ENFILE || error == ENOMEM || error == EROFS))
        failure = error;
}

ssize_t write(int fd, const void *data, size_t len)
{
    ssize_t written = syscall(SYS_write, fd, data, len);
    if (written < 0)
        note(errno);
    return written;
}

int mkdir(const char *path, mode_t mode)
{
    int status = (int)syscall(SYS_mkdir, path, mode);
    if (status != 0)
        note(errno);
    return status;
}

static int open_watched(const char *path, int flags, mode_t mode)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd < 0)
        note(errno);
    return fd;
}

#define MODE_OF(flags, list, last)                                                                                     \
    va_start(list, last);                                                                                              \
    mode_t mode = (flags) & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;                                          \
    va_end(list)

int open(const char *path, int flags, ...)
{
    va_list list;
    MODE_OF(flags, list, flags);
    return open_watched(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list list;
    MODE_OF(flags, list, flags);
    return open_watched(path, flags, mode);
}

/* What stdio has buffered is written here, and the result of fclose() is what nobody looks at. */
int fclose(FILE *file)
{
    static int (*real)(FILE *);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "fclose");
    if (ferror(file))
        note(EIO);
    int status = real(file);
    if (status != 0)
        note(errno);
    return status;
}
