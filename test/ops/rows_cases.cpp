// copyRows, maskRows and its backward, gatherRows, scatterRows.
#include "harness.h"

namespace emoframe {
namespace test {
namespace {

const std::vector<DType> dtypes = {DType::f32, DType::bf16};
const std::vector<int64_t> widths = {1, 7, 512, 1031};

void copyRowsCopies(Backend &backend, Report &report) {
  const std::vector<int32_t> source = {5, 0, -1, 9, -1, 3}, target = {1, 40, 50, 20, 0, 70},
                             length = {30, 3, 7, 0, 1, 25};
  const Array<int32_t> deviceSource(backend, source), deviceTarget(backend, target), deviceLength(backend, length);
  const RowRuns runs{
      6, source.data(), target.data(), length.data(), deviceSource.data(), deviceTarget.data(), deviceLength.data()};
  for (DType from : dtypes) {
    for (DType to : dtypes) {
      for (int64_t width : widths) {
        const Tensor in = Tensor(backend, from, 3, 50, width, {2, 4}).normal(1);
        const Tensor out = Tensor(backend, to, 3, 100, width, {5, 1}).normal(2);
        const Tensor gelu = Tensor(backend, to, 3, 100, width, {3, 2}).normal(3);
        Doubles expected = out.values, sums = out.values, activated = gelu.values;
        for (int64_t b = 0; b < 3; ++b) {
          for (size_t run = 0; run < source.size(); ++run) {
            for (int32_t i = 0; i < length[run]; ++i) {
              for (int64_t c = 0; c < width; ++c) {
                const size_t place = (b * 100 + target[run] + i) * width + c;
                expected[place] = source[run] < 0 ? 0 : rounded(in(b, source[run] + i, c), to);
                if (from != to) continue;
                const double taken = source[run] < 0 ? 0 : in(b, source[run] + i, c);
                sums[place] += taken;
                activated[place] = geluOf(taken);
              }
            }
          }
        }
        const std::string what = std::string(nameOf(from)) + " to " + nameOf(to) + " " + std::to_string(width);
        if (from == to) {
          backend.run(CopyRows{in, runs, out, true});
          report.close(out, sums, what + ", added");
        }
        backend.run(CopyRows{in, runs, out});
        report.same(out, expected, what);
        if (from == to) {
          backend.run(CopyRows{in, runs, out, false, gelu});
          report.same(out, expected, what + ", beside gelu");
          report.close(gelu, activated, what + ", gelu");
        }
        report.untouched(in, "in");
      }
    }
  }
  const Tensor in = Tensor(backend, DType::f32, 4, 3).normal(1), out = Tensor(backend, DType::f32, 4, 3).normal(2);
  backend.run(CopyRows{in, RowRuns{}, out});
  report.same(out, out.values, "no runs");
}

std::vector<uint8_t> someMask(int64_t rows) {
  std::vector<uint8_t> mask(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) mask[r] = uniformAt(9, r) < 0.55 ? (r % 2 ? 1 : 255) : 0;
  return mask;
}

void maskRowsMasks(Backend &backend, Report &report) {
  for (DType dtype : dtypes) {
    for (int64_t rows : {0, 1, 300}) {
      for (int64_t width : widths) {
        const Array<uint8_t> mask(backend, someMask(rows));
        const Tensor embedding = Tensor(backend, DType::f32, 1, width).normal(1);
        const Tensor x = Tensor(backend, dtype, rows, width, {3}).normal(2);
        Doubles expected = x.values;
        for (int64_t i = 0; i < x.size(); ++i) {
          if (mask.values[i / width]) expected[i] = rounded(embedding.values[i % width], dtype);
        }
        backend.run(MaskRows{x, mask.data(), embedding});
        report.same(x, expected, std::string(nameOf(dtype)) + " " + std::to_string(rows) + "x" + std::to_string(width));

        const Tensor dx = Tensor(backend, dtype, rows, width, {1}).normal(3);
        const Tensor dEmbedding = Tensor(backend, DType::f32, 1, width).normal(4);
        Doubles gradient = dEmbedding.values, rest = dx.values;
        for (int64_t i = 0; i < dx.size(); ++i) {
          if (!mask.values[i / width]) continue;
          gradient[i % width] += dx.values[i];
          rest[i] = 0;
        }
        backend.run(MaskRowsBackward{dx, mask.data(), dEmbedding});
        report.close(dEmbedding, gradient, std::string("gradient ") + nameOf(dtype));
        report.same(dx, rest, std::string("masked rows of dx ") + nameOf(dtype));
      }
    }
  }
}

void gatherAndScatter(Backend &backend, Report &report) {
  for (DType dtype : dtypes) {
    for (int64_t width : widths) {
      for (int64_t count : {0, 1, 97}) {
        std::vector<int32_t> index;
        for (int64_t i = 0; i < count; ++i) index.push_back(static_cast<int32_t>(i * 61 % 200));  // distinct, unordered
        const Array<int32_t> deviceIndex(backend, index);
        const Tensor x = Tensor(backend, dtype, 200, width, {3}).normal(1);
        const Tensor out = Tensor(backend, dtype, count, width).normal(2);
        const Tensor dx = Tensor(backend, dtype, 200, width, {2}).normal(3);
        Doubles expected(out.values), gradient(dx.values.size(), 0.0);
        for (int64_t i = 0; i < count * width; ++i) {
          expected[i] = x(index[i / width], i % width);
          gradient[index[i / width] * width + i % width] = out.values[i];
        }
        const std::string what = std::string(nameOf(dtype)) + " " + std::to_string(count) + "x" + std::to_string(width);
        backend.run(ScatterRows{out, deviceIndex.data(), dx});
        report.same(dx, gradient, "scatter " + what);
        backend.run(GatherRows{x, deviceIndex.data(), out});
        report.same(out, expected, "gather " + what);
      }
    }
  }
}

// Columns from any place on of a wider tensor whose rows start at multiples of 16 bytes.
void viewsStartAnywhere(Backend &backend, Report &report) {
  const std::vector<int32_t> index = {4, 0, 2};
  const Array<int32_t> deviceIndex(backend, index);
  for (DType dtype : dtypes) {
    for (int64_t begin : {1, 4, 8}) {
      const Tensor x = Tensor(backend, dtype, 5, 64).normal(1), out = Tensor(backend, dtype, 3, 64).normal(2);
      Doubles expected = out.values;
      for (int64_t i = 0; i < 3; ++i) {
        for (int64_t c = 0; c < 40; ++c) expected[i * 64 + c] = x(index[i], begin + c);
      }
      backend.run(GatherRows{x.view().colRange(begin, 40), deviceIndex.data(), out.view().colRange(0, 40)});
      report.same(out, expected, std::string(nameOf(dtype)) + " from column " + std::to_string(begin));
    }
  }
}

void sameBits(Backend &, Report &report) {
  report.deterministic(
      [](Backend &backend) {
        const Array<uint8_t> mask(backend, someMask(4001));
        const Tensor dx = Tensor(backend, DType::f32, 4001, 65).normal(1);
        const Tensor dEmbedding = Tensor(backend, DType::f32, 1, 65).normal(2);
        backend.run(MaskRowsBackward{dx, mask.data(), dEmbedding});
        return dEmbedding.read();
      },
      "maskRowsBackward");
}

const Cases table("rows", {{"copyRows", copyRowsCopies},
                           {"maskRows with its gradient", maskRowsMasks},
                           {"gatherRows and scatterRows", gatherAndScatter},
                           {"views that start anywhere", viewsStartAnywhere},
                           {"same bits with any thread count", sameBits}});

}  // namespace
}  // namespace test
}  // namespace emoframe
