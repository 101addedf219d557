#include "common/logger.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048 /* longer lines are cut: one write, below PIPE_BUF */

_Atomic int logger_level = LOGGER_INFO;
static _Atomic int logger_fd = 2;

static const char *const level_names[] = {"ERROR", "WARN ", "INFO ", "DEBUG"};

void logger_set_level(enum logger_level level)
{
    atomic_store(&logger_level, (int)level);
}

bool logger_parse_level(const char *name, enum logger_level *ret)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};

    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum logger_level)i;
            return true;
        }
    }
    return false;
}

void logger_set_fd(int fd)
{
    atomic_store(&logger_fd, fd);
}

/* Whether this line may go out; *ret_suppressed: how many did not in the last window. */
static bool site_admits(struct logger_site *site, int64_t now_s, unsigned *ret_suppressed)
{
    int64_t window_s = atomic_load(&site->window_s);

    *ret_suppressed = 0;
    if (window_s != now_s && atomic_compare_exchange_strong(&site->window_s, &window_s, now_s)) {
        atomic_store(&site->lines, 0);
        *ret_suppressed = atomic_exchange(&site->suppressed, 0);
    }
    if (atomic_fetch_add(&site->lines, 1) < LOGGER_LINES_PER_SECOND)
        return true;
    atomic_fetch_add(&site->suppressed, 1);
    return false;
}

/* Copies so that whatever a peer put into a value cannot start a new line or move the cursor. */
static size_t append_safe(char *line, size_t at, const char *text)
{
    for (; *text != '\0' && at < LINE_BYTES_MAX - 8; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == 0x7f)
            at += (size_t)snprintf(line + at, 5, "\\x%02x", c);
        else
            line[at++] = (char)c;
    }
    return at;
}

void logger_event(struct logger_site *site, enum logger_level level, const char *event, const char *format,
                  ...)
{
    char line[LINE_BYTES_MAX];
    char text[LINE_BYTES_MAX];
    struct timespec now;
    struct tm parts;
    unsigned suppressed;
    va_list arguments;
    size_t at;
    ssize_t written;

    clock_gettime(CLOCK_REALTIME, &now);
    if (!site_admits(site, now.tv_sec, &suppressed))
        return;
    gmtime_r(&now.tv_sec, &parts);
    at = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &parts);
    at += (size_t)snprintf(line + at, sizeof line - at, ".%03ldZ %s %s ", now.tv_nsec / 1000000,
                           level_names[level], event);
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    at = append_safe(line, at, text);
    if (suppressed > 0 && at < LINE_BYTES_MAX - 40)
        at += (size_t)snprintf(line + at, sizeof line - at, " suppressed=%u", suppressed);
    line[at++] = '\n';
    written = write(atomic_load(&logger_fd), line, at);
    (void)written; /* nowhere to complain */
}
