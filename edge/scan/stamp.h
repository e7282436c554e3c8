#ifndef WEIR_EDGE_SCAN_STAMP_H
#define WEIR_EDGE_SCAN_STAMP_H
/* stamp.h - the header that says a message was scanned */
#include <stddef.h>

#define VIRUS_SCANNED_MAX 640

/* "X-Virus-Scanned: Weir at HOST (ENGINE, signatures VERSION)", for a message with an explicit clean. Pure. Returns the length. */
size_t virus_scanned_format(char *out, size_t cap, const char *hostname, const char *engine, const char *signatures);

#endif
