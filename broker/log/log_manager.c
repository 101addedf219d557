#include "broker/log/log_manager.h"

#include "broker/log/checkpoint.h"
#include "broker/log/log_dir.h"
#include "broker/log/meta_properties.h"
#include "broker/log/partition_metadata.h"
#include "broker/log/trash.h"
#include "common/bug.h"
#include "common/hashmap.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define UNLINKS_PER_STEP 64u /* then other work of the pool gets its turn */
#define TICK_MS_MAX      1000

struct manager_dir {
    struct log_dir *dir;
    bool clean; /* the last stop was */
    unsigned partitions;
    struct offset_checkpoint *recovery_points;
    struct offset_checkpoint *start_offsets;
    bool close_failed;
};

struct manager_log {
    struct log *log;
    char *topic;
    size_t topic_length;
    int32_t partition;
    unsigned dir;
    int64_t flush_ms;
    unsigned users; /* jobs that look at it; mutex */
};

enum periodic {
    PERIODIC_RECOVERY_POINT,
    PERIODIC_START_OFFSET,
    PERIODIC_HIGH_WATERMARK,
    PERIODIC_RETENTION,
    PERIODIC_TICK, /* flush.ms, windows of logs gone quiet */
    PERIODIC_TRASH,
    PERIODIC_COUNT,
};

struct periodic_work {
    struct worker_job job;
    struct log_manager *manager;
    enum periodic kind;
    int64_t interval_ms;
    int64_t next_ms;
    bool running; /* mutex */
};

struct log_manager {
    struct log_env env;
    struct log_manager_settings settings;
    char cluster_id[CLUSTER_ID_LENGTH_MAX + 1];
    struct manager_dir *dirs;
    unsigned dir_count;
    pthread_mutex_t mutex;
    pthread_cond_t idle;
    struct hashmap *logs; /* "topic-N" -> struct manager_log */
    struct periodic_work work[PERIODIC_COUNT];
};

/* ---- names ---- */

bool log_dir_name_parse(struct str name, struct str *ret_topic, int32_t *ret_partition)
{
    const char *dash = memrchr(name.at, '-', name.length);
    struct str number;
    int64_t partition;

    if (dash == NULL || dash == name.at)
        return false;
    number = str_of_bytes(dash + 1, name.length - (size_t)(dash - name.at) - 1);
    if (number.length == 0 || number.at[0] < '0' || number.at[0] > '9' ||
        (number.at[0] == '0' && number.length > 1) || !str_parse_i64(number, &partition) ||
        partition > INT32_MAX)
        return false;
    *ret_topic = str_of_bytes(name.at, (size_t)(dash - name.at));
    *ret_partition = (int32_t)partition;
    return true;
}

#define NAME_BYTES_MAX 300

static struct str log_name(struct str topic, int32_t partition, char to[NAME_BYTES_MAX])
{
    int length = snprintf(to, NAME_BYTES_MAX, "%.*s-%d", STR_FORMAT(topic), partition);

    return str_of_bytes(to, (size_t)(length < NAME_BYTES_MAX ? length : NAME_BYTES_MAX - 1));
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);

    return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

/* ---- opening the directories ---- */

static void report(const struct log_manager *manager, struct log_dir *dir, const char *text)
{
    if (manager->settings.report != NULL)
        manager->settings.report(manager->settings.report_arg, dir, text);
}

static void dir_failed(struct log_dir *dir, const char *text, void *arg)
{
    report(arg, dir, text);
}

static bool find_cluster_id(struct log_manager *manager)
{
    for (unsigned i = 0; i < manager->dir_count; i++) {
        const struct meta_properties *meta = log_dir_meta(manager->dirs[i].dir);

        if (meta != NULL && meta->cluster_id[0] != '\0') {
            snprintf(manager->cluster_id, sizeof manager->cluster_id, "%s", meta->cluster_id);
            return true;
        }
    }
    return false;
}

