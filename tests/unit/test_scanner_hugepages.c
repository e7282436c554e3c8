/* test_scanner_hugepages.c - what is filled goes into huge pages and stays what it was; what is empty stays empty */
#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "scanner/hugepages.h"
#include "tests/unit/suite.h"

#define FILLED (16u << 20)
#define EMPTY (64u << 20)
#define HUGE (2u << 20)

static size_t resident(unsigned char *at, size_t len)
{
    size_t pages = len / 4096, count = 0;
    unsigned char *present = malloc(pages);
    ck_assert_int_eq(mincore(at, len, present), 0);
    for (size_t i = 0; i < pages; i++)
        count += present[i] & 1;
    free(present);
    return count * 4096;
}

static unsigned char *own_memory(size_t len)
{
    void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(at, MAP_FAILED);
    return at;
}

START_TEST(test_collapse)
{
    unsigned char *filled = own_memory(FILLED + EMPTY), *empty = filled + FILLED;
    ck_assert_int_eq(mprotect(empty, 4096, PROT_NONE), 0); /* two mappings, not one that is half full */
    for (size_t i = 0; i < FILLED; i += 64)
        filled[i] = (unsigned char)(i / 64 * 7);
    empty[EMPTY - 1] = 1;
    size_t before = resident(empty, EMPTY);
    /* How much the kernel makes of them depends on what memory it has in one piece just now. */
    printf("%llu KiB of %u in huge pages\n", (unsigned long long)(hugepages_collapse() / 1024), FILLED / 1024);
    for (size_t i = 0; i < FILLED; i += 64)
        ck_assert_uint_eq(filled[i], (unsigned char)(i / 64 * 7));
    ck_assert_uint_eq(resident(empty, EMPTY), before);
    munmap(filled, FILLED + EMPTY);
}
END_TEST

/* Bytes in huge pages, of memory that is filled but for one huge page of it, or whole. */
static uint64_t collapsed(bool hole)
{
    unsigned char *at = own_memory(FILLED), *first = (unsigned char *)(((uintptr_t)at + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
    for (unsigned char *p = at; p < at + FILLED; p += 4096) {
        if (!hole || p < first + HUGE || p >= first + 2 * HUGE)
            *p = 1;
    }
    uint64_t bytes = hugepages_collapse();
    munmap(at, FILLED);
    return bytes;
}

/* One that the kernel does not make costs no other. */
START_TEST(test_hole)
{
    bool tried = false, passed = false;
    for (int i = 0; i < 5 && !passed; i++) { /* how much memory it has in one piece changes */
        uint64_t with_hole = collapsed(true), whole = collapsed(false);
        printf("%llu KiB, with a hole %llu\n", (unsigned long long)(whole / 1024), (unsigned long long)(with_hole / 1024));
        if (whole < FILLED - HUGE) /* else it cannot, or has not the memory for all just now */
            continue;
        tried = true;
        passed = with_hole + HUGE >= whole;
    }
    if (!tried)
        printf("skipped: this kernel makes too few huge pages to see what a hole costs\n");
    else
        ck_assert(passed);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scanner_hugepages");
    TCase *tests = tcase_create("hugepages");
    tcase_add_test(tests, test_collapse);
    tcase_add_test(tests, test_hole);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
