#include "common/mailbox.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    _Atomic(struct mail *) newest; /* a stack: pushed by anybody, taken whole by the receiver */
    int fd;
};

enum pst_status mailbox_new(struct mailbox **ret)
{
    struct mailbox *box = calloc(1, sizeof *box);

    if (box == NULL)
        return PST_NOMEM;
    box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (box->fd < 0) {
        free(box);
        return PST_IO;
    }
    *ret = box;
    return PST_OK;
}

static struct mail *take_in_order(struct mailbox *box)
{
    struct mail *mail = atomic_exchange_explicit(&box->newest, NULL, memory_order_acquire);
    struct mail *oldest = NULL;

    while (mail != NULL) {
        struct mail *next = mail->next;

        mail->next = oldest;
        oldest = mail;
        mail = next;
    }
    return oldest;
}

void mailbox_free(struct mailbox *box, void (*discard)(struct mail *mail))
{
    struct mail *mail;

    if (box == NULL)
        return;
    mail = take_in_order(box);
    while (mail != NULL && discard != NULL) {
        struct mail *next = mail->next;

        discard(mail);
        mail = next;
    }
    close(box->fd);
    free(box);
}

void mailbox_post(struct mailbox *box, struct mail *mail)
{
    struct mail *newest = atomic_load_explicit(&box->newest, memory_order_relaxed);
    uint64_t one = 1;

    do {
        mail->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&box->newest, &newest, mail, memory_order_release,
                                                    memory_order_relaxed));
    if (newest == NULL) { /* it was empty: the receiver may sleep.  The counter cannot overflow. */
        ssize_t written = write(box->fd, &one, sizeof one);

        (void)written;
    }
}

int mailbox_fd(const struct mailbox *box)
{
    return box->fd;
}

unsigned mailbox_deliver(struct mailbox *box)
{
    unsigned count = 0;
    uint64_t counter;
    ssize_t got = read(box->fd, &counter, sizeof counter); /* before taking: later posts wake again */
    struct mail *mail = take_in_order(box);

    (void)got;
    while (mail != NULL) {
        struct mail *next = mail->next;

        mail->deliver(mail);
        mail = next;
        count++;
    }
    return count;
}

bool mailbox_wait(struct mailbox *box, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = box->fd, .events = POLLIN};

    return poll(&poll_fd, 1, timeout_ms) > 0;
}
