/*
 * password.c - a new password, from a terminal or a pipe, as a hash
 */
#include <crypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include "common/memory.h"
#include "coordinator/ctl/password.h"

#define LINE_MAX_BYTES (PASSWORD_MAX + 3)

/* false: no line, or one that is longer. */
static bool read_line(char line[LINE_MAX_BYTES])
{
    if (fgets(line, LINE_MAX_BYTES, stdin) == NULL)
        return false;
    line[strcspn(line, "\r\n")] = '\0';
    return strlen(line) <= PASSWORD_MAX;
}

static bool ask_once(const char *prompt, char line[LINE_MAX_BYTES])
{
    struct termios before, quiet;
    bool has_echo = tcgetattr(STDIN_FILENO, &before) == 0;

    if (has_echo) {
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    fputs(prompt, stderr);
    bool fine = read_line(line);
    if (has_echo)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fputs("\n", stderr);
    return fine;
}

static bool read_password(char line[LINE_MAX_BYTES], struct error *why)
{
    char again[LINE_MAX_BYTES];
    bool fine, same = true;

    if (isatty(STDIN_FILENO)) {
        fine = ask_once("New password: ", line) && ask_once("Once more: ", again);
        same = fine && strcmp(line, again) == 0;
        explicit_bzero(again, sizeof again);
    } else {
        fine = read_line(line);
    }
    if (!fine)
        error_set(why, "no password was given, or one of more than %d bytes", PASSWORD_MAX);
    else if (!same)
        error_set(why, "these two passwords differ");
    else if (strlen(line) < PASSWORD_MIN)
        error_set(why, "the password needs at least %d bytes", PASSWORD_MIN);
    return fine && same && strlen(line) >= PASSWORD_MIN;
}

bool password_read_hash(char **hash, struct error *why)
{
    char line[LINE_MAX_BYTES], setting[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data *scratch = xcalloc(1, sizeof *scratch);
    const char *made = NULL;

    *hash = NULL;
    bool fine = read_password(line, why);
    if (fine && crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting) != NULL)
        made = crypt_r(line, setting, scratch);
    if (made != NULL && made[0] == '$')
        *hash = xstrdup(made);
    else if (fine)
        error_set(why, "libcrypt has no yescrypt");
    explicit_bzero(line, sizeof line);
    explicit_bzero(scratch, sizeof *scratch);
    free(scratch);
    return *hash != NULL;
}
