#ifndef WEIR_COORDINATOR_SPELLING_H
#define WEIR_COORDINATOR_SPELLING_H
/*
 * spelling.h - what operators type, in the spellings in which it may be stored
 *
 * An address is kept as it was given, so an internationalized domain is there in the one spelling or the other; a destination is in ASCII only. Case is
 * the database's matter. "*" stands for anything in some of what is typed: a label that has one stays as it is. Pure.
 */

/* One a line: as typed first, then with the domain in ASCII and in Unicode where that differs. What has no "@" is a domain all of it. Caller frees. */
char *address_spellings(const char *given);
/* In ASCII, as "[xn--bcher-kva.example]:25". Caller frees. */
char *destination_spelling(const char *given);

#endif
