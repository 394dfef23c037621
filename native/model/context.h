// What every layer needs to run: where, with which memory, and which randomness.
#pragma once

#include "parameters.h"
#include "workspace.h"

namespace emoframe {

struct Context {
  Backend &backend;
  Workspace &workspace;
  Parameters &parameters;
  DType dtype = DType::f32;  // of activations
  bool tf32 = false;         // products of activations that are f32 are of tf32
  bool training = false;     // backward follows: keep what it needs; weights change, so do not keep packed copies
  bool dropping = false;
  uint64_t seed = 0;
  uint32_t step = 0;

  Dropout dropout(float p, uint32_t site) const { return {dropping ? p : 0.f, seed, step, site}; }
  void run(const Op &op) const { backend.run(op); }
  View tensor(int64_t rows, int64_t cols) const { return workspace.tensor(dtype, rows, cols); }  // of activations
  View tensor(int64_t batch, int64_t rows, int64_t cols) const { return workspace.tensor(dtype, batch, rows, cols); }
  // Of activations: out = a · b, or += where it accumulates.
  Gemm product(const View &a, const View &b, const View &out, bool accumulate = false) const {
    Gemm gemm{a, b, out, accumulate};
    gemm.tf32 = tf32;
    return gemm;
  }
  uint64_t key(int32_t weight) const { return training ? 0 : parameters.key(weight); }
};

// Places that draw random numbers. A stream is (seed, step, site), so no two places may share a number.
namespace site {
constexpr uint32_t model = 0x4D000000;
constexpr uint32_t projection = model, embedding = model + 1, classifier = model + 2;
enum Kind : uint32_t { layerdrop, attention, attentionOutput, activation, feedForwardOutput, alignment };
constexpr uint32_t dense(int64_t index) { return model + 0x01000000 + static_cast<uint32_t>(index); }
constexpr uint32_t layer(int64_t index, Kind kind) { return model + 8 + static_cast<uint32_t>(index) * 8 + kind; }
}  // namespace site

}  // namespace emoframe
