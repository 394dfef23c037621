// Names what the host does from here to the end of the block in Nsight's timelines, if one of its tools watches this
// process; costs next to nothing if none does. The library of NVTX is all in its headers: it looks for the tool when it
// is first called.
#pragma once

#include <string>
#if defined(EMOFRAME_CUDA) && __has_include(<nvtx3/nvToolsExt.h>)
#define EMOFRAME_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

namespace emoframe {

class NvtxRange {
 public:
#ifdef EMOFRAME_NVTX
  explicit NvtxRange(const std::string &name) { nvtxRangePushA(name.c_str()); }
  ~NvtxRange() { nvtxRangePop(); }
#else
  explicit NvtxRange(const std::string &) {}
#endif
  NvtxRange(const NvtxRange &) = delete;
  NvtxRange &operator=(const NvtxRange &) = delete;
};

}  // namespace emoframe
