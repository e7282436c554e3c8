/*
 * options.c - weirctl's command line
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/config.h"
#include "common/config_form.h"
#include "common/memory.h"
#include "coordinator/ctl/options.h"

#define TIMEOUT_DEFAULT_S 600

const struct verb options_verbs[] = {
    { "status", "", 0, 0, 0, "the cluster at a glance" },
    { "node list", "", 0, 0, 0, "every node with its state" },
    { "node show", "NODE", 1, 1, 0, "one node" },
    { "drain", "NODE", 1, 1, OPTION_WAIT | OPTION_FORCE | OPTION_NOW | OPTION_TIMEOUT,
      "let a node finish and take nothing new, an edge once it is out of the DNS, or --now; --wait until it is safe to stop" },
    { "undrain", "NODE", 1, 1, OPTION_WAIT | OPTION_TIMEOUT, "let it take work again; --wait until it does" },
    { "gc status", "", 0, 0, 0, "scanners' generations, and who has and waits for a turn to make a new one" },
    { "gc cancel", "", 0, 0, 0, "let nobody have a turn for gc that did not begin" },
    { "gc", "[NODE]", 0, 1, OPTION_WAIT | OPTION_TIMEOUT | OPTION_TURNS | OPTION_ALL, "make a new scanner generation: now, or --rolling when it is its turn, --all one after the other; --wait until it works" },
    { "dns push", "", 0, 0, OPTION_DRY_RUN | OPTION_TIMEOUT, "have the leader push these records to their name server; --dry-run: what nsupdate would be told" },
    { "dns", "", 0, 0, 0, "the addresses of the healthy edges, as records of a zone" },
    { "blocklist status", "", 0, 0, 0, "the site's own addresses in lists of the DNS" },
    { "blocklist check", "", 0, 0, OPTION_TIMEOUT, "have the leader look them up now" },
    { "trace", "ID|MESSAGE-ID|ADDRESS|LOGIN|IP", 1, 1, OPTION_LIMIT, "what became of a message, or of those of an address, a login or a client" },
    { "report", "[HOURS]", 0, 1, 0, "clients that tried to relay and may not, and those that sent viruses" },
    { "hosts list", "", 0, 0, OPTION_LIMIT | OPTION_UNREGISTERED, "inside hosts that send mail: seen, registered, whose, how much" },
    { "hosts show", "ADDRESS", 1, 1, 0, "one of them, by day" },
    { "hosts export", "", 0, 0, OPTION_POLICY | OPTION_FORMAT, "the registered ones, for a firewall" },
    { "outbound list", "", 0, 0, 0, "accounts and inside hosts that are slowed down or stopped, and why" },
    { "outbound show", "LOGIN|ADDRESS", 1, 1, 0, "what one of them sent, and what of it is held" },
    { "outbound pool", "LOGIN|ADDRESS NAME|-", 2, 2, OPTION_REASON, "let its mail go out from the addresses of [egress \"NAME\"] of the edges; -: from those of its kind again" },
    { "outbound release", "LOGIN|ADDRESS", 1, 1, OPTION_DELETE | OPTION_REASON, "let it send again; its held mail goes on, or is deleted" },
    { "outbreak list", "", 0, 0, 0, "attachments that many suddenly sent, and what operators said of them" },
    { "outbreak show", "HASH", 1, 1, 0, "one of them, and the mail that waits or waited for it; the hash's first eight digits will do" },
    { "outbreak release", "HASH", 1, 1, OPTION_REASON, "it is good: what waits is scanned again and delivered, and nothing more is held" },
    { "outbreak drop", "HASH", 1, 1, OPTION_REASON | OPTION_OUTBREAK, "delete what waits; --block: what comes within so long is as a virus" },
    { "hunt", "[HASH]", 0, 1, OPTION_OUTBREAK | OPTION_SINCE | OPTION_LIMIT, "who got an attachment, or what was found to be a virus of that name; 14 days back, or --since AGE" },
    { "override list", "", 0, 0, OPTION_ALL | OPTION_LIMIT, "what operators asked to be let through that waits for another one's approval, or --all that ever was" },
    { "override approve", "ID", 1, 1, 0, "let that be done, which another operator asked for" },
    { "override refuse", "ID", 1, 1, 0, "let it not be done" },
    { "account add", "LOGIN [SENDER]...", 1, 7, 0, "an account for AUTH; the password is asked for, or read from stdin" },
    { "account passwd", "LOGIN", 1, 1, 0, "another password" },
    { "account senders", "LOGIN SENDER...", 2, 7, 0, "whom it may send as from its next login on, instead of those before" },
    { "account list", "", 0, 0, 0, "accounts, and when they were used" },
    { "account disable", "LOGIN", 1, 1, 0, "let nobody in with it" },
    { "account enable", "LOGIN", 1, 1, 0, "let them in again" },
    { "account delete", "LOGIN", 1, 1, 0, "forget an account" },
    { "operator add", "NAME", 1, 1, 0, "let an operator log in at the dashboard, under the name of his key; the password is asked for, or read from stdin" },
    { "operator passwd", "NAME", 1, 1, 0, "another password; his logins end, and a wait after too many wrong ones" },
    { "operator list", "", 0, 0, 0, "who may log in at the dashboard, and when each did last" },
    { "operator delete", "NAME", 1, 1, 0, "let him log in no more; his key stays (keys revoke)" },
    { "keys generate", "FILE", 1, 1, OPTION_NO_CONFIG, "make a key file and print its public key" },
    { "keys add", "NAME ROLE HEX", 3, 3, OPTION_REASON, "let a key in as an edge, scanner, coordinator or operator" },
    { "keys list", "", 0, 0, 0, "keys, and who added and revoked them" },
    { "keys revoke", "NAME|HEX", 1, 1, OPTION_FORCE, "shut a key out; its connections end" },
    { "policy check", "DIR", 1, 1, OPTION_NO_CONFIG, "whether the files of DIR are a policy" },
    { "policy apply", "DIR", 1, 1, OPTION_COMMENT, "make the files of DIR the policy; shows the difference" },
    { "policy diff", "DIR|EPOCH [DIR|EPOCH]", 1, 2, 0, "lines taken out and put in, from one to the other; of one alone, from or to what is in force" },
    { "policy show", "[EPOCH]", 0, 1, 0, "the policy's files" },
    { "policy history", "", 0, 0, 0, "who applied what and when" },
    { "policy test", "FILE", 1, 1, OPTION_POLICY | OPTION_LISTENER, "whether each case of FILE is answered as it says" },
    { "policy rollback", "EPOCH", 1, 1, OPTION_FORCE, "make an earlier policy the newest" },
    { "quarantine list", "[ID]", 0, 1, OPTION_FILTERS | OPTION_QUARANTINE | OPTION_REASON | OPTION_LIMIT, "copies in the quarantine, newest first" },
    { "quarantine show", "ID[/COPY]", 1, 1, OPTION_RAW | OPTION_WHY, "one message there: its copies, symbols, header and text; --raw puts it into a file as it came" },
    { "quarantine release", "[ID[/COPY]]", 0, 1, OPTION_FILTERS | OPTION_QUARANTINE | OPTION_REASON | OPTION_FORCE | OPTION_DRY_RUN | OPTION_VIRUS | OPTION_WHY,
      "let copies go to their recipients, through another scan; --virus: whatever it finds" },
    { "quarantine delete", "[ID[/COPY]]", 0, 1, OPTION_FILTERS | OPTION_QUARANTINE | OPTION_REASON | OPTION_FORCE | OPTION_DRY_RUN | OPTION_WHY, "remove copies; nobody is told" },
    { "quarantine hold", "[ID[/COPY]]", 0, 1, OPTION_FILTERS | OPTION_QUARANTINE | OPTION_REASON | OPTION_FORCE | OPTION_DRY_RUN | OPTION_WHY, "put a legal hold on copies" },
    { "quarantine unhold", "[ID[/COPY]]", 0, 1, OPTION_FILTERS | OPTION_QUARANTINE | OPTION_REASON | OPTION_FORCE | OPTION_DRY_RUN | OPTION_WHY, "end it" },
    { "queue list", "[ID]", 0, 1, OPTION_FILTERS | OPTION_LIMIT, "mail in the spool, oldest first" },
    { "queue show", "ID", 1, 1, 0, "one message of the spool with its recipients and attempts" },
    { "queue hold", "[ID]", 0, 1, OPTION_FILTERS | OPTION_FORCE, "let mail rest until it is released" },
    { "queue release", "[ID]", 0, 1, OPTION_FILTERS | OPTION_FORCE, "let held mail go on" },
    { "queue retry", "[ID]", 0, 1, OPTION_FILTERS | OPTION_FORCE, "try mail now, and its destinations" },
    { "queue delete", "[ID]", 0, 1, OPTION_FILTERS | OPTION_FORCE, "remove mail, with --to for those recipients only; nobody is told" },
    { "queue bounce", "[ID]", 0, 1, OPTION_FILTERS | OPTION_FORCE, "send mail back to its senders, with --to for those recipients only" },
    { "relay explain", "CLIENT RECIPIENT", 2, 2, OPTION_POLICY | OPTION_AUTH | OPTION_SENDER | OPTION_LISTENER, "what an edge answers to a client's RCPT, and by which line" },
    { "relay test", "[HOST[:PORT]]", 0, 1, OPTION_PROBES | OPTION_TIMEOUT | OPTION_NO_CONFIG, "whether a server, or each listener of the edges, is an open relay: 0 closed, 1 open, 2 could not tell" },
    { "route explain", "ADDRESS", 1, 1, OPTION_POLICY, "where mail for an address goes, and by which line" },
    { "limit explain", "ADDRESS|PREFIX|ACCOUNT|DOMAIN", 1, 1, 0, "which lines of limits are about it, what is left for it, and when there is more" },
    { "limit reset", "ADDRESS|PREFIX|ACCOUNT|DOMAIN", 1, 1, 0, "fill the buckets of limits that it has" },
    { "reputation show", "[ADDRESS|PREFIX|ACCOUNT|host:HOST]", 0, 1, OPTION_LIMIT, "what was counted of it, or of the worst, and who is throttled or refused" },
    { "reputation explain", "ADDRESS|PREFIX|ACCOUNT|host:HOST", 1, 1, 0, "its counts, its score, what operators said, and what edges do with it now" },
    { "reputation set", "ADDRESS|PREFIX|ACCOUNT|host:HOST allow|throttle|reject", 2, 2, OPTION_OVERRIDE | OPTION_REASON, "what edges do with it whatever its score is, until it expires" },
    { "reputation forget", "[ADDRESS|PREFIX|ACCOUNT|host:HOST]", 0, 1, OPTION_ALL | OPTION_SINCE | OPTION_REASON,
      "what was counted of it, and what was set; or the counts of --all, or of those of whom something was counted --since AGE" },
    { "verify show", "ADDRESS|@DOMAIN", 1, 1, 0, "what next hops said of recipients, and until when it counts" },
    { "verify forget", "ADDRESS|@DOMAIN", 1, 1, 0, "let them be asked anew; edges have forgotten after verify_memory_time" },
    { "signatures status", "", 0, 0, 0, "sets of virus signatures, which of them scanners use, and how old they are" },
    { "signatures update", "", 0, 0, OPTION_RETRY, "look at the mirrors now; --retry tries the set that failed last again" },
    { "signatures rollback", "[SET]", 0, 1, 0, "go back to the set before, or to SET; what is left is not taken again" },
    { "signatures pin", "SET", 1, 1, 0, "use SET and nothing newer" },
    { "signatures unpin", "", 0, 0, 0, "follow the mirrors again" },
    { "learn spam", "FILE|MBOX|-", 1, 1, OPTION_TIMEOUT, "teach the native spam engine, in the whole cluster, that this is spam" },
    { "learn ham", "FILE|MBOX|-", 1, 1, OPTION_TIMEOUT, "that it is not" },
    { "learn list", "", 0, 0, OPTION_BY | OPTION_LIMIT, "what it was taught, newest first: by whom, as what, and what came of it" },
    { "learn undo", "[NUMBER]", 0, 1, OPTION_BY, "take one of these back, or all --by one, or --by @DOMAIN" },
    { "learn status", "", 0, 0, 0, "the model that came of it" },
    { "score", "FILE [CLIENT]", 1, 2, OPTION_SENDER | OPTION_TIMEOUT | OPTION_LOCAL,
      "what the spam engines of a scanner say of a message, symbol by symbol; --local: those of [spam] here, asked from this machine, and nothing that was learned" },
    { "exception list", "", 0, 0, OPTION_POLICY, "who has other limits, why, and until when" },
    { "config check", "", 0, 0, 0, "whether the configuration is right" },
    { "config show", "", 0, 0, OPTION_DEFAULTS | OPTION_CHANGED, "effective values and where each came from" },
    { "history", "", 0, 0, OPTION_LIMIT, "what operators did" },
    { .name = NULL },
};

struct flag {
    const char *name;
    enum option_flag flag;
    bool takes_value;
};

static const struct flag flags[] = {
    { "--wait", OPTION_WAIT, false },         { "--force", OPTION_FORCE, false },
    { "--timeout", OPTION_TIMEOUT, true },    { "--comment", OPTION_COMMENT, true },
    { "--dry-run", OPTION_DRY_RUN, false },   { "--now", OPTION_NOW, false },
    { "--defaults", OPTION_DEFAULTS, false }, { "--changed", OPTION_CHANGED, false },
    { "--limit", OPTION_LIMIT, true },        { "--policy", OPTION_POLICY, true },
    { "--auth", OPTION_AUTH, false },         { "--sender", OPTION_SENDER, true },
    { "--login", OPTION_SENDER, true },       { "--listener", OPTION_LISTENER, true },
    { "--domain", OPTION_PROBES, true },      { "--outside", OPTION_PROBES, true },
    { "--unregistered", OPTION_UNREGISTERED, false }, { "--delete", OPTION_DELETE, false }, { "--format", OPTION_FORMAT, true },
    { "--retry", OPTION_RETRY, false },
    { "--from-address", OPTION_PROBES, true }, { "--client", OPTION_PROBES, true },
    { "--all", OPTION_ALL, false },           { "--rolling", OPTION_TURNS, false },
    { "--since", OPTION_SINCE, true },
    { "--block", OPTION_OUTBREAK, true },   { "--signature", OPTION_OUTBREAK, true },
    { "--reason", OPTION_REASON, true },    { "--expires", OPTION_OVERRIDE, true },
    { "--owner", OPTION_OVERRIDE, true },
    { "--score", OPTION_QUARANTINE, true }, { "--why", OPTION_WHY, true },
    { "--virus", OPTION_VIRUS, false },     { "--raw", OPTION_RAW, true },
    { "--by", OPTION_BY, true },            { "--local", OPTION_LOCAL, false },
};

static const char *const filter_names[FILTERS] = {
    [FILTER_FROM] = "--from",   [FILTER_TO] = "--to",
    [FILTER_STATE] = "--state", [FILTER_OLDER] = "--older",
    [FILTER_DESTINATION] = "--destination",
};

static bool parse_number(unsigned *out, const char *option, const char *text, struct error *why)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value == 0 || value > 1000000) {
        error_set(why, "%s %s: a number from 1 to 1000000 is needed", option, text);
        return false;
    }
    *out = (unsigned)value;
    return true;
}

/* --name VALUE or --name=VALUE or -n VALUE: the value, moving *at over it. NULL: not this option, or (why set) without
 * a value. */
