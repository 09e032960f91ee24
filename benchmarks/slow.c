// A slow, shared file system for an unmodified program: LD_PRELOAD this, and each operation on a path below SLOW_ROOT
// that would ask the server waits for one round trip first, and is counted by kind. benchmarks/slow.py compiles it.
//
// What it stands for, after the NFS client of Linux: opening, making, linking, renaming and removing files, kernel
// locks, syncs and changes of attributes ask the server; so does the first read of an open file that is not as this
// process knows it, and the close of one that was written and not synced (close-to-open consistency). Writes wait in
// the client's cache. stat and access are answered from its attribute cache: they are counted and cost nothing.
// Not modelled: bandwidth, a server that gets slower under load, what one client does not see of another's writes.
//
// The settings and the counts lie in a file that is mapped (SLOW_CONTROL), so that they are one for all processes of a
// run, and can be changed while these run.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum kind { OPEN, READ, CLOSE, SYNC, LIST, LINK, UNLINK, RENAME, MKDIR, ATTRIBUTES, FLOCK, STAT, KINDS };

const char *slow_kinds(void)
{
    return "open read close sync list link unlink rename mkdir attributes flock stat"; // as in enum kind
}

struct control {
    int64_t delay_ns;   // of a round trip
    int64_t locks;      // how often the lock was taken
    int64_t held_ns;    // for how long it was held, up to its last release
    int64_t held_since; // on the monotonic clock; 0: it is free
    int64_t counts[KINDS];
};

static struct control unused, *control = &unused;
static const char *root, *lock; // the folder; how the path of the file ends whose flock is the lock that is timed
static size_t root_length;

#define FILES 65536
static char inside[FILES], written[FILES], was_read[FILES], holds[FILES]; // by descriptor
#define KNOWN(fd) ((fd) >= 0 && (fd) < FILES && inside[fd])

#define REAL(result, name, parameters)                                                                                 \
    static result(*real) parameters;                                                                                   \
    if (!real)                                                                                                         \
        real = (result(*) parameters)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("SLOW_CONTROL");
    root = getenv("SLOW_ROOT");
    lock = getenv("SLOW_LOCK");
    if (!root || !path)
        return;
    int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    int fd = real_open(path, O_RDWR | O_CLOEXEC);
    void *mapped = mmap(NULL, sizeof unused, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || mapped == MAP_FAILED)
        abort(); // to go on without delays would measure something else
    control = mapped;
    root_length = strlen(root);
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void ask_server(enum kind kind)
{
    __sync_fetch_and_add(&control->counts[kind], 1);
    int64_t ns = kind == STAT ? 0 : control->delay_ns;
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    while (ns && nanosleep(&t, &t) && errno == EINTR)
        ;
}

