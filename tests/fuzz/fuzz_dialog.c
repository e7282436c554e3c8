/*
 * fuzz_dialog.c - any bytes as what a next hop says, against a client that does all it may
 *
 * The first byte chooses the client: TLS wanted or not, and where it gives a transaction up.
 */
#include <stdint.h>
#include <stddef.h>
#include "common/error.h"
#include "edge/delivery/dialog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void act(struct hop_dialog *dialog, unsigned *recipients, unsigned patience)
{
    while (hop_dialog_may_send(dialog) && *recipients < patience) {
        if (dialog->state == HOP_READY)
            hop_dialog_mail(dialog, &(struct hop_mail){ "a@example.com", 77, true, true, 'H', "en=vid" });
        else
            hop_dialog_rcpt(dialog, &(struct hop_rcpt){ "b@example.org", 6, "rfc822;b+c@example.org" });
        ++*recipients;
        dialog->out_len = 0;
    }
    if (dialog->state == HOP_RCPT && dialog->rcpt_unanswered == 0) {
        if (patience % 2 == 0)
            hop_dialog_data(dialog);
        else
            hop_dialog_reset(dialog);
        *recipients = 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hop_dialog dialog;
    struct smtp_reply_parser parser;
    unsigned recipients = 0, patience;
    if (size == 0)
        return 0;
    hop_dialog_init(&dialog, "edge.test", data[0] % 3);
    patience = 2 + data[0] / 3 % 4;
    smtp_reply_parser_init(&parser);
    for (size_t at = 1; at < size && dialog.state != HOP_CLOSED;) {
        size_t used;
        enum smtp_reply_status status = smtp_reply_parser_next(&parser, (const char *)data + at, size - at, &used);
        at += used;
        if (status != SMTP_REPLY_DONE)
            break;
        switch (hop_dialog_reply(&dialog, &parser.reply)) {
        case HOP_START_TLS:
            hop_dialog_secured(&dialog);
            break;
        case HOP_GO_AHEAD:
            hop_dialog_body_sent(&dialog);
            break;
        case HOP_RECIPIENT:
            weir_assert(dialog.state == HOP_RCPT);
            break;
        case HOP_IS_READY:
            weir_assert(dialog.state == HOP_READY && dialog.skip == 0);
            recipients = 0;
            break;
        case HOP_LOST:
        case HOP_REFUSED:
        case HOP_TLS_IMPOSSIBLE:
            weir_assert(dialog.state == HOP_CLOSED);
            break;
        default:
            break;
        }
        dialog.out_len = 0;
        act(&dialog, &recipients, patience);
        dialog.out_len = 0;
        smtp_reply_parser_init(&parser);
    }
    return 0;
}
