// Fibres: stacks of their own that are switched between by a few instructions (x86-64) or ucontext (elsewhere).
#pragma once

#include <cstddef>
#include <cstdint>

namespace simt {

class Fibre {
 public:
  static constexpr size_t stackBytes = 128 * 1024;

  Fibre() = default;  // the system thread's own context: somewhere to come back to
  ~Fibre();
  Fibre(const Fibre &) = delete;
  Fibre &operator=(const Fibre &) = delete;

  // Makes the next switch here call entry(), which never returns. What ran here before is dropped where it stands.
  void prepare(void (*entry)());
  // Leaves `from`, which is running, and goes on here.
  void enterFrom(Fibre &from);

  // Whether an address lies on this fibre's stack.
  bool owns(uintptr_t address) const { return address - low_ < stackBytes; }

 private:
  uintptr_t low_ = UINTPTR_MAX;  // of the usable stack; below it lies a page that may not be touched
  void *context_ = nullptr;      // the saved stack pointer, or a ucontext_t
};

}  // namespace simt
