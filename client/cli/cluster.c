/* penstock cluster: ping, describe, api-versions. */
#include "client/cli/cli.h"

#include <string.h>

static const char help[] = "usage: penstock cluster ping\n"
                           "       penstock cluster describe [-J]\n"
                           "       penstock cluster api-versions [-J]\n"
                           "\n"
                           "  -b, -X, -J, -q, -h   see penstock --help\n"
                           "\n"
                           "Examples:\n"
                           "  penstock cluster ping -b 127.0.0.1:9092 && echo up\n"
                           "  penstock cluster api-versions\n";

static int ping(struct cli *cli)
{
    const struct pst_api_versions *versions;
    struct pst_error error;

    if (pst_api_versions(cli->client, -1, CLI_TIMEOUT_MS, &versions, &error) != 0) {
        cli_complain_error(cli, "ping", &error);
        return CLI_FAILED;
    }
    if (!cli->quiet)
        printf("%s answered after %.3f ms\n", versions->address, (double)versions->round_trip_us / 1000);
    pst_result_free(versions);
    return CLI_OK;
}

static int api_versions(struct cli *cli)
{
    const struct pst_api_versions *versions;
    struct pst_error error;

    if (pst_api_versions(cli->client, -1, CLI_TIMEOUT_MS, &versions, &error) != 0) {
        cli_complain_error(cli, "api-versions", &error);
        return CLI_FAILED;
    }
    for (size_t i = 0; i < versions->count; i++) {
        const struct pst_api_range *api = &versions->apis[i];

        printf(cli->json ? "{\"key\":%d,\"name\":\"%s\",\"min\":%d,\"max\":%d}\n" : "%3d  %-32s %d-%d\n",
               api->key, api->name != NULL ? api->name : "?", api->version_min, api->version_max);
    }
    pst_result_free(versions);
    return CLI_OK;
}

static int describe(struct cli *cli)
{
    const struct pst_cluster *cluster;
    struct pst_error error;

    if (pst_describe_cluster(cli->client, CLI_TIMEOUT_MS, &cluster, &error) != 0) {
        cli_complain_error(cli, "describe", &error);
        return CLI_FAILED;
    }
    if (!cli->json)
        printf("cluster %s  controller %d\n", cluster->cluster_id != NULL ? cluster->cluster_id : "-",
               cluster->controller);
    for (size_t i = 0; i < cluster->broker_count; i++) {
        const struct pst_broker_info *broker = &cluster->brokers[i];

        printf(cli->json ? "{\"broker\":%d,\"host\":\"%s\",\"port\":%d}\n" : "broker %d  %s:%d\n", broker->id,
               broker->host, broker->port);
    }
    pst_result_free(cluster);
    return CLI_OK;
}

static bool take_nothing(void *arg, const char *name, const char *value)
{
    (void)arg;
    (void)name;
    (void)value;
    return false;
}

int cli_cluster(int argc, char **argv)
{
    struct cli cli;
    int code = cli_read(&cli, "cluster", help, argc, argv, NULL, 0, take_nothing, NULL);
    int (*verb)(struct cli * cli) = NULL;

    if (code == CLI_OK && cli.argc == 1)
        verb = strcmp(cli.argv[0], "ping") == 0           ? ping
               : strcmp(cli.argv[0], "describe") == 0     ? describe
               : strcmp(cli.argv[0], "api-versions") == 0 ? api_versions
                                                          : NULL;
    if (code == CLI_OK && verb == NULL)
        code = cli_usage(&cli, "expected ping, describe or api-versions");
    if (code == CLI_OK)
        code = cli_connect(&cli) ? verb(&cli) : CLI_FAILED;
    cli_end(&cli);
    return code;
}
