// Loaded before libc into a program under test (LD_PRELOAD): counts its calls to the file system within one directory, and makes one
// of them, or all from one on, go wrong as a disk or a kill would. What is to happen stands in a page that is shared with the test,
// so that a process that lives on can be disturbed again and again; what did happen is written back there.
//
// The calls themselves go to the kernel directly, except for the few that libc makes of several.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#undef stat
#undef lstat
#undef fstat

/** The page that shim.js shares with us; its fields are at the same places there. */
struct page {
  int64_t at;      // the number of the call, from 1, that goes wrong; 0: none
  int64_t error;   // errno
  int64_t lasting; // whether those after it do too
  int64_t tracing; // whether calls are written to the file of that name
  int64_t calls;   // counted so far
  int64_t faults;  // that went wrong
  char effect[64]; // fail, short, delay, kill before, kill after, kill halfway
  char kinds[256]; // those that count, as ",write,fsync,"
  char directory[2048];
  char first[2304]; // "kind path" of the first that went wrong
};

static struct page *page;
static int trace = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static long (*kernel)(long, ...);

/** Anything may call before our own start, as libraries that are loaded before us do. */
static void find_kernel(void) {
  if (kernel == NULL) kernel = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
}

__attribute__((constructor)) static void start(void) {
  find_kernel();
  const char *shared = getenv("FAULTS_PAGE");
  if (shared == NULL) return;
  const int descriptor = kernel(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC, 0);
  if (descriptor < 0) abort();
  page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (page == MAP_FAILED) abort();
  kernel(SYS_close, descriptor);
  const char *calls = getenv("FAULTS_TRACE");
  if (calls != NULL) trace = kernel(SYS_openat, AT_FDCWD, calls, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
}

enum fate { PASS, FAIL, SHORTEN, KILL_AFTER, KILL_HALFWAY };

static void die(void) {
  kernel(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

/** What becomes of a call on `path`; `errno` is set where it fails. */
static enum fate decide(const char *kind, const char *path) {
  if (page == NULL || page->directory[0] == '\0' || path == NULL) return PASS;
  const size_t length = strlen(page->directory);
  if (strncmp(path, page->directory, length) != 0 || (path[length] != '\0' && path[length] != '/')) return PASS;
  char counted[32];
  snprintf(counted, sizeof counted, ",%s,", kind);
  if (strstr(page->kinds, counted) == NULL) return PASS;

  pthread_mutex_lock(&turn);
  const int64_t number = ++page->calls;
  if (page->tracing && trace >= 0) {
    char line[PATH_MAX + 64];
    const int bytes = snprintf(line, sizeof line, "%s %s\n", kind, path);
    kernel(SYS_write, trace, line, bytes);
  }
  const int hit = page->at > 0 && (page->lasting ? number >= page->at : number == page->at);
  if (hit && page->faults++ == 0) snprintf(page->first, sizeof page->first, "%s %s", kind, path);
  pthread_mutex_unlock(&turn);
  if (!hit) return PASS;

  const char *effect = page->effect;
  if (strcmp(effect, "kill before") == 0) die();
  if (strcmp(effect, "kill after") == 0) return KILL_AFTER;
  if (strcmp(effect, "kill halfway") == 0) return KILL_HALFWAY;
  if (strcmp(effect, "short") == 0) return SHORTEN;
  if (strcmp(effect, "delay") == 0) {
    usleep(30000);
    return PASS;
  }
  errno = page->error;
  return FAIL;
}

/** Where a path leads from: `buffer` has PATH_MAX bytes. */
static const char *of_descriptor(int descriptor, char *buffer) {
  if (page == NULL || page->directory[0] == '\0') return NULL;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const long length = kernel(SYS_readlinkat, AT_FDCWD, link, buffer, PATH_MAX - 1);
  if (length < 0) return NULL;
  buffer[length] = '\0';
  return buffer;
}

static const char *of_path(int from, const char *path, char *buffer) {
  if (page == NULL || path == NULL || path[0] == '/') return path;
  char base[PATH_MAX];
  if (from == AT_FDCWD ? getcwd(base, sizeof base) == NULL : of_descriptor(from, base) == NULL) return NULL;
  if (path[0] == '\0') snprintf(buffer, PATH_MAX, "%s", base);
  else if (snprintf(buffer, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return NULL;
  return buffer;
}

/** The whole of a call: `amount` is what may be shortened. */
#define CALL(kind, place, amount, ...)                                                                                        \
  do {                                                                                                                        \
    find_kernel();                                                                                                            \
    char buffer[PATH_MAX];                                                                                                    \
    (void)buffer;                                                                                                             \
    const enum fate fate = decide(kind, place);                                                                               \
    if (fate == FAIL) return -1;                                                                                              \
    if ((fate == SHORTEN || fate == KILL_HALFWAY) && (amount) > 1) (amount) /= 2;                                             \
    const long result = kernel(__VA_ARGS__);                                                                                  \
    if (fate == KILL_AFTER || fate == KILL_HALFWAY) die();                                                                    \
    return result;                                                                                                            \
  } while (0)

ssize_t write(int fd, const void *bytes, size_t count) {
  CALL("write", of_descriptor(fd, buffer), count, SYS_write, fd, bytes, count);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  CALL("write", of_descriptor(fd, buffer), count, SYS_pwrite64, fd, bytes, count, offset);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  CALL("write", of_descriptor(fd, buffer), count, SYS_writev, fd, parts, count);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  CALL("write", of_descriptor(fd, buffer), count, SYS_pwritev, fd, parts, count, offset, 0);
}
ssize_t read(int fd, void *bytes, size_t count) {
  CALL("read", of_descriptor(fd, buffer), count, SYS_read, fd, bytes, count);
}
ssize_t pread64(int fd, void *bytes, size_t count, off64_t offset) {
  CALL("read", of_descriptor(fd, buffer), count, SYS_pread64, fd, bytes, count, offset);
}
ssize_t readv(int fd, const struct iovec *parts, int count) {
  CALL("read", of_descriptor(fd, buffer), count, SYS_readv, fd, parts, count);
}
ssize_t preadv64(int fd, const struct iovec *parts, int count, off64_t offset) {
  CALL("read", of_descriptor(fd, buffer), count, SYS_preadv, fd, parts, count, offset, 0);
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t count) {
  CALL("copy", of_descriptor(to, buffer), count, SYS_sendfile, to, from, offset, count);
}
static long copy_range(int from, off64_t *start, int to, off64_t *end, size_t count, unsigned flags) {
  CALL("copy", of_descriptor(to, buffer), count, SYS_copy_file_range, from, start, to, end, count, flags);
}
ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *end, size_t count, unsigned flags) {
  return copy_range(from, start, to, end, count, flags);
}

/** Of calls that have no amount. */
static size_t whole = 0;

/** Some file systems refuse it for folders. */
static const char *sync_kind(int fd) {
  struct stat found;
  return kernel(SYS_newfstatat, fd, "", &found, AT_EMPTY_PATH) == 0 && S_ISDIR(found.st_mode) ? "fsync-folder" : "fsync";
}
int fsync(int fd) { CALL(sync_kind(fd), of_descriptor(fd, buffer), whole, SYS_fsync, fd); }
int fdatasync(int fd) { CALL(sync_kind(fd), of_descriptor(fd, buffer), whole, SYS_fdatasync, fd); }
int ftruncate64(int fd, off64_t length) { CALL("truncate", of_descriptor(fd, buffer), whole, SYS_ftruncate, fd, length); }
int flock(int fd, int operation) { CALL("lock", of_descriptor(fd, buffer), whole, SYS_flock, fd, operation); }
int fchmod(int fd, mode_t mode) { CALL("attribute", of_descriptor(fd, buffer), whole, SYS_fchmod, fd, mode); }
int futimens(int fd, const struct timespec times[2]) {
  CALL("attribute", of_descriptor(fd, buffer), whole, SYS_utimensat, fd, NULL, times, 0);
}

/** A descriptor is gone whatever close answers. */
int close(int fd) {
  find_kernel();
  char buffer[PATH_MAX];
  const enum fate fate = decide("close", of_descriptor(fd, buffer));
  const int error = errno;
  const long result = kernel(SYS_close, fd);
  if (fate == KILL_AFTER) die();
  if (fate != FAIL) return result;
  errno = error;
  return -1;
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
  CALL("rename", of_path(to, new, buffer), whole, SYS_renameat2, from, old, to, new, flags);
}
int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int unlinkat(int from, const char *path, int flags) {
  CALL(flags & AT_REMOVEDIR ? "rmdir" : "unlink", of_path(from, path, buffer), whole, SYS_unlinkat, from, path, flags);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int from, const char *path, mode_t mode) {
  CALL("mkdir", of_path(from, path, buffer), whole, SYS_mkdirat, from, path, mode);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
  CALL("link", of_path(to, new, buffer), whole, SYS_linkat, from, old, to, new, flags);
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }
int symlink(const char *target, const char *path) {
  CALL("link", of_path(AT_FDCWD, path, buffer), whole, SYS_symlinkat, target, AT_FDCWD, path);
}
ssize_t readlink(const char *path, char *target, size_t size) {
  CALL("stat", of_path(AT_FDCWD, path, buffer), whole, SYS_readlinkat, AT_FDCWD, path, target, size);
}
int chmod(const char *path, mode_t mode) {
  CALL("attribute", of_path(AT_FDCWD, path, buffer), whole, SYS_fchmodat, AT_FDCWD, path, mode);
}
int utimensat(int from, const char *path, const struct timespec times[2], int flags) {
  CALL("attribute", of_path(from, path, buffer), whole, SYS_utimensat, from, path, times, flags);
}

static int open_file(int from, const char *path, int flags, mode_t mode) {
  const int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
  CALL(writes ? "create" : "open", of_path(from, path, buffer), whole, SYS_openat, from, path, flags, mode);
}
#define OPEN(name, before, from, more)                                                                                        \
  int name before {                                                                                                           \
    mode_t mode = 0;                                                                                                          \
    if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) {                                                                     \
      va_list given;                                                                                                          \
      va_start(given, flags);                                                                                                 \
      mode = va_arg(given, mode_t);                                                                                           \
      va_end(given);                                                                                                          \
    }                                                                                                                         \
    return open_file(from, path, flags | (more), mode);                                                                       \
  }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD, 0)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, O_LARGEFILE)
OPEN(openat, (int from, const char *path, int flags, ...), from, 0)
OPEN(openat64, (int from, const char *path, int flags, ...), from, O_LARGEFILE)

int access(const char *path, int mode) {
  CALL("stat", of_path(AT_FDCWD, path, buffer), whole, SYS_faccessat, AT_FDCWD, path, mode);
}
static long stat_at(int from, const char *path, struct stat *found, int flags) {
  CALL("stat", of_path(from, path, buffer), whole, SYS_newfstatat, from, path, found, flags);
}
static long stat_more(int from, const char *path, int flags, unsigned mask, void *found) {
  CALL("stat", of_path(from, path, buffer), whole, SYS_statx, from, path, flags, mask, found);
}
int statx(int from, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
  return stat_more(from, path, flags, mask, found);
}
// On 64-bit systems `struct stat64` is `struct stat`. Programs that were linked long ago use the names with underscores.
int stat(const char *path, struct stat *found) { return stat_at(AT_FDCWD, path, found, 0); }
int lstat(const char *path, struct stat *found) { return stat_at(AT_FDCWD, path, found, AT_SYMLINK_NOFOLLOW); }
int fstat(int fd, struct stat *found) { return stat_at(fd, "", found, AT_EMPTY_PATH); }
int fstatat(int from, const char *path, struct stat *found, int flags) { return stat_at(from, path, found, flags); }
int stat64(const char *path, struct stat64 *found) { return stat(path, (struct stat *)found); }
int lstat64(const char *path, struct stat64 *found) { return lstat(path, (struct stat *)found); }
int fstat64(int fd, struct stat64 *found) { return fstat(fd, (struct stat *)found); }
int __xstat64(int version, const char *path, struct stat64 *found) { return (void)version, stat64(path, found); }
int __lxstat64(int version, const char *path, struct stat64 *found) { return (void)version, lstat64(path, found); }
int __fxstat64(int version, int fd, struct stat64 *found) { return (void)version, fstat64(fd, found); }

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
  find_kernel();
  char buffer[PATH_MAX];
  // Memory without a file is asked for often, and early.
  const enum fate fate = flags & MAP_ANONYMOUS ? PASS : decide("mmap", of_descriptor(fd, buffer));
  if (fate == FAIL) return MAP_FAILED;
  void *result = (void *)kernel(SYS_mmap, address, length, protection, flags, fd, offset);
  if (fate == KILL_AFTER) die();
  return result;
}

