#ifndef WEIR_COORDINATOR_SPAM_JSON_H
#define WEIR_COORDINATOR_SPAM_JSON_H
/* spam_json.h - what spam engines say of a message, for operators */
#include <jansson.h>
#include "proto/weir.pb-c.h"

/* {score, engines: [{engine, state, score}], symbols: [{engine, symbol, weight, detail}], authentication}. The caller frees. */
json_t *spam_json(const Weir__SpamResult *result);

#endif
