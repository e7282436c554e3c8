#ifndef WEIR_CTL_BLOCKLIST_H
#define WEIR_CTL_BLOCKLIST_H
/*
 * blocklist.h - weirctl blocklist status, blocklist check: own addresses in lists of the DNS
 */
#include <jansson.h>
#include <stdio.h>
#include "coordinator/ctl/request.h"

/* reply: the answer to "blocklist check". Returns when the leader has asked the lists, or timeout_s is over; *reply becomes the last "blocklist status", or
 * EX_TEMPFAIL and words. */
void blocklist_wait(struct requester *requester, unsigned timeout_s, struct reply *reply);

/* The answer to either verb. */
void blocklist_print(const json_t *body, FILE *out);
/* Its lines of "status"; none where nothing is looked up, or of a coordinator of before. */
void blocklist_print_status(const json_t *summary, FILE *out);

#endif
