/* What an append carries between its checks and its write. */
#ifndef PENSTOCK_BROKER_LOG_APPEND_H
#define PENSTOCK_BROKER_LOG_APPEND_H

#include "broker/log/log.h"
#include "broker/log/producer_state.h"
#include "protocol/record_batch.h"

struct append_batch {
    uint8_t *bytes; /* what is written: the caller's, or `owned` */
    uint8_t *owned; /* malloc'ed: recompressed */
    struct record_batch_info info;
    struct txn_marker marker;
    bool is_marker;
    bool in_window; /* `bytes` lies in the mapped tail: a roll takes that away */
};

/* Everything that can be checked without looking at the log's state; false: append->outcome says why, nothing
 * is owned. No lock. */
bool append_check(const struct log *log, const struct log_config *config, struct log_append *append,
                  struct append_batch *batch);

#endif
