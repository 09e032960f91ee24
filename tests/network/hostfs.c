/* A folder as one client of a network file system sees it. README: the docstring of tests/network/__init__.py.

   hostfs SOURCE MOUNTPOINT [--rtt-ms N] [--attr-timeout S] [--writeback S] [--locks shared|local|none]
                            [--keep-removed] [--control SOCKET] [--rule "fail EIO 3 write *journal*"]...

   SOURCE is the server; each mount of it is a client with caches of its own. Modelled on the Linux NFS client
   (fs/nfs/{inode,dir,file,write}.c), whose functions are named where one is followed:

   - Data is written back on fsync, at the close of a file that was open for writing, at truncate and any other
     setattr, when the file itself is locked or unlocked, and after --writeback seconds. Errors are told by fsync and
     close, once to each descriptor.
   - Data that was read, and attributes, are kept: until they are older than --attr-timeout, the file is opened, or it
     is locked. What is looked at then is the time of change and the size of the server's file.
   - Names, and that there is none, are kept as long, in the kernel's dentry cache. A change of one's own in a folder
     that others have changed too, and listing it, forget its names.
   - A file that another client removed is ESTALE, also if it is open here (NFSv3, and many a server of NFSv4; with
     --keep-removed it lives on, as with knfsd's NFSv4); one that this client removed lives on while it is open.
   - Names are made, linked, renamed and removed at the server at once.

   Not modelled: delegations, the .nfsXXXX files of a silly rename, fcntl locks (they are local), shared mmap. */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 34
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <fuse_lowlevel.h>
#include <getopt.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, WSIZE = 1 << 20, THREADS = 32, BUCKETS = 1 << 16, NAMES_KEPT = 512 };
static const off_t LARGEST = (off_t)1 << 36;
/* Two changes within a tick of the server's clock look like one; 0 where its file system tells them apart. */
static long racy_ns = 0;
enum { TICK_NS = 20 * 1000 * 1000 };

enum op { LOOKUP, GETATTR, SETATTR, OPEN, CREATE, READ, WRITE, COMMIT, READDIR, MKDIR, MKNOD, UNLINK, RMDIR, RENAME,
          LINK, SYMLINK, READLINK, FLOCK, STATFS, OPS };
static const char *const OP_NAMES[OPS] = {
    "lookup", "getattr", "setattr", "open", "create", "read", "write", "commit", "readdir", "mkdir", "mknod", "unlink",
    "rmdir", "rename", "link", "symlink", "readlink", "flock", "statfs"};

struct page { bool uptodate; int lo, hi; /* what is not written back; hi 0: nothing */ char data[PAGE]; };
struct known { struct known *next; double until; char name[]; };

struct inode {
    struct inode *next; /* in its bucket */
    dev_t dev; ino_t ino; int fd; /* O_PATH: the server's file, whatever it is called */
    uint64_t lookups; unsigned refs;
    struct inode *parent; char *name; /* by which it was found last */
    pthread_mutex_t lock; /* of all below */
    struct stat attr; double checked;
    bool is_known;  /* whether the same times and size later mean that nothing has changed */
    bool is_stale;  /* what is cached is no longer the server's */
    bool is_unsure; /* it may not be */
    off_t size;
    struct page **pages; size_t room; unsigned dirty; double dirty_since; struct timespec written;
    int io, opens; bool is_gone_here; int error; unsigned errors;
    int own_locks; /* --locks local */
    struct known *names; unsigned names_count; /* of a folder: which names the kernel knows */
};
struct file { struct inode *inode; int lock; unsigned told; bool writes; };
struct rule { struct rule *next; enum op op; bool any, late; int error; double delay_s; long left; char *glob; };
struct waiter { struct waiter *next; fuse_req_t req; struct file *file; int op; };
struct listing { size_t count, room; struct dirent *entries; };
struct expiry { struct expiry *next; struct inode *dir; struct known *names; };

static struct {
    struct fuse_session *session; const char *mountpoint;
    double rtt_s, timeout_s, writeback_s, stalled_until; enum { SHARED, LOCAL, NONE } locks; bool keeps_removed;
    pthread_mutex_t table; struct inode *buckets[BUCKETS]; struct inode *root;
    pthread_mutex_t rules_lock; struct rule *rules;
    long counts[OPS];
    pthread_mutex_t waiting_lock; pthread_cond_t waiting_some; struct waiter *waiting;
    pthread_mutex_t expiry_lock; pthread_cond_t expiry_some; struct expiry *expiries; sem_t expiring;
} fs = {.timeout_s = 3, .writeback_s = 30, .table = PTHREAD_MUTEX_INITIALIZER,
        .rules_lock = PTHREAD_MUTEX_INITIALIZER, .waiting_lock = PTHREAD_MUTEX_INITIALIZER,
        .waiting_some = PTHREAD_COND_INITIALIZER, .expiry_lock = PTHREAD_MUTEX_INITIALIZER,
        .expiry_some = PTHREAD_COND_INITIALIZER};

static void die(const char *what) { fprintf(stderr, "hostfs: %s: %s\n", what, strerror(errno)); exit(1); }

static void *must(void *memory) {
    if (!memory) die("memory");
    return memory;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void rest(double seconds) {
    if (seconds <= 0) return;
    struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    while (nanosleep(&t, &t) && errno == EINTR) {}
}

/* -- inodes ------------------------------------------------------------------------------------------------------ */

static struct inode *inode_of(fuse_ino_t ino) { return ino == FUSE_ROOT_ID ? fs.root : (struct inode *)(uintptr_t)ino; }
static fuse_ino_t number_of(struct inode *in) { return in == fs.root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)in; }
static struct inode **bucket(dev_t dev, ino_t ino) { return &fs.buckets[(ino * 31 + dev) % BUCKETS]; }

static void free_names(struct known *names) {
    while (names) {
        struct known *next = names->next;
        free(names);
        names = next;
    }
}

/* The table is locked. */
static void drop_if_unused(struct inode *in) {
    while (in && in != fs.root && !in->lookups && !in->refs) {
        struct inode **at = bucket(in->dev, in->ino), *parent = in->parent;
        while (*at != in) at = &(*at)->next;
        *at = in->next;
        close(in->fd);
        if (in->own_locks >= 0) close(in->own_locks);
        for (size_t i = 0; i < in->room; i++) free(in->pages[i]);
        free(in->pages);
        free_names(in->names);
        free(in->name);
        pthread_mutex_destroy(&in->lock);
        free(in);
        if (parent) parent->refs--;
        in = parent;
    }
}

static void forget(struct inode *in, uint64_t lookups) {
    pthread_mutex_lock(&fs.table);
    in->lookups -= lookups;
    drop_if_unused(in);
    pthread_mutex_unlock(&fs.table);
}

static void hold(struct inode *in) {
    pthread_mutex_lock(&fs.table);
    in->refs++;
    pthread_mutex_unlock(&fs.table);
}

static void let_go(struct inode *in) {
    pthread_mutex_lock(&fs.table);
    in->refs--;
    drop_if_unused(in);
    pthread_mutex_unlock(&fs.table);
}

