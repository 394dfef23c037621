// AdamW over several tensors and steps, against the formulas of torch.optim.AdamW in float64.
#include <limits>

#include "harness.h"

namespace emoframe {
namespace test {
namespace {

struct State {
  Doubles parameter, m, v;
};
struct Settings {
  double rate, beta1, beta2, epsilon, decay;
};

void referenceStep(State &state, const Doubles &gradient, const Settings &s, int64_t step, double clip) {
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double g = gradient[i] * clip;
    state.parameter[i] *= 1 - s.rate * s.decay;
    state.m[i] = s.beta1 * state.m[i] + (1 - s.beta1) * g;
    state.v[i] = s.beta2 * state.v[i] + (1 - s.beta2) * g * g;
    const double m = state.m[i] / (1 - std::pow(s.beta1, step)), v = state.v[i] / (1 - std::pow(s.beta2, step));
    state.parameter[i] -= s.rate * m / (std::sqrt(v) + s.epsilon);
  }
}

void steps(Backend &backend, Report &report, const Settings &s, double clipNorm, int64_t firstStep) {
  const std::vector<int64_t> sizes = {1, 17, 1024, 0, 50001};
  std::vector<Tensor> parameters, ms, vs, shadows;
  std::vector<State> states;
  for (size_t i = 0; i < sizes.size(); ++i) {
    parameters.push_back(Tensor(backend, DType::f32, 1, sizes[i]).normal(10 + i));
    ms.push_back(Tensor(backend, DType::f32, 1, sizes[i]).constant(0));
    vs.push_back(Tensor(backend, DType::f32, 1, sizes[i]).constant(0));
    shadows.push_back(Tensor(backend, DType::bf16, 1, sizes[i]).normal(20 + i));
    states.push_back({parameters[i].values, ms[i].values, vs[i].values});
  }
  const Tensor squares = Tensor(backend, DType::f32, 1, 1).constant(0);
  for (int64_t step = firstStep; step < firstStep + 5; ++step) {
    std::vector<Tensor> gradients;
    std::vector<View> views;
    std::vector<AdamWTensor> tensors;
    double sum = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      gradients.push_back(Tensor(backend, DType::f32, 1, sizes[i]).normal(100 * step + i, 0.1));
      for (double g : gradients[i].values) sum += g * g;
      views.push_back(gradients[i]);
      // The odd tensors have no shadow.
      tensors.push_back({parameters[i], gradients[i], ms[i], vs[i], i % 2 ? View{} : shadows[i].view()});
    }
    AdamW adamW;
    adamW.learningRate = static_cast<float>(s.rate);
    adamW.beta1 = static_cast<float>(s.beta1);
    adamW.beta2 = static_cast<float>(s.beta2);
    adamW.epsilon = static_cast<float>(s.epsilon);
    adamW.weightDecay = static_cast<float>(s.decay);
    adamW.step = step;
    adamW.clipNorm = static_cast<float>(clipNorm);
    if (clipNorm > 0) {
      backend.run(SumSquares{views, squares});
      adamW.gradientSquares = squares;
    }
    const double clip = clipNorm > 0 ? std::min(1.0, clipNorm / (std::sqrt(sum) + 1e-6)) : 1;
    adamW.tensors = tensors;
    backend.run(adamW);
    for (size_t i = 0; i < sizes.size(); ++i) referenceStep(states[i], gradients[i].values, s, step, clip);
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    const std::string what = std::to_string(sizes[i]) + " elements";
    // Five steps of fp32 rounding.
    report.close(parameters[i], states[i].parameter, 1e-6, what + " parameter");
    Doubles moved(sizes[i]), expected(sizes[i]);
    const Doubles now = parameters[i].read();
    for (int64_t j = 0; j < sizes[i]; ++j) {
      moved[j] = now[j] - parameters[i].values[j];
      expected[j] = states[i].parameter[j] - parameters[i].values[j];
    }
    // The movement itself, to what fp32 parameters of size 1 can hold of it.
    report.close(moved, expected, 1e-3, what + " movement");
    report.close(ms[i], states[i].m, 1e-6, what + " m");
    report.close(vs[i], states[i].v, 1e-6, what + " v");
    if (i % 2 == 0) {
      Doubles copies = now;
      for (double &value : copies) value = rounded(value, DType::bf16);
      report.same(shadows[i], copies, what + " shadow");
    } else {
      report.untouched(shadows[i], what + " no shadow");
    }
  }
}

// Values that torch.optim.AdamW (2.x, lr 0.01, betas (0.9, 0.98), eps 1e-6, weight decay 0.1) gives
// after two steps (scripts/oracle/adamw.py).
void againstTorch(Backend &backend, Report &report) {
  const Tensor p = Tensor(backend, DType::f32, 1, 4).set({1.0, -2.0, 0.5, 3.0});
  const Tensor m = Tensor(backend, DType::f32, 1, 4).constant(0), v = Tensor(backend, DType::f32, 1, 4).constant(0);
  AdamW settings;
  settings.learningRate = 0.01f;
  settings.beta1 = 0.9f;
  settings.beta2 = 0.98f;
  settings.epsilon = 1e-6f;
  settings.weightDecay = 0.1f;
  for (int step = 1; step <= 2; ++step) {
    const Tensor g = Tensor(backend, DType::f32, 1, 4)
                         .set(step == 1 ? Doubles{0.1, -0.2, 1e-7, 0.0} : Doubles{-0.3, 0.05, 2e-7, 4.0});
    settings.step = step;
    const std::vector<AdamWTensor> tensors{{p, g, m, v, {}}};
    settings.tensors = tensors;
    backend.run(settings);
  }
  report.close(p, {0.992934167, -1.98129737, 0.496774942, 2.98659706}, 1e-7, "parameter");
  report.close(m, {-0.0209999997, -0.0130000012, 2.90000006e-08, 0.400000006}, 1e-7, "m");
  report.close(v, {0.00199600006, 0.000834000064, 9.95999996e-16, 0.319999993}, 1e-7, "v");
}

// More tensors than a launch has room for, one of them in the middle of a row of 16 bytes.
void manyTensors(Backend &backend, Report &report) {
  const Settings s{1e-3, 0.9, 0.999, 1e-8, 0.01};
  const Tensor row = Tensor(backend, DType::f32, 1, 5000).normal(1),
               squares = Tensor(backend, DType::f32, 1, 5000).constant(0.5);
  const Tensor gradient = Tensor(backend, DType::f32, 1, 5000).normal(2),
               m = Tensor(backend, DType::f32, 1, 5000).normal(3);
  std::vector<AdamWTensor> tensors;
  State state;
  Doubles gradients;
  int64_t at = 0;
  for (int64_t i = 0; i < 160; ++i) {
    const int64_t size = 1 + i % 60;
    tensors.push_back({row.view().colRange(at, size),
                       gradient.view().colRange(at, size),
                       m.view().colRange(at, size),
                       squares.view().colRange(at, size),
                       {}});
    for (int64_t j = at; j < at + size; ++j) {
      state.parameter.push_back(row.values[j]);
      state.m.push_back(m.values[j]);
      state.v.push_back(squares.values[j]);
      gradients.push_back(gradient.values[j]);
    }
    at += size;
  }
  AdamW settings;
  settings.learningRate = static_cast<float>(s.rate);
  settings.weightDecay = static_cast<float>(s.decay);
  settings.step = 3;
  settings.tensors = tensors;
  backend.run(settings);
  referenceStep(state, gradients, s, 3, 1);
  Doubles rest = row.values, now = row.read();
  std::copy(state.parameter.begin(), state.parameter.end(), rest.begin());
  report.close(now, rest, 1e-6, "parameters, and what lies behind them");
}

void notFinite(Backend &backend, Report &report) {
  for (const double squares : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (const float clipNorm : {0.f, 1.f}) {
      const Tensor p = Tensor(backend, DType::f32, 1, 3000).normal(1),
                   g = Tensor(backend, DType::f32, 1, 3000).normal(2);
      const Tensor m = Tensor(backend, DType::f32, 1, 3000).normal(3),
                   v = Tensor(backend, DType::f32, 1, 3000).normal(4);
      const Tensor norm = Tensor(backend, DType::f32, 1, 1).constant(squares);
      AdamW settings;
      settings.weightDecay = 0.1f;
      settings.clipNorm = clipNorm;
      settings.gradientSquares = norm;
      const std::vector<AdamWTensor> tensors{{p, g, m, v, {}}};
      settings.tensors = tensors;
      backend.run(settings);
      for (const Tensor *tensor : {&p, &m, &v}) report.same(*tensor, tensor->values, "nothing is updated");
    }
  }
}

void sameBits(Backend &, Report &report) {
  report.deterministic(
      [](Backend &backend) {
        const Tensor p = Tensor(backend, DType::f32, 1, 70001).normal(1),
                     g = Tensor(backend, DType::f32, 1, 70001).normal(2);
        const Tensor m = Tensor(backend, DType::f32, 1, 70001).normal(3),
                     v = Tensor(backend, DType::f32, 1, 70001).constant(0.5);
        const std::vector<AdamWTensor> tensors{{p, g, m, v, {}}};
        AdamW settings;
        settings.tensors = tensors;
        backend.run(settings);
        return p.read();
      },
      "adamW");
}

const Settings fineTuning{1e-3, 0.9, 0.999, 1e-8, 0.01}, pretraining{5e-3, 0.9, 0.98, 1e-6, 0.1};

const Cases table("optimiser",
                  {{"AdamW", [](Backend &b, Report &r) { steps(b, r, fineTuning, 0, 1); }},
                   {"AdamW, later steps", [](Backend &b, Report &r) { steps(b, r, pretraining, 0, 4000); }},
                   {"AdamW, clipped", [](Backend &b, Report &r) { steps(b, r, pretraining, 2, 1); }},
                   {"AdamW, norm below the clip", [](Backend &b, Report &r) { steps(b, r, pretraining, 1e6, 1); }},
                   {"AdamW against torch", againstTorch},
                   {"AdamW of many small tensors", manyTensors},
                   {"AdamW with a norm that is not finite", notFinite},
                   {"same bits with any thread count", sameBits}});

}  // namespace
}  // namespace test
}  // namespace emoframe
