#ifndef WEIR_SCANNER_NATIVE_MODEL_H
#define WEIR_SCANNER_NATIVE_MODEL_H
/*
 * model.h - what has been learned: in how many messages of each class each feature stood
 *
 * A model is one piece of memory of a fixed size, in the byte order of the machine: it can be stored, sent and mapped as it is. Learning adds one to each
 * feature of a message, unlearning takes it away again, so that any message's part in it can be undone, and one message counts once however long it is.
 *
 * It is counted in parts: the first is what operators taught, the others what users did, each of whom teaches one of them only. A score is what it would be without any one
 * of those, give or take `personal_most`: so nobody moves it by more alone, and as soon as people of different parts agree they move it as an operator does.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NATIVE_BUCKETS (UINT32_C(1) << 18)
#define NATIVE_PAIRS (NATIVE_BUCKETS / 4 * 3) /* from here on: pairs of words, or of characters of scripts without blanks */
#define NATIVE_FEATURES_MAX 1536
#define NATIVE_PARTS 4    /* 0: the operators' */
#define NATIVE_MODEL_VERSION 4 /* changes with what a feature is: older models then mean nothing */

enum native_class { CLASS_HAM, CLASS_SPAM, NATIVE_CLASSES };

enum native_language {
    LANGUAGE_OTHER, LANGUAGE_ENGLISH, LANGUAGE_GERMAN, LANGUAGE_FRENCH, LANGUAGE_SPANISH, LANGUAGE_PORTUGUESE, LANGUAGE_ITALIAN, LANGUAGE_DUTCH,
    LANGUAGE_CYRILLIC, LANGUAGE_CHINESE, LANGUAGE_JAPANESE, LANGUAGE_KOREAN, NATIVE_LANGUAGES = 16,
};

/* A message's features: different numbers below NATIVE_BUCKETS. Words stand first. */
struct native_features {
    uint32_t buckets[NATIVE_FEATURES_MAX];
    size_t count, words; /* the first `words` of them are of the text, so of its language */
    enum native_language language;
};

struct native_model {
    uint32_t magic, version;
    uint32_t personal_most; /* hundredths of a score */
    int32_t offset;         /* thousandths of a logit, see native_trial_end() */
    uint32_t messages[NATIVE_PARTS][NATIVE_CLASSES];
    uint32_t languages[NATIVE_LANGUAGES][NATIVE_PARTS][NATIVE_CLASSES]; /* messages */
    uint16_t counts[NATIVE_BUCKETS][NATIVE_PARTS][NATIVE_CLASSES];
};
#define NATIVE_PERSONAL_MOST 1000 /* what native_model_init() says */

/* Clears memory of that size to a model that knows nothing. */
void native_model_init(struct native_model *model);
/*
 * The model in those bytes, which are borrowed and must be aligned to 4; NULL: they are none, are of another version, or contradict themselves (why, which may
 * be NULL, says so): a feature that stood in more messages than there were is no count of anything.
 */
const struct native_model *native_model_open(const void *bytes, size_t len, const char **why);

void native_model_learn(struct native_model *model, const struct native_features *features, unsigned part, enum native_class class);
/* What is not there cannot be taken away: a count stays at 0. */
void native_model_unlearn(struct native_model *model, const struct native_features *features, unsigned part, enum native_class class);

/*
 * How the model judges messages that it did not learn, which differs with what little was learned: each is looked at as if it had been left out. Where the
 * least likely of spam and the likeliest of ham stand together too high or too low, an offset moves both. Only what operators taught is to be tried.
 */
#define NATIVE_TRIAL_MOST 250 /* of each class */
#define NATIVE_TRIAL_LEAST 50 /* fewer say nothing: no offset */
#define NATIVE_OFFSET_MOST 3000
struct native_trial {
    size_t count[NATIVE_CLASSES];
    double logits[NATIVE_CLASSES][NATIVE_TRIAL_MOST];
};
/* features: of a message that the model learned as that; the model is afterwards as before. Those beyond NATIVE_TRIAL_MOST are not looked at. */
void native_trial_add(struct native_trial *trial, struct native_model *model, const struct native_features *features, enum native_class class);
void native_trial_end(struct native_trial *trial, struct native_model *model);

/* Hundredths to add to a score, bounded: p of 0.97 is NATIVE_SPAM. p gets how sure it is that it is spam, 0..1; 0.5 knows nothing. */
int32_t native_model_weigh(const struct native_model *model, const struct native_features *features, double *p);

/* How well it knows mail of the message's language, without any one part of users: 0, not at all, to 1. */
double native_model_reach(const struct native_model *model, const struct native_features *features);

#endif
