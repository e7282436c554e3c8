#ifndef WEIR_CTL_TURNS_H
#define WEIR_CTL_TURNS_H
/*
 * turns.h - weirctl gc --all, gc NODE --rolling, gc status, gc cancel: scanners that make new generations in turn
 */
#include <jansson.h>
#include <stdio.h>
#include "coordinator/ctl/request.h"

/* reply: the answer to "gc ask". Returns when all that were asked for had their turn, or timeout_s is over, and tells each step on `progress`. *reply becomes the
 * last "gc status"; EX_TEMPFAIL and words where one has made no new generation. */
void turns_wait(struct requester *requester, unsigned timeout_s, FILE *progress, struct reply *reply);

/* The answer to any of these verbs. */
void turns_print(const json_t *body, FILE *out);

#endif
