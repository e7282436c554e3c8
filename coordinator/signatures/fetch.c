/*
 * fetch.c - the process that looks at the mirrors: freshclam, the site's own files, and what they make together
 *
 * Below signature_work: db/ is freshclam's, run/ has its configuration and what it remembers of each source, stored/ comes from the database (restore.h), set/ is
 * what the coordinator stores. Blocks as it likes. Every mirror or URL is a run of freshclam by itself, as it ends at the first that fails. Each has its own
 * freshclam.dat, in which a server that answered 429 has all be silent for hours: in one for all it would keep us from the others, too.
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
#include "coordinator/signatures/restore.h"
#include "coordinator/signatures/sources.h"

#define LINES_MAX 1024
#define COPY_SIZE (256u * 1024)
#define SAID_MAX  512

static const char *const officials[] = { "main.cvd", "daily.cvd", "bytecode.cvd" };

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

/* Whether it stays in freshclam's folder: what belongs to no mirror of the configuration any more would stay in the set for ever. */
static bool stays(const struct job *job, const char *name)
{
    return signature_name_is_valid(name) && source_is_wanted(name, job->mirror_count > 0, job->urls, job->url_count);
}

static void clean_folder(const struct job *job, const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || stays(job, entry->d_name))
            continue;
        char *victim = xasprintf("%s/%s", path, entry->d_name);
        nftw(victim, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        free(victim);
    }
    closedir(dir);
}

/* --- what the database had --- */

static bool is_of_hash(const char *path, const char *hash)
{
    char *bytes = xmalloc(COPY_SIZE), sum[SIGNATURE_HEX_LEN + 1];
    struct signature_sum *adding = signature_sum_new();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = -1;
    while (fd >= 0 && (len = read(fd, bytes, COPY_SIZE)) > 0)
        signature_sum_add(adding, bytes, (size_t)len);
    signature_sum_end(&adding, sum);
    if (fd >= 0)
        close(fd);
    free(bytes);
    return len == 0 && strncmp(sum, hash, SIGNATURE_HEX_LEN) == 0;
}

/* HASH.NAME of stored/ becomes NAME of freshclam's folder; its other form there is older. */
static void adopt(const struct job *job, const char *stored, const char *entry, const char *db)
{
    const char *name = strlen(entry) > SIGNATURE_HEX_LEN + 1 ? entry + SIGNATURE_HEX_LEN + 1 : "", *other = source_other_form(name);
    char *from = xasprintf("%s/%s", stored, entry), *to = xasprintf("%s/%s", db, name), *older = xasprintf("%s/%s", db, other != NULL ? other : "");
    if (stays(job, name) && is_of_hash(from, entry) && rename(from, to) == 0 && other != NULL)
        unlink(older);
    free(older);
    free(to);
    free(from);
}

