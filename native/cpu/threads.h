// OpenMP's threads are started by libgomp, which ends the process when the system refuses it one.
#pragma once

#include <cstdint>

namespace emoframe {

constexpr int32_t mostThreads = 1024;

// What OpenMP would take, and no more than there are processors for this process.
int32_t availableThreads();

// Makes sure that so many threads can be had, this one among them, and lets OpenMP start those that serve this one.
// Errors: ERR_ARGUMENT for more than any machine has processors, ERR_INTERNAL when the system does not start as many.
void startThreads(int32_t threads);

}  // namespace emoframe
