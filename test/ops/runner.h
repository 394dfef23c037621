// Runs the cases of a test program one after another in a process that does nothing else. A case that ends this process
// (a crash), breaks the device for it (a fault stays with a CUDA context until its process ends) or does not come to an
// end is reported as failed, and a fresh process goes on with the next one: the same way on the CPU, the emulation and
// a GPU, whose driver this process never wakes.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "error.h"

namespace emoframe {
namespace test {

// Of a case. `broken`: failed, and what it left behind may make others fail.
enum class Verdict : char { passed = '+', failed = '-', broken = '!' };

class Runner {
 public:
  // Takes its own words from the command line: --limit, and those that it gives to the processes that it starts.
  Runner(int argc, char **argv) : arguments_(argv + 1, argv + argc) {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what was found before a crash is seen
    for (size_t i = 0; i < arguments_.size(); ++i) {
      const std::string &word = arguments_[i];
      const char *value = i + 1 < arguments_.size() ? arguments_[i + 1].c_str() : "";
      if (word == "--limit") {
        limit_ = std::strtod(value, nullptr);
      } else if (word == "--report-to") {
        reportTo_ = static_cast<int>(std::strtol(value, nullptr, 10));
      } else if (word == "--from") {
        from_ = std::strtoull(value, nullptr, 10);
      } else {
        words.push_back(word);
        continue;
      }
      ++i;
    }
  }

  std::vector<std::string> words;  // the program's own

  // `prepare` comes before the first case of each process and says whether it is the first. What it throws ends the
  // program: a device that cannot be used is no case's fault. Prints the failures that a case cannot print itself, then
  // `N passed, N failed`; gives the program's exit code.
  int run(const std::vector<std::string> &names, const std::function<void(bool)> &prepare,
          const std::function<Verdict(size_t)> &body) {
    if (reportTo_ >= 0) return runHere(names.size(), prepare, body);
    size_t next = 0, passed = 0, failed = 0;
    while (next < names.size()) {
      const Ended ended = runElsewhere(next, passed, failed);
      next += ended.cases;
      if (ended.within) {
        ++failed;
        std::printf("FAIL %s: %s\n", names[next++].c_str(), ended.how.c_str());
      } else if (ended.cases == 0) {
        std::printf("%zu not run: %s\n", names.size() - next, ended.how.c_str());
        break;
      } else if (!ended.how.empty()) {
        ++failed;
        std::printf("FAIL after %s: %s\n", names[next - 1].c_str(), ended.how.c_str());
      }
    }
    std::printf("%zu passed, %zu failed\n", passed, failed);
    return failed == 0 && next == names.size() && passed > 0 ? 0 : 1;
  }

 private:
  static constexpr char begun = '>', stopped = '.';

  // How a process ended: cases that it had come to the end of, whether it was in another one's midst, and what was
  // wrong with that, if anything.
  struct Ended {
    size_t cases = 0;
    bool within = false;
    std::string how;
  };

  void report(char what) const {
    if (write(reportTo_, &what, 1) != 1) _exit(1);
  }

  int runHere(size_t count, const std::function<void(bool)> &prepare, const std::function<Verdict(size_t)> &body) {
    try {
      prepare(from_ == 0);
    } catch (const Error &error) {
      std::fprintf(stderr, "%s: %s\n", error.code.c_str(), error.what());
      return 1;
    }
    for (size_t i = from_; i < count; ++i) {
      report(begun);
      const Verdict verdict = body(i);
      std::fflush(stdout);
      report(static_cast<char>(verdict));
      if (verdict == Verdict::broken) {
        report(stopped);
        _exit(0);  // what would be torn down is broken
      }
    }
    report(stopped);
    return 0;
  }

  Ended runElsewhere(size_t first, size_t &passed, size_t &failed) const {
    std::fflush(stdout);
    int ends[2];
    if (pipe(ends) != 0) throw Error("ERR_IO", std::string("A pipe cannot be made: ") + std::strerror(errno));
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    std::vector<std::string> all = {"/proc/self/exe", "--report-to", std::to_string(ends[1]), "--from",
                                    std::to_string(first)};
    all.insert(all.end(), arguments_.begin(), arguments_.end());
    std::vector<char *> argv;
    for (std::string &word : all) argv.push_back(&word[0]);
    argv.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(ends[1]);
    if (child < 0) throw Error("ERR_IO", std::string("A process cannot be started: ") + std::strerror(errno));

    Ended ended;
    bool toEnd = false, late = false;
    using Clock = std::chrono::steady_clock;
    const auto limit = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(limit_));
    Clock::time_point until = Clock::now() + limit;
    while (true) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
      pollfd source = {ends[0], POLLIN, 0};
      const int ready = left > 0 ? poll(&source, 1, static_cast<int>(left)) : 0;
      if (ready < 0 && errno == EINTR) continue;
      late = ready == 0;
      char what = 0;
      if (late || read(ends[0], &what, 1) != 1) break;
      until = Clock::now() + limit;
      ended.within = what == begun;
      if (what == stopped) toEnd = true;
      if (what == begun || what == stopped) continue;
      ++ended.cases;
      ++(what == static_cast<char>(Verdict::passed) ? passed : failed);
    }
    close(ends[0]);
    if (late) kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    if (late) {
      ended.how = "not done after " + std::to_string(static_cast<long>(limit_)) + " s";
    } else if (WIFSIGNALED(status)) {
      ended.how = std::string("ended its process: ") + strsignal(WTERMSIG(status));
    } else if (!toEnd || WEXITSTATUS(status) != 0) {
      ended.how = "its process ended with exit code " + std::to_string(WEXITSTATUS(status));
    }
    return ended;
  }

  std::vector<std::string> arguments_;
  double limit_ = 600;  // seconds a case
  int reportTo_ = -1;   // where a process that runs cases reports how they went
  size_t from_ = 0;
};

}  // namespace test
}  // namespace emoframe
