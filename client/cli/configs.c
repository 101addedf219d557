/* penstock configs: describe and alter the settings of topics and brokers. */
#include "client/cli/cli.h"

#include <stdlib.h>
#include <string.h>

#define CHANGES_MAX 64

static const char help[] =
    "usage: penstock configs describe (-t TOPIC | -n BROKER) [--all] [--docs] [NAME]...\n"
    "       penstock configs set (-t TOPIC | -n BROKER) KEY=VALUE...\n"
    "       penstock configs delete (-t TOPIC | -n BROKER) KEY...      (back to the default)\n"
    "       penstock configs append|subtract (-t TOPIC | -n BROKER) KEY=VALUE...   (lists)\n"
    "\n"
    "  -t, --topic TOPIC        of a topic\n"
    "  -n, --node ID            of a broker\n"
    "  -a, --all                describe: also what has its default\n"
    "  -d, --docs               describe: with explanations\n"
    "      --validate-only      check, change nothing\n"
    "  -b, -X, -J, -q, -h       see penstock --help\n"
    "\n"
    "Examples:\n"
    "  penstock configs describe -t orders --all --docs\n"
    "  penstock configs set -t orders retention.ms=3600000 flush.messages=1\n"
    "  penstock configs delete -t orders retention.ms\n";

struct configs {
    struct cli cli;
    const char *topic;
    const char *node;
    bool all;
    bool docs;
    bool validate_only;
};

static const struct cli_option options[] = {
    {'t', "topic", true}, {'n', "node", true},         {'a', "all", false},
    {'d', "docs", false}, {0, "validate-only", false},
};

static bool take(void *arg, const char *name, const char *value)
{
    struct configs *configs = arg;

    if (strcmp(name, "topic") == 0)
        configs->topic = value;
    else if (strcmp(name, "node") == 0)
        configs->node = value;
    else if (strcmp(name, "all") == 0)
        configs->all = true;
    else if (strcmp(name, "docs") == 0)
        configs->docs = true;
    else
        configs->validate_only = true;
    return true;
}

static void print_value(const struct configs *configs, const struct pst_config_value *value)
{
    if (configs->cli.json) {
        fputs("{\"name\":", stdout);
        cli_json_text(stdout, value->name, strlen(value->name));
        fputs(",\"value\":", stdout);
        if (value->value == NULL)
            fputs("null", stdout);
        else
            cli_json_text(stdout, value->value, strlen(value->value));
        printf(",\"source\":\"%s\",\"read_only\":%s,\"sensitive\":%s}\n",
               pst_config_source_name(value->source), value->read_only ? "true" : "false",
               value->sensitive ? "true" : "false");
        return;
    }
    printf("%s=%s  (%s%s)\n", value->name, value->value != NULL ? value->value : "",
           pst_config_source_name(value->source), value->read_only ? ", read-only" : "");
    if (configs->docs && value->doc != NULL)
        printf("    %s\n", value->doc);
}

static bool is_named(const struct configs *configs, const char *name)
{
    for (int i = 1; i < configs->cli.argc; i++) {
        if (strcmp(configs->cli.argv[i], name) == 0)
            return true;
    }
    return configs->cli.argc == 1;
}

static int describe(struct configs *configs, const struct pst_resource *resource)
{
    const struct pst_configs *found;
    struct pst_error error;
    int code = CLI_OK;

    if (pst_describe_configs(configs->cli.client, resource, 1, false, configs->docs, CLI_TIMEOUT_MS, &found,
                             &error) != 0) {
        cli_complain_error(&configs->cli, "describe", &error);
        return CLI_FAILED;
    }
    if (found->count == 0 || found->resources[0].code != 0) {
        cli_complain(&configs->cli, "%s: %s", resource->name,
                     found->count == 0 ? "no answer" : found->resources[0].text);
        code = CLI_FAILED;
    }
    for (size_t i = 0; code == CLI_OK && i < found->resources[0].value_count; i++) {
        const struct pst_config_value *value = &found->resources[0].values[i];

        if (is_named(configs, value->name) &&
            (configs->all || configs->cli.argc > 1 || value->source != PST_SOURCE_DEFAULT))
            print_value(configs, value);
    }
    pst_result_free(found);
    return code;
}

