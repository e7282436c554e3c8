#ifndef WEIR_CTL_LIMITS_H
#define WEIR_CTL_LIMITS_H
/*
 * limits.h - `limit explain`: which lines of the policy file `limits` are about somebody, and how much is left for him
 */
#include "common/policy/limits.h"
#include "coordinator/ctl/explain.h"

/* Who was meant, as the buckets are named: an address, a prefix, an account and a domain may all be behind one word. */
struct limit_subjects {
    char names[LIMIT_BYS][LIMIT_SUBJECT_MAX];      /* "": none of this kind */
    const struct exception *excepted[LIMIT_BYS];  /* whose `limits` counts there; NULL: none does */
};

/* now: seconds since 1970. word: "192.0.2.7", "192.0.2.0/24", "alice@example.edu" (an account, and a sender of its domain), "alice" or "example.edu". false: why. */
bool limit_subjects_parse(struct limit_subjects *out, const struct policy *policy, const char *word, int64_t now, struct error *why);
/* For "limit show": each name once. Returns how many. */
size_t limit_subjects_list(const struct limit_subjects *subjects, const char *names[LIMIT_BYS]);
/* shown: the body of "limit show". NULL: why. */
json_t *explain_limits(const struct explained_policy *policy, const struct limit_subjects *subjects, const char *shown, struct error *why);
void explain_limits_print(const char *verb, const json_t *body, FILE *out);

#endif
