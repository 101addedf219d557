#include "common/status.h"

#include <errno.h>

const char *pst_status_text(enum pst_status status)
{
#define PST_STATUS_TEXT(name, text) text,
    static const char *const texts[] = {PST_STATUS_LIST(PST_STATUS_TEXT)};
#undef PST_STATUS_TEXT

    if ((unsigned)status >= PST_STATUS_COUNT)
        return "unknown status";
    return texts[status];
}

enum pst_status pst_status_of_errno(int error)
{
    switch (error) {
    case 0:
        return PST_OK;
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
        return PST_AGAIN;
    case ENOSPC:
    case EDQUOT:
        return PST_NOSPACE;
    case ENOMEM:
        return PST_NOMEM;
    case ENOENT:
        return PST_NOT_FOUND;
    case EEXIST:
        return PST_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return PST_DENIED;
    case EINVAL:
        return PST_INVALID;
    case ENOTSUP:
    case ENOSYS:
        return PST_UNSUPPORTED;
    case ETIMEDOUT:
        return PST_TIMEOUT;
    case EPIPE:
    case ECONNRESET:
        return PST_CLOSED;
    case EADDRINUSE:
    case EBUSY:
        return PST_BUSY;
    default:
        return PST_IO;
    }
}
