// Conv 0: its loops, and the GroupNorm that is folded into its filters from the covariance of the windows.
#include "harness.h"

namespace emoframe {
namespace test {

namespace {

struct Utterance {
  int32_t start, length;
};

// Samples on one axis, and everything around them that a call needs.
struct Setup {
  Setup(Backend &backend, const std::vector<Utterance> &utterances, int64_t total, int64_t channels, int64_t kernel,
        int64_t stride, bool banks, bool bias, double shift = 0)
      : samples(Tensor(backend, DType::f32, 1, total).normal(1, 1, shift)),
        weight(Tensor(backend, DType::f32, banks ? static_cast<int64_t>(utterances.size()) : 1, channels, kernel)
                   .normal(2, 0.4)),
        bias(Tensor(backend, DType::f32, banks ? static_cast<int64_t>(utterances.size()) : 1, 1, channels).normal(3)),
        starts(backend, pick(utterances, &Utterance::start)),
        lengths(backend, pick(utterances, &Utterance::length)) {
    conv.samples = samples;
    conv.count = static_cast<int32_t>(utterances.size());
    conv.start = starts.values.data();
    conv.length = lengths.values.data();
    conv.deviceStart = starts.data();
    conv.deviceLength = lengths.data();
    conv.kernel = kernel;
    conv.stride = stride;
    conv.weight = weight;
    if (bias) conv.bias = this->bias;
  }

  static std::vector<int32_t> pick(const std::vector<Utterance> &all, int32_t Utterance::*field) {
    std::vector<int32_t> result;
    for (const Utterance &one : all) result.push_back(one.*field);
    return result;
  }

  int64_t channels() const { return weight.view().rows; }
  int64_t rows() const { return samples.view().cols / conv.stride; }
  const double *window(int32_t b, int64_t frame) const {
    return samples.values.data() + conv.start[b] + frame * conv.stride;
  }
  double pre(int32_t b, int64_t frame, int64_t c) const {
    const int64_t bank = weight.view().batch > 1 ? b : 0;
    double sum = conv.bias ? bias(bank, 0, c) : 0;
    for (int64_t k = 0; k < conv.kernel; ++k) sum += weight(bank, c, k) * window(b, frame)[k];
    return sum;
  }

