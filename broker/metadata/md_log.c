#include "broker/metadata/md_log.h"

#include "broker/log/epoch_cache.h"
#include "broker/log/partition_metadata.h"
#include "common/logger.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_SUFFIX         ".log"
#define SNAPSHOT_SUFFIX        ".checkpoint"
#define OFFSET_DIGITS          20u
#define EPOCH_DIGITS           10u
#define NAME_MAX_BYTES         64u
#define FILE_BYTES_MAX         (2147483647u) /* Kafka's largest segment */
#define FILES_MAX              10000u        /* segments and snapshots; Kafka keeps a few */
#define QUORUM_STATE_FILE      "quorum-state"
#define QUORUM_STATE_BYTES_MAX (1u << 20)
#define MODE_DIR               0755
#define MODE_FILE              0644

struct md_log {
    const struct file_ops *files;
    char *dir;
    int fd; /* active segment */
    int64_t segment_base;
    int64_t segment_bytes;
    int64_t segment_end; /* offset behind its last record, while reading */
    int64_t end_offset;
    int64_t grown_bytes;
    int32_t epoch;
    bool offline;
    struct epoch_cache *epochs;
};

/* A segment or a snapshot found in the directory. */
struct found {
    int64_t offset;
    int32_t epoch; /* snapshots */
};

struct listing {
    struct found *segments;
    unsigned segment_count;
    struct found snapshot; /* the newest; offset -1: none */
};

static char *path_of(const struct md_log *log, const char *name)
{
    size_t room = strlen(log->dir) + strlen(name) + 2;
    char *path = malloc(room);

    if (path != NULL)
        snprintf(path, room, "%s/%s", log->dir, name);
    return path;
}

static void segment_name(int64_t offset, char to[NAME_MAX_BYTES])
{
    snprintf(to, NAME_MAX_BYTES, "%020lld" SEGMENT_SUFFIX, (long long)offset);
}

static void snapshot_name(int64_t offset, int32_t epoch, char to[NAME_MAX_BYTES])
{
    snprintf(to, NAME_MAX_BYTES, "%020lld-%010d" SNAPSHOT_SUFFIX, (long long)offset, epoch);
}

/* ---- what is in the directory ---- */

static bool parse_segment(const char *name, struct found *ret)
{
    *ret = (struct found){0};
    return strlen(name) == OFFSET_DIGITS + strlen(SEGMENT_SUFFIX) &&
           strcmp(name + OFFSET_DIGITS, SEGMENT_SUFFIX) == 0 &&
           str_parse_i64(str_of_bytes(name, OFFSET_DIGITS), &ret->offset) && ret->offset >= 0;
}

static bool parse_snapshot(const char *name, struct found *ret)
{
    int64_t epoch;

    if (strlen(name) != OFFSET_DIGITS + 1 + EPOCH_DIGITS + strlen(SNAPSHOT_SUFFIX) ||
        name[OFFSET_DIGITS] != '-' || strcmp(name + OFFSET_DIGITS + 1 + EPOCH_DIGITS, SNAPSHOT_SUFFIX) != 0 ||
        !str_parse_i64(str_of_bytes(name, OFFSET_DIGITS), &ret->offset) ||
        !str_parse_i64(str_of_bytes(name + OFFSET_DIGITS + 1, EPOCH_DIGITS), &epoch) || epoch > INT32_MAX ||
        epoch < 0)
        return false;
    ret->epoch = (int32_t)epoch;
    return ret->offset >= 0;
}

static int compare_found(const void *a, const void *b)
{
    int64_t x = ((const struct found *)a)->offset;
    int64_t y = ((const struct found *)b)->offset;

    return (x > y) - (x < y);
}

static enum pst_status list_files(const char *dir, struct listing *ret)
{
    struct listing listing = {.snapshot.offset = -1};
    enum pst_status status = PST_OK;
    struct dirent *entry;
    DIR *handle = opendir(dir);

