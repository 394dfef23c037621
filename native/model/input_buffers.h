// What passes are given by the host: samples, tables, masks, labels, in memory of their own that is
// filled beside the ops (UploadStream). There are two sets of it, so that the next pass's inputs can
// be uploaded while this one reads its own.
//
// A pass's inputs follow from its batch alone, and not from anything that another pass computes. Where a backend has no
// upload stream they lie in the arena like all else of a pass.
#pragma once

#include <functional>
#include <memory>

#include "alignment.h"
#include "classifier.h"
#include "masked_prediction.h"
#include "packing.h"
#include "workspace.h"

namespace emoframe {

struct PassInputs {
  Packing packing;
  Selection selection;               // frames that are kept, of a pass that classifies
  MaskedPrediction::Targets frames;  // of a pass that trains masked prediction
  Classifier::Inputs classifier;     // of one that trains it, or runs a model that has it
  Alignment::Inputs alignment;       // of one that trains it, or runs a model that has it
  const uint8_t *mask = nullptr;     // backend memory
};

class InputBuffers {
 public:
  // Makes inputs, with what is uploaded in the memory given.
  using Fill = std::function<PassInputs(Workspace &)>;

  InputBuffers(Backend &backend, Workspace &arena);
  ~InputBuffers() { release(); }
  InputBuffers(const InputBuffers &) = delete;
  InputBuffers &operator=(const InputBuffers &) = delete;

  // Uploads the inputs of the pass over batch `id`, which is likely the next, in place of any that wait for theirs.
  void prefetch(uint64_t id, const Fill &fill);
  // The batch's inputs: those that wait, or else uploaded now. Ops find them until `done`.
  const PassInputs &take(uint64_t id, const Fill &fill);
  void done() noexcept;
  // What waits may be wrong by now: whatever it is, or what follows from the features that are stored.
  void forget() { waiting_ = 0; }
  void forgetStored();

  int sets() const { return sets_[0].uploadStream ? 2 : 0; }
  void reserve(size_t bytes);  // of one set
  void release() noexcept;
  size_t size() const;
  size_t peak() const;  // of one set

 private:
  struct Set {
    explicit Set(Backend &backend);
    void fill(const Fill &make);

    std::unique_ptr<UploadStream> uploadStream;
    Workspace workspace;
    PassInputs inputs;
  };

  Workspace &arena_;
  Set sets_[2];
  int current_ = 0;       // of the pass in hand, or else of the last
  uint64_t waiting_ = 0;  // the batch whose inputs lie in the other set; 0: none's
};

}  // namespace emoframe
