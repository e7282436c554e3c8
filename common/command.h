#ifndef WEIR_COMMON_COMMAND_H
#define WEIR_COMMON_COMMAND_H
/*
 * command.h - the command line of the daemons
 *
 *     PROGRAM [WORD]... -c FILE --name NAME [--set KEY=VALUE]... [-t] [FLAG]...
 *
 * Options may stand anywhere. -c and -t are --config and --test, too; --help (-h) and --version end the program well.
 * weirctl has verbs with options of their own and its own parser (coordinator/ctl/options.h).
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/settings.h"

#define COMMAND_NAME_MAX 48 /* bytes of a node's name: with a worker's number it is still a name on the wire */

struct command_flag { /* what only this program knows: --NAME */
    const char *name;
    bool *given;
};

struct command_syntax {
    const char *program;
    const char *forms;   /* more lines under "usage:", each with its newline; or "" */
    const char *name;    /* the help of --name */
    const char *help;    /* lines about words and flags; or "" */
    const char *signals; /* "TERM ends it, ..." */
    size_t words_max;
    const struct command_flag *flags; /* ends with name NULL; NULL: none */
};

struct command {
    const char *config_path, *name; /* never NULL; this and all text is borrowed from argv */
    char **overrides;               /* of --set, in their order */
    size_t override_count;
    bool test;
    char *const *words; /* what is not an option */
    size_t word_count;
};

/* false: *status is the exit status to end with, help or what is wrong was printed. */
bool command_parse(struct command *command, const struct command_syntax *syntax, int argc, char **argv, int *status);
/* How it is to be called, on stderr, where words are not what they should be. Returns EX_USAGE. */
int command_misused(const struct command_syntax *syntax);
/* HUP and USR1 would end a program that has no handlers yet: the first lets them wait from here on (children inherit that), the second, when the handlers are there,
 * lets those come that waited. */
void command_hold_signals(void);
void command_take_signals(void);
/* The log that [log] asks for, or another one than before; role: behind the node's name on each line, "" where a node is one process. */
void command_open_log(const struct log_settings *settings, const char *node, const char *role);
int command_log_level(const struct log_settings *settings); /* LOG_DEBUG to LOG_ERR */
void command_fini(struct command *command);

#endif
