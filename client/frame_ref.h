/* One response in memory, shared by those who still read from it: the channel, and the consumer's chunks on
 * another thread.  The count is atomic; the bytes never change after reception. */
#ifndef PENSTOCK_CLIENT_FRAME_REF_H
#define PENSTOCK_CLIENT_FRAME_REF_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct frame_ref {
    _Atomic unsigned count;
    size_t length;
    uint8_t bytes[];
};

/* One reference; NULL: out of memory. */
static inline struct frame_ref *frame_ref_new(size_t length)
{
    struct frame_ref *frame = malloc(sizeof *frame + length);

    if (frame == NULL)
        return NULL;
    atomic_init(&frame->count, 1);
    frame->length = length;
    return frame;
}

static inline struct frame_ref *frame_ref_share(struct frame_ref *frame)
{
    atomic_fetch_add_explicit(&frame->count, 1, memory_order_relaxed);
    return frame;
}

static inline void frame_ref_drop(struct frame_ref *frame)
{
    if (frame != NULL && atomic_fetch_sub_explicit(&frame->count, 1, memory_order_acq_rel) == 1)
        free(frame);
}

#endif
