#pragma once

#include <napi.h>

namespace emoframe::addon {

// largeFloats(count): a Float32Array of zeros whose memory is given back off the event loop's thread; undefined where
// there is not so much.
Napi::Value largeFloats(const Napi::CallbackInfo &info);

}  // namespace emoframe::addon
