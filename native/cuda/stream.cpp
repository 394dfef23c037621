#include "stream.h"

#include "status.h"

namespace emoframe {

Stream::Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }

Stream::~Stream() {
  if (stream_) cudaStreamDestroy(stream_);
}

void Stream::launch(const Launch &launch) {
  constexpr size_t withoutAsking = 48 * 1024;
  if (launch.sharedBytes > withoutAsking) {
    check(cudaFuncSetAttribute(launch.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(launch.sharedBytes)));
  }
  check(cudaLaunchKernel(launch.function, launch.grid, launch.block, launch.arguments, launch.sharedBytes, stream_));
}

void Stream::wait() {
  if (stream_) check(cudaStreamSynchronize(stream_));
}

}  // namespace emoframe
