// Preloaded: every process is a client of a network file system of its own, with what an NFS client keeps to itself.
//
// Below WRITEBACK_ROOT,
// - what a process writes is seen by others when it is fsynced, when a descriptor that may write is closed, when the file
//   is locked or unlocked with flock, cut, or given other times or rights, or when the process ends in order; its own
//   reads, stats and seeks see it at once. A write at the end (O_APPEND) goes to the end that the file has on the server,
//   or here, at the time of the write;
// - an error of such a late write is told by that fsync or close, and what was to be written is gone;
// - what stat, lstat and fstat answer, also that a name is not there, is believed for WRITEBACK_ATTR_MS milliseconds, and
//   so is the size up to which a file is read. Asked anew are: what this process opens, what it locks, what it changes;
// - a process that is killed is a client that has crashed: what was not written is lost. With SIGRTMIN it dies as a
//   process does whose client lives on: its locks go first, what it had written comes WRITEBACK_LINGER_MS later;
// - WRITEBACK_FLOCK=none: there is no flock (ENOLCK).
// writeback_stall() makes late writes later, and lets others see them in parts.
//
// Not modelled: pages of a file that others change in place, memory maps (none are used), cached directory listings.
#define ROOT "WRITEBACK_ROOT"
#include "below.h"
#include <pthread.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

typedef struct piece {
    off_t at;
    size_t size;
    struct piece *next;
    char data[];
} piece;

typedef struct file {  // an inode as this client knows it
    dev_t dev;
    ino_t ino;
    piece *first, *last;  // not written yet
    off_t end;  // of those
    struct stat seen;
    double until;  // `seen` is believed
    struct file *next;
} file;

typedef struct name {  // what a stat of a path has answered
    char path[512];
    int follow, error;
    struct stat seen;
    double until;
} name;

#define FILES 1024
#define NAMES 1024
static file *files[FILES];
static name names[NAMES];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static double believed_s = 3.0;
static int has_no_flock;
static long linger_ms = 20;
static unsigned stall_state;
static int stall_permille, stall_most_us, stall_leaves_holes;

static void write_all_back(void);
static void linger(int number);

static void hold(void) { pthread_mutex_lock(&mutex); }
static void let_go(void) { pthread_mutex_unlock(&mutex); }

static void forget_all(void) {  // in a forked child: what is not written is its parent's to write
    for (int i = 0; i < FILES; i++) {
        while (files[i]) {
            file *gone = files[i];
            files[i] = gone->next;
            for (piece *p = gone->first, *next; p; p = next) next = p->next, free(p);
            free(gone);
        }
    }
    for (int i = 0; i < NAMES; i++) names[i].until = 0;
}

static void in_child(void) {
    pthread_mutex_init(&mutex, NULL);
    forget_all();
}

__attribute__((constructor)) static void begin(void) {
    find_root();
    const char *ms = getenv("WRITEBACK_ATTR_MS"), *flocks = getenv("WRITEBACK_FLOCK"), *dies = getenv("WRITEBACK_LINGER_MS");
    if (ms) believed_s = atof(ms) / 1e3;
    if (dies) linger_ms = atol(dies);
    has_no_flock = flocks && !strcmp(flocks, "none");
    if (!root) return;
    pthread_atfork(hold, let_go, in_child);
    struct sigaction action = {.sa_handler = linger, .sa_flags = SA_RESTART};
    sigaction(SIGRTMIN, &action, NULL);
}
__attribute__((destructor)) static void end(void) {
    if (root) write_all_back();
}

// Late writes wait up to `most_us`, one of them in a thousand / `permille`; half of those are cut in two by the wait.
// `holes`: the second part may come first, as requests overtake each other: others then read zeros before it.
void writeback_stall(unsigned seed, int permille, int most_us, int holes) {
    stall_state = seed * 2654435761u + 1;
    stall_permille = permille;
    stall_most_us = most_us;
    stall_leaves_holes = holes;
}

