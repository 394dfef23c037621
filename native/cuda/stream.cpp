#include "stream.h"

#include "../error.h"
#include "status.h"

namespace emoframe {

namespace {

[[noreturn]] void throwCutOff() {
  throw Error(
      "ERR_DEVICE_FAULT",
      "An earlier step was cut off in its midst, so what this engine holds can no longer be relied on: dispose of "
      "it, and start again from the last checkpoint with another.");
}

}  // namespace

Stream::Stream(bool asGraphs) : asGraphs_(asGraphs) {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  try {
    staging_ = std::make_unique<Staging>();
  } catch (...) {
    cudaStreamDestroy(stream_);
    throw;
  }
}

Stream::~Stream() {
  if (!stream_) return;
  cudaStreamSynchronize(stream_);
  staging_.reset();
  cudaStreamDestroy(stream_);
}

void Stream::launch(const Launch &launch) {
  if (!staging_) throwCutOff();
  constexpr size_t withoutAsking = 48 * 1024;
  if (launch.sharedBytes > withoutAsking) {
    check(cudaFuncSetAttribute(launch.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(launch.sharedBytes)));
  }
  if (inStep_) return commands_.add(launch);
  check(cudaLaunchKernel(launch.function, launch.grid, launch.block, launch.arguments, launch.sharedBytes, stream_));
}

void Stream::upload(void *target, const void *source, size_t bytes) {
  if (bytes == 0) return;
  if (!staging_ && !goesNowhere()) throwCutOff();
  if (inStep_) {
    const size_t offset = goesNowhere() ? stepStaging_.count(bytes) : stepStaging_.add(source, bytes);
    if (!goesNowhere()) commands_.add(Upload{target, offset, bytes});
  } else if (!goesNowhere()) {
    staging_->send(target, source, bytes, stream_);
  }
}

void Stream::beginStep() {
  stepStaging_.begin();
  inStep_ = goesNowhere() || asGraphs_;
}

void Stream::flush() {
  if (commands_.size() == 0) return;
  try {
    if (!graphs_.run(commands_, stepStaging_.memory(), stream_)) launchOneByOne();
    stepStaging_.sent(stream_);
  } catch (...) {
    // The host believes all of the step to be under way: weights made ready, gradients added up.
    commands_.clear();
    staging_.reset();
    throw;
  }
  commands_.clear();
}

void Stream::launchOneByOne() {
  for (size_t i = 0; i < commands_.size(); ++i) {
    if (commands_.isUpload(i)) {
      const Upload its = commands_.upload(i);
      check(
          cudaMemcpyAsync(its.target, stepStaging_.memory() + its.offset, its.bytes, cudaMemcpyHostToDevice, stream_));
    } else {
      const auto [function, grid, block, sharedBytes, arguments, extra] = commands_.kernel(i);
      check(cudaLaunchKernel(function, grid, block, arguments, sharedBytes, stream_));
    }
  }
}

void Stream::endStep() {
  inStep_ = false;
  flush();
}

void Stream::wait() {
  if (!stream_) return;
  flush();
  check(cudaStreamSynchronize(stream_));
}

size_t Stream::stagingBytes() const { return Staging::totalBytes + stepStaging_.bytes(); }

}  // namespace emoframe
