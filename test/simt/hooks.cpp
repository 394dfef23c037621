// The calls that the compiler puts before each access of the kernels' sources (-fsanitize=thread, whose own runtime is
// not linked) and after each failed alignment check (-fsanitize=alignment); and memcpy and its like.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "block.h"

namespace simt {

void checkAccess(const void *address, size_t size, Access access, const void *codeAddress) {
  if (Block *block = current()) {
    block->check(*block->running, address, size, access, codeAddress);
  } else if (isGlobal(address)) {
    std::fprintf(stderr, "The host accesses memory of the device: %s, at %s\n", describe(address).c_str(),
                 placeInCode(codeAddress).c_str());
    std::abort();
  }
}

void failAlignment(const void *address, size_t alignment, const char *file, uint32_t line) {
  const char *slash = std::strrchr(file, '/');
  char text[256];
  std::snprintf(text, sizeof text, "a misaligned access: address %p is not a multiple of %zu, at %s:%u", address,
                alignment, slash ? slash + 1 : file, line);
  if (Block *block = current()) block->fail(text);
  std::fprintf(stderr, "%s\n", text);
  std::abort();
}

}  // namespace simt

using simt::Access;
using simt::checkAccess;

#define SIMT_HOOKS(SIZE)                                                                                             \
  void __tsan_read##SIZE(void *address) { checkAccess(address, SIZE, Access::read, __builtin_return_address(0)); }   \
  void __tsan_write##SIZE(void *address) { checkAccess(address, SIZE, Access::write, __builtin_return_address(0)); } \
  void __tsan_unaligned_read##SIZE(void *address) {                                                                  \
    checkAccess(address, SIZE, Access::read, __builtin_return_address(0));                                           \
  }                                                                                                                  \
  void __tsan_unaligned_write##SIZE(void *address) {                                                                 \
    checkAccess(address, SIZE, Access::write, __builtin_return_address(0));                                          \
  }

extern "C" {
SIMT_HOOKS(1)
SIMT_HOOKS(2)
SIMT_HOOKS(4)
SIMT_HOOKS(8)
SIMT_HOOKS(16)
void __tsan_read_range(void *address, size_t size) {
  if (size > 0) checkAccess(address, size, Access::read, __builtin_return_address(0));
}
void __tsan_write_range(void *address, size_t size) {
  if (size > 0) checkAccess(address, size, Access::write, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
// Objects with virtual functions are the host's.
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}

// The host's: reference counts and the guards of static objects.
int __tsan_atomic32_fetch_add(volatile int *target, int value, int) {
  return __atomic_fetch_add(target, value, __ATOMIC_ACQ_REL);
}
signed char __tsan_atomic8_load(const volatile signed char *from, int) {
  return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

// What the compiler says of a failed alignment check.
struct TypeMismatch {
  struct {
    const char *file;
    uint32_t line, column;
  } location;
  const void *type;
  unsigned char logAlignment, kind;
};
[[noreturn]] void __ubsan_handle_type_mismatch_v1_abort(const TypeMismatch *data, uintptr_t address) {
  simt::failAlignment(reinterpret_cast<const void *>(address), size_t(1) << data->logAlignment, data->location.file,
                      data->location.line);
}

// The kernels' sources are compiled with memcpy and its like named so.
void *simtMemcpy(void *to, const void *from, size_t size) {
  if (size > 0) {
    checkAccess(from, size, Access::read, __builtin_return_address(0));
    checkAccess(to, size, Access::write, __builtin_return_address(0));
  }
  return std::memcpy(to, from, size);
}
void *simtMemmove(void *to, const void *from, size_t size) {
  if (size > 0) {
    checkAccess(from, size, Access::read, __builtin_return_address(0));
    checkAccess(to, size, Access::write, __builtin_return_address(0));
  }
  return std::memmove(to, from, size);
}
void *simtMemset(void *to, int value, size_t size) {
  if (size > 0) checkAccess(to, size, Access::write, __builtin_return_address(0));
  return std::memset(to, value, size);
}
}
