#include "client/cli/cli.h"

#include "common/str.h"
#include "protocol/error_codes.h"

#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_BROKER "127.0.0.1:9092"

void cli_complain(const struct cli *cli, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "penstock %s: ", cli->command);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

void cli_complain_error(const struct cli *cli, const char *what, const struct pst_error *error)
{
    cli_complain(cli, "%s: %s (%s)", what, error->text, pst_err_name(error->code));
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "penstock %s: ", cli->command);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nSee penstock %s --help.\n", cli->command);
    return CLI_USAGE;
}

bool cli_number(const struct cli *cli, const char *name, const char *text, int64_t min, int64_t max,
                int64_t *ret)
{
    int64_t number;

    if (str_parse_i64(str_of(text), &number) && number >= min && number <= max) {
        *ret = number;
        return true;
    }
    cli_complain(cli, "%s %s: expected a whole number from %lld to %lld", name, text, (long long)min,
                 (long long)max);
    return false;
}

static bool set_pair(const struct cli *cli, const char *pair)
{
    const char *equals = strchr(pair, '=');
    struct pst_error error;
    char *key;
    bool set;

    if (equals == NULL || equals == pair) {
        cli_complain(cli, "-X %s: expected KEY=VALUE", pair);
        return false;
    }
    key = str_dup(str_of_bytes(pair, (size_t)(equals - pair)));
    set = key != NULL && pst_config_set(cli->config, key, equals + 1, &error) == 0;
    if (!set)
        cli_complain(cli, "-X %s: %s", pair, key == NULL ? "out of memory" : error.text);
    free(key);
    return set;
}

static bool set_broker(const struct cli *cli, const char *address)
{
    struct pst_error error;

    if (pst_config_set(cli->config, "bootstrap.servers", address, &error) == 0)
        return true;
    cli_complain(cli, "-b %s: %s", address, error.text);
    return false;
}

static const struct cli_option common_options[] = {
    {'b', "bootstrap-server", true}, {'X', "set", true},   {'J', "json", false},
    {'q', "quiet", false},           {'h', "help", false},
};

/* By its letter, or by its long name when the letter is 0. */
static const struct cli_option *find_option(const struct cli_option *options, size_t count, char letter,
                                            struct str name)
{
    for (size_t i = 0; i < count; i++) {
        if (letter != '\0' ? options[i].letter == letter
                           : options[i].name != NULL && str_equal(str_of(options[i].name), name))
            return &options[i];
    }
    return NULL;
}

#define HELP_ASKED (-1)

/* The common options.  CLI_OK, CLI_USAGE or HELP_ASKED. */
static int take_common(struct cli *cli, char letter, const char *value)
{
    switch (letter) {
    case 'b':
        return set_broker(cli, value) ? CLI_OK : CLI_USAGE;
    case 'X':
        return set_pair(cli, value) ? CLI_OK : CLI_USAGE;
    case 'J':
        cli->json = true;
        return CLI_OK;
    case 'q':
        cli->quiet = true;
        return CLI_OK;
    default:
        return HELP_ASKED;
    }
}

/* The words of the command line and who understands them. */
struct reading {
    struct cli *cli;
    const struct cli_option *options;
    size_t option_count;
    cli_option_fn take;
    void *arg;
    int argc;
    char **argv;
    int at; /* the word in hand */
};

/* One option: `rest` is what follows it in its word, NULL or "": nothing.  Outcome as take_common; *ret_used:
 * the rest was its value. */
static int read_option(struct reading *reading, char letter, struct str name, const char *rest,
                       bool *ret_used)
{
    const struct cli_option *option = find_option(reading->options, reading->option_count, letter, name);
    bool is_common = option == NULL;
    const char *value = rest;

    if (is_common)
        option = find_option(common_options, sizeof common_options / sizeof common_options[0], letter, name);
    if (option == NULL || (letter == '\0' && !option->has_value && rest != NULL))
        return cli_usage(reading->cli, "unknown option '%s'", reading->argv[reading->at]);
    *ret_used = option->has_value;
    if (option->has_value && (value == NULL || (letter != '\0' && value[0] == '\0'))) {
        if (reading->at + 1 == reading->argc)
            return cli_usage(reading->cli, "option '%s' needs a value", reading->argv[reading->at]);
        value = reading->argv[++reading->at];
    }
    if (is_common)
        return take_common(reading->cli, option->letter, value);
    if (!reading->take(reading->arg, option->name, option->has_value ? value : NULL))
        return CLI_USAGE;
    return CLI_OK;
}

/* "--name", "--name=value", "-n", "-nVALUE", "-abc". */
static int read_word(struct reading *reading, const char *word)
{
    int result = CLI_OK;
    bool used = false;

    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");

        return read_option(reading, '\0', str_of_bytes(word + 2, length),
                           word[2 + length] == '=' ? word + 3 + length : NULL, &used);
    }
    for (const char *at = word + 1; *at != '\0' && !used && result == CLI_OK; at++)
        result = read_option(reading, *at, str_of(""), at + 1, &used);
    return result;
}

