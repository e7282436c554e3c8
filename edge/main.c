/*
 * main.c - weir-edge: the command line
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/command.h"
#include "common/log.h"
#include "edge/dns/dns.h"
#include "edge/edge.h"
#include "proto/curve.h"

static const struct command_syntax syntax = {
    .program = "weir-edge",
    .forms = "",
    .name = "this node's name, as its key is registered: edge-1",
    .help = "",
    .signals = "HUP reloads configuration and certificate, TERM drains and ends, USR1 reopens the log",
};

int main(int argc, char **argv)
{
    struct command command;
    struct error why;
    int status;

    signal(SIGPIPE, SIG_IGN);
    command_hold_signals();
    setlocale(LC_TIME, "C"); /* dates in mail are English */
    if (!command_parse(&command, &syntax, argc, argv, &status))
        return status;

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
    if (!dns_settings_are_good(&config->edge, &why)) { /* else every worker would end at its start, for ever */
        fprintf(stderr, "weir-edge: [edge] %s\n", why.text);
        return EXIT_FAILURE;
    }
    if (command.test) {
        printf("weir-edge: %s: ok\n", command.config_path);
        edge_config_unref(&config);
        command_fini(&command);
        return EXIT_SUCCESS;
    }
    edge_open_log(config, command.name, "master");
    status = master_run(&command, config);
    command_fini(&command);
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
