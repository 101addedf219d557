#include "broker/broker.h"

#include "broker/api/fetch.h"
#include "broker/api/fetch_session.h"
#include "broker/api/producer_ids.h"
#include "broker/api/session.h"
#include "broker/config_rules.h"
#include "broker/listeners.h"
#include "broker/log/log_dir.h"
#include "broker/log/log_manager.h"
#include "broker/metadata/metadata.h"
#include "broker/net/listener.h"
#include "broker/topic/registry.h"
#include "broker/topic/topic_config.h"
#include "common/bug.h"
#include "common/logger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct broker {
    struct broker_options *options;
    struct log_env log_env;
    struct api_env api;
    struct listener_addresses listen;
    struct listener_addresses advertised;
    struct listener_context contexts[LISTENERS_MAX];
    struct listener *listeners[LISTENERS_MAX];
    struct loop **loops;
    unsigned loop_count;
    unsigned loops_started;
    bool subscribed;
};

#define DIRS_MAX 64u

/* ---- log directories ---- */

struct dir_list {
    char *text; /* the names point into it */
    const char *at[DIRS_MAX];
    unsigned count;
};

static char *default_dir(void)
{
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    int length;

    if (geteuid() == 0)
        return strdup("/var/lib/penstock");
    if (data != NULL && data[0] == '/')
        length = asprintf(&path, "%s/penstock", data);
    else
        length = asprintf(&path, "%s/.local/share/penstock", home != NULL ? home : ".");
    return length < 0 ? NULL : path;
}

static enum pst_status split_dirs(const struct broker_options *options, struct dir_list *ret,
                                  struct buf *messages)
{
    char *save = NULL;

    ret->count = 0;
    ret->text = options->log_dirs[0] != '\0' ? strdup(options->log_dirs) : default_dir();
    if (ret->text == NULL)
        return PST_NOMEM;
    for (char *dir = strtok_r(ret->text, ",", &save); dir != NULL; dir = strtok_r(NULL, ",", &save)) {
        while (*dir == ' ')
            dir++;
        if (ret->count == DIRS_MAX) {
            buf_printf(messages, "error: log.dirs: more than %u directories\n", DIRS_MAX);
            return PST_INVALID;
        }
        ret->at[ret->count++] = dir;
    }
    if (ret->count == 0) {
        buf_append_text(messages, "error: log.dirs: no directory\n");
        return PST_INVALID;
    }
    return PST_OK;
}

static void report_dir(void *arg, struct log_dir *dir, const char *text)
{
    (void)arg;
    LOG_WARN("log.dir", "dir=%s text=\"%s\"", dir == NULL ? "-" : log_dir_path(dir), text);
}

static enum pst_status open_logs(struct broker *broker, struct buf *messages)
{
    const struct broker_options *options = broker->options;
    struct log_manager_settings settings = {
        .env = &broker->log_env,
        .node_id = (int32_t)options->node_id,
        .broker_epoch = -1,
        .retention_check_interval_ms = options->log_retention_check_interval_ms,
        .recovery_point_interval_ms = options->log_flush_offset_checkpoint_interval_ms,
        .start_offset_interval_ms = options->log_flush_start_offset_checkpoint_interval_ms,
        .high_watermark_interval_ms = options->replica_high_watermark_checkpoint_interval_ms,
        .report = report_dir,
    };
    struct dir_list dirs;
    char *text = NULL;
    enum pst_status status = split_dirs(options, &dirs, messages);

    if (status == PST_OK) {
        settings.dirs = dirs.at;
        settings.dir_count = dirs.count;
        status = log_manager_new(&settings, &broker->api.logs, &text);
        if (status != PST_OK)
            buf_printf(messages, "error: log.dirs: %s\n", text != NULL ? text : pst_status_text(status));
    }
    free(text);
    free(dirs.text);
    return status;
}

/* ---- metadata and what follows from it ---- */

static struct str configs_get(const void *configs, struct str name)
{
    return metadata_config_get(configs, name);
}

static void resolve_topic(struct broker *broker, const struct metadata_image *image, struct str topic,
                          struct log_config *ret, int32_t *ret_min_in_sync)
{
    topic_config_resolve(configs_get, metadata_configs_find(image, METADATA_RESOURCE_TOPIC, topic),
                         broker->options, ret, ret_min_in_sync);
}