    if (handle == NULL)
        return pst_status_of_errno(errno);
    listing.segments = calloc(FILES_MAX, sizeof *listing.segments);
    if (listing.segments == NULL)
        status = PST_NOMEM;
    while (status == PST_OK && (entry = readdir(handle)) != NULL) {
        struct found found;

        if (parse_snapshot(entry->d_name, &found)) {
            if (found.offset > listing.snapshot.offset ||
                (found.offset == listing.snapshot.offset && found.epoch > listing.snapshot.epoch))
                listing.snapshot = found;
        } else if (parse_segment(entry->d_name, &found)) {
            if (listing.segment_count == FILES_MAX)
                status = PST_FULL;
            else
                listing.segments[listing.segment_count++] = found;
        }
    }
    closedir(handle);
    if (status != PST_OK) {
        free(listing.segments);
        return status;
    }
    qsort(listing.segments, listing.segment_count, sizeof *listing.segments, compare_found);
    *ret = listing;
    return PST_OK;
}

/* ---- reading ---- */

struct reading {
    struct md_log *log;
    md_log_reader reader;
    void *arg;
    char *reason;
};

/* The batch at `at` is whole and right. */
static bool batch_is_good(const char *at, size_t left, struct record_batch_info *ret)
{
    return record_batch_read_header(at, left, ret) == PST_OK && ret->size_bytes <= left &&
           ret->last_offset_delta >= 0 && record_batch_crc_fits(at, ret->size_bytes);
}

/* Whether what is left is one unfinished append, and not damage in front of batches that were synced. */
static bool tail_is_torn(const char *at, size_t left)
{
    struct record_batch_info info;
    uint32_t size;

    if (record_batch_size(at, left, &size) == PST_OK && size < left &&
        batch_is_good(at + size, left - size, &info))
        return false;
    return true;
}

static enum pst_status read_snapshot(const struct reading *reading, const char *name, const char *bytes,
                                     size_t length)
{
    struct record_batch_info info = {0};
    enum pst_status status = PST_OK;
    size_t at = 0;

    while (at < length && status == PST_OK) {
        if (!batch_is_good(bytes + at, length - at, &info)) {
            snprintf(reading->reason, MD_LOG_REASON_MAX, "%s/%s: damaged at byte %zu", reading->log->dir,
                     name, at);
            return PST_CORRUPT;
        }
        status = reading->reader(reading->arg, bytes + at, &info, true, reading->reason);
        at += info.size_bytes;
    }
    if (status == PST_OK && (length == 0 || (info.attributes & RECORD_BATCH_CONTROL) == 0)) {
        snprintf(reading->reason, MD_LOG_REASON_MAX, "%s/%s: has no footer", reading->log->dir, name);
        return PST_CORRUPT;
    }
    return status;
}

static enum pst_status load_snapshot(const struct reading *reading, const struct found *snapshot)
{
    struct md_log *log = reading->log;
    char name[NAME_MAX_BYTES];
    char *path, *bytes;
    size_t length;
    enum pst_status status;

    if (snapshot->offset < 0)
        return PST_OK;
    snapshot_name(snapshot->offset, snapshot->epoch, name);
    path = path_of(log, name);
    if (path == NULL)
        return PST_NOMEM;
    status = file_read_all(path, FILE_BYTES_MAX, &bytes, &length);
    if (status == PST_OK) {
        status = read_snapshot(reading, name, bytes, length);
        free(bytes);
    } else {
        snprintf(reading->reason, MD_LOG_REASON_MAX, "%s: %s", path, pst_status_text(status));
    }
    log->end_offset = snapshot->offset;
    log->epoch = snapshot->epoch;
    free(path);
    return status;
}

/* Batches up to a torn tail, whose place is *ret_good. */
static enum pst_status read_segment(const struct reading *reading, const char *path, int64_t base_offset,
                                    const char *bytes, size_t length, size_t *ret_good)
{
    struct md_log *log = reading->log;
    enum pst_status status = PST_OK;
    size_t at = 0;

    log->segment_end = base_offset;
    while (at < length && status == PST_OK) {
        struct record_batch_info info;
        bool changed;

        if (!batch_is_good(bytes + at, length - at, &info)) {
            if (tail_is_torn(bytes + at, length - at))
                break;
            snprintf(reading->reason, MD_LOG_REASON_MAX, "%s: damaged at byte %zu, before its end", path, at);
            return PST_CORRUPT;
        }
        if (info.last_offset >= log->end_offset) {
            if (info.base_offset != log->end_offset) {
                snprintf(reading->reason, MD_LOG_REASON_MAX, "%s: offset %lld at byte %zu, expected %lld",
                         path, (long long)info.base_offset, at, (long long)log->end_offset);
                return PST_CORRUPT;
            }
            status = reading->reader(reading->arg, bytes + at, &info, false, reading->reason);
            log->end_offset = info.last_offset + 1;
        }
        log->segment_end = info.last_offset + 1;
        log->grown_bytes += info.size_bytes;
        if (status == PST_OK && info.leader_epoch > epoch_cache_latest(log->epochs))
            status = epoch_cache_assign(log->epochs, info.leader_epoch, info.base_offset, &changed);
        if (info.leader_epoch > log->epoch)
            log->epoch = info.leader_epoch;
        at += info.size_bytes;
    }
    *ret_good = at;
    return status;
}

