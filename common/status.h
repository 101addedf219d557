/* The one list of outcomes our own functions return.
 *
 * These are not Kafka's error codes: broker/api/error_map.c turns one into the other, and only there. */
#ifndef PENSTOCK_COMMON_STATUS_H
#define PENSTOCK_COMMON_STATUS_H

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(at, first) __attribute__((format(printf, at, first)))

/* X(name, text, when) */
#define PST_STATUS_LIST(X)                                                                                   \
    X(PST_OK, "ok")                                                                                          \
    X(PST_AGAIN, "would block, try again later")                                                             \
    X(PST_EOF, "end of stream")                                                                              \
    X(PST_FULL, "no room left within a bound")                                                               \
    X(PST_NOMEM, "out of memory")                                                                            \
    X(PST_IO, "input/output error")                                                                          \
    X(PST_NOSPACE, "no space left on device")                                                                \
    X(PST_CORRUPT, "stored or received bytes fail their check")                                              \
    X(PST_TRUNCATED, "input ends in the middle of a value")                                                  \
    X(PST_INVALID, "invalid value")                                                                          \
    X(PST_UNSUPPORTED, "not supported")                                                                      \
    X(PST_NOT_FOUND, "not found")                                                                            \
    X(PST_EXISTS, "exists already")                                                                          \
    X(PST_BUSY, "in use by somebody else")                                                                   \
    X(PST_OFFLINE, "storage is offline after an input/output error")                                         \
    X(PST_OUT_OF_RANGE, "offset out of range")                                                               \
    X(PST_CLOSED, "closed")                                                                                  \
    X(PST_TIMEOUT, "timed out")                                                                              \
    X(PST_DENIED, "permission denied")

#define PST_STATUS_ENUM(name, text) name,
enum pst_status { PST_STATUS_LIST(PST_STATUS_ENUM) PST_STATUS_COUNT };
#undef PST_STATUS_ENUM

/* A static text for people; never NULL, whatever the value. */
const char *pst_status_text(enum pst_status status);

/* The status that fits an errno value of a file or socket call (ENOSPC and EDQUOT: PST_NOSPACE, EAGAIN:
 * PST_AGAIN, ENOENT: PST_NOT_FOUND, ...; anything unknown: PST_IO). */
enum pst_status pst_status_of_errno(int error);

#endif
