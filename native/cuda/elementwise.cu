// Elementwise ops: fill, convert, add, scale, dropout, GELU and its gradient. All are bound by the bytes that they
// move: each element is read once and written once, 16 bytes a thread where the rows allow it. GELU adds about 15
// instructions an element, dropout a quarter of a Philox block an element (about 15 integer operations), both below
// what memory takes.
//
// Views whose elements lie without gaps become one long row first; element indices row · cols + col stay the same.
#include "backend.h"
#include "elements.cuh"
#include "launch.cuh"

namespace emoframe {

namespace {

constexpr int threads = 256;

// The common shape of an op's views; rows of all batch items count on.
struct Extent {
  int64_t batch, rows, cols;
};

// Thread i takes `width` columns of one row of all views.
template <int width>
struct Place {
  int64_t batch, row, column, count, first;  // count <= width: columns that there are; first: the element's index

  // False: past the end.
  __device__ static bool find(const Extent &extent, Place &place) {
    const int64_t index = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
    const int64_t perRow = (extent.cols + width - 1) / width;
    const int64_t row = index / perRow;
    if (row >= extent.batch * extent.rows) return false;
    place.batch = row / extent.rows;
    place.row = row - place.batch * extent.rows;
    place.column = (index - row * perRow) * width;
    place.count = extent.cols - place.column < width ? extent.cols - place.column : width;
    place.first = row * extent.cols + place.column;
    return true;
  }
};
uint32_t blocksOf(const Extent &extent, int width) {
  return blocksFor(extent.batch * extent.rows * ((extent.cols + width - 1) / width), threads);
}

// --- one to one ----------------------------------------------------------------------------------
// Op: `void operator()(float (&values)[n], const float (&others)[n], uint64_t first)` makes the outputs of the inputs
// in place; `inputs` 0, 1 or 2 says which are there. The output may be an input.
template <typename T, int inputs, typename Op>
__global__ void __launch_bounds__(threads)
    mapKernel(Extent extent, Strided<const T> one, Strided<const T> two, Strided<T> out, bool aligned, Op op) {
  constexpr int width = 16 / sizeof(T);
  Place<width> place;
  if (!Place<width>::find(extent, place)) return;
  float values[width] = {}, others[width] = {};
  if (inputs >= 1) {
    loadSome(one.at(place.batch, place.row, place.column), one.colStride, place.count, aligned, values);
  }
  if (inputs >= 2) {
    loadSome(two.at(place.batch, place.row, place.column), two.colStride, place.count, aligned, others);
  }
  op(values, others, static_cast<uint64_t>(place.first));
  storeSome(out.at(place.batch, place.row, place.column), out.colStride, place.count, aligned, values);
}

struct Fill {
  float value;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&)[n], uint64_t) const {
    for (int i = 0; i < n; ++i) values[i] = value;
  }
};
struct Add {
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&others)[n], uint64_t) const {
    for (int i = 0; i < n; ++i) values[i] += others[i];
  }
};
struct Scale {
  float factor;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&)[n], uint64_t) const {
    for (int i = 0; i < n; ++i) values[i] *= factor;
  }
};
struct Drop {
  Dropout dropout;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&)[n], uint64_t first) const {
    applyDropout(dropout, first, values);
  }
};
struct Gelu {
  Dropout dropout;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&)[n], uint64_t first) const {
    for (int i = 0; i < n; ++i) values[i] = geluOf(values[i]);
    if (dropout.p > 0) applyDropout(dropout, first, values);
  }
};
// Of dy, with x beside it.
struct GeluGradient {
  Dropout dropout;
  template <int n>
  __device__ void operator()(float (&values)[n], const float (&others)[n], uint64_t first) const {
    if (dropout.p > 0) applyDropout(dropout, first, values);
    for (int i = 0; i < n; ++i) values[i] *= geluSlope(others[i]);
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

template <int inputs, typename Op>
void map(Stream &stream, View a, View b, View out, const Op &op) {
  if (out.size() == 0) return;
  flatten(a, b, out);
  const Extent extent{out.batch, out.rows, out.cols};
  const bool aligned = rowsAligned(a) && rowsAligned(b) && rowsAligned(out);
  withType(out.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    launch(mapKernel<T, inputs, Op>, blocksOf(extent, 16 / sizeof(T)), threads, 0, stream, extent, strided<const T>(a),
           strided<const T>(b), strided<T>(out), aligned, op);
  });
}

// --- conversion ----------------------------------------------------------------------------------
constexpr int convertWidth = 8;

template <typename From, typename To>
__global__ void __launch_bounds__(threads)
    convertKernel(Extent extent, Strided<const From> in, Strided<To> out, bool aligned) {
  Place<convertWidth> place;
  if (!Place<convertWidth>::find(extent, place)) return;
  float values[convertWidth];
  loadSome(in.at(place.batch, place.row, place.column), in.colStride, place.count, aligned, values);
  storeSome(out.at(place.batch, place.row, place.column), out.colStride, place.count, aligned, values);
}

// Where one side's rows are contiguous and the other's columns: through a tile, so that both are read along their
// memory. Columns of `in` and rows of `out` are contiguous. Block (32, 8); a row of the tile has one word more, so that
// a column of it lies in all banks.
constexpr int tile = 32;
template <typename From, typename To>
__global__ void __launch_bounds__(tile * 8) transposeKernel(Extent extent, Strided<const From> in, Strided<To> out) {
  auto *values = reinterpret_cast<float *>(sharedMemory());
  const int64_t rowTiles = (extent.rows + tile - 1) / tile;
  const int64_t batch = blockIdx.x / rowTiles, row = (blockIdx.x - batch * rowTiles) * tile;
  const int64_t column = static_cast<int64_t>(blockIdx.y) * tile;
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  for (int i = y; i < tile; i += 8) {  // along the rows of the view, which `in` has side by side
    if (row + x < extent.rows && column + i < extent.cols) {
      values[i * (tile + 1) + x] = toFloat(*in.at(batch, row + x, column + i));
    }
  }
  __syncthreads();
  for (int i = y; i < tile; i += 8) {
    if (row + i < extent.rows && column + x < extent.cols) {
      *out.at(batch, row + i, column + x) = fromFloat<To>(values[x * (tile + 1) + i]);
    }
  }
}

}  // namespace

