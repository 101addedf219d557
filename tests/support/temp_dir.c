#include "tests/support/temp_dir.h"

#include "common/file_ops.h"

#include <dirent.h>
#include <err.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char *temp_dir_make(void)
{
    const char *base = getenv("TMPDIR");
    char *path;

    if (asprintf(&path, "%s/penstock-test-XXXXXX", base == NULL ? "/tmp" : base) < 0 || mkdtemp(path) == NULL)
        err(1, "mkdtemp");
    return path;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

void temp_dir_remove(char *path)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        err(1, "%s", path);
    free(path);
}

const char *path_in(const char *dir, const char *name)
{
    static _Thread_local char buffers[16][PATH_MAX];
    static _Thread_local unsigned next;
    char *buffer = buffers[next++ % 16];

    if (snprintf(buffer, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
        errx(1, "path too long: %s/%s", dir, name);
    return buffer;
}

void file_put(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");

    if (file == NULL || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
        err(1, "%s", path);
}

char *file_get(const char *path, size_t *ret_length)
{
    enum pst_status status;
    char *content;

    status = file_read_all(path, (size_t)1 << 30, &content, ret_length);
    if (status != PST_OK)
        errx(1, "%s: %s", path, pst_status_text(status));
    return content;
}

bool path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

unsigned dir_entry_count(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    unsigned count = 0;

    if (dir == NULL)
        err(1, "%s", path);
    while ((entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            count++;
    closedir(dir);
    return count;
}
