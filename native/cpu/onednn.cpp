#include "onednn.h"

#include <omp.h>
#include <sys/mman.h>

#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <tuple>
#include <vector>

#include "../error.h"
#include "thread_buffer.h"

namespace emoframe {
namespace onednn {

namespace {

// oneDNN takes as many threads as OpenMP would give the caller. While one of these lives, that is one.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }

 private:
  int before_;
};

using dnnl::memory;

const dnnl::engine &engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

memory::data_type typeOf(DType dtype) { return dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16; }

memory::desc rowMajor(int64_t rows, int64_t cols, memory::data_type type) {
  return memory::desc({rows, cols}, type, memory::format_tag::ab);
}

// Where oneDNN finds no memory for a kernel that it generates, it does not say so but ends the process: that there is
// some is seen beforehand. A kernel takes some hundred KiB.
void requireRoom() {
  constexpr size_t enough = size_t{16} << 20;
  void *room = mmap(nullptr, enough, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) {
    throw Error("ERR_OUT_OF_MEMORY",
                "The system has no memory left to generate kernels in. Use a smaller batch or model, or free memory.");
  }
  munmap(room, enough);
}

// What a packed product has on its three sides.
struct Types {
  memory::data_type a, b, c;
};
Types typesOf(const PackedLayout &layout) {
  if (layout.integers) return {memory::data_type::u8, memory::data_type::s8, memory::data_type::s32};
  return {typeOf(layout.dtype), typeOf(layout.dtype), memory::data_type::f32};
}

Error failed(const dnnl::error &error, const std::string &what) {
  return Error(error.status == dnnl_out_of_memory ? "ERR_OUT_OF_MEMORY" : "ERR_INTERNAL",
               "oneDNN could not " + what + ": " + error.message + " (status " + std::to_string(error.status) + ").");
}

// Everything 2.x and 3.x say differently about making a matmul.
dnnl::matmul::primitive_desc describe(const memory::desc &a, const memory::desc &b, const memory::desc &c,
                                      bool accumulate, dnnl::scratchpad_mode scratchpad) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(scratchpad);
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(engine(), a, b, c, attributes);
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attributes, engine());
#endif
}

// The layout oneDNN picks for a full tile of rows. Kernels for fewer rows are asked to read the same one.
constexpr int64_t layoutRows = 256;

const memory::desc &packedDesc(const PackedLayout &layout) {
  static std::mutex mutex;
  static std::map<std::tuple<int64_t, int64_t, memory::data_type>, memory::desc> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const Types types = typesOf(layout);
  const auto key = std::make_tuple(layout.depth, layout.cols, types.b);
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  requireRoom();
  const OneThread scope;
  const memory::desc any({layout.depth, layout.cols}, types.b, memory::format_tag::any);
  const auto chosen = describe(rowMajor(layoutRows, layout.depth, types.a), any,
                               rowMajor(layoutRows, layout.cols, types.c), false, dnnl::scratchpad_mode::user);
  return known.emplace(key, chosen.weights_desc()).first->second;
}

struct Kernel {
  dnnl::matmul matmul;
  memory::desc a, b, c, scratchpad;
  bool fast;
};

const Kernel &kernelFor(const PackedLayout &layout, int64_t rows, bool accumulate) {
  static std::mutex mutex;
  static std::map<std::tuple<int64_t, int64_t, memory::data_type, int64_t, bool>, Kernel> known;
  const memory::desc &b = packedDesc(layout);
  const std::lock_guard<std::mutex> lock(mutex);
  const Types types = typesOf(layout);
  const auto key = std::make_tuple(layout.depth, layout.cols, types.b, rows, accumulate);
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  requireRoom();
  const memory::desc a = rowMajor(rows, layout.depth, types.a), c = rowMajor(rows, layout.cols, types.c);
  // Kernels are shared between threads, which the library's own scratchpad does not allow.
  const auto description = describe(a, b, c, accumulate, dnnl::scratchpad_mode::user);
  // What oneDNN falls back to for a layout it does not expect is a plain loop, a hundred times slower.
  const bool fast = std::string(description.impl_info_str()).compare(0, 3, "ref") != 0;
  return known.emplace(key, Kernel{dnnl::matmul(description), a, b, c, description.scratchpad_desc(), fast})
      .first->second;
}

}  // namespace

