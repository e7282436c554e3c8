#ifndef WEIR_CTL_OUTBREAK_H
#define WEIR_CTL_OUTBREAK_H
/*
 * outbreak.h - attachments that many suddenly sent, and who got which, as weirctl asks for them and a person wants to read it
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include "coordinator/ctl/options.h"
#include "coordinator/ctl/request.h"

/* Verbs "outbreak ..." and "hunt". */
bool outbreak_is_verb(const char *verb);
void outbreak_ask(const struct options *options, struct requester *requester, struct reply *reply);

void outbreak_print_list(const json_t *list, FILE *out);
void outbreak_print_one(const json_t *body, FILE *out);
void outbreak_print_act(const json_t *body, FILE *out);
void outbreak_print_hunt(const json_t *body, FILE *out);

#endif
