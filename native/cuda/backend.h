// The CUDA backend: hand-written kernels, one op family a file beside this one, each file its kernels and, for each op
// of the family, the CudaBackend::perform that launches them.
//
// How a family is written
// - Kernels are plain C++ with raw pointers and their sizes. They are compiled by nvcc for a GPU and, unchanged, by g++
//   for the emulation of test/simt, which runs the op table on them and checks every access. So nothing that only nvcc
//   knows beside __global__, __device__, __syncthreads, __syncwarp and the built-in indices: the rest is in ptx.cuh
//   (PTX and intrinsics), elements.cuh (views, vectors, GELU, dropout) and reduce.cuh (fixed trees).
// - Shared memory is what the launch gives, through sharedMemory(). Vectors are loaded through float4, uint2, uint4
//   (loadVector, storeVector); memcpy between memories is not used, nor are atomics on floating point.
// - Blocks of one launch never hand data to each other: a second launch does what comes after. Results must not depend
//   on the number of blocks or SMs: partial sums are cut by the shape alone and added in a fixed order.
// - A `perform` takes its stream by stream() and launches with launch() (launch.cuh), and with nothing else: so the
//   same code only counts what it takes where the stream leads nowhere. Temporary memory comes from scratch(), one call
//   an op, whose size follows from the shapes alone. It never waits for the device and uploads nothing.
// - Empty inputs are legal: launch() ignores an empty grid.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../backend.h"
#include "../memory_account.h"
#include "stream.h"

namespace emoframe {

// The address of one of them, which says whether those of this build run on a device (optimiser.cu).
const void *anyKernel();

class CudaBackend final : public Backend {
 public:
  // Device `index`. ERR_DEVICE_DRIVER, ERR_DEVICE, ERR_DEVICE_UNSUPPORTED say why it cannot be used.
  CudaBackend(int32_t index, const BackendOptions &options);
  ~CudaBackend() override;

  std::string name() const override;
  std::string path() const override;
  void *allocate(size_t bytes) override;
  void release(void *pointer) noexcept override;
  // Blocks need to be large: a product of a few thousand rows does not fill a GPU.
  size_t blockBytes() const override { return size_t{1} << 30; }
  const void *readable(const void *) override { return nullptr; }
  // Kernels read weights as they are, and parts of an allocation cannot be given back.
  bool takeWeight(const View &, uint64_t) override { return false; }
  bool multipliesTf32() const override { return true; }
  void discard(void *, size_t) override {}
  void upload(void *target, const void *hostSource, size_t bytes) override;
  void download(void *hostTarget, const void *source, size_t bytes) override;
  void synchronize() override;
  std::unique_ptr<UploadStream> uploadStream() override;
  void whileWaiting(std::function<void()> idle) override { idle_ = std::move(idle); }
  MemoryUse memory() const override;
  std::unique_ptr<Backend> counting() const override;
  void reserveScratch(size_t bytes) override;
  void beginStep() override;
  void endStep() override;
  GraphUse graphs() const override;
  // For events that time ops (bench/native).
  cudaStream_t streamHandle() const { return stream_->handle(); }
  void run(const Op &op) override;

 private:
  // Specialised for each op in the file of its family: an op without one does not link.
  template <typename T>
  void perform(const T &op);

  struct Counting {};
  CudaBackend(const CudaBackend &counted, Counting);  // what counting() gives

  // For ops. The stream that all ops run on, in order; makes the device current for this thread.
  Stream &stream();
  // Memory for one op's temporaries, 256-byte aligned and not cleared, until the next op that asks.
  void *scratch(size_t bytes);
  int32_t multiprocessors() const { return multiprocessors_; }

  void requireKernels(const cudaDeviceProp &properties) const;
  void openMemory();
  void close() noexcept;
  void *take(size_t bytes);
  void giveBack(void *pointer, size_t bytes) noexcept;
  void growScratch(size_t bytes);

  int32_t index_;
  std::string description_;  // "NVIDIA H100 80GB HBM3"
  int32_t multiprocessors_ = 0;
  std::unique_ptr<Stream> stream_;
  cudaMemPool_t pool_ = nullptr;
  std::unique_ptr<ImaginaryMemory> imaginary_;  // in place of the pool, when only counting
  MemoryAccount account_;                       // of what was taken from the pool
  std::map<void *, size_t> allocations_;
  void *scratch_ = nullptr;
  size_t scratchBytes_ = 0;
  std::function<void()> idle_;  // whileWaiting's
};

}  // namespace emoframe
