/*
 * main.c - weir-web: the command line
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/web/web.h"

static const struct command_syntax syntax = {
    .program = "weir-web",
    .forms = "",
    .name = "this process, for its log",
    .help = "",
    .signals = "TERM ends it, HUP reads [log] again, USR1 reopens the log",
    .words_max = 0,
    .flags = NULL,
};

int main(int argc, char **argv)
{
    struct command command;
    struct web_config config;
    struct error why;
    int status;
    signal(SIGPIPE, SIG_IGN);
    command_hold_signals();
    if (!command_parse(&command, &syntax, argc, argv, &status))
        return status;
    if (!web_config_load(&config, &command, &why)) {
        fprintf(stderr, "weir-web: %s\n", why.text);
        command_fini(&command);
        return EXIT_FAILURE;
    }
    if (!command.test) {
        status = web_run(&command, &config);
    } else if (web_config_files(&config, &why)) {
        printf("weir-web: %s: ok\n", command.config_path);
        status = EXIT_SUCCESS;
    } else {
        fprintf(stderr, "weir-web: %s\n", why.text);
        status = EXIT_FAILURE;
    }
    web_config_clear(&config);
    command_fini(&command);
    return status;
}
