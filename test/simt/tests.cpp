// The emulation's own tests: planted bugs are caught and right kernels are not, under several orders of fibres; and the
// CUDA backend's memory and errors, on machines that have no driver, an old one, or no fit device.
// simt_tests: prints the failures, then `N passed, N failed`.
#include <cuda_runtime.h>

#include <cstdio>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "backend.h"
#include "error.h"
#include "planted.h"

namespace {

using emoframe::Error;

int passed = 0, failed = 0;

void report(const std::string &name, const std::string &wrong) {
  ++(wrong.empty() ? passed : failed);
  if (!wrong.empty()) std::printf("FAIL %s: %s\n", name.c_str(), wrong.c_str());
}

// The code and text of what `body` throws; "none" if nothing.
struct Outcome {
  std::string code = "none", text;
};
Outcome outcomeOf(const std::function<void()> &body) {
  try {
    body();
  } catch (const Error &error) {
    return {error.code, error.what()};
  }
  return {};
}

std::string checkPlanted(const planted::Kernel &kernel) {
  bool good = true;
  const Outcome outcome = outcomeOf([&] { good = kernel.run(); });
  simt::clearFault();
  const std::string seed = " (seed " + std::to_string(simt::settings().seed) + ")";
  if (kernel.report.empty()) {
    return outcome.code != "none" ? "flagged: " + outcome.text + seed : good ? "" : "wrong results" + seed;
  }
  if (outcome.code != "ERR_DEVICE_FAULT") return "not caught" + seed;
  for (const std::string &part : kernel.report) {
    if (outcome.text.find(part) == std::string::npos) return "'" + part + "' is not in: " + outcome.text + seed;
  }
  return "";
}

void testPlanted() {
  for (const planted::Kernel &kernel : planted::kernels()) {
    std::string wrong;
    for (uint64_t seed = 1; seed <= 6 && wrong.empty(); ++seed) {
      simt::settings().seed = seed;
      wrong = checkPlanted(kernel);
    }
    simt::settings().seed = 1;
    report(kernel.name, wrong);
  }
}

// `body` must throw the code, with all the words.
void expectError(const std::string &name, const std::string &code, const std::vector<std::string> &words,
                 const std::function<void()> &body) {
  const Outcome outcome = outcomeOf(body);
  std::string wrong;
  if (outcome.code != code) wrong = "expected " + code + ", not " + outcome.code + ": " + outcome.text;
  for (const std::string &word : words) {
    if (wrong.empty() && outcome.text.find(word) == std::string::npos)
      wrong = "'" + word + "' is not in: " + outcome.text;
  }
  report(name, wrong);
}

void testMachines() {
  const auto create = [](const char *device) { return [=] { emoframe::createBackend(device, {}); }; };
  const simt::Machine usual = simt::machine();
  simt::machine().driverVersion = 0;
  expectError("no driver", "ERR_DEVICE_DRIVER", {"no NVIDIA driver", "'cpu'"}, create("cuda:0"));
  simt::machine().driverVersion = 12040;
  expectError("an old driver", "ERR_DEVICE_DRIVER", {"too old", "12.4", "13.0", "580"}, create("cuda:0"));
  simt::machine() = usual;
  simt::machine().devices = 0;
  expectError("no GPU", "ERR_DEVICE", {"'cuda:0'", "sees no GPU"}, create("cuda:0"));
  simt::machine().devices = 1;
  expectError("an index past the only GPU", "ERR_DEVICE", {"'cuda:1'", "'cuda:0'"}, create("cuda:1"));
  simt::machine().devices = 4;
  expectError("an index past four GPUs", "ERR_DEVICE", {"'cuda:9'", "'cuda:3'"}, create("cuda:9"));
  simt::machine() = usual;
  for (const char *name : {"cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:00000", "gpu"}) {
    expectError(std::string("a device named ") + name, "ERR_DEVICE", {name, "'cuda:0'"}, create(name));
  }
  simt::machine().major = 7;
  simt::machine().minor = 5;
  expectError("a GPU that is too old", "ERR_DEVICE_UNSUPPORTED", {"7.5", "8.0"}, create("cuda:0"));
  simt::machine() = usual;
  simt::machine().hasKernels = false;
  expectError("a GPU that the build has no kernels for", "ERR_DEVICE_UNSUPPORTED", {"8.0", "for sm_80", "Build"},
              create("cuda:0"));
  simt::machine() = usual;
  simt::machine().taking = cudaErrorDevicesUnavailable;
  expectError("a GPU that another process holds", "ERR_DEVICE", {"is not available now"}, create("cuda:0"));
  simt::machine() = usual;
  simt::machine().counting = cudaErrorInitializationError;
  expectError("a driver that does not work", "ERR_DEVICE_DRIVER", {"does not work", "nvidia-smi"}, create("cuda:0"));
  report("a machine's reason for having no device",
         emoframe::describeCuda().reason.find("does not work") != std::string::npos ? "" : "is not reported");
  simt::machine() = usual;
  report("the driver's version", emoframe::describeCuda().driver == "13.0" ? "" : "is not reported");
  expectError("the usual machine", "none", {}, create("cuda:0"));
}

void testMemory() {
  const size_t usual = simt::settings().memoryBytes;
  simt::settings().memoryBytes = size_t(64) << 20;
  const auto backend = emoframe::createBackend("cuda:0", {});
  void *held = backend->allocate(size_t(40) << 20);
  expectError("out of memory", "ERR_OUT_OF_MEMORY", {"30 MB needed", "24 MB of 64 MB free", "40 MB in use here"},
              [&] { backend->allocate(size_t(30) << 20); });
  expectError("more than there could ever be", "ERR_OUT_OF_MEMORY", {}, [&] { backend->allocate(SIZE_MAX / 2); });
  backend->release(held);
  expectError("after a release there is room again", "none", {},
              [&] { backend->release(backend->allocate(size_t(50) << 20)); });
  simt::settings().memoryBytes = usual;

  // More than two blocks of staging and a bit; the source may change as soon as upload returns.
  const size_t count = (size_t(11) << 20) + 3;
  std::vector<unsigned char> sent(count), expected(count), received(count);
  for (size_t i = 0; i < count; ++i) expected[i] = sent[i] = static_cast<unsigned char>(i * 2654435761u >> 24);
  void *target = backend->allocate(count);
  backend->upload(target, sent.data(), count);
  std::fill(sent.begin(), sent.end(), static_cast<unsigned char>(0));
  backend->download(received.data(), target, count);
  report("uploads and downloads of many blocks", received == expected ? "" : "other bytes came back");
  expectError("an upload past the end", "ERR_DEVICE_FAULT", {"out of bounds"},
              [&] { backend->upload(static_cast<char *>(target) + 1, sent.data(), count); });
  simt::clearFault();
  backend->release(target);
}

void testFault() {
  const auto backend = emoframe::createBackend("cuda:0", {});
  float *memory = static_cast<float *>(backend->allocate(64 * sizeof(float)));
  expectError("a faulty op", "ERR_DEVICE_FAULT",
              {"(cudaLaunchKernel: cudaErrorLaunchFailure: ", "mapKernel", "writes", "out of bounds"}, [&] {
                backend->run(emoframe::Fill{emoframe::vector(memory, emoframe::DType::f32, 65), 1});
                backend->synchronize();
              });
  const std::vector<std::pair<const char *, std::function<void()>>> calls = {
      {"an op",
       [&] {
         backend->run(emoframe::Fill{emoframe::vector(memory, emoframe::DType::f32, 64), 1});
       }},
      {"an allocation", [&] { backend->allocate(16); }},
      {"a download",
       [&] {
         float one;
         backend->download(&one, memory, 4);
       }},
      {"synchronize", [&] { backend->synchronize(); }},
  };
  for (const auto &call : calls) {
    expectError(std::string("after a fault, ") + call.first, "ERR_DEVICE_FAULT", {"start again"}, call.second);
  }
  backend->release(memory);
  simt::clearFault();

  const auto another = emoframe::createBackend("cuda:0", {});
  memory = static_cast<float *>(another->allocate(64 * sizeof(float)));
  expectError("a faulty op in a step", "ERR_DEVICE_FAULT", {"out of bounds"}, [&] {
    another->beginStep();
    another->run(emoframe::Fill{emoframe::vector(memory, emoframe::DType::f32, 64), 1});
    another->run(emoframe::Fill{emoframe::vector(memory, emoframe::DType::f32, 65), 1});
    another->endStep();
  });
  simt::clearFault();  // as where a launch is refused although the device is well
  expectError("an op after a step that was cut off", "ERR_DEVICE_FAULT", {"interrupted", "cudaLaunchKernel: "}, [&] {
    another->run(emoframe::Fill{emoframe::vector(memory, emoframe::DType::f32, 64), 1});
  });
  expectError("an upload after a step that was cut off", "ERR_DEVICE_FAULT", {"another"}, [&] {
    const float one = 1;
    another->upload(memory, &one, sizeof(one));
  });
  another->release(memory);
}

// The call of the runtime that comes so many from now fails, once.
void failCall(uint64_t failAt) {
  simt::machine().plan = simt::Plan();
  simt::machine().plan.failAt = failAt;
}

// What fails where nothing can be thrown is told by the calls after it.
void testRelease() {
  for (const bool inStep : {false, true}) {
    const auto backend = emoframe::createBackend("cuda:0", {});
    float *given = static_cast<float *>(backend->allocate(64 * sizeof(float)));
    float *memory = static_cast<float *>(backend->allocate(64 * sizeof(float)));
    const auto op = [&] { backend->run(emoframe::Fill{emoframe::vector(memory, emoframe::DType::f32, 64), 1}); };
    if (inStep) {
      backend->beginStep();
      op();
    }
    failCall(2);  // cudaSetDevice, and then the step's launch or cudaFreeAsync
    backend->release(given);
    simt::machine().plan = simt::Plan();
    const std::string why = inStep ? "cudaLaunchKernel: " : "cudaFreeAsync: ";
    const std::vector<std::string> words = {inStep ? "interrupted" : "given back", why + "cudaErrorUnknown", "dispose"};
    const std::string after =
        inStep ? "after a release that could not do a step's ops, " : "after a release that failed, ";
    expectError(after + "an op", "ERR_DEVICE_FAULT", words, op);
    expectError(after + "an allocation", "ERR_DEVICE_FAULT", words, [&] { backend->allocate(16); });
    expectError(after + "a download", "ERR_DEVICE_FAULT", words, [&] {
      float one;
      backend->download(&one, memory, sizeof(one));
    });
    backend->release(memory);
  }
}

// Graphs of two uploads to one place: the one that is done last is found there.
void testGraphs() {
  const auto backend = emoframe::createBackend("cuda:0", {});
  int32_t *place = static_cast<int32_t *>(backend->allocate(sizeof(int32_t)));
  const int32_t values[3] = {1, 2, 3};
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  const auto found = [&] {
    int32_t value = 0;
    backend->download(&value, place, sizeof(value));
    return value;
  };
  for (const bool ordered : {true, false}) {
    cudaGraph_t graph = nullptr;
    cudaGraphNode_t nodes[2] = {};
    cudaGraphExec_t executable = nullptr;
    bool good = cudaGraphCreate(&graph, 0) == cudaSuccess;
    for (int i = 0; i < 2; ++i) {
      good = good && cudaGraphAddMemcpyNode1D(&nodes[i], graph, nodes, ordered ? i : 0, place, &values[i],
                                              sizeof(int32_t), cudaMemcpyHostToDevice) == cudaSuccess;
    }
    good = good && cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess;
    bool seen[4] = {};
    for (int run = 0; run < 20; ++run) {
      good = good && cudaGraphLaunch(executable, stream) == cudaSuccess;
      seen[found()] = true;
    }
    report(ordered ? "nodes of a graph in their order" : "nodes of a graph without an order come in any",
           good && seen[2] && seen[1] == !ordered ? "" : "not so");
    if (ordered) {
      const auto change = [&](cudaGraphNode_t node) {
        return cudaGraphExecMemcpyNodeSetParams1D(executable, node, place, &values[2], sizeof(int32_t),
                                                  cudaMemcpyHostToDevice);
      };
      good = change(nodes[1]) == cudaSuccess && cudaGraphLaunch(executable, stream) == cudaSuccess && found() == 3;
      report("a node that is changed", good ? "" : "did not do what it was changed to");
      report("a node of no graph", change(nullptr) == cudaErrorInvalidValue ? "" : "was taken");
    }
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
  cudaStreamDestroy(stream);
  backend->release(place);
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  testPlanted();
  testMachines();
  testMemory();
  testFault();
  testRelease();
  testGraphs();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