static const char *value_of(const char *name, int argc, char *const *argv, int *at, struct error *why)
{
    size_t len = strlen(name);
    if (strncmp(argv[*at], name, len) == 0 && argv[*at][len] == '=' && len > 2)
        return argv[*at] + len + 1;
    if (strcmp(argv[*at], name) != 0)
        return NULL;
    if (*at + 1 == argc) {
        error_set(why, "%s needs a value", name);
        return NULL;
    }
    return argv[++*at];
}

/* What of `relay test` is a name or an address. */
static bool take_probes(struct options *options, const char *name, const char *value, struct error *why)
{
    struct error reason;
    bool domain = strcmp(name, "--domain") == 0, client = strcmp(name, "--client") == 0;
    if (domain || strcmp(name, "--outside") == 0) {
        *(domain ? &options->domain : &options->outside) = value;
        if (form_host(value, &reason))
            return true;
        error_set(why, "%s %s: %s", name, value, reason.text);
        return false;
    }
    if (netaddr_parse(client ? &options->client : &options->from_address, value))
        return true;
    error_set(why, "%s %s: an IP address is needed, as 192.0.2.7 or 2001:db8::7", name, value);
    return false;
}

static bool take_format(struct options *options, const char *value, struct error *why)
{
    options->nftables = strcmp(value, "nftables") == 0;
    if (options->nftables || strcmp(value, "cidr") == 0)
        return true;
    error_set(why, "--format %s: cidr or nftables is needed", value);
    return false;
}

