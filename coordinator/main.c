/*
 * main.c - weir-coordinator: the command line
 *
 * Besides running there are two things that must work before anybody can talk to a coordinator: migrations, and the
 * first keys. "serve KIND" is how a coordinator starts its own helper processes.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <libpq-fe.h>
#include "common/command.h"
#include "common/memory.h"
#include "coordinator/auth/helpers.h"
#include "coordinator/coordinator.h"
#include "coordinator/migrate.h"
#include "coordinator/signatures/look.h"

static bool only_check; /* --check */

static const struct command_flag flags[] = { { "check", &only_check }, { NULL, NULL } };

static const struct command_syntax syntax = {
    .program = "weir-coordinator",
    .forms = "       weir-coordinator migrate [--check] -c FILE --name NAME\n"
             "       weir-coordinator keys add NODE ROLE HEX -c FILE --name NAME\n",
    .name = "this coordinator: its section is [coordinator \"NAME\"]",
    .help = "  migrate           bring the database's schema up to date (a coordinator does so itself at start);\n"
            "                    --check only says what is missing, exit status 1 when something is\n"
            "  keys add          let a node or an operator in, straight into the database: for the first keys of a "
            "cluster\n",
    .signals = "TERM ends it, HUP reads [log] again, USR1 reopens the log",
    .words_max = 5,
    .flags = flags,
};

static int add_key(const char *conninfo, char *const *words)
{
    int status = migrate_command(conninfo, false);
    if (status != EXIT_SUCCESS)
        return status;
    PGconn *conn = PQconnectdb(conninfo);
    const char *const values[] = { words[0], words[1], words[2] };
    PGresult *result = PQexecParams(conn, "SELECT status, error FROM admin_keys_add('weir-coordinator', $1, $2, $3)", 3,
                                    NULL, values, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        fprintf(stderr, "weir-coordinator: %s", PQerrorMessage(conn));
        status = EX_SOFTWARE;
    } else if ((status = atoi(PQgetvalue(result, 0, 0))) != 0) {
        fprintf(stderr, "weir-coordinator: %s\n", PQgetvalue(result, 0, 1));
    }
    PQclear(result);
    PQfinish(conn);
    return status;
}

static int run(const struct command *command, const struct coordinator_config *config)
{
    char *const *words = command->words;
    if (command->word_count == 1 && strcmp(words[0], "migrate") == 0)
        return migrate_command(config->conninfo, only_check);
    if (command->word_count == 5 && strcmp(words[0], "keys") == 0 && strcmp(words[1], "add") == 0)
        return add_key(config->conninfo, words + 2);
    if (command->word_count != 0 || only_check)
        return command_misused(&syntax);
    if (!command->test)
        return coordinator_run(command, config);

    struct curve_keypair pair;
    struct error why;
    if (!coordinator_config_keys(config, command->name, &pair, &why) || !coordinator_config_files(config, &why)) {
        fprintf(stderr, "weir-coordinator: %s\n", why.text);
        return EXIT_FAILURE;
    }
    explicit_bzero(&pair, sizeof pair);
    printf("weir-coordinator: %s: ok\n", command->config_path);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct command command;
    struct coordinator_config config;
    struct error why;
    signal(SIGPIPE, SIG_IGN);
    int status;
    if (argc == 3 && strcmp(argv[1], HELPERS_WORD) == 0 && strcmp(argv[2], LOOK_WORD) == 0)
        return look_fetch();
    if (argc == 3 && strcmp(argv[1], HELPERS_WORD) == 0)
        return helpers_serve(argv[2]);
    command_hold_signals();
    if (!command_parse(&command, &syntax, argc, argv, &status))
        return status;
    if (!coordinator_config_load(&config, &command, &why)) {
        fprintf(stderr, "weir-coordinator: %s\n", why.text);
        return EXIT_FAILURE;
    }
    memory_keep_free(); /* else the threads' heaps keep what a run of large frames left between small ones */
    status = run(&command, &config);
    coordinator_config_clear(&config);
    command_fini(&command);
    return status;
}