static void choose_cluster_id(struct log_manager *manager)
{
    char text[UUID_TEXT_LENGTH + 1];
    struct uuid uuid;

    if (manager->settings.cluster_id != NULL) {
        snprintf(manager->cluster_id, sizeof manager->cluster_id, "%s", manager->settings.cluster_id);
    } else if (!find_cluster_id(manager)) {
        uuid = uuid_random();
        uuid_format(&uuid, text);
        snprintf(manager->cluster_id, sizeof manager->cluster_id, "%s", text);
    }
}

static enum pst_status load_checkpoint(const struct log_manager *manager, struct log_dir *dir,
                                       const char *name, struct offset_checkpoint **ret)
{
    const char *reason = NULL;
    enum pst_status status = offset_checkpoint_load(log_dir_path(dir), name, ret, &reason);

    if (status == PST_OK)
        return PST_OK;
    if (status != PST_NOT_FOUND && status != PST_NOMEM) { /* as Kafka: everything is recovered from 0 on */
        char text[512];

        snprintf(text, sizeof text, "%s is not readable (%s): starting from offset 0", name,
                 reason != NULL ? reason : pst_status_text(status));
        report(manager, dir, text);
    }
    *ret = offset_checkpoint_new();
    return *ret == NULL ? PST_NOMEM : PST_OK;
}

/* A directory deletion that a stop has interrupted goes on. */
static void resume_deletions(struct log_manager *manager, struct log_dir *dir)
{
    DIR *listing = opendir(log_dir_path(dir));
    struct dirent *entry;
    char *path;

    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        if (!ends_with(entry->d_name, DELETED_DIR_SUFFIX) ||
            asprintf(&path, "%s/%s", log_dir_path(dir), entry->d_name) < 0)
            continue;
        if (trash_add(manager->env.trash, dir, path, 0) != PST_OK)
            report(manager, dir, "a deleted partition stays until the next start");
        free(path);
    }
    if (listing != NULL)
        closedir(listing);
}

static enum pst_status prepare_dir(struct log_manager *manager, struct manager_dir *dir, char **ret_text)
{
    enum pst_status status =
        log_dir_adopt(dir->dir, manager->cluster_id, manager->settings.node_id, ret_text);

    if (status == PST_OK)
        status = load_checkpoint(manager, dir->dir, CHECKPOINT_RECOVERY_POINT_FILE, &dir->recovery_points);
    if (status == PST_OK)
        status = load_checkpoint(manager, dir->dir, CHECKPOINT_LOG_START_FILE, &dir->start_offsets);
    if (status != PST_OK)
        return status;
    dir->clean = clean_shutdown_exists(log_dir_path(dir->dir));
    /* gone before anything is opened: from now on a stop is unclean until it is not */
    status = clean_shutdown_remove(manager->env.files, log_dir_path(dir->dir));
    if (status == PST_OK)
        resume_deletions(manager, dir->dir);
    return status == PST_NOT_FOUND ? PST_OK : status;
}

static enum pst_status open_dirs(struct log_manager *manager, char **ret_text)
{
    enum pst_status first_failure = PST_OK;
    char *text = NULL;

    for (unsigned i = 0; i < manager->settings.dir_count; i++) {
        struct manager_dir *dir = &manager->dirs[manager->dir_count];
        enum pst_status status =
            log_dir_open(manager->env.files, manager->settings.dirs[i], &dir->dir, &text);

        if (status == PST_OK) {
            manager->dir_count++;
            log_dir_on_failed(dir->dir, dir_failed, manager);
            continue;
        }
        if (status == PST_IO && manager->settings.dir_count > 1) { /* the others live on */
            report(manager, NULL, text != NULL ? text : manager->settings.dirs[i]);
            free(text);
            first_failure = first_failure == PST_OK ? status : first_failure;
            continue;
        }
        *ret_text = text;
        return status;
    }
    return manager->dir_count > 0 ? PST_OK : first_failure;
}

static enum pst_status prepare_dirs(struct log_manager *manager, char **ret_text)
{
    enum pst_status status = PST_OK;

    choose_cluster_id(manager);
    for (unsigned i = 0; i < manager->dir_count && status == PST_OK; i++) {
        status = prepare_dir(manager, &manager->dirs[i], ret_text);
        if (status != PST_OK && *ret_text == NULL &&
            asprintf(ret_text, "%s: %s", log_dir_path(manager->dirs[i].dir), pst_status_text(status)) < 0)
            *ret_text = NULL;
    }
    return status;
}

