// T5's buckets of distances against transformers' (WavLMAttention._relative_positions_bucket of WavLM's 320 and 800):
// the first distances of the buckets that hold several.
#include "harness.h"
#include "model/distance_table.h"

namespace emoframe {
namespace testing {
namespace {

TEST(distancesAreInTheBucketsOfTransformers) {
  const int64_t first[] = {80,  83,  85,  88,  90,  93,  96,  98,  101, 104, 107, 110, 114, 117, 120, 124,
                           127, 131, 135, 139, 143, 147, 151, 156, 160, 165, 170, 175, 180, 185, 190, 196,
                           201, 207, 213, 220, 226, 233, 239, 246, 253, 261, 268, 276, 284, 293, 301, 310,
                           319, 328, 338, 348, 358, 368, 379, 390, 401, 413, 425, 438, 450, 464, 477, 491,
                           505, 520, 535, 551, 567, 583, 600, 618, 636, 655, 674, 693, 714, 734, 756, 778};
  int64_t bucket = 0, begun = 0;
  for (int64_t distance = 0; distance <= 2000; ++distance) {
    if (distance < 80) {
      bucket = distance;
    } else if (begun < 80 && distance == first[begun]) {
      bucket = 80 + begun++;
    }
    const std::string where = "the bucket of " + std::to_string(distance);
    require(distanceBucket(-distance, 320, 800) == bucket, where);
    if (distance > 0) require(distanceBucket(distance, 320, 800) == 160 + bucket, where);
  }
}

}  // namespace
}  // namespace testing
}  // namespace emoframe
