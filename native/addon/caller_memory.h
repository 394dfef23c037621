// The one rule for typed arrays that come from JavaScript. A call's work is done later and on another thread, while the
// caller may write to an array, shrink its buffer, transfer or detach it. A reference would keep the array, but not its
// memory. So what work reads is copied before the call returns: in the same step in which the array is looked at, as a
// getter of the next argument may already change it. Only memory that the addon made is held in place of a copy
// (own_memory.h), and only memory that is shared between threads, which cannot shrink or be detached, is written while
// work goes on.
#pragma once

#include <napi.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "environment.h"
#include "error.h"

namespace emoframe::addon {

template <typename T>
struct ElementType;
template <>
struct ElementType<float> {
  static constexpr napi_typedarray_type type = napi_float32_array;
  static constexpr const char *name = "Float32Array";
};
template <>
struct ElementType<double> {
  static constexpr napi_typedarray_type type = napi_float64_array;
  static constexpr const char *name = "Float64Array";
};
template <>
struct ElementType<int32_t> {
  static constexpr napi_typedarray_type type = napi_int32_array;
  static constexpr const char *name = "Int32Array";
};
template <>
struct ElementType<uint8_t> {
  static constexpr napi_typedarray_type type = napi_uint8_array;
  static constexpr const char *name = "Uint8Array";
};

// What a typed array is at this moment. Anything that runs JavaScript makes it out of date.
template <typename T>
struct Seen {
  T *data = nullptr;
  size_t count = 0;
  bool shared = false;
};

template <typename T>
Seen<T> look(const Napi::Value &value, const char *what) {
  napi_typedarray_type type{};
  void *data = nullptr;
  napi_value buffer = nullptr;
  Seen<T> seen;
  const napi_env env = value.Env();
  if (!value.IsTypedArray() ||
      napi_get_typedarray_info(env, value, &type, &seen.count, &data, &buffer, nullptr) != napi_ok ||
      type != ElementType<T>::type)
    throw Error("ERR_ARGUMENT", std::string("Expected a ") + ElementType<T>::name + " for " + what + ".");
  bool detached = false, plain = false;
  if (napi_is_detached_arraybuffer(env, buffer, &detached) == napi_ok && detached) {
    throw Error("ERR_ARGUMENT",
                std::string("The buffer of ") + what +
                    " is detached: it was transferred elsewhere. Give an array that this thread still has, "
                    "or transfer a copy.");
  }
  seen.shared = napi_is_arraybuffer(env, buffer, &plain) == napi_ok && !plain;
  seen.data = static_cast<T *>(data);
  return seen;
}

// Values of the caller that work may read at any time.
template <typename T>
class Given {
 public:
  Given() = default;
  Given(const Napi::Value &value, const char *what) {
    const Seen<T> seen = look<T>(value, what);
    count_ = seen.count;
    if (count_ == 0) return;
    if (auto own = Environment::of(value.Env()).ownMemory->find(seen.data, count_ * sizeof(T))) {
      values_ = std::shared_ptr<const T>(std::move(own), seen.data);
      return;
    }
    void *copy = std::malloc(count_ * sizeof(T));
    if (copy == nullptr) throw std::bad_alloc();
    std::memcpy(copy, seen.data, count_ * sizeof(T));
    values_ = std::shared_ptr<const T>(static_cast<const T *>(copy), [](const T *p) { std::free(const_cast<T *>(p)); });
  }
  // Good as long as this or a copy of it.
  const T *data() const { return values_.get(); }
  int64_t count() const { return static_cast<int64_t>(count_); }
  std::vector<T> list() const { return std::vector<T>(data(), data() + count_); }
  std::shared_ptr<const void> memory() const { return values_; }

 private:
  std::shared_ptr<const T> values_;
  size_t count_ = 0;
};

using Floats = Given<float>;
using Ints = Given<int32_t>;

// Few values that work writes, or the caller does, while the other reads them: where they lie, for as long as something
// refers to the array.
template <typename T>
T *liveValues(const Napi::Value &value, size_t count, const char *what) {
  const Seen<T> seen = look<T>(value, what);
  if (!seen.shared || seen.count != count) {
    throw Error("ERR_ARGUMENT", std::string("Expected a ") + ElementType<T>::name + " of length " +
                                    std::to_string(count) + " in a SharedArrayBuffer for " + what + ".");
  }
  return seen.data;
}

}  // namespace emoframe::addon
