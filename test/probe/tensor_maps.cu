// The copy engine: boxes of two and three dimensions, in the swizzle and without, over all edges of a tensor; rows that
// overlap, as a convolution's windows do; stores; one box for all blocks of a cluster.
#include <string>

#include "await.cuh"
#include "device.cuh"
#include "hopper.h"

namespace probe {

using namespace emoframe;

CUtensorMap encode(const Tensor &tensor) {
  // By the driver's own name, so that nothing has to be linked that is there only with a driver.
  using Encode = CUresult (*)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                              const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                              CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  void *function = nullptr;
  cudaDriverEntryPointQueryResult found;
#if CUDART_VERSION >= 12050
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
#else
  const cudaError_t status = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
  require(status, "asking for cuTensorMapEncodeTiled");
  if (!function) throw std::runtime_error("the driver has no cuTensorMapEncodeTiled");
  CUtensorMap map;
  const std::vector<cuuint32_t> steps(tensor.sizes.size(), 1);
  const CUresult refusal = reinterpret_cast<Encode>(function)(
      &map, tensor.type, static_cast<cuuint32_t>(tensor.sizes.size()), tensor.memory, tensor.sizes.data(),
      tensor.strides.data(), tensor.box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
      tensor.swizzle ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (refusal != CUDA_SUCCESS) {
    throw std::runtime_error("cuTensorMapEncodeTiled refuses the map with error " + std::to_string(refusal));
  }
  return map;
}

namespace {

constexpr int threads = 128;

__device__ void poison(uint32_t *words, uint32_t count) {
  for (uint32_t i = threadIdx.x; i < count; i += threads) words[i] = 0xDEADBEEFu;
  publishStores();
}

// The bytes of one box as they lie in shared memory.
template <int rank>
__global__ void loadKernel(const __grid_constant__ CUtensorMap map, int x, int y, int z, uint32_t bytes,
                           uint32_t *out) {
  unsigned char *shared = sharedMemory();
  auto *words = reinterpret_cast<uint32_t *>(shared);
  auto *barrier = reinterpret_cast<uint64_t *>(shared + (bytes + 7) / 8 * 8);
  poison(words, bytes / 4);
  if (threadIdx.x == 0) {
    initialiseBarrier(barrier, 1);
    publishBarriers();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    arriveExpecting(barrier, bytes);
    if constexpr (rank == 2) {
      loadBox(shared, &map, x, y, barrier);
    } else {
      loadBox(shared, &map, x, y, z, barrier);
    }
  }
  await(barrier, 0);
  for (uint32_t i = threadIdx.x; i < bytes / 4; i += threads) out[i] = words[i];
}

struct Place {
  int x, y, z = 0;
};
uint32_t sizeOf(const Tensor &tensor) { return tensor.type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4 : 2; }
uint32_t boxBytes(const Tensor &tensor) {
  uint32_t bytes = sizeOf(tensor);
  for (const cuuint32_t extent : tensor.box) bytes *= extent;
  return bytes;
}
// For each element of a box: its place in the tensor's memory, or -1 outside of it, and in the tile, in bytes.
template <typename Visit>
void eachOf(const Tensor &tensor, const Place &place, Visit visit) {
  const uint32_t size = sizeOf(tensor), depth = tensor.box.size() > 2 ? tensor.box[2] : 1;
  uint32_t at = 0;
  for (uint32_t k = 0; k < depth; ++k) {
    for (uint32_t j = 0; j < tensor.box[1]; ++j) {
      for (uint32_t i = 0; i < tensor.box[0]; ++i, at += size) {
        const int64_t x = place.x + int64_t(i), y = place.y + int64_t(j), z = place.z + int64_t(k);
        bool inside = x >= 0 && y >= 0 && z >= 0 && x < int64_t(tensor.sizes[0]) && y < int64_t(tensor.sizes[1]);
        int64_t from = x * size + y * int64_t(tensor.strides[0]);
        if (depth > 1 || tensor.box.size() > 2) {
          inside = inside && z < int64_t(tensor.sizes[2]);
          from += z * int64_t(tensor.strides[1]);
        }
        visit(inside ? from : -1, tensor.swizzle ? swizzled(at) : at, size);
      }
    }
  }
}

std::vector<unsigned char> randomBytes(size_t count) {
  Random random(31);
  std::vector<unsigned char> bytes(count);
  for (unsigned char &byte : bytes) byte = static_cast<unsigned char>(random.word());
  return bytes;
}

// Boxes of a tensor at several places.
Outcome loads(Tensor tensor, size_t bytes, const std::vector<Place> &places) {
  const std::vector<unsigned char> values = randomBytes(bytes);
  const Buffer<unsigned char> in(values);
  tensor.memory = in.get();
  const CUtensorMap map = encode(tensor);
  const uint32_t tile = boxBytes(tensor);
  Words expected, got;
  for (const Place &place : places) {
    std::vector<unsigned char> should(tile, 0);
    eachOf(tensor, place, [&](int64_t from, uint32_t to, uint32_t size) {
      if (from >= 0) std::memcpy(&should[to], &values[from], size);
    });
    Words words(tile / 4);
    std::memcpy(words.data(), should.data(), tile);
    append(&expected, words);
    const Buffer<uint32_t> out(tile / 4);
    if (tensor.sizes.size() == 2) {
      launch(loadKernel<2>, dim3(1), dim3(threads), tile + 16, map, place.x, place.y, 0, tile, out.get());
    } else {
      launch(loadKernel<3>, dim3(1), dim3(threads), tile + 16, map, place.x, place.y, place.z, tile, out.get());
    }
    append(&got, out.words());
  }
  return compare(expected, got);
}

constexpr auto bf16Type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
constexpr auto fp32Type = CU_TENSOR_MAP_DATA_TYPE_FLOAT32;

Outcome plain() {
  return loads({bf16Type, nullptr, {40, 12}, {96}, {16, 8}, false}, 12 * 96,
               {{0, 0}, {16, 4}, {3, 2}, {24, 4}, {32, 8}, {-8, 3}, {5, -5}, {-9, -2}, {100, 0}, {0, 50}, {-40, -40}});
}
Outcome inSwizzle() {
  return loads({bf16Type, nullptr, {200, 70}, {416}, {64, 32}, true}, 70 * 416,
               {{0, 0}, {64, 32}, {128, 38}, {160, 60}, {-32, -7}, {7, 3}, {200, 0}});
}
Outcome floatsInSwizzle() {
  return loads({fp32Type, nullptr, {100, 40}, {400}, {32, 24}, true}, 40 * 400,
               {{0, 0}, {32, 16}, {80, 30}, {-5, -9}, {3, 1}});
}
Outcome large() {  // the largest box, of the size of a tile of 128 x 64 twice
  return loads({bf16Type, nullptr, {128, 300}, {256}, {64, 256}, true}, 300 * 256, {{0, 0}, {64, 44}, {64, 200}});
}
Outcome cubes() {
  return loads({bf16Type, nullptr, {96, 6, 5}, {192, 6 * 192}, {64, 4, 2}, true}, 5 * 6 * 192,
               {{0, 0, 0}, {32, 2, 3}, {64, 4, 4}, {-16, -1, -1}, {0, 3, 2}});
}
// Windows of 3 frames of 64 channels, 2 frames apart, of 33 frames: as rows of 192 that overlap, and by tap.
Outcome windows() {
  return loads({bf16Type, nullptr, {192, 16}, {256}, {64, 8}, true}, 33 * 128,
               {{0, 0}, {64, 4}, {128, 8}, {128, 12}, {0, -3}, {160, 2}});
}
Outcome taps() {
  return loads({bf16Type, nullptr, {64, 3, 16}, {128, 256}, {64, 1, 8}, true}, 33 * 128,
               {{0, 0, 0}, {0, 1, 4}, {0, 2, 8}, {0, 2, 12}, {0, 1, -3}, {0, 3, 0}, {32, 0, 1}});
}

// One box stored: what is outside of the tensor stays as it was.
__global__ void storeKernel(const __grid_constant__ CUtensorMap map, int x, int y, uint32_t bytes,
                            const uint32_t *tile) {
  auto *words = reinterpret_cast<uint32_t *>(sharedMemory());
  for (uint32_t i = threadIdx.x; i < bytes / 4; i += threads) words[i] = tile[i];
  publishStores();
  __syncthreads();
  if (threadIdx.x == 0) {
    storeBox(&map, x, y, words);
    commitStores();
    waitForStores<0>();
  }
}
Outcome stores(bool swizzle) {
  Tensor tensor{bf16Type, nullptr, {100, 40}, {208}, {64, 16}, swizzle};
  const uint32_t tile = boxBytes(tensor);
  std::vector<unsigned char> should = randomBytes(40 * 208);
  const Buffer<unsigned char> memory(should);
  tensor.memory = memory.get();
  const CUtensorMap map = encode(tensor);
  Random random(32);
  for (const Place &place : {Place{0, 0}, Place{64, 20}, Place{-8, 30}, Place{90, -5}}) {
    Words words(tile / 4);
    for (uint32_t &word : words) word = random.word();
    std::vector<unsigned char> bytes(tile);
    std::memcpy(bytes.data(), words.data(), tile);
    eachOf(tensor, place, [&](int64_t to, uint32_t from, uint32_t size) {
      if (to >= 0) std::memcpy(&should[to], &bytes[from], size);
    });
    const Buffer<uint32_t> given(words);
    launch(storeKernel, dim3(1), dim3(threads), tile, map, place.x, place.y, tile, given.get());
  }
  Words expected(should.size() / 4), got(should.size() / 4);
  std::memcpy(expected.data(), should.data(), should.size());
  const std::vector<unsigned char> stored = memory.read();
  std::memcpy(got.data(), stored.data(), stored.size());
  return compare(expected, got);
}

// Each block of a pair loads one half of a tile of 64 x 32 for both.
__global__ void __cluster_dims__(2, 1, 1) multicastKernel(const __grid_constant__ CUtensorMap map, uint32_t *out) {
  unsigned char *shared = sharedMemory();
  auto *barrier = reinterpret_cast<uint64_t *>(shared + 4096);
  const auto rank = static_cast<int>(rankInCluster());
  poison(reinterpret_cast<uint32_t *>(shared), 1024);
  if (threadIdx.x == 0) {
    initialiseBarrier(barrier, 1);
    publishBarriers();
    arriveExpecting(barrier, 4096);
  }
  clusterBarrier();
  if (threadIdx.x == 0) loadBoxForAll(shared + rank * 2048, &map, 0, rank * 16, barrier, 3);
  await(barrier, 0);
  for (uint32_t i = threadIdx.x; i < 1024; i += threads) {
    out[blockIdx.x * 1024 + i] = reinterpret_cast<uint32_t *>(shared)[i];
  }
  clusterBarrier();
}
Outcome multicast() {
  const std::vector<unsigned char> values = randomBytes(32 * 128);
  const Buffer<unsigned char> in(values);
  const CUtensorMap map = encode({bf16Type, in.get(), {64, 32}, {128}, {64, 16}, true});
  std::vector<unsigned char> tile(4096);
  for (uint32_t i = 0; i < 4096; ++i) tile[swizzled(i)] = values[i];
  Words expected(2048);
  for (int block = 0; block < 2; ++block) std::memcpy(&expected[block * 1024], tile.data(), 4096);
  const Buffer<uint32_t> out(2048);
  launch(multicastKernel, dim3(2), dim3(threads), 4096 + 16, map, out.get());
  return compare(expected, out.words());
}

}  // namespace

std::vector<Part> tensorMapParts() {
  std::vector<Part> parts = {
      {"loadBox", nullptr, plain},
      {"loadBox in the swizzle", nullptr, inSwizzle},
      {"loadBox of fp32 in the swizzle", nullptr, floatsInSwizzle},
      {"loadBox of 256 rows", nullptr, large},
      {"loadBox of three dimensions", nullptr, cubes},
      {"loadBox of rows that overlap", nullptr, windows},
      {"loadBox of windows by tap", nullptr, taps},
      {"storeBox", nullptr, [] { return stores(false); }},
      {"storeBox in the swizzle", nullptr, [] { return stores(true); }},
      {"loadBoxForAll", nullptr, multicast},
  };
  for (Part &part : parts) part.major = 9;
  return parts;
}

}  // namespace probe
