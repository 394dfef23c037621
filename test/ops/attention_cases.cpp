// Varlen attention, forward and backward, against float64 on whole score matrices.
#include "attention_reference.h"

namespace emoframe {
namespace test {

namespace {

using namespace attention;

// HuBERT-base's, on utterances of T frames, one at least if timed, or of 2 to 15 s.
std::vector<std::pair<std::string, Cases::Body>> realAttention() {
  std::vector<std::pair<std::string, Cases::Body>> all;
  for (const int64_t T : {100, 500, 1500, 0}) {
    all.emplace_back(T > 0 ? "T " + std::to_string(T) : "mixed T", [=](Backend &backend, Report &report) {
      Setting setting{{}, 12, 64, DType::bf16};
      setting.gap = 0;
      int64_t left = report.timed ? std::max(report.frames, T) : report.frames;
      for (uint64_t i = 0; left > 0; left -= setting.lengths.back(), ++i) {
        const int64_t length = T > 0 ? T : 100 + static_cast<int64_t>(650 * uniformAt(5, i));
        setting.lengths.push_back(static_cast<int32_t>(std::min(length, left)));
      }
      check(backend, report, setting);
    });
  }
  return all;
}

const Cases realSized("attention", realAttention(), true);

const Cases attentionCases(
    "attention",
    {
        {"ragged utterances",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             for (float p : {0.0f, 0.1f}) check(backend, report, {{37, 1, 130, 0, 8}, 3, 64, dtype, p});
           }
         }},
        {"any head size",
         [](Backend &backend, Report &report) {
           for (int64_t headSize = 8; headSize <= 128; headSize += 8) {
             for (DType dtype : {DType::f32, DType::bf16})
               check(backend, report, {{19, 50}, 2, headSize, dtype, 0.25f});
           }
         }},
        {"tiles and their edges",
         [](Backend &backend, Report &report) {
           // 16, 32, 64 and 128 are where a backend may cut; with dropout, whose elements are counted across tiles.
           for (DType dtype : {DType::f32, DType::bf16}) {
             for (float p : {0.0f, 0.5f}) {
               check(backend, report, {{129, 1, 64, 16, 0, 33, 65}, 2, 64, dtype, p});
               check(backend, report, {{128, 31, 97}, 1, 128, dtype, p});
             }
           }
         }},
        {"tf32",
         [](Backend &backend, Report &report) {
           if (!backend.multipliesTf32()) return report.check(report.device == "cpu", "tf32", "the device has none");
           for (float p : {0.0f, 0.25f}) {
             for (int64_t gap : {16, 3}) {
               for (int64_t headSize : {64, 128, 24}) {
                 Setting s{{129, 1, 64, 0, 33}, 2, headSize, DType::f32, p};
                 s.gap = gap;
                 s.tf32 = true;
                 check(backend, report, s);
               }
             }
           }
         }},
        {"many utterances",
         [](Backend &backend, Report &report) {
           std::vector<int32_t> lengths;
           for (int32_t i = 0; i < 75; ++i) lengths.push_back(i % 5 == 3 ? 0 : (i * 7) % 11);
           lengths.push_back(70);
           check(backend, report, {lengths, 2, 16, DType::bf16, 0.25f});
           check(backend, report, {lengths, 2, 16, DType::f32, 0});
         }},
        {"rows that start anywhere",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             for (int64_t gap : {0, 3}) {
               Setting s{{70, 9}, 2, 24, dtype, 0.25f};
               s.gap = gap;
               check(backend, report, s);
             }
           }
         }},
        {"tiny",
         [](Backend &backend, Report &report) {
           // A single key: the probability is 1 whatever the score, so dq and dk are zero.
           Setting one{{1}, 1, 8, DType::f32, 0};
           const Run run(backend, one);
           report.close(run.out.read(), run.part(run.qkv.values, 2), 1e-6, "one frame: out is v");
           const Doubles gradients = run.dQkv.read();
           report.close(run.part(gradients, 0), Doubles(8, 0.0), 1e-6, "one frame: dq");
           report.close(run.part(gradients, 1), Doubles(8, 0.0), 1e-6, "one frame: dk");
           report.close(run.part(gradients, 2), run.dOut.values, 1e-6, "one frame: dv");
           check(backend, report, {{2, 1, 3}, 4, 8});
         }},
        {"empty",
         [](Backend &backend, Report &report) {
           check(backend, report, {{}, 2, 8});
           check(backend, report, {{0, 0}, 2, 8});
         }},
        {"long: several blocks and tasks",
         [](Backend &backend, Report &report) {
           check(backend, report, {{1100, 530}, 2, 32, DType::f32, 0.1f});
           check(backend, report, {{1531}, 1, 64, DType::bf16, 0.1f});
         }},
        {"long sums of one sign do not shrink",
         [](Backend &backend, Report &report) {
           // Tensor cores cut sums off towards zero.
           Setting s{{1500}, 1, 32};
           s.oneSign = true;
           check(backend, report, s);
         }},
        {"sharp scores do not overflow",
         [](Backend &backend, Report &report) {
           Setting s{{64, 33}, 2, 64};
           s.spread = 12;  // scores of some hundreds
           const Run run(backend, s);
           const Reference r = reference(s.lengths, s.heads, s.headSize, run.attention.scale, run.attention.dropout,
                                         run.part(run.qkv.values, 0), run.part(run.qkv.values, 1),
                                         run.part(run.qkv.values, 2), run.dOut.values);
           // fp32 scores of several hundred carry an error of some 1e-5, which the exponential passes on.
           report.close(run.out, r.out, 1e-4, "out");
           report.close(run.logSumExp, r.logSumExp, 1e-5, "log sum exp");
           report.close(run.part(run.dQkv.read(), 2), r.dv, 1e-4, "dv");
         }},
        {"an utterance does not see its neighbours",
         [](Backend &backend, Report &report) {
           // The same frames alone and packed behind others: the same bits but for dropout's element numbers.
           for (DType dtype : {DType::f32, DType::bf16}) {
             const Setting packed{{21, 140}, 2, 16, dtype};
             const Run both(backend, packed);
             const Setting single{{140}, 2, 16, dtype};
             Run alone(backend, single);
             const Doubles whole = both.qkv.values, grad = both.dOut.values;
             alone.qkv.set(Doubles(whole.begin() + 21 * 96, whole.end()));
             alone.dOut.set(Doubles(grad.begin() + 21 * 32, grad.end()));
             backend.run(alone.attention);
             backend.run(alone.gradient);
             const Doubles out = both.out.read(), gradients = both.dQkv.read();
             report.close(alone.out.read(), Doubles(out.begin() + 21 * 32, out.end()), 0, "out");
             report.close(alone.dQkv.read(), Doubles(gradients.begin() + 21 * 96, gradients.end()), 0, "gradients");
           }
         }},
        {"reference agrees with finite differences",
         [](Backend &, Report &report) {
           const std::vector<int32_t> lengths{3, 4};
           const Dropout dropout{0.3f, 5, 1, 2};
           Doubles q(7 * 16), k(q.size()), v(q.size()), g(q.size());
           for (size_t i = 0; i < q.size(); ++i) {
             q[i] = normalAt(1, i), k[i] = normalAt(2, i), v[i] = normalAt(3, i), g[i] = normalAt(4, i);
           }
           const auto loss = [&](const Doubles &qs, const Doubles &ks, const Doubles &vs) {
             const Doubles out = reference(lengths, 2, 8, 0.4, dropout, qs, ks, vs, g).out;
             double sum = 0;
             for (size_t i = 0; i < out.size(); ++i) sum += out[i] * g[i];
             return sum;
           };
           const Reference r = reference(lengths, 2, 8, 0.4, dropout, q, k, v, g);
           report.close(r.dq, finiteDifferences(q, [&](const Doubles &x) { return loss(x, k, v); }), 1e-7, "dq");
           report.close(r.dk, finiteDifferences(k, [&](const Doubles &x) { return loss(q, x, v); }), 1e-7, "dk");
           report.close(r.dv, finiteDifferences(v, [&](const Doubles &x) { return loss(q, k, x); }), 1e-7, "dv");
         }},
        {"same bits with any number of threads",
         [](Backend &, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             report.deterministic(
                 [&](Backend &backend) {
                   const Run run(backend, {{700, 45, 130}, 2, 40, dtype, 0.1f});
                   Doubles all = run.out.read();
                   for (const Doubles &more : {run.logSumExp.read(), run.dQkv.read()})
                     all.insert(all.end(), more.begin(), more.end());
                   return all;
                 },
                 nameOf(dtype));
           }
         }},
    });

}  // namespace

}  // namespace test
}  // namespace emoframe
