// Log-mel bands of the sound, a row a frame, beside what the convolutions make of it: the power of each band at its own
// level, which the encoder's norm takes away.
//
// The window of a frame is that of the encoder, 400 samples every 320 of 16 kHz, so the spectrum of all frames is one
// matrix product: overlapping rows of the sample axis by the Hann-windowed waves of a Fourier transform of 512 points,
// of those frequencies that a band weighs; in f32 whatever the precision. Bands are triangles on the HTK scale, 50 to
// 7600 Hz, of height 1.
#pragma once

#include "context.h"
#include "packing.h"

namespace emoframe {

class LogMel {
 public:
  // ERR_MODEL_CONFIG where frames are others, or bands so many that one lies between two frequencies.
  LogMel(int64_t bands, const HubertShape &shape, Backend &backend);
  ~LogMel();
  LogMel(const LogMel &) = delete;
  LogMel &operator=(const LogMel &) = delete;

  int64_t bands() const { return bands_; }
  size_t heldBytes() const { return heldBytes_; }
  // Of packed frames, [T, bands], from the samples of a batch as the encoder takes them, normalised or not.
  void forward(const Context &context, const Packing &packing, const View &out) const;

 private:
  Backend &backend_;
  int64_t bands_;
  void *memory_ = nullptr;
  size_t heldBytes_ = 0;
  View waves_;                                        // f32 [2 K, 400]: cosines of K frequencies, then their sines
  View weights_;                                      // of all bands, one behind another
  const int32_t *bins_ = nullptr, *first_ = nullptr;  // see LogBandPowers
};

}  // namespace emoframe
