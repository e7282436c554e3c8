/*
 * hugepages.c - a loaded engine in few large pages instead of many small ones
 *
 * A scan looks into tables of a hundred megabytes at random, and in pages of 4 KiB most looks miss the processor's translation cache,
 * more so in a virtual machine, and again after each other process that had the core. libclamav takes its memory in pieces that the
 * kernel's own rules never make huge pages of. Forked workers share them; a page that one writes to is split and copied in 4 KiB, as before.
 */
#include "scanner/hugepages.h"
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "common/log.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1, younger than the C library's headers */
#endif

#define HUGE_PAGE (UINT64_C(2) << 20)
#define MAPPINGS_MAX 128 /* more of that size than an engine has */

struct mapping {
    uint64_t start, end; /* rounded inwards to whole huge pages */
};

/* A mapping's first line: own memory, writable, of no file and not a stack. */
static bool mapping_begins(const char *line, struct mapping *mapping, bool *wanted)
{
    uint64_t start, end, inode;
    char rights[8], name[32] = "";
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*x %*s %" SCNu64 " %31s", &start, &end, rights, &inode, name) < 4)
        return false;
    *mapping = (struct mapping){ (start + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1), end & ~(HUGE_PAGE - 1) };
    *wanted = strcmp(rights, "rw-p") == 0 && inode == 0 && strncmp(name, "[stack", 6) != 0 && mapping->start < mapping->end;
    return true;
}

/* What is mostly empty (a stack of a thread, a sanitizer's shadow) would only become larger. */
static size_t find_filled(struct mapping found[MAPPINGS_MAX])
{
    FILE *file = fopen("/proc/self/smaps", "re");
    if (file == NULL)
        return 0;
    size_t count = 0;
    char line[512];
    struct mapping mapping = { 0 };
    bool wanted = false;
    while (count < MAPPINGS_MAX && fgets(line, sizeof line, file) != NULL) {
        uint64_t kib;
        if (sscanf(line, "Rss: %" SCNu64, &kib) == 1) {
            if (wanted && kib * 1024 >= (mapping.end - mapping.start) / 4 * 3)
                found[count++] = mapping;
            wanted = false;
        } else {
            mapping_begins(line, &mapping, &wanted);
        }
    }
    fclose(file);
    return count;
}

static uint64_t bytes_in_huge_pages(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    if (file == NULL)
        return 0;
    char line[512];
    uint64_t kib = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1)
            break;
    }
    fclose(file);
    return kib * 1024;
}

/* Gives the bytes that stay in small pages. At the first huge page that it finds unfit the kernel leaves the rest of what it was asked for as it is, so that is
 * asked for again by halves; often it then finds none unfit. */
static uint64_t collapse(uint64_t start, uint64_t end)
{
    if (madvise((void *)(uintptr_t)start, end - start, MADV_COLLAPSE) == 0)
        return 0;
    if (end - start == HUGE_PAGE)
        return end - start;
    uint64_t middle = start + (end - start) / HUGE_PAGE / 2 * HUGE_PAGE;
    return collapse(start, middle) + collapse(middle, end);
}

uint64_t hugepages_collapse(void)
{
    static struct mapping found[MAPPINGS_MAX];
    size_t count = find_filled(found);
    for (size_t i = 0; i < count; i++) {
        uint64_t left = collapse(found[i].start, found[i].end);
        if (left > 0)
            log_write(LOG_DEBUG, "no huge pages for %" PRIu64 " KiB of %" PRIu64 ": %s", left / 1024, (found[i].end - found[i].start) / 1024, strerror(errno));
    }
    return bytes_in_huge_pages();
}
