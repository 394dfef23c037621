// A device, as the model sees it: memory, steps, a stream for uploads, and the ops (ops.h), each an
// interface of its own; a backend is made of them. native/cpu and native/cuda implement it;
// native/counting_backend.h counts memory alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops.h"

namespace emoframe {

// What has been taken of a device's memory, in bytes.
struct MemoryUse {
  size_t held = 0;              // at present, temporaries of ops among it
  size_t peak = 0;              // the most that was held at once
  size_t scratch = 0;           // temporaries of ops that the backend keeps
  size_t staging = 0;           // on top of that, memory of the host through which uploads pass
  size_t available = SIZE_MAX;  // what can still be taken, as far as the backend knows
};

class Memory {
 public:
  virtual ~Memory() = default;

  // 64-byte aligned, not cleared. Error ERR_OUT_OF_MEMORY says how much was asked for, and how much there is.
  virtual void *allocate(size_t bytes) = 0;
  virtual void release(void *pointer) noexcept = 0;  // also forgets weights packed from inside it
  // Gives back memory inside an allocation, whose contents are not needed any more. It must not be read again.
  virtual void discard(void *pointer, size_t bytes) = 0;
  // Takes at once what temporaries of ops will need.
  virtual void reserveScratch(size_t bytes) = 0;
  virtual MemoryUse memory() const = 0;

  // Where ops can read memory of the host in place: null when they cannot and it has to be uploaded.
  virtual const void *readable(const void *host) = 0;
  virtual void upload(void *target, const void *hostSource, size_t bytes) = 0;
  virtual void download(void *hostTarget, const void *source, size_t bytes) = 0;  // after all ops so far
};

// How steps were done: as graphs kept from earlier ones, as graphs made for them, or op by op.
struct GraphUse {
  int64_t replayed = 0, made = 0, plain = 0;
  std::string reason;  // why graphs are no longer used, when they are not
};

class Steps {
 public:
  virtual ~Steps() = default;

  // Ops between the two are a step, of a kind that comes again; results are there for download as ever. A backend may
  // keep what a step does, and do it in one go at its end or when the host asks for a result: what makes one fast is
  // that nothing is up- or downloaded in its midst.
  virtual void beginStep() {}
  virtual void endStep() {}
  virtual GraphUse graphs() const { return {}; }
  virtual void synchronize() = 0;  // until all ops so far are done
};

// A way for inputs to the device beside its ops: what is sent by it travels while ops that were asked
// for earlier still run. One at a time lies in the memory that it fills: begin, upload ..., send;
// then await, the ops that read it, and release.
class UploadStream {
 public:
  virtual ~UploadStream() = default;

  virtual void reserve(size_t bytes) = 0;  // memory of the host for so much at once
  virtual void begin() = 0;
  // As Memory::upload; the source may change as soon as it returns.
  virtual void upload(void *target, const void *hostSource, size_t bytes) = 0;
  // Sends it all, as soon as the ops before the last release have read what lay there. The
  // memory may have been allocated since.
  virtual void send() = 0;
  virtual void await() = 0;             // ops that are asked for from now on find it there
  virtual void release() noexcept = 0;  // all that read it have been asked for
  virtual void wait() noexcept = 0;     // until what was sent has arrived: its memory may then be given back
};

class Backend : public Memory, public Steps {
 public:
  virtual std::string name() const = 0;  // "cpu"
  // "avx512", "avx2", "baseline" for the CPU; the path in use elsewhere.
  virtual std::string path() const = 0;
  // A long chain of ops over one axis is cut into blocks whose largest activation takes about so many bytes.
  virtual size_t blockBytes() const = 0;
  // Whether products of f32 can be asked for in tf32.
  virtual bool multipliesTf32() const { return false; }

  virtual void run(const Op &op) = 0;
  // Takes a product's b under its weightKey into a form of the backend's own, so that products with that key no longer
  // read b and its memory may be discarded. False: they go on reading it.
  virtual bool takeWeight(const View &b, uint64_t key) = 0;

  // Null: there is nothing to gain, as uploads are copies in one memory.
  virtual std::unique_ptr<UploadStream> uploadStream() { return nullptr; }
  // Called whenever the host is about to wait for ops that a device has been given: it may send what comes next by an
  // uploadStream, but neither ask for ops nor throw.
  virtual void whileWaiting(std::function<void()>) {}

  // A backend that computes nothing and takes nothing, and counts what this one would take for the same calls. Its
  // addresses lead nowhere, and what it downloads is zeros.
  virtual std::unique_ptr<Backend> counting() const = 0;
};

// What a device can do; the reasons for what it cannot.
struct DeviceReport {
  std::string device;            // "cpu"
  std::vector<std::string> isa;  // instruction sets found that are used
  int32_t threads = 0;           // hardware threads available to this process
  std::string library;           // "oneDNN 2.6.3"
  bool bf16 = false;             // native bf16 instructions
};
DeviceReport describeCpu();

struct CudaReport {
  struct Gpu {
    int32_t index;
    std::string name;
    size_t memoryBytes;
    std::string capability;  // "9.0"
    int32_t multiprocessors;
    double clockHertz;  // the highest of the multiprocessors
  };
  std::vector<std::string> builtFor;  // "sm_80", "compute_80" (PTX), ...; empty: the backend is not in this build
  std::string toolkit;                // the CUDA version that it was built with, "12.4"; empty likewise
  std::string driver;                 // the CUDA version that the driver serves, "13.0"; empty: there is no driver
  std::vector<Gpu> devices;
  std::string reason;  // why there are none
};
CudaReport describeCuda();

struct BackendOptions {
  int32_t threads = 0;     // 0: all of the process's
  size_t memoryLimit = 0;  // bytes of the device that may be taken; 0: all that it has
  bool graphs = true;      // on a GPU, steps are done as graphs
};

// "cpu" or "cuda:N". ERR_DEVICE for anything that is not there, naming what is; for a GPU also
// ERR_DEVICE_DRIVER and ERR_DEVICE_UNSUPPORTED.
std::unique_ptr<Backend> createBackend(const std::string &device, const BackendOptions &options);

}  // namespace emoframe