static void manager_free(struct log_manager *manager)
{
    for (unsigned i = 0; i < manager->dir_count; i++) {
        offset_checkpoint_free(manager->dirs[i].recovery_points);
        offset_checkpoint_free(manager->dirs[i].start_offsets);
        log_dir_close(manager->dirs[i].dir);
    }
    trash_free(manager->env.trash);
    hashmap_free(manager->logs);
    pthread_mutex_destroy(&manager->mutex);
    pthread_cond_destroy(&manager->idle);
    free(manager->dirs);
    free(manager);
}

static int64_t now_ms(const struct log_manager *manager)
{
    return clock_monotonic_us(manager->env.clock) / 1000;
}

static void plan_work(struct log_manager *manager)
{
    const int64_t intervals[PERIODIC_COUNT] = {
        [PERIODIC_RECOVERY_POINT] = manager->settings.recovery_point_interval_ms,
        [PERIODIC_START_OFFSET] = manager->settings.start_offset_interval_ms,
        [PERIODIC_HIGH_WATERMARK] = manager->settings.high_watermark_interval_ms,
        [PERIODIC_RETENTION] = manager->settings.retention_check_interval_ms,
        [PERIODIC_TICK] = TICK_MS_MAX,
        [PERIODIC_TRASH] = TICK_MS_MAX,
    };

    for (int i = 0; i < PERIODIC_COUNT; i++)
        manager->work[i] = (struct periodic_work){.manager = manager,
                                                  .kind = (enum periodic)i,
                                                  .interval_ms = intervals[i],
                                                  .next_ms = now_ms(manager) + intervals[i]};
}

enum pst_status log_manager_new(const struct log_manager_settings *settings, struct log_manager **ret,
                                char **ret_text)
{
    struct log_manager *manager = calloc(1, sizeof *manager);
    enum pst_status status = PST_NOMEM;

    *ret_text = NULL;
    if (manager == NULL)
        return PST_NOMEM;
    manager->settings = *settings;
    manager->env = *settings->env;
    pthread_mutex_init(&manager->mutex, NULL);
    pthread_cond_init(&manager->idle, NULL);
    manager->env.trash = trash_new(manager->env.clock, manager->env.files);
    manager->logs = hashmap_new();
    manager->dirs = calloc(settings->dir_count, sizeof *manager->dirs);
    if (manager->env.trash == NULL || manager->logs == NULL || manager->dirs == NULL)
        goto fail;
    status = open_dirs(manager, ret_text);
    if (status == PST_OK)
        status = prepare_dirs(manager, ret_text);
    if (status != PST_OK)
        goto fail;
    plan_work(manager);
    *ret = manager;
    return PST_OK;

fail:
    manager_free(manager);
    return status;
}

const char *log_manager_cluster_id(const struct log_manager *manager)
{
    return manager->cluster_id;
}

unsigned log_manager_dir_count(const struct log_manager *manager)
{
    return manager->dir_count;
}

struct log_dir *log_manager_dir(const struct log_manager *manager, unsigned index)
{
    return manager->dirs[index].dir;
}

/* ---- the table of logs ---- */

static void manager_log_free(struct manager_log *entry)
{
    if (entry == NULL)
        return;
    free(entry->topic);
    free(entry);
}

static enum pst_status remember(struct log_manager *manager, struct str topic, int32_t partition,
                                unsigned dir, int64_t flush_ms, struct log *log)
{
    struct manager_log *entry = calloc(1, sizeof *entry);
    char name[NAME_BYTES_MAX];
    enum pst_status status;

    if (entry == NULL)
        return PST_NOMEM;
    *entry = (struct manager_log){.log = log,
                                  .topic = str_dup(topic),
                                  .topic_length = topic.length,
                                  .partition = partition,
                                  .dir = dir,
                                  .flush_ms = flush_ms};
    if (entry->topic == NULL) {
        free(entry);
        return PST_NOMEM;
    }
    pthread_mutex_lock(&manager->mutex);
    status = hashmap_put(manager->logs, log_name(topic, partition, name), entry);
    if (status == PST_OK)
        manager->dirs[dir].partitions++;
    pthread_mutex_unlock(&manager->mutex);
    if (status != PST_OK)
        manager_log_free(entry);
    return status;
}

