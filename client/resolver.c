#include "client/resolver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int look_up(const char *host, const char *port, int flags, struct addrinfo **ret)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};

    return getaddrinfo(host, port, &hints, ret);
}

bool resolver_numeric(const char *host, uint16_t port, struct addrinfo **ret)
{
    char text[6];

    snprintf(text, sizeof text, "%u", (unsigned)port);
    return look_up(host, text, AI_NUMERICHOST, ret) == 0;
}

static void deliver_resolution(struct mail *mail)
{
    struct resolution *resolution = CONTAINER_OF(mail, struct resolution, mail);

    resolution->done(resolution);
}

static void run_resolution(struct worker_job *job)
{
    struct resolution *resolution = CONTAINER_OF(job, struct resolution, job);

    resolution->gai_error =
        look_up(resolution->host, resolution->port, AI_ADDRCONFIG, &resolution->addresses);
    if (resolution->gai_error != 0) /* a machine with nothing but loopback */
        resolution->gai_error = look_up(resolution->host, resolution->port, 0, &resolution->addresses);
    resolution->mail.deliver = deliver_resolution;
    reactor_post(resolution->reactor, &resolution->mail);
}

enum pst_status resolver_ask(struct workers *workers, struct reactor *reactor, const char *host,
                             uint16_t port, void (*done)(struct resolution *), void *user,
                             struct resolution **ret)
{
    struct resolution *resolution = calloc(1, sizeof *resolution);

    if (resolution == NULL)
        return PST_NOMEM;
    resolution->host = strdup(host);
    if (resolution->host == NULL) {
        free(resolution);
        return PST_NOMEM;
    }
    snprintf(resolution->port, sizeof resolution->port, "%u", (unsigned)port);
    resolution->reactor = reactor;
    resolution->done = done;
    resolution->user = user;
    resolution->job.run = run_resolution;
    *ret = resolution;
    workers_submit(workers, &resolution->job);
    return PST_OK;
}

void resolution_free(struct resolution *resolution)
{
    if (resolution == NULL)
        return;
    if (resolution->addresses != NULL)
        freeaddrinfo(resolution->addresses);
    free(resolution->host);
    free(resolution);
}
