/* penstockd: reads the command line, runs the broker, waits for signals. */
#include "broker/broker.h"
#include "broker/cmdline.h"
#include "common/logger.h"
#include "common/notify.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MESSAGES_BYTES_MAX 65536

#define EXIT_USAGE         2

/* Every thread inherits the mask: signals arrive in the descriptor only. */
static int open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Connections and segments are descriptors: take what the hard limit allows. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        LOG_WARN("daemon.descriptors", "reason=\"%s\"", strerror(errno));
}

static void print_messages(const struct buf *messages)
{
    if (messages->length > 0)
        fprintf(stderr, "%.*s", (int)messages->length, (const char *)messages->at);
}

static void apply_logger(const struct broker_options *options)
{
    enum logger_level level;

    if (logger_parse_level(options->logger_level, &level))
        logger_set_level(level);
    else
        LOG_WARN("daemon.logger", "value=%s expected=\"error, warn, info or debug\"", options->logger_level);
}

/* SIGHUP: what may change, changes; the rest is kept. */
static void reload(struct broker *broker, struct broker_options *options, int argc, char **argv)
{
    struct broker_options fresh;
    struct buf messages;
    unsigned count;
    const struct option_row *rows = options_rows(&count);

    buf_init(&messages, MESSAGES_BYTES_MAX);
    if (options_init(&fresh) != PST_OK || cmdline_read(argc, argv, &fresh, &messages) == CMDLINE_ERROR) {
        LOG_ERROR("daemon.reload.refused", "reason=\"%.*s\"", (int)messages.length,
                  messages.at == NULL ? "" : (const char *)messages.at);
    } else {
        for (unsigned i = 0; i < count; i++) {
            struct buf value;

            if ((rows[i].flags & RELOADABLE) == 0)
                continue;
            buf_init(&value, MESSAGES_BYTES_MAX);
            options_format(&fresh, &rows[i], &value);
            buf_put_u8(&value, 0);
            if (options_set(options, rows[i].key, (const char *)value.at, "reload", &messages) != PST_OK)
                LOG_WARN("daemon.reload", "key=%s", rows[i].key);
            buf_free(&value);
        }
        apply_logger(options);
        broker_reload(broker);
        LOG_INFO("daemon.reloaded", "options=%u", count);
    }
    options_free(&fresh);
    buf_free(&messages);
}

/* Until somebody asks for the end. */
static void serve(struct broker *broker, struct broker_options *options, int signals, int argc, char **argv)
{
    for (;;) {
        struct pollfd poll_fd = {.fd = signals, .events = POLLIN};
        struct signalfd_siginfo info;
        int64_t delay_ms = broker_tick(broker);

        poll(&poll_fd, 1, delay_ms > 1000 ? 1000 : (int)delay_ms);
        while (read(signals, &info, sizeof info) == (ssize_t)sizeof info) {
            if (info.ssi_signo != SIGHUP) {
                LOG_INFO("daemon.stopping", "signal=%u", info.ssi_signo);
                return;
            }
            reload(broker, options, argc, argv);
        }
    }
}

static int run(struct broker_options *options, int argc, char **argv)
{
    struct buf messages;
    struct broker *broker;
    enum pst_status status;
    int signals = open_signals();

    buf_init(&messages, MESSAGES_BYTES_MAX);
    raise_descriptor_limit();
    apply_logger(options);
    status = broker_start(options, &broker, &messages);
    if (status != PST_OK) {
        print_messages(&messages);
        fprintf(stderr, "penstockd: not started: %s\n", pst_status_text(status));
        buf_free(&messages);
        return EXIT_FAILURE;
    }
    buf_free(&messages);
    notify_service("READY=1");
    serve(broker, options, signals, argc, argv);
    notify_service("STOPPING=1");
    status = broker_stop(broker);
    LOG_INFO("daemon.stopped", "clean=%s", status == PST_OK ? "true" : "false");
    close(signals);
    return status == PST_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct broker_options options;
    struct buf messages;
    enum cmdline_action action;
    int code = EXIT_SUCCESS;

    buf_init(&messages, MESSAGES_BYTES_MAX);
    if (options_init(&options) != PST_OK)
        return EXIT_FAILURE;
    action = cmdline_read(argc, argv, &options, &messages);
    print_messages(&messages);
    buf_reset(&messages);
    switch (action) {
    case CMDLINE_RUN:
        code = run(&options, argc, argv);
        break;
    case CMDLINE_CHECK:
        printf("the options are valid\n");
        break;
    case CMDLINE_SAMPLE:
        options_write_sample(&messages);
        fwrite(messages.at, 1, messages.length, stdout);
        break;
    case CMDLINE_HELP:
        fputs(cmdline_help, stdout);
        break;
    case CMDLINE_VERSION:
        printf("penstockd %s\n", PENSTOCK_VERSION);
        break;
    case CMDLINE_ERROR:
        code = EXIT_USAGE;
        break;
    }
    buf_free(&messages);
    options_free(&options);
    return code;
}