void CudaBackend::fill(const View &out, float value) { map<0>(stream(), View(), View(), out, Fill{value}); }

void CudaBackend::convert(const View &in, const View &out) {
  View x = in, y = out;
  if (x.size() == 0) return;
  // Columns of the output side by side, in any case.
  if (y.colStride != 1) x = x.transposed(), y = y.transposed();
  const bool turned = x.colStride != 1 && x.rowStride == 1;
  if (x.isContiguous() && y.isContiguous()) {
    x = vector(x.data, x.dtype, x.size());
    y = vector(y.data, y.dtype, y.size());
  }
  const Extent extent{y.batch, y.rows, y.cols};
  withType(x.dtype, [&](auto from) {
    withType(y.dtype, [&](auto to) {
      using From = typename decltype(from)::Type;
      using To = typename decltype(to)::Type;
      if (turned) {
        const dim3 grid(blocksFor(extent.rows, tile) * static_cast<uint32_t>(extent.batch),
                        blocksFor(extent.cols, tile));
        launch(transposeKernel<From, To>, grid, dim3(tile, 8), tile * (tile + 1) * sizeof(float), stream(), extent,
               strided<const From>(x), strided<To>(y));
      } else {
        launch(convertKernel<From, To>, blocksOf(extent, convertWidth), threads, 0, stream(), extent,
               strided<const From>(x), strided<To>(y), rowsAligned(x) && rowsAligned(y));
      }
    });
  });
}

void CudaBackend::add(const View &a, const View &b, const View &out) { map<2>(stream(), a, b, out, Add{}); }

void CudaBackend::scale(const View &x, float factor) { map<1>(stream(), x, View(), x, Scale{factor}); }

void CudaBackend::dropout(const View &x, const Dropout &dropout, const View &out) {
  if (dropout.p > 0) {
    map<1>(stream(), x, View(), out, Drop{dropout});
  } else if (x.data != out.data) {
    convert(x, out);
  }
}

void CudaBackend::geluForward(const View &x, const Dropout &dropout, const View &y) {
  map<1>(stream(), x, View(), y, Gelu{dropout});
}

void CudaBackend::geluBackward(const View &x, const Dropout &dropout, const View &dy, const View &dx) {
  map<2>(stream(), dy, x, dx, GeluGradient{dropout});
}

}  // namespace emoframe
