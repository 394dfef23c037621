// The JavaScript object NativeModel of binding.d.ts.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <vector>

#include "worker.h"

namespace emoframe::addon {

class ModelObject : public Napi::ObjectWrap<ModelObject> {
 public:
  static Napi::Function define(Napi::Env env);
  // Wraps a model that the engine's thread has made.
  static Napi::Value create(Napi::Env env, std::shared_ptr<Worker> worker, std::shared_ptr<ModelSlot> slot,
                            std::vector<TensorInfo> tensors);
  explicit ModelObject(const Napi::CallbackInfo &info);
  ~ModelObject() override;

 private:
  using Method = std::function<void(Model &)>;
  // Queues work on this model, refusing it after dispose(). `early`: as Worker's.
  Napi::Value run(Napi::Env env, const std::vector<Napi::Value> &keep, Method work, Worker::Finish finish,
                  Method early = nullptr);

  Napi::Value tensors(const Napi::CallbackInfo &info);
  Napi::Value importTensors(const Napi::CallbackInfo &info);
  Napi::Value exportGradients(const Napi::CallbackInfo &info);
  Napi::Value readTensor(const Napi::CallbackInfo &info);
  Napi::Value hasMoments(const Napi::CallbackInfo &info);
  Napi::Value importMoments(const Napi::CallbackInfo &info);
  Napi::Value packForInference(const Napi::CallbackInfo &info);
  Napi::Value freeze(const Napi::CallbackInfo &info);
  Napi::Value plan(const Napi::CallbackInfo &info);
  Napi::Value prepare(const Napi::CallbackInfo &info);
  // Plans what `work` describes, and takes it when it is to be prepared.
  Napi::Value planned(Napi::Env env, const Napi::Value &work, bool prepares);
  Napi::Value storeFeatures(const Napi::CallbackInfo &info);
  Napi::Value featureBytes(const Napi::CallbackInfo &info);
  Napi::Value storedFrames(const Napi::CallbackInfo &info);
  Napi::Value clearFeatures(const Napi::CallbackInfo &info);
  Napi::Value encoded(Napi::Env env, const std::vector<Napi::Value> &keep, const std::shared_ptr<const HostBatch> &host,
                      const std::function<Encoded(Model &, const HostBatch &)> &encode);
  Napi::Value alignmentInput(const Napi::CallbackInfo &info);
  Napi::Value encode(const Napi::CallbackInfo &info);
  Napi::Value classify(const Napi::CallbackInfo &info);
  Napi::Value windowMoments(const Napi::CallbackInfo &info);
  Napi::Value prefetches(const Napi::CallbackInfo &info);
  Napi::Value prefetch(const Napi::CallbackInfo &info);
  Napi::Value trainStep(const Napi::CallbackInfo &info);
  Napi::Value optimizerStep(const Napi::CallbackInfo &info);
  Napi::Value clearGradients(const Napi::CallbackInfo &info);
  Napi::Value dispose(const Napi::CallbackInfo &info);

  std::shared_ptr<Worker> worker_;
  std::shared_ptr<ModelSlot> slot_;
  std::vector<TensorInfo> tensors_;
  uint64_t tickets_ = 0;  // given to passes
};

}  // namespace emoframe::addon
