/* A penstockd of a test's own: $PENSTOCK_BUILD/penstockd (or the one beside this program) on a free port of
 * 127.0.0.1, with a fresh data directory that ends with it.  Test code: any failure ends the program with a
 * message and the daemon's log. */
#ifndef PENSTOCK_TESTS_SUPPORT_DAEMON_H
#define PENSTOCK_TESTS_SUPPORT_DAEMON_H

#include <stdint.h>

struct daemon;

/* settings: "key=value", ends with NULL; NULL: none.  advertised_port 0: the daemon's own. */
struct daemon *daemon_new(const char *const *settings, uint16_t advertised_port);
/* Starts it and waits until it serves; after a stop or kill on another port, with the same data. */
void daemon_start(struct daemon *daemon);
/* 0: not running. */
uint16_t daemon_port(const struct daemon *daemon);
/* SIGTERM, and waits; it must end with 0.  Nothing to do when it does not run. */
void daemon_stop(struct daemon *daemon);
/* SIGKILL, and waits. */
void daemon_kill(struct daemon *daemon);
/* Kills it if it runs, removes its data.  NULL is fine. */
void daemon_free(struct daemon *daemon);

#endif
