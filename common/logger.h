/* The logger prints events for operators, one line each: time, level, event name, key=value pairs.
 *
 *   2026-11-24T12:00:00.123Z WARN  conn.garbage peer=127.0.0.1:4711 reason="frame too large"
 *
 * Any thread.  The level is tested before anything is formatted; each call site is limited to a few lines a
 * second and says how many it kept to itself.  Control characters in values are shown as \xNN, so a line
 * stays a line. */
#ifndef PENSTOCK_COMMON_LOGGER_H
#define PENSTOCK_COMMON_LOGGER_H

#include "common/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum logger_level {
    LOGGER_ERROR,
    LOGGER_WARN,
    LOGGER_INFO,
    LOGGER_DEBUG,
};

/* Per call site, static. */
struct logger_site {
    _Atomic int64_t window_s; /* the second being counted */
    _Atomic unsigned lines;   /* in it */
    _Atomic unsigned suppressed;
};

#define LOGGER_LINES_PER_SECOND 10u

extern _Atomic int logger_level; /* enum logger_level; LOGGER_INFO at start */

void logger_set_level(enum logger_level level);
bool logger_parse_level(const char *name, enum logger_level *ret); /* error, warn, info, debug */
void logger_set_fd(int fd);                                        /* 2 at start */

/* The format gives "key=value key=\"value with blanks\"". */
void logger_event(struct logger_site *site, enum logger_level level, const char *event, const char *format,
                  ...) PRINTF_LIKE(4, 5);

#define LOG_EVENT(level, event, ...)                                                                         \
    do {                                                                                                     \
        static struct logger_site logger_site_here;                                                          \
        if ((int)(level) <= atomic_load_explicit(&logger_level, memory_order_relaxed))                       \
            logger_event(&logger_site_here, level, event, __VA_ARGS__);                                      \
    } while (0)

#define LOG_ERROR(event, ...) LOG_EVENT(LOGGER_ERROR, event, __VA_ARGS__)
#define LOG_WARN(event, ...)  LOG_EVENT(LOGGER_WARN, event, __VA_ARGS__)
#define LOG_INFO(event, ...)  LOG_EVENT(LOGGER_INFO, event, __VA_ARGS__)
#define LOG_DEBUG(event, ...) LOG_EVENT(LOGGER_DEBUG, event, __VA_ARGS__)

#endif
