// Preloaded: the calls below REFUSE_ROOT that a test names fail, or are where the process is killed or stopped.
//
// refuse_arm(kind, part, nth, error, after) concerns the thread that calls it: its `nth` call from then on (0 is the next)
// of the kind (one of `kinds`; "" is any), on a path that contains `part`, fails with `error`. `after`: it is made first,
// as if only the server's answer was lost; of a write, half. error < 0 is a signal that the process sends itself instead.
// It happens once; refuse_lasting() makes all later calls of the kind fail too. refuse_seen() says how many there were.
//
// Where it stands among preloaded libraries is where the error arises: after the write-back cache, a refused "write" is
// one that the server refuses when the cache is written to it, and fsync or close tells of it.
#define ROOT "REFUSE_ROOT"
#include "below.h"
#include <dirent.h>
#include <signal.h>
#include <sys/syscall.h>

enum { OPEN, READ, WRITE, FSYNC, CLOSE, LINK, UNLINK, RENAME, MKDIR, STAT, FLOCK, UTIME, TRUNC, OPENDIR, KINDS };
static const char *kinds[KINDS] = {"open",  "read", "write", "fsync", "close", "link",  "unlink",
                                   "rename", "mkdir", "stat", "flock", "utime", "trunc", "opendir"};
static int armed, lasting, the_kind, the_error, does_it;
static long left, seen;
static char the_part[256];
static pid_t thread, process;

__attribute__((constructor)) static void begin(void) { find_root(); }

int refuse_arm(const char *kind, const char *part, long nth, int error, int after) {
    the_kind = -1;
    for (int i = 0; i < KINDS; i++)
        if (!strcmp(kinds[i], kind)) the_kind = i;
    if (*kind && the_kind < 0) return -1;
    snprintf(the_part, sizeof the_part, "%s", part);
    left = nth, the_error = error, does_it = after, seen = 0, lasting = 0;
    thread = syscall(SYS_gettid), process = getpid();
    armed = 1;
    return 0;
}
void refuse_disarm(void) { armed = 0; }
void refuse_lasting(void) { lasting = 1; }
long refuse_seen(void) { return seen; }

static int is_time(int kind, const char *path) {
    if (!armed || (the_kind >= 0 && the_kind != kind) || !is_below(path) || !strstr(path, the_part)) return 0;
    if (syscall(SYS_gettid) != thread || getpid() != process) return 0;
    seen++;
    if (left-- > 0) return 0;
    if (left < -1 && !lasting) return 0;
    return 1;
}
static int is_time_at(int kind, int folder, const char *path) {
    char full[PATH_MAX];
    return armed && at_is_below(folder, path, full) && is_time(kind, full);
}
static int is_time_fd(int kind, int fd) {
    char path[PATH_MAX];
    int kept = errno, is = armed && fd_path(fd, path) && is_time(kind, path);
    errno = kept;
    return is;
}

static void strike(void) {
    if (the_error < 0) kill(getpid(), -the_error);
}

// `call` is made, or not, or before the error
#define MAY(when, failed, call) \
    if (!(when)) return call; \
    if (the_error < 0) { \
        if (!does_it) strike(); \
        __typeof__(call) result = call; \
        if (does_it) strike(); \
        return result; \
    } \
    if (does_it) (void)!call; \
    errno = the_error; \
    return failed

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(int, name, (const char *, int, ...)); \
        MODE_OF(flags, mode) \
        if (!is_time_at(flags & O_DIRECTORY ? OPENDIR : OPEN, AT_FDCWD, path)) return next_##name(path, flags, mode); \
        return refused_open(next_##name, path, flags, mode); \
    }
static int refused_open(int (*next)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    NEXT(int, close, (int));
    if (the_error < 0 && !does_it) strike();
    int fd = the_error < 0 || does_it ? next(path, flags, mode) : -1;
    if (the_error < 0) {
        if (does_it) strike();
        return fd;
    }
    if (fd >= 0) next_close(fd);
    errno = the_error;
    return -1;
}
OPENS(open)
OPENS(open64)
#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        NEXT(int, name, (int, const char *, int, ...)); \
        NEXT(int, open, (const char *, int, ...)); \
        MODE_OF(flags, mode) \
        char full[PATH_MAX]; \
        if (!is_time_at(flags & O_DIRECTORY ? OPENDIR : OPEN, folder, path)) return next_##name(folder, path, flags, mode); \
        at_is_below(folder, path, full); \
        return refused_open(next_open, full, flags, mode); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

DIR *opendir(const char *path) {
    NEXT(DIR *, opendir, (const char *));
    MAY(is_time_at(OPENDIR, AT_FDCWD, path), NULL, next_opendir(path));
}

static ssize_t partly(int fd, const void *data, size_t size, off_t at) {
    NEXT(ssize_t, write, (int, const void *, size_t));
    NEXT(ssize_t, pwrite64, (int, const void *, size_t, off_t));
    return at < 0 ? next_write(fd, data, size) : next_pwrite64(fd, data, size, at);
}
static ssize_t refused_write(int fd, const void *data, size_t size, off_t at) {
    if (does_it) (void)!partly(fd, data, size / 2, at);
    if (the_error < 0) {
        strike();
        return does_it ? (ssize_t)(size / 2) : partly(fd, data, size, at);
    }
    errno = the_error;
    return -1;
}
ssize_t write(int fd, const void *data, size_t size) {
    NEXT(ssize_t, write, (int, const void *, size_t));
    return is_time_fd(WRITE, fd) ? refused_write(fd, data, size, -1) : next_write(fd, data, size);
}
#define PWRITES(name) \
    ssize_t name(int fd, const void *data, size_t size, off_t at) { \
        NEXT(ssize_t, name, (int, const void *, size_t, off_t)); \
        return is_time_fd(WRITE, fd) ? refused_write(fd, data, size, at) : next_##name(fd, data, size, at); \
    }
