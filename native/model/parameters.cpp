#include "parameters.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "../error.h"

namespace emoframe {

namespace {

constexpr int64_t kAlignment = 32;  // elements: 64 bytes of bf16
// Elements of a whole model: beyond any machine's memory, and far below where sums and byte counts would overflow.
constexpr int64_t kMostElements = int64_t{1} << 48;

// [Cout, Cin, k] → [Cout, k, Cin], or back.
void swapInner(const float *in, float *out, int64_t outer, int64_t rows, int64_t cols) {
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) out[(o * cols + c) * rows + r] = in[(o * rows + r) * cols + c];
    }
  }
}

std::string describe(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// Keys never come twice in a process, so that a backend shared by models cannot take one's packed weight for another's.
uint64_t takeKeys(size_t count) {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(count);
}

}  // namespace

Parameters::~Parameters() {
  for (void *arena : {static_cast<void *>(master_), static_cast<void *>(gradient_), static_cast<void *>(m_),
                      static_cast<void *>(v_), static_cast<void *>(sums_), shadow_}) {
    if (arena) backend_.release(arena);
  }
}

int32_t Parameters::add(const std::string &name, std::vector<int64_t> shape, Layout layout, bool adjacent,
                        bool constant) {
  Parameter p;
  p.name = name;
  int64_t elements = 1;
  for (const int64_t side : shape) {
    if (side > 0 && elements > (kMostElements - total_) / side) {
      throw Error("ERR_MODEL_CONFIG",
                  "The model configuration asks for more weights than any memory holds: the tensor " + name +
                      " would have the shape " + describe(shape) + ".");
    }
    elements *= side;
  }
  p.rows = shape.size() > 1 ? shape[0] : 1;
  p.cols = 1;
  for (size_t i = shape.size() > 1 ? 1 : 0; i < shape.size(); ++i) p.cols *= shape[i];
  p.shape = std::move(shape);
  p.layout = layout;
  p.constant = p.frozen = constant;
  if (!adjacent) total_ = (total_ + kAlignment - 1) / kAlignment * kAlignment;
  p.offset = total_;
  total_ += p.size();
  const auto index = static_cast<int32_t>(table_.size());
  byName_.emplace(name, index);
  table_.push_back(std::move(p));
  return index;
}

float *Parameters::allocateZeros() const {
  auto *arena = static_cast<float *>(backend_.allocate(arenaBytes()));
  try {
    backend_.run(Fill{vector(arena, DType::f32, total_), 0});
  } catch (...) {
    backend_.release(arena);
    throw;
  }
  return arena;
}

void Parameters::allocate() {
  master_ = allocateZeros();
  sums_ = static_cast<float *>(backend_.allocate(4 * sizeof(float)));
  if (precision_ == Precision::bf16) {
    shadow_ = backend_.allocate(static_cast<size_t>(total_) * sizeOf(DType::bf16));
    backend_.run(Fill{shadow({0, total_}), 0});
  }
  bumpVersion();
}

void Parameters::bumpVersion() { keyBase_ = takeKeys(table_.size()); }

View Parameters::view(void *arena, DType dtype, int32_t i, int32_t parts) const {
  const Parameter &p = table_[i];
  void *at = static_cast<char *>(arena) + static_cast<size_t>(p.offset) * sizeOf(dtype);
  if (p.shape.size() < 2) return vector(at, dtype, p.cols * parts);
  return matrix(at, dtype, p.rows * parts, p.cols);
}

View Parameters::compute(int32_t i, int32_t parts) const {
  return precision_ == Precision::bf16 ? view(shadow_, DType::bf16, i, parts) : master(i, parts);
}
View Parameters::master(int32_t i, int32_t parts) const { return view(master_, DType::f32, i, parts); }
View Parameters::gradient(int32_t i, int32_t parts) const { return view(gradient_, DType::f32, i, parts); }

View Parameters::shadow(const Range &range) const {
  void *at = static_cast<char *>(shadow_) + static_cast<size_t>(range.begin) * sizeOf(DType::bf16);
  return vector(at, DType::bf16, range.size);
}

bool Parameters::trainable(int32_t i, int32_t parts) const {
  for (int32_t j = i; j < i + parts; ++j) {
    if (!table_[j].frozen) return true;
  }
  return false;
}

bool Parameters::anyTrainable(const std::string &prefix) const {
  for (const Parameter &p : table_) {
    if (!p.frozen && p.name.compare(0, prefix.size(), prefix) == 0) return true;
  }
  return false;
}

void Parameters::takeProductWeight(int32_t i, int32_t parts) {
  const View weight = compute(i, parts);
  const bool taken = backend_.takeWeight(weight.transposed(), key(i));
  const auto discard = [&](const View &v) {
    backend_.discard(v.data, static_cast<size_t>(v.size()) * sizeOf(v.dtype));
  };
  if (taken) discard(weight);
  if (precision_ == Precision::bf16) discard(master(i, parts));  // products read the bf16 copy alone
}

