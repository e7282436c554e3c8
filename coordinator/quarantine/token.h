#ifndef WEIR_QUARANTINE_TOKEN_H
#define WEIR_QUARANTINE_TOKEN_H
/*
 * token.h - what a link, or an address for commands, opens with: 160 random bits
 *
 * Of letters and digits that a person can read out, without regard to case, as mail systems may change that of an address. The database has its hash alone.
 */
#include <stdbool.h>
#include <stddef.h>

#define TOKEN_LEN      32
#define TOKEN_HASH_LEN 64 /* hex */

void token_make(char out[TOKEN_LEN + 1]);
/* In the one spelling that it has. false: it is none. */
bool token_parse(char out[TOKEN_LEN + 1], const char *text, size_t len);
void token_hash(char out[TOKEN_HASH_LEN + 1], const char *token);
/* What the address of commands has that belongs to a link: addresses stand in logs, and of it nobody finds the link's token. */
void token_mail(char out[TOKEN_LEN + 1], const char *token);
/* What a form of a page has in it beside its address: who was led to post it from elsewhere does not know it. */
void token_form(char out[TOKEN_HASH_LEN + 1], const char *token);

#endif
