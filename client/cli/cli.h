/* What the sub-commands of `penstock` share: options, output, errors.
 *
 * Exit codes: 0 done, 1 something failed, 2 the command line is wrong. */
#ifndef PENSTOCK_CLIENT_CLI_CLI_H
#define PENSTOCK_CLIENT_CLI_CLI_H

#include "client/include/penstock/penstock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
};

#define CLI_TIMEOUT_MS 30000

/* Options every sub-command that talks to a broker takes. */
struct cli {
    const char *command; /* "topics" */
    const char *help;
    struct pst_config *config;
    struct pst_client *client; /* by cli_connect */
    bool json;                 /* -J */
    bool quiet;                /* -q */
    int argc;                  /* what is left, beginning with the first word that is no option */
    char **argv;
};

struct cli_command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

extern const struct cli_command cli_commands[]; /* ends with a NULL name */

/* A sub-command's own option: 'letter' or a long name ("--partitions"); value NULL for flags.  False: not one
 * of its. */
typedef bool (*cli_option_fn)(void *arg, const char *name, const char *value);

struct cli_option {
    char letter;      /* 0: none */
    const char *name; /* long, without dashes */
    bool has_value;
};

/* Reads the common options (-b, -X, -J, -q, -h) and the command's own; words that are no options are
 * collected in argv. Returns CLI_OK to go on, or the exit code to end with (help was printed, or the
 * mistake). */
int cli_read(struct cli *cli, const char *command, const char *help, int argc, char **argv,
             const struct cli_option *options, size_t option_count, cli_option_fn take, void *arg);
/* Makes cli->client.  False: the reason was printed. */
bool cli_connect(struct cli *cli);
/* How many partitions the topic has.  False: the reason was printed. */
bool cli_partition_count(const struct cli *cli, const char *topic, int32_t *ret_count);
void cli_end(struct cli *cli);

/* "penstock COMMAND: …" on stderr. */
void cli_complain(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for a failed library call. */
void cli_complain_error(const struct cli *cli, const char *what, const struct pst_error *error);
/* A wrong word on the command line; returns CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A whole number within [min, max]; false: complained. */
bool cli_number(const struct cli *cli, const char *name, const char *text, int64_t min, int64_t max,
                int64_t *ret);

/* A JSON string with quotes, escaped; bytes that are not UTF-8 become \ufffd. */
void cli_json_text(FILE *out, const char *text, size_t length);

/* Progress of long work, on a terminal only. */
struct cli_progress {
    bool shown;
    int64_t started_us;
    int64_t next_us;
};
void cli_progress_start(struct cli_progress *progress);
void cli_progress_show(struct cli_progress *progress, uint64_t done, uint64_t total, uint64_t bytes);
void cli_progress_end(struct cli_progress *progress);
int64_t cli_now_us(void);

int cli_topics(int argc, char **argv);
int cli_produce(int argc, char **argv);
int cli_consume(int argc, char **argv);
int cli_configs(int argc, char **argv);
int cli_offsets(int argc, char **argv);
int cli_records(int argc, char **argv);
int cli_perf(int argc, char **argv);
int cli_dump(int argc, char **argv);
int cli_cluster(int argc, char **argv);

#endif