static void take_override(struct options *options, const char *name, const char *value)
{
    *(strcmp(name, "--reason") == 0    ? &options->reason
      : strcmp(name, "--expires") == 0 ? &options->expires
                                       : &options->owner) = value;
}

static bool parse_flag(struct options *options, int argc, char *const *argv, int *at, bool *found, struct error *why)
{
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        const struct flag *flag = &flags[i];
        const char *value = NULL;
        if (flag->takes_value)
            value = value_of(flag->name, argc, argv, at, why);
        if (flag->takes_value ? value == NULL : strcmp(argv[*at], flag->name) != 0)
            continue;
        *found = true;
        options->given |= flag->flag;
        if (flag->flag == OPTION_COMMENT)
            options->comment = value;
        if (flag->flag == OPTION_POLICY)
            options->policy = value;
        if (flag->flag == OPTION_LISTENER)
            options->listener = value;
        if (flag->flag == OPTION_SENDER)
            *(strcmp(flag->name, "--login") == 0 ? &options->login : &options->sender) = value;
        if (flag->flag == OPTION_TURNS)
            options->rolling = true;
        if (flag->flag == OPTION_ALL)
            options->all = true;
        if (flag->flag == OPTION_SINCE)
            options->since = value;
        if (flag->flag == OPTION_OUTBREAK)
            *(strcmp(flag->name, "--block") == 0 ? &options->block : &options->signature) = value;
        if (flag->flag == OPTION_QUARANTINE)
            options->score = value;
        if (flag->flag == OPTION_WHY)
            options->why = value;
        if (flag->flag == OPTION_BY)
            options->by = value;
        if (flag->flag == OPTION_RAW)
            options->raw = value;
        if (flag->flag == OPTION_VIRUS)
            options->virus = true;
        if (flag->flag & (OPTION_OVERRIDE | OPTION_REASON))
            take_override(options, flag->name, value);
        if (flag->flag == OPTION_PROBES)
            return take_probes(options, flag->name, value, why);
        if (flag->flag == OPTION_FORMAT)
            return take_format(options, value, why);
        if (flag->flag == OPTION_TIMEOUT)
            return parse_number(&options->timeout_s, flag->name, value, why);
        if (flag->flag == OPTION_LIMIT)
            return parse_number(&options->limit, flag->name, value, why);
        return true;
    }
    return true;
}