static void adopt_all(const struct job *job, const char *db)
{
    char *stored = xasprintf("%s/" RESTORE_FOLDER, job->work);
    DIR *dir = opendir(stored);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        adopt(job, stored, entry->d_name, db);
    if (dir != NULL)
        closedir(dir);
    nftw(stored, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(stored);
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

struct piece {
    const char *text;
    size_t len;
};

/* What nobody is to read of a source: a user's name and password, and all before a file's name, alone as freshclam may tell it and with the host. */
static size_t secrets(const char *source, bool names_file, struct piece pieces[3])
{
    const char *host = strstr(source, "://");
    if (host == NULL || strncmp(source, "http", 4) != 0)
        return 0;
    host += 3;
    size_t count = 0, authority = strcspn(host, "/?#");
    const char *path = host + authority, *at = memrchr(host, '@', authority);
    size_t path_len = names_file ? (size_t)(source_file(source) - path) : strlen(path);
    if (at != NULL)
        pieces[count++] = (struct piece){ host, (size_t)(at + 1 - host) };
    if (path_len > 1)
        pieces[count++] = (struct piece){ path, path_len };
    if (count > 0 || names_file)
        pieces[count++] = (struct piece){ source, (size_t)(path - source) + path_len };
    return count;
}

static size_t longest(const char *source, bool names_file, const char *text)
{
    struct piece pieces[3];
    size_t found = 0, count = secrets(source, names_file, pieces);
    for (size_t i = 0; i < count; i++)
        if (pieces[i].len > found && strncmp(text, pieces[i].text, pieces[i].len) == 0)
            found = pieces[i].len;
    return found;
}

/* The longest that fits goes, as one URL may begin as another does. */
static void hide_keys(const struct job *job, char *line)
{
    char *to = line;
    for (const char *from = line; *from != '\0';) {
        size_t hidden = 0;
        for (size_t i = 0; i < job->url_count; i++) {
            size_t len = longest(job->urls[i], true, from);
            hidden = len > hidden ? len : hidden;
        }
        for (size_t i = 0; i < job->mirror_count; i++) {
            size_t len = longest(job->mirrors[i], false, from);
            hidden = len > hidden ? len : hidden;
        }
        from += hidden;
        if (hidden == 0)
            *to++ = *from++;
    }
    *to = '\0';
}

/* Tells its words to the log; said: those of a failure. 429 is none to freshclam, but there may be no file, or an old one. */
static bool run(const struct job *job, const char *config, bool custom, char said[SAID_MAX])
{
    int ends[2];
    char *option = xasprintf("--config-file=%s", config), *line = NULL;
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
            snprintf(said, SAID_MAX, "%.500s", error ? line + 7 : line);
        refused = refused || cool_down;
    }
    if (lines != NULL)
        fclose(lines);
    free(line);
    free(option);
    int status = -1;
    return pid >= 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 && !refused;
}

/* freshclam's memory of this source, which it reads and writes in its folder. false: why, in errno. */
static bool use_memory(const struct job *job, const char *db, const char *source)
{
    char hash[SIGNATURE_HEX_LEN + 1];
    struct signature_sum *sum = signature_sum_new();
    signature_sum_add(sum, source, strlen(source));
    signature_sum_end(&sum, hash);
    char *link_name = xasprintf("%s/freshclam.dat", db), *memory = xasprintf("%s/run/%.16s.dat", job->work, hash);
    bool fine = (unlink(link_name) == 0 || errno == ENOENT) && symlink(memory, link_name) == 0;
    free(memory);
    free(link_name);
    return fine;
}

/* A configuration of which nothing is taken from /etc. `lines` name the source. said: what failed. */
static bool fetch(const struct job *job, const char *db, const char *config, const char *source, const char *lines, bool custom, char said[SAID_MAX])
{
    const struct passwd *user = getpwuid(geteuid());
    FILE *file = fopen(config, "we");
    said[0] = '\0';
    if (file != NULL && user != NULL)
        fprintf(file, "DatabaseDirectory %s\nDatabaseOwner %s\nScriptedUpdates yes\nTestDatabases no\nBytecode yes\nMaxAttempts 1\nConnectTimeout 30\n"
                "ReceiveTimeout 60\n%s", db, user->pw_name, lines);
    bool written = file != NULL && fclose(file) == 0;
    if (user == NULL)
        snprintf(said, SAID_MAX, "this user has no name");
    else if (!written || !use_memory(job, db, source))
        snprintf(said, SAID_MAX, "%.200s: %s", written ? db : config, strerror(errno));
    else if (run(job, config, custom, said))
        return true;
    if (said[0] == '\0')
        snprintf(said, SAID_MAX, "freshclam failed");
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

/* The first mirror that has all of them; those before it that have not are told of only when none has. */
static void fetch_official(const struct job *job, const char *db, const char *config)
{
    char said[SAID_MAX], *troubles[LINES_MAX];
    size_t tried = 0;
    bool fine = false;
    for (; tried < job->mirror_count && !fine; tried++) {
        char *lines = xasprintf("DatabaseMirror %s\n", job->mirrors[tried]), *shown = signature_source_public(job->mirrors[tried]);
        fine = fetch(job, db, config, job->mirrors[tried], lines, false, said);
        troubles[tried] = xasprintf("%s: %s", shown, said);
        if (!fine)
            say("log", "%s", troubles[tried]);
        free(shown);
        free(lines);
    }
    for (size_t i = 0; i < tried; i++) {
        if (!fine)
            say("trouble", "%s", troubles[i]);
        free(troubles[i]);
    }
    for (size_t i = 0; i < sizeof officials / sizeof *officials && job->mirror_count > 0 && !fine; i++)
        doubt(job, officials[i]);
}

static void fetch_all(const struct job *job, const char *db, const char *config)
{
    char said[SAID_MAX];
    fetch_official(job, db, config);
    for (size_t i = 0; i < job->url_count; i++) { /* the mirror is not asked then, but must be there */
        char *lines = xasprintf("DatabaseMirror localhost\nDatabaseCustomURL %s\n", job->urls[i]);
        if (!fetch(job, db, config, job->urls[i], lines, true, said)) {
            say("trouble", "%s: %s", source_file(job->urls[i]), said);
            doubt(job, source_file(job->urls[i]));
        }
        free(lines);
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
    adopt_all(&job, db);
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
