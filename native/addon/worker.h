// The engine's own thread: work is queued from JavaScript, runs in order, and settles promises back on the event loop.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "backend.h"
#include "error.h"
#include "model/model.h"

namespace emoframe::addon {

// Work that builds on the work before it: when one job of a chain fails, those that were queued before its promise was
// rejected are cancelled.
struct Chain {
  uint64_t round = 1;   // the event loop's thread: of what is queued now; another one after each failure
  uint64_t failed = 0;  // the engine's thread: the round that is cancelled
};

// A native error as JavaScript sees it.
struct Failure {
  std::string code, message;
};

// A model and what may be asked of it from the event loop while the engine's thread is busy.
struct ModelSlot {
  std::unique_ptr<Model> model;  // touched by the engine's thread only
  Chain training;
  std::atomic<bool> disposed{false};
  std::mutex mutex;  // guards the two below
  std::map<std::string, int64_t> storedFrames;
  int64_t featureBytes = 0;
};

// Made and used on the event loop's thread, and owned by its channel until that is closed, which waits for the engine's
// thread: so that thread may use `this` freely.
class Worker : public std::enable_shared_from_this<Worker> {
 public:
  // Starts the thread and makes the backend on it; throws what createBackend throws. The thread is
  // stopped when the last copy of what is returned goes: engines and their models hold one each, so that
  // a model may outlive its engine's object.
  static std::shared_ptr<Worker> start(Napi::Env env, const std::string &device, const BackendOptions &options);

  using Work = std::function<void(Backend &)>;
  using Finish = std::function<Napi::Value(Napi::Env)>;

  // Queues work; the promise settles with what `finish` makes on the event loop, if anything. `keep` stays alive until
  // then. `prefetch` may be called before the work's turn, while the work in hand waits for a device: it uploads
  // inputs, and where it fails the work uploads them itself. Work of a chain may be cancelled: the promise is then
  // rejected with an error whose property `cancelled` is true.
  Napi::Promise run(Napi::Env env, const std::vector<Napi::Value> &keep, Work work, Finish finish,
                    Work prefetch = nullptr, std::shared_ptr<Chain> chain = nullptr);
  // Queues work that nobody waits for.
  void post(Work work);

  void addModel(const std::shared_ptr<ModelSlot> &slot) { models_.insert(slot); }  // engine's thread
  void removeModel(const std::shared_ptr<ModelSlot> &slot);                        // any thread

  // Asks the thread to end after the work in hand; what is queued is rejected with ERR_DISPOSED.
  void stop();
  // Stops, and waits for the thread's end.
  void end();
  bool stopped() const { return stopped_; }
  const std::shared_ptr<Backend> &backend() const { return backend_; }  // engine's thread
  const std::string &device() const { return device_; }
  const std::string &path() const { return path_; }
  bool multipliesTf32() const { return multipliesTf32_; }

 private:
  struct Job;
  struct Message;

  Worker() = default;
  void loop();
  void prefetchNext();          // inputs of the next work in the queue that has any
  void close();                 // the event loop's thread, after the engine's has ended
  void send(Message *message);  // to the event loop; dropped when that is closing
  void settle(Napi::Env env, std::unique_ptr<Job> job);
  void settleArrived(Napi::Env env);
  static void onMessage(Napi::Env env, Napi::Function, std::nullptr_t *, Message *message);

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::atomic<bool> stopped_{false};

  std::shared_ptr<Backend> backend_;
  std::set<std::shared_ptr<ModelSlot>> models_;
  std::string device_, path_;
  bool multipliesTf32_ = false;

  Napi::TypedThreadSafeFunction<std::nullptr_t, Message, onMessage> channel_;
  std::atomic<bool> closed_{false};  // the event loop takes no more messages
  // Used on the event loop's thread.
  std::deque<std::unique_ptr<Job>> arrived_;  // done, and still to be settled
  bool finished_ = false;                     // the engine's thread has ended, and nothing more arrives
  bool resting_ = false;                      // until the next turn of the event loop
  int64_t waiting_ = 0;                       // promises not settled; while any is left the event loop is kept alive
};

Napi::Error toJavaScript(Napi::Env env, const Failure &failure);

// The exception being handled, whatever it is.
Failure currentFailure();

// Runs `body`, turning a native error into a JavaScript one with its code:
// nothing else may leave a call from JavaScript.
template <typename Body>
auto translating(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error &) {
    throw;
  } catch (...) {
    throw toJavaScript(env, currentFailure());
  }
}

}  // namespace emoframe::addon
