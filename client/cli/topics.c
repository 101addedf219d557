/* penstock topics: list, describe, create, delete, partitions. */
#include "client/cli/cli.h"

#include <stdlib.h>
#include <string.h>

#define SETTINGS_MAX 64

static const char help[] =
    "usage: penstock topics list [-J]\n"
    "       penstock topics describe [TOPIC]...\n"
    "       penstock topics create TOPIC... [-p PARTITIONS] [-r REPLICAS] [-c KEY=VALUE]... "
    "[--validate-only]\n"
    "       penstock topics delete TOPIC...\n"
    "       penstock topics partitions TOPIC COUNT\n"
    "\n"
    "  -p, --partitions N           partitions of a new topic (default: the broker's)\n"
    "  -r, --replication-factor N   replicas of a new topic (default: the broker's)\n"
    "  -c, --config KEY=VALUE       topic configuration, may be repeated\n"
    "      --if-not-exists          create: an existing topic is no failure\n"
    "      --if-exists              delete: a missing topic is no failure\n"
    "      --validate-only          check, change nothing\n"
    "  -b, -X, -J, -q, -h           see penstock --help\n"
    "\n"
    "Examples:\n"
    "  penstock topics create orders -p 3 -c retention.ms=86400000\n"
    "  penstock topics create ledger -c flush.messages=1     # acknowledged when on disk\n"
    "  penstock topics describe orders\n"
    "  penstock topics partitions orders 6\n";

struct topics {
    struct cli cli;
    int64_t partitions;
    int64_t replicas;
    struct pst_setting settings[SETTINGS_MAX];
    size_t setting_count;
    bool if_not_exists;
    bool if_exists;
    bool validate_only;
};

static const struct cli_option options[] = {
    {'p', "partitions", true},   {'r', "replication-factor", true}, {'c', "config", true},
    {0, "if-not-exists", false}, {0, "if-exists", false},           {0, "validate-only", false},
};

static bool add_setting(struct topics *topics, const char *pair)
{
    char *copy = strdup(pair);
    char *equals = copy == NULL ? NULL : strchr(copy, '=');

    if (equals == NULL || equals == copy || topics->setting_count == SETTINGS_MAX) {
        cli_complain(&topics->cli, "-c %s: expected KEY=VALUE, at most %d", pair, SETTINGS_MAX);
        free(copy);
        return false;
    }
    *equals = '\0';
    topics->settings[topics->setting_count++] = (struct pst_setting){copy, equals + 1};
    /* cppcheck-suppress memleak ; the settings own it, cli_topics frees them */
    return true;
}

static bool take(void *arg, const char *name, const char *value)
{
    struct topics *topics = arg;

    if (strcmp(name, "partitions") == 0)
        return cli_number(&topics->cli, "--partitions", value, 1, 100000, &topics->partitions);
    if (strcmp(name, "replication-factor") == 0)
        return cli_number(&topics->cli, "--replication-factor", value, 1, INT16_MAX, &topics->replicas);
    if (strcmp(name, "config") == 0)
        return add_setting(topics, value);
    if (strcmp(name, "if-not-exists") == 0)
        topics->if_not_exists = true;
    else if (strcmp(name, "if-exists") == 0)
        topics->if_exists = true;
    else
        topics->validate_only = true;
    return true;
}

static int list(struct topics *topics)
{
    const struct pst_topics *found;
    struct pst_error error;

    if (pst_describe_topics(topics->cli.client, NULL, 0, CLI_TIMEOUT_MS, &found, &error) != 0) {
        cli_complain_error(&topics->cli, "list", &error);
        return CLI_FAILED;
    }
    for (size_t i = 0; i < found->count; i++) {
        const struct pst_topic_info *topic = &found->topics[i];

        if (topics->cli.json) {
            printf("{\"topic\":");
            cli_json_text(stdout, topic->name, strlen(topic->name));
            printf(",\"partitions\":%zu,\"internal\":%s}\n", topic->partition_count,
                   topic->internal ? "true" : "false");
        } else {
            printf("%s\n", topic->name);
        }
    }
    pst_result_free(found);
    return CLI_OK;
}

static void print_nodes(const char *name, const int32_t *nodes, size_t count, bool json)
{
    printf(json ? ",\"%s\":[" : "  %s ", name);
    for (size_t i = 0; i < count; i++)
        printf("%s%d", i > 0 ? "," : "", nodes[i]);
    if (json)
        putchar(']');
    else if (count == 0)
        putchar('-');
}

static void describe_topic(const struct pst_topic_info *topic, bool json)
{
    if (json) {
        printf("{\"topic\":");
        cli_json_text(stdout, topic->name, strlen(topic->name));
        printf(",\"internal\":%s,\"partitions\":[", topic->internal ? "true" : "false");
    } else {
        printf("%s  %zu partition%s%s\n", topic->name, topic->partition_count,
               topic->partition_count == 1 ? "" : "s", topic->internal ? ", internal" : "");
    }
    for (size_t i = 0; i < topic->partition_count; i++) {
        const struct pst_partition_info *p = &topic->partitions[i];

        if (json)
            printf("%s{\"partition\":%d,\"leader\":%d,\"epoch\":%d", i > 0 ? "," : "", p->partition,
                   p->leader, p->leader_epoch);
        else
            printf("  %-5d leader %d  epoch %d", p->partition, p->leader, p->leader_epoch);
        print_nodes("replicas", p->replicas, p->replica_count, json);
        print_nodes("isr", p->in_sync, p->in_sync_count, json);
        if (json)
            printf(",\"error\":\"%s\"}", pst_err_name(p->code));
        else
            printf("%s%s\n", p->code != 0 ? "  " : "", p->code != 0 ? pst_err_name(p->code) : "");
    }
    if (json)
        printf("]}\n");
}

