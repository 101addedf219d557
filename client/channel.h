/* A connection to one broker for one purpose: connects when something is to be sent, finds out which versions
 * the broker speaks, sends requests in order and matches the answers.
 *
 * Thread: the reactor's.  A channel lives as long as its client; what comes and goes is the connection
 * inside.  When the connection breaks, every exchange on it ends with PST_ERR_TRANSPORT; the next submit
 * connects again, not before the back-off has passed.  A channel never sends an exchange twice. */
#ifndef PENSTOCK_CLIENT_CHANNEL_H
#define PENSTOCK_CLIENT_CHANNEL_H

#include "client/config.h"
#include "client/exchange.h"
#include "client/reactor.h"
#include "client/resolver.h"

/* One answer is at most this long: the largest fetch a user may ask for, and a batch that must come whole. */
#define RESPONSE_BYTES_MAX (INT32_MAX - 1)

/* What channels of one client share. */
struct channel_env {
    struct reactor *reactor;
    const struct pst_config *config;
    struct workers *workers; /* for names */
    uint64_t random;         /* state of channel_random */
    /* Called when a connection could not be made or broke; text says who and why. */
    void (*on_trouble)(struct channel_env *env, const char *text);
};

struct channel;

/* The host is copied.  NULL: out of memory. */
struct channel *channel_new(struct channel_env *env, const char *host, uint16_t port);
/* Ends everything on it with PST_ERR_CLOSED. */
void channel_free(struct channel *channel);

/* Takes the exchange. */
void channel_submit(struct channel *channel, struct exchange *exchange);
/* The user loses interest: done() is not called any more, release() follows.  Not for exchanges with slices.
 */
void channel_withdraw(struct channel *channel, struct exchange *exchange);
/* Breaks the connection; its exchanges end with `code`. */
void channel_break(struct channel *channel, pst_err_t code, const char *why);

/* The broker lives elsewhere now: the next connection goes there.  Without memory it stays as it was. */
void channel_move(struct channel *channel, const char *host, uint16_t port);

/* The connection is up and waits for nothing but requests. */
bool channel_is_up(const struct channel *channel);
/* A submit now would have to wait for the back-off. */
bool channel_is_backing_off(const struct channel *channel);
/* "host:port" */
const char *channel_address(const struct channel *channel);

#endif
