// Cases that go wrong on purpose, each before one that is sound: that the table goes on after them (runner.h). They are
// run by name alone (--family planted), and the sound half of them is to pass.
#include <signal.h>
#include <unistd.h>

#include "harness.h"

namespace emoframe {
namespace test {
namespace {

void gather(Backend &backend, Report &report, int32_t row) {
  const Array<int32_t> index(backend, {row});
  const Tensor x = Tensor(backend, DType::f32, 4, 512).normal(1), out = Tensor(backend, DType::f32, 1, 512).normal(2);
  backend.run(GatherRows{x, index.data(), out});
  report.same(out, Doubles(x.values.begin(), x.values.begin() + 512), "row 0");
}

void sound(Backend &backend, Report &report) { gather(backend, report, 0); }

const Cases table(plantedFamily, {// Two terabytes away: a fault on a GPU, a crash on a CPU.
                                  {"a fault", [](Backend &b, Report &report) { gather(b, report, 1 << 30); }},
                                  {"sound after a fault", sound},
                                  {"a crash", [](Backend &, Report &) { raise(SIGSEGV); }},
                                  {"sound after a crash", sound},
                                  {"a hang", [](Backend &, Report &) { pause(); }},
                                  {"sound after a hang", sound}});

}  // namespace
}  // namespace test
}  // namespace emoframe
