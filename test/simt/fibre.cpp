#include "fibre.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace simt {

namespace {

constexpr size_t guardBytes = 4096;

uintptr_t makeStack() {
  void *memory = mmap(nullptr, Fibre::stackBytes + guardBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, guardBytes, PROT_NONE);
  return reinterpret_cast<uintptr_t>(memory) + guardBytes;
}

}  // namespace

#if defined(__x86_64__)

// Saves what the calling convention has a function keep, and the stack pointer; loads the other's.
extern "C" void simtSwitch(void **save, void *load);
asm(R"(
.text
.p2align 4
.globl simtSwitch
.hidden simtSwitch
.type simtSwitch, @function
simtSwitch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size simtSwitch, .-simtSwitch
)");

void Fibre::prepare(void (*entry)()) {
  if (low_ == UINTPTR_MAX) low_ = makeStack();
  // Six registers, the entry as the address to return to, and one word so that the stack is aligned as after a call.
  auto **top = reinterpret_cast<void **>(low_ + stackBytes) - 8;
  std::memset(top, 0, 8 * sizeof(void *));
  top[6] = reinterpret_cast<void *>(entry);
  context_ = top;
}

void Fibre::enterFrom(Fibre &from) { simtSwitch(&from.context_, context_); }

Fibre::~Fibre() {
  if (low_ != UINTPTR_MAX) munmap(reinterpret_cast<void *>(low_ - guardBytes), stackBytes + guardBytes);
}

#else

void Fibre::prepare(void (*entry)()) {
  if (low_ == UINTPTR_MAX) low_ = makeStack();
  if (!context_) context_ = new ucontext_t;
  auto *context = static_cast<ucontext_t *>(context_);
  getcontext(context);
  context->uc_stack.ss_sp = reinterpret_cast<void *>(low_);
  context->uc_stack.ss_size = stackBytes;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
}

void Fibre::enterFrom(Fibre &from) {
  if (!from.context_) from.context_ = new ucontext_t;
  swapcontext(static_cast<ucontext_t *>(from.context_), static_cast<ucontext_t *>(context_));
}

Fibre::~Fibre() {
  delete static_cast<ucontext_t *>(context_);
  if (low_ != UINTPTR_MAX) munmap(reinterpret_cast<void *>(low_ - guardBytes), stackBytes + guardBytes);
}

#endif

}  // namespace simt
