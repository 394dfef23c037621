// What passes are given by the host: samples, tables, masks, labels, in memory of their own that is filled on the way
// beside the ops (UploadStream). There are two sets of it, so that the next pass's can be sent while this one reads its
// own.
//
// A pass's inputs follow from its batch alone, and not from anything that another pass computes. Where a backend has no
// such way they lie in the arena like all else of a pass.
#pragma once

#include <functional>
#include <memory>

#include "alignment.h"
#include "masked_prediction.h"
#include "packing.h"
#include "workspace.h"

namespace emoframe {

struct PassInputs {
  Packing packing;
  Selection selection;               // frames that are kept, of a pass that classifies
  MaskedPrediction::Targets frames;  // of a pass that trains masked prediction
  const int32_t *classes = nullptr;  // of one that trains the classifier: backend memory
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

  // Sends the inputs of a pass that will come with this ticket; 0 is no ticket. Takes the place of what was sent so
  // and is still waiting, where there is no other.
  void send(uint64_t ticket, const Fill &fill);
  // Those that were sent under the ticket, or else are sent now. Ops find them until `done`.
  const PassInputs &take(uint64_t ticket, const Fill &fill);
  void done() noexcept;
  // What was sent ahead, where it may be wrong by now: all of it, or what follows from the features that are stored.
  void forget();
  void forgetStored();

  int sets() const { return sets_[0].uploadStream ? 2 : 0; }
  void reserve(size_t bytes);  // of one set
  void release() noexcept;
  size_t size() const;
  size_t peak() const;  // of one set

 private:
  struct Set {
    Set(Backend &backend, std::unique_ptr<UploadStream> way);
    void fill(const Fill &make);

    std::unique_ptr<UploadStream> uploadStream;
    Workspace workspace;
    PassInputs inputs;
    uint64_t ticket = 0;  // of the pass that it waits for
  };
  Set &vacant();

  Workspace &arena_;
  Set sets_[2];
  int last_ = 0;  // taken
  bool busy_ = false;
};

}  // namespace emoframe
