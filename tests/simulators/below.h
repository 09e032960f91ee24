// What the preloaded simulators share: which paths and descriptors lie below the folder that plays the network, and the
// functions that they stand in front of. Each simulator names its own environment variable in ROOT before it includes this.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static const char *root;
static size_t root_length;

// The function that would be called if this library were not loaded: the C library's, or the next simulator's.
#define NEXT(returns, name, arguments) \
    static returns(*next_##name) arguments; \
    if (!next_##name) next_##name = dlsym(RTLD_NEXT, #name)

static void find_root(void) {
    root = getenv(ROOT);
    if (root && !*root) root = NULL;
    root_length = root ? strlen(root) : 0;
    while (root_length > 1 && root[root_length - 1] == '/') root_length--;
}

static int is_below(const char *path) {
    return root && path && !strncmp(path, root, root_length) && (!path[root_length] || path[root_length] == '/');
}

static UNUSED int fd_path(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, out, PATH_MAX - 1);
    if (size < 0) return 0;
    out[size] = 0;
    return 1;
}

static UNUSED int fd_is_below(int fd) {
    char path[PATH_MAX];
    int kept = errno, is = root && fd >= 0 && fd_path(fd, path) && is_below(path);
    errno = kept;
    return is;
}

// Writes the absolute path into `out`; whether it lies below the root. Symbolic links on the way are not followed.
static UNUSED int at_is_below(int folder, const char *path, char *out) {
    int kept = errno;
    out[0] = 0;
    if (!root || !path) return 0;
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        char base[PATH_MAX];
        if (folder == AT_FDCWD ? !getcwd(base, sizeof base) : !fd_path(folder, base)) {
            errno = kept;
            return 0;
        }
        if (snprintf(out, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    errno = kept;
    return is_below(out);
}

static UNUSED void sleep_us(long us) {
    struct timespec left = {us / 1000000, us % 1000000 * 1000};
    int kept = errno;
    while (us > 0 && nanosleep(&left, &left) && errno == EINTR) continue;
    errno = kept;
}

// open() and openat() take a mode only if they may create something
#define MODE_OF(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }
