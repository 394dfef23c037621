#include "stream.h"

#include <algorithm>

#include "../error.h"
#include "status.h"

namespace emoframe {

Stream::Stream(bool asGraphs, size_t mostSharedBytes) : asGraphs_(asGraphs), mostSharedBytes_(mostSharedBytes) {
  try {
    CHECK_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    CHECK_CUDA(cudaStreamCreateWithFlags(&uploads_, cudaStreamNonBlocking));
    staging_ = std::make_unique<Staging>();
  } catch (...) {
    close();
    throw;
  }
}

Stream::~Stream() {
  if (!stream_) return;
  cudaStreamSynchronize(uploads_);
  cudaStreamSynchronize(stream_);
  staging_.reset();
  close();
}

void Stream::close() noexcept {
  if (uploads_) cudaStreamDestroy(uploads_);
  if (stream_) cudaStreamDestroy(stream_);
}

namespace {

constexpr const char *notWhole =
    "so what this engine holds can no longer be relied on: dispose of it, and start again from the last training state "
    "with another.";

}  // namespace

void Stream::keep(const char *what, cudaError_t status, const char *call) noexcept {
  if (status == cudaSuccess || broken_) return;
  cudaGetLastError();  // it is told by this stream from now on
  broken_ = what;
  try {
    why_ = describe(status, call);
  } catch (const std::bad_alloc &) {
    // Without a reason, then.
  }
}

void Stream::requireWhole() const {
  if (!broken_) return;
  throw Error("ERR_DEVICE_FAULT", std::string(broken_) + ", " + notWhole + " What failed: " + why_);
}

void Stream::launch(const Launch &launch) {
  requireWhole();
  allowShared(launch);
  if (!inStep_) {
    CHECK_CUDA(
        cudaLaunchKernel(launch.function, launch.grid, launch.block, launch.arguments, launch.sharedBytes, stream_));
    return;
  }
  commands_.add(launch);
  if (begun_ || commands_.size() < ahead) return;
  begun_ = true;
  flush();
}

// A kernel may have as much as there is, from the first time on: the device keeps one number for each, whichever stream
// asks and however long a launch that needs more has been waiting in a graph.
void Stream::allowShared(const Launch &launch) {
  constexpr size_t withoutAsking = 48 * 1024;
  if (launch.sharedBytes <= withoutAsking || sharing_.count(launch.function) > 0) return;
  cudaFuncAttributes attributes;
  CHECK_CUDA(cudaFuncGetAttributes(&attributes, launch.function));
  CHECK_CUDA(cudaFuncSetAttribute(launch.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(mostSharedBytes_ - attributes.sharedSizeBytes)));
  sharing_.insert(launch.function);
}

void Stream::upload(void *target, const void *source, size_t bytes) {
  if (bytes == 0 || goesNowhere()) return;
  requireWhole();
  flush();
  staging_->send(target, source, bytes, stream_);
}

void Stream::beginStep() {
  inStep_ = !goesNowhere() && asGraphs_;
  begun_ = false;
  way_ = Graphs::Way::tooFew;
}

void Stream::flush() {
  if (commands_.size() == 0) return;
  try {
    const Graphs::Way way = graphs_.run(commands_, stream_);
    if (way == Graphs::Way::tooFew || way == Graphs::Way::plain) launchOneByOne();
    way_ = std::max(way_, way);
  } catch (const Error &error) {
    // The host believes all of the step to be under way: weights made ready, gradients added up.
    cutOff(error.what());
    if (error.code == "ERR_DEVICE_FAULT") throw;
    throw Error("ERR_DEVICE_FAULT", std::string(error.what()) + " It interrupted a step, " + notWhole);
  } catch (const std::exception &error) {
    cutOff(error.what());
    throw;
  }
  commands_.clear();
}

void Stream::cutOff(const char *why) {
  commands_.clear();
  if (broken_) return;
  broken_ = "An earlier step was interrupted";
  why_ = why;
}

void Stream::launchOneByOne() {
  for (size_t i = 0; i < commands_.size(); ++i) {
    const auto [function, grid, block, sharedBytes, arguments, extra] = commands_.kernel(i);
    CHECK_CUDA(cudaLaunchKernel(function, grid, block, arguments, sharedBytes, stream_));
  }
}

void Stream::endStep() {
  inStep_ = false;
  flush();
  if (way_ == Graphs::Way::replayed) ++use_.replayed;
  if (way_ == Graphs::Way::made) ++use_.made;
  if (way_ == Graphs::Way::plain) ++use_.plain;
  way_ = Graphs::Way::tooFew;
}

GraphUse Stream::graphs() const {
  GraphUse use = use_;
  use.reason = graphs_.reason();
  return use;
}

void Stream::wait() {
  if (!stream_) return;
  requireWhole();
  flush();
  CHECK_CUDA(cudaStreamSynchronize(stream_));
}

}  // namespace emoframe