static bool parse_filter(struct options *options, int argc, char *const *argv, int *at, bool *found, struct error *why)
{
    for (size_t i = 0; i < FILTERS && !*found; i++) {
        const char *value = value_of(filter_names[i], argc, argv, at, why);
        if (value == NULL && why->text[0] != '\0')
            return false;
        if (value == NULL)
            continue;
        if (*value == '\0') {
            error_set(why, "%s needs a value", filter_names[i]);
            return false;
        }
        options->filters[i] = value;
        options->given |= OPTION_FILTERS;
        *found = true;
    }
    return true;
}

static bool parse_option(struct options *options, int argc, char *const *argv, int *at, struct error *why)
{
    const char *word = argv[*at], *value;
    why->text[0] = '\0';
    bool found = false;
    if ((value = value_of("-c", argc, argv, at, why)) != NULL) {
        options->config_path = value;
    } else if ((value = value_of("--key", argc, argv, at, why)) != NULL) {
        options->key_file = value;
    } else if ((value = value_of("--set", argc, argv, at, why)) != NULL) {
        options->overrides = xrealloc(options->overrides, (options->override_count + 1) * sizeof *options->overrides);
        options->overrides[options->override_count++] = (char *)(uintptr_t)value;
    } else if (strcmp(word, "--json") == 0) {
        options->json = true;
    } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        options->help = true;
    } else if (strcmp(word, "--version") == 0) {
        options->version = true;
    } else {
        if (!parse_flag(options, argc, argv, at, &found, why) || !parse_filter(options, argc, argv, at, &found, why))
            return false;
        if (!found && why->text[0] == '\0')
            error_set(why, "unknown option %s; weirctl --help lists them", word);
        return found;
    }
    return true;
}