static void add_partition(struct broker *broker, const struct metadata_image *image,
                          const struct metadata_topic *topic, int32_t index, struct log *log)
{
    struct str name = metadata_topic_name(topic);
    struct partition *partition = partition_new(name, &topic->id, index, log);
    struct log_config config;
    int32_t min_in_sync;

    if (partition == NULL)
        goto fail;
    resolve_topic(broker, image, name, &config, &min_in_sync);
    atomic_store(&partition->leader_epoch, topic->partitions[index]->leader_epoch);
    atomic_store(&partition->in_sync_count, topic->partitions[index]->isr_count);
    atomic_store(&partition->min_in_sync, min_in_sync);
    if (registry_add(broker->api.registry, partition) == PST_OK)
        return;
    partition_unref(partition);

fail:
    LOG_ERROR("partition.failed", "topic=%.*s partition=%d reason=\"out of memory\"", STR_FORMAT(name),
              index);
}

/* The log of a partition that has none yet; NULL (reported) when it cannot be made. */
static struct log *open_log(struct broker *broker, const struct metadata_image *image,
                            const struct metadata_topic *topic, int32_t index)
{
    struct str name = metadata_topic_name(topic);
    struct log_config config;
    int32_t min_in_sync;
    struct log *log = log_manager_find(broker->api.logs, name, index);
    char *text = NULL;
    enum pst_status status;

    if (log != NULL)
        return log;
    resolve_topic(broker, image, name, &config, &min_in_sync);
    status = log_manager_open(broker->api.logs, name, index, &topic->id,
                              topic->partitions[index]->leader_epoch, &config, &log, &text);
    if (status != PST_OK) {
        LOG_ERROR("partition.offline", "topic=%.*s partition=%d reason=\"%s\"", STR_FORMAT(name), index,
                  text != NULL ? text : pst_status_text(status));
        log = NULL;
    }
    free(text);
    return log;
}

static void add_partitions(struct broker *broker, const struct metadata_image *image,
                           const struct metadata_topic *topic, int32_t from)
{
    for (int32_t i = from; i < topic->partition_count; i++)
        add_partition(broker, image, topic, i, open_log(broker, image, topic, i));
}

/* Nobody finds the partition any more; who holds it sees `deleted`.  The log must wait for them. */
static void drop_partition(struct partition *partition, void *arg)
{
    struct broker *broker = arg;
    struct log *log = partition->log;

    atomic_store_explicit(&partition->deleted, true, memory_order_release);
    partition_notify(partition);
    while (atomic_load_explicit(&partition->references, memory_order_acquire) > 1)
        usleep(200); /* requests hold it for microseconds; parked fetches were just woken */
    if (log != NULL && log_manager_delete(broker->api.logs, log) != PST_OK)
        LOG_ERROR("partition.delete.failed", "topic=%s partition=%d", partition->topic, partition->index);
    partition_unref(partition);
}

struct reconfiguring {
    struct broker *broker;
    struct str topic; /* null: all */
    const struct metadata_image *image;
};

static void reconfigure_partition(struct partition *partition, void *arg)
{
    const struct reconfiguring *r = arg;
    struct log_config config;
    int32_t min_in_sync;

    if (!str_is_null(r->topic) && !str_equal(r->topic, partition_topic(partition)))
        return;
    resolve_topic(r->broker, r->image, partition_topic(partition), &config, &min_in_sync);
    atomic_store(&partition->min_in_sync, min_in_sync);
    if (partition->log != NULL)
        log_manager_set_config(r->broker->api.logs, partition->log, &config);
}

static void metadata_changed(void *arg, const struct metadata_image *image,
                             const struct metadata_delta *delta)
{
    struct broker *broker = arg;

    for (unsigned i = 0; i < delta->topic_count; i++) {
        const struct metadata_topic_change *change = &delta->topics[i];

        if (change->after == NULL)
            registry_remove(broker->api.registry, &change->before->id, drop_partition, broker);
        else
            add_partitions(broker, image, change->after,
                           change->before == NULL ? 0 : change->before->partition_count);
    }
    for (unsigned i = 0; i < delta->config_count; i++) {
        struct reconfiguring r = {broker, delta->configs[i].name, image};

        if (delta->configs[i].type == METADATA_RESOURCE_TOPIC)
            registry_each(broker->api.registry, reconfigure_partition, &r);
    }
}