/* The table is locked. */
static void call_it(struct inode *in, struct inode *parent, const char *name) {
    struct inode *before = in->parent;
    char *copy = name ? must(strdup(name)) : NULL;
    free(in->name);
    in->name = copy;
    in->parent = parent;
    if (parent) parent->refs++;
    if (before) {
        before->refs--;
        drop_if_unused(before);
    }
}

static struct inode *make_inode(int fd, const struct stat *st) {
    struct inode *in = must(calloc(1, sizeof *in));
    *in = (struct inode){.dev = st->st_dev, .ino = st->st_ino, .fd = fd, .io = -1, .own_locks = -1};
    pthread_mutex_init(&in->lock, NULL);
    return in;
}

/* The inode of an O_PATH descriptor, which is its own from now on; one lookup is counted. */
static struct inode *found(int fd, const struct stat *st, struct inode *parent, const char *name) {
    pthread_mutex_lock(&fs.table);
    struct inode **at = bucket(st->st_dev, st->st_ino), *in = *at;
    while (in && (in->dev != st->st_dev || in->ino != st->st_ino)) in = in->next;
    if (in) {
        close(fd);
    } else {
        in = make_inode(fd, st);
        in->next = *at;
        *at = in;
    }
    in->lookups++;
    if (in != fs.root) call_it(in, parent, name);
    pthread_mutex_unlock(&fs.table);
    return in;
}

/* One that is known already and held, or NULL. */
static struct inode *known_inode(const struct stat *st) {
    pthread_mutex_lock(&fs.table);
    struct inode *in = *bucket(st->st_dev, st->st_ino);
    while (in && (in->dev != st->st_dev || in->ino != st->st_ino)) in = in->next;
    if (in) in->refs++;
    pthread_mutex_unlock(&fs.table);
    return in;
}

static void path_of(struct inode *in, const char *name, char *path, size_t size) {
    const char *parts[256];
    int count = 0;
    pthread_mutex_lock(&fs.table);
    if (name) parts[count++] = name;
    for (; in && in != fs.root && count < 255; in = in->parent) parts[count++] = in->name ? in->name : "?";
    path[0] = 0;
    while (count--) {
        size_t used = strlen(path);
        snprintf(path + used, size - used, "/%s", parts[count]);
    }
    pthread_mutex_unlock(&fs.table);
}

/* -- the way to the server --------------------------------------------------------------------------------------- */

static int apply_rules(enum op op, struct inode *in, const char *name, bool late) {
    char path[4096] = "";
    int error = 0;
    double delay = 0;
    if (!__atomic_load_n(&fs.rules, __ATOMIC_RELAXED)) return 0;
    path_of(in, name, path, sizeof path);
    pthread_mutex_lock(&fs.rules_lock);
    for (struct rule *rule = fs.rules; rule && !error; rule = rule->next) {
        if (rule->late != late || !rule->left || (!rule->any && rule->op != op)) continue;
        if (fnmatch(rule->glob, path, 0)) continue;
        if (rule->left > 0) rule->left--;
        error = rule->error;
        delay += rule->delay_s;
    }
    pthread_mutex_unlock(&fs.rules_lock);
    rest(delay);
    return error;
}

/* A call travels to the server: an error that is to be answered in its place, or 0. */
static int request(enum op op, struct inode *in, const char *name) {
    __atomic_add_fetch(&fs.counts[op], 1, __ATOMIC_RELAXED);
    double stalled;
    __atomic_load(&fs.stalled_until, &stalled, __ATOMIC_RELAXED);
    if (stalled) rest(stalled - now());
    rest(fs.rtt_s / 2);
    return apply_rules(op, in, name, false);
}

/* The answer travels back: an error by which it is replaced, or 0. */
static int answered(enum op op, struct inode *in, const char *name) {
    rest(fs.rtt_s / 2);
    return apply_rules(op, in, name, true);
}

static int look(struct inode *in, struct stat *st) {
    if (fstat(in->fd, st)) return errno;
    return st->st_nlink || in->is_gone_here || fs.keeps_removed || in == fs.root ? 0 : ESTALE;
}

