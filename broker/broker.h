/* The composition root: makes the parts of a broker, joins them, takes them down in order.
 *
 * Thread: the one that calls main. */
#ifndef PENSTOCK_BROKER_BROKER_H
#define PENSTOCK_BROKER_BROKER_H

#include "broker/options.h"
#include "common/buf.h"
#include "common/status.h"

struct broker;

/* Opens the data, recovers, listens; when it returns PST_OK clients are being served.  Otherwise *messages
 * says what is wrong and what to do.  `options` is borrowed for the broker's life. */
MUST_CHECK enum pst_status broker_start(struct broker_options *options, struct broker **ret,
                                        struct buf *messages);
/* Stops serving, closes every log cleanly, frees everything.  PST_IO: some log will have to be recovered. */
MUST_CHECK enum pst_status broker_stop(struct broker *broker);
/* Periodic work; returns the milliseconds until it wants to be called again. */
int64_t broker_tick(struct broker *broker);
/* Reloadable options have changed. */
void broker_reload(struct broker *broker);
/* The port of the first listener, for those who asked for port 0. */
uint16_t broker_port(const struct broker *broker);

#endif