struct log *log_manager_find(struct log_manager *manager, struct str topic, int32_t partition)
{
    char name[NAME_BYTES_MAX];
    const struct manager_log *entry;

    pthread_mutex_lock(&manager->mutex);
    entry = hashmap_get(manager->logs, log_name(topic, partition, name));
    pthread_mutex_unlock(&manager->mutex);
    return entry == NULL ? NULL : entry->log;
}

unsigned log_manager_count(struct log_manager *manager)
{
    unsigned count;

    pthread_mutex_lock(&manager->mutex);
    count = (unsigned)hashmap_count(manager->logs);
    pthread_mutex_unlock(&manager->mutex);
    return count;
}

void log_manager_each(struct log_manager *manager,
                      void (*fn)(void *arg, struct str topic, int32_t partition, struct log *log), void *arg)
{
    size_t cursor = 0;
    void *value;

    pthread_mutex_lock(&manager->mutex);
    while (hashmap_next(manager->logs, &cursor, NULL, &value)) {
        const struct manager_log *entry = value;

        fn(arg, str_of_bytes(entry->topic, entry->topic_length), entry->partition, entry->log);
    }
    pthread_mutex_unlock(&manager->mutex);
}

/* ---- opening logs ---- */

static enum pst_status open_in(struct log_manager *manager, unsigned dir, struct str topic, int32_t partition,
                               const struct uuid *topic_id, int32_t leader_epoch,
                               const struct log_config *config, struct log **ret, char **ret_text)
{
    const struct manager_dir *home = &manager->dirs[dir];
    char name[NAME_BYTES_MAX];
    struct log_opening opening = {.topic_id = *topic_id, .clean = home->clean, .leader_epoch = leader_epoch};
    enum pst_status status;
    char *path;

    *ret_text = NULL;
    if (asprintf(&path, "%s/%.*s", log_dir_path(home->dir), STR_FORMAT(log_name(topic, partition, name))) < 0)
        return PST_NOMEM;
    opening.path = path;
    opening.recovery_point = offset_checkpoint_find(home->recovery_points, topic, partition);
    if (opening.recovery_point < 0)
        opening.recovery_point = 0;
    opening.log_start_checkpoint = offset_checkpoint_find(home->start_offsets, topic, partition);
    status = log_open(&manager->env, home->dir, &opening, config, ret, ret_text);
    free(path);
    return status;
}

struct load_job {
    struct worker_job job;
    struct log_manager *manager;
    struct load *load;
    unsigned dir;
    char *name;
    struct log_identity identity;
    struct uuid topic_id;
    int32_t leader_epoch;
    struct log_config config;
    struct log *log;
    enum pst_status status;
    char *text;
    struct load_job *next; /* finished */
};

struct load {
    pthread_mutex_t mutex;
    pthread_cond_t finished;
    struct load_job *done;
};

static void run_load(struct worker_job *job)
{
    struct load_job *load_job = CONTAINER_OF(job, struct load_job, job);
    struct load *load = load_job->load;

    load_job->status = open_in(load_job->manager, load_job->dir, load_job->identity.topic,
                               load_job->identity.partition, &load_job->topic_id, load_job->leader_epoch,
                               &load_job->config, &load_job->log, &load_job->text);
    pthread_mutex_lock(&load->mutex);
    load_job->next = load->done;
    load->done = load_job;
    pthread_cond_signal(&load->finished);
    pthread_mutex_unlock(&load->mutex);
}

static void load_job_free(struct load_job *job)
{
    free(job->name);
    free(job->text);
    free(job);
}