void Parameters::requireWhole() const {
  if (!halfUpdated_) return;
  throw Error("ERR_DEVICE_FAULT",
              "An earlier update of this model was interrupted, so its weights can no longer be relied on: dispose of "
              "it, and start again from the last training state.");
}

void Parameters::requireOpen() const {
  requireWhole();
  if (!packedForInference_) return;
  throw Error(
      "ERR_INTERNAL",
      "This model was loaded for inference only: its weights cannot be changed, exported or trained. Load it again.");
}

void Parameters::freeze(const std::vector<std::string> &prefixes) {
  gradientsChange();
  for (Parameter &p : table_) {
    p.frozen = p.constant;
    for (const std::string &prefix : prefixes) p.frozen |= p.name.compare(0, prefix.size(), prefix) == 0;
  }
}

void Parameters::freezeLike(const Parameters &other) {
  for (size_t i = 0; i < table_.size(); ++i) table_[i].frozen = other.table_[i].frozen;
}

const Parameter &Parameters::find(const std::string &name) const {
  const auto at = byName_.find(name);
  if (at == byName_.end()) throw Error("ERR_TENSOR", "The model has no tensor named " + name + ".");
  return table_[at->second];
}

const Parameter &Parameters::findSized(const std::string &name, int64_t size) const {
  const Parameter &p = find(name);
  if (size != p.size()) {
    throw Error("ERR_TENSOR", "The tensor " + name + " must have the shape " + describe(p.shape) + ", which is " +
                                  std::to_string(p.size()) + " elements, but has " + std::to_string(size) + ".");
  }
  return p;
}

void Parameters::upload(float *arena, const Parameter &p, const float *data) {
  const size_t bytes = static_cast<size_t>(p.size()) * sizeof(float);
  if (p.layout == Layout::plain) {
    backend_.upload(arena + p.offset, data, bytes);
    return;
  }
  std::vector<float> permuted(static_cast<size_t>(p.size()));
  swapInner(data, permuted.data(), p.shape[0], p.shape[1], p.shape[2]);
  backend_.upload(arena + p.offset, permuted.data(), bytes);
}

void Parameters::download(const float *arena, const Parameter &p, float *data) const {
  const size_t bytes = static_cast<size_t>(p.size()) * sizeof(float);
  if (p.layout == Layout::plain) {
    backend_.download(data, arena + p.offset, bytes);
    return;
  }
  std::vector<float> native(static_cast<size_t>(p.size()));
  backend_.download(native.data(), arena + p.offset, bytes);
  swapInner(native.data(), data, p.shape[0], p.shape[2], p.shape[1]);
}

void Parameters::importValue(const std::string &name, const float *data, int64_t size) {
  requireOpen();
  const Parameter &p = findSized(name, size);
  upload(master_, p, data);
  if (shadow_) backend_.run(Convert{vector(master_ + p.offset, DType::f32, p.size()), shadow({p.offset, p.size()})});
  bumpVersion();
}

void Parameters::exportValue(const std::string &name, float *data) const {
  requireOpen();
  download(master_, find(name), data);
}

void Parameters::exportGradient(const std::string &name, float *data) const {
  const Parameter &p = find(name);
  if (gradient_ && !p.frozen && !uncleared_) {
    download(gradient_, p, data);
  } else {
    std::fill(data, data + p.size(), 0.f);
  }
}

void Parameters::ensureMoments() {
  requireOpen();
  if (!m_) m_ = allocateZeros();
  if (!v_) v_ = allocateZeros();
}

void Parameters::importMoments(const std::string &name, const float *m, const float *v, int64_t size) {
  const Parameter &p = findSized(name, size);
  ensureMoments();
  upload(m_, p, m);
  upload(v_, p, v);
}

void Parameters::exportMoments(const std::string &name, float *m, float *v) const {
  const Parameter &p = find(name);
  if (!m_ || !v_) {
    throw Error("ERR_TENSOR",
                "There are no moments to export before the first optimiser step (asked for " + name + ").");
  }
  if (m) download(m_, p, m);
  if (v) download(v_, p, v);
}

void Parameters::ensureGradients() {
  requireOpen();
  if (!gradient_) gradient_ = allocateZeros();
  if (uncleared_) clearGradients();
}

size_t Parameters::heldBytes() const {
  size_t bytes = shadow_ ? static_cast<size_t>(total_) * sizeOf(DType::bf16) : 0;
  for (const float *arena : {master_, gradient_, m_, v_}) bytes += arena ? arenaBytes() : 0;
  return bytes;
}

void Parameters::clearGradients() {
  gradientsChange();
  uncleared_ = gradient_ != nullptr;
  if (gradient_) backend_.run(Fill{vector(gradient_, DType::f32, total_), 0});
  uncleared_ = false;
}