static size_t common_prefix(const char *a, const char *b)
{
    size_t len = 0;
    while (a[len] != '\0' && a[len] == b[len])
        len++;
    return len;
}

static bool find_verb(struct options *options, const char *const *words, size_t count, size_t *used, struct error *why)
{
    if (count == 0) {
        error_set(why, "what is to be done? weirctl --help lists the verbs");
        return false;
    }
    const struct verb *nearest = NULL;
    size_t best = 2;
    char *two = xasprintf("%s %s", words[0], count > 1 ? words[1] : "");
    for (const struct verb *verb = options_verbs; verb->name != NULL; verb++) {
        if (strcmp(verb->name, words[0]) == 0 || strcmp(verb->name, two) == 0) {
            *used = strcmp(verb->name, words[0]) == 0 ? 1 : 2;
            options->verb = verb;
            free(two);
            return true;
        }
        size_t same = common_prefix(verb->name, two);
        if (same > best) {
            best = same;
            nearest = verb;
        }
    }
    error_set(why, "weirctl knows no \"%s%s%s\"%s%s%s weirctl --help lists the verbs", words[0], count > 1 ? " " : "",
              count > 1 ? words[1] : "", nearest != NULL ? "; did you mean \"" : ";",
              nearest != NULL ? nearest->name : "", nearest != NULL ? "\"?" : "");
    free(two);
    return false;
}

