/* Names of hosts to addresses, without keeping the reactor waiting: numbers at once, names on a worker. */
#ifndef PENSTOCK_CLIENT_RESOLVER_H
#define PENSTOCK_CLIENT_RESOLVER_H

#include "client/reactor.h"
#include "common/workers.h"

#include <netdb.h>

struct resolution {
    struct worker_job job;
    struct mail mail;
    struct reactor *reactor;
    char *host;
    char port[6];
    int gai_error;                               /* 0, or getaddrinfo's */
    struct addrinfo *addresses;                  /* the receiver's to free */
    void (*done)(struct resolution *resolution); /* reactor's thread; frees it with resolution_free */
    void *user;                                  /* NULL: nobody waits any more */
};

/* True and *ret when the host is a number. */
bool resolver_numeric(const char *host, uint16_t port, struct addrinfo **ret);
/* done() follows on the reactor.  PST_NOMEM. */
MUST_CHECK enum pst_status resolver_ask(struct workers *workers, struct reactor *reactor, const char *host,
                                        uint16_t port, void (*done)(struct resolution *), void *user,
                                        struct resolution **ret);
/* With the addresses nobody took. */
void resolution_free(struct resolution *resolution);

#endif
