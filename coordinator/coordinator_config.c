/*
 * coordinator_config.c - the coordinator's part of weir.conf
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "common/netaddr.h"
#include "coordinator/coordinator.h"
#include "coordinator/db.h"

static char *read_conninfo(const char *path, struct error *why)
{
    char text[4096];
    FILE *file = fopen(path, "re");
    size_t len = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file == NULL || ferror(file) || len == sizeof text - 1)
        error_set(why, "database_file %s: %s", path,
                  file == NULL || ferror(file) ? strerror(errno) : "too long for a conninfo");
    bool fine = file != NULL && !ferror(file) && len < sizeof text - 1;
    if (file != NULL)
        fclose(file);
    if (!fine)
        return NULL;
    text[len] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    return xstrdup(text);
}

static bool load(struct coordinator_config *out, const struct config *config, const char *name, struct error *why)
{
    const char *instance;
    bool known = false;
    for (size_t i = 0; (instance = config_instance(config, "coordinator", i)) != NULL; i++)
        known |= strcmp(instance, name) == 0;
    if (!known) {
        error_set(why, "there is no section [coordinator \"%s\"]", name);
        return false;
    }
    if (!config_fill(config, "cluster", NULL, &out->cluster, why) ||
        !config_fill(config, "auth", NULL, &out->auth, why) || !config_fill(config, "log", NULL, &out->log, why) || !config_fill(config, "coordinator", name, &out->own, why))
        return false;
    if (out->own.policy_size >= out->cluster.link_message) {
        error_set(why, "[coordinator \"%s\"] policy_size must be less than link_message: a policy is one message", name);
        return false;
    }
    struct netaddr address;
    struct error parse;
    if (!netaddr_parse_endpoint(&address, out->own.http, &parse)) {
        error_set(why, "[coordinator \"%s\"] http: %s", name, parse.text);
        return false;
    }
    if (out->own.database_file != NULL && out->own.database_file[0] != '\0')
        out->conninfo = read_conninfo(out->own.database_file, why);
    else
        out->conninfo = xstrdup(out->own.database != NULL ? out->own.database : "");
    if (out->conninfo == NULL)
        return false;
    if (out->conninfo[0] == '\0') {
        error_set(why,
                  "[coordinator \"%s\"] database or database_file must say where PostgreSQL is, as "
                  "host=/run/postgresql dbname=weir",
                  name);
        return false;
    }
    char *turned = db_conninfo_rotate(out->conninfo, 0, &parse);
    if (turned == NULL)
        error_set(why, "[coordinator \"%s\"] %s", name, parse.text);
    free(turned);
    return turned != NULL;
}

bool coordinator_config_load(struct coordinator_config *out, const struct command *command,
                             struct error *why)
{
    *out = (struct coordinator_config){ 0 };
    struct config *config =
        config_load(command->config_path, settings_tables, command->overrides, command->override_count, why);
    if (config == NULL)
        return false;
    bool fine = load(out, config, command->name, why);
    config_free(&config);
    if (!fine)
        coordinator_config_clear(out);
    return fine;
}

void coordinator_config_clear(struct coordinator_config *config)
{
    config_clear(settings_table("cluster"), &config->cluster);
    config_clear(settings_table("coordinator"), &config->own);
    config_clear(settings_table("auth"), &config->auth);
    config_clear(settings_table("log"), &config->log);
    free(config->conninfo);
    *config = (struct coordinator_config){ 0 };
}

bool coordinator_config_keys(const struct coordinator_config *config, const char *name, struct curve_keypair *pair,
                             struct error *why)
{
    if (!curve_keypair_read(pair, config->cluster.key_file, why))
        return false;
    uint8_t told[CURVE_KEY_LEN];
    if (config->own.public_key == NULL || !curve_key_parse(told, config->own.public_key)) {
        error_set(why, "[coordinator \"%s\"] public_key: 64 hex digits, the \"public\" line of %s", name,
                  config->cluster.key_file);
        return false;
    }
    if (memcmp(told, pair->public_key, CURVE_KEY_LEN) != 0) {
        error_set(why, "[coordinator \"%s\"] public_key is not that of %s: nobody could connect", name,
                  config->cluster.key_file);
        return false;
    }
    return true;
}
