/* penstock: the command line, sub-commands in the manner of git. */
#include "client/cli/cli.h"

#include <signal.h>
#include <string.h>

const struct cli_command cli_commands[] = {
    {"produce", "send lines or files as records", cli_produce},
    {"consume", "print the records of assigned partitions", cli_consume},
    {"topics", "list, describe, create, delete topics; add partitions", cli_topics},
    {"configs", "describe and change settings of topics and brokers", cli_configs},
    {"offsets", "show where partitions begin and end, or find offsets by time", cli_offsets},
    {"records", "delete records from the front of a partition", cli_records},
    {"perf", "measure producing, consuming, latency", cli_perf},
    {"dump", "show segment, index, checkpoint and metadata files", cli_dump},
    {"cluster", "ping a broker, show the brokers and what they serve", cli_cluster},
    {NULL, NULL, NULL},
};

static void print_help(FILE *out)
{
    fputs("usage: penstock COMMAND [OPTION]... [ARGUMENT]...\n\nThe command line of the Penstock log broker; "
          "works with "
          "Apache Kafka as well.\n\nCommands:\n",
          out);
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++)
        fprintf(out, "  %-10s %s\n", command->name, command->summary);
    fputs("\nOptions of every command:\n"
          "  -b, --bootstrap-server HOST:PORT   the broker (default: $PENSTOCK_BROKER, else 127.0.0.1:9092)\n"
          "  -X, --set KEY=VALUE                a client setting, Kafka's names (linger.ms, acks, ...)\n"
          "  -J, --json                         output for programs\n"
          "  -q, --quiet                        no remarks\n"
          "  -h, --help                         help of the command, with examples\n"
          "\nExamples:\n"
          "  penstock topics create orders -p 3\n"
          "  echo hello | penstock produce -t orders\n"
          "  penstock consume -t orders -o beginning -e\n",
          out);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_DFL);
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("penstock %s\n", pst_version());
        return CLI_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return CLI_OK;
    }
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++) {
        if (strcmp(argv[1], command->name) == 0)
            return command->run(argc - 1, argv + 1);
    }
    fprintf(stderr, "penstock: unknown command '%s'; see penstock --help\n", argv[1]);
    return CLI_USAGE;
}
