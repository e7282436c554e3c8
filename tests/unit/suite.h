/* suite.h - what main() of every unit test ends with */
#ifndef TESTS_UNIT_SUITE_H
#define TESTS_UNIT_SUITE_H

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* With WEIR_SHARE=K/N (K from 0) a program runs each N-th of its tests, from the K-th: tests that wait for real time go side by side so. */
static inline bool in_share(void)
{
    static unsigned counted, mine = 0, all = 0;
    if (all == 0) {
        const char *share = getenv("WEIR_SHARE");
        if (!share)
            all = 1;
        else if (sscanf(share, "%u/%u", &mine, &all) != 2 || mine >= all) {
            fprintf(stderr, "WEIR_SHARE=%s is not K/N with K below N\n", share);
            exit(EXIT_FAILURE);
        }
    }
    return counted++ % all == mine;
}
#undef tcase_add_test
#define tcase_add_test(tcase, test) do { if (in_share()) tcase_add_test_raise_signal(tcase, test, 0); } while (0)
#undef tcase_add_loop_test
#define tcase_add_loop_test(tcase, test, from, to) do { if (in_share()) tcase_add_loop_test_raise_signal(tcase, test, 0, from, to); } while (0)

/* Runs and frees the suite; as loud and as forked as the CK_ variables of the environment say. Returns main()'s exit status. */
static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
