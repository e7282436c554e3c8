#ifndef WEIR_PROTO_NODE_POLICY_H
#define WEIR_PROTO_NODE_POLICY_H
/*
 * node_policy.h - which policy a node has, which it should have, and the way from one to the other (internal to node.c)
 *
 * A policy is known by its epoch and by the digest of its files: a database that was made anew or restored counts epochs from where it
 * stands, so another policy may come under the same number. Coordinators that tell no digest are believed by the epoch.
 *
 * What arrives is parsed by a thread of its own, which also writes it to the cache once it is known to be usable; the loop only copies the texts
 * and hears of the end. A policy that cannot be used changes nothing: not what is in force, not the cache, not what heartbeats tell. It is logged
 * once, told by weir_node_policy_refused, and not asked for again.
 */
#include "proto/link.h"
#include "proto/node.h"

struct node_policy;

/* path: of the cache; NULL: it is not kept. told: called after the owner was given a policy, or one was refused. handlers is copied, arg its owner's. */
struct node_policy *node_policy_new(struct event_base *base, const struct node_handlers *handlers, void *arg, const char *path,
                                    struct metrics *metrics, void (*told)(void *told_arg), void *told_arg);
/* Waits for the thread. */
void node_policy_free(struct node_policy **policy);

uint64_t node_policy_epoch(const struct node_policy *policy); /* in force; 0: none */
/* From the cluster state. */
void node_policy_want(struct node_policy *policy, uint64_t epoch, const ProtobufCBinaryData *digest);
/* Whether it is to be asked for now (again after 1 s, then after twice as long each time up to 30 s), and what to say of what we have: borrowed. */
bool node_policy_is_due(const struct node_policy *policy, uint64_t now, Weir__PolicyRequest *request);
void node_policy_asked(struct node_policy *policy, uint64_t now); /* 0: whom we asked is gone */
/* From a coordinator, or (cached) from the file of a former process. */
void node_policy_take(struct node_policy *policy, const struct link_message *message, bool cached);

#endif
