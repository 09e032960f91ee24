/* A driver's library as NVML has it, for nvidia-ml-py: one GPU whose readings stand in the file $NVML_READINGS, a line
   "name value" each. A name that is missing is a question that the GPU does not support.
   https://docs.nvidia.com/deploy/nvml-api/ */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
typedef struct { unsigned int gpu, memory; } utilization;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gpu_instance, compute_instance; } process;

static int reading(const char *name, double *value) {
    FILE *file = fopen(getenv("NVML_READINGS"), "r");
    char word[64];
    double number;
    int found = NOT_SUPPORTED;
    while (file && fscanf(file, "%63s %lf", word, &number) == 2)
        if (!strcmp(word, name)) { *value = number; found = SUCCESS; }
    if (file) fclose(file);
    return found;
}

int nvmlInitWithFlags(unsigned int flags) { double v; return reading("no_driver", &v) == SUCCESS ? 9 : SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "an error"; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    *device = (void *)1;
    return index == 0 ? SUCCESS : NOT_FOUND;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    *device = (void *)1;
    return !strcmp(uuid, "GPU-1") ? SUCCESS : NOT_FOUND;
}
int nvmlDeviceGetUtilizationRates(void *d, utilization *u) {
    double v; int code = reading("util", &v); if (code == SUCCESS) u->gpu = v; return code;
}
int nvmlDeviceGetMemoryInfo(void *d, memory *m) {
    double v; int code = NOT_SUPPORTED;
    if (reading("used", &v) == SUCCESS) { m->used = v; code = SUCCESS; }
    if (reading("free", &v) == SUCCESS) { m->free = v; m->total = 80e9; code = SUCCESS; }
    return code;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned int *n, process *found) {
    double v; unsigned int room = *n, shown = reading("ours", &v) == SUCCESS ? 2 : 1;
    *n = shown;
    if (room < shown) return INSUFFICIENT_SIZE;
    found[0] = (process){ 1, 7e9, 0, 0 };
    if (shown == 2) found[1] = (process){ getpid(), v, 0, 0 };
    return SUCCESS;
}
int nvmlDeviceGetTemperature(void *d, unsigned int sensor, unsigned int *t) {
    double v; int code = reading("temp", &v); if (code == SUCCESS) *t = v; return code;
}
int nvmlDeviceGetPowerUsage(void *d, unsigned int *p) {
    double v; int code = reading("power", &v); if (code == SUCCESS) *p = v; return code;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *d, unsigned long long *r) {
    double v; int code = reading("reasons", &v); if (code == SUCCESS) *r = v; return code;
}
int nvmlDeviceGetTotalEccErrors(void *d, unsigned int kind, unsigned int counter, unsigned long long *n) {
    double v; int code = reading("ecc", &v); if (code == SUCCESS) *n = v; return code;
}