/* Renames a directory that is not ours any more, out of the way of a new topic of that name. */
static void set_aside(struct log_manager *manager, struct log_dir *dir, const char *name)
{
    struct uuid uuid = uuid_random();
    char hex[33];
    char *from = NULL;
    char *to = NULL;

    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", uuid.bytes[i]);
    if (asprintf(&from, "%s/%s", log_dir_path(dir), name) >= 0 &&
        asprintf(&to, "%s/%.200s.%s-stray", log_dir_path(dir), name, hex) >= 0) {
        report(manager, dir, "a partition that the metadata does not know was renamed to …-stray");
        if (manager->env.files->rename(from, to) != 0)
            report(manager, dir, "renaming a stray partition failed");
    }
    free(from);
    free(to);
}

/* NULL: nothing to open. */
static struct load_job *plan_load(struct log_manager *manager, const struct log_resolver *resolver,
                                  unsigned dir, const char *name)
{
    struct load_job *job = calloc(1, sizeof *job);
    const char *reason;
    char *path = NULL;

    if (job == NULL)
        return NULL;
    job->name = strdup(name);
    if (job->name == NULL ||
        !log_dir_name_parse(str_of(job->name), &job->identity.topic, &job->identity.partition) ||
        log_manager_find(manager, job->identity.topic, job->identity.partition) != NULL ||
        asprintf(&path, "%s/%s", log_dir_path(manager->dirs[dir].dir), name) < 0)
        goto nothing;
    if (partition_metadata_load(path, &job->identity.topic_id, &reason) != PST_OK)
        memset(&job->identity.topic_id, 0, sizeof job->identity.topic_id);
    switch (
        resolver->resolve(resolver->arg, &job->identity, &job->config, &job->topic_id, &job->leader_epoch)) {
    case LOG_RESOLVED:
        break;
    case LOG_STRAY:
    case LOG_DELETED_TOPIC:
        set_aside(manager, manager->dirs[dir].dir, name);
        goto nothing;
    case LOG_UNKNOWN:
        goto nothing;
    }
    free(path);
    job->manager = manager;
    job->dir = dir;
    job->job.run = run_load;
    return job;

nothing:
    free(path);
    load_job_free(job);
    return NULL;
}

static unsigned start_loads(struct log_manager *manager, const struct log_resolver *resolver,
                            struct load *load)
{
    unsigned total = 0;

    for (unsigned i = 0; i < manager->dir_count; i++) {
        DIR *listing = opendir(log_dir_path(manager->dirs[i].dir));
        struct dirent *entry;

        while (listing != NULL && (entry = readdir(listing)) != NULL) {
            struct load_job *job = NULL;

            if (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN)
                job = plan_load(manager, resolver, i, entry->d_name);
            if (job == NULL)
                continue;
            job->load = load;
            total++;
            workers_submit(manager->env.workers, &job->job);
        }
        if (listing != NULL)
            closedir(listing);
    }
    return total;
}

static void finish_load(struct log_manager *manager, const struct log_resolver *resolver,
                        struct load_job *job, unsigned done, unsigned total)
{
    if (job->status == PST_OK)
        job->status = remember(manager, job->identity.topic, job->identity.partition, job->dir,
                               job->config.flush_ms, job->log);
    if (resolver->opened != NULL)
        resolver->opened(resolver->arg, &job->identity, job->status == PST_OK ? job->log : NULL, job->status,
                         job->text, done, total);
    load_job_free(job);
}

enum pst_status log_manager_load(struct log_manager *manager, const struct log_resolver *resolver)
{
    struct load load = {.done = NULL};
    unsigned total;

    pthread_mutex_init(&load.mutex, NULL);
    pthread_cond_init(&load.finished, NULL);
    total = start_loads(manager, resolver, &load);
    for (unsigned done = 1; done <= total; done++) {
        struct load_job *job;

        pthread_mutex_lock(&load.mutex);
        while (load.done == NULL)
            pthread_cond_wait(&load.finished, &load.mutex);
        job = load.done;
        load.done = job->next;
        pthread_mutex_unlock(&load.mutex);
        finish_load(manager, resolver, job, done, total);
    }
    pthread_cond_destroy(&load.finished);
    pthread_mutex_destroy(&load.mutex);
    return PST_OK;
}

