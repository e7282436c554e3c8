/*
 * model.c - see model.h; the combination of features is Fisher's, as Robinson proposed it for mail and SpamBayes and bogofilter have it
 *
 * Both ends are asked: how unlikely the features are in ham, and in spam. Where both say no, or neither, nothing is known. A sum of log-odds knows
 * no such thing, and is sure of itself on every foreign site's mail.
 */
#include "scanner/native/model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "scanner/native/native.h"

#define MAGIC UINT32_C(0x4d4e5257) /* "WRNM" */
#define STRONGEST 150   /* features that are listened to */
#define WEAK 0.1        /* those nearer to 0.5 say nothing */
#define PRIOR 0.3       /* how many messages the opinion 0.5 is worth */
#define FULL_CLASS 50   /* messages of each class below which the whole is damped */
#define FULL_LANGUAGE 10 /* and of each class in the message's language, below which its words are */
#define SPAM_LOGIT 3.476 /* of p = 0.97 */
#define MOST_SPAM 6000
#define MOST_HAM 1000

void native_model_init(struct native_model *model)
{
    memset(model, 0, sizeof *model);
    model->magic = MAGIC;
    model->version = NATIVE_MODEL_VERSION;
}

const struct native_model *native_model_open(const void *bytes, size_t len)
{
    const struct native_model *model = bytes;
    return len == sizeof *model && (uintptr_t)bytes % sizeof(uint32_t) == 0 && model->magic == MAGIC && model->version == NATIVE_MODEL_VERSION ? model : NULL;
}

static void count(uint32_t *value, bool up)
{
    if (up)
        *value += *value < UINT32_MAX ? 1 : 0;
    else
        *value -= *value > 0 ? 1 : 0;
}

static void change(struct native_model *model, const struct native_features *features, enum native_class class, bool up)
{
    count(&model->messages[class], up);
    count(&model->languages[features->language][class], up);
    for (size_t i = 0; i < features->count; i++)
        count(&model->counts[features->buckets[i] % NATIVE_BUCKETS][class], up);
}

void native_model_learn(struct native_model *model, const struct native_features *features, enum native_class class)
{
    change(model, features, class, true);
}

void native_model_unlearn(struct native_model *model, const struct native_features *features, enum native_class class)
{
    change(model, features, class, false);
}

/* Tail of the chi-square distribution for an even number of degrees of freedom, of x = 2 * half. */
static double chi_square_tail(double half, size_t pairs)
{
    double term = exp(-half), sum = term;
    for (size_t i = 1; i < pairs; i++) {
        term *= half / (double)i;
        sum += term;
    }
    return sum < 1 ? sum : 1;
}

static double share(uint32_t part, uint32_t whole)
{
    return part < whole ? (double)part / whole : 1;
}

static double least(uint32_t a, uint32_t b, double full)
{
    double smaller = a < b ? a : b;
    return smaller < full ? smaller / full : 1;
}

/* How spammy one feature is: by shares of each class, so that it does not matter of which there is more; drawn to 0.5 where little was seen. */
static double opinion(const struct native_model *model, uint32_t bucket)
{
    const uint32_t *counts = model->counts[bucket % NATIVE_BUCKETS];
    double seen = (double)counts[CLASS_HAM] + counts[CLASS_SPAM];
    if (seen == 0)
        return 0.5;
    double ham = share(counts[CLASS_HAM], model->messages[CLASS_HAM]), spam = share(counts[CLASS_SPAM], model->messages[CLASS_SPAM]);
    return (PRIOR * 0.5 + seen * spam / (ham + spam)) / (PRIOR + seen);
}

static int compare_strength(const void *a, const void *b)
{
    double x = fabs(*(const double *)a - 0.5), y = fabs(*(const double *)b - 0.5);
    return (x < y) - (x > y);
}

static double combine(double *opinions, size_t count_of)
{
    if (count_of > STRONGEST) {
        qsort(opinions, count_of, sizeof *opinions, compare_strength);
        count_of = STRONGEST;
    }
    double ham = 0, spam = 0;
    for (size_t i = 0; i < count_of; i++) {
        spam -= log(1 - opinions[i]);
        ham -= log(opinions[i]);
    }
    return count_of == 0 ? 0.5 : (1 + chi_square_tail(ham, count_of) - chi_square_tail(spam, count_of)) / 2;
}

int32_t native_model_weigh(const struct native_model *model, const struct native_features *features, double *p)
{
    double opinions[NATIVE_FEATURES_MAX];
    size_t found = 0;
    const uint32_t *language = model->languages[features->language];
    /* Where all mail of a language was spam, its words are the language's and say nothing of spam. */
    double trust = least(language[CLASS_HAM], language[CLASS_SPAM], FULL_LANGUAGE);
    for (size_t i = 0; i < features->count; i++) {
        double of = opinion(model, features->buckets[i]);
        if (i < features->words)
            of = 0.5 + (of - 0.5) * trust;
        if (fabs(of - 0.5) >= WEAK)
            opinions[found++] = of;
    }
    *p = combine(opinions, found);
    double bounded = *p < 1e-6 ? 1e-6 : *p > 1 - 1e-6 ? 1 - 1e-6 : *p;
    double weight = log(bounded / (1 - bounded)) / SPAM_LOGIT * NATIVE_SPAM * least(model->messages[CLASS_HAM], model->messages[CLASS_SPAM], FULL_CLASS);
    return weight > MOST_SPAM ? MOST_SPAM : weight < -MOST_HAM ? -MOST_HAM : (int32_t)weight;
}
