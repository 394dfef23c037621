// An emulation of the CUDA execution model on the CPU, for running the kernels' own sources without a GPU.
//
// The threads of a block are fibres on one system thread (fibre.h); blocks are shared out over system threads. A fibre
// runs until it waits: at a barrier for its block, at a warp collective for the lanes of its mask. The order in which
// waiting fibres go on is shuffled by a seed, so that results that depend on it differ between seeds.
//
// Every access of a kernel is checked: the kernels are compiled with -fsanitize=thread, whose calls (hooks.cpp) end in
// `checkAccess`. It must lie in one live allocation of global memory or in the block's shared memory, read only bytes
// that were written, and be ordered after every access by others that it conflicts with (memory.h). cp.async writes
// when it is waited for. A check that fails ends the launch and makes the device faulty, as a fault does on a GPU, with
// a report as the error's text.
//
// This header is what native/cuda/ptx.cuh and the emulated cuda_runtime.h are written on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace simt {

struct Triple {
  uint32_t x = 1, y = 1, z = 1;
};

// --- seen from a kernel --------------------------------------------------------------------------
// Functions, not variables: what they return is no memory access of the kernel.
__attribute__((const)) Triple threadIndex();
__attribute__((const)) Triple blockIndex();
__attribute__((const)) Triple blockSize();
__attribute__((const)) Triple gridSize();
unsigned char *sharedMemory();
size_t sharedBytes();  // of this launch

// Waits for all threads of the block that have not ended; all must come by the same file and line.
void barrier(const char *file, int line);
// Waits for `threads` (a multiple of 32) threads of the block, by id 1 to 15.
void namedBarrier(int id, int threads);
void warpBarrier(uint32_t mask);

// A collective of the lanes in `mask`: each gives its own `arguments`; the last to come runs `body` for all, which
// finds the lanes' arguments by lane. `what` names it, and lanes that meet must agree on it.
using CollectiveBody = void (*)(void *const *arguments, uint32_t mask);
void collective(const char *what, uint32_t mask, void *arguments, CollectiveBody body);

uint64_t shuffle(uint64_t value, uint32_t mask, int source, int width);  // idx, xor and down all end here
uint32_t ballot(uint32_t mask, bool predicate);
void loadMatrices(uint32_t *registers, const void *row, int matrices, bool transposed);
void multiplyBf16(float *d, const uint32_t *a, const uint32_t *b);  // m16n8k16, d += a b
void multiplyTf32(float *d, const uint32_t *a, const uint32_t *b);  // m16n8k8, d += a b
float exp2Fast(float x);
float log2Fast(float x);
float reciprocalFast(float x);
float reciprocalRoot(float x);

// The value before. T: int32_t, uint32_t, uint64_t (kernel.cpp instantiates them).
template <typename T>
T addAtomically(T *target, T value);
template <typename T>
T maxAtomically(T *target, T value);
template <typename T>
T minAtomically(T *target, T value);

// cp.async: `size` bytes, of which the first `sourceSize` come from `source` and the rest are zeros.
void copyAsync(void *sharedTarget, const void *source, int size, int sourceSize);
void commitCopies();
void waitForCopies(int newest);  // all but the `newest` committed groups

enum class Access { read, write, atomic };
// Checks an access by the running thread; returns without a word when no kernel runs and the memory is the host's.
void checkAccess(const void *address, size_t size, Access access, const void *codeAddress);
[[noreturn]] void failAlignment(const void *address, size_t alignment, const char *file, uint32_t line);

// --- launches ------------------------------------------------------------------------------------
// A kernel with its arguments: what `run` reads of itself is allowed to a kernel (constant memory on a GPU).
struct Call {
  virtual ~Call() = default;
  virtual void run() const = 0;
  const void *kernel = nullptr;  // its address, for its name
  size_t bytes = 0;              // of the whole object
};
// Runs a launch to its end. False: it faulted, and `report` says how.
bool execute(const Call &call, Triple grid, Triple block, size_t sharedBytes, std::string *report);

// What a stream puts off until somebody waits for it, by an event or for the whole stream, and all that comes after it
// in that stream. The rest is done when it is asked for.
enum class Late { nothing, copies, kernels, all };

// How mma.sync sums, and whether ex2, lg2, rcp and rsqrt are off: as tensor cores of a generation, by published models
// (numerics.cpp), or as good as fp32 can be. Ampere's cut off most.
enum class Numerics { ampere, hopper, exact };

// How the emulation runs. The environment's SIMT_SEED, SIMT_WORKERS, SIMT_LATE (copies, kernels, all) and SIMT_NUMERICS
// (ampere, hopper, exact) say otherwise; the rest is for its own tests.
struct Settings {
  uint64_t seed = 1;                     // of the order of fibres and blocks
  int workers = 2;                       // system threads
  Late late = Late::nothing;             // copies to the device, or kernels
  Numerics numerics = Numerics::ampere;  // may change between launches
  size_t memoryBytes = size_t(4) << 30;  // the device's
};
Settings &settings();

}  // namespace simt