static bool has_partition(const struct log_manager *manager, unsigned dir, struct str topic,
                          int32_t partition)
{
    char name[NAME_BYTES_MAX];
    char *path;
    DIR *listing;

    if (asprintf(&path, "%s/%.*s", log_dir_path(manager->dirs[dir].dir),
                 STR_FORMAT(log_name(topic, partition, name))) < 0)
        return false;
    listing = opendir(path);
    free(path);
    if (listing != NULL)
        closedir(listing);
    return listing != NULL;
}

/* Where it lies, or the online directory with the fewest partitions; dir_count: nowhere. */
static unsigned choose_dir(const struct log_manager *manager, struct str topic, int32_t partition)
{
    unsigned best = manager->dir_count;

    for (unsigned i = 0; i < manager->dir_count; i++) {
        if (has_partition(manager, i, topic, partition))
            return i;
        if (!log_dir_is_offline(manager->dirs[i].dir) &&
            (best == manager->dir_count || manager->dirs[i].partitions < manager->dirs[best].partitions))
            best = i;
    }
    return best;
}

enum pst_status log_manager_open(struct log_manager *manager, struct str topic, int32_t partition,
                                 const struct uuid *topic_id, int32_t leader_epoch,
                                 const struct log_config *config, struct log **ret, char **ret_text)
{
    unsigned dir = choose_dir(manager, topic, partition);
    enum pst_status status;
    struct log *log;

    *ret_text = NULL;
    if (dir == manager->dir_count || log_dir_is_offline(manager->dirs[dir].dir))
        return PST_OFFLINE;
    status = open_in(manager, dir, topic, partition, topic_id, leader_epoch, config, &log, ret_text);
    if (status == PST_OK && file_sync_dir(manager->env.files, log_dir_path(manager->dirs[dir].dir)) != PST_OK)
        log_dir_fail(manager->dirs[dir].dir, "syncing the directory of a new partition failed");
    if (status == PST_OK)
        status = remember(manager, topic, partition, dir, config->flush_ms, log);
    if (status == PST_OK)
        *ret = log;
    return status;
}

/* ---- deleting ---- */

static struct manager_log *find_entry(struct log_manager *manager, const struct log *log, struct str *ret_key)
{
    size_t cursor = 0;
    void *value;

    while (hashmap_next(manager->logs, &cursor, ret_key, &value)) {
        if (((struct manager_log *)value)->log == log)
            return value;
    }
    return NULL;
}

enum pst_status log_manager_delete(struct log_manager *manager, struct log *log)
{
    struct manager_log *entry;
    enum pst_status status;
    struct str key;

    pthread_mutex_lock(&manager->mutex);
    entry = find_entry(manager, log, &key);
    BUG_ON(entry == NULL);
    hashmap_remove(manager->logs, key);
    manager->dirs[entry->dir].partitions--;
    while (entry->users > 0)
        pthread_cond_wait(&manager->idle, &manager->mutex);
    pthread_mutex_unlock(&manager->mutex);
    status = log_delete(log);
    manager_log_free(entry);
    return status;
}

void log_manager_set_config(struct log_manager *manager, struct log *log, const struct log_config *config)
{
    struct manager_log *entry;
    struct str key;

    pthread_mutex_lock(&manager->mutex);
    entry = find_entry(manager, log, &key);
    if (entry != NULL)
        entry->flush_ms = config->flush_ms;
    pthread_mutex_unlock(&manager->mutex);
    log_set_config(log, config);
}

/* ---- periodic work ---- */

/* All logs at this moment, each held against deletion; *ret malloc'ed. */
static struct manager_log **hold_all(struct log_manager *manager, size_t *ret_count)
{
    struct manager_log **entries;
    size_t cursor = 0;
    size_t count = 0;
    void *value;

    pthread_mutex_lock(&manager->mutex);
    entries = malloc((hashmap_count(manager->logs) + 1) * sizeof(struct manager_log *));
    while (entries != NULL && hashmap_next(manager->logs, &cursor, NULL, &value)) {
        entries[count] = value;
        entries[count++]->users++;
    }
    pthread_mutex_unlock(&manager->mutex);
    *ret_count = count;
    return entries;
}

