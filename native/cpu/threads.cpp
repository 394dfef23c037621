#include "threads.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "../error.h"

namespace emoframe {

namespace {

// Bytes that libgomp asks for as a thread's stack, from a number and a unit (K without one); 0: as many as the system's
// usual.
size_t stackBytes() {
  for (const char *name : {"OMP_STACKSIZE", "GOMP_STACKSIZE"}) {
    const char *text = std::getenv(name);
    if (text == nullptr) continue;
    char *end = nullptr;
    const unsigned long long number = std::strtoull(text, &end, 10);
    if (end == text) return 0;
    while (*end == ' ' || *end == '\t') ++end;
    const std::string units = "bkmg";
    const size_t unit = *end == '\0' ? 1 : units.find(static_cast<char>(*end | 0x20));
    if (unit == std::string::npos) return 0;
    const unsigned shift = 10 * static_cast<unsigned>(unit);
    return number > (SIZE_MAX >> shift) ? SIZE_MAX : static_cast<size_t>(number) << shift;
  }
  return 0;
}

// All of them wait until the last was started, as libgomp's are all there at once.
class Trial {
 public:
  Trial() {
    pthread_mutex_init(&mutex_, nullptr);
    pthread_mutex_lock(&mutex_);
    pthread_attr_init(&attributes_);
  }
  ~Trial() {
    pthread_mutex_unlock(&mutex_);
    for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes_);
    pthread_mutex_destroy(&mutex_);
  }
  Trial(const Trial &) = delete;
  Trial &operator=(const Trial &) = delete;

  bool start(size_t count) {
    const size_t bytes = stackBytes();
    // As libgomp does, what the system does not take as a size is left as it was.
    if (bytes > 0) pthread_attr_setstacksize(&attributes_, bytes);
    threads_.reserve(count);
    while (threads_.size() < count) {
      pthread_t thread;
      if (pthread_create(&thread, &attributes_, wait, &mutex_) != 0) return false;
      threads_.push_back(thread);
    }
    return true;
  }

 private:
  static void *wait(void *mutex) {
    auto *its = static_cast<pthread_mutex_t *>(mutex);
    pthread_mutex_lock(its);
    pthread_mutex_unlock(its);
    return nullptr;
  }

  pthread_mutex_t mutex_;
  pthread_attr_t attributes_;
  std::vector<pthread_t> threads_;
};

}  // namespace

int32_t availableThreads() { return std::max(1, std::min({omp_get_max_threads(), omp_get_num_procs(), mostThreads})); }

void startThreads(int32_t threads) {
  if (threads < 1 || threads > mostThreads) {
    throw Error("ERR_ARGUMENT", "Expected 1 to " + std::to_string(mostThreads) + " threads but received " +
                                    std::to_string(threads) + ".");
  }
  // No region of another library on this thread takes more either, whatever OMP_NUM_THREADS says.
  omp_set_num_threads(threads);
  if (threads == 1) return;
  {
    Trial trial;
    if (!trial.start(static_cast<size_t>(threads) - 1)) {
      throw Error("ERR_INTERNAL",
                  "The system did not start the " + std::to_string(threads) +
                      " threads of an engine. Ask for fewer (threads), or raise the limits of processes "
                      "(ulimit -u) and memory (ulimit -v, OMP_STACKSIZE).");
    }
  }
#pragma omp parallel num_threads(threads)
  {}
}

}  // namespace emoframe
