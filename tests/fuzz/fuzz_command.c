/*
 * fuzz_command.c - a command line: never more than its bytes are read, and what is accepted is safe to log and to pass
 * on
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/command.h"
#include "edge/smtp/text.h"

static void check_printable(const char *text)
{
    if (!smtp_text_is_printable(text, strlen(text)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct smtp_command command;
    char *copy = malloc(size);
    memcpy(copy, data + 1, size - 1);
    bool utf8 = data[0] & 1, dsn = data[0] & 2;
    struct smtp_complaint complaint = smtp_command_parse(&command, copy, size - 1, utf8, dsn);
    free(copy);
    if (complaint.code != 0) {
        if (complaint.code < 500 || complaint.code > 555 || complaint.enhanced == NULL || complaint.text == NULL)
            abort();
        return 0;
    }
    check_printable(command.domain);
    check_printable(command.address.local);
    check_printable(command.address.domain);
    check_printable(command.envid);
    check_printable(command.orcpt);
    check_printable(command.auth);
    if (!dsn && (command.ret != 0 || command.notify != 0 || command.envid[0] != '\0' || command.orcpt[0] != '\0'))
        abort();
    if (command.address.utf8 && !utf8 && !command.smtputf8)
        abort();
    if (command.verb == SMTP_VERB_RCPT && command.address.kind == SMTP_ADDRESS_NULL)
        abort();
    return 0;
}