static void release_entry(struct log_manager *manager, struct manager_log *entry)
{
    pthread_mutex_lock(&manager->mutex);
    if (--entry->users == 0)
        pthread_cond_broadcast(&manager->idle);
    pthread_mutex_unlock(&manager->mutex);
}

static enum pst_status add_offset(struct offset_checkpoint *checkpoint, enum periodic kind,
                                  const struct manager_log *entry)
{
    struct log_offsets offsets = log_offsets(entry->log);
    struct str topic = str_of_bytes(entry->topic, entry->topic_length);

    switch (kind) {
    case PERIODIC_RECOVERY_POINT:
        return offset_checkpoint_add(checkpoint, topic, entry->partition, offsets.recovery_point);
    case PERIODIC_HIGH_WATERMARK:
        return offset_checkpoint_add(checkpoint, topic, entry->partition, offsets.high_watermark);
    default:
        return offsets.start > 0 ? offset_checkpoint_add(checkpoint, topic, entry->partition, offsets.start)
                                 : PST_OK;
    }
}

static const char *checkpoint_file(enum periodic kind)
{
    switch (kind) {
    case PERIODIC_RECOVERY_POINT:
        return CHECKPOINT_RECOVERY_POINT_FILE;
    case PERIODIC_HIGH_WATERMARK:
        return CHECKPOINT_HIGH_WATERMARK_FILE;
    default:
        return CHECKPOINT_LOG_START_FILE;
    }
}

/* One checkpoint file of every online directory. */
static enum pst_status write_checkpoints(struct log_manager *manager, enum periodic kind)
{
    enum pst_status result = PST_OK;
    size_t count;
    struct manager_log **entries = hold_all(manager, &count);

    if (entries == NULL)
        return PST_NOMEM;
    for (unsigned d = 0; d < manager->dir_count; d++) {
        struct offset_checkpoint *checkpoint = offset_checkpoint_new();
        enum pst_status status = checkpoint == NULL ? PST_NOMEM : PST_OK;

        for (size_t i = 0; i < count && status == PST_OK; i++) {
            if (entries[i]->dir == d)
                status = add_offset(checkpoint, kind, entries[i]);
        }
        if (status == PST_OK && !log_dir_is_offline(manager->dirs[d].dir)) {
            offset_checkpoint_sort(checkpoint);
            status = offset_checkpoint_save(checkpoint, manager->env.files,
                                            log_dir_path(manager->dirs[d].dir), checkpoint_file(kind));
            if (status == PST_IO)
                log_dir_fail(manager->dirs[d].dir, "writing a checkpoint failed");
        }
        offset_checkpoint_free(checkpoint);
        if (status != PST_OK)
            result = status;
    }
    for (size_t i = 0; i < count; i++)
        release_entry(manager, entries[i]);
    free(entries);
    return result;
}

enum pst_status log_manager_checkpoint(struct log_manager *manager)
{
    enum pst_status status = write_checkpoints(manager, PERIODIC_RECOVERY_POINT);

    if (status == PST_OK)
        status = write_checkpoints(manager, PERIODIC_START_OFFSET);
    if (status == PST_OK)
        status = write_checkpoints(manager, PERIODIC_HIGH_WATERMARK);
    return status;
}

static void visit_logs(struct log_manager *manager, enum periodic kind)
{
    size_t count;
    struct manager_log **entries = hold_all(manager, &count);

    for (size_t i = 0; entries != NULL && i < count; i++) {
        if (kind == PERIODIC_RETENTION)
            log_retain(entries[i]->log);
        else
            log_tick(entries[i]->log);
        release_entry(manager, entries[i]);
    }
    free(entries);
}

static void run_periodic(struct worker_job *job)
{
    struct periodic_work *work = CONTAINER_OF(job, struct periodic_work, job);
    struct log_manager *manager = work->manager;

    switch (work->kind) {
    case PERIODIC_RETENTION:
    case PERIODIC_TICK:
        visit_logs(manager, work->kind);
        break;
    case PERIODIC_TRASH:
        trash_step(manager->env.trash, UNLINKS_PER_STEP);
        break;
    default:
        if (write_checkpoints(manager, work->kind) != PST_OK)
            report(manager, NULL, "a checkpoint could not be written; the next one is tried in its time");
        break;
    }
    pthread_mutex_lock(&manager->mutex);
    work->running = false;
    pthread_cond_broadcast(&manager->idle);
    pthread_mutex_unlock(&manager->mutex);
}