static int is_below(const char *path)
{
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int path_of(int fd, char *path)
{
    char link[64], *end = link + sizeof link - 1;
    int number = fd < 0 ? 0 : fd;
    *end = 0;
    do
        *--end = '0' + number % 10;
    while (number /= 10);
    end -= 14;
    memcpy(end, "/proc/self/fd/", 14);
    ssize_t length = readlink(end, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length >= 0;
}

static int fd_below(int fd)
{
    char path[PATH_MAX];
    return root_length && path_of(fd, path) && is_below(path);
}

static int below(int folder, const char *path) // a relative path counts as its folder does
{
    char here[PATH_MAX];
    if (!root_length || !path)
        return 0;
    if (path[0] == '/')
        return is_below(path);
    return folder == AT_FDCWD ? getcwd(here, sizeof here) && is_below(here) : fd_below(folder);
}

static int opened(int fd, int is_inside)
{
    if (fd >= 0 && fd < FILES)
        inside[fd] = is_inside, written[fd] = was_read[fd] = holds[fd] = 0;
    return fd;
}

#define MODE(flags)                                                                                                    \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

#define AN_OPEN(name)                                                                                                  \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        REAL(int, name, (const char *, int, ...));                                                                     \
        MODE(flags)                                                                                                    \
        int here = below(AT_FDCWD, path);                                                                              \
        if (here)                                                                                                      \
            ask_server(OPEN);                                                                                          \
        return opened(real(path, flags, mode), here);                                                                  \
    }
AN_OPEN(open)
AN_OPEN(open64)

#define AN_OPENAT(name)                                                                                                \
    int name(int folder, const char *path, int flags, ...)                                                             \
    {                                                                                                                  \
        REAL(int, name, (int, const char *, int, ...));                                                                \
        MODE(flags)                                                                                                    \
        int here = below(folder, path);                                                                                \
        if (here)                                                                                                      \
            ask_server(OPEN);                                                                                          \
        return opened(real(folder, path, flags, mode), here);                                                          \
    }
AN_OPENAT(openat)
AN_OPENAT(openat64)

// name, its parameters, its arguments, whether it is about the folder, what it asks
#define ASKING(result, name, parameters, arguments, here, kind)                                                        \
    result name parameters                                                                                             \
    {                                                                                                                  \
        REAL(result, name, parameters);                                                                                \
        if (here)                                                                                                      \
            ask_server(kind);                                                                                          \
        return real arguments;                                                                                         \
    }
#define AT_PATH below(AT_FDCWD, a)
#define TIMES const struct timespec t[2]
ASKING(DIR *, opendir, (const char *a), (a), AT_PATH, LIST)
ASKING(DIR *, fdopendir, (int fd), (fd), fd_below(fd), LIST)
ASKING(int, link, (const char *a, const char *b), (a, b), below(AT_FDCWD, b), LINK)
ASKING(int, linkat, (int x, const char *a, int y, const char *b, int f), (x, a, y, b, f), below(y, b), LINK)
ASKING(int, symlink, (const char *a, const char *b), (a, b), below(AT_FDCWD, b), LINK)
ASKING(int, symlinkat, (const char *a, int y, const char *b), (a, y, b), below(y, b), LINK)
ASKING(int, unlink, (const char *a), (a), AT_PATH, UNLINK)
ASKING(int, unlinkat, (int x, const char *a, int f), (x, a, f), below(x, a), UNLINK)
ASKING(int, rmdir, (const char *a), (a), AT_PATH, UNLINK)
ASKING(int, rename, (const char *a, const char *b), (a, b), AT_PATH, RENAME)
ASKING(int, renameat, (int x, const char *a, int y, const char *b), (x, a, y, b), below(x, a), RENAME)
ASKING(int, mkdir, (const char *a, mode_t m), (a, m), AT_PATH, MKDIR)
ASKING(int, mkdirat, (int x, const char *a, mode_t m), (x, a, m), below(x, a), MKDIR)
ASKING(int, chmod, (const char *a, mode_t m), (a, m), AT_PATH, ATTRIBUTES)
ASKING(int, fchmod, (int fd, mode_t m), (fd, m), KNOWN(fd), ATTRIBUTES)
ASKING(int, fchmodat, (int x, const char *a, mode_t m, int f), (x, a, m, f), below(x, a), ATTRIBUTES)
ASKING(int, utimensat, (int x, const char *a, TIMES, int f), (x, a, t, f), below(x, a), ATTRIBUTES)
ASKING(int, futimens, (int fd, TIMES), (fd, t), KNOWN(fd), ATTRIBUTES)
ASKING(int, truncate64, (const char *a, off64_t n), (a, n), AT_PATH, ATTRIBUTES)
ASKING(int, ftruncate64, (int fd, off64_t n), (fd, n), KNOWN(fd), ATTRIBUTES)
ASKING(int, stat64, (const char *a, struct stat64 *s), (a, s), AT_PATH, STAT)
ASKING(int, lstat64, (const char *a, struct stat64 *s), (a, s), AT_PATH, STAT)
ASKING(int, fstatat64, (int x, const char *a, struct stat64 *s, int f), (x, a, s, f), below(x, a), STAT)
ASKING(int, access, (const char *a, int m), (a, m), AT_PATH, STAT)
ASKING(int, faccessat, (int x, const char *a, int m, int f), (x, a, m, f), below(x, a), STAT)

struct file {
    ino_t inode;
    off64_t size;
    struct timespec changed;
};
static struct file known[1024]; // as this process last read or wrote them; a clash costs one read

static int is_as_known(int fd) // and is known from now on
{
    struct stat64 s;
    if (fstat64(fd, &s))
        return 0;
    struct file *was = &known[s.st_ino % 1024], is = {s.st_ino, s.st_size, s.st_mtim};
    int same = was->inode == is.inode && was->size == is.size && was->changed.tv_sec == is.changed.tv_sec &&
               was->changed.tv_nsec == is.changed.tv_nsec;
    *was = is;
    return same;
}

#define A_SYNC(name)                                                                                                   \
    int name(int fd)                                                                                                   \
    {                                                                                                                  \
        REAL(int, name, (int));                                                                                        \
        if (KNOWN(fd)) {                                                                                               \
            ask_server(SYNC);                                                                                          \
            written[fd] = 0;                                                                                           \
        }                                                                                                              \
        return real(fd);                                                                                               \
    }
A_SYNC(fsync)
A_SYNC(fdatasync)

static ssize_t got(int fd, ssize_t count)
{
    if (count > 0 && KNOWN(fd) && !was_read[fd]) {
        was_read[fd] = 1; // the rest of it comes with read-ahead
        if (!is_as_known(fd))
            ask_server(READ);
    }
    return count;
}

ssize_t read(int fd, void *to, size_t n)
{
    REAL(ssize_t, read, (int, void *, size_t));
    return got(fd, real(fd, to, n));
}

ssize_t pread64(int fd, void *to, size_t n, off64_t at)
{
    REAL(ssize_t, pread64, (int, void *, size_t, off64_t));
    return got(fd, real(fd, to, n, at));
}

static ssize_t put(int fd, ssize_t count)
{
    if (KNOWN(fd)) {
        written[fd] = 1;
        is_as_known(fd);
    }
    return count;
}

ssize_t write(int fd, const void *from, size_t n)
{
    REAL(ssize_t, write, (int, const void *, size_t));
    return put(fd, real(fd, from, n));
}

ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at)
{
    REAL(ssize_t, pwrite64, (int, const void *, size_t, off64_t));
    return put(fd, real(fd, from, n, at));
}

