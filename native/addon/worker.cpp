#include "worker.h"

#include <algorithm>
#include <future>
#include <new>

#include "environment.h"
#include "error.h"

namespace emoframe::addon {

struct Worker::Job {
  // Left only when the environment is being torn down: its references go with it, from whatever thread this is.
  ~Job() {
    if (settled) return;
    for (auto &reference : keep) reference.SuppressDestruct();
  }

  bool settled = false;
  Work work, prefetch;
  Finish finish;
  std::unique_ptr<Napi::Promise::Deferred> deferred;
  std::vector<Napi::Reference<Napi::Value>> keep;
  std::shared_ptr<Chain> chain;  // null: it can be done whatever failed before it
  uint64_t round = 0;            // of the chain
  bool cancelled = false;
  Failure failure;  // without a code: none
};

// One trip from the engine's thread to the event loop: a job to settle, or else a call to make.
struct Worker::Message {
  Worker *worker;
  std::unique_ptr<Job> job;
  std::function<void(Napi::Env)> call;
};

// An error with a property of its own, whatever setters its prototypes have.
static Napi::Error errorWith(Napi::Env env, const std::string &message, const char *name, Napi::Value value) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Value().DefineProperty(Napi::PropertyDescriptor::Value(name, value, napi_default_jsproperty));
  return error;
}

Napi::Error toJavaScript(Napi::Env env, const Failure &failure) {
  return errorWith(env, failure.message, "code", Napi::String::New(env, failure.code));
}

Failure currentFailure() {
  try {
    throw;
  } catch (const Error &error) {
    return {error.code, error.what()};
  } catch (const std::bad_alloc &) {
    return {"ERR_OUT_OF_MEMORY", "The machine ran out of memory: use a smaller batch or a smaller model."};
  } catch (const std::exception &error) {
    return {"ERR_INTERNAL", std::string("The native engine failed: ") + error.what() + "."};
  } catch (...) {
    return {"ERR_INTERNAL", "The native engine failed, and does not say why."};
  }
}

std::shared_ptr<Worker> Worker::start(Napi::Env env, const std::string &device, const BackendOptions &options) {
  std::shared_ptr<Worker> worker(new Worker());
  // Closed by the last message of a stopped thread, or by the environment's end, which stops the thread first.
  worker->channel_ = decltype(worker->channel_)::New(
      env, "emoframe engine", 0, 1, static_cast<std::nullptr_t *>(nullptr),
      [](Napi::Env, std::shared_ptr<Worker> *owner, std::nullptr_t *) {
        (*owner)->closed_ = true;
        (*owner)->end();
        delete owner;
      },
      new std::shared_ptr<Worker>(worker));
  worker->channel_.Unref(env);
  std::promise<void> ready;
  std::future<void> isReady = ready.get_future();
  Worker *raw = worker.get();
  const auto main = [raw, device, options, &ready] {
    try {
      raw->backend_ = createBackend(device, options);
      raw->backend_->whileWaiting([raw] { raw->prefetchNext(); });
      raw->device_ = raw->backend_->name();
      raw->path_ = raw->backend_->path();
      raw->multipliesTf32_ = raw->backend_->multipliesTf32();
    } catch (...) {
      ready.set_exception(std::current_exception());
      return;
    }
    ready.set_value();
    raw->loop();
  };
  try {
    worker->thread_ = std::thread(main);
    isReady.get();
  } catch (...) {
    // Where the system gives no more threads there is none to wait for.
    if (worker->thread_.joinable()) worker->thread_.join();
    worker->close();
    throw;
  }
  Environment::of(env).add(worker);
  return std::shared_ptr<Worker>(raw, [worker](Worker *used) { used->stop(); });
}

void Worker::close() {
  closed_ = true;
  channel_.Release();
}

Napi::Promise Worker::run(Napi::Env env, const std::vector<Napi::Value> &keep, Work work, Finish finish, Work prefetch,
                          std::shared_ptr<Chain> chain) {
  if (stopped_) throw toJavaScript(env, {"ERR_DISPOSED", "The engine was disposed of: create another to go on."});
  auto job = std::make_unique<Job>();
  job->work = std::move(work);
  job->prefetch = std::move(prefetch);
  if (chain) job->round = chain->round;
  job->chain = std::move(chain);
  job->finish = std::move(finish);
  job->deferred = std::make_unique<Napi::Promise::Deferred>(env);
  for (const Napi::Value &value : keep) job->keep.push_back(Napi::Reference<Napi::Value>::New(value, 1));
  Napi::Promise promise = job->deferred->Promise();
  if (waiting_++ == 0) channel_.Ref(env);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  return promise;
}

