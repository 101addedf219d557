/* What the handlers work with; filled by broker.c, constant while loops run. */
#ifndef PENSTOCK_BROKER_API_API_ENV_H
#define PENSTOCK_BROKER_API_API_ENV_H

#include "common/clock.h"
#include "common/workers.h"

#include <stdint.h>

struct registry;
struct log_manager;
struct metadata;
struct broker_options;
struct fetch_sessions;
struct producer_ids;
struct listener_addresses;

struct api_env {
    const struct clock *clock;
    struct workers
        *control; /* one thread: metadata intents and everything that follows from them, in order */
    struct workers *workers; /* blocking work of requests and logs */
    struct registry *registry;
    struct log_manager *logs;
    struct metadata *metadata;
    struct broker_options *options;
    struct fetch_sessions *fetch_sessions;
    struct producer_ids *producer_ids;
    const struct listener_addresses *advertised; /* by index of the listener */
    struct api_loop **loops;                     /* per loop, by loop_index */
    unsigned loop_count;
    int32_t node_id;
};

#endif
