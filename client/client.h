/* The client as its own parts see it: reactor, cluster, configuration. */
#ifndef PENSTOCK_CLIENT_CLIENT_H
#define PENSTOCK_CLIENT_CLIENT_H

#include "client/cluster.h"

struct pst_client {
    struct reactor reactor;
    struct cluster cluster;
    struct pst_config *config; /* never changes: any thread */
    struct workers *workers;
};

#endif