static enum log_resolution resolve_log(void *arg, const struct log_identity *identity,
                                       struct log_config *ret_config, struct uuid *ret_topic_id,
                                       int32_t *ret_leader_epoch)
{
    struct broker *broker = arg;
    const struct metadata_image *image;
    const struct metadata_topic *topic;
    enum log_resolution resolution = LOG_STRAY;
    int32_t min_in_sync;

    if (str_equal_text(identity->topic, "__cluster_metadata"))
        return LOG_UNKNOWN;
    image = metadata_acquire(broker->api.metadata);
    topic = metadata_topic_find(image, identity->topic);
    if (topic != NULL && identity->partition < topic->partition_count &&
        (uuid_is_zero(&identity->topic_id) || uuid_equal(&identity->topic_id, &topic->id))) {
        resolve_topic(broker, image, identity->topic, ret_config, &min_in_sync);
        *ret_topic_id = topic->id;
        *ret_leader_epoch = topic->partitions[identity->partition]->leader_epoch;
        resolution = LOG_RESOLVED;
    }
    metadata_release(image);
    return resolution;
}

static void log_opened(void *arg, const struct log_identity *identity, struct log *log,
                       enum pst_status status, const char *text, unsigned done, unsigned total)
{
    (void)arg;
    if (log == NULL)
        LOG_ERROR("partition.offline", "topic=%.*s partition=%d reason=\"%s\"", STR_FORMAT(identity->topic),
                  identity->partition, text != NULL ? text : pst_status_text(status));
    else if (done % 1000 == 0 && done < total)
        LOG_INFO("log.loading", "done=%u total=%u", done, total);
}

static bool adopt_topic(void *arg, const struct metadata_topic *topic)
{
    struct broker *broker = arg;
    const struct metadata_image *image = metadata_acquire(broker->api.metadata);

    add_partitions(broker, image, topic, 0);
    metadata_release(image);
    return true;
}

static enum pst_status open_metadata(struct broker *broker, struct buf *messages)
{
    struct metadata_settings settings = {
        .clock = broker->log_env.clock,
        .files = broker->log_env.files,
        .dir = log_dir_path(log_manager_dir(broker->api.logs, 0)),
        .cluster_id = log_manager_cluster_id(broker->api.logs),
        .node_id = broker->api.node_id,
        .default_partitions = (int32_t)broker->options->num_partitions,
        .default_replication_factor = (int16_t)broker->options->default_replication_factor,
    };
    char *text = NULL;
    enum pst_status status;

    config_rules_fill(&settings.rules, broker->options);
    status = metadata_open(&settings, &broker->api.metadata, &text);
    if (status != PST_OK)
        buf_printf(messages, "error: %s/%s: %s\n", settings.dir, METADATA_DIR_NAME,
                   text != NULL ? text : pst_status_text(status));
    free(text);
    return status;
}

static enum pst_status register_broker(struct broker *broker)
{
    struct metadata_endpoint endpoints[LISTENERS_MAX];
    struct uuid directories[DIRS_MAX];
    struct metadata_registration registration = {.endpoints = endpoints, .directories = directories};

    for (unsigned i = 0; i < broker->advertised.count; i++) {
        struct listener_address *address = &broker->advertised.at[i];

        if (address->port == 0)
            address->port = listener_port(broker->listeners[i]);
        endpoints[registration.endpoint_count++] = (struct metadata_endpoint){
            .name = str_of(address->name), .host = str_of(address->host), .port = address->port};
    }
    for (unsigned i = 0; i < log_manager_dir_count(broker->api.logs); i++) {
        if (!log_dir_is_offline(log_manager_dir(broker->api.logs, i)))
            directories[registration.directory_count++] = log_dir_id(log_manager_dir(broker->api.logs, i));
    }
    return metadata_register(broker->api.metadata, &registration);
}

static enum pst_status load_topics(struct broker *broker, struct buf *messages)
{
    struct log_resolver resolver = {.resolve = resolve_log, .opened = log_opened, .arg = broker};
    const struct metadata_image *image;
    enum pst_status status = register_broker(broker);

    if (status == PST_OK)
        status = log_manager_load(broker->api.logs, &resolver);
    if (status != PST_OK) {
        buf_printf(messages, "error: loading the logs: %s\n", pst_status_text(status));
        return status;
    }
    image = metadata_acquire(broker->api.metadata);
    metadata_topic_each(image, adopt_topic, broker);
    metadata_release(image);
    return metadata_subscribe(broker->api.metadata, metadata_changed, broker);
}

/* ---- network ---- */

static void turn_end(void *arg)
{
    fetch_serve_ready(arg);
}

static unsigned loop_count(const struct broker_options *options)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (options->num_network_threads > 0)
        return (unsigned)options->num_network_threads;
    return cores < 2 ? 2 : (unsigned)cores;
}

static enum pst_status make_loops(struct broker *broker)
{
    unsigned count = loop_count(broker->options);
    enum pst_status status = PST_OK;

