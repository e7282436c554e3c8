/*
 * model.c - see model.h; two combinations of features, each of which errs where the other does not
 *
 * Fisher's, as Robinson proposed it for mail and SpamBayes and bogofilter have it, asks both ends: how unlikely the strongest features are in ham, and
 * in spam. Where both say no, or neither, nothing is known. The other is the mean of all features' log-odds. Their sum knows no such thing, and is sure
 * of itself on every foreign site's mail; a mean is as sure of a short message as of a long one. The weight is the sum of both, and neither reaches
 * NATIVE_SPAM alone.
 */
#include "scanner/native/model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "scanner/native/native.h"

#define MAGIC UINT32_C(0x4d4e5257) /* "WRNM" */
#define STRONGEST 60    /* features that Fisher's combination listens to, */
#define STRONGEST_FEW 40 /* and where few messages were learned */
#define PAIR 0.5        /* a pair's opinion counts so much, as what it is made of is heard, too */
#define WEAK 0.2        /* those nearer to 0.5 say nothing */
#define WEAK_FEW 0.3
#define PRIOR 0.3       /* how many messages the opinion 0.5 is worth */
#define PRIOR_FEW 0.06  /* most of what tells a message is known from one other, then */
#define FULL_CLASS 50   /* messages of each class below which the whole is damped */
#define FULL_LANGUAGE 10 /* and of each class in the message's language, below which its words are */
#define SPAM_LOGIT 3.476 /* of p = 0.97 */
#define SHARE 0.7       /* of either combination in the weight */
#define MEAN_SCALE 4.0  /* from the mean of log-odds to the logit of the whole: as fitted to messages that were left out of what was learned, */
#define MEAN_OFFSET 0.7 /* of many corpora, and rounded */
#define LIFT_FEW 1400   /* hundredths: new spam is less like the learned, then, than new ham is */
#define FEW 150         /* messages of each class up to which these hold, */
#define MANY 600        /* and from which on they do not */
#define EDGES_AT (-0.4)  /* where the edges of ham and of spam meet in a model that errs as often as it should, */
#define OFFSET_SHARE 1.5 /* and how far one is moved whose edges meet elsewhere: messages that are new differ more than those that were left out */
#define OFFSET_MOST_UP 500 /* thousandths: classes that stand far apart need no more */
#define MOST_SPAM 6000
#define MOST_SPAM_UNKNOWN 4000 /* where no ham of the message's language was learned */
#define MOST_HAM 2000
#define FISHER_MOST_SPAM 6000
#define FISHER_MOST_HAM 1000
#define MEAN_MOST_SPAM 4000
#define MEAN_MOST_HAM 3000

void native_model_init(struct native_model *model)
{
    memset(model, 0, sizeof *model);
    model->magic = MAGIC;
    model->version = NATIVE_MODEL_VERSION;
    model->personal_most = NATIVE_PERSONAL_MOST;
}

static bool counts_are_possible(const struct native_model *model)
{
    uint32_t most[NATIVE_PARTS * NATIVE_CLASSES];
    memcpy(most, model->messages, sizeof most);
    for (size_t bucket = 0; bucket < NATIVE_BUCKETS; bucket++) {
        const uint16_t *counts = model->counts[bucket][0];
        for (size_t i = 0; i < NATIVE_PARTS * NATIVE_CLASSES; i++)
            if (counts[i] > most[i])
                return false;
    }
    return true;
}

const struct native_model *native_model_open(const void *bytes, size_t len, const char **why)
{
    const struct native_model *model = bytes;
    const char *unused;
    why = why != NULL ? why : &unused;
    if (len != sizeof *model || (uintptr_t)bytes % sizeof(uint32_t) != 0 || model->magic != MAGIC)
        *why = "it is no model";
    else if (model->version != NATIVE_MODEL_VERSION)
        *why = "it is a model of another version";
    else if (model->offset < -NATIVE_OFFSET_MOST || model->offset > NATIVE_OFFSET_MOST || !counts_are_possible(model))
        *why = "its counts are impossible";
    else
        return model;
    return NULL;
}

