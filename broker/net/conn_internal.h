/* What conn.c and listener.c share. */
#ifndef PENSTOCK_BROKER_NET_CONN_INTERNAL_H
#define PENSTOCK_BROKER_NET_CONN_INTERNAL_H

#include "broker/net/conn.h"
#include "broker/net/listener.h"

#include <sys/socket.h>

/* What a connection needs of its listener; outlives the connections. */
struct conn_context {
    struct conn_limits limits;
    const struct conn_owner *owner;
    void *data;
    struct workers *workers;
    void (*on_gone)(void *arg, const struct sockaddr_storage *peer); /* any loop: for the listener's counts */
    void *on_gone_arg;
};

/* Loop thread.  Takes over the descriptor, also on failure. */
void conn_open(struct loop *loop, int fd, const struct sockaddr_storage *peer,
               const struct conn_context *context);

#endif
