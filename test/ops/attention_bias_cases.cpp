// Attention with a bias of the distance, and what biases are made of: WavLM's gates and ALiBi's table.
#include "attention_reference.h"

namespace emoframe {
namespace test {

namespace {

using namespace attention;

Setting biased(Setting setting, int64_t reach, bool gate, int32_t unbiased) {
  setting.reach = reach;
  setting.gate = gate;
  setting.unbiased = unbiased;
  return setting;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void checkGate(Backend &backend, Report &report, int64_t T, int64_t heads, int64_t gap, bool train) {
  const std::string what = std::to_string(T) + " rows, " + std::to_string(heads) + " heads, gap " + std::to_string(gap);
  const Tensor x = Tensor(backend, DType::f32, T * heads, 8, {gap}).normal(1, 0.7);
  const Tensor scale = Tensor(backend, DType::f32, 1, heads).normal(2, 0.5, 1),
               gate(backend, DType::f32, T, heads, {gap});
  const Tensor dGate = Tensor(backend, DType::f32, T, heads, {2 * gap}).normal(3);
  const Tensor dx(backend, DType::f32, T * heads, 8, {gap}), dScale = Tensor(backend, DType::f32, 1, heads).normal(4);
  const PositionGate op{x, scale, gate};
  backend.run(op);
  backend.run(PositionGateBackward{{x, scale, {}}, dGate, dx, train ? dScale.view() : View()});
  Doubles gates(static_cast<size_t>(T * heads)), gradient(gates.size() * 8), ofScale = dScale.values;
  for (int64_t i = 0; i < T * heads; ++i) {
    const double a = sigmoid(x(i, 0) + x(i, 1) + x(i, 2) + x(i, 3)), b = sigmoid(x(i, 4) + x(i, 5) + x(i, 6) + x(i, 7));
    const double c = scale.values[i % heads], g = dGate.values[i];
    gates[i] = a * (b * c - 1) + 2;
    for (int64_t j = 0; j < 8; ++j) gradient[8 * i + j] = g * (j < 4 ? (b * c - 1) * a * (1 - a) : a * c * b * (1 - b));
    if (train) ofScale[i % heads] += g * a * b;
  }
  report.close(gate, gates, what + ": gate");
  report.close(dx, gradient, what + ": dx");
  report.close(dScale, ofScale, what + ": dScale");
  report.untouched(x, what);
}

// As in the reference implementation of ALiBi, by a recursion over numbers of heads.
Doubles slopesOf(int64_t heads) {
  int64_t power = 1;
  while (2 * power <= heads) power *= 2;
  Doubles slopes;
  for (int64_t i = 1; i <= power; ++i)
    slopes.push_back(std::pow(2, -8.0 * static_cast<double>(i) / static_cast<double>(power)));
  if (power == heads) return slopes;
  const Doubles finer = slopesOf(2 * power);
  for (size_t i = 0; slopes.size() < static_cast<size_t>(heads); i += 2) slopes.push_back(finer[i]);
  return slopes;
}

void checkSlopes(Backend &backend, Report &report, int64_t heads, int64_t reach, int64_t gap) {
  const std::string what = std::to_string(heads) + " heads, distances within " + std::to_string(reach);
  const int64_t rows = 2 * reach + 1;
  Tensor scale = Tensor(backend, DType::f32, 1, heads).normal(1, 0.5, 1);
  Doubles scales = scale.values;
  scales[0] = heads == 1 ? scales[0] : -0.5;  // such a head has no biases
  if (heads > 2) scales[2] = 0;
  scale.set(scales);
  const Tensor table(backend, DType::f32, rows, heads, {gap});
  const Tensor dTable = Tensor(backend, DType::f32, rows, heads, {2 * gap}).normal(2);
  const Tensor dScale = Tensor(backend, DType::f32, 1, heads).normal(3);
  backend.run(SlopeTable{scale, table});
  backend.run(SlopeTableBackward{scale, dTable, dScale});
  const Doubles slopes = slopesOf(heads);
  Doubles expected, gradient = dScale.values;
  for (int64_t d = 0; d < rows; ++d) {
    for (int64_t h = 0; h < heads; ++h) {
      const double slope = -slopes[h] * static_cast<double>(std::abs(d - reach));
      expected.push_back(slope * std::max(0.0, scale.values[h]));
      if (scale.values[h] >= 0) gradient[h] += slope * dTable(d, h);
    }
  }
  report.close(table, expected, what + ": table");
  report.close(dScale, gradient, what + ": dScale");
}

// Reaches within a tile, across its edge and beyond the utterances; gates and unbiased rows with each.
void reaches(Backend &backend, Report &report) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (int64_t reach : {1, 5, 70, 200}) {
      for (bool gate : {false, true}) {
        const Setting s{{37, 1, 130, 0, 8}, 2, 64, dtype, gate ? 0.25f : 0.0f};
        check(backend, report, biased(s, reach, gate, reach == 5 ? 10 : gate ? 3 : 0));
      }
    }
  }
  // One bias for all distances changes nothing but towards keys that have none.
  check(backend, report, biased({{37, 1, 130}, 2, 64}, 0, true, 3));
}

void headSizes(Backend &backend, Report &report) {
  for (int64_t headSize : {8, 24, 80, 128}) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      check(backend, report, biased({{19, 70}, 3, headSize, dtype, 0.25f}, 30, true, 1));
    }
  }
}