static bool same_time(struct timespec a, struct timespec b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

/* Does each change give a file another time (Linux 6.13 and up: multigrain timestamps)? */
static void try_clock(const char *folder) {
    struct stat before, after;
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    racy_ns = fd < 0 ? TICK_NS : 0;
    for (int i = 0; !racy_ns && i < 50; i++)
        if (pwrite(fd, "x", 1, 0) != 1 || fstat(fd, &before) || pwrite(fd, "x", 1, 0) != 1 || fstat(fd, &after) ||
            same_time(before.st_ctim, after.st_ctim))
            racy_ns = TICK_NS;
    if (fd >= 0) close(fd);
}

static bool is_recent(struct timespec t) {
    struct timespec at;
    if (!racy_ns) return false;
    clock_gettime(CLOCK_REALTIME, &at);
    return (at.tv_sec - t.tv_sec) * 1000000000L + (at.tv_nsec - t.tv_nsec) < racy_ns;
}

/* The server's attributes have come (nfs_update_inode). */
static void learn(struct inode *in, const struct stat *st) {
    if (!same_time(in->attr.st_ctim, st->st_ctim) || in->attr.st_size != st->st_size)
        in->is_stale = true;
    else if (!in->is_known)
        in->is_unsure = true;
    in->attr = *st;
    in->checked = now();
    in->is_known = !is_recent(st->st_ctim);
    if (!in->dirty || st->st_size > in->size) in->size = st->st_size;
}

/* With the answer to a change of ours. Whether others made one before it cannot be told: the next open reads anew. */
static void learn_ours(struct inode *in, const struct stat *st) {
    bool was = in->is_stale;
    learn(in, st);
    in->is_stale = was;
    in->is_known = false;
}

static int refresh(struct inode *in, enum op op) {
    struct stat st;
    int error = request(op, in, NULL);
    if (!error) error = look(in, &st);
    int late = answered(op, in, NULL);
    if (error) return error;
    learn(in, &st);
    return late;
}

static int refresh_if_old(struct inode *in) { return now() - in->checked < fs.timeout_s ? 0 : refresh(in, GETATTR); }

/* What a program sees: sizes and times of what is not written back are ours. */
static struct stat seen(struct inode *in) {
    struct stat st = in->attr;
    if (S_ISREG(st.st_mode)) st.st_size = in->size;
    if (in->dirty) st.st_mtim = in->written;
    return st;
}

/* -- data -------------------------------------------------------------------------------------------------------- */

static struct page *page_at(struct inode *in, size_t index) {
    if (index >= in->room) {
        size_t room = index + index / 2 + 16;
        in->pages = must(realloc(in->pages, room * sizeof *in->pages));
        memset(in->pages + in->room, 0, (room - in->room) * sizeof *in->pages);
        in->room = room;
    }
    if (!in->pages[index]) in->pages[index] = must(calloc(1, sizeof(struct page)));
    return in->pages[index];
}

static bool is_uptodate(struct inode *in, size_t index) {
    return index < in->room && in->pages[index] && in->pages[index]->uptodate;
}

static void failed(struct inode *in, int error) {
    in->error = error;
    in->errors++;
}

static int put(int fd, const char *data, size_t count, off_t at) {
    while (count) {
        ssize_t done = pwrite(fd, data, count, at);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return errno;
        data += done, at += done, count -= done;
    }
    return 0;
}

/* Write back. What the server refuses is gone, and told by fsync or close. */
static void flush(struct inode *in) {
    struct stat st;
    if (!in->dirty) return;
    char *run = must(malloc(WSIZE));
    for (size_t i = 0; i < in->room && in->dirty; i++) {
        struct page *page = in->pages[i];
        if (!page || !page->hi) continue;
        off_t at = (off_t)i * PAGE + page->lo;
        size_t count = 0, first = i;
        for (;; i++) {
            page = in->pages[i];
            memcpy(run + count, page->data + page->lo, page->hi - page->lo);
            count += page->hi - page->lo;
            bool goes_on = page->hi == PAGE && i + 1 < in->room && in->pages[i + 1] && in->pages[i + 1]->hi &&
                           in->pages[i + 1]->lo == 0 && count + PAGE <= WSIZE;
            page->lo = page->hi = 0;
            in->dirty--;
            if (!goes_on) break;
        }
        int error = request(WRITE, in, NULL);
        if (!error) error = look(in, &st);
        if (!error) error = put(in->io, run, count, at);
        int late = answered(WRITE, in, NULL);
        if (error || late) {
            failed(in, error ? error : late);
            for (size_t j = first; j <= i; j++) in->pages[j]->uptodate = false;
        }
    }
    free(run);
    if (!look(in, &st)) learn_ours(in, &st);
}

static void drop_pages(struct inode *in) {
    for (size_t i = 0; i < in->room; i++) {
        free(in->pages[i]);
        in->pages[i] = NULL;
    }
    in->is_stale = in->is_unsure = false;
}

/* nfs_invalidate_mapping. Where no change is proven, what is not written back stays. */
static void settle(struct inode *in) {
    if (in->is_stale) {
        flush(in);
        drop_pages(in);
    }
    if (!in->is_unsure) return;
    for (size_t i = 0; i < in->room; i++) {
        if (!in->pages[i] || in->pages[i]->hi) continue;
        free(in->pages[i]);
        in->pages[i] = NULL;
    }
    in->is_unsure = false;
}

static int fetch(struct inode *in, size_t first, size_t last) {
    for (size_t i = first; i <= last; i++)
        if (i < in->room && in->pages[i] && in->pages[i]->hi && !in->pages[i]->uptodate) flush(in);
    size_t room = (last - first + 1) * PAGE;
    char *data = must(malloc(room));
    struct stat st;
    ssize_t count = 0, got = 0;
    int error = request(READ, in, NULL);
    if (!error) error = look(in, &st);
    while (!error && (size_t)count < room) {
        got = pread(in->io, data + count, room - count, (off_t)first * PAGE + count);
        if (got < 0) error = errno;
        if (got <= 0) break;
        count += got;
    }
    int late = answered(READ, in, NULL);
    if (!error) error = late;
    if (!error) {
        memset(data + count, 0, room - count);
        for (size_t i = first; i <= last; i++) {
            struct page *page = page_at(in, i);
            memcpy(page->data, data + (i - first) * PAGE, PAGE);
            page->uptodate = true;
        }
    }
    free(data);
    return error;
}

static void ll_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi) {
    struct inode *in = inode_of(ino);
    (void)fi;
    pthread_mutex_lock(&in->lock);
    int error = refresh_if_old(in);
    if (!error) settle(in);
    off_t end = off + (off_t)size < in->size ? off + (off_t)size : in->size;
    if (error || end <= off) {
        pthread_mutex_unlock(&in->lock);
        error ? fuse_reply_err(req, error) : fuse_reply_buf(req, NULL, 0);
        return;
    }
    size_t first = off / PAGE, last = (end - 1) / PAGE;
    for (size_t i = first; !error && i <= last; i++) {
        if (is_uptodate(in, i)) continue;
        size_t until = i;
        while (until < last && !is_uptodate(in, until + 1)) until++;
        error = fetch(in, i, until);
        i = until;
    }
    if (error) {
        pthread_mutex_unlock(&in->lock);
        fuse_reply_err(req, error);
        return;
    }
    char *data = must(malloc(end - off));
    for (off_t at = off; at < end;) {
        off_t stop = (at / PAGE + 1) * PAGE < end ? (at / PAGE + 1) * PAGE : end;
        memcpy(data + (at - off), in->pages[at / PAGE]->data + at % PAGE, stop - at);
        at = stop;
    }
    pthread_mutex_unlock(&in->lock);
    fuse_reply_buf(req, data, end - off);
    free(data);
}

static void write_page(struct inode *in, size_t index, int lo, int hi, const char *data) {
    struct page *page = page_at(in, index);
    if (page->hi && !page->uptodate && (lo > page->hi || hi < page->lo)) flush(in); /* nfs_flush_incompatible */
    page = page_at(in, index);
    off_t start = (off_t)index * PAGE;
    if (!page->uptodate && !page->hi && start >= in->size) page->uptodate = true; /* nothing is there */
    memcpy(page->data + lo, data, hi - lo);
    if (lo == 0 && hi == PAGE) page->uptodate = true;
    /* nfs_update_folio: the whole page is written back, as far as we know it */
    if (page->uptodate && !in->is_stale && !in->is_unsure) {
        off_t known = in->size - start;
        lo = 0;
        if (known > hi) hi = known < PAGE ? known : PAGE;
    }
    if (!page->hi) {
        in->dirty++;
        page->lo = lo, page->hi = hi;
    } else {
        page->lo = lo < page->lo ? lo : page->lo;
        page->hi = hi > page->hi ? hi : page->hi;
    }
    if (start + page->hi > in->size) in->size = start + page->hi;
}

static void ll_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
                     struct fuse_file_info *fi) {
    struct inode *in = inode_of(ino);
    struct file *file = (struct file *)(uintptr_t)fi->fh;
    pthread_mutex_lock(&in->lock);
    int error = 0;
    if (fi->flags & O_APPEND) {
        error = refresh_if_old(in); /* nfs_revalidate_file_size */
        off = in->size;
    }
    if (!error && off + (off_t)size > LARGEST) error = EFBIG;
    if (error) {
        pthread_mutex_unlock(&in->lock);
        fuse_reply_err(req, error);
        return;
    }
    if (!in->dirty) in->dirty_since = now();
    clock_gettime(CLOCK_REALTIME, &in->written);
    for (size_t done = 0; done < size;) {
        off_t at = off + done;
        size_t room = PAGE - at % PAGE, count = size - done < room ? size - done : room;
        write_page(in, at / PAGE, at % PAGE, at % PAGE + count, data + done);
        done += count;
    }
    if (fi->flags & (O_DSYNC | O_SYNC | O_DIRECT)) {
        flush(in);
        if (file->told != in->errors) error = in->error, file->told = in->errors;
    }
    pthread_mutex_unlock(&in->lock);
    error ? fuse_reply_err(req, error) : fuse_reply_write(req, size);
}

