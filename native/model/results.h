// Results of a pass in one block of backend memory, each at a multiple of 64 bytes, so that one download brings them
// all and the host waits once.
#pragma once

#include <vector>

#include "context.h"

namespace emoframe {

class Results {
 public:
  // Before `take`: that a result [rows, cols] is to be brought to `target`, which names it from then on.
  void add(std::vector<float> &target, int64_t rows, int64_t cols) {
    places_.push_back({&target, size_, rows, cols});
    size_ += (rows * cols + 15) / 16 * 16;
  }
  void take(const Context &context) { data_ = context.workspace.tensor(DType::f32, 1, size_); }
  View of(const std::vector<float> &target) const {  // f32 [rows, cols]
    for (const Place &place : places_) {
      if (place.target == &target) return matrix(data_.at(0, 0, place.first), DType::f32, place.rows, place.cols);
    }
    return {};
  }
  void download(const Context &context) const {
    std::vector<float> host(static_cast<size_t>(size_));
    context.backend.download(host.data(), data_.data, host.size() * sizeof(float));
    for (const Place &place : places_) {
      place.target->assign(host.begin() + place.first, host.begin() + place.first + place.rows * place.cols);
    }
  }

 private:
  struct Place {
    std::vector<float> *target;
    int64_t first, rows, cols;
  };
  std::vector<Place> places_;
  int64_t size_ = 0;
  View data_;
};

}  // namespace emoframe