void edges(Backend &backend, Report &report) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    check(backend, report, biased({{129, 1, 64, 16, 33}, 1, 64, dtype}, 128, true, 0));
    check(backend, report, biased({{65, 97}, 1, 128, dtype}, 16, false, 64));
    check(backend, report, biased({{70, 2}, 1, 64, dtype}, 15, true, 65));
    check(backend, report, biased({{20, 40}, 1, 64, dtype}, 9, true, 100));  // no row has biases
  }
}

void tf32(Backend &backend, Report &report) {
  if (!backend.multipliesTf32()) return report.check(report.device == "cpu", "tf32", "the device has none");
  for (int64_t headSize : {64, 128}) {
    Setting s = biased({{129, 1, 33}, 2, headSize, DType::f32, 0.25f}, 40, true, 10);
    s.tf32 = true;
    check(backend, report, s);
  }
}

void manyUtterances(Backend &backend, Report &report) {
  std::vector<int32_t> lengths;
  for (int32_t i = 0; i < 75; ++i) lengths.push_back(i % 5 == 3 ? 0 : (i * 7) % 11);
  lengths.push_back(70);
  check(backend, report, biased({lengths, 2, 16, DType::bf16, 0.25f}, 7, true, 2));
  check(backend, report, biased({lengths, 2, 16}, 69, false, 0));
  check(backend, report, biased({{}, 2, 8}, 3, true, 0));
  check(backend, report, biased({{0, 0}, 2, 8}, 3, true, 0));
}

// A table that is not trained, and a gate whose gradient nobody wants.
void withoutGradients(Backend &backend, Report &report) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    const Setting s = biased({{70, 9}, 2, 64, dtype, 0.25f}, 20, true, 2);
    const Run with(backend, s);
    Run without(backend, s);
    without.gradient.dTable = without.gradient.dGate = {};
    const Doubles expected = with.dQkv.read(), before = without.dTable.read();
    backend.run(without.gradient);
    report.close(without.dQkv.read(), expected, 0, "gradients");
    report.close(without.dTable.read(), before, 0, "dTable");
  }
}

void referenceAgrees(Backend &, Report &report) {
  const std::vector<int32_t> lengths{3, 5};
  const Dropout dropout{0.3f, 5, 1, 2};
  Doubles q(8 * 16), k(q.size()), v(q.size()), g(q.size());
  for (size_t i = 0; i < q.size(); ++i) {
    q[i] = normalAt(1, i), k[i] = normalAt(2, i), v[i] = normalAt(3, i), g[i] = normalAt(4, i);
  }
  BiasValues bias{Doubles(5 * 2), Doubles(8 * 2), 1};
  for (size_t i = 0; i < bias.table.size(); ++i) bias.table[i] = normalAt(5, i);
  for (size_t i = 0; i < bias.gate.size(); ++i) bias.gate[i] = normalAt(6, i);
  const auto loss = [&](const Doubles &qs, const Doubles &table, const Doubles &gate) {
    const Doubles out = reference(lengths, 2, 8, 0.4, dropout, qs, k, v, g, {table, gate, bias.unbiased}).out;
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * g[i];
    return sum;
  };
  const auto ofQ = [&](const Doubles &x) { return loss(x, bias.table, bias.gate); };
  const auto ofTable = [&](const Doubles &x) { return loss(q, x, bias.gate); };
  const auto ofGate = [&](const Doubles &x) { return loss(q, bias.table, x); };
  const Reference r = reference(lengths, 2, 8, 0.4, dropout, q, k, v, g, bias);
  report.close(r.dq, finiteDifferences(q, ofQ), 1e-7, "dq");
  report.close(r.dTable, finiteDifferences(bias.table, ofTable), 1e-7, "dTable");
  report.close(r.dGate, finiteDifferences(bias.gate, ofGate), 1e-7, "dGate");
}

void sameBits(Backend &, Report &report) {
  const int32_t longest = report.device == "cpu" ? 700 : 150;  // of several tasks, or tiles
  for (DType dtype : {DType::f32, DType::bf16}) {
    const auto run = [&](Backend &backend) {
      const Run its(backend, biased({{longest, 45, 130}, 2, 40, dtype, 0.1f}, 300, true, 10));
      Doubles all = its.out.read();
      for (const Doubles &more : {its.dQkv.read(), its.dTable.read(), its.dGate.read()}) {
        all.insert(all.end(), more.begin(), more.end());
      }
      return all;
    };
    report.deterministic(run, nameOf(dtype));
  }
}

void gates(Backend &backend, Report &report) {
  for (int64_t gap : {0, 3, 4}) {
    for (int64_t T : {0, 1, 17, 200}) checkGate(backend, report, T, T == 17 ? 3 : 12, gap, T != 1);
  }
  checkGate(backend, report, 70, 133, 0, true);
}

void slopes(Backend &backend, Report &report) {
  for (int64_t heads : {1, 2, 3, 8, 12, 16, 20}) checkSlopes(backend, report, heads, heads * 9, heads % 3);
  checkSlopes(backend, report, 12, 0, 0);
  checkSlopes(backend, report, 4, 1499, 0);
}

const Cases table("attention", {{"biases within reaches", reaches},
                                {"biases with any head size", headSizes},
                                {"biases at the edges of tiles", edges},
                                {"biases in tf32", tf32},
                                {"biases in many utterances", manyUtterances},
                                {"biases without gradients of their own", withoutGradients},
                                {"biases: the reference agrees with finite differences", referenceAgrees},
                                {"biases: same bits with any number of threads", sameBits},
                                {"gates of the position", gates},
                                {"ALiBi's slopes", slopes}});

}  // namespace

}  // namespace test
}  // namespace emoframe
