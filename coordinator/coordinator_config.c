/*
 * coordinator_config.c - the coordinator's part of weir.conf
 */
#include <stdlib.h>
#include <string.h>
#include "common/input.h"
#include "common/memory.h"
#include "common/netaddr.h"
#include "coordinator/coordinator.h"
#include "coordinator/db.h"

/* NULL: why is what is wrong with the file. */
static char *read_conninfo(const char *path, struct error *why)
{
    char text[4096];
    struct error reason;
    bool fine = input_read_line(path, text, sizeof text, &reason);
    char *conninfo = fine ? xstrdup(text) : NULL;
    if (!fine)
        error_set(why, "%s: %s", path, reason.text);
    explicit_bzero(text, sizeof text);
    return conninfo;
}

static bool load(struct coordinator_config *out, const struct config *config, const char *path, const char *name, struct error *why)
{
    const char *instance;
    bool known = false;
    for (size_t i = 0; (instance = config_instance(config, "coordinator", i)) != NULL; i++)
        known |= strcmp(instance, name) == 0;
    if (!known) {
        error_set(why, "%s: error: there is no section [coordinator \"%s\"]", path, name);
        return false;
    }
    if (!config_fill(config, "cluster", NULL, &out->cluster, why) ||
        !config_fill(config, "auth", NULL, &out->auth, why) || !config_fill(config, "dns", NULL, &out->dns, why) || !config_fill(config, "web", NULL, &out->web, why) || !config_fill(config, "log", NULL, &out->log, why) || !config_fill(config, "coordinator", name, &out->own, why))
        return false;
    struct error reason;
    const char *key = *out->own.database_file != '\0' ? "database_file" : "database";
    out->conninfo = *out->own.database_file != '\0' ? read_conninfo(out->own.database_file, &reason) : xstrdup(out->own.database);
    char *turned = out->conninfo != NULL && *out->conninfo != '\0' ? db_conninfo_rotate(out->conninfo, 0, &reason) : NULL;
    if (out->conninfo != NULL && *out->conninfo == '\0')
        config_blame(config, "coordinator", name, key, why,
                     "is empty: it, or database_file, must say where PostgreSQL is, as host=/run/postgresql dbname=weir");
    else if (turned == NULL)
        config_blame(config, "coordinator", name, key, why, "%s", reason.text);
    free(turned);
    return turned != NULL;
}

bool coordinator_config_load(struct coordinator_config *out, const struct command *command,
                             struct error *why)
{
    *out = (struct coordinator_config){ 0 };
    struct config *config = out->source = settings_load(command->config_path, command->overrides, command->override_count, why);
    if (config == NULL)
        return false;
    bool fine = load(out, config, command->config_path, command->name, why);
    if (!fine)
        coordinator_config_clear(out);
    return fine;
}

void coordinator_config_clear(struct coordinator_config *config)
{
    config_clear(settings_table("cluster"), &config->cluster);
    config_clear(settings_table("coordinator"), &config->own);
    config_clear(settings_table("auth"), &config->auth);
    config_clear(settings_table("dns"), &config->dns);
    config_clear(settings_table("web"), &config->web);
    config_clear(settings_table("log"), &config->log);
    free(config->conninfo);
    config_free(&config->source);
    *config = (struct coordinator_config){ 0 };
}

bool coordinator_config_keys(const struct coordinator_config *config, const char *name, struct curve_keypair *pair,
                             struct error *why)
{
    uint8_t told[CURVE_KEY_LEN];
    struct error reason;
    if (!curve_keypair_read(pair, config->cluster.key_file, &reason)) {
        config_blame(config->source, "cluster", NULL, "key_file", why, "%s", reason.text);
        return false;
    }
    if (curve_key_parse(told, config->own.public_key) && memcmp(told, pair->public_key, CURVE_KEY_LEN) == 0)
        return true;
    config_blame(config->source, "coordinator", name, "public_key", why, "is not that of %s: nobody could connect", config->cluster.key_file);
    return false;
}

bool coordinator_config_files(const struct coordinator_config *config, struct error *why)
{
    return settings_check_file(config->source, "auth", "ldap_ca_file", config->auth.ldap_ca_file, why) &&
           settings_check_input(config->source, "auth", "ldap_service_password_file", config->auth.ldap_service_password_file, why) &&
           settings_check_file(config->source, "dns", "dns_tsig_file", config->dns.dns_tsig_file, why) &&
           settings_check_private(config->source, "dns", "dns_tsig_file", config->dns.dns_tsig_file, why) &&
           settings_check_log(config->source, config->log.file, why);
}
