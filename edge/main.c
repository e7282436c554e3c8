/*
 * main.c - weir-edge: the command line
 */
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/edge.h"
#include "proto/curve.h"

static _Noreturn void usage(FILE *out, int status)
{
    fputs("usage: weir-edge -c FILE --name NAME [--set KEY=VALUE]... [-t]\n"
          "  -c FILE           configuration (weir.conf)\n"
          "  --name NAME       this node's name, as its key is registered: edge-1\n"
          "  --set KEY=VALUE   wins over the file; SECTION.KEY=VALUE where several sections know the key\n"
          "  -t                check the configuration and exit\n"
          "  --version\n"
          "signals: HUP reloads configuration and certificate, TERM drains and ends, USR1 reopens the log\n",
          out);
    exit(status);
}

static void parse(struct edge_command *command, bool *check_only, int argc, char **argv)
{
    enum { OPTION_NAME = 256, OPTION_SET, OPTION_VERSION, OPTION_HELP };
    static const struct option options[] = {
        { "name", required_argument, NULL, OPTION_NAME },
        { "set", required_argument, NULL, OPTION_SET },
        { "version", no_argument, NULL, OPTION_VERSION },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    int option;
    while ((option = getopt_long(argc, argv, "c:th", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            command->config_path = optarg;
            break;
        case 't':
            *check_only = true;
            break;
        case OPTION_NAME:
            command->name = optarg;
            break;
        case OPTION_SET:
            command->overrides = xrealloc(command->overrides, (command->override_count + 1) * sizeof *command->overrides);
            command->overrides[command->override_count++] = optarg;
            break;
        case OPTION_VERSION:
            puts("weir-edge " WEIR_VERSION);
            exit(EXIT_SUCCESS);
        case 'h':
        case OPTION_HELP:
            usage(stdout, EXIT_SUCCESS);
        default:
            usage(stderr, EX_USAGE);
        }
    }
    if (optind < argc || command->config_path == NULL || command->name == NULL)
        usage(stderr, EX_USAGE);
}

int main(int argc, char **argv)
{
    struct edge_command command = { 0 };
    struct error why;
    bool check_only = false;

    signal(SIGPIPE, SIG_IGN);
    setlocale(LC_TIME, "C"); /* dates in mail are English */
    parse(&command, &check_only, argc, argv);

    struct edge_config *config = edge_config_load(command.config_path, command.overrides, command.override_count, &why);
    if (config == NULL) {
        fprintf(stderr, "weir-edge: %s\n", why.text);
        return EXIT_FAILURE;
    }
    struct curve_keypair pair;
    if (config->cluster.key_file == NULL || !curve_keypair_read(&pair, config->cluster.key_file, &why)) {
        fprintf(stderr, "weir-edge: [cluster] key_file: %s\n", config->cluster.key_file == NULL ? "not set" : why.text);
        return EXIT_FAILURE;
    }
    explicit_bzero(&pair, sizeof pair);
    if (!settings_check_folder("[edge] tmp_dir", config->edge.tmp_dir, &why)) { /* else every large message would get 452 */
        fprintf(stderr, "weir-edge: %s\n", why.text);
        return EXIT_FAILURE;
    }
    if (check_only) {
        printf("weir-edge: %s: ok\n", command.config_path);
        edge_config_unref(&config);
        free(command.overrides);
        return EXIT_SUCCESS;
    }
    edge_open_log(config, command.name, "master");
    int status = master_run(&command, config);
    free(command.overrides);
    return status;
}

void edge_open_log(const struct edge_config *config, const char *node, const char *role)
{
    char ident[160];
    snprintf(ident, sizeof ident, "weir/%s/%s", node, role);
    struct log_options options = {
        .ident = ident,
        .node = node,
        .file = config->log.file,
        .format = config->log.format == 1 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT,
        .level = LOG_DEBUG - config->log.level, /* settings count from debug upwards, syslog from debug downwards */
    };
    log_open(&options);
}
