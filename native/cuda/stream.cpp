#include "stream.h"

#include <algorithm>

#include "../error.h"
#include "status.h"

namespace emoframe {

Stream::Stream(bool asGraphs, size_t mostSharedBytes) : asGraphs_(asGraphs), mostSharedBytes_(mostSharedBytes) {
  try {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    check(cudaStreamCreateWithFlags(&uploads_, cudaStreamNonBlocking));
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

void Stream::requireWhole() const {
  if (staging_) return;
  throw Error("ERR_DEVICE_FAULT", std::string("An earlier step was interrupted, ") + notWhole);
}

void Stream::launch(const Launch &launch) {
  requireWhole();
  allowShared(launch);
  if (!inStep_) {
    check(cudaLaunchKernel(launch.function, launch.grid, launch.block, launch.arguments, launch.sharedBytes, stream_));
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
  check(cudaFuncGetAttributes(&attributes, launch.function));
  check(cudaFuncSetAttribute(launch.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
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
    commands_.clear();
    staging_.reset();
    if (error.code == "ERR_DEVICE_FAULT") throw;
    throw Error("ERR_DEVICE_FAULT", std::string(error.what()) + " It interrupted a step, " + notWhole);
  } catch (...) {
    commands_.clear();
    staging_.reset();
    throw;
  }
  commands_.clear();
}

void Stream::launchOneByOne() {
  for (size_t i = 0; i < commands_.size(); ++i) {
    const auto [function, grid, block, sharedBytes, arguments, extra] = commands_.kernel(i);
    check(cudaLaunchKernel(function, grid, block, arguments, sharedBytes, stream_));
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
  flush();
  check(cudaStreamSynchronize(stream_));
}

}  // namespace emoframe