// libc makes these of several calls, none of which it makes through names of ours.
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
DIR *opendir(const char *path) {
  find_kernel();
  char buffer[PATH_MAX];
  return decide("list", of_path(AT_FDCWD, path, buffer)) == FAIL ? NULL : NEXT(opendir)(path);
}
int scandir64(const char *path, struct dirent64 ***entries, int (*chosen)(const struct dirent64 *),
              int (*order)(const struct dirent64 **, const struct dirent64 **)) {
  find_kernel();
  char buffer[PATH_MAX];
  return decide("list", of_path(AT_FDCWD, path, buffer)) == FAIL ? -1 : NEXT(scandir64)(path, entries, chosen, order);
}
char *mkdtemp(char *path) {
  find_kernel();
  char buffer[PATH_MAX];
  return decide("mkdir", of_path(AT_FDCWD, path, buffer)) == FAIL ? NULL : NEXT(mkdtemp)(path);
}
char *realpath(const char *path, char *resolved) {
  find_kernel();
  char buffer[PATH_MAX];
  return decide("stat", of_path(AT_FDCWD, path, buffer)) == FAIL ? NULL : NEXT(realpath)(path, resolved);
}

/** libuv calls some by their numbers. */
long syscall(long number, ...) {
  find_kernel();
  va_list given;
  va_start(given, number);
  long words[6];
  for (int index = 0; index < 6; index++) words[index] = va_arg(given, long);
  va_end(given);
  switch (number) {
  case SYS_close:
    return close((int)words[0]);
  case SYS_statx:
    return stat_more((int)words[0], (const char *)words[1], (int)words[2], (unsigned)words[3], (void *)words[4]);
  case SYS_copy_file_range:
    return copy_range((int)words[0], (off64_t *)words[1], (int)words[2], (off64_t *)words[3], (size_t)words[4],
                      (unsigned)words[5]);
  default:
    return kernel(number, words[0], words[1], words[2], words[3], words[4], words[5]);
  }
}