    broker->loops = calloc(count, sizeof(struct loop *));
    broker->api.loops = calloc(count, sizeof(struct api_loop *));
    if (broker->loops == NULL || broker->api.loops == NULL)
        return PST_NOMEM;
    for (unsigned i = 0; i < count && status == PST_OK; i++) {
        status = loop_new(i, broker->log_env.clock, &broker->loops[i]);
        if (status == PST_OK) {
            broker->loop_count++;
            status = api_loop_new(broker->loops[i], &broker->api.loops[i]);
        }
        if (status == PST_OK)
            loop_set_turn_end(broker->loops[i], turn_end, broker->api.loops[i]);
    }
    broker->api.loop_count = broker->loop_count;
    return status;
}

static enum pst_status start_loops(struct broker *broker)
{
    enum pst_status status = PST_OK;

    while (broker->loops_started < broker->loop_count && status == PST_OK) {
        status = loop_start(broker->loops[broker->loops_started]);
        if (status == PST_OK)
            broker->loops_started++;
    }
    return status;
}

static const char *listen_advice(enum pst_status status)
{
    switch (status) {
    case PST_BUSY:
        return "the port is in use: is another broker running? Give another with --set "
               "listeners=PLAINTEXT://HOST:PORT";
    case PST_DENIED:
        return "not allowed: ports below 1024 need privileges";
    case PST_NOT_FOUND:
        return "the host name is unknown";
    default:
        return pst_status_text(status);
    }
}

static enum pst_status open_listeners(struct broker *broker, struct buf *messages)
{
    const struct broker_options *options = broker->options;

    for (unsigned i = 0; i < broker->listen.count; i++) {
        const struct listener_address *address = &broker->listen.at[i];
        struct listener_settings settings = {
            .host = address->host,
            .port = address->port,
            .backlog = (int)options->socket_listen_backlog_size,
            .send_buffer_bytes = (int)options->socket_send_buffer_bytes,
            .receive_buffer_bytes = (int)options->socket_receive_buffer_bytes,
            .congestion =
                options->socket_congestion_control[0] != '\0' ? options->socket_congestion_control : NULL,
            .connections_max = (uint32_t)options->max_connections,
            .connections_per_ip_max = (uint32_t)options->max_connections_per_ip,
            .limits = {.frame_bytes_max = options->socket_request_max_bytes,
                       .idle_ms_max = options->connections_max_idle_ms,
                       .slots_max = (uint32_t)options->connection_requests_max,
                       .unsent_bytes_max = (uint64_t)options->connection_unsent_max_bytes,
                       .send_stall_ms_max = options->connection_stall_ms},
            .owner = &api_conn_owner,
            .data = &broker->contexts[i],
            .workers = broker->api.workers,
        };
        enum pst_status status;

        broker->contexts[i] = (struct listener_context){&broker->api, (uint16_t)i};
        status = listener_open(&settings, broker->loops, broker->loop_count, &broker->listeners[i]);
        if (status != PST_OK) {
            buf_printf(messages, "error: listeners: %s://%s:%u: %s\n", address->name, address->host,
                       address->port, listen_advice(status));
            return status;
        }
    }
    return PST_OK;
}

static enum pst_status parse_addresses(struct broker *broker, struct buf *messages)
{
    const struct broker_options *options = broker->options;
    struct buf reason;
    enum pst_status status;

    buf_init(&reason, 4096);
    status = listeners_parse(options->listeners, &broker->listen, &reason);
    if (status == PST_OK)
        status =
            listeners_advertise(&broker->listen, options->advertised_listeners, &broker->advertised, &reason);
    for (unsigned i = 0; i < broker->listen.count && status == PST_OK; i++) {
        if (strcmp(broker->listen.at[i].name, "CONTROLLER") == 0) {
            buf_append_text(&reason, "CONTROLLER: one node has no controller listener; leave it out");
            status = PST_INVALID;
        }
    }
    if (status != PST_OK)
        buf_printf(messages, "error: listeners: %.*s\n", (int)reason.length, (const char *)reason.at);
    buf_free(&reason);
    return status;
}

/* ---- life ---- */

static enum pst_status start_parts(struct broker *broker, struct buf *messages)
{
    enum pst_status status = parse_addresses(broker, messages);

