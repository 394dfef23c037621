// Included before each kernel file: memcpy and its like call the emulation (hooks.cpp), like any access.
#pragma once

#include <cstddef>

extern "C" {
void *memcpy(void *to, const void *from, size_t size) noexcept __asm__("simtMemcpy");
void *memmove(void *to, const void *from, size_t size) noexcept __asm__("simtMemmove");
void *memset(void *to, int value, size_t size) noexcept __asm__("simtMemset");
}
