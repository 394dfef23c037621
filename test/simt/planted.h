// Small kernels with a bug planted in each, and right ones beside them.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace planted {

struct Kernel {
  std::string name;
  std::vector<std::string> report;  // what the report must say; empty: the kernel is right
  std::function<bool()> run;        // throws what the launch throws; false: wrong results
};
std::vector<Kernel> kernels();

}  // namespace planted
