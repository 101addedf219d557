/* The seam between the log and the file system: every call that changes or syncs a file goes through it.
 *
 * posix_files is the real thing; tests put a table of their own in between to fail a call, or to lose and
 * tear writes that were not synced.  All functions return 0 (or a count) or -1 with errno, like the calls
 * they stand for; short counts are possible.  Reading needs no seam: readers use pread/sendfile on the
 * descriptor. */
#ifndef PENSTOCK_COMMON_FILE_OPS_H
#define PENSTOCK_COMMON_FILE_OPS_H

#include "common/status.h"
#include "common/str.h"

#include <sys/types.h>
#include <sys/uio.h>

struct file_ops {
    int (*open)(const char *path, int flags, mode_t mode); /* O_CLOEXEC is added */
    int (*close)(int fd);
    ssize_t (*pwritev)(int fd, const struct iovec *iov, int count, off_t offset);
    int (*fallocate)(int fd, int mode, off_t offset, off_t length);
    int (*ftruncate)(int fd, off_t length);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*mkdir)(const char *path, mode_t mode);
    int (*rmdir)(const char *path);
    void *(*map)(int fd, off_t offset,
                 size_t length); /* shared, read and write; NULL with errno on failure */
    int (*unmap)(void *at, size_t length);
    int (*populate)(void *at, size_t length); /* MADV_POPULATE_WRITE: EFAULT instead of a signal */
    int (*sync_range)(int fd, off_t offset, off_t length); /* start writeback, no durability */
};

extern const struct file_ops posix_files;

/* Writes all of it, continuing after short counts and EINTR. */
MUST_CHECK enum pst_status file_write_all(const struct file_ops *files, int fd, const void *bytes,
                                          size_t length, off_t offset);

/* Replaces `path` by a file with these bytes so that a crash leaves the old or the new one, never a mix:
 * writes path.tmp, fsync, rename, fsync of the directory. */
MUST_CHECK enum pst_status file_replace(const struct file_ops *files, const char *path, struct str content);

/* fsync of a directory, so that names made, renamed or removed in it are durable. */
MUST_CHECK enum pst_status file_sync_dir(const struct file_ops *files, const char *path);

/* The whole file in a malloc'ed block with a NUL behind it.  PST_FULL when longer than length_max. */
MUST_CHECK enum pst_status file_read_all(const char *path, size_t length_max, char **ret, size_t *ret_length);

#endif
