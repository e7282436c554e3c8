#ifndef WEIR_EDGE_SPAM_DRESS_H
#define WEIR_EDGE_SPAM_DRESS_H
/*
 * dress.h - what stands in front of a message as it goes on: X-Virus-Scanned, the fields about spam, Received, and its own header where that is edited
 */
#include "common/settings.h"
#include "edge/message/message.h"
#include "edge/scan/scan.h"
#include "edge/smtp/address.h"

struct dress {
    const struct spam_settings *settings;
    const char *hostname;
    const char *const *cluster_names; /* in which the cluster's edges say results, up to a NULL; NULL: not known */
    const struct scan_result *scan;  /* NULL: nothing is said of a scan */
    bool virus_line;                 /* X-Virus-Scanned, too */
    bool distrusted;                 /* not of another MTA of the site: results in our name go, whoever is asked */
    bool from_outside;               /* by this session: where there are engines what it says of spam goes, whoever is asked */
    bool outbound;                   /* fields X-Spam-* that it brings are its sender's own affair */
    bool tag;                        /* Subject */
    const char *doubt;               /* verdict_text(): nobody knows whether it has a virus, and it goes on all the same; NULL: not so */
    const char *listed;              /* the lists that name the client; NULL: none */
    uint32_t required;               /* hundredths: from it on X-Spam-Flag says YES */
    const char *sender, *helo;       /* of the envelope */
    const char *received;            /* stands last, as a message whose first line begins with white space goes on with the field above it, and must not be
                                      * able to add words to the ones that say what we found */
    size_t received_len;
};

/* Malloced; *len bytes, in which the first *skip bytes of message are contained. Never NULL: a header that cannot be read back stays as it is. */
char *message_dress(const struct dress *dress, const struct message *message, size_t *len, uint64_t *skip);
/* The beginning of a message, with all of its header. *copy: to be freed (NULL: nothing). NULL: it cannot be read; that is logged. */
const char *message_beginning(const struct message *message, size_t *len, char **copy);
/* The address in its From, canonical; false, and "": see header_author(). */
bool message_from(const struct message *message, char out[SMTP_ADDRESS_MAX]);
/* The most that it adds to a message. */
uint64_t message_dress_max(const struct spam_settings *settings);

#endif
