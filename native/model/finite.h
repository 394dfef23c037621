// NaN and infinities are caught where they first show, and the utterance is named: downstream, everything is NaN.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace emoframe {

bool allFinite(const float *values, int64_t count);

// How messages call utterance b. The TypeScript side puts the utterance's own name in its place.
std::string utteranceOfBatch(int64_t b);

// Throws ERR_NOT_FINITE for the first row of `values` [T, width] that holds something else than finite numbers, where
// utterance b has the rows offsets[b] to offsets[b + 1]. `what`: what a row is.
void requireFinite(const std::vector<float> &values, int64_t width, const std::vector<int32_t> &offsets,
                   const std::string &what);

}  // namespace emoframe