static enum pst_status cut_tail(struct md_log *log, int fd, const char *path, size_t good, size_t length)
{
    if (good == length)
        return PST_OK;
    LOG_WARN("metadata.tail.cut", "file=%s bytes=%zu reason=\"unfinished append\"", path, length - good);
    if (log->files->ftruncate(fd, (off_t)good) != 0 || log->files->fsync(fd) != 0)
        return pst_status_of_errno(errno);
    return PST_OK;
}

static enum pst_status load_segment(const struct reading *reading, const struct found *segment, bool last)
{
    struct md_log *log = reading->log;
    char name[NAME_MAX_BYTES];
    char *path;
    char *bytes = NULL;
    size_t length, good;
    int fd = -1;
    enum pst_status status = PST_NOMEM;

    segment_name(segment->offset, name);
    path = path_of(log, name);
    if (path == NULL)
        goto end;
    status = file_read_all(path, FILE_BYTES_MAX, &bytes, &length);
    if (status == PST_OK)
        status = read_segment(reading, path, segment->offset, bytes, length, &good);
    if (status != PST_OK)
        goto end;
    if (!last) {
        if (good < length) {
            snprintf(reading->reason, MD_LOG_REASON_MAX, "%s: damaged at byte %zu, before its end", path,
                     good);
            status = PST_CORRUPT;
        }
        goto end;
    }
    fd = log->files->open(path, O_RDWR, 0);
    status = fd < 0 ? pst_status_of_errno(errno) : cut_tail(log, fd, path, good, length);
    if (status != PST_OK)
        goto end;
    log->fd = fd;
    log->segment_base = segment->offset;
    log->segment_bytes = (int64_t)good;
    fd = -1;

end:
    if (status != PST_OK && reading->reason[0] == '\0')
        snprintf(reading->reason, MD_LOG_REASON_MAX, "%s: %s", name, pst_status_text(status));
    if (fd >= 0)
        log->files->close(fd);
    free(bytes);
    free(path);
    return status;
}

/* Makes the empty segment that begins at the log's end and appends there from now on. */
static enum pst_status new_segment(struct md_log *log)
{
    char name[NAME_MAX_BYTES];
    char *path;
    int fd;
    enum pst_status status = PST_OK;

    segment_name(log->end_offset, name);
    path = path_of(log, name);
    if (path == NULL)
        return PST_NOMEM;
    fd = log->files->open(path, O_RDWR | O_CREAT, MODE_FILE);
    if (fd < 0)
        status = pst_status_of_errno(errno);
    else
        status = file_sync_dir(log->files, log->dir);
    free(path);
    if (status != PST_OK) {
        if (fd >= 0)
            log->files->close(fd);
        return status;
    }
    if (log->fd >= 0)
        log->files->close(log->fd);
    log->fd = fd;
    log->segment_base = log->end_offset;
    log->segment_bytes = 0;
    return PST_OK;
}

/* The number behind "name": in a JSON text; -1: none. */
static int64_t json_number(const char *text, const char *name)
{
    char pattern[64];
    const char *at;

    snprintf(pattern, sizeof pattern, "\"%s\":", name);
    at = strstr(text, pattern);
    return at == NULL ? -1 : strtoll(at + strlen(pattern), NULL, 10);
}

static enum pst_status load_quorum_state(struct md_log *log)
{
    char *path = path_of(log, QUORUM_STATE_FILE);
    char *text;
    size_t length;
    enum pst_status status;

