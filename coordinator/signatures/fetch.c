/*
 * fetch.c - the process that looks at the mirrors: freshclam, the site's own files, and what they make together
 *
 * Below signature_work: db/ is freshclam's, run/ has its configuration, set/ what the coordinator stores. Blocks as it likes. Every mirror or URL is a run
 * of freshclam by itself, as it ends at the first that fails.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/error.h"
#include "common/memory.h"
#include "coordinator/signatures/look.h"

#define LINES_MAX 1024
#define COPY_SIZE (256u * 1024)

struct job {
    char *work, *folder, *freshclam;
    uint64_t size;
    char *mirrors[LINES_MAX], *urls[LINES_MAX];
    size_t mirror_count, url_count;
};

/* --- what is said --- */

static void say(const char *word, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(const char *word, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text[strcspn(text, "\r\n")] = '\0';
    printf("%s %s\n", word, text);
    fflush(stdout);
}

/* --- what is heard --- */

static void hear(struct job *job)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    while ((len = getline(&line, &cap, stdin)) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *value = strchr(line, ' ');
        if (value == NULL)
            continue;
        *value++ = '\0';
        if (strcmp(line, "work") == 0)
            job->work = xstrdup(value);
        else if (strcmp(line, "folder") == 0)
            job->folder = xstrdup(value);
        else if (strcmp(line, "freshclam") == 0)
            job->freshclam = xstrdup(value);
        else if (strcmp(line, "size") == 0)
            job->size = strtoull(value, NULL, 10);
        else if (strcmp(line, "mirror") == 0 && job->mirror_count < LINES_MAX)
            job->mirrors[job->mirror_count++] = xstrdup(value);
        else if (strcmp(line, "url") == 0 && job->url_count < LINES_MAX)
            job->urls[job->url_count++] = xstrdup(value);
    }
    free(line);
}

/* --- folders --- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static char *make_folder(const struct job *job, const char *name)
{
    char *path = xasprintf("%s/%s", job->work, name);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        say("trouble", "%s: %s", path, strerror(errno));
    return path;
}

static const char *url_file(const char *url)
{
    return strrchr(url, '/') + 1; /* form_signature_url() saw to it */
}

