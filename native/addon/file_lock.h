#pragma once

#include <napi.h>

namespace emoframe::addon {

// lockFile(descriptor): takes an exclusive lock on an open file, without waiting: "taken", "busy" when another holds
// it, or "unsupported" where the file system has no locks.
Napi::Value lockFile(const Napi::CallbackInfo &info);

}  // namespace emoframe::addon
