// Marks what nvcc compiles for both sides.
#pragma once

#ifdef __CUDACC__
#define EMOFRAME_HOST_DEVICE __host__ __device__
#else
#define EMOFRAME_HOST_DEVICE
#endif