static void count(uint32_t *value, bool up)
{
    if (up)
        *value += *value < UINT32_MAX ? 1 : 0;
    else
        *value -= *value > 0 ? 1 : 0;
}

static void change(struct native_model *model, const struct native_features *features, unsigned part, enum native_class class, bool up)
{
    count(&model->messages[part][class], up);
    count(&model->languages[features->language][part][class], up);
    for (size_t i = 0; i < features->count; i++) {
        uint16_t *value = &model->counts[features->buckets[i] % NATIVE_BUCKETS][part][class];
        uint32_t wide = *value;
        count(&wide, up);
        *value = wide <= UINT16_MAX ? (uint16_t)wide : UINT16_MAX;
    }
}

void native_model_learn(struct native_model *model, const struct native_features *features, unsigned part, enum native_class class)
{
    change(model, features, part, class, true);
}

void native_model_unlearn(struct native_model *model, const struct native_features *features, unsigned part, enum native_class class)
{
    change(model, features, part, class, false);
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

/* What all parts but one know: `without` is that one, NATIVE_PARTS leaves none out. */
struct sums {
    unsigned without;
    double few, prior, weak; /* few: 1 is hardly any message, 0 is many */
    double messages[NATIVE_CLASSES], language[NATIVE_CLASSES];
};

static void add_up(double sum[NATIVE_CLASSES], const uint32_t counts[NATIVE_PARTS][NATIVE_CLASSES], unsigned without)
{
    sum[CLASS_HAM] = sum[CLASS_SPAM] = 0;
    for (unsigned part = 0; part < NATIVE_PARTS; part++)
        for (int class = 0; part != without && class < NATIVE_CLASSES; class++)
            sum[class] += counts[part][class];
}

static double least(const double sum[NATIVE_CLASSES], double full)
{
    double smaller = sum[CLASS_HAM] < sum[CLASS_SPAM] ? sum[CLASS_HAM] : sum[CLASS_SPAM];
    return smaller < full ? smaller / full : 1;
}

/* Between what holds for many messages and for few. */
static double by_count(const struct sums *sums, double many, double few)
{
    return many + (few - many) * sums->few;
}

/* How spammy one feature is: by shares of each class, so that it does not matter of which there is more; drawn to 0.5 where little was seen. */
static double opinion(const struct native_model *model, uint32_t bucket, const struct sums *sums)
{
    const uint16_t (*counts)[NATIVE_CLASSES] = model->counts[bucket % NATIVE_BUCKETS];
    uint32_t in_ham = 0, in_spam = 0;
    for (unsigned part = 0; part < NATIVE_PARTS; part++) {
        in_ham += part != sums->without ? counts[part][CLASS_HAM] : 0;
        in_spam += part != sums->without ? counts[part][CLASS_SPAM] : 0;
    }
    if (in_ham + in_spam == 0)
        return 0.5;
    /* in_ham / messages of ham against in_spam / messages of spam, without dividing by nothing. */
    double seen = (double)in_ham + in_spam, ham = in_ham * sums->messages[CLASS_SPAM], spam = in_spam * sums->messages[CLASS_HAM];
    double ratio = ham + spam > 0 ? spam / (ham + spam) : in_spam > 0 ? 1 : 0;
    return (sums->prior * 0.5 + seen * ratio) / (sums->prior + seen);
}

/* Leaves about the `most` strongest of them: those nearest to 0.5 go. */
#define STEPS 64
static size_t strongest(double *opinions, size_t count_of, size_t most)
{
    size_t steps[STEPS + 1] = { 0 }, kept = 0, step = STEPS, room;
    if (count_of <= most)
        return count_of;
    for (size_t i = 0; i < count_of; i++)
        steps[(size_t)(fabs(opinions[i] - 0.5) * 2 * STEPS)]++;
    for (size_t above = steps[STEPS]; step > 0 && above + steps[step - 1] <= most; above += steps[--step])
        ;
    room = most;
    for (size_t i = step; i <= STEPS; i++)
        room -= steps[i] < room ? steps[i] : room;
    for (size_t i = 0; i < count_of; i++) {
        size_t of = (size_t)(fabs(opinions[i] - 0.5) * 2 * STEPS);
        if (of >= step || (of + 1 == step && room > 0)) {
            room -= of < step ? 1 : 0;
            opinions[kept++] = opinions[i];
        }
    }
    return kept < most ? kept : most;
}

static double combine(const double *opinions, size_t count_of)
{
    double ham = 0, spam = 0;
    for (size_t i = 0; i < count_of; ) { /* a logarithm of eight together: none of them is below 1e-6 */
        double of_ham = 1, of_spam = 1;
        for (size_t k = 0; k < 8 && i < count_of; k++, i++) {
            of_spam *= 1 - opinions[i];
            of_ham *= opinions[i];
        }
        spam -= log(of_spam);
        ham -= log(of_ham);
    }
    return count_of == 0 ? 0.5 : (1 + chi_square_tail(ham, count_of) - chi_square_tail(spam, count_of)) / 2;
}

/* Of all of them; each is within 1e-6 of 0 and 1. */
static double mean_log_odds(const double *opinions, size_t count_of)
{
    double sum = 0;
    for (size_t i = 0; i < count_of;) {
        double spam = 1, ham = 1;
        for (size_t k = 0; k < 8 && i < count_of; k++, i++) {
            spam *= opinions[i];
            ham *= 1 - opinions[i];
        }
        sum += log(spam / ham);
    }
    return count_of == 0 ? 0 : sum / (double)count_of;
}

/* In hundredths of a score, of a logit. */
static double scaled(double logit, double most_ham, double most_spam)
{
    double weight = logit / SPAM_LOGIT * NATIVE_SPAM;
    return weight > most_spam ? most_spam : weight < -most_ham ? -most_ham : weight;
}

/* What the model knows of the message's features without a part: those that say something. Gives how many. */
static size_t take_opinions(const struct native_model *model, const struct native_features *features, const struct sums *sums, double trust, double opinions[])
{
    size_t found = 0;
    for (size_t i = 0; i < features->count; i++) {
        double of = opinion(model, features->buckets[i], sums);
        if (i < features->words)
            of = 0.5 + (of - 0.5) * trust;
        if (fabs(of - 0.5) >= sums->weak)
            opinions[found++] = features->buckets[i] >= NATIVE_PAIRS ? 0.5 + (of - 0.5) * PAIR : of;
    }
    return found;
}

static struct sums sums_without(const struct native_model *model, const struct native_features *features, unsigned without)
{
    struct sums sums = { .without = without };
    add_up(sums.messages, model->messages, without);
    add_up(sums.language, model->languages[features->language], without);
    double smaller = sums.messages[CLASS_HAM] < sums.messages[CLASS_SPAM] ? sums.messages[CLASS_HAM] : sums.messages[CLASS_SPAM];
    sums.few = smaller <= FEW ? 1 : smaller >= MANY ? 0 : (MANY - smaller) / (MANY - FEW);
    sums.prior = by_count(&sums, PRIOR, PRIOR_FEW);
    sums.weak = by_count(&sums, WEAK, WEAK_FEW);
    return sums;
}

static int32_t weigh_without(const struct native_model *model, const struct native_features *features, unsigned without, double *p)
{
    double opinions[NATIVE_FEATURES_MAX];
    struct sums sums = sums_without(model, features, without);
    /* Where all mail of a language was spam, its words are the language's and say nothing of spam. */
    double trust = least(sums.language, FULL_LANGUAGE);
    size_t found = take_opinions(model, features, &sums, trust, opinions);
    double mean = found == 0 ? 0 : MEAN_SCALE * mean_log_odds(opinions, found) - MEAN_OFFSET + model->offset / 1000.0;
    *p = combine(opinions, strongest(opinions, found, (size_t)by_count(&sums, STRONGEST, STRONGEST_FEW)));
    double bounded = *p < 1e-6 ? 1e-6 : *p > 1 - 1e-6 ? 1 - 1e-6 : *p;
    double fisher = scaled(log(bounded / (1 - bounded)), FISHER_MOST_HAM, FISHER_MOST_SPAM);
    double weight = SHARE * (fisher + scaled(mean, MEAN_MOST_HAM, MEAN_MOST_SPAM)) * least(sums.messages, FULL_CLASS);
    if (found > 0)
        weight += LIFT_FEW * sums.few * trust * least(sums.messages, FULL_CLASS);
    double most = MOST_SPAM_UNKNOWN + (MOST_SPAM - MOST_SPAM_UNKNOWN) * trust; /* what else its mail has in common may be the language's as well */
    *p = 1 / (1 + exp(-weight / NATIVE_SPAM * SPAM_LOGIT));
    return weight > most ? (int32_t)most : weight < -MOST_HAM ? -MOST_HAM : (int32_t)weight;
}

static bool knows_anything(const struct native_model *model, unsigned part)
{
    return model->messages[part][CLASS_HAM] + model->messages[part][CLASS_SPAM] > 0;
}

/* What goes beyond +-most of it. */
static int32_t excess(int32_t value, int32_t most)
{
    return value > most ? value - most : value < -most ? value + most : 0;
}

int32_t native_model_weigh(const struct native_model *model, const struct native_features *features, double *p)
{
    int32_t all = weigh_without(model, features, NATIVE_PARTS, p), weight = all, lowest = all, highest = all;
    for (unsigned part = 1; part < NATIVE_PARTS; part++) {
        double of_others;
        if (!knows_anything(model, part))
            continue;
        int32_t others = weigh_without(model, features, part, &of_others);
        weight -= excess(all - others, (int32_t)(model->personal_most / 2)); /* what that one part did alone */
        lowest = others < lowest ? others : lowest;
        highest = others > highest ? others : highest;
    }
    return weight < lowest ? lowest : weight > highest ? highest : weight;
}

double native_model_reach(const struct native_model *model, const struct native_features *features)
{
    double reach = 1;
    for (unsigned without = 1; without <= NATIVE_PARTS; without++) {
        struct sums sums = sums_without(model, features, without);
        double of = least(sums.language, FULL_LANGUAGE) * least(sums.messages, FULL_CLASS);
        reach = of < reach ? of : reach;
    }
    return reach;
}

/* --- trying it --- */

void native_trial_add(struct native_trial *trial, struct native_model *model, const struct native_features *features, enum native_class class)
{
    double opinions[NATIVE_FEATURES_MAX];
    if (trial->count[class] == NATIVE_TRIAL_MOST)
        return;
    change(model, features, 0, class, false);
    struct sums sums = sums_without(model, features, NATIVE_PARTS);
    size_t found = take_opinions(model, features, &sums, least(sums.language, FULL_LANGUAGE), opinions);
    change(model, features, 0, class, true);
    trial->logits[class][trial->count[class]++] = found == 0 ? 0 : MEAN_SCALE * mean_log_odds(opinions, found) - MEAN_OFFSET;
}

static int compare_logits(const void *a, const void *b)
{
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

/* The mean of the tenth that stands nearest to the other class. */
static double edge(struct native_trial *trial, enum native_class class)
{
    size_t count_of = trial->count[class], tenth = count_of / 10;
    double sum = 0;
    qsort(trial->logits[class], count_of, sizeof trial->logits[class][0], compare_logits);
    for (size_t i = 0; i < tenth; i++)
        sum += trial->logits[class][class == CLASS_SPAM ? i : count_of - 1 - i];
    return sum / (double)tenth;
}

void native_trial_end(struct native_trial *trial, struct native_model *model)
{
    model->offset = 0;
    if (trial->count[CLASS_HAM] < NATIVE_TRIAL_LEAST || trial->count[CLASS_SPAM] < NATIVE_TRIAL_LEAST)
        return;
    double offset = 1000 * OFFSET_SHARE * (EDGES_AT - (edge(trial, CLASS_HAM) + edge(trial, CLASS_SPAM)) / 2);
    model->offset = offset > OFFSET_MOST_UP ? OFFSET_MOST_UP : offset < -NATIVE_OFFSET_MOST ? -NATIVE_OFFSET_MOST : (int32_t)offset;
}
