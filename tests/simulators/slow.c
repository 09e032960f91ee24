// Preloaded: one round trip to a file server for each operation below SLOW_ROOT that an NFS client cannot answer itself.
//
// A round trip takes SLOW_US microseconds and is counted by kind in the file SLOW_OUT, which all processes share (an array
// of longs in the order of `names`). It is made for every open, create, fsync, rename, link, unlink, mkdir, flock, utime
// and truncate, for the first read of a descriptor that returns data, and for the close of one that was written and not
// synced. Writes are free: the client caches them, fsync and close pay. So are stats (attribute cache) unless SLOW_STAT=1.
// The long after the counts is a time (CLOCK_MONOTONIC, microseconds) until which the server does not answer.
#define ROOT "SLOW_ROOT"
#include "below.h"

enum { OPEN, FSYNC, RENAME, LINK, UNLINK, MKDIR, STAT, FLOCK, UTIME, TRUNC, READ, OPENDIR, CLOSE, KINDS };
#define STALLED_UNTIL KINDS
static long own_counts[KINDS + 1], *counts = own_counts;
static long round_trip_us;
static int stats_cost;

#define MOST_FDS 65536
#define KNOWN(fd) ((fd) >= 0 && (fd) < MOST_FDS)
static char dirty[MOST_FDS], was_read[MOST_FDS];
#define SMALL 256  // what a pread gives back when nothing but the bytes before a cursor was asked for