static bool check_flags(const struct options *options, struct error *why)
{
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if ((options->given & flags[i].flag) && !(options->verb->flags & flags[i].flag)) {
            error_set(why, "%s takes no %s", options->verb->name, flags[i].name);
            return false;
        }
    }
    if ((options->given & OPTION_FILTERS) && !(options->verb->flags & OPTION_FILTERS)) {
        error_set(why, "%s takes no --from, --to, --state, --older or --destination", options->verb->name);
        return false;
    }
    if (options->listener != NULL && options->config_path == NULL) {
        error_set(why, "--listener %s: -c FILE is missing: the configuration has the listeners", options->listener);
        return false;
    }
    if ((options->given & OPTION_DEFAULTS) && (options->given & OPTION_CHANGED)) {
        error_set(why, "--defaults or --changed, not both");
        return false;
    }
    return true;
}

/* One scanner, or all. */
static bool check_turns(const struct options *options, struct error *why)
{
    if (!(options->verb->flags & OPTION_TURNS) || options->all == (options->arg_count == 0))
        return true;
    error_set(why, "%s takes the name of a scanner, or --all", options->verb->name);
    return false;
}

/* The coordinator would hand it to PostgreSQL, whose words say nothing of epochs. */
static bool check_epoch(const struct options *options, struct error *why)
{
    const char *epoch = options->args[0];
    if (options->arg_count == 0 || strstr(options->verb->arguments, "EPOCH") == NULL || strncmp(options->verb->arguments, "DIR", 3) == 0)
        return true;
    size_t digits = strspn(epoch, "0123456789");
    if (digits > 0 && digits <= 18 && epoch[digits] == '\0')
        return true;
    error_set(why, "%s %s: an epoch is a number; weirctl policy history lists them", options->verb->name, epoch);
    return false;
}

/* What weirctl override list numbers. */
static bool check_override_id(const struct options *options, struct error *why)
{
    if (options->arg_count == 0 || strcmp(options->verb->arguments, "ID") != 0 || strncmp(options->verb->name, "override ", 9) != 0)
        return true;
    size_t digits = strspn(options->args[0], "0123456789");
    if (digits > 0 && digits <= 18 && options->args[0][digits] == '\0')
        return true;
    error_set(why, "%s %s: a number is needed; weirctl override list has them", options->verb->name, options->args[0]);
    return false;
}

