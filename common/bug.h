/* Broken promises between our own functions stop the process; the outside world never does.
 *
 * Always compiled in.  Bytes from a socket or a disk are data and get an enum pst_status instead. */
#ifndef PENSTOCK_COMMON_BUG_H
#define PENSTOCK_COMMON_BUG_H

_Noreturn void bug_stop(const char *file, int line, const char *what);

#define BUG_ON(condition)                                                                                    \
    do {                                                                                                     \
        if (__builtin_expect(!!(condition), 0))                                                              \
            bug_stop(__FILE__, __LINE__, #condition);                                                        \
    } while (0)

#endif
