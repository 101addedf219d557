#include "common/bug.h"

#include <stdio.h>
#include <stdlib.h>

void bug_stop(const char *file, int line, const char *what)
{
    fprintf(stderr, "penstock bug: %s:%d: %s\n", file, line, what);
    abort();
}
