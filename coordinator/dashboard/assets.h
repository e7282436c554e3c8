#ifndef WEIR_COORDINATOR_DASHBOARD_ASSETS_H
#define WEIR_COORDINATOR_DASHBOARD_ASSETS_H
/*
 * assets.h - the files of assets/, built in by embed-assets; a name of NULL ends them
 */
struct dashboard_asset {
    const char *name, *text;
};

extern const struct dashboard_asset dashboard_assets[];

#endif
