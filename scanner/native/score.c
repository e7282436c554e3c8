/*
 * score.c - weir-score: the native engine by itself, for measurements
 *
 *     weir-score [--symbols] [--repeat N] [--model FILE] < PATHS > SCORES
 *     weir-score --parts < PATHS
 *     weir-score --train FILE < "ham PATH" and "spam PATH" a line
 *
 * Reads a path a line, writes "path<TAB>score" (0 to 100), with --symbols a third column. Nothing is known of the envelope.
 * --parts writes what scanner/mime makes of each: the path, then a line for each part: depth, type, file name and text, with \n, \t, \r and \\ escaped.
 * --train makes a model of the messages; the same list makes the same model.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/memory.h"
#include "scanner/native/native.h"

struct bytes {
    char *data;
    size_t len;
};

struct work {
    uint64_t took, messages, bytes;
};

static struct bytes read_file(const char *path)
{
    struct bytes file = { 0 };
    FILE *in = fopen(path, "rbe");
    if (in == NULL) {
        fprintf(stderr, "weir-score: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    size_t room = 0, got;
    do {
        if (room - file.len < 65536)
            file.data = xrealloc(file.data, room += 1 << 18);
        got = fread(file.data + file.len, 1, room - file.len, in);
        file.len += got;
    } while (got > 0);
    fclose(in);
    return file;
}

static void print_symbols(const struct native_result *result)
{
    putchar('\t');
    for (size_t i = 0; i < result->symbol_count; i++)
        printf("%s%s=%g", i == 0 ? "" : " ", result->symbols[i].name, result->symbols[i].weight / 100.0);
}

static void score_one(struct native *native, const struct native_model *model, const char *path, bool symbols, unsigned long repeat, struct work *work)
{
    static struct native_result result;
    static const struct native_facts facts;
    struct bytes file = read_file(path);
    uint64_t start = clock_us();
    for (unsigned long i = 0; i < repeat; i++)
        native_score(native, &facts, model, file.data, file.len, &result);
    work->took += clock_us() - start;
    work->messages += repeat;
    work->bytes += repeat * file.len;
    printf("%s\t%g", path, result.score / 100.0);
    if (symbols)
        print_symbols(&result);
    putchar('\n');
    free(file.data);
}

static void print_escaped(struct mime_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        static const char marks[] = "\n\t\r\\", names[] = "ntr\\";
        const char *found = text.bytes[i] == '\0' ? NULL : strchr(marks, text.bytes[i]);
        if (found != NULL)
            printf("\\%c", names[found - marks]);
        else
            putchar(text.bytes[i]);
    }
}

static void print_parts(struct mime_parser *parser, const char *path)
{
    struct bytes file = read_file(path);
    const struct mime_message *message = mime_parse(parser, file.data, file.len);
    printf("%s\n", path);
    for (size_t i = 0; i < message->part_count; i++) {
        const struct mime_part *part = &message->parts[i];
        printf("\t%u\t%.*s/%.*s\t", part->depth, (int)part->type.len, part->type.bytes, (int)part->subtype.len, part->subtype.bytes);
        print_escaped(part->file_name);
        putchar('\t');
        print_escaped(part->text);
        putchar('\n');
    }
    free(file.data);
}

/* The newest of each class, on which the model is tried. */
struct newest {
    struct native_features features[NATIVE_CLASSES][NATIVE_TRIAL_MOST];
    size_t learned[NATIVE_CLASSES];
};

static void learn_one(struct native *native, struct native_model *model, struct newest *newest, const char *line)
{
    static const struct native_facts facts;
    bool spam = strncmp(line, "spam ", 5) == 0;
    if (!spam && strncmp(line, "ham ", 4) != 0) {
        fprintf(stderr, "weir-score: not \"ham PATH\" or \"spam PATH\": %s\n", line);
        exit(65);
    }
    struct bytes file = read_file(line + (spam ? 5 : 4));
    enum native_class class = spam ? CLASS_SPAM : CLASS_HAM;
    struct native_features *features = &newest->features[class][newest->learned[class]++ % NATIVE_TRIAL_MOST];
    native_take_features(native, &facts, file.data, file.len, features);
    native_model_learn(model, features, 0, class);
    free(file.data);
}

static void try_model(struct native_model *model, const struct newest *newest)
{
    struct native_trial *trial = xcalloc(1, sizeof *trial);
    for (int class = 0; class < NATIVE_CLASSES; class++)
        for (size_t i = 0; i < newest->learned[class] && i < NATIVE_TRIAL_MOST; i++)
            native_trial_add(trial, model, &newest->features[class][i], (enum native_class)class);
    native_trial_end(trial, model);
    free(trial);
}

static void save(const struct native_model *model, const char *path)
{
    FILE *out = fopen(path, "wbe");
    if (out == NULL || fwrite(model, sizeof *model, 1, out) != 1 || fclose(out) != 0) {
        fprintf(stderr, "weir-score: %s: %s\n", path, strerror(errno));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "symbols", no_argument, NULL, 's' },
                                             { "repeat", required_argument, NULL, 'r' },
                                             { "model", required_argument, NULL, 'm' },
                                             { "parts", no_argument, NULL, 'p' },
                                             { "train", required_argument, NULL, 't' },
                                             { 0 } };
    bool symbols = false, parts = false;
    unsigned long repeat = 1;
    const char *model_path = NULL, *train_path = NULL;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 's')
            symbols = true;
        else if (c == 'p')
            parts = true;
        else if (c == 'r')
            repeat = strtoul(optarg, NULL, 10);
        else if (c == 'm')
            model_path = optarg;
        else if (c == 't')
            train_path = optarg;
        else
            return 64;
    }
    struct bytes stored = model_path != NULL ? read_file(model_path) : (struct bytes){ 0 };
    const char *why = "";
    const struct native_model *model = model_path != NULL ? native_model_open(stored.data, stored.len, &why) : NULL;
    if (model_path != NULL && model == NULL) {
        fprintf(stderr, "weir-score: %s: %s\n", model_path, why);
        return 65;
    }
    struct native_model *trained = xmalloc(sizeof *trained);
    struct newest *newest = xcalloc(1, sizeof *newest);
    native_model_init(trained);
    struct native *native = native_new(&MIME_LIMITS_DEFAULT);
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    struct work work = { 0 };
    char *line = NULL;
    size_t room = 0;
    for (ssize_t len; (len = getline(&line, &room, stdin)) > 0;) {
        line[len - (line[len - 1] == '\n')] = '\0';
        if (train_path != NULL)
            learn_one(native, trained, newest, line);
        else if (parts)
            print_parts(parser, line);
        else
            score_one(native, model, line, symbols, repeat, &work);
    }
    if (train_path != NULL) {
        try_model(trained, newest);
        save(trained, train_path);
    }
    if (repeat > 1 && work.messages > 0)
        fprintf(stderr, "%llu messages of %llu bytes on average: %.1f us each\n", (unsigned long long)work.messages, (unsigned long long)(work.bytes / work.messages),
                (double)work.took / (double)work.messages);
    free(line);
    free(trained);
    free(newest);
    free(stored.data);
    mime_parser_free(&parser);
    native_free(&native);
    return 0;
}
