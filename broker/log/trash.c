#include "broker/log/trash.h"

#include "broker/log/log_dir.h"
#include "common/list.h"
#include "common/str.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct trash_item {
    struct list link;
    struct log_dir *dir;
    int64_t due_us;
    char path[];
};

struct trash {
    const struct clock *clock;
    const struct file_ops *files;
    pthread_mutex_t lock;
    struct list items;
    unsigned count;
};

struct trash *trash_new(const struct clock *clock, const struct file_ops *files)
{
    struct trash *trash = calloc(1, sizeof *trash);

    if (trash == NULL)
        return NULL;
    trash->clock = clock;
    trash->files = files;
    pthread_mutex_init(&trash->lock, NULL);
    list_init(&trash->items);
    return trash;
}

void trash_free(struct trash *trash)
{
    if (trash == NULL)
        return;
    LIST_FOR_EACH (link, &trash->items)
        free(CONTAINER_OF(link, struct trash_item, link));
    pthread_mutex_destroy(&trash->lock);
    free(trash);
}

static int64_t due_after(const struct trash *trash, int64_t delay_ms)
{
    int64_t due_us;

    if (__builtin_mul_overflow(delay_ms, 1000, &due_us) ||
        __builtin_add_overflow(due_us, clock_monotonic_us(trash->clock), &due_us))
        return INT64_MAX;
    return due_us;
}

enum pst_status trash_add(struct trash *trash, struct log_dir *dir, const char *path, int64_t delay_ms)
{
    size_t length = strlen(path) + 1;
    struct trash_item *item = malloc(sizeof *item + length);

    if (item == NULL)
        return PST_NOMEM;
    memcpy(item->path, path, length);
    item->dir = dir;
    item->due_us = due_after(trash, delay_ms);
    pthread_mutex_lock(&trash->lock);
    list_push_back(&trash->items, &item->link);
    trash->count++;
    pthread_mutex_unlock(&trash->lock);
    return PST_OK;
}

/* Takes out something that is due; NULL: nothing is. */
static struct trash_item *take_due(struct trash *trash)
{
    int64_t now_us = clock_monotonic_us(trash->clock);
    struct trash_item *due = NULL;

    pthread_mutex_lock(&trash->lock);
    LIST_FOR_EACH (link, &trash->items) {
        struct trash_item *item = CONTAINER_OF(link, struct trash_item, link);

        if (item->due_us > now_us)
            continue;
        list_remove(&item->link);
        trash->count--;
        due = item;
        break;
    }
    pthread_mutex_unlock(&trash->lock);
    return due;
}

static bool is_dir(const char *path)
{
    struct stat info;

    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Removes one name inside; 0, or the errno; ENOENT: the directory is empty.  Partitions have no folders
 * inside. */
static int remove_one_inside(const struct trash *trash, const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    char *inside = NULL;
    int error = ENOENT;

    if (dir == NULL)
        return errno;
    while ((entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            break;
    if (entry != NULL && asprintf(&inside, "%s/%s", path, entry->d_name) < 0)
        error = ENOMEM;
    else if (entry != NULL)
        error = trash->files->unlink(inside) == 0 ? 0 : errno;
    if (inside != NULL)
        free(inside);
    closedir(dir);
    return error;
}

/* One step of removing an item; 0: go on, ENOENT: it is gone. */
static int remove_step(const struct trash *trash, const char *path)
{
    int error;

    if (!is_dir(path))
        return trash->files->unlink(path) == 0 || errno == ENOENT ? ENOENT : errno;
    error = remove_one_inside(trash, path);
    if (error != ENOENT)
        return error;
    return trash->files->rmdir(path) == 0 ? ENOENT : errno;
}

static void give_up(const struct trash_item *item, int error)
{
    char text[512];

    if (item->dir == NULL)
        return;
    snprintf(text, sizeof text, "removing %s failed: %s", item->path,
             pst_status_text(pst_status_of_errno(error)));
    log_dir_fail(item->dir, text);
}

unsigned trash_step(struct trash *trash, unsigned unlink_max)
{
    struct trash_item *item;
    unsigned removed = 0;

    while (removed < unlink_max && (item = take_due(trash)) != NULL) {
        int error = 0;

        while (removed < unlink_max && error == 0) {
            error = remove_step(trash, item->path);
            if (error == 0 || error == ENOENT)
                removed++;
        }
        if (error == 0) { /* the rest next time */
            pthread_mutex_lock(&trash->lock);
            list_push_front(&trash->items, &item->link);
            trash->count++;
            pthread_mutex_unlock(&trash->lock);
            break;
        }
        if (error != ENOENT)
            give_up(item, error);
        free(item);
    }
    return removed;
}

int64_t trash_next_ms(struct trash *trash)
{
    int64_t now_us = clock_monotonic_us(trash->clock);
    int64_t next_us = INT64_MAX;
    bool empty;

    pthread_mutex_lock(&trash->lock);
    empty = list_is_empty(&trash->items);
    LIST_FOR_EACH (link, &trash->items) {
        const struct trash_item *item = CONTAINER_OF(link, struct trash_item, link);

        if (item->due_us < next_us)
            next_us = item->due_us;
    }
    pthread_mutex_unlock(&trash->lock);
    if (empty)
        return -1;
    return next_us <= now_us ? 0 : (next_us - now_us) / 1000 + 1;
}

unsigned trash_count(struct trash *trash)
{
    unsigned count;

    pthread_mutex_lock(&trash->lock);
    count = trash->count;
    pthread_mutex_unlock(&trash->lock);
    return count;
}