/* What went wrong in writing back, once for each descriptor. */
static int flush_and_tell(struct file *file) {
    struct inode *in = file->inode;
    flush(in);
    if (file->told == in->errors) return 0;
    file->told = in->errors;
    return in->error;
}

static void ll_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct inode *in = inode_of(ino);
    struct file *file = (struct file *)(uintptr_t)fi->fh;
    pthread_mutex_lock(&in->lock);
    int error = file->writes ? flush_and_tell(file) : 0; /* nfs_file_flush */
    pthread_mutex_unlock(&in->lock);
    fuse_reply_err(req, error);
}

static void ll_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi) {
    struct inode *in = inode_of(ino);
    struct file *file = (struct file *)(uintptr_t)fi->fh;
    (void)datasync;
    pthread_mutex_lock(&in->lock);
    bool had = in->dirty;
    int error = flush_and_tell(file);
    if (!error && had) { /* what is written is in the server's memory already: nobody here cuts its power */
        error = request(COMMIT, in, NULL);
        int late = answered(COMMIT, in, NULL);
        if (!error) error = late;
    }
    pthread_mutex_unlock(&in->lock);
    fuse_reply_err(req, error);
}

static void ll_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi) {
    (void)ino, (void)datasync, (void)fi;
    fuse_reply_err(req, 0);
}

/* -- names ------------------------------------------------------------------------------------------------------- */

/* The kernel keeps the name, or that there is none, for a time. */
static void note_name(struct inode *dir, const char *name) {
    struct known *entry = must(malloc(sizeof *entry + strlen(name) + 1));
    strcpy(entry->name, name);
    entry->until = now() + fs.timeout_s;
    pthread_mutex_lock(&dir->lock);
    entry->next = dir->names;
    dir->names = entry;
    if (++dir->names_count > NAMES_KEPT) { /* the newest stand first */
        struct known **at = &dir->names;
        double t = now();
        for (dir->names_count = 0; *at && (*at)->until > t; at = &(*at)->next) dir->names_count++;
        free_names(*at);
        *at = NULL;
    }
    pthread_mutex_unlock(&dir->lock);
}

static struct known *take_names(struct inode *dir) {
    struct known *names = dir->names;
    dir->names = NULL;
    dir->names_count = 0;
    return names;
}

/* It waits for the folder's lock in the kernel, so never in answer to a call that holds it. */
static void expire(struct inode *dir, struct known *names) {
    double t = now();
    for (struct known *name = names; name && name->until > t; name = name->next) {
        int done = -ENOSYS;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 14)
        done = fuse_lowlevel_notify_expire_entry(fs.session, number_of(dir), name->name, strlen(name->name),
                                                 FUSE_LL_EXPIRE_ONLY);
#endif
        if (done == -ENOSYS)
            fuse_lowlevel_notify_inval_entry(fs.session, number_of(dir), name->name, strlen(name->name));
    }
    free_names(names);
}

static void expire_soon(struct inode *dir, struct known *names) {
    if (!names) return;
    struct expiry *expiry = must(malloc(sizeof *expiry));
    hold(dir);
    pthread_mutex_lock(&fs.expiry_lock);
    *expiry = (struct expiry){.next = fs.expiries, .dir = dir, .names = names};
    fs.expiries = expiry;
    pthread_cond_signal(&fs.expiry_some);
    pthread_mutex_unlock(&fs.expiry_lock);
}

static void *expire_for_ever(void *unused) {
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&fs.expiry_lock);
        while (!fs.expiries) pthread_cond_wait(&fs.expiry_some, &fs.expiry_lock);
        struct expiry *expiry = fs.expiries;
        fs.expiries = expiry->next;
        pthread_mutex_unlock(&fs.expiry_lock);
        expire(expiry->dir, expiry->names);
        let_go(expiry->dir);
        free(expiry);
    }
    return NULL;
}

static bool is_unlike(struct inode *dir, const struct stat *st) {
    return !dir->is_known || !same_time(dir->attr.st_ctim, st->st_ctim);
}

/* A change of ours in a folder: did others change it since we last looked (nfs4_update_changeattr)? */
static void changed_here(struct inode *dir, const struct stat *before) {
    struct stat after;
    struct known *names = NULL;
    if (fstat(dir->fd, &after)) return;
    pthread_mutex_lock(&dir->lock);
    if (is_unlike(dir, before)) names = take_names(dir);
    learn(dir, &after);
    dir->is_stale = false;
    pthread_mutex_unlock(&dir->lock);
    expire_soon(dir, names);
}

static void reply_entry(fuse_req_t req, struct inode *in, struct inode *parent, const char *name,
                        struct fuse_file_info *fi) {
    struct fuse_entry_param entry = {.ino = number_of(in), .entry_timeout = fs.timeout_s};
    note_name(parent, name);
    pthread_mutex_lock(&in->lock);
    entry.attr = seen(in);
    pthread_mutex_unlock(&in->lock);
    if (fi ? fuse_reply_create(req, &entry, fi) : fuse_reply_entry(req, &entry)) forget(in, 1);
}

static int find(struct inode *parent, const char *name, struct inode **in) {
    struct stat st;
    int fd = openat(parent->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno;
    if (fstat(fd, &st)) {
        int error = errno;
        close(fd);
        return error;
    }
    *in = found(fd, &st, parent, name);
    pthread_mutex_lock(&(*in)->lock);
    learn(*in, &st);
    pthread_mutex_unlock(&(*in)->lock);
    return 0;
}

static void ll_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
    struct inode *dir = inode_of(parent), *in = NULL;
    int error = request(LOOKUP, dir, name);
    if (!error) error = find(dir, name, &in);
    int late = answered(LOOKUP, dir, name);
    if (late && !error) {
        forget(in, 1);
        error = late;
    }
    if (error == ENOENT && fs.timeout_s > 0) {
        struct fuse_entry_param none = {.entry_timeout = fs.timeout_s};
        note_name(dir, name);
        fuse_reply_entry(req, &none);
    } else if (error) {
        fuse_reply_err(req, error);
    } else {
        reply_entry(req, in, dir, name, NULL);
    }
}

static void ll_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups) {
    forget(inode_of(ino), lookups);
    fuse_reply_none(req);
}

static void ll_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *all) {
    for (size_t i = 0; i < count; i++) forget(inode_of(all[i].ino), all[i].nlookup);
    fuse_reply_none(req);
}

static void ll_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct inode *in = inode_of(ino);
    (void)fi;
    pthread_mutex_lock(&in->lock);
    int error = refresh_if_old(in);
    struct stat st = seen(in);
    pthread_mutex_unlock(&in->lock);
    error ? fuse_reply_err(req, error) : fuse_reply_attr(req, &st, 0);
}

