// Gives large blocks of memory back to the system on a thread of its own: returning the pages of a model's exported
// weights takes tens of milliseconds, for which the event loop need not wait.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace emoframe::addon {

class Releaser {
 public:
  Releaser() = default;
  Releaser(const Releaser &) = delete;
  Releaser &operator=(const Releaser &) = delete;
  ~Releaser() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ending_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

  // Called on the event loop's thread only; the first call starts the thread.
  void release(std::shared_ptr<void> memory) {
    try {
      if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
    } catch (const std::system_error &) {
      return;  // there are no more threads: the memory is freed here and now
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      waiting_.push_back(std::move(memory));
    }
    wake_.notify_one();
  }

 private:
  void loop() {
    std::vector<std::shared_ptr<void>> taken;
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        taken.swap(waiting_);
      }
      taken.clear();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<void>> waiting_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace emoframe::addon
