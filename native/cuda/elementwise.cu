// Elementwise ops: fill, convert, add, scale, dropout, GELU, tanh and ReLU with their gradients. All are bound by the
// bytes that they move: each element is read once and written once, 16 bytes a thread where the rows
// allow it. GELU adds about 15 instructions an element, dropout an eighth of a Philox block (about 8
// integer operations), both below what memory takes.
//
// Views whose elements lie without gaps become one long row first; element indices row · cols + col stay the same.
#include <string>

#include "../error.h"
#include "backend.h"
#include "divisor.cuh"
#include "elements.cuh"
#include "launch.cuh"

namespace emoframe {

namespace {

constexpr int threads = 256;

// The common shape of an op's views, rows of all batch items counting on, cut into vectors
// of `width` columns: one for each thread.
struct Extent {
  Extent(const View &view, int width)
      : cols(view.cols),
        vectors(view.batch * view.rows * ((cols + width - 1) / width)),
        rowsPerItem(view.rows),
        vectorsPerRow((cols + width - 1) / width) {
    if (vectors > INT32_MAX) {
      throw Error("ERR_DEVICE", "A tensor of " + std::to_string(view.size()) +
                                    " elements is more than one operation of the GPU backend takes");
    }
  }
  uint32_t blocks() const { return blocksFor(vectors, threads); }

  int64_t cols, vectors;
  Divisor rowsPerItem, vectorsPerRow;
};

// A thread's vector.
struct Place {
  int64_t batch, row, column, count, first;  // count: of columns that there are; first: the element's index

  // False: past the end.
  __device__ static bool find(const Extent &extent, int width, Place &place) {
    const uint32_t index = blockIdx.x * threads + threadIdx.x;
    if (index >= extent.vectors) return false;
    const uint32_t row = extent.vectorsPerRow.quotient(index), item = extent.rowsPerItem.quotient(row);
    place.batch = item;
    place.row = row - item * extent.rowsPerItem.value();
    place.column = static_cast<int64_t>(index - row * extent.vectorsPerRow.value()) * width;
    place.count = extent.cols - place.column < width ? extent.cols - place.column : width;
    place.first = row * extent.cols + place.column;
    return true;
  }
};

// --- one to one ----------------------------------------------------------------------------------
// Each: `void operator()(float (&values)[n], const float (&others)[n], uint64_t first)` makes the outputs of the inputs
// in place; `inputs` 0, 1 or 2 says which are there. The output may be an input.
template <typename T, int inputs, typename Each>
__global__ void __launch_bounds__(threads)
    mapKernel(Extent extent, Strided<const T> one, Strided<const T> two, Strided<T> out, bool aligned, Each each) {
  constexpr int width = 16 / sizeof(T);
  Place place;
  if (!Place::find(extent, width, place)) return;
  float values[width] = {}, others[width] = {};
  if (inputs >= 1) {
    loadSome(one.at(place.batch, place.row, place.column), one.colStride, place.count, aligned, values);
  }
  if (inputs >= 2) {
    loadSome(two.at(place.batch, place.row, place.column), two.colStride, place.count, aligned, others);
  }
  each(values, others, static_cast<uint64_t>(place.first));
  storeSome(out.at(place.batch, place.row, place.column), out.colStride, place.count, aligned, values);
}

struct FillEach {
  float value;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&)[n], uint64_t) const {
    for (int i = 0; i < n; ++i) values[i] = value;
  }
};
struct AddEach {
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&others)[n], uint64_t) const {
    for (int i = 0; i < n; ++i) values[i] += others[i];
  }
};
struct ScaleEach {
  float factor;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&)[n], uint64_t) const {
    for (int i = 0; i < n; ++i) values[i] *= factor;
  }
};
struct DropEach {
  Dropout dropout;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&)[n], uint64_t first) const {
    applyDropout(dropout, first, values);
  }
};
struct GeluEach {
  Dropout dropout;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&)[n], uint64_t first) const {
    for (int i = 0; i < n; ++i) values[i] = geluOf(values[i]);
    if (dropout.p > 0) applyDropout(dropout, first, values);
  }
};
// Of dy, with x beside it.
struct GeluGradientEach {
  Dropout dropout;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&others)[n], uint64_t first) const {
    if (dropout.p > 0) applyDropout(dropout, first, values);
    for (int i = 0; i < n; ++i) values[i] *= geluSlope(others[i]);
  }
};
// NaN stays NaN, which a maximum would not see to.
struct ActivateEach {
  bool tanh;  // or else ReLU
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&)[n], uint64_t) const {
    for (int i = 0; i < n; ++i) values[i] = tanh ? tanhf(values[i]) : values[i] <= 0 ? 0.0f : values[i];
  }
};
// Of dy, with y beside it.
struct ActivateGradientEach {
  bool tanh;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&others)[n], uint64_t) const {
    for (int i = 0; i < n; ++i) {
      values[i] = tanh ? (1 - others[i] * others[i]) * values[i] : others[i] > 0 ? values[i] : 0.0f;
    }
  }
};