static int set(struct inode *in, const struct stat *to, int what) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", in->fd);
    if ((what & FUSE_SET_ATTR_MODE) && chmod(path, to->st_mode)) return errno;
    if (what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
        uid_t uid = what & FUSE_SET_ATTR_UID ? to->st_uid : (uid_t)-1;
        gid_t gid = what & FUSE_SET_ATTR_GID ? to->st_gid : (gid_t)-1;
        if (fchownat(in->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) return errno;
    }
    if ((what & FUSE_SET_ATTR_SIZE) && truncate(path, to->st_size)) return errno;
    if (what & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)) {
        struct timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
        if (what & FUSE_SET_ATTR_ATIME) times[0] = to->st_atim;
        if (what & FUSE_SET_ATTR_MTIME) times[1] = to->st_mtim;
        if (what & FUSE_SET_ATTR_ATIME_NOW) times[0].tv_nsec = UTIME_NOW;
        if (what & FUSE_SET_ATTR_MTIME_NOW) times[1].tv_nsec = UTIME_NOW;
        if (utimensat(AT_FDCWD, path, times, 0)) return errno;
    }
    return 0;
}

static void ll_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int what, struct fuse_file_info *fi) {
    struct inode *in = inode_of(ino);
    struct stat st;
    (void)fi;
    pthread_mutex_lock(&in->lock);
    flush(in); /* nfs_setattr */
    int error = request(SETATTR, in, NULL);
    if (!error) error = look(in, &st);
    if (!error) error = set(in, to, what);
    int late = answered(SETATTR, in, NULL);
    if (!error) {
        if (what & FUSE_SET_ATTR_SIZE) drop_pages(in);
        if (!(error = look(in, &st))) learn_ours(in, &st);
        if (!error) error = late;
    }
    st = seen(in);
    pthread_mutex_unlock(&in->lock);
    error ? fuse_reply_err(req, error) : fuse_reply_attr(req, &st, 0);
}

/* A name that is made at the server: ``make`` says with which call. */
struct making { mode_t mode; dev_t rdev; const char *target; struct inode *linked; };

static int make_at_server(enum op op, struct inode *dir, const char *name, const struct making *how) {
    char path[64];
    switch (op) {
    case MKDIR: return mkdirat(dir->fd, name, how->mode) ? errno : 0;
    case MKNOD: return mknodat(dir->fd, name, how->mode, how->rdev) ? errno : 0;
    case SYMLINK: return symlinkat(how->target, dir->fd, name) ? errno : 0;
    default:
        snprintf(path, sizeof path, "/proc/self/fd/%d", how->linked->fd);
        return linkat(AT_FDCWD, path, dir->fd, name, AT_SYMLINK_FOLLOW) ? errno : 0;
    }
}

static void make(fuse_req_t req, enum op op, fuse_ino_t parent, const char *name, struct making how) {
    struct inode *dir = inode_of(parent), *in = NULL;
    struct stat before = {0}, st;
    fstat(dir->fd, &before);
    int error = request(op, dir, name);
    if (!error && how.linked) error = look(how.linked, &st);
    if (!error) error = make_at_server(op, dir, name, &how);
    if (!error) {
        changed_here(dir, &before);
        error = find(dir, name, &in);
    }
    int late = answered(op, dir, name);
    if (!error && late) {
        forget(in, 1);
        error = late;
    }
    error ? (void)fuse_reply_err(req, error) : reply_entry(req, in, dir, name, NULL);
}

static void ll_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
    make(req, MKDIR, parent, name, (struct making){.mode = mode});
}

static void ll_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev) {
    make(req, MKNOD, parent, name, (struct making){.mode = mode, .rdev = rdev});
}

static void ll_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name) {
    make(req, SYMLINK, parent, name, (struct making){.target = target});
}

static void ll_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name) {
    make(req, LINK, parent, name, (struct making){.linked = inode_of(ino)});
}

static void ll_readlink(fuse_req_t req, fuse_ino_t ino) {
    char target[4097];
    struct inode *in = inode_of(ino);
    int error = request(READLINK, in, NULL);
    ssize_t count = error ? 0 : readlinkat(in->fd, "", target, sizeof target - 1);
    if (count < 0) error = errno;
    int late = answered(READLINK, in, NULL);
    if (!error) error = late;
    if (error) {
        fuse_reply_err(req, error);
        return;
    }
    target[count] = 0;
    fuse_reply_readlink(req, target);
}

/* What a name of this folder led to has lost it, by us: it lives on while it is open here. */
static void lost_name(struct stat *st, struct inode *dir, const char *name) {
    struct stat left;
    struct inode *in = known_inode(st);
    if (!in) return;
    pthread_mutex_lock(&in->lock);
    if (!fstat(in->fd, &left)) {
        if (!left.st_nlink) in->is_gone_here = true;
        learn_ours(in, &left);
    }
    pthread_mutex_unlock(&in->lock);
    pthread_mutex_lock(&fs.table);
    if (in->parent == dir && in->name && !strcmp(in->name, name)) call_it(in, NULL, NULL);
    pthread_mutex_unlock(&fs.table);
    let_go(in);
}

static void unname(fuse_req_t req, enum op op, fuse_ino_t parent, const char *name) {
    struct inode *dir = inode_of(parent);
    struct stat before = {0}, st;
    fstat(dir->fd, &before);
    int error = request(op, dir, name);
    if (!error && fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW)) error = errno;
    if (!error && unlinkat(dir->fd, name, op == RMDIR ? AT_REMOVEDIR : 0)) error = errno;
    if (!error) {
        lost_name(&st, dir, name);
        changed_here(dir, &before);
    }
    int late = answered(op, dir, name);
    fuse_reply_err(req, error ? error : late);
}

static void ll_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) { unname(req, UNLINK, parent, name); }
static void ll_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) { unname(req, RMDIR, parent, name); }

static void ll_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
                      unsigned flags) {
    struct inode *from = inode_of(parent), *to = inode_of(newparent);
    struct stat before_from = {0}, before_to = {0}, moved, replaced;
    if (flags) { /* nfs_rename */
        fuse_reply_err(req, EINVAL);
        return;
    }
    fstat(from->fd, &before_from);
    fstat(to->fd, &before_to);
    int error = request(RENAME, to, newname);
    if (!error && fstatat(from->fd, name, &moved, AT_SYMLINK_NOFOLLOW)) error = errno;
    bool is_there = !error && !fstatat(to->fd, newname, &replaced, AT_SYMLINK_NOFOLLOW);
    if (!error && renameat(from->fd, name, to->fd, newname)) error = errno;
    if (!error) {
        bool is_same = is_there && replaced.st_ino == moved.st_ino && replaced.st_dev == moved.st_dev;
        if (is_there && !is_same) lost_name(&replaced, to, newname);
        struct inode *in = is_same ? NULL : known_inode(&moved);
        if (in) {
            pthread_mutex_lock(&fs.table);
            call_it(in, to, newname);
            pthread_mutex_unlock(&fs.table);
            pthread_mutex_lock(&in->lock);
            struct stat st;
            if (!look(in, &st)) learn_ours(in, &st);
            pthread_mutex_unlock(&in->lock);
            let_go(in);
        }
        changed_here(from, &before_from);
        if (to != from) changed_here(to, &before_to);
    }
    int late = answered(RENAME, to, newname);
    fuse_reply_err(req, error ? error : late);
}

/* -- files ------------------------------------------------------------------------------------------------------- */