__attribute__((constructor)) static void begin(void) {
    find_root();
    const char *us = getenv("SLOW_US"), *stats = getenv("SLOW_STAT"), *out = getenv("SLOW_OUT");
    round_trip_us = us ? atol(us) : 0;
    stats_cost = stats && atoi(stats);
    if (!root || !out) return;
    NEXT(int, open, (const char *, int, ...));
    NEXT(int, ftruncate, (int, off_t));
    NEXT(int, close, (int));
    int fd = next_open(out, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return;
    if (!next_ftruncate(fd, sizeof own_counts)) {
        void *shared = mmap(0, sizeof own_counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (shared != MAP_FAILED) counts = shared;
    }
    next_close(fd);
}

static void trip(int kind) {
    __sync_fetch_and_add(&counts[kind], 1);
    sleep_us(round_trip_us);
    for (;;) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        long left = __atomic_load_n(&counts[STALLED_UNTIL], __ATOMIC_RELAXED) - (now.tv_sec * 1000000 + now.tv_nsec / 1000);
        if (left <= 0) return;
        sleep_us(left);
    }
}

static void trip_at(int kind, int folder, const char *path) {
    char full[PATH_MAX];
    if (at_is_below(folder, path, full)) trip(kind);
}

static void trip_fd(int kind, int fd) {
    if (fd_is_below(fd)) trip(kind);
}

static int opened(int fd) {
    if (KNOWN(fd)) dirty[fd] = was_read[fd] = 0;
    return fd;
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(int, name, (const char *, int, ...)); \
        MODE_OF(flags, mode) \
        trip_at(flags & O_DIRECTORY ? OPENDIR : OPEN, AT_FDCWD, path); \
        return opened(next_##name(path, flags, mode)); \
    }
OPENS(open)
OPENS(open64)
#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        NEXT(int, name, (int, const char *, int, ...)); \
        MODE_OF(flags, mode) \
        trip_at(flags & O_DIRECTORY ? OPENDIR : OPEN, folder, path); \
        return opened(next_##name(folder, path, flags, mode)); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

#define SYNCS(name) \
    int name(int fd) { \
        NEXT(int, name, (int)); \
        trip_fd(FSYNC, fd); \
        if (KNOWN(fd)) dirty[fd] = 0; \
        return next_##name(fd); \
    }
SYNCS(fsync)
SYNCS(fdatasync)

int rename(const char *from, const char *to) {
    NEXT(int, rename, (const char *, const char *));
    trip_at(RENAME, AT_FDCWD, from);
    return next_rename(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    NEXT(int, renameat, (int, const char *, int, const char *));
    trip_at(RENAME, a, from);
    return next_renameat(a, from, b, to);
}
int link(const char *from, const char *to) {
    NEXT(int, link, (const char *, const char *));
    trip_at(LINK, AT_FDCWD, from);
    return next_link(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    NEXT(int, linkat, (int, const char *, int, const char *, int));
    trip_at(LINK, a, from);
    return next_linkat(a, from, b, to, flags);
}
int symlink(const char *target, const char *path) {
    NEXT(int, symlink, (const char *, const char *));
    trip_at(LINK, AT_FDCWD, path);
    return next_symlink(target, path);
}
int unlink(const char *path) {
    NEXT(int, unlink, (const char *));
    trip_at(UNLINK, AT_FDCWD, path);
    return next_unlink(path);
}
int unlinkat(int folder, const char *path, int flags) {
    NEXT(int, unlinkat, (int, const char *, int));
    trip_at(UNLINK, folder, path);
    return next_unlinkat(folder, path, flags);
}
int mkdir(const char *path, mode_t mode) {
    NEXT(int, mkdir, (const char *, mode_t));
    trip_at(MKDIR, AT_FDCWD, path);
    return next_mkdir(path, mode);
}

#define STATS(name, type) \
    int name(const char *path, struct type *out) { \
        NEXT(int, name, (const char *, struct type *)); \
        if (stats_cost) trip_at(STAT, AT_FDCWD, path); \
        return next_##name(path, out); \
    }
STATS(stat, stat)
STATS(lstat, stat)
STATS(stat64, stat64)
STATS(lstat64, stat64)
#define STATS_AT(name, type) \
    int name(int folder, const char *path, struct type *out, int flags) { \
        NEXT(int, name, (int, const char *, struct type *, int)); \
        if (stats_cost) trip_at(STAT, folder, path); \
        return next_##name(folder, path, out, flags); \
    }
STATS_AT(fstatat, stat)
STATS_AT(fstatat64, stat64)

int flock(int fd, int operation) {
    NEXT(int, flock, (int, int));
    trip_fd(FLOCK, fd);
    return next_flock(fd, operation);
}
int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    NEXT(int, utimensat, (int, const char *, const struct timespec *, int));
    trip_at(UTIME, folder, path);
    return next_utimensat(folder, path, times, flags);
}
int futimens(int fd, const struct timespec times[2]) {
    NEXT(int, futimens, (int, const struct timespec *));
    trip_fd(UTIME, fd);
    return next_futimens(fd, times);
}
#define TRUNCATES(name) \
    int name(int fd, off_t size) { \
        NEXT(int, name, (int, off_t)); \
        trip_fd(TRUNC, fd); \
        return next_##name(fd, size); \
    }
TRUNCATES(ftruncate)
TRUNCATES(ftruncate64)

static ssize_t has_read(int fd, ssize_t size, ssize_t least) {
    if (size > least && KNOWN(fd) && !was_read[fd] && fd_is_below(fd)) {
        was_read[fd] = 1;
        trip(READ);
    }
    return size;
}
#define PREADS(name) \
    ssize_t name(int fd, void *data, size_t size, off_t at) { \
        NEXT(ssize_t, name, (int, void *, size_t, off_t)); \
        return has_read(fd, next_##name(fd, data, size, at), SMALL); \
    }
PREADS(pread)
PREADS(pread64)
ssize_t read(int fd, void *data, size_t size) {
    NEXT(ssize_t, read, (int, void *, size_t));
    return has_read(fd, next_read(fd, data, size), 0);
}
ssize_t write(int fd, const void *data, size_t size) {
    NEXT(ssize_t, write, (int, const void *, size_t));
    if (KNOWN(fd)) dirty[fd] = 1;
    return next_write(fd, data, size);
}
#define PWRITES(name) \
    ssize_t name(int fd, const void *data, size_t size, off_t at) { \
        NEXT(ssize_t, name, (int, const void *, size_t, off_t)); \
        if (KNOWN(fd)) dirty[fd] = 1; \
        return next_##name(fd, data, size, at); \
    }
PWRITES(pwrite)
PWRITES(pwrite64)
int close(int fd) {
    NEXT(int, close, (int));
    if (KNOWN(fd)) {
        if (dirty[fd]) trip_fd(CLOSE, fd);
        dirty[fd] = was_read[fd] = 0;
    }
    return next_close(fd);
}
