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
  // A method of the JavaScript object, which only JavaScript's errors leave.
  template <InstanceMethodCallback method>
  static PropertyDescriptor translated(const char *name) {
    return InstanceMethod<&ModelObject::translate<method>>(name);
  }
  template <InstanceMethodCallback method>
  Napi::Value translate(const Napi::CallbackInfo &info) {
    return translating(info.Env(), [&] { return (this->*method)(info); });
  }

  struct Batch;
  using Method = std::function<void(Model &)>;
  using Pass = std::function<void(Model &, const HostBatch &)>;
  // Queues work on this model, refusing it after dispose(). `prefetch`, `chain`: as Worker's.
  Napi::Value run(Method work, Worker::Finish finish = nullptr, Method prefetch = nullptr,
                  std::shared_ptr<Chain> chain = nullptr);
  // The same for a pass that does not train, of the frames `kept`, or of all.
  Napi::Value pass(Batch batch, Pass work, Worker::Finish finish = nullptr,
                   std::shared_ptr<const FrameRanges> kept = nullptr);
  // The same for a call of training: it is cancelled where one before it failed. So what is wrong with its arguments is
  // a failure in its turn too.
  Napi::Value train(const std::function<Napi::Value(const std::shared_ptr<Chain> &)> &call);

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
  Napi::Value planned(const Napi::Value &work, bool prepares);
  Napi::Value storeFeatures(const Napi::CallbackInfo &info);
  Napi::Value featureBytes(const Napi::CallbackInfo &info);
  Napi::Value storedFrames(const Napi::CallbackInfo &info);
  Napi::Value clearFeatures(const Napi::CallbackInfo &info);
  Napi::Value encoded(Batch batch, const std::function<Encoded(Model &, const HostBatch &)> &encode);
  Napi::Value alignmentInput(const Napi::CallbackInfo &info);
  Napi::Value encode(const Napi::CallbackInfo &info);
  Napi::Value classify(const Napi::CallbackInfo &info);
  Napi::Value windowMoments(const Napi::CallbackInfo &info);
  Napi::Value trainStep(const Napi::CallbackInfo &info);
  Napi::Value trainOutputs(const Napi::CallbackInfo &info);
  Napi::Value optimizerStep(const Napi::CallbackInfo &info);
  Napi::Value clearGradients(const Napi::CallbackInfo &info);
  Napi::Value dispose(const Napi::CallbackInfo &info);

  std::shared_ptr<Worker> worker_;
  std::shared_ptr<ModelSlot> slot_;
  std::vector<TensorInfo> tensors_;
};

}  // namespace emoframe::addon