static int open_io(struct inode *in) {
    char path[64];
    if (in->io >= 0) return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", in->fd);
    in->io = open(path, O_RDWR | O_CLOEXEC);
    if (in->io < 0) in->io = open(path, O_RDONLY | O_CLOEXEC);
    return in->io < 0 ? errno : 0;
}

static struct file *begin(struct inode *in, struct fuse_file_info *fi) {
    struct file *file = must(malloc(sizeof *file));
    *file = (struct file){.inode = in, .lock = -1, .told = in->errors, .writes = (fi->flags & O_ACCMODE) != O_RDONLY};
    in->opens++;
    fi->fh = (uintptr_t)file;
    fi->direct_io = 1; /* ours is the cache */
    return file;
}

static void end(struct file *file) {
    struct inode *in = file->inode;
    pthread_mutex_lock(&in->lock);
    if (file->lock >= 0) close(file->lock);
    if (!--in->opens) {
        flush(in);
        close(in->io);
        in->io = -1;
    }
    pthread_mutex_unlock(&in->lock);
    free(file);
}

/* NFSv4 opens by name: is the name still this file's? */
static bool is_still_its_name(struct inode *in) {
    struct stat st;
    bool is_still = true;
    pthread_mutex_lock(&fs.table);
    struct inode *parent = in->parent;
    char *name = in->name ? strdup(in->name) : NULL;
    if (parent) parent->refs++;
    pthread_mutex_unlock(&fs.table);
    if (parent && name) {
        bool is_there = !fstatat(parent->fd, name, &st, AT_SYMLINK_NOFOLLOW);
        is_still = is_there && st.st_ino == in->ino && st.st_dev == in->dev;
    }
    if (parent) let_go(parent);
    free(name);
    return is_still;
}

static void ll_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct inode *in = inode_of(ino);
    struct stat st;
    pthread_mutex_lock(&in->lock);
    int error = request(OPEN, in, NULL);
    if (!error) error = look(in, &st);
    if (!error && !in->is_gone_here && !is_still_its_name(in)) error = ESTALE; /* the kernel looks up and asks again */
    if (!error && fi->flags & O_TRUNC) {
        flush(in);
        drop_pages(in);
    }
    if (!error) error = open_io(in);
    if (!error && fi->flags & O_TRUNC && ftruncate(in->io, 0)) error = errno;
    if (!error) error = look(in, &st);
    int late = answered(OPEN, in, NULL);
    if (!error) {
        learn(in, &st);
        settle(in);
        error = late;
    }
    struct file *file = error ? NULL : begin(in, fi);
    if (error && !in->opens && in->io >= 0) {
        close(in->io);
        in->io = -1;
    }
    pthread_mutex_unlock(&in->lock);
    if (error)
        fuse_reply_err(req, error);
    else if (fuse_reply_open(req, fi))
        end(file);
}

static void ll_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi) {
    struct inode *dir = inode_of(parent), *in = NULL;
    struct stat before = {0}, st;
    int io = -1;
    fstat(dir->fd, &before);
    int error = request(CREATE, dir, name);
    if (!error) {
        int flags = fi->flags & (O_EXCL | O_TRUNC);
        io = openat(dir->fd, name, O_CREAT | O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, mode);
        if (io < 0) error = errno;
    }
    if (!error) {
        changed_here(dir, &before);
        error = find(dir, name, &in);
    }
    int late = answered(CREATE, dir, name);
    if (!error && late) {
        forget(in, 1);
        error = late;
    }
    if (error) {
        if (io >= 0) close(io);
        fuse_reply_err(req, error);
        return;
    }
    pthread_mutex_lock(&in->lock);
    if (fi->flags & O_TRUNC) {
        drop_pages(in);
        in->dirty = 0;
        if (!look(in, &st)) learn(in, &st);
    }
    settle(in);
    if (in->io < 0)
        in->io = io;
    else
        close(io);
    struct file *file = begin(in, fi);
    pthread_mutex_unlock(&in->lock);
    (void)file; /* a reply that fails leaves it open: its caller is gone, and so is soon the mount */
    reply_entry(req, in, dir, name, fi);
}

static void ll_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)ino;
    end((struct file *)(uintptr_t)fi->fh);
    fuse_reply_err(req, 0);
}

static void ll_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct inode *dir = inode_of(ino);
    struct known *names = NULL;
    struct stat st;
    pthread_mutex_lock(&dir->lock);
    int error = request(GETATTR, dir, NULL);
    if (!error) error = look(dir, &st);
    int late = answered(GETATTR, dir, NULL);
    if (!error) {
        if (is_unlike(dir, &st)) names = take_names(dir);
        learn(dir, &st);
        dir->is_stale = false;
        error = late;
    }
    pthread_mutex_unlock(&dir->lock);
    if (!names) {
    } else if (!sem_trywait(&fs.expiring)) {
        expire(dir, names);
        sem_post(&fs.expiring);
    } else {
        expire_soon(dir, names);
    }
    if (!error) {
        error = request(READDIR, dir, NULL);
        late = answered(READDIR, dir, NULL);
        if (!error) error = late;
    }
    int fd = error ? -1 : openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        fuse_reply_err(req, error ? error : errno);
        return;
    }
    struct listing *all = must(calloc(1, sizeof *all));
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (all->count == all->room)
            all->entries = must(realloc(all->entries, (all->room = 2 * all->room + 32) * sizeof *entry));
        memcpy(&all->entries[all->count++], entry, entry->d_reclen < sizeof *entry ? entry->d_reclen : sizeof *entry);
    }
    closedir(stream);
    fi->fh = (uintptr_t)all;
    if (fuse_reply_open(req, fi)) {
        free(all->entries);
        free(all);
    }
}

static void ll_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi) {
    struct listing *all = (struct listing *)(uintptr_t)fi->fh;
    char *buffer = must(malloc(size));
    size_t used = 0;
    (void)ino;
    for (size_t i = off; i < all->count; i++) {
        struct stat st = {.st_ino = all->entries[i].d_ino, .st_mode = DTTOIF(all->entries[i].d_type)};
        size_t more = fuse_add_direntry(req, buffer + used, size - used, all->entries[i].d_name, &st, i + 1);
        if (more > size - used) break;
        used += more;
    }
    fuse_reply_buf(req, buffer, used);
    free(buffer);
}

static void ll_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct listing *all = (struct listing *)(uintptr_t)fi->fh;
    (void)ino;
    free(all->entries);
    free(all);
    fuse_reply_err(req, 0);
}

static void ll_statfs(fuse_req_t req, fuse_ino_t ino) {
    struct statvfs st;
    int error = request(STATFS, inode_of(ino), NULL);
    if (!error && fstatvfs(fs.root->fd, &st)) error = errno;
    error ? fuse_reply_err(req, error) : fuse_reply_statfs(req, &st);
}

/* -- locks ------------------------------------------------------------------------------------------------------- */

