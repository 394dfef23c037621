// Between JavaScript values and C++ ones. The TypeScript side has validated; what is checked here is only what keeps
// the process safe if it had not.
#pragma once

#include <napi.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "environment.h"
#include "error.h"
#include "model/model.h"

namespace emoframe::addon {

inline Napi::Value need(const Napi::Object &object, const char *name) {
  Napi::Value value = object.Get(name);
  if (value.IsUndefined() || value.IsNull())
    throw Error("ERR_ARGUMENT", std::string("Expected a value for ") + name + " but received none.");
  return value;
}
inline bool has(const Napi::Object &object, const char *name) {
  Napi::Value value = object.Get(name);
  return !value.IsUndefined() && !value.IsNull();
}
inline Napi::Object asObject(const Napi::Value &value, const char *what) {
  if (!value.IsObject()) throw Error("ERR_ARGUMENT", std::string("Expected an object for ") + what + ".");
  return value.As<Napi::Object>();
}
inline double number(const Napi::Value &value, const char *what) {
  if (!value.IsNumber()) throw Error("ERR_ARGUMENT", std::string("Expected a number for ") + what + ".");
  return value.As<Napi::Number>().DoubleValue();
}
inline double number(const Napi::Object &object, const char *name) { return number(need(object, name), name); }
inline float real(const Napi::Object &object, const char *name) { return static_cast<float>(number(object, name)); }
inline int64_t integer(const Napi::Value &from, const char *what) {
  const double value = number(from, what);
  // Beyond 2^53 a double is no exact integer, and beyond 2^63 the conversion is undefined.
  if (!(std::abs(value) <= 9007199254740992.0) || value != std::trunc(value))
    throw Error("ERR_ARGUMENT", std::string("Expected an integer for ") + what + ".");
  return static_cast<int64_t>(value);
}
inline int64_t integer(const Napi::Object &object, const char *name) { return integer(need(object, name), name); }
inline bool boolean(const Napi::Object &object, const char *name) {
  Napi::Value value = need(object, name);
  if (!value.IsBoolean()) throw Error("ERR_ARGUMENT", std::string("Expected true or false for ") + name + ".");
  return value.As<Napi::Boolean>();
}
inline std::string text(const Napi::Value &value, const char *what) {
  if (!value.IsString()) throw Error("ERR_ARGUMENT", std::string("Expected a string for ") + what + ".");
  return value.As<Napi::String>();
}
inline std::string text(const Napi::Object &object, const char *name) { return text(need(object, name), name); }
// What a word stands for.
template <typename T>
T choice(const Napi::Value &value, const char *what, const std::vector<std::pair<std::string, T>> &choices) {
  const std::string word = text(value, what);
  std::string words;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (word == choices[i].first) return choices[i].second;
    words += (i == 0 ? "" : i + 1 < choices.size() ? ", " : " or ") + choices[i].first;
  }
  throw Error("ERR_ARGUMENT", "Expected " + words + " for " + what + " but received " + word + ".");
}

inline Napi::Array asList(const Napi::Value &value, const std::string &what) {
  if (!value.IsArray()) throw Error("ERR_ARGUMENT", "Expected a list of " + what + ".");
  return value.As<Napi::Array>();
}
inline std::vector<std::string> strings(const Napi::Value &value, const char *what) {
  const Napi::Array array = asList(value, std::string("strings for ") + what);
  std::vector<std::string> out;
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(text(array.Get(i), what));
  return out;
}
inline std::vector<int64_t> integers(const Napi::Object &object, const char *name) {
  const Napi::Array array = asList(need(object, name), std::string("numbers for ") + name);
  std::vector<int64_t> out;
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(integer(array.Get(i), name));
  return out;
}

// A layer of the transformer, or the model's output.
inline int64_t readLayer(const Napi::Value &value) {
  if (value.IsNumber()) return integer(value, "layer");
  if (!value.IsString() || text(value, "layer") != "output")
    throw Error("ERR_ARGUMENT", "Expected a number or output for layer.");
  return modelOutput;
}

// A typed array that takes over the vector's memory.
template <typename Array, typename T>
Array handOver(Napi::Env env, std::vector<T> &&given) {
  if (given.empty()) return Array::New(env, 0);
  const auto values = std::make_shared<std::vector<T>>(std::move(given));
  const size_t count = values->size(), bytes = count * sizeof(T);
  Environment::of(env).handedOver += bytes;
  const std::shared_ptr<void> memory(values, values->data());
  return Array::New(env, count, bufferOf(env, memory, bytes, bytes >= Environment::largeBytes), 0);
}
inline Napi::Float32Array floatArray(Napi::Env env, std::vector<float> &&values) {
  return handOver<Napi::Float32Array>(env, std::move(values));
}
inline Napi::Int32Array intArray(Napi::Env env, std::vector<int32_t> &&values) {
  return handOver<Napi::Int32Array>(env, std::move(values));
}
inline Napi::Object objectOf(Napi::Env env, const std::vector<std::pair<const char *, Napi::Value>> &properties) {
  Napi::Object object = Napi::Object::New(env);
  for (const auto &[name, value] : properties) object.Set(name, value);
  return object;
}
// Bytes of memory; SIZE_MAX, which says that no bound is known, is Infinity.
inline Napi::Number bytesNumber(Napi::Env env, size_t bytes) {
  return Napi::Number::New(env,
                           bytes == SIZE_MAX ? std::numeric_limits<double>::infinity() : static_cast<double>(bytes));
}
inline Napi::Array shapeArray(Napi::Env env, const std::vector<int64_t> &shape) {
  Napi::Array out = Napi::Array::New(env, shape.size());
  for (uint32_t i = 0; i < shape.size(); ++i) out.Set(i, Napi::Number::New(env, static_cast<double>(shape[i])));
  return out;
}

}  // namespace emoframe::addon
