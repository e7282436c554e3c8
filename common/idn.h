#ifndef WEIR_COMMON_IDN_H
#define WEIR_COMMON_IDN_H
/*
 * idn.h - one spelling for each domain: the one the DNS knows (RFC 5890 2.3.2.4, RFC 5891; mapped by UTS 46, not transitional)
 *
 * "bücher.example", "BÜCHER.example" and their decomposed forms all are "xn--bcher-kva.example". Pure.
 */
#include <stdbool.h>

#define IDN_NAME_MAX 256 /* with the NUL */

bool idn_is_ascii(const char *name);
/* Copies what is ASCII as it is, converts the rest: ASCII letters (lower case), digits, '-' and '_', in as many labels as name has. false: no name can be
 * spelled like that (not UTF-8, characters that IDNA forbids or would drop or turn into other marks), or it is too long. */
bool idn_to_ascii(char out[IDN_NAME_MAX], const char *name);
/* The other way, for a name in ASCII: "xn--bcher-kva.example" is "bücher.example", all in lower case. false: a label that begins with "xn--" is
 * none of what idn_to_ascii() makes, or it is too long. */
bool idn_to_unicode(char out[IDN_NAME_MAX], const char *name);

#endif