void Worker::post(Work work) {
  if (stopped_) return;
  auto job = std::make_unique<Job>();
  job->work = std::move(work);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Worker::send(Message *message) {
  if (!closed_ && channel_.NonBlockingCall(message) == napi_ok) return;
  closed_ = true;  // once refused, the channel may not be touched again
  delete message;
}

void Worker::removeModel(const std::shared_ptr<ModelSlot> &slot) {
  post([this, slot](Backend &) {
    slot->model.reset();
    models_.erase(slot);
  });
}

void Worker::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_one();
}

void Worker::end() {
  stop();
  if (thread_.joinable()) thread_.join();
}

// Only this thread takes jobs from the queue, so the one that was found stays.
void Worker::prefetchNext() {
  Job *next = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_) return;
    const auto found =
        std::find_if(queue_.begin(), queue_.end(), [](const auto &job) { return job->prefetch != nullptr; });
    if (found == queue_.end()) return;
    next = found->get();
  }
  try {
    next->prefetch(*backend_);
  } catch (...) {
    next->prefetch = nullptr;  // its work meets this again, and says so
  }
}

void Worker::loop() {
  for (;;) {
    std::unique_ptr<Job> job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
      if (queue_.empty()) break;  // stopped, and every promise is on its way
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    if (stopped_) {
      job->failure = {"ERR_DISPOSED", "The engine was disposed of before this work began."};
    } else if (job->chain && job->round == job->chain->failed) {
      job->cancelled = true;
    } else {
      try {
        job->work(*backend_);
      } catch (...) {
        job->failure = currentFailure();
        if (job->chain) job->chain->failed = job->round;
      }
    }
    job->work = job->prefetch = nullptr;  // their captures end here, on the engine's thread
    if (!job->deferred) continue;
    send(new Message{this, std::move(job), nullptr});
  }
  for (const auto &slot : models_) slot->model.reset();
  models_.clear();
  backend_.reset();
  send(new Message{this, nullptr, [this](Napi::Env env) {
                     end();
                     finished_ = true;
                     settleArrived(env);
                   }});
}

void Worker::settle(Napi::Env env, std::unique_ptr<Job> job) {
  job->settled = true;
  if (--waiting_ == 0) channel_.Unref(env);
  if (job->cancelled) {
    const char *message = "Cancelled: earlier work that it depends on failed.";
    job->deferred->Reject(errorWith(env, message, "cancelled", Napi::Boolean::New(env, true)).Value());
    return;
  }
  if (!job->failure.code.empty()) {
    if (job->chain && job->chain->round == job->round) ++job->chain->round;
    job->deferred->Reject(toJavaScript(env, job->failure).Value());
    return;
  }
  Napi::Value result = env.Undefined();
  try {
    if (job->finish) result = job->finish(env);
  } catch (const Napi::Error &error) {
    job->deferred->Reject(error.Value());
    return;
  } catch (...) {
    job->deferred->Reject(toJavaScript(env, currentFailure()).Value());
    return;
  }
  try {
    job->deferred->Resolve(result);
  } catch (const Napi::Error &) {
    // A getter `then` that the result has inherited has thrown, by which the promise is rejected: it is used up.
  }
}

// In order, up to one large result a turn: V8 looks for garbage while it takes over large arrays, and a thread that had
// to wait for a processor finds many results at once.
void Worker::settleArrived(Napi::Env env) {
  Environment &environment = Environment::of(env);
  try {
    while (!resting_ && !arrived_.empty()) {
      const size_t before = environment.handedOver;
      std::unique_ptr<Job> job = std::move(arrived_.front());
      arrived_.pop_front();
      settle(env, std::move(job));
      if (environment.handedOver - before < Environment::largeBytes) continue;
      resting_ = true;
      const auto wake = [self = shared_from_this()](const Napi::CallbackInfo &info) {
        self->resting_ = false;
        self->settleArrived(info.Env());
      };
      environment.setImmediate.Call({Napi::Function::New(env, wake)});
    }
  } catch (const Napi::Error &) {
    // A worker thread that is being terminated refuses every call, a rejection too: nobody is left to answer.
  }
  if (finished_ && arrived_.empty() && !closed_) close();
}

void Worker::onMessage(Napi::Env env, Napi::Function, std::nullptr_t *, Message *message) {
  std::unique_ptr<Message> owned(message);
  if (env == nullptr) return;  // torn down: nobody is left to answer
  Napi::HandleScope scope(env);
  if (!owned->job) return owned->call(env);
  owned->worker->arrived_.push_back(std::move(owned->job));
  owned->worker->settleArrived(env);
}

}  // namespace emoframe::addon