static unsigned chance(unsigned below) {
    stall_state = stall_state * 1103515245u + 12345u;
    return (stall_state >> 8) % below;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static file *file_of(const struct stat *s, int make) {
    file **place = &files[(s->st_ino ^ s->st_dev) % FILES];
    for (file *f = *place; f; f = f->next)
        if (f->ino == s->st_ino && f->dev == s->st_dev) return f;
    if (!make) return NULL;
    file *f = calloc(1, sizeof *f);
    f->dev = s->st_dev;
    f->ino = s->st_ino;
    f->next = *place;
    return *place = f;
}

static void learn(const struct stat *s) {
    if (!S_ISREG(s->st_mode)) return;
    file *f = file_of(s, 1);
    f->seen = *s;
    f->until = now() + believed_s;
}

static off_t size_for_us(const file *f, off_t theirs) { return f->first && f->end > theirs ? f->end : theirs; }

// The inode behind a descriptor, if it is a regular file below the root; `s` is what the server knows of it.
static file *file_below(int fd, struct stat *s, int make) {
    NEXT(int, fstat, (int, struct stat *));
    int kept = errno;
    file *f = !root || fd < 0 || next_fstat(fd, s) || !S_ISREG(s->st_mode) || !fd_is_below(fd) ? NULL : file_of(s, make);
    errno = kept;
    return f;
}

static int may_write(int fd) {
    int kept = errno, flags = fcntl(fd, F_GETFL);
    errno = kept;
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

static int write_piece(int fd, const piece *p, size_t from, size_t to) {
    NEXT(ssize_t, pwrite64, (int, const void *, size_t, off_t));
    while (from < to) {
        ssize_t done = next_pwrite64(fd, p->data + from, to - from, p->at + (off_t)from);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return errno;
        from += done;
    }
    return 0;
}

// Under the mutex, which is let go while it waits; the error, or 0.
static int write_back(file *f, int fd) {
    NEXT(int, open, (const char *, int, ...));
    NEXT(int, close, (int));
    NEXT(int, fstat, (int, struct stat *));
    if (!f || !f->first) return 0;
    int out = fd, flags = fcntl(fd, F_GETFL);
    if ((flags & O_ACCMODE) == O_RDONLY || flags & O_APPEND) {  // Linux would append, wherever it is told to write
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        out = next_open(link, O_WRONLY | O_CLOEXEC);
    }
    int error = out < 0 ? errno : 0;
    piece *first = f->first;
    f->first = f->last = NULL;
    for (piece *p = first, *next; p; p = next) {
        next = p->next;
        size_t cut = 0, end = p->size;
        if (stall_permille && chance(1000) < (unsigned)stall_permille) {
            cut = chance(2) ? chance(p->size) : 0;
            if (stall_leaves_holes && cut && chance(2)) {
                if (!error) error = write_piece(out, p, cut, end);
                end = cut, cut = 0;
            } else if (!error) {
                error = write_piece(out, p, 0, cut);
            }
            long us = chance(stall_most_us + 1);
            let_go();
            sleep_us(us);
            hold();
        }
        if (!error) error = write_piece(out, p, cut, end);
        free(p);
    }
    if (!f->first) f->end = 0;
    if (out >= 0) {
        struct stat s;
        if (!next_fstat(out, &s)) learn(&s);  // the server's answer tells it
        if (out != fd && next_close(out) && !error) error = errno;
    }
    return error;
}

static int write_back_fd(int fd) {
    struct stat s;
    hold();
    int error = write_back(file_below(fd, &s, 0), fd);
    let_go();
    return error;
}

static void write_all_back(void) {
    int kept = errno;
    for (int fd = 0; fd < 1024; fd++)
        if (may_write(fd)) write_back_fd(fd);
    errno = kept;
}

static void linger(int number) {
    NEXT(int, close, (int));
    NEXT(int, flock, (int, int));
    (void)number;
    for (int fd = 3; fd < 1024; fd++)
        if (fd_is_below(fd)) next_flock(fd, LOCK_UN);
    sleep_us(linger_ms * 1000);
    if (!pthread_mutex_trylock(&mutex)) {
        let_go();
        write_all_back();
    }
    kill(getpid(), SIGKILL);
}

static unsigned hash(const char *path, int follow) {
    unsigned h = 2166136261u + follow;
    while (*path) h = (h ^ (unsigned char)*path++) * 16777619u;
    return h % NAMES;
}

static void forget(int folder, const char *path) {
    char full[PATH_MAX];
    if (!at_is_below(folder, path, full)) return;
    hold();
    for (int follow = 0; follow < 2; follow++) {
        name *n = &names[hash(full, follow)];
        if (!strcmp(n->path, full)) n->until = 0;
    }
    let_go();
}

static void forget_inside(int folder, const char *path) {  // a folder was renamed
    char full[PATH_MAX];
    if (!at_is_below(folder, path, full)) return;
    size_t length = strlen(full);
    hold();
    for (int i = 0; i < NAMES; i++)
        if (!strncmp(names[i].path, full, length) && names[i].path[length] == '/') names[i].until = 0;
    let_go();
}

static void forget_inode(const struct stat *s) {
    hold();
    file *f = file_of(s, 0);
    if (f) f->until = 0;
    for (int i = 0; i < NAMES; i++)
        if (names[i].until && names[i].seen.st_ino == s->st_ino && names[i].seen.st_dev == s->st_dev) names[i].until = 0;
    let_go();
}

static void forget_path(int folder, const char *path) {
    NEXT(int, fstatat64, (int, const char *, struct stat *, int));
    char full[PATH_MAX];
    struct stat s;
    int kept = errno;
    forget(folder, path);
    if (at_is_below(folder, path, full) && !next_fstatat64(AT_FDCWD, full, &s, AT_SYMLINK_NOFOLLOW)) forget_inode(&s);
    errno = kept;
}

static int opened(int fd, int folder, const char *path) {
    NEXT(int, fstat, (int, struct stat *));
    int kept = errno;
    char full[PATH_MAX];
    struct stat s;
    if (at_is_below(folder, path, full)) {
        forget(AT_FDCWD, full);
        if (fd >= 0 && !next_fstat(fd, &s)) {
            forget_inode(&s);
            hold();
            learn(&s);
            let_go();
        }
    }
    errno = kept;
    return fd;
}

static void write_back_path(int folder, const char *path) {
    NEXT(int, open, (const char *, int, ...));
    NEXT(int, close, (int));
    NEXT(int, fstatat64, (int, const char *, struct stat *, int));
    char full[PATH_MAX];
    struct stat s;
    if (!at_is_below(folder, path, full)) return;
    int kept = errno;
    hold();
    file *f = next_fstatat64(AT_FDCWD, full, &s, 0) ? NULL : file_of(&s, 0);
    int has_more = f && f->first, fd = has_more ? next_open(full, O_WRONLY | O_CLOEXEC) : -1;
    let_go();
    if (fd >= 0) {
        write_back_fd(fd);
        next_close(fd);
    }
    errno = kept;
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(int, name, (const char *, int, ...)); \
        MODE_OF(flags, mode) \
        if (flags & O_TRUNC) write_back_path(AT_FDCWD, path); \
        return opened(next_##name(path, flags, mode), AT_FDCWD, path); \
    }
OPENS(open)
OPENS(open64)
#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        NEXT(int, name, (int, const char *, int, ...)); \
        MODE_OF(flags, mode) \
        if (flags & O_TRUNC) write_back_path(folder, path); \
        return opened(next_##name(folder, path, flags, mode), folder, path); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

// -2: not ours to keep
static ssize_t put(int fd, const void *data, size_t size, off_t at) {
    NEXT(off_t, lseek, (int, off_t, int));
    struct stat s;
    hold();
    file *f = file_below(fd, &s, 1);
    int flags = f ? fcntl(fd, F_GETFL) : 0;
    if (!f || (flags & O_ACCMODE) == O_RDONLY || flags & (O_SYNC | O_DSYNC | O_DIRECT)) {
        let_go();
        return -2;
    }
    int moves = at < 0;
    if (flags & O_APPEND) at = size_for_us(f, s.st_size);  // asked of the server by each such write
    else if (moves) at = next_lseek(fd, 0, SEEK_CUR);
    if (size) {
        piece *p = malloc(sizeof *p + size);
        *p = (piece){.at = at, .size = size};
        memcpy(p->data, data, size);
        if (f->last) f->last->next = p;
        else f->first = p;
        f->last = p;
        if (at + (off_t)size > f->end) f->end = at + size;
    }
    if (moves) next_lseek(fd, at + size, SEEK_SET);
    let_go();
    return size;
}

ssize_t write(int fd, const void *data, size_t size) {
    NEXT(ssize_t, write, (int, const void *, size_t));
    ssize_t done = put(fd, data, size, -1);
    return done == -2 ? next_write(fd, data, size) : done;
}
#define PWRITES(name) \
    ssize_t name(int fd, const void *data, size_t size, off_t at) { \
        NEXT(ssize_t, name, (int, const void *, size_t, off_t)); \
        ssize_t done = put(fd, data, size, at); \
        return done == -2 ? next_##name(fd, data, size, at) : done; \
    }
PWRITES(pwrite)
PWRITES(pwrite64)
ssize_t writev(int fd, const struct iovec *parts, int count) {
    NEXT(ssize_t, writev, (int, const struct iovec *, int));
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = put(fd, parts[i].iov_base, parts[i].iov_len, -1);
        if (done == -2) return next_writev(fd, parts, count);
        total += done;
    }
    return total;
}

static ssize_t get(int fd, void *data, size_t size, off_t at) {
    NEXT(ssize_t, pread64, (int, void *, size_t, off_t));
    NEXT(off_t, lseek, (int, off_t, int));
    struct stat s;
    hold();
    file *f = file_below(fd, &s, 0);
    if (!f) {
        let_go();
        return -2;
    }
    if (f->until < now()) learn(&s);
    off_t end = size_for_us(f, f->seen.st_size), from = at < 0 ? next_lseek(fd, 0, SEEK_CUR) : at;
    if (from >= end) size = 0;
    else if ((off_t)size > end - from) size = end - from;
    ssize_t done = next_pread64(fd, data, size, from);
    if (done >= 0 && f->first) {
        memset((char *)data + done, 0, size - done);
        for (piece *p = f->first; p; p = p->next) {
            off_t begin = p->at > from ? p->at : from, stop = p->at + (off_t)p->size;
            if (stop > from + (off_t)size) stop = from + size;
            if (begin < stop) memcpy((char *)data + (begin - from), p->data + (begin - p->at), stop - begin);
        }
        done = size;
    }
    if (done > 0 && at < 0) next_lseek(fd, from + done, SEEK_SET);
    let_go();
    return done;
}

ssize_t read(int fd, void *data, size_t size) {
    NEXT(ssize_t, read, (int, void *, size_t));
    ssize_t done = get(fd, data, size, -1);
    return done == -2 ? next_read(fd, data, size) : done;
}
#define PREADS(name) \
    ssize_t name(int fd, void *data, size_t size, off_t at) { \
        NEXT(ssize_t, name, (int, void *, size_t, off_t)); \
        ssize_t done = get(fd, data, size, at); \
        return done == -2 ? next_##name(fd, data, size, at) : done; \
    }
PREADS(pread)
PREADS(pread64)

#define SEEKS(name) \
    off_t name(int fd, off_t offset, int whence) { \
        NEXT(off_t, name, (int, off_t, int)); \
        struct stat s; \
        hold(); \
        file *f = whence == SEEK_END ? file_below(fd, &s, 0) : NULL; \
        off_t end = f ? size_for_us(f, f->until < now() ? s.st_size : f->seen.st_size) : 0; \
        let_go(); \
        return f ? next_##name(fd, end + offset, SEEK_SET) : next_##name(fd, offset, whence); \
    }
SEEKS(lseek)
SEEKS(lseek64)

#define SYNCS(name) \
    int name(int fd) { \
        NEXT(int, name, (int)); \
        int error = write_back_fd(fd), done = next_##name(fd); \
        if (!error) return done; \
        errno = error; \
        return -1; \
    }
SYNCS(fsync)
SYNCS(fdatasync)

int close(int fd) {
    NEXT(int, close, (int));
    int error = root && may_write(fd) ? write_back_fd(fd) : 0, done = next_close(fd);
    if (!error) return done;
    errno = error;
    return -1;
}
int dup2(int fd, int onto) {
    NEXT(int, dup2, (int, int));
    if (root && fd != onto && may_write(onto)) write_back_fd(onto);
    return next_dup2(fd, onto);
}
int dup3(int fd, int onto, int flags) {
    NEXT(int, dup3, (int, int, int));
    if (root && may_write(onto)) write_back_fd(onto);
    return next_dup3(fd, onto, flags);
}
void _exit(int status) {
    NEXT(void, _exit, (int));
    if (root) write_all_back();
    next__exit(status);
    __builtin_unreachable();
}

static void changed(int fd) {
    NEXT(int, fstat, (int, struct stat *));
    int kept = errno;
    struct stat s;
    if (fd_is_below(fd) && !next_fstat(fd, &s)) forget_inode(&s);
    errno = kept;
}
#define TRUNCATES(name) \
    int name(int fd, off_t size) { \
        NEXT(int, name, (int, off_t)); \
        int error = write_back_fd(fd), done = next_##name(fd, size); \
        changed(fd); \
        if (!error) return done; \
        errno = error; \
        return -1; \
    }
TRUNCATES(ftruncate)
TRUNCATES(ftruncate64)
#define SENDS(name) \
    ssize_t name(int to, int from, off_t *at, size_t size) { \
        NEXT(ssize_t, name, (int, int, off_t *, size_t)); \
        write_back_fd(from); \
        write_back_fd(to); \
        ssize_t done = next_##name(to, from, at, size); \
        changed(to); \
        return done; \
    }
SENDS(sendfile)
SENDS(sendfile64)
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *onto, size_t size, unsigned flags) {
    NEXT(ssize_t, copy_file_range, (int, off64_t *, int, off64_t *, size_t, unsigned));
    write_back_fd(from);
    write_back_fd(to);
    ssize_t done = next_copy_file_range(from, at, to, onto, size, flags);
    changed(to);
    return done;
}

int flock(int fd, int operation) {
    NEXT(int, flock, (int, int));
    if (!fd_is_below(fd)) return next_flock(fd, operation);
    if (has_no_flock) {
        errno = ENOLCK;
        return -1;
    }
    write_back_fd(fd);
    int done = next_flock(fd, operation);
    if (!done) changed(fd);
    return done;
}

// Names

int rename(const char *from, const char *to) {
    NEXT(int, rename, (const char *, const char *));
    forget_path(AT_FDCWD, from), forget_path(AT_FDCWD, to);
    forget_inside(AT_FDCWD, from), forget_inside(AT_FDCWD, to);
    return next_rename(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    NEXT(int, renameat, (int, const char *, int, const char *));
    forget_path(a, from), forget_path(b, to), forget_inside(a, from), forget_inside(b, to);
    return next_renameat(a, from, b, to);
}
int link(const char *from, const char *to) {
    NEXT(int, link, (const char *, const char *));
    forget_path(AT_FDCWD, from), forget(AT_FDCWD, to);
    return next_link(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    NEXT(int, linkat, (int, const char *, int, const char *, int));
    forget_path(a, from), forget(b, to);
    return next_linkat(a, from, b, to, flags);
}
int symlink(const char *target, const char *path) {
    NEXT(int, symlink, (const char *, const char *));
    forget(AT_FDCWD, path);
    return next_symlink(target, path);
}
int unlink(const char *path) {
    NEXT(int, unlink, (const char *));
    forget_path(AT_FDCWD, path);
    return next_unlink(path);
}
int unlinkat(int folder, const char *path, int flags) {
    NEXT(int, unlinkat, (int, const char *, int));
    forget_path(folder, path);
    return next_unlinkat(folder, path, flags);
}
int mkdir(const char *path, mode_t mode) {
    NEXT(int, mkdir, (const char *, mode_t));
    forget(AT_FDCWD, path);
    return next_mkdir(path, mode);
}
int rmdir(const char *path) {
    NEXT(int, rmdir, (const char *));
    forget(AT_FDCWD, path);
    return next_rmdir(path);
}
int chmod(const char *path, mode_t mode) {
    NEXT(int, chmod, (const char *, mode_t));
    write_back_path(AT_FDCWD, path);
    forget_path(AT_FDCWD, path);
    return next_chmod(path, mode);
}
int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    NEXT(int, utimensat, (int, const char *, const struct timespec *, int));
    write_back_path(folder, path);
    forget_path(folder, path);
    return next_utimensat(folder, path, times, flags);
}
int futimens(int fd, const struct timespec times[2]) {
    NEXT(int, futimens, (int, const struct timespec *));
    write_back_fd(fd);
    int done = next_futimens(fd, times);
    changed(fd);
    return done;
}

static void with_our_size(struct stat *s) {  // under the mutex
    file *f = file_of(s, 0);
    if (f) s->st_size = size_for_us(f, s->st_size);
}

static int look(int folder, const char *path, struct stat *out, int flags) {
    NEXT(int, fstatat64, (int, const char *, struct stat *, int));
    char full[PATH_MAX];
    if (!at_is_below(folder, path, full) || strlen(full) >= sizeof names->path) {
        return next_fstatat64(folder, path, out, flags);
    }
    int follow = !(flags & AT_SYMLINK_NOFOLLOW);
    hold();
    name *n = &names[hash(full, follow)];
    if (n->until < now() || strcmp(n->path, full)) {
        struct stat s = {0};
        int failed = next_fstatat64(AT_FDCWD, full, &s, flags);
        if (failed && errno != ENOENT) {
            let_go();
            return -1;
        }
        strcpy(n->path, full);
        n->follow = follow;
        n->error = failed ? ENOENT : 0;
        n->seen = s;
        n->until = now() + believed_s;
        if (!failed) learn(&s);
    }
    int error = n->error;
    if (!error) {
        *out = n->seen;
        with_our_size(out);
    }
    let_go();
    if (!error) return 0;
    errno = error;
    return -1;
}

static int look_fd(int fd, struct stat *out) {
    NEXT(int, fstat, (int, struct stat *));
    struct stat s;
    hold();
    file *f = file_below(fd, &s, 0);
    if (!f) {
        let_go();
        return next_fstat(fd, out);
    }
    if (f->until < now()) learn(&s);
    *out = f->seen;
    with_our_size(out);
    let_go();
    return 0;
}

int stat(const char *path, struct stat *out) { return look(AT_FDCWD, path, out, 0); }
int lstat(const char *path, struct stat *out) { return look(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW); }
int fstatat(int folder, const char *path, struct stat *out, int flags) { return look(folder, path, out, flags); }
int fstat(int fd, struct stat *out) { return look_fd(fd, out); }
// the same layout on 64 bits, under the names that programs built for large files use
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "needs a 64-bit system");
int stat64(const char *path, struct stat64 *out) { return look(AT_FDCWD, path, (struct stat *)out, 0); }
int lstat64(const char *path, struct stat64 *out) { return look(AT_FDCWD, path, (struct stat *)out, AT_SYMLINK_NOFOLLOW); }
int fstatat64(int folder, const char *path, struct stat64 *out, int flags) {
    return look(folder, path, (struct stat *)out, flags);
}
int fstat64(int fd, struct stat64 *out) { return look_fd(fd, (struct stat *)out); }
