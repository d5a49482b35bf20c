/* What a power cut would leave of a directory, for LD_PRELOAD: syncing reaches no disk, and keeps the content that a file has, or the
 * names that a directory has, at that moment under its inode's number in POWER_CUT_KEPT. Files outside POWER_CUT_DATA are synced as
 * they always are. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t keeping = PTHREAD_MUTEX_INITIALIZER;

static void keep_content(int from, FILE *to) {
    char piece[65536];
    ssize_t length;
    for (off_t place = 0; (length = pread(from, piece, sizeof piece, place)) > 0; place += length) {
        if (fwrite(piece, 1, length, to) != (size_t)length) abort();
    }
    if (length < 0) abort();
}

static void keep_names(const char *path, FILE *to) {
    DIR *directory = opendir(path);
    if (!directory) abort();
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] != '.') fprintf(to, "%lu %s\n", (unsigned long)entry->d_ino, entry->d_name);
    }
    closedir(directory);
}

/* Whether it is one of those that are kept. The old file stays until the new one is whole: the process may be killed at any time. */
static int keep(int fd) {
    const char *data = getenv("POWER_CUT_DATA"), *kept = getenv("POWER_CUT_KEPT");
    char link[64], path[4096], whole[4200], part[4300];
    struct stat stat;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!data || !kept || length < 0 || fstat(fd, &stat) != 0) return 0;
    path[length] = 0;
    if (strncmp(path, data, strlen(data)) != 0) return 0;
    snprintf(whole, sizeof whole, "%s/%lu", kept, (unsigned long)stat.st_ino);
    snprintf(part, sizeof part, "%s.part", whole);
    pthread_mutex_lock(&keeping);
    FILE *to = fopen(part, "w");
    if (!to) abort();
    if (S_ISDIR(stat.st_mode)) keep_names(path, to);
    else {
        /* What is open for writing alone cannot be read by its own number. */
        int from = open(link, O_RDONLY);
        if (from < 0) abort();
        keep_content(from, to);
        close(from);
    }
    if (fclose(to) != 0 || rename(part, whole) != 0) abort();
    pthread_mutex_unlock(&keeping);
    return 1;
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return keep(fd) ? 0 : real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return keep(fd) ? 0 : real(fd);
}