static int64_t releasing(int fd) // since when it was held; 0 if it was not
{
    if (fd < 0 || fd >= FILES || !holds[fd])
        return 0;
    holds[fd] = 0;
    return __sync_lock_test_and_set(&control->held_since, 0); // before the next one takes it
}

static void released(int64_t since)
{
    if (since)
        __sync_fetch_and_add(&control->held_ns, now() - since);
}

static int is_lock(int fd)
{
    char path[PATH_MAX];
    size_t length = lock && path_of(fd, path) ? strlen(path) : 0, end = lock ? strlen(lock) : 0;
    return end && length >= end && !strcmp(path + length - end, lock);
}

int flock(int fd, int operation)
{
    REAL(int, flock, (int, int));
    if (!KNOWN(fd))
        return real(fd, operation);
    ask_server(FLOCK);
    int64_t since = operation & LOCK_UN ? releasing(fd) : 0;
    int failed = real(fd, operation);
    released(since);
    if (!failed && operation & LOCK_EX && is_lock(fd)) {
        holds[fd] = 1;
        control->held_since = now();
        __sync_fetch_and_add(&control->locks, 1);
    }
    return failed;
}

int close(int fd)
{
    REAL(int, close, (int));
    if (KNOWN(fd) && written[fd])
        ask_server(CLOSE);
    int64_t since = releasing(fd);
    if (fd >= 0 && fd < FILES)
        inside[fd] = 0;
    int failed = real(fd);
    released(since);
    return failed;
}
