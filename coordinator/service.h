#ifndef WEIR_COORDINATOR_SERVICE_H
#define WEIR_COORDINATOR_SERVICE_H
/*
 * service.h - the conversations with nodes and operators: who may say what, and to whom it goes
 *
 * A peer is what its key says it is. Edges and scanners say hello and send heartbeats under their own name and role,
 * and ask for the policy; edges report and have questions; operators ask. Everything else is refused and counted
 * (weir_refused_peers_total{reason}).
 */
#include "coordinator/admin.h"
#include "coordinator/audit.h"
#include "coordinator/beats.h"
#include "coordinator/cluster.h"
#include "coordinator/lineage.h"
#include "coordinator/questions.h"
#include "proto/link.h"

struct service;

struct service_options {
    struct link_hub *hub;
    const char *endpoint;
    const char *name; /* this coordinator; borrowed */
    struct cluster *cluster;
    struct beats *beats;
    struct audit *audit;
    struct admin *admin;
    struct questions *questions;
    struct lineage *lineage; /* of the process; borrowed */
    struct metrics *metrics;
};

struct service *service_new(const struct service_options *options, struct error *why);
void service_free(struct service **service); /* before beats, audit, admin and questions */
/* From now on reports and questions are not taken: their edges go to another coordinator. What is in flight is still
 * answered. */
void service_drain(struct service *service);

#endif
