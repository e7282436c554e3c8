/* open_files.c - see open_files.h */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include "common/log.h"
#include "common/open_files.h"

void open_files_raise(uint64_t needed, const char *settings)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_write(LOG_WARNING, "cannot raise the limit of open files: %s", strerror(errno));
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < needed)
        log_write(LOG_WARNING, "%llu open files are allowed, %llu may be needed: raise the limit, or lower %s",
                  (unsigned long long)limit.rlim_cur, (unsigned long long)needed, settings);
}
