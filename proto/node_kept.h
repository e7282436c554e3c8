#ifndef WEIR_PROTO_NODE_KEPT_H
#define WEIR_PROTO_NODE_KEPT_H
/*
 * node_kept.h - audit rows that nobody had acknowledged when a process ended, in a file for the next one (internal to
 * node.c)
 *
 * Each worker has its own file, FOLDER/NAME.WORKER.audit (0600), written under a new name, synced and renamed. It is taken
 * up at the next start and stays until a coordinator has all of its rows: a process that is killed meanwhile loses none of
 * them, and rows that are handed in again make no second ones, as the audit knows them by queue id and recipient. So a part
 * of it at a time is taken up, beside which newer rows have room, and a part again of which they push some out. At the end
 * the file has at most what the buffer may have; more is counted as dropped. Worker 0 hands in the files of workers that
 * are not there any more, one after the other.
 *
 * A file that is damaged or another node's is set aside as FILE.damaged (one, the newest) with a line in the log, when the
 * damage is come upon; what could be read of it is handed in.
 */
#include <stdbool.h>
#include "common/error.h"
#include "proto/node_reports.h"

#define NODE_KEPT_WORKERS_MAX 255 /* what numbers of workers are looked for */

struct node_kept;

/* Takes up the first file. folder, name, reports and metrics are borrowed for its life. workers: how many there are now. */
struct node_kept *node_kept_new(const char *folder, const char *name, unsigned worker, unsigned workers,
                                struct node_reports *reports, struct metrics *metrics);
void node_kept_free(struct node_kept **kept); /* files stay as they are */
/* After each acknowledgement. When none of a file's rows is in memory: takes up the next part, or one again; or removes the
 * file because all are handed in, and takes up the next one. */
void node_kept_look(struct node_kept *kept);
/* At the end, no batch goes on after it: all rows that wait. false: why; then what files there were are still there. */
bool node_kept_write(struct node_kept *kept, struct error *why);

#endif
