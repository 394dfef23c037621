// Typed strided views: where the tensors of an op lie. A view owns nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emoframe {

enum class DType : uint8_t { f32, bf16 };

inline size_t sizeOf(DType dtype) { return dtype == DType::f32 ? 4 : 2; }

// [batch, rows, cols]. A matrix has batch 1; a vector is one row. Strides count elements. Rows may overlap
// (rowStride < cols): a convolution is a product over such a view. One of rowStride and colStride is 1.
struct View {
  void *data = nullptr;
  DType dtype = DType::f32;
  int64_t batch = 1, rows = 0, cols = 0;
  int64_t batchStride = 0, rowStride = 0, colStride = 1;

  explicit operator bool() const { return data != nullptr; }
  int64_t size() const { return batch * rows * cols; }

  // Whether its elements lie one after another, row by row.
  bool isContiguous() const {
    return (colStride == 1 || cols == 1) && (rowStride == cols || rows == 1) &&
           (batchStride == rows * cols || batch == 1);
  }

  template <typename T>
  T *as() const {
    return static_cast<T *>(data);
  }

  // The address of element (b, r, c).
  void *at(int64_t b, int64_t r, int64_t c) const {
    return static_cast<char *>(data) +
           static_cast<int64_t>(sizeOf(dtype)) * (b * batchStride + r * rowStride + c * colStride);
  }
  View rowRange(int64_t begin, int64_t count) const {
    View v = *this;
    v.data = at(0, begin, 0);
    v.rows = count;
    return v;
  }
  View colRange(int64_t begin, int64_t count) const {
    View v = *this;
    v.data = at(0, 0, begin);
    v.cols = count;
    return v;
  }
  View item(int64_t b) const {
    View v = *this;
    v.data = at(b, 0, 0);
    v.batch = 1;
    v.batchStride = 0;
    return v;
  }
  View transposed() const {
    View v = *this;
    v.rows = cols;
    v.cols = rows;
    v.rowStride = colStride;
    v.colStride = rowStride;
    return v;
  }
};

inline View matrix(void *data, DType dtype, int64_t rows, int64_t cols, int64_t rowStride) {
  return {data, dtype, 1, rows, cols, 0, rowStride, 1};
}
inline View matrix(void *data, DType dtype, int64_t rows, int64_t cols) {
  return matrix(data, dtype, rows, cols, cols);
}
inline View vector(void *data, DType dtype, int64_t size) { return matrix(data, dtype, 1, size, size); }
inline View batched(void *data, DType dtype, int64_t batch, int64_t rows, int64_t cols, int64_t batchStride,
                    int64_t rowStride) {
  return {data, dtype, batch, rows, cols, batchStride, rowStride, 1};
}

}  // namespace emoframe
