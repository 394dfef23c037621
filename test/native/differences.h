// Backward against central differences of the forward pass, tensor by tensor: along a direction made of the gradient
// itself, so that the derivative is large, and of a random vector, so that an error in any element shows.
#pragma once

#include "harness.h"

namespace emoframe {
namespace testing {

double norm(const std::vector<float> &x);
// What trainStep differentiates.
double objective(Model &model, const Batch &batch, const TrainStep &step);
// `frozen`: prefixes of tensors that have no gradient. `h`: how far a tensor is moved.
void checkGradients(Model &model, const Batch &batch, const TrainStep &step,
                    const std::vector<std::string> &frozen = {}, double h = 4e-3);

}  // namespace testing
}  // namespace emoframe
