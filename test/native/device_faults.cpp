// Calls of the CUDA runtime that fail, one at a time, anywhere in a small life of an engine: from its making over
// training with graphs and prefetched inputs, prediction and k-means to its end. Each ends with the right bits or with
// an Error of a documented code that names CUDA's; what failed can be asked for again and gives the right bits, or the
// engine says that it cannot; and nothing that was taken is kept. Of a device that is lost every later call says so.
//
// Without more a sample of the calls fails, with each kind among them. EMOFRAME_FAULTS=all fails every one (an hour):
//   EMOFRAME_FAULTS=all build/native_tests_simt --limit 14400 deviceFaults
// and EMOFRAME_FAULTS=123 the 123rd alone. A CPU has no such calls.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "../ops/device.h"
#include "cluster/kmeans.h"
#include "harness.h"

#ifdef EMOFRAME_SIMT

namespace emoframe {
namespace testing {
namespace {

HubertShape tinyShape() {
  HubertShape shape = withDropout(baseShape());
  shape.convDim = {8, 8};
  shape.convKernel = {6, 3};
  shape.convStride = {4, 2};
  shape.layers = 1;
  return shape;
}

using Bits = std::vector<std::vector<float>>;

// An engine's life in parts, each of which can be asked for again after it failed.
class Life {
 public:
  explicit Life(bool graphs) : graphs_(graphs) {
    const HubertShape shape = tinyShape();
    for (uint32_t i = 0; i < updates; ++i) {
      batches_.push_back(makeBatch(shape, {shape.samples(6), shape.samples(4)}, 60 + i));
      batches_.back().host.id = i + 1;
    }
  }
  ~Life() {
    if (on_) on_->whileWaiting(nullptr);
  }

  // What is left of it.
  void live() {
    for (; done_ < 3 + updates; ++done_) part(done_);
  }
  const Bits &found() const { return found_; }

  // Every kind of call that uses the device, as far as the engine has been made.
  std::vector<std::function<void()>> calls() {
    std::vector<std::function<void()>> all;
    if (!on_) return all;
    all.push_back([this] { cluster(); });
    if (!model_) return all;
    all.push_back([this] { train(0); });
    all.push_back([this] { predict(); });
    all.push_back([this] { weights(); });
    return all;
  }

 private:
  static constexpr uint32_t updates = 3;  // op by op, making a graph, replaying it

  void part(uint32_t which) {
    if (which == 0) {
      BackendOptions options;
      options.graphs = graphs_;
      on_ = backend(options);
    } else if (which == 1) {
      model_ = makeModel(tinyShape(), PoolingKind::attention, Precision::bf16, on_);
    } else if (which < 2 + updates) {
      update(which - 2);
    } else {
      Bits last = predict();
      for (std::vector<float> &bits : weights()) last.push_back(std::move(bits));
      for (std::vector<float> &bits : cluster()) last.push_back(std::move(bits));
      require(on_->memory().held > 0, "memory that is held");
      found_.insert(found_.end(), last.begin(), last.end());
    }
  }

  TrainResult train(uint32_t which) {
    TrainStep step = batches_[which].step(Objective::classification);
    step.dropout = true;
    step.step = which;
    step.denominator = 2;
    return model_->trainStep(batches_[which].host, step);
  }

  void update(uint32_t which) {
    // As the addon does: what fails ahead of its time is met again by the pass itself.
    on_->whileWaiting([this, which] {
      if (which + 1 == updates) return;
      try {
        TrainStep step = batches_[which + 1].step(Objective::classification);
        step.denominator = 2;
        model_->prefetch(batches_[which + 1].host, step);
      } catch (const Error &) {
      }
    });
    const bool half = trained_ > which;  // its optimiser alone failed
    if (half) {
      model_->clearGradients();
      trained_ = which;
    }
    const double loss = train(which).lossSum;
    trained_ = which + 1;
    on_->whileWaiting(nullptr);
    OptimizerStep optimizer;
    optimizer.adamW.learningRate = 1e-3f;
    optimizer.adamW.clipNorm = 1;
    optimizer.adamW.step = which + 1;
    const double norm = model_->optimizerStep(optimizer);
    found_.push_back({static_cast<float>(loss), static_cast<float>(norm)});
  }

  Bits predict() {
    Bits bits;
    for (int i = 0; i < 2; ++i) bits.push_back(model_->classify(batches_[0].host).framePosteriors);
    bits.push_back(model_->encode(batches_[1].host, 1).hidden);
    return bits;
  }
  Bits weights() {
    Bits bits;
    for (const TensorInfo &tensor : model_->tensors()) bits.push_back(get(*model_, tensor));
    return bits;
  }
  Bits cluster() {
    const std::vector<float> points = normals(90, 20 * 3);
    KMeansSettings settings;
    settings.clusters = 2;
    settings.restarts = 2;
    settings.maxIterations = 2;
    const KMeansResult result = kmeans(*on_, points.data(), 20, 3, settings, [](int64_t, double) { return true; });
    return {result.centroids};
  }