// One long row, if the views allow it.
bool flatten(View &a, View &b, View &out) {
  for (const View *view : {&a, &b, &out}) {
    if (*view && !view->isContiguous()) return false;
  }
  const int64_t size = out.size();
  for (View *view : {&a, &b, &out}) {
    if (*view) *view = vector(view->data, view->dtype, size);
  }
  return true;
}

template <int inputs, typename Each>
void map(Stream &stream, View a, View b, View out, const Each &each) {
  if (out.size() == 0) return;
  flatten(a, b, out);
  const bool aligned = rowsAligned(a) && rowsAligned(b) && rowsAligned(out);
  withType(out.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    const Extent extent(out, 16 / sizeof(T));
    launch(mapKernel<T, inputs, Each>, extent.blocks(), threads, 0, stream, extent, strided<const T>(a),
           strided<const T>(b), strided<T>(out), aligned, each);
  });
}

// --- columns -------------------------------------------------------------------------------------
// Columns' means and factors, a few kilobytes, stay in the caches.
template <typename T>
__global__ void __launch_bounds__(threads) standardizeKernel(Extent extent, Strided<const T> in, const float *mean,
                                                             const float *factor, Strided<T> out, bool aligned) {
  constexpr int width = 16 / sizeof(T);
  Place place;
  if (!Place::find(extent, width, place)) return;
  float values[width];
  loadSome(in.at(place.batch, place.row, place.column), in.colStride, place.count, aligned, values);
#pragma unroll
  for (int i = 0; i < width; ++i) {
    if (i >= place.count) break;
    values[i] = (values[i] - (mean ? mean[place.column + i] : 0.0f)) * factor[place.column + i];
  }
  storeSome(out.at(place.batch, place.row, place.column), out.colStride, place.count, aligned, values);
}

// --- conversion ----------------------------------------------------------------------------------
constexpr int convertWidth = 8;

template <typename From, typename To>
__global__ void __launch_bounds__(threads)
    convertKernel(Extent extent, Strided<const From> in, Strided<To> out, bool aligned) {
  Place place;
  if (!Place::find(extent, convertWidth, place)) return;
  float values[convertWidth];
  loadSome(in.at(place.batch, place.row, place.column), in.colStride, place.count, aligned, values);
  storeSome(out.at(place.batch, place.row, place.column), out.colStride, place.count, aligned, values);
}

// Where one side's rows are contiguous and the other's columns: through a tile, so that both are read along their
// memory. Columns of `in` and rows of `out` are contiguous. Block (32, 8); a row of the tile has one word more, so that
// a column of it lies in all banks.
constexpr int tile = 32;
template <typename From, typename To>
__global__ void __launch_bounds__(tile * 8)
    transposeKernel(int64_t rows, int64_t cols, Divisor rowTiles, Strided<const From> in, Strided<To> out) {
  auto *values = reinterpret_cast<float *>(sharedMemory());
  const uint32_t batch = rowTiles.quotient(blockIdx.x);
  const int64_t row = static_cast<int64_t>(blockIdx.x - batch * rowTiles.value()) * tile;
  const int64_t column = static_cast<int64_t>(blockIdx.y) * tile;
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  for (int i = y; i < tile; i += 8) {  // along the rows of the view, which `in` has side by side
    if (row + x < rows && column + i < cols) {
      values[i * (tile + 1) + x] = toFloat(*in.at(batch, row + x, column + i));
    }
  }
  __syncthreads();
  for (int i = y; i < tile; i += 8) {
    if (row + i < rows && column + x < cols) {
      *out.at(batch, row + i, column + x) = fromFloat<To>(values[x * (tile + 1) + i]);
    }
  }
}

}  // namespace

