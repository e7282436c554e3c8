/*
 * main.c - weir-coordinator: the command line
 *
 * Besides running there are two things that must work before anybody can talk to a coordinator: migrations, and the
 * first keys.
 */
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <libpq-fe.h>
#include "common/memory.h"
#include "coordinator/coordinator.h"
#include "coordinator/migrate.h"

static _Noreturn void usage(FILE *out, int status)
{
    fputs("usage: weir-coordinator -c FILE --name NAME [--set KEY=VALUE]... [-t]\n"
          "       weir-coordinator migrate [--check] -c FILE --name NAME\n"
          "       weir-coordinator keys add NODE ROLE HEX -c FILE --name NAME\n"
          "  -c FILE           configuration (weir.conf)\n"
          "  --name NAME       this coordinator: its section is [coordinator \"NAME\"]\n"
          "  --set KEY=VALUE   wins over the file; SECTION.KEY=VALUE where several sections know the key\n"
          "  -t                check the configuration and exit\n"
          "  migrate           bring the database's schema up to date (a coordinator does so itself at start);\n"
          "                    --check only says what is missing, exit status 1 when something is\n"
          "  keys add          let a node or an operator in, straight into the database: for the first keys of a "
          "cluster\n"
          "  --version\n"
          "signals: TERM ends it, HUP reads [log] again, USR1 reopens the log\n",
          out);
    exit(status);
}

struct command_line {
    struct coordinator_command command;
    bool test, check;
    char **words; /* what is not an option */
    int word_count;
};

static void parse(struct command_line *line, int argc, char **argv)
{
    enum { OPTION_NAME = 256, OPTION_SET, OPTION_CHECK, OPTION_VERSION, OPTION_HELP };
    static const struct option options[] = {
        { "name", required_argument, NULL, OPTION_NAME }, { "set", required_argument, NULL, OPTION_SET },
        { "check", no_argument, NULL, OPTION_CHECK },     { "version", no_argument, NULL, OPTION_VERSION },
        { "help", no_argument, NULL, OPTION_HELP },       { 0 },
    };
    struct coordinator_command *command = &line->command;
    int option;
    while ((option = getopt_long(argc, argv, "c:th", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            command->config_path = optarg;
            break;
        case 't':
            line->test = true;
            break;
        case OPTION_NAME:
            command->name = optarg;
            break;
        case OPTION_SET:
            command->overrides =
                xrealloc(command->overrides, (command->override_count + 1) * sizeof *command->overrides);
            command->overrides[command->override_count++] = optarg;
            break;
        case OPTION_CHECK:
            line->check = true;
            break;
        case OPTION_VERSION:
            puts("weir-coordinator " WEIR_VERSION);
            exit(EXIT_SUCCESS);
        case 'h':
        case OPTION_HELP:
            usage(stdout, EXIT_SUCCESS);
        default:
            usage(stderr, EX_USAGE);
        }
    }
    line->words = argv + optind;
    line->word_count = argc - optind;
    if (command->config_path == NULL || command->name == NULL)
        usage(stderr, EX_USAGE);
}

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

static int run(const struct command_line *line, const struct coordinator_config *config)
{
    char *const *words = line->words;
    if (line->word_count == 1 && strcmp(words[0], "migrate") == 0)
        return migrate_command(config->conninfo, line->check);
    if (line->word_count == 5 && strcmp(words[0], "keys") == 0 && strcmp(words[1], "add") == 0)
        return add_key(config->conninfo, words + 2);
    if (line->word_count != 0 || line->check)
        usage(stderr, EX_USAGE);
    if (!line->test)
        return coordinator_run(&line->command, config);

    struct curve_keypair pair;
    struct error why;
    if (!coordinator_config_keys(config, line->command.name, &pair, &why)) {
        fprintf(stderr, "weir-coordinator: %s\n", why.text);
        return EXIT_FAILURE;
    }
    explicit_bzero(&pair, sizeof pair);
    printf("weir-coordinator: %s: ok\n", line->command.config_path);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct command_line line = { 0 };
    struct coordinator_config config;
    struct error why;
    signal(SIGPIPE, SIG_IGN);
    parse(&line, argc, argv);
    if (!coordinator_config_load(&config, &line.command, &why)) {
        fprintf(stderr, "weir-coordinator: %s\n", why.text);
        return EXIT_FAILURE;
    }
    int status = run(&line, &config);
    coordinator_config_clear(&config);
    free(line.command.overrides);
    return status;
}
