#include "client/cli/cli.h"

#include "common/str.h"

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

static const struct cli_option *find_option(const struct cli_option *options, size_t count, const char *word,
                                            size_t length)
{
    for (size_t i = 0; i < count; i++) {
        if (word[0] == '-' ? options[i].name != NULL && strlen(options[i].name) == length - 1 &&
                                 memcmp(options[i].name, word + 1, length - 1) == 0
                           : options[i].letter == word[0])
            return &options[i];
    }
    return NULL;
}

/* The common options.  CLI_OK, CLI_USAGE, or -1: help was asked for. */
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
        return -1;
    }
}

int cli_read(struct cli *cli, const char *command, const char *help, int argc, char **argv,
             const struct cli_option *options, size_t option_count, cli_option_fn take, void *arg)
{
    const char *broker = getenv("PENSTOCK_BROKER");

    *cli = (struct cli){.command = command, .help = help, .config = pst_config_new(), .argv = argv};
    if (cli->config == NULL || !set_broker(cli, broker != NULL ? broker : DEFAULT_BROKER))
        return CLI_FAILED;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        size_t length = strcspn(word, "=");
        const struct cli_option *option;
        const char *value = NULL;
        bool is_common;

        if (word[0] != '-' || word[1] == '\0') {
            argv[cli->argc++] = argv[i];
            continue;
        }
        if (word[1] != '-')
            length = 2;
        option = find_option(options, option_count, word + 1, length - 1);
        is_common = option == NULL;
        if (option == NULL)
            option = find_option(common_options, sizeof common_options / sizeof common_options[0], word + 1,
                                 length - 1);
        if (option == NULL || (!option->has_value && word[length] != '\0'))
            return cli_usage(cli, "unknown option '%s'", word);
        if (option->has_value) {
            value = word[length] == '=' && word[1] == '-' ? word + length + 1
                    : word[length] != '\0'                ? word + length
                    : i + 1 < argc                        ? argv[++i]
                                                          : NULL;
            if (value == NULL)
                return cli_usage(cli, "option '%s' needs a value", word);
        }
        if (is_common) {
            int result = take_common(cli, option->letter, value);

            if (result == -1) {
                fputs(help, stdout);
                cli_end(cli);
                exit(CLI_OK);
            }
            if (result != CLI_OK)
                return result;
        } else if (!take(arg, option->name != NULL ? option->name : (char[]){option->letter, '\0'}, value)) {
            return CLI_USAGE;
        }
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
