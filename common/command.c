/*
 * command.c - the command line of the daemons
 */
#include "common/command.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "common/error.h"
#include "common/log.h"
#include "common/memory.h"

#define FLAGS_MAX 8

enum { OPTION_NAME = 256, OPTION_SET, OPTION_VERSION, OPTION_FLAG /* and those after it, by index */ };

static void print_usage(FILE *out, const struct command_syntax *syntax)
{
    fprintf(out,
            "usage: %s -c FILE --name NAME [--set KEY=VALUE]... [-t]\n%s"
            "  -c, --config FILE configuration (weir.conf)\n"
            "  --name NAME       %s\n"
            "  --set KEY=VALUE   wins over the file; SECTION.KEY=VALUE where several sections know the key\n"
            "  -t, --test        check the configuration and exit\n%s"
            "  --version\n"
            "signals: %s\n",
            syntax->program, syntax->forms, syntax->name, syntax->help, syntax->signals);
}

int command_misused(const struct command_syntax *syntax)
{
    print_usage(stderr, syntax);
    return EX_USAGE;
}

static void add_flags(struct option *options, size_t used, const struct command_syntax *syntax)
{
    for (size_t i = 0; syntax->flags != NULL && syntax->flags[i].name != NULL; i++) {
        weir_assert(i < FLAGS_MAX);
        options[used + i] = (struct option){ syntax->flags[i].name, no_argument, NULL, OPTION_FLAG + (int)i };
    }
}

/* false: to end with *status. */
static bool take_option(struct command *command, const struct command_syntax *syntax, int option, int *status)
{
    switch (option) {
    case 'c':
        command->config_path = optarg;
        return true;
    case 't':
        command->test = true;
        return true;
    case OPTION_NAME:
        command->name = optarg;
        return true;
    case OPTION_SET:
        command->overrides[command->override_count++] = optarg;
        return true;
    case OPTION_VERSION:
        printf("%s %s\n", syntax->program, WEIR_VERSION);
        *status = EXIT_SUCCESS;
        return false;
    case 'h':
        print_usage(stdout, syntax);
        *status = EXIT_SUCCESS;
        return false;
    default:
        if (option >= OPTION_FLAG) {
            *syntax->flags[option - OPTION_FLAG].given = true;
            return true;
        }
        *status = command_misused(syntax); /* getopt has said why */
        return false;
    }
}

static bool is_complete(const struct command *command, const struct command_syntax *syntax, int *status)
{
    if (command->config_path == NULL || command->name == NULL || command->word_count > syntax->words_max) {
        *status = command_misused(syntax);
        return false;
    }
    if (command->name[0] == '\0' || strlen(command->name) > COMMAND_NAME_MAX) {
        fprintf(stderr, "%s: --name: 1 to %d characters\n", syntax->program, COMMAND_NAME_MAX);
        *status = EX_USAGE;
        return false;
    }
    return true;
}

bool command_parse(struct command *command, const struct command_syntax *syntax, int argc, char **argv, int *status)
{
    struct option options[6 + FLAGS_MAX + 1] = {
        { "config", required_argument, NULL, 'c' },
        { "name", required_argument, NULL, OPTION_NAME },
        { "set", required_argument, NULL, OPTION_SET },
        { "test", no_argument, NULL, 't' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, OPTION_VERSION },
    };

    *command = (struct command){ .overrides = xcalloc((size_t)argc + 1, sizeof *command->overrides) };
    add_flags(options, 6, syntax);
    optind = 0; /* glibc: forget what was parsed before */
    bool fine = true;
    for (int option; fine && (option = getopt_long(argc, argv, "c:th", options, NULL)) != -1;)
        fine = take_option(command, syntax, option, status);
    command->words = argv + optind;
    command->word_count = (size_t)(argc - optind);
    fine = fine && is_complete(command, syntax, status);
    if (!fine)
        command_fini(command);
    return fine;
}

static void mask_signals(int how)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGUSR1);
    sigprocmask(how, &mask, NULL);
}

void command_hold_signals(void)
{
    mask_signals(SIG_BLOCK);
}

void command_take_signals(void)
{
    mask_signals(SIG_UNBLOCK);
}

int command_log_level(const struct log_settings *settings)
{
    return LOG_DEBUG - settings->level; /* settings count from debug upwards, syslog from debug downwards */
}

void command_open_log(const struct log_settings *settings, const char *node, const char *role)
{
    char *ident = xasprintf("weir/%s%s%s", node, *role != '\0' ? "/" : "", role);
    log_open(&(struct log_options){ .ident = ident, .node = node, .file = settings->file,
                                    .format = settings->format == 1 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT, .level = command_log_level(settings) });
    free(ident);
}

void command_fini(struct command *command)
{
    free(command->overrides);
    *command = (struct command){ 0 };
}