  bool graphs_;
  std::vector<Batch> batches_;
  std::shared_ptr<Backend> on_;
  std::unique_ptr<Model> model_;
  uint32_t done_ = 0, trained_ = 0;
  Bits found_;
};

struct Way {
  bool graphs;
  cudaError_t status;
  bool lasting;
  std::string name() const {
    return std::string(graphs ? "graphs, " : "single ops, ") + cudaGetErrorName(status) +
           (lasting ? " from then on" : " once");
  }
};

void plan(const Way &way, uint64_t failAt, std::vector<const char *> *calls = nullptr) {
  simt::Plan &plan = simt::machine().plan;
  plan = simt::Plan();
  plan.failAt = failAt;
  plan.status = way.status;
  plan.lasting = way.lasting;
  plan.calls = calls;
}

// Whether it failed at all, as documented.
bool fails(const std::function<void()> &work, const Way &way) {
  try {
    work();
    return false;
  } catch (const Error &error) {
    const std::set<std::string> codes = {"ERR_OUT_OF_MEMORY", "ERR_DEVICE", "ERR_DEVICE_DRIVER", "ERR_DEVICE_FAULT"};
    const std::string text = error.what();
    require(codes.count(error.code) > 0, "a code that is not the device's: " + error.code + ": " + text);
    require(text.find(cudaGetErrorName(way.status)) != std::string::npos ||
                text.find("has not enough memory") != std::string::npos ||
                text.find("An earlier step was interrupted") != std::string::npos,  // by the release of memory, say
            "a message that does not name the error: " + text);
    return true;
  }
}

// How it ended: "goes on", "asked again", "refuses".
std::string failOnce(const Way &way, uint64_t failAt, const Bits &expected) {
  std::string how = "goes on";
  {
    Life life(way.graphs);
    plan(way, failAt);
    if (fails([&] { life.live(); }, way)) {
      how = "asked again";
      if (way.lasting) {
        for (const std::function<void()> &call : life.calls()) requireError("ERR_DEVICE_FAULT", "", call);
        return how;
      }
      try {
        life.live();
      } catch (const Error &error) {
        require(error.code == "ERR_DEVICE_FAULT", "asked again it ends in " + error.code + ": " + error.what());
        for (const std::function<void()> &call : life.calls()) {
          try {
            call();
          } catch (const Error &again) {
            require(again.code == error.code, "then in " + again.code + ": " + again.what());
          }
        }
        how = "refuses";
      }
    }
    if (how != "refuses") require(life.found() == expected, "other bits (" + how + ")");
  }
  plan(way, 0);
  if (how == "refuses") {
    Life another(way.graphs);
    another.live();
    require(another.found() == expected, "other bits of the next engine");
  }
  return how;
}

std::vector<Way> waysOf(bool graphs) {
  return {
      {graphs, cudaErrorMemoryAllocation, false}, {graphs, cudaErrorUnknown, false}, {graphs, cudaErrorUnknown, true}};
}

struct Fault {
  Way way;
  uint64_t call;
};

std::vector<Fault> allOf(bool graphs, size_t calls) {
  std::vector<Fault> faults;
  for (const Way &way : waysOf(graphs)) {
    for (uint64_t n = 1; n <= calls; ++n) faults.push_back({way, n});
  }
  return faults;
}

// `some` of all calls, in the ways by turns; with graphs, where all kinds come, one of each kind as well.
std::vector<Fault> sampleOf(bool graphs, const std::vector<const char *> &calls, size_t some) {
  std::map<std::string, std::vector<uint64_t>> kinds;
  for (uint64_t n = 1; n <= calls.size(); ++n) kinds[calls[n - 1]].push_back(n);
  std::set<uint64_t> numbers;
  size_t turn = 0;
  for (const auto &kind : kinds) {
    if (graphs) numbers.insert(kind.second[kind.second.size() * (turn++ % 3) / 3]);
  }
  for (size_t i = 0; i < some; ++i) numbers.insert(1 + calls.size() * i / some);
  std::vector<Fault> faults;
  const std::vector<Way> ways = waysOf(graphs);
  for (const uint64_t n : numbers) faults.push_back({ways[faults.size() % ways.size()], n});
  return faults;
}

TEST(deviceFaultsEndInAnErrorOrTheRightBits) {
  const char *wanted = std::getenv("EMOFRAME_FAULTS");
  const std::string before = simt::whatLives();
  std::map<std::string, int> ends;
  int wrong = 0;
  for (const bool graphs : {true, false}) {
    std::vector<const char *> calls;
    Bits expected;
    const Way none = {graphs, cudaSuccess, false};
    {
      Life life(graphs);
      plan(none, 0, &calls);
      life.live();
      expected = life.found();
    }
    plan(none, 0);
    require(simt::whatLives() == before, "is left of a life without faults: " + simt::whatLives());
    std::vector<Fault> faults = wanted ? allOf(graphs, calls.size()) : sampleOf(graphs, calls, 8);
    for (const Fault &fault : faults) {
      if (wanted && std::string(wanted) != "all" && std::strtoull(wanted, nullptr, 10) != fault.call) continue;
      try {
        ++ends[fault.way.name() + ": " + failOnce(fault.way, fault.call, expected)];
        require(simt::whatLives() == before, "is left: " + simt::whatLives() + " where there were " + before);
      } catch (const Failure &failure) {
        plan(none, 0);
        ++wrong;
        std::printf("call %llu of %zu, %s (%s): %s\n", static_cast<unsigned long long>(fault.call), calls.size(),
                    calls[fault.call - 1], fault.way.name().c_str(), failure.message.c_str());
      }
    }
  }
  if (wanted) {
    for (const auto &[how, count] : ends) std::printf("%6d %s\n", count, how.c_str());
  }
  require(wrong == 0, std::to_string(wrong) + " faults of single calls end otherwise");
}

}  // namespace
}  // namespace testing
}  // namespace emoframe

#endif
