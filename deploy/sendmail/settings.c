/* settings.c - see settings.h */
#include "deploy/sendmail/settings.h"
#include <stdlib.h>
#include <unistd.h>
#include "common/memory.h"
#include "common/settings.h"

#define STRING(key, value, help) { #key, CONFIG_STRING, offsetof(struct sendmail_settings, key), value, NULL, 0, 0, help }
#define NUMBER(key, type, value, min, max, help) { #key, type, offsetof(struct sendmail_settings, key), value, NULL, min, max, help }

static const struct config_key keys[] = {
    { "hosts", CONFIG_LIST, offsetof(struct sendmail_settings, hosts), NULL, NULL, 0, 0, "NAME:PORT of edges, tried in this order" },
    STRING(hostname, "", "for EHLO and Message-ID; default: the system's"),
    STRING(domain, "", "for addresses without one; default: hostname"),
    { "tls", CONFIG_ENUM, offsetof(struct sendmail_settings, tls), "may", "none|may|require|implicit", 0, 0, "STARTTLS; require also verifies the host; implicit: so, and TLS from the first byte, as on port 465" },
    STRING(ca_file, "", "to verify hosts when TLS is required; default: the system's"),
    STRING(login_file, "", "a file with NAME:PASSWORD for AUTH; TLS is required then"),
    NUMBER(connect_timeout, CONFIG_DURATION, "10s", 100, 600000, "per address"),
    NUMBER(reply_timeout, CONFIG_DURATION, "5m", 1000, 3600000, "for each reply"),
    NUMBER(max_message_size, CONFIG_SIZE, "50MiB", 1024, 1ull << 32, "larger messages are refused here"),
    NUMBER(max_line, CONFIG_UINT, "998", 0, 1000000, "longer lines are folded or broken; 0: never. At least 78"),
    { .name = NULL },
};

const struct config_section sendmail_tables[] = {
    { "sendmail", false, sizeof(struct sendmail_settings), keys },
    { .name = NULL },
};

static void set_default(char **value, const char *text)
{
    if ((*value)[0] == '\0') {
        free(*value);
        *value = xstrdup(text);
    }
}

bool sendmail_settings_load(struct sendmail_settings *settings, struct error *why)
{
    const char *path = secure_getenv("WEIR_SENDMAIL_CONF");
    char host[256] = "";
    struct config *config = config_load(path != NULL ? path : "/etc/weir/sendmail.conf", sendmail_tables, NULL, 0, why);

    *settings = (struct sendmail_settings){ 0 };
    if (config == NULL)
        return false;
    bool filled = config_fill(config, "sendmail", NULL, settings, why);
    config_free(&config);
    if (!filled)
        return false;
    if (settings->hosts.count == 0 || (settings->max_line > 0 && settings->max_line < 78)) {
        error_set(why, settings->hosts.count == 0 ? "hosts: no host is named" : "max_line: less than 78");
        sendmail_settings_fini(settings);
        return false;
    }
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        host[0] = '\0';
    set_default(&settings->hostname, host[0] != '\0' ? host : "localhost");
    set_default(&settings->domain, settings->hostname);
    if (settings->login_file[0] != '\0' && settings->tls != SENDMAIL_TLS_IMPLICIT)
        settings->tls = NEXT_HOP_TLS_REQUIRE; /* a password goes to nobody who is not the host it is for */
    return true;
}

void sendmail_settings_fini(struct sendmail_settings *settings)
{
    config_clear(&sendmail_tables[0], settings);
}
