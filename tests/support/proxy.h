/* A proxy that stands between a client and a broker and knows where requests and answers begin: a test
 * decides frame by frame what passes, what is lost, what is changed, and when a connection breaks.  Test
 * code: any failure ends the program with a message.
 *
 * Threads: one of its own, which also runs the hook; the functions may be called from any other thread. */
#ifndef PENSTOCK_TESTS_SUPPORT_PROXY_H
#define PENSTOCK_TESTS_SUPPORT_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A whole request or answer, without its length prefix. */
struct proxy_frame {
    bool is_answer;
    int16_t api_key;
    int16_t api_version; /* of the request; an answer has its request's */
    int32_t correlation_id;
    uint8_t *bytes; /* may be changed, and replaced by other malloc'ed bytes (free the old) */
    size_t length;
};

enum proxy_verdict {
    PROXY_PASS,
    PROXY_LOSE,      /* the frame is gone, the connection stays */
    PROXY_BREAK,     /* the frame is gone and both connections are reset */
    PROXY_PASS_HALF, /* the first half goes, then both connections are reset */
};

typedef enum proxy_verdict (*proxy_hook)(struct proxy_frame *frame, void *arg);

struct proxy;

/* Listens on a free port of 127.0.0.1; until proxy_aim every connection is refused. */
struct proxy *proxy_new(void);
void proxy_free(struct proxy *proxy);
uint16_t proxy_port(const struct proxy *proxy);
/* Where to connect to; 0: nowhere, and every connection is reset. */
void proxy_aim(struct proxy *proxy, uint16_t port);
/* NULL: everything passes.  When this returns, the hook before it runs no more. */
void proxy_set_hook(struct proxy *proxy, proxy_hook hook, void *arg);
/* Resets every connection. */
void proxy_break_all(struct proxy *proxy);
/* Connections accepted so far. */
unsigned proxy_accepted(struct proxy *proxy);

#endif