template <>
void CudaBackend::perform(const Fill &op) {
  map<0>(stream(), View(), View(), op.out, FillEach{op.value});
}

template <>
void CudaBackend::perform(const Convert &op) {
  View x = op.in, y = op.out;
  if (x.size() == 0) return;
  // Columns of the output side by side, in any case.
  if (y.colStride != 1) x = x.transposed(), y = y.transposed();
  const bool turned = x.colStride != 1 && x.rowStride == 1;
  if (x.isContiguous() && y.isContiguous()) {
    x = vector(x.data, x.dtype, x.size());
    y = vector(y.data, y.dtype, y.size());
  }
  withType(x.dtype, [&](auto from) {
    withType(y.dtype, [&](auto to) {
      using From = typename decltype(from)::Type;
      using To = typename decltype(to)::Type;
      if (turned) {
        const uint32_t rowTiles = blocksFor(y.rows, tile);
        const dim3 grid(rowTiles * static_cast<uint32_t>(y.batch), blocksFor(y.cols, tile));
        launch(transposeKernel<From, To>, grid, dim3(tile, 8), tile * (tile + 1) * sizeof(float), stream(), y.rows,
               y.cols, Divisor(rowTiles), strided<const From>(x), strided<To>(y));
      } else {
        const Extent extent(y, convertWidth);
        launch(convertKernel<From, To>, extent.blocks(), threads, 0, stream(), extent, strided<const From>(x),
               strided<To>(y), rowsAligned(x) && rowsAligned(y));
      }
    });
  });
}

template <>
void CudaBackend::perform(const Add &op) {
  map<2>(stream(), op.a, op.b, op.out, AddEach{});
}

template <>
void CudaBackend::perform(const Scale &op) {
  map<1>(stream(), op.x, View(), op.x, ScaleEach{op.factor});
}

template <>
void CudaBackend::perform(const StandardizeColumns &op) {
  if (op.x.size() == 0) return;
  withType(op.x.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    const Extent extent(op.out, 16 / sizeof(T));
    launch(standardizeKernel<T>, extent.blocks(), threads, 0, stream(), extent, strided<const T>(op.x),
           op.mean ? op.mean.as<float>() : nullptr, op.factor.as<float>(), strided<T>(op.out),
           rowsAligned(op.x) && rowsAligned(op.out));
  });
}

template <>
void CudaBackend::perform(const ApplyDropout &op) {
  if (op.dropout.p > 0) {
    map<1>(stream(), op.x, View(), op.out, DropEach{op.dropout});
  } else if (op.x.data != op.out.data) {
    perform(Convert{op.x, op.out});
  }
}

template <>
void CudaBackend::perform(const Gelu &op) {
  map<1>(stream(), op.x, View(), op.y, GeluEach{op.dropout});
}

template <>
void CudaBackend::perform(const GeluBackward &op) {
  map<2>(stream(), op.dy, op.x, op.dx, GeluGradientEach{op.dropout});
}

template <>
void CudaBackend::perform(const Activate &op) {
  if (op.activation != Activation::none) {
    map<1>(stream(), op.x, View(), op.y, ActivateEach{op.activation == Activation::tanh});
  } else if (op.x.data != op.y.data) {
    perform(Convert{op.x, op.y});
  }
}

template <>
void CudaBackend::perform(const ActivateBackward &op) {
  if (op.activation != Activation::none) {
    map<2>(stream(), op.dy, op.y, op.dx, ActivateGradientEach{op.activation == Activation::tanh});
  } else if (op.dy.data != op.dx.data) {
    perform(Convert{op.dy, op.dx});
  }
}

}  // namespace emoframe
