// How kernels walk through memory: whole vectors, then one that is padded; items on threads, in a fixed partition.
#pragma once

#include <algorithm>

#include "parallel.h"
#include "vectors.h"

namespace {

constexpr int64_t kSmall = 32768;  // elements that take less time than starting a thread
constexpr int64_t kBlock = 16384;  // elements of one item, where items are free to choose

inline int64_t product(const int64_t *shape, int from, int to) {
  int64_t size = 1;
  for (int i = from; i < to; ++i) size *= shape[i];
  return size;
}

// The first few elements of a vector, the others 0.
inline Vec load_some(const float *from, int64_t count) {
  Vec value{};
  std::memcpy(&value, from, count * sizeof(float));
  return value;
}

inline void store_some(float *to, Vec value, int64_t count) { std::memcpy(to, &value, count * sizeof(float)); }

// work(offset, load, store): load(pointer) and store(pointer, value) at offset, whole vectors first.
template <class Work>
inline void each_vector(int64_t count, const Work &work) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    work(i, [i](const float *p) { return load(p + i); }, [i](float *p, Vec v) { store(p + i, v); });
  if (const int64_t rest = count - i)
    work(i, [i, rest](const float *p) { return load_some(p + i, rest); },
         [i, rest](float *p, Vec v) { store_some(p + i, v, rest); });
}

// work(first, last) over [0, count) in blocks of `block` or less, on threads where there is enough to do.
template <class Work>
inline void each_block(int64_t count, int64_t block, int64_t cost, int64_t threads, const Work &work) {
  if (count * cost < kSmall) threads = 1;
  parallel((count + block - 1) / block, threads, [&](const auto &next) {
    for (int64_t item; (item = next()) >= 0;) work(item * block, std::min(count, (item + 1) * block));
  });
}

}  // namespace