static bool check_hours(const struct options *options, struct error *why)
{
    unsigned hours;
    return options->arg_count == 0 || strcmp(options->verb->arguments, "[HOURS]") != 0 ||
           parse_number(&hours, options->verb->name, options->args[0], why);
}

/* PostgreSQL would take much more for an age, and what is not positive for the age of everything. */
static bool check_age(const struct options *options, struct error *why)
{
    const char *age = options->filters[FILTER_OLDER];
    uint64_t ms;
    if (age == NULL || (config_parse_duration(age, &ms) && ms > 0))
        return true;
    error_set(why, "--older %s: an age with its unit is needed, as 10m, 2h, 3d", age);
    return false;
}

/* One, or many: never everybody because a name was left out. */
static bool check_forgotten(const struct options *options, struct error *why)
{
    uint64_t ms;
    if (!(options->verb->flags & OPTION_SINCE))
        return true;
    if ((options->verb->flags & OPTION_ALL) && (options->arg_count > 0) + options->all + (options->since != NULL) != 1) {
        error_set(why, "%s takes one address, prefix or account, or --all, or --since AGE", options->verb->name);
        return false;
    }
    if (options->arg_count == 0 && options->reason != NULL) {
        error_set(why, "%s takes --reason with one address, prefix or account only", options->verb->name);
        return false;
    }
    if (options->since == NULL || (config_parse_duration(options->since, &ms) && ms > 0))
        return true;
    error_set(why, "--since %s: an age with its unit is needed, as 10m, 2h, 3d", options->since);
    return false;
}

static bool check_outbreak(const struct options *options, struct error *why)
{
    uint64_t ms;
    bool hunts = strcmp(options->verb->name, "hunt") == 0, judges = strncmp(options->verb->name, "outbreak ", 9) == 0 && (options->verb->flags & OPTION_REASON);
    if (hunts ? options->block != NULL : options->signature != NULL) {
        error_set(why, "%s takes no %s", options->verb->name, hunts ? "--block" : "--signature");
        return false;
    }
    if (hunts && (options->arg_count > 0) == (options->signature != NULL)) {
        error_set(why, "%s takes the hash of an attachment, or --signature NAME", options->verb->name);
        return false;
    }
    if (judges && (options->reason == NULL || *options->reason == '\0')) {
        error_set(why, "%s needs --reason TEXT", options->verb->name);
        return false;
    }
    if (options->block == NULL || (config_parse_duration(options->block, &ms) && ms > 0))
        return true;
    error_set(why, "--block %s: a time with its unit is needed, as 10m, 2h, 3d", options->block);
    return false;
}

/* Nobody has to remember why it was said, or to take it back. */
static bool check_override(const struct options *options, struct error *why)
{
    uint64_t ms;
    if (!(options->verb->flags & OPTION_OVERRIDE))
        return true;
    if (options->reason == NULL || *options->reason == '\0' || options->expires == NULL) {
        error_set(why, "%s needs --reason TEXT and --expires AGE", options->verb->name);
        return false;
    }
    if (config_parse_duration(options->expires, &ms) && ms > 0)
        return true;
    error_set(why, "--expires %s: a time with its unit is needed, as 10m, 2h, 3d", options->expires);
    return false;
}

/* Copies have no destination yet, and who takes a message out in a file says why. */
static bool check_quarantine(const struct options *options, struct error *why)
{
    if ((options->verb->flags & OPTION_QUARANTINE) && options->filters[FILTER_DESTINATION] != NULL) {
        error_set(why, "%s takes no --destination", options->verb->name);
        return false;
    }
    if (options->raw == NULL || (options->why != NULL && *options->why != '\0'))
        return true;
    error_set(why, "--raw %s: --why TEXT is needed, which is written down", options->raw);
    return false;
}

