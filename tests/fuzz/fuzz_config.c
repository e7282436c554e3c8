/*
 * fuzz_config.c - weir.conf from any bytes: refused with words that say where, or every value converts
 *
 * The file lies in a folder of its own; inputs whose includes lead out of it are skipped.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/config.h"
#include "common/error.h"
#include "common/memory.h"
#include "common/settings.h"

static char folder[] = "/dev/shm/weir-fuzz-config-XXXXXX";
static char path[64];

static void clean_up(void)
{
    unlink(path);
    rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    if (mkdtemp(folder) == NULL)
        abort();
    snprintf(path, sizeof path, "%s/weir.conf", folder);
    atexit(clean_up);
    return 0;
}

static void look(void *arg, const char *section, const char *instance, const struct config_key *key, const char *value,
                 const char *origin)
{
    (void)section, (void)instance;
    weir_assert(key->name != NULL && value != NULL && origin[0] != '\0');
    *(size_t *)arg += strlen(value);
}

/* Only a missing key may keep a loaded section from being filled. */
static void fill(const struct config *config, const char *section, const char *instance)
{
    const struct config_section *table = settings_table(section);
    struct error why = { "" };
    void *filled = xmalloc(table->size);

    if (config_fill(config, section, instance, filled, &why))
        config_clear(table, filled);
    else
        weir_assert(strstr(why.text, "it has no default") != NULL);
    free(filled);
}

static void use(const struct config *config)
{
    size_t total = 0;

    config_visit(config, look, &total);
    for (const struct config_section *table = settings_tables; table->name != NULL; table++) {
        const char *instance;
        if (!table->named)
            fill(config, table->name, NULL);
        for (size_t i = 0; (instance = config_instance(config, table->name, i)) != NULL; i++)
            fill(config, table->name, instance);
    }
}

/* The first line is an override when it begins with '!'. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error why = { "" };
    char *override = NULL;

    if (memmem(data, size, "include", 7) != NULL && (memchr(data, '/', size) != NULL || memchr(data, '\\', size) != NULL))
        return 0;
    const uint8_t *newline = size > 0 && data[0] == '!' ? memchr(data, '\n', size) : NULL;
    if (newline != NULL) {
        override = xstrndup((const char *)data + 1, (size_t)(newline - data - 1));
        size -= (size_t)(newline + 1 - data);
        data = newline + 1;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
    struct config *config = config_load(path, settings_tables, &override, override != NULL, &why);
    if (config != NULL)
        use(config);
    else
        weir_assert(strstr(why.text, "error: ") != NULL || strlen(why.text) == sizeof why.text - 1);
    config_free(&config);
    free(override);
    return 0;
}
