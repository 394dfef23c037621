// A lock that the kernel keeps with the open file. It ends with the process, however that ends, kill -9 included, so
// there are no stale locks and no process ids that were used again. Node has no call for it.
#include "file_lock.h"

#include <sys/file.h>

#include <cerrno>

#include "values.h"
#include "worker.h"

namespace emoframe::addon {

Napi::Value lockFile(const Napi::CallbackInfo &info) {
  const int64_t given = translating(info.Env(), [&] { return integer(info[0], "the descriptor of a file"); });
  const int descriptor = given == static_cast<int>(given) ? static_cast<int>(given) : -1;
  int result;
  do result = flock(descriptor, LOCK_EX | LOCK_NB);
  while (result != 0 && errno == EINTR);
  const char *outcome = result == 0 ? "taken" : errno == EWOULDBLOCK ? "busy" : "unsupported";
  return Napi::String::New(info.Env(), outcome);
}

}  // namespace emoframe::addon
