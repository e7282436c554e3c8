#ifndef WEIR_WEB_MAIL_COMMAND_H
#define WEIR_WEB_MAIL_COMMAND_H
/*
 * mail_command.h - what a recipient's mail wants done
 *
 * The token is in the address (commands+TOKEN@...), or behind the command; the command is the Subject's first word, or that of the text's first line that quotes nothing. What is
 * to be learned of as spam, or ham, is attached as a message, whatever its encoding.
 * Pure.
 */
#include <stdbool.h>
#include "coordinator/quarantine/token.h"
#include "scanner/mime/mime.h"

struct mail_command {
    bool automatic;               /* nobody wrote it: it is not obeyed, as two machines could answer each other for ever */
    bool has_token;
    char token[TOKEN_LEN + 1];
    char word[16];                /* list, release, delete, safe, block, spam, ham; list where it is none of these */
    struct mime_span attached;    /* the first message that is; empty: none; until the parser's next mail */
    bool unusable;                /* something else is attached, and no message */
};

/* local: of the address it came to. bytes: as long as `attached` is wanted. */
void mail_command_read(struct mail_command *command, struct mime_parser *parser, const char *local, const char *bytes, size_t len);

#endif