static bool is_official(const char *name)
{
    static const char *const names[] = { "main.cvd", "main.cld", "daily.cvd", "daily.cld", "bytecode.cvd", "bytecode.cld" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Whether freshclam is to keep it: what belongs to no mirror of the configuration any more would stay in the set for ever. */
static bool is_wanted(const struct job *job, const char *name)
{
    if (!signature_name_is_valid(name))
        return strncmp(name, "tmp.", 4) != 0; /* a folder that a killed freshclam left */
    if (is_official(name))
        return job->mirror_count > 0;
    for (size_t i = 0; i < job->url_count; i++)
        if (strcmp(url_file(job->urls[i]), name) == 0)
            return true;
    return false;
}

static void clean_folder(const struct job *job, const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || is_wanted(job, entry->d_name))
            continue;
        char *victim = xasprintf("%s/%s", path, entry->d_name);
        nftw(victim, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        free(victim);
    }
    closedir(dir);
}

/* --- freshclam --- */

static void run_child(const struct job *job, char *config, bool custom, int out)
{
    char program[] = "freshclam", to_stdout[] = "--stdout", only[] = "--update-db=custom", no_dns[] = "--no-dns";
    char *const argv[] = { program, config, to_stdout, custom ? only : NULL, no_dns, NULL };
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execv(job->freshclam, argv);
    fprintf(stderr, "ERROR: %s: %s\n", job->freshclam, strerror(errno));
    _exit(127);
}

/* freshclam tells whole URLs, in which a customer's key may be: all before the file's name goes. The longest that fits, as one URL may begin as another does. */
static void hide_keys(const struct job *job, char *line)
{
    char *to = line;
    for (const char *from = line; *from != '\0';) {
        size_t hidden = 0;
        for (size_t i = 0; i < job->url_count; i++) {
            const char *url = job->urls[i], *file = url_file(url), *path = strchr(strstr(url, "://") + 3, '/'); /* form_signature_url() */
            size_t len = (size_t)(file - url), path_len = path != NULL ? (size_t)(file - path) : 0;
            if (len > hidden && strncmp(from, url, len) == 0)
                hidden = len;
            else if (path_len > 1 && path_len > hidden && strncmp(from, path, path_len) == 0)
                hidden = path_len;
        }
        from += hidden;
        if (hidden == 0)
            *to++ = *from++;
    }
    *to = '\0';
}

/* Tells its words to the log; what: for those of a failure. 429 is none to freshclam, but there may be no file, or an old one. */
static bool run(const struct job *job, const char *what, const char *config, bool custom)
{
    int ends[2];
    char *option = xasprintf("--config-file=%s", config), *line = NULL, said[512] = "";
    size_t cap = 0;
    bool refused = false;
    if (pipe(ends) != 0)
        fatal("pipe: %s", strerror(errno));
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        run_child(job, option, custom, ends[1]);
    close(ends[1]);
    FILE *lines = fdopen(ends[0], "r");
    while (lines != NULL && getline(&line, &cap, lines) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        hide_keys(job, line);
        if (line[0] != '\0')
            say("log", "freshclam: %s", line);
        bool cool_down = strstr(line, "on cool-down until") != NULL, error = strncmp(line, "ERROR: ", 7) == 0;
        if ((cool_down || error) && said[0] == '\0')
            snprintf(said, sizeof said, "%.500s", error ? line + 7 : line);
        refused = refused || cool_down;
    }
    if (lines != NULL)
        fclose(lines);
    free(line);
    free(option);
    int status = -1;
    bool fine = pid >= 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 && !refused;
    if (!fine)
        say("trouble", "%s: %s", what, said[0] != '\0' ? said : "freshclam failed");
    return fine;
}

/* A configuration of which nothing is taken from /etc. `line` names the source. */
static bool fetch(const struct job *job, const char *db, const char *config, const char *what, const char *line, bool custom)
{
    const struct passwd *user = getpwuid(geteuid());
    FILE *file = fopen(config, "we");
    if (file == NULL || user == NULL) {
        say("trouble", "%s: %s", config, file == NULL ? strerror(errno) : "this user has no name");
        if (file != NULL)
            fclose(file);
        return false;
    }
    fprintf(file, "DatabaseDirectory %s\nDatabaseOwner %s\nScriptedUpdates yes\nTestDatabases no\nBytecode yes\nMaxAttempts 1\nConnectTimeout 30\n"
            "ReceiveTimeout 60\n%s", db, user->pw_name, line);
    if (fclose(file) == 0)
        return run(job, what, config, custom);
    say("trouble", "%s: %s", config, strerror(errno));
    return false;
}

/* What there is of it may be old, or missing: of signature_add() of functions/signatures.sql. What the site puts in its place is its own. */
static void doubt(const struct job *job, const char *name)
{
    char *own = xasprintf("%s/%s", job->folder, name);
    if (job->folder[0] == '\0' || access(own, F_OK) != 0)
        say("doubt", "%s", name);
    free(own);
}

static void fetch_all(const struct job *job, const char *db, const char *config)
{
    if (job->mirror_count > 0) {
        char *line = xstrdup("");
        for (size_t i = 0; i < job->mirror_count; i++) {
            char *more = xasprintf("%sDatabaseMirror %s\n", line, job->mirrors[i]);
            free(line);
            line = more;
        }
        if (!fetch(job, db, config, job->mirrors[0], line, false)) {
            doubt(job, "main.cvd");
            doubt(job, "daily.cvd");
            doubt(job, "bytecode.cvd");
        }
        free(line);
    }
    for (size_t i = 0; i < job->url_count; i++) { /* the mirror is not asked then, but must be there */
        char *line = xasprintf("DatabaseMirror localhost\nDatabaseCustomURL %s\n", job->urls[i]);
        if (!fetch(job, db, config, url_file(job->urls[i]), line, true))
            doubt(job, url_file(job->urls[i]));
        free(line);
    }
}

/* --- what they make together --- */

static bool copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    char *buffer = xmalloc(COPY_SIZE);
    ssize_t len = -1;
    struct stat st;
    while (in >= 0 && out >= 0 && (len = read(in, buffer, COPY_SIZE)) > 0)
        if (write(out, buffer, (size_t)len) != len) {
            len = -1;
            break;
        }
    if (len == 0 && fstat(in, &st) == 0)
        futimens(out, (struct timespec[]){ st.st_mtim, st.st_mtim });
    int error = errno;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    free(buffer);
    errno = error;
    return len == 0;
}

