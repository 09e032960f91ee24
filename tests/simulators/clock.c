// Preloaded: a process whose wall clock is that of another host. clock_ahead() sets it; monotonic clocks are left alone.
//
// Times of files are the server's: a file that is touched without a time gets the kernel's, which is not changed.
#define ROOT "CLOCK_ROOT"
#include "below.h"
#include <sys/time.h>

static double ahead_s;

void clock_ahead(double seconds) { ahead_s = seconds; }

static void move(struct timespec *t) {
    long long ns = t->tv_sec * 1000000000LL + t->tv_nsec + (long long)(ahead_s * 1e9);
    t->tv_sec = ns / 1000000000, t->tv_nsec = ns % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    NEXT(int, clock_gettime, (clockid_t, struct timespec *));
    int failed = next_clock_gettime(clock, out);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) move(out);
    return failed;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    out->tv_sec = t.tv_sec, out->tv_usec = t.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}
__attribute__((constructor)) static void begin(void) { find_root(); }
