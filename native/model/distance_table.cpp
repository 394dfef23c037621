#include "distance_table.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace emoframe {

int64_t distanceBucket(int64_t distance, int64_t buckets, int64_t reach) {
  const int64_t each = buckets / 2, exact = each / 2, far = std::abs(distance);
  const int64_t ofSign = distance > 0 ? each : 0;
  if (far < exact) return ofSign + far;
  const float ratio = static_cast<float>(std::log(static_cast<double>(reach) / static_cast<double>(exact)));
  const float beyond = std::log(static_cast<float>(far) / static_cast<float>(exact)) / ratio;
  const auto bucket = static_cast<int64_t>(static_cast<float>(exact) + beyond * static_cast<float>(each - exact));
  return ofSign + std::min(bucket, each - 1);
}

DistanceTable::DistanceTable(const HubertShape &shape, Parameters &parameters, Backend &backend)
    : heads_(shape.heads),
      reach_(shape.positionBias == PositionBias::buckets ? shape.biasReach : 0),
      backend_(backend) {
  if (shape.positionBias == PositionBias::slopes) {
    learned_ = parameters.add("encoder.alibi_scale", {heads_});
    return;
  }
  const int64_t buckets = shape.biasBuckets;
  learned_ = parameters.add("encoder.layers.0.attention.rel_attn_embed.weight", {buckets, heads_});
  std::vector<float> membership(static_cast<size_t>((2 * reach_ + 1) * buckets), 0.0f);
  for (int64_t d = -reach_; d <= reach_; ++d) {
    membership[static_cast<size_t>((d + reach_) * buckets + distanceBucket(d, buckets, reach_))] = 1;
  }
  const size_t bytes = membership.size() * sizeof(float);
  membership_ = matrix(backend.allocate(bytes), DType::f32, 2 * reach_ + 1, buckets);
  backend.upload(membership_.data, membership.data(), bytes);
}

DistanceTable::~DistanceTable() {
  if (membership_) backend_.release(membership_.data);
}

void DistanceTable::layOut(Packing &packing, int64_t longest) const {
  packing.reach = reach_;
  if (reach_ > 0) return;
  const int64_t own = *std::max_element(packing.frames.begin(), packing.frames.end());
  packing.reach = std::min(std::max(own, longest), packing.total()) - 1;
}

// Memory follows from the frames alone, so that it can be planned.
View DistanceTable::tensor(const Context &context, const Packing &packing) const {
  const int64_t most = reach_ > 0 ? reach_ : packing.total();
  return context.workspace.tensor(DType::f32, 2 * most + 1, heads_).rowRange(0, 2 * packing.reach + 1);
}

View DistanceTable::forward(const Context &context, const Packing &packing) const {
  const View table = tensor(context, packing), learned = context.parameters.master(learned_);
  if (membership_) {
    context.run(Gemm{membership_, learned, table});
  } else {
    context.run(SlopeTable{learned, table});
  }
  return table;
}

View DistanceTable::zeroGradient(const Context &context, const Packing &packing) const {
  const View gradient = tensor(context, packing);
  context.run(Fill{gradient, 0});
  return gradient;
}

void DistanceTable::backward(const Context &context, const View &dTable) const {
  const View gradient = context.parameters.gradient(learned_);
  if (membership_) {
    context.run(Gemm{membership_.transposed(), dTable, gradient, true});
  } else {
    context.run(SlopeTableBackward{context.parameters.master(learned_), dTable, gradient});
  }
}

}  // namespace emoframe
