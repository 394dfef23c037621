#include "workers.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace probe {

namespace {

// How long a process may take to have the device, and a part to be done.
constexpr double secondsToStart = 60, secondsAPart = 5;

constexpr char separator = '\x1f', end = '\x1e';  // of fields, of messages; no text has them

void send(int pipe, const std::vector<std::string> &fields) {
  std::string text;
  for (size_t i = 0; i < fields.size(); ++i) text += (i > 0 ? std::string(1, separator) : "") + fields[i];
  text += end;
  for (size_t at = 0; at < text.size();) {
    const ssize_t count = write(pipe, text.data() + at, text.size() - at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) _exit(1);  // nobody reads it
    at += static_cast<size_t>(count);
  }
}

// In the child: the parts from `first` on, until one faults.
[[noreturn]] void work(int pipe, const std::vector<Part> &parts, size_t first,
                       const std::function<Outcome(const Part &)> &run) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // whoever kills the probe kills what hangs as well
  const Device device = takeDevice();
  send(pipe, {"device", device.name, device.problem, std::to_string(device.major), std::to_string(device.minor),
              std::to_string(device.multiprocessors), std::to_string(device.driver), std::to_string(device.runtime)});
  if (!device.problem.empty()) _exit(0);
  for (size_t i = first; i < parts.size(); ++i) {
    send(pipe, {"begin"});
    Outcome outcome;
    if (parts[i].major != 0 && parts[i].major != device.major) {
      outcome.status = Outcome::Status::skipped;
      outcome.text = "for compute capability " + std::to_string(parts[i].major) + ".0";
    } else {
      try {
        outcome = run(parts[i]);
      } catch (const std::exception &error) {
        outcome.status = Outcome::Status::faults;
        outcome.text = error.what();
      }
    }
    send(pipe, {"outcome", std::to_string(static_cast<int>(outcome.status)), outcome.text, outcome.values});
    if (outcome.status == Outcome::Status::faults) break;
  }
  _exit(0);
}

// The next message, or none: the pipe's end, or after `seconds` (then `late`).
std::vector<std::string> receive(int pipe, std::string *pending, double seconds, bool *late) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  *late = false;
  for (;;) {
    const size_t stop = pending->find(end);
    if (stop != std::string::npos) {
      std::vector<std::string> fields(1);
      for (const char c : pending->substr(0, stop)) {
        if (c == separator) {
          fields.emplace_back();
        } else {
          fields.back() += c;
        }
      }
      pending->erase(0, stop + 1);
      return fields;
    }
    const double left = std::chrono::duration<double>(deadline - std::chrono::steady_clock::now()).count();
    pollfd one{pipe, POLLIN, 0};
    const int ready = left > 0 ? poll(&one, 1, static_cast<int>(left * 1000) + 1) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      *late = true;
      return {};
    }
    char buffer[4096];
    const ssize_t count = read(pipe, buffer, sizeof buffer);
    if (count <= 0) return {};
    pending->append(buffer, static_cast<size_t>(count));
  }
}

// Waits for a child that has ended or was killed; one that the driver does not let go is left behind.
std::string endOf(pid_t child) {
  int status = 0;
  for (int i = 0; i < 500; ++i) {
    if (waitpid(child, &status, WNOHANG) == child) {
      if (WIFSIGNALED(status)) return std::string("killed by ") + strsignal(WTERMSIG(status));
      return "ended with status " + std::to_string(WEXITSTATUS(status));
    }
    usleep(10000);
  }
  return "does not end";
}

}  // namespace

bool runParts(const std::vector<Part> &parts, const std::function<Outcome(const Part &)> &run,
              const std::function<void(const Device &)> &onDevice,
              const std::function<void(size_t, const Outcome &)> &onOutcome) {
  bool reported = false;
  for (size_t next = 0; next < parts.size();) {
    int pipes[2];
    std::fflush(stdout);
    if (pipe(pipes) != 0) throw std::runtime_error("no pipe can be made");
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("no process can be started");
    if (child == 0) {
      close(pipes[0]);
      work(pipes[1], parts, next, run);
    }
    close(pipes[1]);
    std::string pending;
    bool late = false, started = false, begun = false;
    const size_t first = next;
    for (;;) {
      const auto fields = receive(pipes[0], &pending, started ? secondsAPart : secondsToStart, &late);
      if (fields.empty()) break;
      if (fields[0] == "device" && fields.size() == 8) {
        started = true;
        Device device{fields[1],
                      fields[2],
                      std::atoi(fields[3].c_str()),
                      std::atoi(fields[4].c_str()),
                      std::atoi(fields[5].c_str()),
                      std::atoi(fields[6].c_str()),
                      std::atoi(fields[7].c_str())};
        if (!reported) onDevice(device);
        reported = true;
        if (!device.problem.empty()) {
          endOf(child);
          close(pipes[0]);
          return false;
        }
      } else if (fields[0] == "begin") {
        begun = true;
      } else if (fields[0] == "outcome" && fields.size() == 4) {
        begun = false;
        onOutcome(next++, {static_cast<Outcome::Status>(std::atoi(fields[1].c_str())), fields[2], fields[3]});
      }
    }
    if (late) kill(child, SIGKILL);
    const std::string how = endOf(child);
    close(pipes[0]);
    if (!started) {
      onDevice({"", late ? "taking it takes for ever" : "taking it ends the process: " + how});
      return false;
    }
    if (begun || next == first) {
      Outcome outcome;
      outcome.status = late ? Outcome::Status::hangs : Outcome::Status::dies;
      outcome.text = late ? "not done after " + std::to_string(static_cast<int>(secondsAPart)) + " s" : how;
      onOutcome(next++, outcome);
    }
  }
  return true;
}

}  // namespace probe