// Neighbouring trainable tensors as one range; the alignment gaps between them hold zeros and stay zero.
std::vector<Parameters::Range> Parameters::trainableRanges(const std::vector<ParameterGroup> &groups,
                                                           size_t wanted) const {
  const auto groupOf = [&](const Parameter &p) {
    const auto fits = [&](const ParameterGroup &group) {
      return p.name.compare(0, group.prefix.size(), group.prefix) == 0;
    };
    return static_cast<size_t>(std::find_if(groups.begin(), groups.end(), fits) - groups.begin());
  };
  std::vector<Range> ranges;
  bool open = false;
  for (const Parameter &p : table_) {
    const bool taken = !p.frozen && groupOf(p) == wanted;
    if (taken) {
      if (!open) ranges.push_back({p.offset, 0});
      ranges.back().size = p.offset + p.size() - ranges.back().begin;
    }
    open = taken;
  }
  return ranges;
}

// Which gradient made the norm overflow, as the rest of a sentence; nothing where only their sum did.
std::string Parameters::notFiniteGradient() {
  for (const Parameter &p : table_) {
    if (p.frozen) continue;
    float squares = 0;
    const View sum = sums().colRange(gradientSquares, 1);
    backend_.run(SumSquares{std::vector<View>{vector(gradient_ + p.offset, DType::f32, p.size())}, sum});
    backend_.download(&squares, sum.data, sizeof(float));
    if (!std::isfinite(squares)) return ", first that of " + p.name;
  }
  return "";
}

void Parameters::sumGradientSquares() {
  std::vector<View> gradients;
  for (const Range &range : trainableRanges())
    gradients.push_back(vector(gradient_ + range.begin, DType::f32, range.size));
  const View sum = sums().colRange(gradientSquares, 1);
  if (gradients.empty()) return backend_.run(Fill{sum, 0});
  backend_.run(SumSquares{gradients, sum});
}

namespace {

// With others the update would make every weight NaN, and say nothing.
void checkSettings(const AdamW &settings, const std::vector<ParameterGroup> &groups) {
  const auto require = [](bool holds, const char *what) {
    if (!holds) throw Error("ERR_ARGUMENT", std::string("Expected ") + what + " for the optimiser.");
  };
  const auto isRate = [](float value) { return value >= 0 && std::isfinite(value); };
  require(settings.step >= 1, "a step from 1 on");
  for (const float beta : {settings.beta1, settings.beta2}) {
    // The closest decimal to it below 1 (adamw.h).
    require(beta >= 0 && beta < 0.99999995, "betas of at least 0 and below 1");
  }
  require(settings.epsilon > 0 && std::isfinite(settings.epsilon), "a positive epsilon");
  require(isRate(settings.learningRate), "a learning rate of at least 0");
  for (const ParameterGroup &group : groups) require(isRate(group.learningRate), "learning rates of at least 0");
  require(isRate(settings.weightDecay), "a weight decay of at least 0");
  require(isRate(settings.clipNorm), "a clip norm of at least 0");
}

}  // namespace

double Parameters::optimizerStep(AdamW settings, const std::vector<ParameterGroup> &groups) {
  checkSettings(settings, groups);
  ensureGradients();
  ensureMoments();
  settings.gradientSquares = sums().colRange(gradientSquares, 1);
  if (!knownSquares_) sumGradientSquares();
  halfUpdated_ = true;
  const float usual = settings.learningRate;
  for (size_t group = 0; group <= groups.size(); ++group) {
    std::vector<AdamWTensor> tensors;
    for (const Range &range : trainableRanges(groups, group)) {
      const auto at = [&](float *arena) { return vector(arena + range.begin, DType::f32, range.size); };
      tensors.push_back({at(master_), at(gradient_), at(m_), at(v_), shadow_ ? shadow(range) : View{}});
    }
    settings.learningRate = group < groups.size() ? groups[group].learningRate : usual;
    settings.tensors = tensors;
    if (!tensors.empty()) backend_.run(settings);  // of its own does nothing where the norm is not finite
  }
  float squares = 0;
  if (knownSquares_) {
    squares = *knownSquares_;
  } else {
    backend_.download(&squares, settings.gradientSquares.data, sizeof(float));
  }
  gradientsChange();
  if (!std::isfinite(squares)) {
    halfUpdated_ = false;
    throw Error("ERR_NOT_FINITE",
                "The gradient norm is not finite" + notFiniteGradient() +
                    ", so nothing was updated. Clear the gradients, then lower the learning rate or check the audio of "
                    "this update.");
  }
  bumpVersion();
  clearGradients();
  halfUpdated_ = false;
  return std::sqrt(static_cast<double>(squares));
}

}  // namespace emoframe