int cli_read(struct cli *cli, const char *command, const char *help, int argc, char **argv,
             const struct cli_option *options, size_t option_count, cli_option_fn take, void *arg)
{
    const char *broker = getenv("PENSTOCK_BROKER");
    struct reading reading = {cli, options, option_count, take, arg, argc, argv, 1};

    *cli = (struct cli){.command = command, .help = help, .config = pst_config_new(), .argv = argv};
    if (cli->config == NULL || !set_broker(cli, broker != NULL ? broker : DEFAULT_BROKER))
        return CLI_FAILED;
    for (; reading.at < argc; reading.at++) {
        const char *word = argv[reading.at];
        int result;

        if (word[0] != '-' || word[1] == '\0') {
            argv[cli->argc++] = argv[reading.at];
            continue;
        }
        result = read_word(&reading, word);
        if (result == HELP_ASKED) {
            fputs(help, stdout);
            cli_end(cli);
            exit(CLI_OK);
        }
        if (result != CLI_OK)
            return result;
    }
    return CLI_OK;
}

bool cli_connect(struct cli *cli)
{
    struct pst_error error;

    if (pst_client_new(cli->config, &cli->client, &error) == 0)
        return true;
    cli_complain(cli, "%s", error.text);
    return false;
}

bool cli_partition_count(const struct cli *cli, const char *topic, int32_t *ret_count)
{
    const struct pst_topics *topics;
    struct pst_error error;
    pst_err_t code;

    if (pst_describe_topics(cli->client, &topic, 1, CLI_TIMEOUT_MS, &topics, &error) != 0) {
        cli_complain_error(cli, topic, &error);
        return false;
    }
    code = topics->count == 0 ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : topics->topics[0].code;
    if (code == 0)
        *ret_count = (int32_t)topics->topics[0].partition_count;
    else
        cli_complain(cli, "%s: %s", topic, pst_err_text(code));
    pst_result_free(topics);
    return code == 0;
}

void cli_end(struct cli *cli)
{
    pst_client_free(cli->client);
    pst_config_free(cli->config);
    cli->client = NULL;
    cli->config = NULL;
}

/* Length of the valid UTF-8 sequence at `at`, 0: none. */
static size_t utf8_length(const unsigned char *at, size_t left)
{
    size_t length = at[0] < 0x80                    ? 1
                    : at[0] >= 0xc2 && at[0] < 0xe0 ? 2
                    : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
                    : at[0] >= 0xf0 && at[0] < 0xf5 ? 4
                                                    : 0;

    if (length == 0 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

void cli_json_text(FILE *out, const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;

    fputc('"', out);
    while (length > 0) {
        size_t step = utf8_length(at, length);

        if (step == 0) {
            fputs("\\ufffd", out);
            step = 1;
        } else if (at[0] == '"' || at[0] == '\\') {
            fprintf(out, "\\%c", at[0]);
        } else if (at[0] < 0x20) {
            fprintf(out, "\\u%04x", at[0]);
        } else {
            fwrite(at, 1, step, out);
        }
        at += step;
        length -= step;
    }
    fputc('"', out);
}

int64_t cli_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#define PROGRESS_STEP_US 200000
#define PROGRESS_WIDTH   30

void cli_progress_start(struct cli_progress *progress)
{
    progress->shown = isatty(STDERR_FILENO) == 1;
    progress->started_us = cli_now_us();
    progress->next_us = progress->started_us + PROGRESS_STEP_US;
}

void cli_progress_show(struct cli_progress *progress, uint64_t done, uint64_t total, uint64_t bytes)
{
    int64_t now_us = progress->shown ? cli_now_us() : 0;
    double seconds;
    unsigned filled;

    if (!progress->shown || now_us < progress->next_us)
        return;
    progress->next_us = now_us + PROGRESS_STEP_US;
    seconds = (double)(now_us - progress->started_us) / 1e6;
    filled = total == 0 ? 0 : (unsigned)(done * PROGRESS_WIDTH / total);
    fprintf(stderr, "\r\033[K");
    if (total > 0)
        fprintf(stderr, "[%.*s%.*s] %3u %%  ", (int)filled, "##############################",
                (int)(PROGRESS_WIDTH - filled), "..............................",
                (unsigned)(done * 100 / total));
    fprintf(stderr, "%llu records  %.0f/s  %.1f MB/s", (unsigned long long)done, (double)done / seconds,
            (double)bytes / 1e6 / seconds);
    fflush(stderr);
}

void cli_progress_end(struct cli_progress *progress)
{
    if (progress->shown)
        fprintf(stderr, "\r\033[K");
}
