/*
 * fuzz_address.c - parse, format, parse gives the same; what is accepted keeps its limits
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/address.h"
#include "edge/smtp/text.h"

static void check(const struct smtp_address *address)
{
    char text[SMTP_ADDRESS_MAX], path[SMTP_ADDRESS_MAX + 2], domain[SMTP_DOMAIN_MAX + 1];
    struct smtp_address again;
    size_t used, len = strlen(smtp_address_format(address, text));
    path[0] = '<';
    memcpy(path + 1, text, len);
    path[len + 1] = '>';
    if (smtp_path_parse(&again, path, len + 2, true, &used) != SMTP_ADDRESS_OK || used != len + 2 ||
        memcmp(&again, address, sizeof again) != 0)
        abort();
    if (smtp_path_parse(&again, path, len + 2, false, &used) !=
        (address->utf8 ? SMTP_ADDRESS_NEEDS_UTF8 : SMTP_ADDRESS_OK))
        abort();
    if (!smtp_text_is_printable(text, len))
        abort();
    if (address->kind == SMTP_ADDRESS_MAILBOX &&
        (!smtp_domain_parse(domain, address->domain, strlen(address->domain), true) ||
         strcmp(domain, address->domain) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_address address;
    size_t used;
    char domain[SMTP_DOMAIN_MAX + 1];
    char *copy = malloc(size + (size == 0));
    memcpy(copy, data, size);
    enum smtp_address_error error = smtp_path_parse(&address, copy, size, true, &used);
    if (used > size)
        abort();
    if (error == SMTP_ADDRESS_OK)
        check(&address);
    if (smtp_mailbox_parse(&address, copy, size, true) == SMTP_ADDRESS_OK)
        check(&address);
    smtp_domain_parse(domain, copy, size, false);
    free(copy);
    return 0;
}