  Tensor samples, weight, bias;
  Array<int32_t> starts, lengths;
  Conv0 conv;
};

// Ragged: a gap at the start and between, one utterance too short for a frame, one of exactly one frame.
const std::vector<Utterance> ragged = {{40, 333}, {400, 9}, {440, 10}, {480, 2017}};
constexpr int64_t raggedTotal = 2560;

// `gap`: elements after each row of the output.
void forward(Backend &backend, Report &report, const Setup &setup, DType dtype, const std::string &what,
             int64_t gap = 3) {
  Tensor out(backend, dtype, setup.rows(), setup.channels(), Layout{gap, 0, false});
  backend.run(Conv0Forward{setup.conv, out});
  Doubles expected(static_cast<size_t>(out.size()), 0.0);
  for (int32_t b = 0; b < setup.conv.count; ++b) {
    for (int64_t t = 0; t < setup.conv.frames(b); ++t) {
      for (int64_t c = 0; c < setup.channels(); ++c) {
        const double x = setup.pre(b, t, c);
        expected[(setup.conv.start[b] / setup.conv.stride + t) * setup.channels() + c] =
            setup.conv.gelu ? geluOf(x) : x;
      }
    }
  }
  report.close(out, expected, what + " " + nameOf(dtype));
}

struct Moments {
  Doubles zero, one;
};

Moments momentsOf(const Setup &setup, const Tensor &dOut) {
  const int64_t C = setup.channels(), kernel = setup.conv.kernel;
  Moments m{Doubles(static_cast<size_t>(setup.conv.count * C), 0.0),
            Doubles(static_cast<size_t>(setup.conv.count * C * kernel), 0.0)};
  for (int32_t b = 0; b < setup.conv.count; ++b) {
    for (int64_t t = 0; t < setup.conv.frames(b); ++t) {
      for (int64_t c = 0; c < C; ++c) {
        double g = dOut(setup.conv.start[b] / setup.conv.stride + t, c);
        if (setup.conv.gelu) g *= geluSlope(setup.pre(b, t, c));
        m.zero[b * C + c] += g;
        for (int64_t k = 0; k < kernel; ++k) m.one[(b * C + c) * kernel + k] += g * setup.window(b, t)[k];
      }
    }
  }
  return m;
}

void backward(Backend &backend, Report &report, const Setup &setup, DType dtype, const std::string &what,
              int64_t gap = 3) {
  const int64_t C = setup.channels(), kernel = setup.conv.kernel, count = setup.conv.count;
  const Tensor dOut = Tensor(backend, dtype, setup.rows(), C, Layout{gap, 0, false}).normal(4, 1, 0.1);
  Tensor moment0(backend, DType::f32, count, 1, C), moment1(backend, DType::f32, count, C, kernel);
  backend.run(Conv0Backward{setup.conv, dOut, moment0, moment1});
  const Moments expected = momentsOf(setup, dOut);
  report.close(moment0, expected.zero, 1e-5, what + " moment 0 " + nameOf(dtype));
  report.close(moment1, expected.one, 1e-5, what + " moment 1 " + nameOf(dtype));
}

// GroupNorm by its definition: y[t, c] over the frames of one utterance.
Doubles groupNorm(const Setup &setup, int32_t b, const Doubles &weight, const Doubles &gamma, const Doubles &beta,
                  double epsilon) {
  const int64_t C = setup.channels(), T = setup.conv.frames(b), kernel = setup.conv.kernel;
  Doubles y(static_cast<size_t>(T * C), 0.0);
  for (int64_t c = 0; c < C; ++c) {
    double mean = 0, variance = 0;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t k = 0; k < kernel; ++k) y[t * C + c] += weight[c * kernel + k] * setup.window(b, t)[k];
      mean += y[t * C + c] / static_cast<double>(T);
    }
    for (int64_t t = 0; t < T; ++t) variance += (y[t * C + c] - mean) * (y[t * C + c] - mean) / static_cast<double>(T);
    for (int64_t t = 0; t < T; ++t) {
      double &value = y[t * C + c];
      value = (value - mean) / std::sqrt(variance + epsilon) * gamma[c] + beta[c];
    }
  }
  return y;
}

const Cases conv0Cases(
    "conv0",
    {
        {"forward",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             for (bool banks : {false, true}) {
               Setup setup(backend, ragged, raggedTotal, 40, 10, 5, banks, banks);
               forward(backend, report, setup, dtype, "plain");
               setup.conv.gelu = true;
               forward(backend, report, setup, dtype, "gelu");
             }
           }
         }},
        {"other kernels, strides and widths",
         [](Backend &backend, Report &report) {
           for (int64_t channels : {1, 7, 512}) {
             for (int64_t kernel : {3, 10, 16, 23}) {
               Setup setup(backend, {{0, 200}, {208, 100}}, 320, channels, kernel, 4, true, true);
               setup.conv.gelu = true;
               forward(backend, report, setup, DType::f32, "forward");
               backward(backend, report, setup, DType::f32, "backward");
             }
           }
         }},
        {"nothing but gaps",
         [](Backend &backend, Report &report) {
           forward(backend, report, Setup(backend, {}, 160, 16, 10, 5, false, false), DType::f32, "no utterance");
           forward(backend, report, Setup(backend, {{0, 0}, {80, 9}}, 160, 16, 10, 5, false, true), DType::bf16,
                   "too short");
           const Setup empty(backend, {}, 0, 16, 10, 5, false, false);
           forward(backend, report, empty, DType::f32, "no samples");
           backward(backend, report, Setup(backend, {{0, 0}, {80, 9}}, 160, 16, 10, 5, true, true), DType::f32,
                    "too short");
         }},
        {"backward",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             for (bool gelu : {false, true}) {
               Setup setup(backend, ragged, raggedTotal, 40, 10, 5, true, true);
               setup.conv.gelu = gelu;
               backward(backend, report, setup, dtype, gelu ? "gelu" : "plain");
             }
           }
         }},
        {"large: several partial sums",
         [](Backend &backend, Report &report) {
           Setup setup(backend, {{0, 48000}, {48000, 1234}}, 49280, 24, 10, 5, true, true);
           setup.conv.gelu = true;
           forward(backend, report, setup, DType::f32, "forward");
           backward(backend, report, setup, DType::f32, "backward");
         }},
        {"many utterances, in any order",
         [](Backend &backend, Report &report) {
           std::vector<Utterance> utterances;
           for (int32_t i = 0; i < 300; ++i) utterances.push_back({(i * 77 % 300) * 60, i * 13 % 61});
           for (DType dtype : {DType::f32, DType::bf16}) {
             Setup setup(backend, utterances, 300 * 60, 24, 10, 5, true, true);
             setup.conv.gelu = true;
             forward(backend, report, setup, dtype, "forward", 0);
             backward(backend, report, setup, dtype, "backward", 8);
           }
         }},
        {"wide rows",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             for (int64_t channels : {512, 520, 1100}) {
               Setup setup(backend, {{0, 700}, {750, 120}}, 900, channels, 10, 5, true, true);
               setup.conv.gelu = true;
               forward(backend, report, setup, dtype, "forward", 8);
               backward(backend, report, setup, dtype, "backward", 0);
             }
           }
         }},
        {"window covariance",
         [](Backend &backend, Report &report) {
           // A waveform far from zero is where a careless variance goes wrong.
           for (double shift : {0.0, 20.0}) {
             const Setup setup(backend, {{40, 333}, {400, 9}, {440, 10}, {480, 30017}}, 30560, 8, 10, 5, false, false,
                               shift);
             const int64_t count = setup.conv.count, kernel = 10;
             Tensor mean(backend, DType::f32, count, kernel), covariance(backend, DType::f32, count, kernel, kernel);
             backend.run(WindowCovariance{setup.conv, mean, covariance});
             Doubles means(static_cast<size_t>(count * kernel), 0.0),
                 covariances(static_cast<size_t>(count * kernel * kernel), 0.0);
             for (int32_t b = 0; b < count; ++b) {
               const int64_t T = setup.conv.frames(b);
               for (int64_t t = 0; t < T; ++t) {
                 for (int64_t k = 0; k < kernel; ++k)
                   means[b * kernel + k] += setup.window(b, t)[k] / static_cast<double>(T);
               }
               for (int64_t t = 0; t < T; ++t) {
                 for (int64_t i = 0; i < kernel * kernel; ++i) {
                   covariances[b * kernel * kernel + i] +=
                       (setup.window(b, t)[i / kernel] - means[b * kernel + i / kernel]) *
                       (setup.window(b, t)[i % kernel] - means[b * kernel + i % kernel]) / static_cast<double>(T);
                 }
               }
             }
             report.close(mean, means, "mean");
             report.close(covariance, covariances, "covariance");
           }
         }},
        {"folded GroupNorm, forward and backward",
         [](Backend &backend, Report &report) {
           const int64_t C = 24, kernel = 10;
           Setup setup(backend, ragged, raggedTotal, C, kernel, 5, false, false, 0.3);
           const int64_t count = setup.conv.count;
           const Tensor weight = Tensor(backend, DType::f32, C, kernel).normal(11, 0.4);
           const Tensor gamma = Tensor(backend, DType::f32, 1, C).normal(12, 0.3, 1);
           const Tensor beta = Tensor(backend, DType::f32, 1, C).normal(13, 0.3);
           const float epsilon = 1e-5f;
           Tensor mean(backend, DType::f32, count, kernel), covariance(backend, DType::f32, count, kernel, kernel);
           Tensor folded(backend, DType::f32, count, C, kernel), foldedBias(backend, DType::f32, count, 1, C);
           backend.run(WindowCovariance{setup.conv, mean, covariance});
           backend.run(FoldGroupNorm{weight, gamma, beta, epsilon, mean, covariance, folded, foldedBias});
           setup.conv.weight = folded;
           setup.conv.bias = foldedBias;

           Tensor out(backend, DType::f32, setup.rows(), C);
           backend.run(Conv0Forward{setup.conv, out});
           Doubles expected(static_cast<size_t>(out.size()), 0.0);
           for (int32_t b = 0; b < count; ++b) {
             const Doubles y = groupNorm(setup, b, weight.values, gamma.values, beta.values, epsilon);
             std::copy(y.begin(), y.end(), expected.begin() + setup.conv.start[b] / setup.conv.stride * C);
           }
           report.close(out, expected, "normalised");

           // Gradients, against differences of the definition: loss = Σ dOut · gelu(y).
           setup.conv.gelu = true;
           const Tensor dOut = Tensor(backend, DType::f32, setup.rows(), C).normal(14);
           Tensor moment0(backend, DType::f32, count, 1, C), moment1(backend, DType::f32, count, C, kernel);
           Tensor dWeight(backend, DType::f32, C, kernel), dGamma(backend, DType::f32, 1, C),
               dBeta(backend, DType::f32, 1, C);
           dWeight.normal(15), dGamma.normal(16), dBeta.normal(17);
           std::vector<int64_t> frames;
           for (int32_t b = 0; b < count; ++b) frames.push_back(setup.conv.frames(b));
           backend.run(Conv0Backward{setup.conv, dOut, moment0, moment1});
           backend.run(FoldGroupNormBackward{weight, gamma, epsilon, mean, covariance, frames, moment0, moment1,
                                             dWeight, dGamma, dBeta});
           const auto loss = [&](const Doubles &w, const Doubles &ga, const Doubles &be) {
             double sum = 0;
             for (int32_t b = 0; b < count; ++b) {
               const Doubles y = groupNorm(setup, b, w, ga, be, epsilon);
               for (size_t i = 0; i < y.size(); ++i) {
                 sum +=
                     geluOf(y[i]) * dOut.values[static_cast<size_t>(setup.conv.start[b] / setup.conv.stride * C) + i];
               }
             }
             return sum;
           };
           const auto plus = [](Doubles a, const Doubles &b) {
             for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
             return a;
           };
           const Doubles &w = weight.values, &ga = gamma.values, &be = beta.values;
           report.close(dWeight,
                        plus(finiteDifferences(w, [&](const Doubles &x) { return loss(x, ga, be); }), dWeight.values),
                        2e-5, "dWeight");
           report.close(dGamma,
                        plus(finiteDifferences(ga, [&](const Doubles &x) { return loss(w, x, be); }), dGamma.values),
                        2e-5, "dGamma");
           report.close(dBeta,
                        plus(finiteDifferences(be, [&](const Doubles &x) { return loss(w, ga, x); }), dBeta.values),
                        2e-5, "dBeta");
         }},
        {"same bits with any number of threads",
         [](Backend &, Report &report) {
           report.deterministic(
               [&](Backend &backend) {
                 Setup setup(backend, {{0, 48000}, {48000, 1234}}, 49280, 24, 10, 5, true, true);
                 setup.conv.gelu = true;
                 Tensor out(backend, DType::f32, setup.rows(), 24), moment0(backend, DType::f32, 2, 1, 24);
                 Tensor moment1(backend, DType::f32, 2, 24, 10), mean(backend, DType::f32, 2, 10);
                 Tensor covariance(backend, DType::f32, 2, 10, 10);
                 backend.run(Conv0Forward{setup.conv, out});
                 backend.run(Conv0Backward{setup.conv, out, moment0, moment1});
                 backend.run(WindowCovariance{setup.conv, mean, covariance});
                 Doubles all = out.read();
                 for (const Doubles &more : {moment0.read(), moment1.read(), mean.read(), covariance.read()}) {
                   all.insert(all.end(), more.begin(), more.end());
                 }
                 return all;
               },
               "forward, moments, covariance");
         }},
    });

}  // namespace

}  // namespace test
}  // namespace emoframe
