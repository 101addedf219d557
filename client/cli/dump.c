/* penstock dump: segments, indexes, snapshots, checkpoints, as text or JSON. */
#include "client/cli/dump.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "usage: penstock dump [OPTION]... FILE|DIRECTORY...\n"
    "\n"
    "Shows what is in the files of a data directory, Penstock's or Apache Kafka's, and checks it: CRCs, "
    "sizes,\n"
    "the order of offsets and index entries.  A directory stands for the files in it and in its partitions.\n"
    "No broker is needed; the files of a running one may be read.\n"
    "\n"
    "  .log .checkpoint   record batches; with -r their records; cluster metadata, group and transaction\n"
    "                     records are decoded\n"
    "  .index .timeindex .txnindex .snapshot   the entries\n"
    "  checkpoints, meta.properties, partition.metadata   as they are\n"
    "\n"
    "  -r, --records        show records, not only batches\n"
    "  -o, --offset N       batches that reach offset N or later\n"
    "  -c, --count N        at most N batches or entries of each file\n"
    "  -J, --json           a JSON object a line\n"
    "  -q, --quiet          show only what is wrong\n"
    "  -h, --help           this\n"
    "\n"
    "Exit status 1 when something is wrong with a file.\n"
    "\n"
    "Examples:\n"
    "  penstock dump /var/lib/penstock/orders-0\n"
    "  penstock dump -r /var/lib/penstock/__cluster_metadata-0/00000000000000000000.log\n"
    "  penstock dump -q /var/lib/penstock && echo all is well\n";

static const struct cli_option options[] = {
    {'r', "records", false},
    {'o', "offset", true},
    {'c', "count", true},
};

static bool take(void *arg, const char *name, const char *value)
{
    struct dump *dump = arg;

    if (strcmp(name, "offset") == 0)
        return cli_number(&dump->cli, "--offset", value, 0, INT64_MAX, &dump->from_offset);
    if (strcmp(name, "count") == 0)
        return cli_number(&dump->cli, "--count", value, 1, INT64_MAX, &dump->count_max);
    dump->records = true;
    return true;
}

void dump_problem(struct dump *dump, int64_t position, const char *format, ...)
{
    va_list arguments;

    fflush(stdout);
    cli_progress_end(&dump->progress);
    fprintf(stderr, "penstock dump: %s: at byte %lld: ", dump->path, (long long)position);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    dump->problem_count++;
}

typedef bool (*dump_file_fn)(struct dump *dump, FILE *file);

/* NULL: not a file of a data directory. */
static dump_file_fn kind_of(const char *name)
{
    static const struct {
        const char *suffix;
        dump_file_fn show;
    } kinds[] = {
        {".log", dump_batches},
        {".checkpoint", dump_batches},
        {".index", dump_offset_index},
        {".timeindex", dump_time_index},
        {".txnindex", dump_txn_index},
        {".snapshot", dump_producer_snapshot},
        {"-checkpoint", dump_text},
        {"meta.properties", dump_text},
        {"partition.metadata", dump_text},
    };
    size_t length = strlen(name);

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t suffix = strlen(kinds[i].suffix);

        if (length >= suffix && strcmp(name + length - suffix, kinds[i].suffix) == 0)
            return kinds[i].show;
    }
    return NULL;
}

static void print_file(const struct dump *dump, const struct stat *info)
{
    if (dump->problems)
        return;
    if (dump->cli.json) {
        fputs("{\"file\":", stdout);
        cli_json_text(stdout, dump->path, strlen(dump->path));
        printf(",\"size\":%lld}\n", (long long)info->st_size);
    } else {
        printf("== %s  %lld bytes\n", dump->path, (long long)info->st_size);
    }
}

static bool dump_file(struct dump *dump, const char *path, dump_file_fn show)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    bool shown = false;

    dump->path = path;
    if (file == NULL || fstat(fileno(file), &info) != 0) {
        cli_complain(&dump->cli, "%s: %s", path, strerror(errno));
    } else {
        print_file(dump, &info);
        dump->file_count++;
        shown = show(dump, file);
        if (shown && ferror(file)) {
            cli_complain(&dump->cli, "%s: %s", path, strerror(errno));
            shown = false;
        }
    }
    if (file != NULL)
        fclose(file);
    return shown;
}

#define DEPTH_MAX 2 /* the log directory, its partitions */

static bool dump_path(struct dump *dump, const char *path, unsigned depth);

static bool is_interesting(const char *directory, const char *name, unsigned depth)
{
    char path[4096];
    struct stat info;

    if (name[0] == '.' || snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path ||
        stat(path, &info) != 0)
        return false;
    return S_ISDIR(info.st_mode) ? depth < DEPTH_MAX : kind_of(name) != NULL;
}

static bool dump_directory(struct dump *dump, const char *path, unsigned depth)
{
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    bool shown = true;

    if (count < 0) {
        cli_complain(&dump->cli, "%s: %s", path, strerror(errno));
        return false;
    }
    for (int i = 0; i < count; i++) {
        char inner[4096];

        if (is_interesting(path, names[i]->d_name, depth)) {
            snprintf(inner, sizeof inner, "%s/%s", path, names[i]->d_name);
            shown = dump_path(dump, inner, depth) && shown;
        }
        free(names[i]);
    }
    free(names);
    return shown;
}

static bool dump_path(struct dump *dump, const char *path, unsigned depth)
{
    struct stat info;
    dump_file_fn show = kind_of(path);

    if (stat(path, &info) != 0) {
        cli_complain(&dump->cli, "%s: %s", path, strerror(errno));
        return false;
    }
    if (S_ISDIR(info.st_mode))
        return dump_directory(dump, path, depth + 1);
    if (show == NULL) {
        cli_complain(&dump->cli,
                     "%s: not a file of a data directory (.log .index .timeindex .txnindex .snapshot "
                     ".checkpoint meta.properties partition.metadata)",
                     path);
        return false;
    }
    return dump_file(dump, path, show);
}

static int run(struct dump *dump)
{
    bool shown = true;

    if (dump->cli.argc == 0)
        return cli_usage(&dump->cli, "expected a file or a directory");
    dump->problems = dump->cli.quiet;
    cli_progress_start(&dump->progress);
    dump->progress.shown = dump->progress.shown && dump->problems;
    for (int i = 0; i < dump->cli.argc; i++)
        shown = dump_path(dump, dump->cli.argv[i], 0) && shown;
    cli_progress_end(&dump->progress);
    if (shown && dump->file_count == 0) {
        cli_complain(&dump->cli, "no file of a data directory found");
        shown = false;
    }
    if (dump->problem_count > 0)
        cli_complain(&dump->cli, "%llu problems in %llu files", (unsigned long long)dump->problem_count,
                     (unsigned long long)dump->file_count);
    return fflush(stdout) == 0 && shown && dump->problem_count == 0 ? CLI_OK : CLI_FAILED;
}

int cli_dump(int argc, char **argv)
{
    struct dump dump = {.from_offset = -1, .count_max = -1};
    int code = cli_read(&dump.cli, "dump", help, argc, argv, options, sizeof options / sizeof options[0],
                        take, &dump);

    if (code == CLI_OK)
        code = run(&dump);
    cli_end(&dump.cli);
    return code;
}
