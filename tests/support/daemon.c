#include "tests/support/daemon.h"

#include "common/clock.h"
#include "tests/support/temp_dir.h"

#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SETTINGS_MAX     16
#define READY_WITHIN_MS  60000 /* the machine may be busy and the build instrumented */
#define LOOK_AGAIN_US    2000
#define READY_MARK       " daemon.ready "
#define SETTING_TEXT_MAX 256

struct daemon {
    char *dir;
    char *program;
    char *log;
    char *settings[SETTINGS_MAX];
    size_t setting_count;
    pid_t pid; /* 0: not running */
    uint16_t port;
    uint16_t advertised_port;
    unsigned starts;
};

static char *find_program(void)
{
    const char *build = getenv("PENSTOCK_BUILD");
    char here[PATH_MAX], *path;
    ssize_t length;

    if (build == NULL) { /* BUILD/tests/integration/test_x */
        length = readlink("/proc/self/exe", here, sizeof here - 1);
        if (length < 0)
            err(1, "/proc/self/exe");
        here[length] = '\0';
        for (int i = 0; i < 3; i++)
            *strrchr(here, '/') = '\0';
        build = here;
    }
    if (asprintf(&path, "%s/penstockd", build) < 0)
        err(1, "asprintf");
    return path;
}

static void add_setting(struct daemon *daemon, const char *text)
{
    if (daemon->setting_count == SETTINGS_MAX)
        errx(1, "too many settings for a daemon");
    daemon->settings[daemon->setting_count] = strdup(text);
    if (daemon->settings[daemon->setting_count++] == NULL)
        err(1, "strdup");
}

struct daemon *daemon_new(const char *const *settings, uint16_t advertised_port)
{
    struct daemon *daemon = calloc(1, sizeof *daemon);
    char text[SETTING_TEXT_MAX];

    if (daemon == NULL)
        err(1, "calloc");
    daemon->dir = temp_dir_make();
    daemon->program = find_program();
    daemon->advertised_port = advertised_port;
    snprintf(text, sizeof text, "log.dirs=%s", path_in(daemon->dir, "data"));
    add_setting(daemon, text);
    add_setting(daemon, "listeners=PLAINTEXT://127.0.0.1:0");
    if (advertised_port != 0) {
        snprintf(text, sizeof text, "advertised.listeners=PLAINTEXT://127.0.0.1:%u",
                 (unsigned)advertised_port);
        add_setting(daemon, text);
    }
    for (; settings != NULL && *settings != NULL; settings++)
        add_setting(daemon, *settings);
    daemon_start(daemon);
    return daemon;
}

static void show_log(const struct daemon *daemon)
{
    size_t length;
    char *text = file_get(daemon->log, &length);

    fprintf(stderr, "%s\n", text);
    free(text);
}

/* "… daemon.ready … address=127.0.0.1:PORT …"; 0: not there yet. */
static uint16_t find_port(const struct daemon *daemon)
{
    size_t length;
    char *text = file_get(daemon->log, &length);
    const char *at = strstr(text, READY_MARK);
    const char *end = at == NULL ? NULL : strchr(at, '\n');
    unsigned port = 0;

    if (end != NULL) {
        at = strstr(at, "address=");
        at = at == NULL ? NULL : strchr(at, ':');
        if (at == NULL || sscanf(at, ":%u", &port) != 1)
            errx(1, "no address in the daemon's log:\n%s", text);
    }
    free(text);
    return (uint16_t)port;
}

static void run_program(const struct daemon *daemon, pid_t parent)
{
    char *arguments[2 * SETTINGS_MAX + 2];
    size_t count = 0;
    int log = open(daemon->log, O_WRONLY | O_CREAT | O_TRUNC, 0600), nothing = open("/dev/null", O_RDONLY);

    /* a test that ends by a failed assertion or a signal must leave nobody behind */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || log < 0 || nothing < 0)
        _exit(127);
    dup2(nothing, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    arguments[count++] = daemon->program;
    for (size_t i = 0; i < daemon->setting_count; i++) {
        arguments[count++] = (char *)(uintptr_t) "--set";
        arguments[count++] = daemon->settings[i];
    }
    arguments[count] = NULL;
    execv(daemon->program, arguments);
    _exit(127);
}

void daemon_start(struct daemon *daemon)
{
    int64_t until_ms = clock_monotonic_us(&real_clock) / 1000 + READY_WITHIN_MS;
    pid_t parent = getpid();
    int status;

    free(daemon->log);
    if (asprintf(&daemon->log, "%s/log.%u", daemon->dir, daemon->starts++) < 0)
        err(1, "asprintf");
    file_put(daemon->log, "", 0);
    daemon->pid = fork();
    if (daemon->pid < 0)
        err(1, "fork");
    if (daemon->pid == 0)
        run_program(daemon, parent);
    while ((daemon->port = find_port(daemon)) == 0) {
        if (waitpid(daemon->pid, &status, WNOHANG) != 0) {
            show_log(daemon);
            errx(1, "%s has ended", daemon->program);
        }
        if (clock_monotonic_us(&real_clock) / 1000 > until_ms) {
            show_log(daemon);
            errx(1, "%s is not ready", daemon->program);
        }
        usleep(LOOK_AGAIN_US);
    }
}

uint16_t daemon_port(const struct daemon *daemon)
{
    return daemon->pid == 0 ? 0 : daemon->port;
}

static int end_by(struct daemon *daemon, int signal_number)
{
    int status = 0;

    kill(daemon->pid, signal_number);
    if (waitpid(daemon->pid, &status, 0) != daemon->pid)
        err(1, "waitpid");
    daemon->pid = 0;
    return status;
}

void daemon_stop(struct daemon *daemon)
{
    int status;

    if (daemon->pid == 0)
        return;
    status = end_by(daemon, SIGTERM);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        show_log(daemon);
        errx(1, "%s stopped with status %x", daemon->program, (unsigned)status);
    }
}

void daemon_kill(struct daemon *daemon)
{
    if (daemon->pid != 0)
        end_by(daemon, SIGKILL);
}

void daemon_free(struct daemon *daemon)
{
    if (daemon == NULL)
        return;
    daemon_kill(daemon);
    temp_dir_remove(daemon->dir);
    for (size_t i = 0; i < daemon->setting_count; i++)
        free(daemon->settings[i]);
    free(daemon->program);
    free(daemon->log);
    free(daemon);
}