std::string version() {
  const dnnl_version_t *v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
}

bool nativeBf16() {
  static const bool native = [] {
    const auto isa = static_cast<int>(dnnl::get_effective_cpu_isa());
    const auto bf16 = static_cast<int>(dnnl::cpu_isa::avx512_core_bf16);
    return (isa & bf16) == bf16;  // an instruction set's bits include those of the ones it extends
  }();
  return native;
}

namespace {

// bf16 products of any shape: one primitive that learns shapes and strides when it runs. It keeps a scratchpad, so each
// thread has its own.
dnnl::matmul makeBf16Product(bool transposeA, bool transposeB, bool accumulate) {
  constexpr memory::dim any = DNNL_RUNTIME_DIM_VAL;
  const auto operand = [&](bool transposed) {
    return memory::desc({any, any}, memory::data_type::bf16, transposed ? memory::dims{1, any} : memory::dims{any, 1});
  };
  const memory::desc c({any, any}, memory::data_type::f32, memory::dims{any, 1});
  return dnnl::matmul(
      describe(operand(transposeA), operand(transposeB), c, accumulate, dnnl::scratchpad_mode::library));
}

void bf16Product(int64_t M, int64_t N, int64_t K, const Operand &a, const Operand &b, bool accumulate, float *c,
                 int64_t ldc) {
  static thread_local dnnl::stream stream(engine());
  static thread_local dnnl::matmul products[8];
  dnnl::matmul &product = products[a.transposed * 4 + b.transposed * 2 + accumulate];
  if (!product) {
    requireRoom();
    product = makeBf16Product(a.transposed, b.transposed, accumulate);
  }
  const auto operand = [&](int64_t rows, int64_t cols, const Operand &x) {
    const memory::desc desc({rows, cols}, memory::data_type::bf16,
                            x.transposed ? memory::dims{1, x.ld} : memory::dims{x.ld, 1});
    return memory(desc, engine(), const_cast<void *>(x.data));
  };
  const memory::desc out({M, N}, memory::data_type::f32, memory::dims{ldc, 1});
  product.execute(stream, {{DNNL_ARG_SRC, operand(M, K, a)},
                           {DNNL_ARG_WEIGHTS, operand(K, N, b)},
                           {DNNL_ARG_DST, memory(out, engine(), c)}});
  stream.wait();
}

}  // namespace

void product(DType dtype, int64_t M, int64_t N, int64_t K, const Operand &a, const Operand &b, bool accumulate,
             float *c, int64_t ldc) {
  const OneThread scope;
  const auto what = [&] {
    return "multiply [" + std::to_string(M) + ", " + std::to_string(K) + "] by [" + std::to_string(K) + ", " +
           std::to_string(N) + "]";
  };
  if (dtype == DType::bf16) {
    try {
      bf16Product(M, N, K, a, b, accumulate, c, ldc);
    } catch (const dnnl::error &error) {
      throw failed(error, what());
    }
    return;
  }
  const dnnl_status_t status =
      dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', M, N, K, 1.0f, static_cast<const float *>(a.data),
                 a.ld, static_cast<const float *>(b.data), b.ld, accumulate ? 1.0f : 0.0f, c, ldc);
  if (status != dnnl_success) throw failed(dnnl::error(status, "the product was refused"), what());
}

void makeKernels() {
  static std::once_flag made;
  std::call_once(made, [] {
    requireRoom();
    // Above and below what it has other kernels for.
    for (const int64_t size : {16, 256}) {
      const std::vector<float> a(size * size), b(size * size);
      std::vector<float> c(size * size);
      for (const bool transposedA : {false, true}) {
        for (const bool transposedB : {false, true}) {
          product(DType::f32, size, size, size, {a.data(), size, transposedA}, {b.data(), size, transposedB}, false,
                  c.data(), size);
        }
      }
    }
  });
}