/* A descriptor of its own for each open file, as flock wants it: of the server's file, or of one in our memory. */
static int open_lock(struct file *file) {
    struct inode *in = file->inode;
    char path[64];
    if (file->lock >= 0) return 0;
    if (fs.locks == LOCAL && in->own_locks < 0 && (in->own_locks = memfd_create("locks", MFD_CLOEXEC)) < 0)
        return errno;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fs.locks == LOCAL ? in->own_locks : in->fd);
    file->lock = open(path, O_RDWR | O_CLOEXEC);
    if (file->lock < 0) file->lock = open(path, O_RDONLY | O_CLOEXEC);
    return file->lock < 0 ? errno : 0;
}

static int try_lock(struct file *file, int op) {
    struct inode *in = file->inode;
    pthread_mutex_lock(&in->lock);
    int error = open_lock(file);
    flush(in); /* do_setlk, do_unlk */
    if (!error && fs.locks == SHARED) error = request(FLOCK, in, NULL);
    if (!error && flock(file->lock, op | LOCK_NB)) error = errno;
    int late = !error && fs.locks == SHARED ? answered(FLOCK, in, NULL) : 0;
    if (!error && !(op & LOCK_UN)) { /* nfs_zap_caches */
        in->checked = -1e9;
        in->is_stale = true;
    }
    pthread_mutex_unlock(&in->lock);
    return error ? error : late;
}

static void ll_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op) {
    struct file *file = (struct file *)(uintptr_t)fi->fh;
    (void)ino;
    if (fs.locks == NONE) {
        fuse_reply_err(req, ENOSYS);
        return;
    }
    int error = try_lock(file, op & ~LOCK_NB);
    if (error != EWOULDBLOCK || op & LOCK_NB) {
        fuse_reply_err(req, error);
        return;
    }
    struct waiter *waiter = must(malloc(sizeof *waiter));
    pthread_mutex_lock(&fs.waiting_lock);
    *waiter = (struct waiter){.next = fs.waiting, .req = req, .file = file, .op = op};
    fs.waiting = waiter;
    pthread_cond_signal(&fs.waiting_some);
    pthread_mutex_unlock(&fs.waiting_lock);
}

/* As the clients of network file systems do: ask again and again. The file is open as long as its caller waits. */
static void *poll_locks(void *unused) {
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&fs.waiting_lock);
        while (!fs.waiting) pthread_cond_wait(&fs.waiting_some, &fs.waiting_lock);
        struct waiter *all = fs.waiting, *again = NULL;
        fs.waiting = NULL;
        pthread_mutex_unlock(&fs.waiting_lock);
        while (all) {
            struct waiter *waiter = all;
            all = all->next;
            int error = fuse_req_interrupted(waiter->req) ? EINTR : try_lock(waiter->file, waiter->op);
            if (error == EWOULDBLOCK) {
                waiter->next = again;
                again = waiter;
            } else {
                fuse_reply_err(waiter->req, error);
                free(waiter);
            }
        }
        rest(0.002);
        pthread_mutex_lock(&fs.waiting_lock);
        while (again) {
            struct waiter *next = again->next;
            again->next = fs.waiting;
            fs.waiting = again;
            again = next;
        }
        pthread_mutex_unlock(&fs.waiting_lock);
    }
    return NULL;
}

/* -- control ----------------------------------------------------------------------------------------------------- */

static int error_named(const char *name) {
    static const struct { const char *name; int number; } ALL[] = {
        {"EIO", EIO}, {"ESTALE", ESTALE}, {"EDQUOT", EDQUOT}, {"ENOSPC", ENOSPC}, {"EACCES", EACCES},
        {"EEXIST", EEXIST}, {"ENOENT", ENOENT}, {"ENOLCK", ENOLCK}, {"EROFS", EROFS}, {"EINTR", EINTR},
        {"ETIMEDOUT", ETIMEDOUT}, {"EPERM", EPERM}, {"EOPNOTSUPP", EOPNOTSUPP}, {"EMLINK", EMLINK},
        {"EMFILE", EMFILE}, {"EREMOTEIO", EREMOTEIO}, {"EAGAIN", EAGAIN}, {"ENOSYS", ENOSYS}};
    for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++)
        if (!strcmp(ALL[i].name, name)) return ALL[i].number;
    return 0;
}

/* ``fail ERROR COUNT OP GLOB [done]``, ``delay MS COUNT OP GLOB [done]``: the first rule that fits an operation. */
static const char *add_rule(bool is_delay, const char *words) {
    char what[64], op[64], glob[1024], when[64] = "";
    long count;
    if (sscanf(words, "%63s %ld %63s %1023s %63s", what, &count, op, glob, when) < 4)
        return "what, count, operation, glob?";
    struct rule *rule = must(calloc(1, sizeof *rule));
    *rule = (struct rule){.left = count, .any = !strcmp(op, "*"), .op = OPS, .late = !strcmp(when, "done")};
    for (int i = 0; i < OPS; i++)
        if (!strcmp(op, OP_NAMES[i])) rule->op = i;
    if (is_delay)
        rule->delay_s = atof(what) / 1000;
    else
        rule->error = error_named(what);
    if ((!is_delay && !rule->error) || (rule->op == OPS && !rule->any) || (*when && !rule->late)) {
        free(rule);
        return "unknown error, operation or word";
    }
    rule->glob = must(strdup(glob));
    pthread_mutex_lock(&fs.rules_lock);
    struct rule **at = &fs.rules;
    while (*at) at = &(*at)->next;
    *at = rule;
    pthread_mutex_unlock(&fs.rules_lock);
    return "ok";
}

static void clear_rules(void) {
    pthread_mutex_lock(&fs.rules_lock);
    while (fs.rules) {
        struct rule *next = fs.rules->next;
        free(fs.rules->glob);
        free(fs.rules);
        fs.rules = next;
    }
    pthread_mutex_unlock(&fs.rules_lock);
}

/* Write back what is older than some seconds. */
static void flush_older(double seconds) {
    struct inode **all = NULL;
    size_t count = 0, room = 0;
    pthread_mutex_lock(&fs.table);
    for (int i = 0; i < BUCKETS; i++)
        for (struct inode *in = fs.buckets[i]; in; in = in->next) {
            if (!in->dirty || now() - in->dirty_since < seconds) continue;
            if (count == room) all = must(realloc(all, (room = 2 * room + 16) * sizeof *all));
            in->refs++;
            all[count++] = in;
        }
    pthread_mutex_unlock(&fs.table);
    for (size_t i = 0; i < count; i++) {
        pthread_mutex_lock(&all[i]->lock);
        flush(all[i]);
        pthread_mutex_unlock(&all[i]->lock);
        let_go(all[i]);
    }
    free(all);
}

static void *write_back(void *unused) {
    (void)unused;
    for (;;) {
        rest(fs.writeback_s < 5 ? fs.writeback_s / 2 + 0.01 : 1);
        flush_older(fs.writeback_s);
    }
    return NULL;
}

static bool set_locks(const char *name) {
    static const char *const NAMES[] = {[SHARED] = "shared", [LOCAL] = "local", [NONE] = "none"};
    for (int i = SHARED; i <= NONE; i++)
        if (!strcmp(name, NAMES[i])) {
            fs.locks = i;
            return true;
        }
    return false;
}

