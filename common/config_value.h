#ifndef WEIR_COMMON_CONFIG_VALUE_H
#define WEIR_COMMON_CONFIG_VALUE_H
/* config_value.h - the text of one value, checked and converted by its key's type. Only config.c uses it. */
#include "common/config.h"

/* One value in every form it may take; which one is the key's type. */
union config_value {
    char *string;
    bool boolean;
    uint64_t number;
    int choice;
    struct config_list list;
};

/* On success the caller owns what `out` holds. false: why says what was expected, naming key and text. */
bool config_value_convert(const struct config_key *key, const char *text, union config_value *out, struct error *why);
bool config_value_is_good(const struct config_key *key, const char *text, struct error *why);
void config_list_clear(struct config_list *list);

#endif