    if (path == NULL)
        return PST_NOMEM;
    status = file_read_all(path, QUORUM_STATE_BYTES_MAX, &text, &length);
    free(path);
    if (status == PST_NOT_FOUND)
        return PST_OK;
    if (status != PST_OK)
        return status;
    if (json_number(text, "leaderEpoch") > log->epoch && json_number(text, "leaderEpoch") < INT32_MAX)
        log->epoch = (int32_t)json_number(text, "leaderEpoch");
    free(text);
    return PST_OK;
}

static enum pst_status load_all(const struct reading *reading)
{
    struct md_log *log = reading->log;
    struct listing listing = {.snapshot.offset = -1};
    enum pst_status status = list_files(log->dir, &listing);

    if (status != PST_OK)
        return status;
    status = load_snapshot(reading, &listing.snapshot);
    for (unsigned i = 0; i < listing.segment_count && status == PST_OK; i++)
        status = load_segment(reading, &listing.segments[i], i + 1 == listing.segment_count);
    free(listing.segments);
    if (status == PST_OK)
        status = load_quorum_state(log);
    /* No segment, or a snapshot beyond the last one's end: begin behind it, segments have no gaps. */
    if (status == PST_OK && (log->fd < 0 || log->segment_end < log->end_offset))
        status = new_segment(log);
    return status;
}

enum pst_status md_log_open(const struct file_ops *files, const char *dir_path, md_log_reader reader,
                            void *arg, struct md_log **ret, char *reason)
{
    static const struct uuid topic_id = {.bytes[15] = 1}; /* Uuid.METADATA_TOPIC_ID */
    struct md_log *log = calloc(1, sizeof *log);
    struct reading reading = {log, reader, arg, reason};
    enum pst_status status = PST_NOMEM;
    const char *why;
    struct uuid found;

    reason[0] = '\0';
    if (log == NULL)
        return PST_NOMEM;
    log->files = files;
    log->fd = -1;
    log->dir = str_dup(str_of(dir_path));
    log->epochs = epoch_cache_new();
    if (log->dir == NULL || log->epochs == NULL)
        goto fail;
    if (files->mkdir(dir_path, MODE_DIR) != 0 && errno != EEXIST) {
        status = pst_status_of_errno(errno);
        goto fail;
    }
    status = partition_metadata_load(dir_path, &found, &why);
    if (status == PST_NOT_FOUND)
        status = partition_metadata_save(files, dir_path, &topic_id);
    if (status == PST_OK)
        status = load_all(&reading);
    if (status != PST_OK)
        goto fail;
    *ret = log;
    return PST_OK;

fail:
    if (reason[0] == '\0')
        snprintf(reason, MD_LOG_REASON_MAX, "%s: %s", dir_path, pst_status_text(status));
    md_log_close(log);
    return status;
}

void md_log_close(struct md_log *log)
{
    if (log == NULL)
        return;
    if (log->fd >= 0)
        log->files->close(log->fd);
    epoch_cache_free(log->epochs);
    free(log->dir);
    free(log);
}

int64_t md_log_end(const struct md_log *log)
{
    return log->end_offset;
}

int32_t md_log_epoch(const struct md_log *log)
{
    return log->epoch;
}

int64_t md_log_grown(const struct md_log *log)
{
    return log->grown_bytes;
}

bool md_log_is_offline(const struct md_log *log)
{
    return log->offline;
}

/* ---- writing ---- */

static enum pst_status go_offline(struct md_log *log, enum pst_status status)
{
    log->offline = true;
    LOG_ERROR("metadata.offline", "dir=%s reason=\"%s\"", log->dir, pst_status_text(status));
    return status;
}

enum pst_status md_log_begin_epoch(struct md_log *log, int32_t epoch, int32_t node_id, int16_t kraft_version)
{
    char text[512];
    char *path = path_of(log, QUORUM_STATE_FILE);
    enum pst_status status;
    bool changed;

