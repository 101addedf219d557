#include "client/client.h"

#include <stdlib.h>
#include <sys/random.h>

static uint64_t seed(void)
{
    uint64_t value = 0;

    if (getrandom(&value, sizeof value, GRND_NONBLOCK) != (ssize_t)sizeof value || value == 0)
        value = (uint64_t)clock_monotonic_us(&real_clock) | 1;
    return value;
}

pst_err_t pst_client_new(const struct pst_config *config, struct pst_client **ret, struct pst_error *error)
{
    struct pst_client *client;
    pst_err_t code;

    if (config == NULL || ret == NULL)
        return error_set(error, PST_ERR_INVALID_ARGUMENT, "config and ret must be given");
    client = calloc(1, sizeof *client);
    if (client == NULL)
        return error_set_code(error, PST_ERR_NO_MEMORY);
    client->reactor.clock = &real_clock;
    client->reactor.epoll_fd = -1;
    code = config_settle(config, &client->config, error);
    if (code != PST_ERR_NONE)
        goto fail;
    client->cluster.env.reactor = &client->reactor;
    client->cluster.env.config = client->config;
    client->cluster.env.random = seed();
    code = cluster_open(&client->cluster, error);
    if (code != PST_ERR_NONE)
        goto fail_cluster;
    code = PST_ERR_SYSTEM;
    if (workers_new("pst-names", 1, &client->workers) != PST_OK ||
        reactor_start(&client->reactor) != PST_OK) {
        error_set(error, code, "cannot start the background threads");
        goto fail_cluster;
    }
    client->cluster.env.workers = client->workers;
    *ret = client;
    return PST_ERR_NONE;

fail_cluster:
    workers_free(client->workers);
    cluster_close(&client->cluster);
    reactor_close(&client->reactor);
fail:
    pst_config_free(client->config);
    free(client);
    return code;
}

void pst_client_free(struct pst_client *client)
{
    if (client == NULL)
        return;
    reactor_stop(&client->reactor);
    workers_free(client->workers);
    mailbox_deliver(client->reactor.box); /* names found too late */
    cluster_close(&client->cluster);
    reactor_close(&client->reactor);
    pst_config_free(client->config);
    free(client);
}
