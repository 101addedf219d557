#include "broker/cmdline.h"

#include "common/str.h"

#include <stdlib.h>

const char cmdline_help[] =
    "usage: penstockd [-c FILE] [--set KEY=VALUE]...\n"
    "\n"
    "Runs the Penstock broker in the foreground.\n"
    "\n"
    "  -c, --config FILE     read options from a properties file (Kafka's keys and units)\n"
    "      --set KEY=VALUE   set one option; wins over the file, may be repeated\n"
    "      --check-config    check the options and exit\n"
    "      --sample-config   print every option with its default and meaning\n"
    "      --version         print the version\n"
    "  -h, --help            print this\n"
    "\n"
    "SIGTERM and SIGINT stop cleanly, SIGHUP reads the file again.\n"
    "\n"
    "Examples:\n"
    "  penstockd\n"
    "  penstockd --set listeners=PLAINTEXT://127.0.0.1:9092 --set log.dirs=/var/lib/penstock\n"
    "  penstockd -c /etc/penstock/penstock.properties\n"
    "  penstockd --sample-config > penstock.properties\n";

static bool set_pair(struct broker_options *options, const char *pair, struct buf *messages)
{
    const char *equals = strchr(pair, '=');
    char *key;
    enum pst_status status;

    if (equals == NULL || equals == pair) {
        buf_printf(messages, "error: --set %s: expected KEY=VALUE\n", pair);
        return false;
    }
    key = str_dup(str_of_bytes(pair, (size_t)(equals - pair)));
    status = key == NULL ? PST_NOMEM : options_set(options, key, equals + 1, "--set", messages);
    free(key);
    return status == PST_OK;
}

/* The value of an option that needs one: "--set x", or "--set=x". */
static const char *value_of(int argc, char **argv, int *i, const char *name)
{
    size_t length = strlen(name);

    if (strncmp(argv[*i], name, length) == 0 && argv[*i][length] == '=')
        return argv[*i] + length + 1;
    if (strcmp(argv[*i], name) != 0)
        return NULL;
    return *i + 1 < argc ? argv[++*i] : "";
}

enum cmdline_action cmdline_read(int argc, char **argv, struct broker_options *options, struct buf *messages)
{
    enum cmdline_action action = CMDLINE_RUN;
    const char *value;

    for (int i = 1; i < argc; i++) { /* the file first, whatever the order */
        if ((value = value_of(argc, argv, &i, "-c")) != NULL ||
            (value = value_of(argc, argv, &i, "--config")) != NULL) {
            if (options_load(options, value, messages) != PST_OK)
                return CMDLINE_ERROR;
        } else if (strcmp(argv[i], "--set") == 0) {
            i++;
        }
    }
    for (int i = 1; i < argc; i++) {
        if ((value = value_of(argc, argv, &i, "--set")) != NULL) {
            if (!set_pair(options, value, messages))
                return CMDLINE_ERROR;
        } else if (value_of(argc, argv, &i, "-c") != NULL || value_of(argc, argv, &i, "--config") != NULL) {
            continue;
        } else if (strcmp(argv[i], "--check-config") == 0) {
            action = CMDLINE_CHECK;
        } else if (strcmp(argv[i], "--sample-config") == 0) {
            action = CMDLINE_SAMPLE;
        } else if (strcmp(argv[i], "--version") == 0) {
            action = CMDLINE_VERSION;
        } else if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            action = CMDLINE_HELP;
        } else {
            buf_printf(messages, "error: unknown argument '%s'; see penstockd --help\n", argv[i]);
            return CMDLINE_ERROR;
        }
    }
    return action;
}