PWRITES(pwrite)
PWRITES(pwrite64)
ssize_t read(int fd, void *data, size_t size) {
    NEXT(ssize_t, read, (int, void *, size_t));
    MAY(is_time_fd(READ, fd), -1, next_read(fd, data, size));
}
#define PREADS(name) \
    ssize_t name(int fd, void *data, size_t size, off_t at) { \
        NEXT(ssize_t, name, (int, void *, size_t, off_t)); \
        MAY(is_time_fd(READ, fd), -1, next_##name(fd, data, size, at)); \
    }
PREADS(pread)
PREADS(pread64)
#define ON_FD(kind, name) \
    int name(int fd) { \
        NEXT(int, name, (int)); \
        MAY(is_time_fd(kind, fd), -1, next_##name(fd)); \
    }
ON_FD(FSYNC, fsync)
ON_FD(FSYNC, fdatasync)
int close(int fd) {  // which closes whatever it says
    NEXT(int, close, (int));
    if (!is_time_fd(CLOSE, fd)) return next_close(fd);
    if (the_error < 0 && !does_it) strike();
    int result = next_close(fd);
    if (the_error < 0) {
        if (does_it) strike();
        return result;
    }
    errno = the_error;
    return -1;
}
int flock(int fd, int operation) {
    NEXT(int, flock, (int, int));
    MAY(is_time_fd(FLOCK, fd), -1, next_flock(fd, operation));
}
#define TRUNCATES(name) \
    int name(int fd, off_t size) { \
        NEXT(int, name, (int, off_t)); \
        MAY(is_time_fd(TRUNC, fd), -1, next_##name(fd, size)); \
    }
TRUNCATES(ftruncate)
TRUNCATES(ftruncate64)
int futimens(int fd, const struct timespec times[2]) {
    NEXT(int, futimens, (int, const struct timespec *));
    MAY(is_time_fd(UTIME, fd), -1, next_futimens(fd, times));
}
int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    NEXT(int, utimensat, (int, const char *, const struct timespec *, int));
    MAY(is_time_at(UTIME, folder, path), -1, next_utimensat(folder, path, times, flags));
}
int rename(const char *from, const char *to) {
    NEXT(int, rename, (const char *, const char *));
    MAY(is_time_at(RENAME, AT_FDCWD, to), -1, next_rename(from, to));
}
int renameat(int a, const char *from, int b, const char *to) {
    NEXT(int, renameat, (int, const char *, int, const char *));
    MAY(is_time_at(RENAME, b, to), -1, next_renameat(a, from, b, to));
}
int link(const char *from, const char *to) {
    NEXT(int, link, (const char *, const char *));
    MAY(is_time_at(LINK, AT_FDCWD, to), -1, next_link(from, to));
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    NEXT(int, linkat, (int, const char *, int, const char *, int));
    MAY(is_time_at(LINK, b, to), -1, next_linkat(a, from, b, to, flags));
}
int symlink(const char *target, const char *path) {
    NEXT(int, symlink, (const char *, const char *));
    MAY(is_time_at(LINK, AT_FDCWD, path), -1, next_symlink(target, path));
}
int unlink(const char *path) {
    NEXT(int, unlink, (const char *));
    MAY(is_time_at(UNLINK, AT_FDCWD, path), -1, next_unlink(path));
}
int unlinkat(int folder, const char *path, int flags) {
    NEXT(int, unlinkat, (int, const char *, int));
    MAY(is_time_at(UNLINK, folder, path), -1, next_unlinkat(folder, path, flags));
}
int mkdir(const char *path, mode_t mode) {
    NEXT(int, mkdir, (const char *, mode_t));
    MAY(is_time_at(MKDIR, AT_FDCWD, path), -1, next_mkdir(path, mode));
}
#define STATS(name, type) \
    int name(const char *path, struct type *out) { \
        NEXT(int, name, (const char *, struct type *)); \
        MAY(is_time_at(STAT, AT_FDCWD, path), -1, next_##name(path, out)); \
    }
STATS(stat, stat)
STATS(lstat, stat)
STATS(stat64, stat64)
STATS(lstat64, stat64)
#define STATS_AT(name, type) \
    int name(int folder, const char *path, struct type *out, int flags) { \
        NEXT(int, name, (int, const char *, struct type *, int)); \
        MAY(is_time_at(STAT, folder, path), -1, next_##name(folder, path, out, flags)); \
    }
STATS_AT(fstatat, stat)
STATS_AT(fstatat64, stat64)
#define STATS_FD(name, type) \
    int name(int fd, struct type *out) { \
        NEXT(int, name, (int, struct type *)); \
        MAY(is_time_fd(STAT, fd), -1, next_##name(fd, out)); \
    }
STATS_FD(fstat, stat)
STATS_FD(fstat64, stat64)
