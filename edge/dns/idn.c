/*
 * idn.c - see idn.h
 */
#include "edge/dns/idn.h"
#include <idn2.h>
#include <string.h>

bool dns_name_ascii(char out[DNS_NAME_MAX], const char *name)
{
    char *made = NULL;
    const char *ascii = name;
    bool nonascii = false;
    for (const char *p = name; *p != '\0'; p++)
        nonascii |= (unsigned char)*p >= 0x80;
    if (nonascii && idn2_to_ascii_8z(name, &made, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
        return false;
    if (nonascii)
        ascii = made;
    bool fits = strlen(ascii) < DNS_NAME_MAX;
    if (fits)
        strcpy(out, ascii);
    idn2_free(made);
    return fits;
}
