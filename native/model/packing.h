// Where each utterance of a batch lies: on the sample axis, on the axis of the feature encoder's frames, and on the
// packed frame axis [T] on which everything after it works.
//
// Utterance b starts at sample start[b], a multiple of the total stride, so at conv layer i its frames begin at
// start[b] / (stride 0 · … · stride i). Frames whose window crosses its end are computed and dropped when its valid
// frames, or the range asked for, are copied to the packed axis.
#pragma once

#include <functional>

#include "model.h"
#include "workspace.h"

namespace emoframe {

// An index array that the host and the backend can both read.
struct IndexArray {
  std::vector<int32_t> host;
  const int32_t *device = nullptr;

  void upload(Workspace &workspace) { device = workspace.upload(host); }
};

struct RunTable {
  IndexArray source, target, length;

  void add(int64_t from, int64_t to, int64_t count);
  void upload(Workspace &workspace);
  RowRuns runs() const;
  RowRuns inverse() const;  // target to source
};

// A block of the feature encoder's frames, which goes through all of its layers at once (feature_encoder.h).
struct FrameBlock {
  int64_t first = 0;           // row of conv 0
  std::vector<int64_t> rows;   // of each layer, that the block's frames read
  int32_t skipped = 0;         // utterances that end before it
  IndexArray starts, lengths;  // of the utterances that have rows of conv 0 in it, clipped: samples
  RunTable valid;              // the block's frames → packed frames
};

// The packed axis with gaps of zeros around utterances, for the positional convolution (positional_conv.h).
struct PaddedAxis {
  int64_t paddedRows = 0, rows = 0;  // rows of the overlapping view
  RunTable pad;                      // packed frame → padded row, and the rows of zeros between
  RunTable take;                     // row of the view → packed frame
  RunTable takeGradient;             // the same for the data gradient's product
};

// The rows of the transformer's layers where learned ones precede each utterance's frames (extra_tokens.h).
struct TokenAxis {
  IndexArray offsets;  // [count + 1]
  RunTable tokens;     // learned row → row, for each utterance
  RunTable frames;     // packed frame → row
  RunTable collected;  // row of a token → row among the tokens of all utterances

  int64_t total() const { return offsets.host.back(); }
};

struct Packing;
// Lays utterances out on an axis with `gap` rows of zeros around each. `pad`: packed frame → row; `take`: the row at
// which a window of 2 · gap + 1 rows around a frame begins → packed frame. Gives the rows of the axis.
int64_t padUtterances(const Packing &packing, int64_t gap, RunTable &pad, RunTable &take);

struct Packing {
  int32_t count = 0;        // utterances
  int64_t sampleCount = 0;  // length of the sample axis: a multiple of the total stride; 0 with stored features
  IndexArray starts, lengths;
  std::vector<int64_t> frames;  // per utterance, of the range asked for
  IndexArray offsets;           // [count + 1]
  RunTable compaction;          // feature-encoder frames, or rows of stored features → packed frames
  PaddedAxis padded;
  TokenAxis tokens;
  int64_t reach = 0;  // distances that the table of attention's bias has, of each sign (distance_table.h)
  // Where the feature encoder runs:
  View samples;                       // f32 [1, sampleCount], and zeros behind it
  bool normalize = false;             // before anything else, in place
  double epsilon = 1e-7;              // added to the variance
  const double *waveform = nullptr;   // means and scales that the batch gives for it: backend memory
  View windowMean, windowCovariance;  // moments that the batch gives, or absent
  std::vector<FrameBlock> blocks;     // where it runs by blocks

  int64_t total() const { return offsets.host.back(); }
  Segments segments() const { return {count, offsets.host.data(), offsets.device}; }
};

// Frames of each utterance that are kept after the transformer.
struct Selection {
  int32_t count = 0;
  IndexArray offsets;  // [count + 1]
  RunTable rows;       // packed frames → kept frames

  int64_t total() const { return offsets.host.back(); }
  Segments segments() const { return {count, offsets.host.data(), offsets.device}; }
};

// All frames, or the ranges given (ERR_BATCH where one is empty or leaves its utterance).
Selection select(const Packing &packing, const FrameRanges *kept, Workspace &workspace);

// Where the features of a key lie among all that are stored.
struct StoredFeatures {
  int64_t first = 0, frames = -1;  // -1: there are none
};

// Checks the batch (ERR_BATCH, ERR_NOT_FINITE) and uploads its index arrays; what single parts of the model read is
// left to those. `stored` finds a feature key.
Packing pack(const HubertShape &shape, const HostBatch &batch,
             const std::function<StoredFeatures(const std::string &)> &stored, Workspace &workspace);

}  // namespace emoframe
