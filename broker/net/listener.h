/* A listening socket whose connections are spread over the loops in turn.
 *
 * Accepting happens on the first loop; each connection is mailed to its own.  Out of descriptors: accepting
 * pauses for a moment instead of spinning, one log line. */
#ifndef PENSTOCK_BROKER_NET_LISTENER_H
#define PENSTOCK_BROKER_NET_LISTENER_H

#include "broker/net/conn.h"

struct listener;

struct listener_settings {
    const char *host; /* numeric address or name; "" or NULL: all addresses */
    uint16_t port;    /* 0: the kernel chooses */
    int backlog;
    int send_buffer_bytes;    /* -1: the kernel's choice */
    int receive_buffer_bytes; /* -1: the kernel's choice (best, see facts in README) */
    const char *congestion;   /* TCP congestion control, NULL: the kernel's */
    uint32_t connections_max;
    uint32_t connections_per_ip_max;
    struct conn_limits limits;
    const struct conn_owner *owner;
    void *data;              /* conn_listener_data */
    struct workers *workers; /* warms cold slices */
};

/* PST_BUSY: port in use; PST_DENIED; PST_NOT_FOUND: host unknown; PST_IO. */
MUST_CHECK enum pst_status listener_open(const struct listener_settings *settings, struct loop *const *loops,
                                         unsigned loop_count, struct listener **ret);
uint16_t listener_port(const struct listener *listener); /* the real one */
/* After loop_stop of all loops (the first one first) and before loop_free of any. */
void listener_close(struct listener *listener);
uint32_t listener_connections(const struct listener *listener);

#endif
