#ifndef WEIR_EDGE_SCAN_STAMP_H
#define WEIR_EDGE_SCAN_STAMP_H
/* stamp.h - what is said of a scan: in the header of a clean message, and in the audit */
#include <stddef.h>
#include "edge/scan/scan.h"

#define VIRUS_SCANNED_MAX 640

/* "X-Virus-Scanned: Weir at HOST (ENGINE, signatures VERSION)", for a message with an explicit clean. Pure. Returns the length. */
size_t virus_scanned_format(char *out, size_t cap, const char *hostname, const char *engine, const char *signatures);
/* "clean", "bad", "unknown:limits", "none" (result NULL); static. */
const char *verdict_text(const struct scan_result *result);

#endif
