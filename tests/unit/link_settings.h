/* link_settings.h - a hub of a test with other settings than the defaults */
#ifndef TESTS_UNIT_LINK_SETTINGS_H
#define TESTS_UNIT_LINK_SETTINGS_H

#include <check.h>
#include "proto/link.h"

/* one, two: as of --set, of [cluster]. They hold for sockets that are made later. */
static inline void link_settings(struct link_hub *hub, const char *one, const char *two)
{
    const char *overrides[] = { one, two };
    struct cluster_settings settings = { 0 };
    struct error why;
    struct config *config = config_load(NULL, settings_tables, (char *const *)(uintptr_t)overrides, 2, &why);
    ck_assert_msg(config != NULL && config_fill(config, "cluster", NULL, &settings, &why), "%s", why.text);
    link_hub_configure(hub, &settings);
    config_clear(settings_table("cluster"), &settings);
    config_free(&config);
}

/* What is known within LINK_AT_ONCE_MS is then known by the end of a connection, and not by nobody's answers: a machine may stall for long. */
#define LINK_AT_ONCE_MS 20000
static inline void link_settings_of_patience(struct link_hub *hub)
{
    link_settings(hub, "link_timeout=30s", "link_silence=1h");
}

#endif