static int describe(struct topics *topics)
{
    const struct pst_topics *found;
    struct pst_error error;
    int code = CLI_OK;

    if (pst_describe_topics(topics->cli.client, (const char *const *)topics->cli.argv + 1,
                            (size_t)topics->cli.argc - 1, CLI_TIMEOUT_MS, &found, &error) != 0) {
        cli_complain_error(&topics->cli, "describe", &error);
        return CLI_FAILED;
    }
    for (size_t i = 0; i < found->count; i++) {
        if (found->topics[i].code != 0) {
            cli_complain(&topics->cli, "%s: %s", found->topics[i].name, pst_err_text(found->topics[i].code));
            code = CLI_FAILED;
        } else {
            describe_topic(&found->topics[i], topics->cli.json);
        }
    }
    pst_result_free(found);
    return code;
}

/* One topic's fate; what the user has excused is no failure. */
static int tell(const struct topics *topics, const char *done, const char *name,
                const struct pst_outcome *outcome, bool excused)
{
    if (outcome->code != 0 && !excused) {
        cli_complain(&topics->cli, "%s: %s (%s)", name, outcome->text, pst_err_name(outcome->code));
        return CLI_FAILED;
    }
    if (!topics->cli.quiet)
        printf("%s %s\n", outcome->code != 0 ? "unchanged" : done, name);
    return CLI_OK;
}

static int create(struct topics *topics)
{
    size_t count = (size_t)topics->cli.argc - 1;
    struct pst_new_topic *wanted = calloc(count + 1, sizeof *wanted);
    struct pst_error error;
    int code = CLI_OK;

    for (size_t i = 0; wanted != NULL && i < count; i++)
        wanted[i] = (struct pst_new_topic){.name = topics->cli.argv[i + 1],
                                           .partitions = (int32_t)topics->partitions,
                                           .replication_factor = (int16_t)topics->replicas,
                                           .settings = topics->settings,
                                           .setting_count = topics->setting_count};
    if (wanted == NULL || pst_create_topics(topics->cli.client, wanted, count, topics->validate_only,
                                            CLI_TIMEOUT_MS, &error) != 0) {
        cli_complain_error(&topics->cli, "create", &error);
        free(wanted);
        return CLI_FAILED;
    }
    for (size_t i = 0; i < count; i++)
        code |= tell(topics, topics->validate_only ? "valid" : "created", wanted[i].name, &wanted[i].outcome,
                     topics->if_not_exists && wanted[i].outcome.code == 36);
    free(wanted);
    return code;
}

static int delete (struct topics *topics)
{
    size_t count = (size_t)topics->cli.argc - 1;
    struct pst_topic_removal *removals = calloc(count + 1, sizeof *removals);
    struct pst_error error;
    int code = CLI_OK;

    for (size_t i = 0; removals != NULL && i < count; i++)
        removals[i].name = topics->cli.argv[i + 1];
    if (removals == NULL ||
        pst_delete_topics(topics->cli.client, removals, count, CLI_TIMEOUT_MS, &error) != 0) {
        cli_complain_error(&topics->cli, "delete", &error);
        free(removals);
        return CLI_FAILED;
    }
    for (size_t i = 0; i < count; i++)
        code |= tell(topics, "deleted", removals[i].name, &removals[i].outcome,
                     topics->if_exists && removals[i].outcome.code == 3);
    free(removals);
    return code;
}

static int partitions(struct topics *topics)
{
    struct pst_more_partitions more = {.topic = topics->cli.argv[1]};
    struct pst_error error;
    int64_t count;

    if (topics->cli.argc != 3)
        return cli_usage(&topics->cli, "expected: partitions TOPIC COUNT");
    if (!cli_number(&topics->cli, "COUNT", topics->cli.argv[2], 1, 100000, &count))
        return CLI_USAGE;
    more.partitions = (int32_t)count;
    if (pst_create_partitions(topics->cli.client, &more, 1, topics->validate_only, CLI_TIMEOUT_MS, &error) !=
        0) {
        cli_complain_error(&topics->cli, "partitions", &error);
        return CLI_FAILED;
    }
    return tell(topics, "changed", more.topic, &more.outcome, false);
}

static int run(struct topics *topics)
{
    static const struct {
        const char *name;
        int (*run)(struct topics *topics);
        int words_min;
    } verbs[] = {{"list", list, 1},
                 {"describe", describe, 1},
                 {"create", create, 2},
                 {"delete", delete, 2},
                 {"partitions", partitions, 2}};

    if (topics->cli.argc == 0)
        return cli_usage(&topics->cli, "expected list, describe, create, delete or partitions");
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(topics->cli.argv[0], verbs[i].name) != 0)
            continue;
        if (topics->cli.argc < verbs[i].words_min)
            return cli_usage(&topics->cli, "%s: no topic named", verbs[i].name);
        return cli_connect(&topics->cli) ? verbs[i].run(topics) : CLI_FAILED;
    }
    return cli_usage(&topics->cli, "unknown verb '%s'", topics->cli.argv[0]);
}

int cli_topics(int argc, char **argv)
{
    struct topics topics = {.partitions = -1, .replicas = -1};
    int code = cli_read(&topics.cli, "topics", help, argc, argv, options, sizeof options / sizeof options[0],
                        take, &topics);

    if (code == CLI_OK)
        code = run(&topics);
    for (size_t i = 0; i < topics.setting_count; i++)
        free((char *)(uintptr_t)topics.settings[i].name);
    cli_end(&topics.cli);
    return code;
}