char *options_usage(const struct verb *verb)
{
    return xasprintf("%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s", verb->name, verb->flags & OPTION_RETRY ? " [--retry]" : "", verb->flags & OPTION_TURNS ? " [--all|--rolling]" : "",
                     verb->flags & OPTION_OUTBREAK ? (verb->flags & OPTION_SINCE ? " [--signature NAME] [--since AGE]" : " [--block AGE]") : verb->flags & OPTION_SINCE ? " [--all|--since AGE]" : "", verb->flags & OPTION_WAIT ? " [--wait]" : "",
                     verb->flags & OPTION_TIMEOUT ? " [--timeout S]" : "", verb->flags & OPTION_FORCE ? " [--force]" : "",
                     verb->flags & OPTION_NOW ? " [--now]" : "", verb->flags & OPTION_DRY_RUN ? " [--dry-run]" : "",
                     verb->flags & OPTION_FILTERS ? " [FILTER]" : "", verb->flags & OPTION_COMMENT ? " [--comment TEXT]" : "",
                     verb->flags & OPTION_LIMIT ? " [--limit N]" : "", verb->flags & OPTION_POLICY ? " [--policy DIR]" : "",
                     verb->flags & OPTION_AUTH ? " [--auth]" : "", verb->flags & OPTION_SENDER ? " [--sender ADDRESS] [--login LOGIN]" : "",
                     verb->flags & OPTION_LISTENER ? " [--listener NAME]" : "",
                     verb->flags & OPTION_PROBES ? " [--domain OWN] [--outside DOMAIN] [--from-address IP] [--client IP]" : "",
                     verb->flags & OPTION_UNREGISTERED ? " [--unregistered]" : "", verb->flags & OPTION_DELETE ? " [--delete]" : "", verb->flags & OPTION_FORMAT ? " [--format cidr|nftables]" : "",
                     verb->flags & OPTION_OVERRIDE ? " --reason TEXT --expires AGE [--owner WHO]" : verb->flags & OPTION_QUARANTINE ? " [--reason REASON] [--score LEAST]" : verb->flags & OPTION_REASON ? " [--reason TEXT]" : "",
                     verb->flags & OPTION_RAW ? " [--raw FILE]" : "", verb->flags & OPTION_VIRUS ? " [--virus]" : "", verb->flags & OPTION_WHY ? " [--why TEXT]" : "",
                     verb->flags & OPTION_DEFAULTS ? " [--defaults|--changed]" : "", verb->arguments[0] != '\0' ? " " : "", verb->arguments);
}

bool options_parse(struct options *options, int argc, char *const *argv, struct error *why)
{
    const char *words[OPTIONS_ARGS_MAX + 2];
    size_t count = 0, used = 0;
    bool only_words = false;
    *options = (struct options){ .timeout_s = TIMEOUT_DEFAULT_S };
    for (int at = 1; at < argc; at++) {
        if (!only_words && strcmp(argv[at], "--") == 0) {
            only_words = true;
        } else if (!only_words && argv[at][0] == '-' && argv[at][1] != '\0') {
            if (!parse_option(options, argc, argv, &at, why))
                return false;
        } else if (count == sizeof words / sizeof *words) {
            error_set(why, "too many arguments");
            return false;
        } else {
            words[count++] = argv[at];
        }
    }
    if (options->help || options->version)
        return true;
    if (!find_verb(options, words, count, &used, why) || !check_flags(options, why))
        return false;
    const struct verb *verb = options->verb;
    if (count - used < verb->min_args || count - used > verb->max_args) {
        char *usage = options_usage(verb);
        error_set(why, "usage: weirctl %s%s", verb->flags & OPTION_NO_CONFIG ? "" : "-c FILE ", usage);
        free(usage);
        return false;
    }
    while (used < count)
        options->args[options->arg_count++] = words[used++];
    if (!check_turns(options, why) || !check_epoch(options, why) || !check_override_id(options, why) || !check_hours(options, why) || !check_age(options, why) ||
        !check_forgotten(options, why) || !check_override(options, why) || !check_outbreak(options, why) || !check_quarantine(options, why))
        return false;
    bool asks_cluster = !(verb->flags & OPTION_NO_CONFIG) || ((verb->flags & OPTION_PROBES) && options->arg_count == 0);
    if (options->config_path == NULL && asks_cluster && options->policy == NULL) {
        error_set(why, "-c FILE is missing: the configuration says where the coordinators are");
        return false;
    }
    return true;
}

void options_clear(struct options *options)
{
    free(options->overrides);
    *options = (struct options){ 0 };
}
