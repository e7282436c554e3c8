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
#include "edge/edge.h"
#include "proto/curve.h"

static const struct command_syntax syntax = {
    .program = "weir-edge",
    .forms = "",
    .name = "this node's name, as its key is registered: edge-1",
    .help = "",
    .signals = "HUP reloads configuration and certificate, TERM drains and ends, USR1 reopens the log",
};

static bool key_is_good(const struct edge_config *config, struct error *why)
{
    struct curve_keypair pair;
    struct error reason;
    bool good = curve_keypair_read(&pair, config->cluster.key_file, &reason);
    if (!good)
        config_blame(config->source, "cluster", NULL, "key_file", why, "%s", reason.text);
    explicit_bzero(&pair, sizeof pair);
    return good;
}

static bool next_hop_tls_is_good(const struct edge_config *config, struct error *why)
{
    struct error reason;
    if (config->edge.next_hop_tls == NEXT_HOP_TLS_NONE)
        return true;
    struct net_tls *tls = net_tls_client(config->tls.ca_file, false, &reason);
    if (tls == NULL)
        config_blame(config->source, "tls", NULL, "ca_file", why, "%s", reason.text);
    bool good = tls != NULL;
    net_tls_unref(&tls);
    return good;
}

/* What the configuration names must be there: else every large message would get 452, or every worker end at its start, for ever. An edge can do
 * without a folder for the cluster state and without its log, so only -t asks for them. */
static bool node_is_ready(const struct edge_config *config, bool test, struct error *why)
{
    return key_is_good(config, why) && settings_check_folder(config->source, "edge", "tmp_dir", config->edge.tmp_dir, why) &&
           settings_check_file(config->source, "edge", "dns_trust_anchor", config->edge.dns_trust_anchor, why) &&
           settings_check_file(config->source, "edge", "dns_root_hints", config->edge.dns_root_hints, why) && next_hop_tls_is_good(config, why) &&
           (!test || (settings_check_folder(config->source, "cluster", "state_dir", config->cluster.state_dir, why) &&
                      settings_check_log(config->source, config->log.file, why)));
}

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
    bool fine = config != NULL && node_is_ready(config, command.test, &why);
    if (!fine)
        fprintf(stderr, "weir-edge: %s\n", why.text);
    else if (command.test)
        printf("weir-edge: %s: ok\n", command.config_path);
    if (!fine || command.test) {
        edge_config_unref(&config);
        command_fini(&command);
        return fine ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    command_open_log(&config->log, command.name, "master");
    status = master_run(&command, config);
    command_fini(&command);
    return status;
}
