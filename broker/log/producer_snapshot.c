/* The snapshot files of producer_state.h: writing, finding, removing. */
#include "broker/log/producer_state.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define OFFSET_DIGITS  20u
#define SUFFIX         ".snapshot"
/* Header and PRODUCER_STATE_COUNT_MAX entries of 46 bytes, and as much again for files Kafka wrote. */
#define FILE_BYTES_MAX (2u * PRODUCER_STATE_COUNT_MAX * 46u)

static char *path_of(const char *dir_path, int64_t offset)
{
    char *path;

    if (asprintf(&path, "%s/%020" PRId64 SUFFIX, dir_path, offset) < 0)
        return NULL;
    return path;
}

/* The offset in a file name of exactly 20 digits and ".snapshot"; false: another file. */
static bool parse_name(const char *name, int64_t *ret)
{
    if (strspn(name, "0123456789") != OFFSET_DIGITS || strcmp(name + OFFSET_DIGITS, SUFFIX) != 0)
        return false;
    return str_parse_i64(str_of_bytes(name, OFFSET_DIGITS), ret);
}

enum pst_status producer_snapshot_write(const struct file_ops *files, const char *dir_path, int64_t offset,
                                        struct str bytes)
{
    char *path = path_of(dir_path, offset);
    enum pst_status status;

    if (path == NULL)
        return PST_NOMEM;
    status = file_replace(files, path, bytes);
    free(path);
    return status;
}

/* The greatest offset of a snapshot that is at most offset_max; -1: none. */
static enum pst_status newest(const char *dir_path, int64_t offset_max, int64_t *ret)
{
    DIR *dir = opendir(dir_path);
    struct dirent *entry;
    int64_t best = -1;
    int64_t offset;

    if (dir == NULL)
        return pst_status_of_errno(errno);
    while ((entry = readdir(dir)) != NULL)
        if (parse_name(entry->d_name, &offset) && offset <= offset_max && offset > best)
            best = offset;
    closedir(dir);
    *ret = best;
    return PST_OK;
}

static enum pst_status load_one(struct producer_state *state, const struct file_ops *files, const char *path,
                                int64_t now_ms)
{
    enum pst_status status;
    char *bytes = NULL;
    size_t length;

    status = file_read_all(path, FILE_BYTES_MAX, &bytes, &length);
    if (status == PST_OK)
        status = producer_snapshot_decode(state, str_of_bytes(bytes, length), now_ms);
    free(bytes);
    if (status != PST_CORRUPT && status != PST_UNSUPPORTED && status != PST_FULL)
        return status;
    /* Unreadable: an older one and more replay serve as well. */
    if (files->unlink(path) != 0 && errno != ENOENT)
        return pst_status_of_errno(errno);
    return PST_CORRUPT;
}

enum pst_status producer_snapshot_load(struct producer_state *state, const struct file_ops *files,
                                       const char *dir_path, int64_t offset_max, int64_t now_ms,
                                       int64_t *ret_offset)
{
    enum pst_status status;

    do {
        int64_t offset = -1;
        char *path;

        producer_state_clear(state);
        status = newest(dir_path, offset_max, &offset);
        if (status != PST_OK)
            return status;
        if (offset < 0) {
            *ret_offset = -1;
            return PST_OK;
        }
        path = path_of(dir_path, offset);
        if (path == NULL)
            return PST_NOMEM;
        status = load_one(state, files, path, now_ms);
        free(path);
        if (status == PST_OK)
            *ret_offset = offset;
    } while (status == PST_CORRUPT); /* ends: each turn removes a file */
    return status;
}

enum pst_status producer_snapshot_remove(const struct file_ops *files, const char *dir_path, int64_t from,
                                         int64_t to)
{
    DIR *dir = opendir(dir_path);
    enum pst_status status = PST_OK;
    struct dirent *entry;
    int64_t offset;

    if (dir == NULL)
        return pst_status_of_errno(errno);
    while (status == PST_OK && (entry = readdir(dir)) != NULL) {
        char *path;

        if (!parse_name(entry->d_name, &offset) || offset < from || offset >= to)
            continue;
        path = path_of(dir_path, offset);
        if (path == NULL)
            status = PST_NOMEM;
        else if (files->unlink(path) != 0 && errno != ENOENT)
            status = pst_status_of_errno(errno);
        free(path);
    }
    closedir(dir);
    return status;
}