static void obey(char *line, FILE *to) {
    char *rest_of = line + strcspn(line, " ");
    if (*rest_of) *rest_of++ = 0;
    const char *said = "ok";
    if (!strcmp(line, "fail") || !strcmp(line, "delay")) {
        said = add_rule(*line == 'd', rest_of);
    } else if (!strcmp(line, "stall")) {
        double until = now() + atof(rest_of);
        __atomic_store(&fs.stalled_until, &until, __ATOMIC_RELAXED);
    } else if (!strcmp(line, "rtt")) {
        fs.rtt_s = atof(rest_of) / 1000;
    } else if (!strcmp(line, "timeout")) {
        fs.timeout_s = atof(rest_of);
    } else if (!strcmp(line, "locks")) { /* of what is opened from now on */
        if (!set_locks(rest_of)) said = "unknown kind of locks";
    } else if (!strcmp(line, "sync")) {
        flush_older(-1);
    } else if (!strcmp(line, "clear")) {
        clear_rules();
        double none = 0;
        __atomic_store(&fs.stalled_until, &none, __ATOMIC_RELAXED);
    } else if (!strcmp(line, "counts")) {
        fprintf(to, "{");
        for (int i = 0; i < OPS; i++) fprintf(to, "%s\"%s\": %ld", i ? ", " : "", OP_NAMES[i], fs.counts[i]);
        said = "}";
    } else {
        said = "unknown command";
    }
    fprintf(to, "%s\n", said);
}

static void *control(void *listening) {
    for (;;) {
        int fd = accept(*(int *)listening, NULL, NULL);
        if (fd < 0) continue;
        FILE *from = must(fdopen(dup(fd), "r")), *to = must(fdopen(fd, "w"));
        char line[2048];
        while (fgets(line, sizeof line, from)) {
            line[strcspn(line, "\n")] = 0;
            obey(line, to);
            fflush(to);
        }
        fclose(from);
        fclose(to);
    }
    return NULL;
}

static int listening = -1;

static void listen_at(const char *path) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof name.sun_path) {
        fprintf(stderr, "hostfs: the path of the control socket is too long\n");
        exit(2);
    }
    strcpy(name.sun_path, path);
    unlink(path);
    listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listening < 0 || bind(listening, (struct sockaddr *)&name, sizeof name) || listen(listening, 16)) die(path);
}

/* -- the program ------------------------------------------------------------------------------------------------- */

static void ll_init(void *unused, struct fuse_conn_info *conn) {
    (void)unused;
    conn->want |= conn->capable & (FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS);
    conn->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_WRITEBACK_CACHE |
                    FUSE_CAP_READDIRPLUS | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_HANDLE_KILLPRIV);
}

static const struct fuse_lowlevel_ops OPERATIONS = {
    .init = ll_init, .lookup = ll_lookup, .forget = ll_forget, .forget_multi = ll_forget_multi, .getattr = ll_getattr,
    .setattr = ll_setattr, .readlink = ll_readlink, .mknod = ll_mknod, .mkdir = ll_mkdir, .unlink = ll_unlink,
    .rmdir = ll_rmdir, .symlink = ll_symlink, .rename = ll_rename, .link = ll_link, .open = ll_open, .read = ll_read,
    .write = ll_write, .flush = ll_flush, .release = ll_release, .fsync = ll_fsync, .fsyncdir = ll_fsyncdir,
    .opendir = ll_opendir, .readdir = ll_readdir, .releasedir = ll_releasedir, .statfs = ll_statfs,
    .create = ll_create, .flock = ll_flock};

static void *serve(void *unused) {
    struct fuse_buf buffer = {.mem = NULL};
    (void)unused;
    for (;;) {
        int got = fuse_session_receive_buf(fs.session, &buffer);
        if (got == -EINTR || got == -EAGAIN) continue;
        if (got <= 0) break;
        fuse_session_process_buf(fs.session, &buffer);
    }
    kill(getpid(), SIGTERM); /* somebody has unmounted it */
    return NULL;
}

static void spawn(void *(*what)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, what, argument)) die("thread");
    pthread_detach(thread);
}

static double number(const char *text) {
    char *rest_of;
    double value = strtod(text, &rest_of);
    if (*rest_of || !*text || value < 0) {
        fprintf(stderr, "hostfs: '%s' is no number\n", text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv) {
    static const struct option OPTIONS[] = {
        {"rtt-ms", 1, 0, 'r'}, {"attr-timeout", 1, 0, 'a'}, {"writeback", 1, 0, 'w'}, {"locks", 1, 0, 'l'},
        {"control", 1, 0, 'c'}, {"keep-removed", 0, 0, 'k'}, {"rule", 1, 0, 'f'}, {0}};
    pid_t parent = getppid();
    const char *said;
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        switch (option) {
        case 'r': fs.rtt_s = number(optarg) / 1000; break;
        case 'a': fs.timeout_s = number(optarg); break;
        case 'w': fs.writeback_s = number(optarg); break;
        case 'l':
            if (set_locks(optarg)) break;
            fprintf(stderr, "hostfs: locks are shared, local or none\n");
            return 2;
        case 'k': fs.keeps_removed = true; break;
        case 'c': listen_at(optarg); break;
        case 'f':
            said = !strncmp(optarg, "delay ", 6) ? add_rule(true, optarg + 6)
                   : !strncmp(optarg, "fail ", 5) ? add_rule(false, optarg + 5) : "fail or delay?";
            if (strcmp(said, "ok")) {
                fprintf(stderr, "hostfs: '%s': %s\n", optarg, said);
                return 2;
            }
            break;
        default: return 2;
        }
    }
    if (argc - optind != 2) {
        fprintf(stderr, "hostfs SOURCE MOUNTPOINT [options]\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* no mount outlives the tests */
    if (getppid() != parent) return 1;
    struct rlimit files = {1 << 20, 1 << 20};
    if (setrlimit(RLIMIT_NOFILE, &files) && !getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    umask(0);
    struct stat st;
    int fd = open(argv[optind], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) die(argv[optind]);
    fs.root = make_inode(fd, &st);
    fs.root->lookups = fs.root->refs = 1;
    *bucket(st.st_dev, st.st_ino) = fs.root;
    sem_init(&fs.expiring, 0, THREADS / 4);
    fs.mountpoint = argv[optind + 1];
    try_clock(argv[optind]);
    learn(fs.root, &st);

    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    fuse_opt_add_arg(&args, "hostfs");
    fuse_opt_add_arg(&args, "-osubtype=hostfs,fsname=hostfs");
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    fs.session = fuse_session_new(&args, &OPERATIONS, sizeof OPERATIONS, NULL);
    if (!fs.session || fuse_session_mount(fs.session, fs.mountpoint)) return 1;
    for (int i = 0; i < THREADS; i++) spawn(serve, NULL);
    spawn(poll_locks, NULL);
    spawn(expire_for_ever, NULL);
    spawn(write_back, NULL);
    if (listening >= 0) spawn(control, &listening);
    printf("mounted\n");
    fflush(stdout);
    int signal_number;
    sigwait(&ends, &signal_number);
    /* Lazily: whoever still has a file open there loses it, and what is not written back. */
    umount2(fs.mountpoint, MNT_DETACH);
    _exit(0);
}