    if (status == PST_OK)
        status = workers_new("worker", (unsigned)broker->options->num_io_threads, &broker->api.workers);
    if (status == PST_OK)
        status = workers_new("control", 1, &broker->api.control);
    if (status == PST_OK)
        status = registry_new(&broker->api.registry);
    if (status == PST_OK)
        status = fetch_sessions_new(broker->log_env.clock,
                                    (unsigned)broker->options->max_incremental_fetch_session_cache_slots,
                                    &broker->api.fetch_sessions);
    broker->api.producer_ids = producer_ids_new();
    if (status == PST_OK && broker->api.producer_ids == NULL)
        status = PST_NOMEM;
    broker->log_env.workers = broker->api.workers;
    if (status == PST_OK)
        status = make_loops(broker);
    if (status == PST_OK) /* before anything is opened: a port in use must not cost a recovery */
        status = open_listeners(broker, messages);
    if (status == PST_OK)
        status = open_logs(broker, messages);
    if (status == PST_OK)
        status = open_metadata(broker, messages);
    if (status == PST_OK)
        status = load_topics(broker, messages);
    if (status == PST_OK)
        status = start_loops(broker);
    return status;
}

enum pst_status broker_start(struct broker_options *options, struct broker **ret, struct buf *messages)
{
    struct broker *broker = calloc(1, sizeof *broker);
    enum pst_status status;

    if (broker == NULL)
        return PST_NOMEM;
    broker->options = options;
    broker->log_env = (struct log_env){.clock = &real_clock,
                                       .files = &posix_files,
                                       .producer_id_expiration_ms = options->producer_id_expiration_ms,
                                       .map_landing = options->log_map_landing_enable};
    broker->api.clock = &real_clock;
    broker->api.options = options;
    broker->api.node_id = (int32_t)options->node_id;
    broker->api.advertised = &broker->advertised;
    status = start_parts(broker, messages);
    if (status != PST_OK) {
        enum pst_status stopped = broker_stop(broker);

        (void)stopped; /* the reason for not starting is the one to tell */
        return status;
    }
    for (unsigned i = 0; i < broker->listen.count; i++)
        LOG_INFO("daemon.ready", "version=%s listener=%s address=%s:%u loops=%u", PENSTOCK_VERSION,
                 broker->listen.at[i].name, broker->listen.at[i].host, listener_port(broker->listeners[i]),
                 broker->loop_count);
    *ret = broker;
    return PST_OK;
}

static void forget_partition(struct partition *partition, void *arg)
{
    (void)arg;
    partition->log = NULL; /* the manager closes it */
}

enum pst_status broker_stop(struct broker *broker)
{
    enum pst_status status = PST_OK;

    for (unsigned i = 0; i < broker->loops_started; i++)
        loop_stop(broker->loops[i]);
    workers_free(broker->api.control); /* intents under way end */
    if (broker->api.workers != NULL)
        workers_drain(broker->api.workers); /* calls and cold reads post to their loops when they are done */
    for (unsigned i = 0; i < broker->listen.count; i++)
        listener_close(broker->listeners[i]); /* while the loops' event bases exist */
    for (unsigned i = 0; i < broker->loop_count; i++)
        loop_free(broker->loops[i]); /* calls that came home late end */
    for (unsigned i = 0; i < broker->loop_count; i++)
        api_loop_free(broker->api.loops[i]);
    if (broker->api.registry != NULL)
        registry_each(broker->api.registry, forget_partition, NULL);
    if (broker->api.logs != NULL)
        status = log_manager_close(broker->api.logs);
    metadata_close(broker->api.metadata);
    workers_free(broker->api.workers);
    registry_free(broker->api.registry);
    fetch_sessions_free(broker->api.fetch_sessions);
    producer_ids_free(broker->api.producer_ids);
    free(broker->api.loops);
    free(broker->loops);
    free(broker);
    return status;
}

struct control_job {
    struct worker_job job;
    struct broker *broker;
};

int64_t broker_tick(struct broker *broker)
{
    return log_manager_tick(broker->api.logs);
}

static void run_reload(struct worker_job *job)
{
    struct control_job *control = CONTAINER_OF(job, struct control_job, job);
    struct reconfiguring r = {control->broker, str_null(), metadata_acquire(control->broker->api.metadata)};

    registry_each(control->broker->api.registry, reconfigure_partition, &r);
    metadata_release(r.image);
    free(control);
}

void broker_reload(struct broker *broker)
{
    struct control_job *control = calloc(1, sizeof *control);

    if (control == NULL)
        return;
    control->job.run = run_reload;
    control->broker = broker;
    workers_submit(broker->api.control, &control->job);
}

uint16_t broker_port(const struct broker *broker)
{
    return listener_port(broker->listeners[0]);
}
