#ifndef WEIR_CTL_LOCAL_H
#define WEIR_CTL_LOCAL_H
/*
 * local.h - what weirctl does without a coordinator: key files, configuration, reading a policy's folder
 *
 * Each command prints its result and returns an exit status of sysexits.h.
 */
#include <stdbool.h>
#include "coordinator/ctl/options.h"
#include "coordinator/ctl/request.h"
#include "coordinator/text.h"
#include "proto/wire.h"

int local_keys_generate(const char *path, bool json);
int local_config_check(const struct options *options);
int local_config_show(const struct options *options);
int local_policy_check(const char *dir);

/* All of a file, as text that ends with NUL. Adds to out. */
bool local_file_read(const char *path, struct text *out, struct error *why);

struct local_policy {
    struct request_file files[WIRE_PAYLOADS_MAX];
    size_t count;
};
/* Reads the files of dir that make a policy, and parses them; names on stderr those that it does not know, and what policy_warns() and the policy_warns_of_...() tell. false: why has file and line. */
bool local_policy_read(struct local_policy *policy, const char *dir, struct error *why);
void local_policy_clear(struct local_policy *policy);

#endif