/* own: files of the site, which somebody may be writing right now: copied. freshclam's are replaced by others, never written. */
static bool gather(const char *from, const char *set, bool own)
{
    DIR *dir = opendir(from);
    bool fine = dir != NULL;
    if (dir == NULL)
        say("trouble", "%s: %s", from, strerror(errno));
    for (const struct dirent *entry; fine && (entry = readdir(dir)) != NULL;) {
        struct stat st;
        if (!signature_name_is_valid(entry->d_name) || fstatat(dirfd(dir), entry->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode))
            continue;
        char *source = xasprintf("%s/%s", from, entry->d_name), *target = xasprintf("%s/%s", set, entry->d_name);
        if (own && access(target, F_OK) == 0)
            say("log", "%s of signature_folder is taken in place of the mirror's", entry->d_name);
        if (own)
            unlink(target);
        fine = own ? copy_file(source, target) : link(source, target) == 0 || copy_file(source, target);
        if (!fine)
            say("trouble", "%s: %s", source, strerror(errno));
        free(source);
        free(target);
    }
    if (dir != NULL)
        closedir(dir);
    return fine;
}

/* Without the official ones of a mirror that was never reached there would be a set that finds nearly nothing. */
static bool is_complete(const struct job *job, const char *set)
{
    static const char *const names[] = { "main", "daily" };
    bool complete = true;
    for (size_t i = 0; job->mirror_count > 0 && complete && i < sizeof names / sizeof *names; i++) {
        char *cvd = xasprintf("%s/%s.cvd", set, names[i]), *cld = xasprintf("%s/%s.cld", set, names[i]);
        complete = access(cvd, F_OK) == 0 || access(cld, F_OK) == 0;
        if (!complete)
            say("trouble", "no %s signatures yet: no set is made without", names[i]);
        free(cvd);
        free(cld);
    }
    return complete;
}

static void tell_files(const struct job *job, const char *set)
{
    static struct signature_file files[SIGNATURE_FILES_MAX];
    struct error why;
    int count = signature_folder_read(set, files, job->size, &why);
    if (count < 0)
        say("trouble", "%s", why.text);
    for (int i = 0; i < count; i++)
        say("file", "%s %llu %llu %s", files[i].hash, (unsigned long long)files[i].size, (unsigned long long)files[i].time_ms, files[i].name);
}

int look_fetch(void)
{
    static struct job job;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_range(STDERR_FILENO + 1, ~0u, 0);
    signal(SIGINT, SIG_IGN); /* Ctrl-C is for the coordinator, whose end is ours */
    hear(&job);
    if (job.work == NULL || job.folder == NULL || job.freshclam == NULL || getppid() == 1)
        return EXIT_FAILURE;
    mkdir(job.work, 0700);
    char *set = make_folder(&job, "set"), *db = make_folder(&job, "db"), *run_dir = make_folder(&job, "run");
    char *config = xasprintf("%s/freshclam.conf", run_dir);
    umask(077);
    clean_folder(&job, db);
    fetch_all(&job, db, config);
    nftw(set, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(make_folder(&job, "set"));
    if (gather(db, set, false) && (job.folder[0] == '\0' || gather(job.folder, set, true)) && is_complete(&job, set))
        tell_files(&job, set);
    puts("end");
    fflush(stdout);
    free(config);
    free(run_dir);
    free(db);
    free(set);
    return EXIT_SUCCESS;
}
