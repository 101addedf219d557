#include "common/file_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int posix_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags | O_CLOEXEC, mode);
}

static void *posix_map(int fd, off_t offset, size_t length)
{
    void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

    return at == MAP_FAILED ? NULL : at;
}

static int posix_populate(void *at, size_t length)
{
    return madvise(at, length, MADV_POPULATE_WRITE);
}

static int posix_sync_range(int fd, off_t offset, off_t length)
{
    return sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE);
}

const struct file_ops posix_files = {
    .open = posix_open,
    .close = close,
    .pwritev = pwritev,
    .fallocate = fallocate,
    .ftruncate = ftruncate,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .rename = rename,
    .unlink = unlink,
    .mkdir = mkdir,
    .rmdir = rmdir,
    .map = posix_map,
    .unmap = munmap,
    .populate = posix_populate,
    .sync_range = posix_sync_range,
};

enum pst_status file_write_all(const struct file_ops *files, int fd, const void *bytes, size_t length,
                               off_t offset)
{
    const uint8_t *at = bytes;

    while (length > 0) {
        struct iovec part = {(void *)(uintptr_t)at, length};
        ssize_t n = files->pwritev(fd, &part, 1, offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return pst_status_of_errno(errno);
        if (n == 0)
            return PST_IO;
        at += n;
        offset += n;
        length -= (size_t)n;
    }
    return PST_OK;
}

enum pst_status file_sync_dir(const struct file_ops *files, const char *path)
{
    enum pst_status status = PST_OK;
    int fd = files->open(path, O_RDONLY | O_DIRECTORY, 0);

    if (fd < 0)
        return pst_status_of_errno(errno);
    if (files->fsync(fd) != 0)
        status = pst_status_of_errno(errno);
    files->close(fd);
    return status;
}

static enum pst_status sync_parent_dir(const struct file_ops *files, const char *path)
{
    const char *slash = strrchr(path, '/');
    enum pst_status status;
    char *dir;

    if (slash == NULL)
        return file_sync_dir(files, ".");
    dir = str_dup(str_of_bytes(path, slash == path ? 1 : (size_t)(slash - path)));
    if (dir == NULL)
        return PST_NOMEM;
    status = file_sync_dir(files, dir);
    free(dir);
    return status;
}

enum pst_status file_replace(const struct file_ops *files, const char *path, struct str content)
{
    enum pst_status status;
    char *temporary;
    int fd;

    if (asprintf(&temporary, "%s.tmp", path) < 0)
        return PST_NOMEM;
    fd = files->open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) {
        status = pst_status_of_errno(errno);
        goto done;
    }
    status = file_write_all(files, fd, content.at, content.length, 0);
    if (status == PST_OK && files->fsync(fd) != 0)
        status = pst_status_of_errno(errno);
    if (files->close(fd) != 0 && status == PST_OK)
        status = pst_status_of_errno(errno);
    if (status == PST_OK && files->rename(temporary, path) != 0)
        status = pst_status_of_errno(errno);
    if (status == PST_OK)
        status = sync_parent_dir(files, path);
    else
        files->unlink(temporary);

done:
    free(temporary);
    return status;
}

static enum pst_status read_whole(int fd, char *to, size_t length, size_t *ret_length)
{
    size_t got = 0;

    while (got < length) {
        ssize_t n = read(fd, to + got, length - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return pst_status_of_errno(errno);
        if (n == 0)
            break;
        got += (size_t)n;
    }
    to[got] = '\0';
    *ret_length = got;
    return PST_OK;
}

enum pst_status file_read_all(const char *path, size_t length_max, char **ret, size_t *ret_length)
{
    enum pst_status status;
    struct stat info;
    char *content = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return pst_status_of_errno(errno);
    if (fstat(fd, &info) != 0) {
        status = pst_status_of_errno(errno);
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        status = PST_INVALID;
        goto done;
    }
    if ((uint64_t)info.st_size > length_max) {
        status = PST_FULL;
        goto done;
    }
    content = malloc((size_t)info.st_size + 1);
    if (content == NULL) {
        status = PST_NOMEM;
        goto done;
    }
    status = read_whole(fd, content, (size_t)info.st_size, ret_length);
    if (status == PST_OK) {
        *ret = content;
        content = NULL;
    }

done:
    free(content);
    close(fd);
    return status;
}
