/* Messages to a thread: many senders, one receiver that is woken through an eventfd.
 *
 * A mail is a struct its sender embeds; deliver(mail) runs on the receiving thread, in the order of posting
 * of each sender, and owns the mail from then on.  The wake-up write happens only when the box was empty. */
#ifndef PENSTOCK_COMMON_MAILBOX_H
#define PENSTOCK_COMMON_MAILBOX_H

#include "common/status.h"

#include <stdbool.h>

struct mail {
    struct mail *next; /* the mailbox's */
    void (*deliver)(struct mail *mail);
};

struct mailbox;

MUST_CHECK enum pst_status mailbox_new(struct mailbox **ret);
/* Delivers nothing more; mail still inside is given to `discard` (may be NULL: forgotten). */
void mailbox_free(struct mailbox *box, void (*discard)(struct mail *mail));
/* Any thread.  Never blocks, never fails. */
void mailbox_post(struct mailbox *box, struct mail *mail);
/* Receiver only: becomes readable when there is mail. */
int mailbox_fd(const struct mailbox *box);
/* Receiver only: delivers everything posted before the call; returns how many. */
unsigned mailbox_deliver(struct mailbox *box);
/* Receiver only: waits for mail at most timeout_ms (-1: for ever); false when it timed out. */
bool mailbox_wait(struct mailbox *box, int timeout_ms);

#endif
