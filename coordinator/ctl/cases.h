#ifndef WEIR_CTL_CASES_H
#define WEIR_CTL_CASES_H
/*
 * cases.h - a file of cases, each a question to a policy with the answer that it must give
 *
 *     CLIENT  LOGIN  SENDER  RECIPIENT  ->  EXPECTED
 *
 *     192.0.2.7  -      -                  alice@example.edu  -> smtp:[glass.example.edu]
 *     192.0.2.7  -      <>                 bob@elsewhere.org  -> 550 5.7.1
 *     192.0.2.7  alice  alice@example.edu  bob@elsewhere.org  -> accept
 *     192.0.2.7  -      -                  staff@example.edu  -> to one@example.edu two@example.edu
 *
 * LOGIN and SENDER are "-" where they do not matter. EXPECTED is `accept`, `refuse`, a reply code, perhaps with the enhanced one, a route as in mailertable
 * (smtp:[host]:port, smtp:domain, discard:), or `to` and the addresses that the recipient stands for. Comments and continued lines as in a policy's files.
 */
#include <jansson.h>
#include "coordinator/ctl/explain.h"

/* name: the file's, for messages; text[len] is NUL, and edited. {"cases": 3, "failed": [{"line": "FILE:2", "case", "expected", "answer", "decided_by"}]}.
 * NULL: why says "FILE:LINE: error: ..." of a line that is no case, or not UTF-8. */
json_t *cases_run(const struct explained_policy *policy, const char *name, char *text, size_t len, int64_t now, struct error *why);
void cases_print(const json_t *body, FILE *out);

#endif
