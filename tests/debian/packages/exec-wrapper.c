// Runs the program of its own name in PROGRAMS, with variables set and, as descriptor ZONES_FD, the folder of time zones.
//
// A program finds its tree by its own path: it is told the wrapper's. Variables that are set already stay. Linux only.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const environment[][2] = {ENVIRONMENT};

int main(int argc, char **argv) {
    static char self[PATH_MAX], program[PATH_MAX];
    (void)argc;
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) {
        perror("/proc/self/exe");
        return 126;
    }
    if (snprintf(program, sizeof program, "%s%s", PROGRAMS, strrchr(self, '/')) >= (int)sizeof program) {
        fprintf(stderr, "%s: path too long\n", self);
        return 126;
    }
    for (size_t i = 0; i < sizeof environment / sizeof *environment; i++)
        setenv(environment[i][0], environment[i][1], 0);
    int zones = open(ZONES, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (zones < 0 || dup2(zones, ZONES_FD) < 0) {
        perror(ZONES);
        return 126;
    }
    argv[0] = self;
    execv(program, argv);
    fprintf(stderr, "%s: %s\n", program, strerror(errno));
    return 127;
}