/* KEY=VALUE words (KEY alone for DELETE) as changes; the '=' in argv becomes a NUL. */
static int read_changes(struct configs *configs, int op, struct pst_config_change *changes)
{
    if (configs->cli.argc < 2 || configs->cli.argc - 1 > CHANGES_MAX)
        return cli_usage(&configs->cli, "expected 1 to %d settings", CHANGES_MAX);
    for (int i = 1; i < configs->cli.argc; i++) {
        char *equals = strchr(configs->cli.argv[i], '=');

        if ((equals == NULL) != (op == PST_CONFIG_DELETE))
            return cli_usage(&configs->cli, "%s: expected %s", configs->cli.argv[i],
                             op == PST_CONFIG_DELETE ? "KEY" : "KEY=VALUE");
        if (equals != NULL)
            *equals = '\0';
        changes[i - 1] =
            (struct pst_config_change){configs->cli.argv[i], op, equals == NULL ? NULL : equals + 1};
    }
    return CLI_OK;
}

static int alter(struct configs *configs, const struct pst_resource *resource, int op)
{
    struct pst_config_change changes[CHANGES_MAX];
    struct pst_resource_changes all = {.type = resource->type, .name = resource->name, .changes = changes};
    struct pst_error error;
    int code = read_changes(configs, op, changes);

    if (code != CLI_OK)
        return code;
    all.change_count = (size_t)configs->cli.argc - 1;
    if (pst_alter_configs(configs->cli.client, &all, 1, configs->validate_only, CLI_TIMEOUT_MS, &error) !=
        0) {
        cli_complain_error(&configs->cli, "alter", &error);
        return CLI_FAILED;
    }
    if (all.outcome.code != 0) {
        cli_complain(&configs->cli, "%s: %s (%s)", resource->name, all.outcome.text,
                     pst_err_name(all.outcome.code));
        return CLI_FAILED;
    }
    if (!configs->cli.quiet)
        printf("%s %s\n", configs->validate_only ? "valid for" : "changed", resource->name);
    return CLI_OK;
}

static int run(struct configs *configs)
{
    static const struct {
        const char *name;
        int op;
    } verbs[] = {{"set", PST_CONFIG_SET},
                 {"delete", PST_CONFIG_DELETE},
                 {"append", PST_CONFIG_APPEND},
                 {"subtract", PST_CONFIG_SUBTRACT}};
    struct pst_resource resource = {configs->topic != NULL ? PST_RESOURCE_TOPIC : PST_RESOURCE_BROKER,
                                    configs->topic != NULL ? configs->topic : configs->node};

    if (configs->cli.argc == 0)
        return cli_usage(&configs->cli, "expected describe, set, delete, append or subtract");
    if ((configs->topic == NULL) == (configs->node == NULL))
        return cli_usage(&configs->cli, "whose? Give -t TOPIC or -n BROKER");
    if (!cli_connect(&configs->cli))
        return CLI_FAILED;
    if (strcmp(configs->cli.argv[0], "describe") == 0)
        return describe(configs, &resource);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(configs->cli.argv[0], verbs[i].name) == 0)
            return alter(configs, &resource, verbs[i].op);
    }
    return cli_usage(&configs->cli, "unknown verb '%s'", configs->cli.argv[0]);
}

int cli_configs(int argc, char **argv)
{
    struct configs configs = {.topic = NULL};
    int code = cli_read(&configs.cli, "configs", help, argc, argv, options,
                        sizeof options / sizeof options[0], take, &configs);

    if (code == CLI_OK)
        code = run(&configs);
    cli_end(&configs.cli);
    return code;
}