int64_t log_manager_tick(struct log_manager *manager)
{
    int64_t now = now_ms(manager);
    int64_t wait_ms = TICK_MS_MAX;

    for (int i = 0; i < PERIODIC_COUNT; i++) {
        struct periodic_work *work = &manager->work[i];
        bool start = false;

        if (work->next_ms <= now) {
            pthread_mutex_lock(&manager->mutex);
            start = !work->running;
            work->running = true;
            pthread_mutex_unlock(&manager->mutex);
            work->next_ms = now + work->interval_ms;
        }
        if (start) {
            work->job = (struct worker_job){.run = run_periodic};
            workers_submit(manager->env.workers, &work->job);
        }
        if (work->next_ms - now < wait_ms)
            wait_ms = work->next_ms - now;
    }
    return wait_ms < 1 ? 1 : wait_ms;
}

void log_manager_settle(struct log_manager *manager)
{
    pthread_mutex_lock(&manager->mutex);
    for (int i = 0; i < PERIODIC_COUNT; i++) {
        while (manager->work[i].running)
            pthread_cond_wait(&manager->idle, &manager->mutex);
    }
    pthread_mutex_unlock(&manager->mutex);
}

/* ---- closing ---- */

struct close_job {
    struct worker_job job;
    struct log_manager *manager;
    struct manager_log *entry;
    unsigned *open; /* manager's mutex */
};

static void run_close(struct worker_job *job)
{
    struct close_job *close_job = CONTAINER_OF(job, struct close_job, job);
    struct log_manager *manager = close_job->manager;
    enum pst_status status = log_close(close_job->entry->log);

    pthread_mutex_lock(&manager->mutex);
    if (status != PST_OK)
        manager->dirs[close_job->entry->dir].close_failed = true;
    if (--*close_job->open == 0)
        pthread_cond_broadcast(&manager->idle);
    pthread_mutex_unlock(&manager->mutex);
    manager_log_free(close_job->entry);
    free(close_job);
}

static void close_logs(struct log_manager *manager)
{
    unsigned open = 0;
    size_t cursor = 0;
    void *value;

    pthread_mutex_lock(&manager->mutex);
    while (hashmap_next(manager->logs, &cursor, NULL, &value)) {
        struct manager_log *entry = value;
        struct close_job *job = calloc(1, sizeof *job);

        if (job == NULL) { /* left as after a crash */
            manager->dirs[entry->dir].close_failed = true;
            continue;
        }
        *job =
            (struct close_job){.job = {.run = run_close}, .manager = manager, .entry = entry, .open = &open};
        open++;
        workers_submit(manager->env.workers, &job->job);
    }
    while (open > 0)
        pthread_cond_wait(&manager->idle, &manager->mutex);
    pthread_mutex_unlock(&manager->mutex);
}

enum pst_status log_manager_close(struct log_manager *manager)
{
    enum pst_status status = PST_OK;
    enum pst_status checkpointed;

    log_manager_settle(manager);
    {
        size_t count;
        struct manager_log **entries = hold_all(manager, &count);

        for (size_t i = 0; entries != NULL && i < count; i++) {
            if (log_flush(entries[i]->log) != PST_OK) /* so that the checkpoints say the end */
                manager->dirs[entries[i]->dir].close_failed = true;
            release_entry(manager, entries[i]);
        }
        free(entries);
    }
    checkpointed = log_manager_checkpoint(manager);
    close_logs(manager);
    for (unsigned i = 0; i < manager->dir_count; i++) {
        struct manager_dir *dir = &manager->dirs[i];

        if (checkpointed == PST_OK && !dir->close_failed && !log_dir_is_offline(dir->dir) &&
            clean_shutdown_write(manager->env.files, log_dir_path(dir->dir),
                                 manager->settings.broker_epoch) == PST_OK)
            continue;
        status = PST_IO;
    }
    manager_free(manager);
    return status;
}
