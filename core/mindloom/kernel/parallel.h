// Independent items on a few threads. Which thread takes which item changes nothing: each writes its own output.
#pragma once

#include <atomic>
#include <cstdlib>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

struct Free {
  void operator()(float *memory) const { std::free(memory); }
};

using Buffer = std::unique_ptr<float[], Free>;

inline Buffer allocate(int64_t floats) {
  return Buffer(static_cast<float *>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64)));
}

// work(next) runs once on each thread and asks next() for items until it returns a negative number.
template <class Work>
void parallel(int64_t items, int64_t threads, const Work &work) {
  std::atomic<int64_t> taken{0};
  const auto next = [&]() -> int64_t {
    const int64_t item = taken.fetch_add(1);
    return item < items ? item : -1;
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads && i < items; ++i) others.emplace_back([&] { work(next); });
  work(next);
  for (auto &other : others) other.join();
}