bool packs(DType dtype) {
  static const bool avx512 =
      (static_cast<int>(dnnl::get_effective_cpu_isa()) & static_cast<int>(dnnl::cpu_isa::avx512_core)) ==
      static_cast<int>(dnnl::cpu_isa::avx512_core);
  return dtype == DType::f32 ? avx512 : nativeBf16();
}

size_t packedBytes(const PackedLayout &layout) {
  try {
    return packedDesc(layout).get_size();
  } catch (const dnnl::error &error) {
    throw failed(error, "choose a layout for weights");
  }
}

namespace {

void reorder(memory from, memory to, const std::string &what) {
  try {
    const OneThread scope;
    dnnl::stream stream(engine());
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
  } catch (const dnnl::error &error) {
    throw failed(error, what);
  }
}

}  // namespace

void pack(const PackedLayout &layout, const View &b, void *packed) {
  const memory::desc plain({b.rows, b.cols}, typeOf(b.dtype), memory::dims{b.rowStride, b.colStride});
  reorder(memory(plain, engine(), b.data), memory(packedDesc(layout), engine(), packed), "pack weights");
}

void unpack(const PackedLayout &layout, const void *packed, void *b) {
  reorder(memory(packedDesc(layout), engine(), const_cast<void *>(packed)),
          memory(rowMajor(layout.depth, layout.cols, typeOf(layout.dtype)), engine(), b), "unpack weights");
}

namespace {

void execute(const Kernel &kernel, const void *a, const void *packed, void *c) {
  static thread_local ThreadBuffer buffer;
  static thread_local dnnl::stream stream(engine());
  void *scratchpad = buffer.floats(static_cast<int64_t>(kernel.scratchpad.get_size() / sizeof(float) + 1));
  kernel.matmul.execute(stream, {{DNNL_ARG_SRC, memory(kernel.a, engine(), const_cast<void *>(a))},
                                 {DNNL_ARG_WEIGHTS, memory(kernel.b, engine(), const_cast<void *>(packed))},
                                 {DNNL_ARG_DST, memory(kernel.c, engine(), c)},
                                 {DNNL_ARG_SCRATCHPAD, memory(kernel.scratchpad, engine(), scratchpad)}});
  stream.wait();
}

}  // namespace

bool packedProduct(const PackedLayout &layout, int64_t rows, const void *a, const void *packed, bool accumulate,
                   float *c) {
  try {
    const OneThread scope;
    const Kernel &kernel = kernelFor(layout, rows, accumulate);
    if (kernel.fast) execute(kernel, a, packed, c);
    return kernel.fast;
  } catch (const dnnl::error &error) {
    throw failed(error, "multiply by packed weights");
  }
}

bool multipliesIntegers() {
  const auto vnni = static_cast<int>(dnnl::cpu_isa::avx512_core_vnni);
  return (static_cast<int>(dnnl::get_effective_cpu_isa()) & vnni) == vnni;
}

bool hasIntegerKernel(const PackedLayout &layout, int64_t rows) {
  try {
    const OneThread scope;
    return kernelFor(layout, rows, false).fast;
  } catch (const dnnl::error &) {
    return false;  // an older oneDNN that has none
  }
}

void packIntegers(const PackedLayout &layout, const int8_t *transposed, void *packed) {
  const memory::desc plain({layout.depth, layout.cols}, memory::data_type::s8, memory::dims{1, layout.depth});
  reorder(memory(plain, engine(), const_cast<int8_t *>(transposed)), memory(packedDesc(layout), engine(), packed),
          "pack integers");
}

void integerProduct(const PackedLayout &layout, int64_t rows, const uint8_t *a, const void *packed, int32_t *c) {
  try {
    const OneThread scope;
    execute(kernelFor(layout, rows, false), a, packed, c);
  } catch (const dnnl::error &error) {
    throw failed(error, "multiply integers");
  }
}

}  // namespace onednn
}  // namespace emoframe
