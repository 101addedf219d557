/* Addresses in the form of Kafka's listeners option: NAME://host:port, separated by commas. */
#ifndef PENSTOCK_BROKER_LISTENERS_H
#define PENSTOCK_BROKER_LISTENERS_H

#include "common/buf.h"
#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

#define LISTENERS_MAX     16u
#define LISTENER_NAME_MAX 64u
#define LISTENER_HOST_MAX 256u

struct listener_address {
    char name[LISTENER_NAME_MAX]; /* "PLAINTEXT" */
    char host[LISTENER_HOST_MAX]; /* "": every address */
    uint16_t port;
};

struct listener_addresses {
    struct listener_address at[LISTENERS_MAX];
    unsigned count;
};

/* PST_INVALID, with the reason and the expected form appended to `reason`. */
MUST_CHECK enum pst_status listeners_parse(const char *text, struct listener_addresses *ret,
                                           struct buf *reason);

/* What clients are told: advertised.listeners, or the listeners with a wildcard host replaced by this
 * machine's name. Listeners are matched by name.  PST_INVALID with the reason: a wildcard or port 0 is
 * advertised, a listener is missing. */
MUST_CHECK enum pst_status listeners_advertise(const struct listener_addresses *listeners,
                                               const char *advertised, struct listener_addresses *ret,
                                               struct buf *reason);

bool listener_host_is_wildcard(const char *host);

#endif