    if (path == NULL)
        return PST_NOMEM;
    if (kraft_version == 0)
        snprintf(text, sizeof text,
                 "{\"clusterId\":\"\",\"leaderId\":%d,\"leaderEpoch\":%d,\"votedId\":-1,\"appliedOffset\":0,"
                 "\"currentVoters\":[{\"voterId\":%d}],\"data_version\":0}",
                 node_id, epoch, node_id);
    else
        snprintf(text, sizeof text,
                 "{\"leaderId\":%d,\"leaderEpoch\":%d,\"votedId\":-1,"
                 "\"votedDirectoryId\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}",
                 node_id, epoch);
    status = file_replace(log->files, path, str_of(text));
    free(path);
    if (status == PST_OK)
        status = epoch_cache_assign(log->epochs, epoch, log->end_offset, &changed);
    if (status == PST_OK)
        status = epoch_cache_save(log->epochs, log->files, log->dir);
    if (status == PST_OK)
        log->epoch = epoch;
    return status;
}

enum pst_status md_log_append(struct md_log *log, struct str batches, int64_t end_offset)
{
    enum pst_status status;

    if (log->offline)
        return PST_OFFLINE;
    status = file_write_all(log->files, log->fd, batches.at, batches.length, log->segment_bytes);
    if (status == PST_NOSPACE) {
        /* Nothing reads beyond segment_bytes, but a restart would see the piece as a torn tail: take it away.
         */
        if (log->files->ftruncate(log->fd, log->segment_bytes) != 0)
            return go_offline(log, PST_IO);
        return PST_NOSPACE;
    }
    if (status != PST_OK)
        return go_offline(log, status);
    if (log->files->fdatasync(log->fd) != 0)
        return go_offline(log, PST_IO);
    log->segment_bytes += (int64_t)batches.length;
    log->grown_bytes += (int64_t)batches.length;
    log->end_offset = end_offset;
    return PST_OK;
}

/* Writes name.part, syncs it and renames it. */
static enum pst_status put_file(struct md_log *log, const char *name, struct str content)
{
    char part_name[NAME_MAX_BYTES + 8];
    char *path = path_of(log, name);
    char *part = NULL;
    int fd = -1;
    enum pst_status status = PST_NOMEM;

    snprintf(part_name, sizeof part_name, "%s.part", name);
    part = path_of(log, part_name);
    if (path == NULL || part == NULL)
        goto end;
    fd = log->files->open(part, O_RDWR | O_CREAT | O_TRUNC, MODE_FILE);
    status =
        fd < 0 ? pst_status_of_errno(errno) : file_write_all(log->files, fd, content.at, content.length, 0);
    if (status == PST_OK && log->files->fsync(fd) != 0)
        status = PST_IO;
    if (fd >= 0 && log->files->close(fd) != 0 && status == PST_OK)
        status = PST_IO;
    if (status == PST_OK && log->files->rename(part, path) != 0)
        status = pst_status_of_errno(errno);
    if (status == PST_OK)
        status = file_sync_dir(log->files, log->dir);
    if (status != PST_OK)
        (void)log->files->unlink(part);

end:
    free(part);
    free(path);
    return status;
}

/* Drops segments (with their indexes), snapshots and leftovers that the snapshot at `offset` replaces.  Best
 * effort: what stays is passed over when reading and tried again next time. */
static void drop_in_front(struct md_log *log, int64_t offset)
{
    struct dirent *entry;
    DIR *handle = opendir(log->dir);

    if (handle == NULL)
        return;
    while ((entry = readdir(handle)) != NULL) {
        int64_t of_name;
        char *path;

        if (strlen(entry->d_name) <= OFFSET_DIGITS ||
            !str_parse_i64(str_of_bytes(entry->d_name, OFFSET_DIGITS), &of_name) || of_name >= offset)
            continue;
        path = path_of(log, entry->d_name);
        if (path != NULL)
            (void)log->files->unlink(path);
        free(path);
    }
    closedir(handle);
}

enum pst_status md_log_put_snapshot(struct md_log *log, int32_t epoch, struct str content)
{
    char name[NAME_MAX_BYTES];
    enum pst_status status;

    if (log->offline)
        return PST_OFFLINE;
    snapshot_name(log->end_offset, epoch, name);
    status = put_file(log, name, content);
    if (status == PST_OK && log->segment_base < log->end_offset)
        status = new_segment(log);
    if (status != PST_OK)
        return status;
    log->grown_bytes = 0;
    drop_in_front(log, log->end_offset);
    if (epoch_cache_truncate_from_start(log->epochs, log->end_offset))
        status = epoch_cache_save(log->epochs, log->files, log->dir);
    return status;
}
