#include "broker/log/log_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

struct log_dir {
    const struct file_ops *files;
    char *path;
    int lock_fd;
    bool has_meta;
    bool can_map;
    struct meta_properties meta;
    void (*failed)(struct log_dir *dir, const char *text, void *arg);
    void *failed_arg;
    _Atomic bool offline;
};

static void explain(char **ret_text, const char *path, const char *what, const char *why)
{
    if (asprintf(ret_text, "%s: %s%s%s", path, what, *why == '\0' ? "" : ": ", why) < 0)
        *ret_text = NULL;
}

static enum pst_status make_dirs(const struct file_ops *files, const char *path)
{
    char *partial = str_dup(str_of(path));
    enum pst_status status = PST_OK;

    if (partial == NULL)
        return PST_NOMEM;
    for (char *at = partial + 1; status == PST_OK; at++) {
        char end = *at;

        if (end != '/' && end != '\0')
            continue;
        *at = '\0';
        if (files->mkdir(partial, 0755) != 0 && errno != EEXIST)
            status = pst_status_of_errno(errno);
        *at = end;
        if (end == '\0')
            break;
    }
    free(partial);
    return status;
}

/* Kafka locks the same file in the same way (a record lock), so the two exclude each other. */
static enum pst_status take_lock(struct log_dir *dir)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *path;

    if (asprintf(&path, "%s/.lock", dir->path) < 0)
        return PST_NOMEM;
    dir->lock_fd = dir->files->open(path, O_RDWR | O_CREAT, 0644);
    free(path);
    if (dir->lock_fd < 0)
        return pst_status_of_errno(errno);
    if (fcntl(dir->lock_fd, F_OFD_SETLK, &whole) == 0)
        return PST_OK;
    return errno == EAGAIN || errno == EACCES ? PST_BUSY : pst_status_of_errno(errno);
}

/* Where a page once populated may be stored to: what copies on write allocates again, elsewhere. */
static bool file_system_can_map(const char *path)
{
    static const unsigned long known[] = {0xEF53 /* ext4 */, 0x58465342 /* XFS */, 0x01021994 /* tmpfs */};
    struct statfs info;

    if (statfs(path, &info) != 0)
        return false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if ((unsigned long)info.f_type == known[i])
            return true;
    return false;
}

enum pst_status log_dir_open(const struct file_ops *files, const char *path, struct log_dir **ret,
                             char **ret_text)
{
    struct log_dir *dir = calloc(1, sizeof *dir);
    const char *reason = "";
    enum pst_status status = PST_NOMEM;

    *ret_text = NULL;
    if (dir == NULL)
        return PST_NOMEM;
    dir->files = files;
    dir->lock_fd = -1;
    dir->path = str_dup(str_of(path));
    if (dir->path == NULL)
        goto fail;
    status = make_dirs(files, path);
    if (status != PST_OK) {
        explain(ret_text, path, "cannot make the directory", pst_status_text(status));
        goto fail;
    }
    status = take_lock(dir);
    if (status != PST_OK) {
        explain(ret_text, path,
                status == PST_BUSY ? "in use by another broker (.lock is held)" : "cannot lock it",
                status == PST_BUSY ? "" : pst_status_text(status));
        goto fail;
    }
    status = meta_properties_load(path, &dir->meta, &reason);
    if (status != PST_OK && status != PST_NOT_FOUND) {
        explain(ret_text, path, META_PROPERTIES_FILE, *reason != '\0' ? reason : pst_status_text(status));
        goto fail;
    }
    dir->has_meta = status == PST_OK;
    dir->can_map = file_system_can_map(path);
    *ret = dir;
    return PST_OK;

fail:
    log_dir_close(dir);
    return status;
}

void log_dir_close(struct log_dir *dir)
{
    if (dir == NULL)
        return;
    if (dir->lock_fd >= 0)
        dir->files->close(dir->lock_fd);
    free(dir->path);
    free(dir);
}

const struct meta_properties *log_dir_meta(const struct log_dir *dir)
{
    return dir->has_meta ? &dir->meta : NULL;
}

enum pst_status log_dir_adopt(struct log_dir *dir, const char *cluster_id, int32_t node_id, char **ret_text)
{
    struct meta_properties meta = dir->meta;
    char text[600];
    enum pst_status status;

    *ret_text = NULL;
    if (!dir->has_meta)
        meta = (struct meta_properties){.node_id = NO_NODE_ID};
    if (meta.cluster_id[0] != '\0' && strcmp(meta.cluster_id, cluster_id) != 0) {
        snprintf(text, sizeof text, "cluster %s, this broker to cluster %s", meta.cluster_id, cluster_id);
        explain(ret_text, dir->path, "the directory belongs to", text);
        return PST_INVALID;
    }
    if (meta.node_id != NO_NODE_ID && meta.node_id != node_id) {
        snprintf(text, sizeof text, "node %d, this broker is node %d", (int)meta.node_id, (int)node_id);
        explain(ret_text, dir->path, "the directory belongs to", text);
        return PST_INVALID;
    }
    if (dir->has_meta && meta.version == 1 && meta.cluster_id[0] != '\0' && meta.node_id == node_id &&
        !uuid_is_zero(&meta.directory_id))
        return PST_OK;
    meta.version = 1;
    meta.node_id = node_id;
    snprintf(meta.cluster_id, sizeof meta.cluster_id, "%s", cluster_id);
    if (uuid_is_zero(&meta.directory_id))
        meta.directory_id = uuid_random();
    status = meta_properties_save(dir->files, dir->path, &meta);
    if (status != PST_OK) {
        explain(ret_text, dir->path, "cannot write " META_PROPERTIES_FILE, pst_status_text(status));
        return status;
    }
    dir->meta = meta;
    dir->has_meta = true;
    return PST_OK;
}

const char *log_dir_path(const struct log_dir *dir)
{
    return dir->path;
}

struct uuid log_dir_id(const struct log_dir *dir)
{
    return dir->has_meta ? dir->meta.directory_id : (struct uuid){{0}};
}

void log_dir_on_failed(struct log_dir *dir, void (*failed)(struct log_dir *dir, const char *text, void *arg),
                       void *arg)
{
    dir->failed = failed;
    dir->failed_arg = arg;
}

void log_dir_fail(struct log_dir *dir, const char *text)
{
    if (!atomic_exchange(&dir->offline, true) && dir->failed != NULL)
        dir->failed(dir, text, dir->failed_arg);
}

bool log_dir_is_offline(const struct log_dir *dir)
{
    return atomic_load_explicit(&dir->offline, memory_order_relaxed);
}

bool log_dir_can_map(const struct log_dir *dir)
{
    return dir->can_map;
}

enum pst_status log_dir_space(const struct log_dir *dir, int64_t *ret_total_bytes, int64_t *ret_free_bytes)
{
    struct statvfs info;

    if (statvfs(dir->path, &info) != 0)
        return PST_IO;
    *ret_total_bytes = (int64_t)info.f_blocks * (int64_t)info.f_frsize;
    *ret_free_bytes = (int64_t)info.f_bavail * (int64_t)info.f_frsize;
    return PST_OK;
}
