/* settings.c - see settings.h */
#include "deploy/sendmail/settings.h"
#include <stdlib.h>
#include <unistd.h>
#include "common/config_form.h"
#include "common/memory.h"
#include "common/settings.h"

#define LINE_LEAST 78 /* RFC 5322 2.1.1 */

#define STRING(key, value, form, help) { #key, CONFIG_STRING, offsetof(struct sendmail_settings, key), value, NULL, 0, 0, help, form }
#define NUMBER(key, type, value, min, max, help) { #key, type, offsetof(struct sendmail_settings, key), value, NULL, min, max, help, NULL }

static const struct config_key keys[] = {
    { "hosts", CONFIG_LIST, offsetof(struct sendmail_settings, hosts), NULL, NULL, 0, 0, "NAME:PORT of edges, tried in this order; PORT may be a service's name; 25 where there is none", form_host_service },
    STRING(hostname, "", form_host, "for EHLO and Message-ID; default: the system's"),
    STRING(domain, "", form_host, "for addresses without one; default: hostname"),
    { "tls", CONFIG_ENUM, offsetof(struct sendmail_settings, tls), "may", "none|may|require|implicit", 0, 0, "STARTTLS; require also verifies the host; implicit: so, and TLS from the first byte, as on port 465", NULL },
    STRING(ca_file, "", form_path, "to verify hosts when TLS is required; default: the system's"),
    STRING(login_file, "", form_path, "a file with NAME:PASSWORD for AUTH; TLS is required then"),
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
    bool short_line = filled && settings->max_line > 0 && settings->max_line < LINE_LEAST;
    if (filled && settings->hosts.count == 0)
        config_blame(config, "sendmail", NULL, "hosts", why, "no host is named; write NAME:PORT of an edge");
    else if (short_line)
        config_blame(config, "sendmail", NULL, "max_line", why, "must be 0 or at least %d", LINE_LEAST);
    config_free(&config);
    if (!filled)
        return false;
    if (settings->hosts.count == 0 || short_line) {
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
