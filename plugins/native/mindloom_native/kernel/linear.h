// Linear layers: row-major matrix products by oneDNN's dnnl_sgemm, the library that MindSpore's own MatMul uses.
//
// compile.py has loaded MindSpore's copy before any kernel runs; nothing is linked, so that no headers are needed. Outside
// of MindSpore's thread pool it uses one thread, so the longer of the result's sides is shared out here.
#pragma once

#include <dlfcn.h>

#include <stdexcept>

#include "rows.h"

namespace {

using Sgemm = int (*)(char, char, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t,
                      float, float *, int64_t);

inline Sgemm sgemm() {
  static const Sgemm found = [] {
    void *library = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_NOLOAD);
    return library ? reinterpret_cast<Sgemm>(dlsym(library, "dnnl_sgemm")) : nullptr;
  }();
  if (!found) throw std::runtime_error("libdnnl.so.2 with dnnl_sgemm is not loaded");
  return found;
}

// Shares of [0, count) whose sizes are multiples of a tile, one for each thread where there is enough to do.
template <class Work>
inline void each_share(int64_t count, int64_t cost, int64_t threads, const Work &work) {
  constexpr int64_t kTile = 16;
  if (count * cost < 64 * kSmall) threads = 1;
  const int64_t share = ((count + threads - 1) / threads + kTile - 1) / kTile * kTile;
  parallel((count + share - 1) / share, threads, [&](const auto &next) {
    for (int64_t item; (item = next()) >= 0;) work(item * share, std::min(count, (item + 1) * share));
  });
}

// c [rows, columns] = a [rows, inner] b [inner, columns] + beta c, beta 0 or 1; a and b may be stored transposed.
struct Product {
  bool a_turned, b_turned;
  int64_t rows, columns, inner;

  void operator()(const float *a, const float *b, float *c, float beta, int64_t threads) const {
    if (!rows || !columns || !inner) {  // dnnl_sgemm leaves c as it is, which may be anything
      if (beta == 0.0f) std::fill_n(c, rows * columns, 0.0f);
      return;
    }
    const int64_t a_step = a_turned ? rows : inner, b_step = b_turned ? inner : columns;
    const Sgemm multiply = sgemm();
    std::atomic<bool> failed{false};
    const auto part = [&](int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
      if (multiply(a_turned ? 'T' : 'N', b_turned ? 'T' : 'N', row_end - row, column_end - column, inner, 1.0f,
                   a + (a_turned ? row : row * a_step), a_step, b + (b_turned ? column * b_step : column), b_step, beta,
                   c + row * columns + column, columns))
        failed = true;
    };
    if (rows >= columns)
      each_share(rows, columns * inner, threads, [&](int64_t from, int64_t to) { part(from, to, 0, columns); });
    else
      each_share(columns, rows * inner, threads, [&](int64_t from, int64_t to) { part(0, rows, from, to); });
    if (failed) throw std::runtime_error("dnnl_sgemm refuses a product, which happens when memory is short");
  }
};

// x [rows, in], weight [out, in], bias [out] or null -> y [rows, out]
inline void linear(int64_t rows, int64_t in, int64_t out, const float *x, const float *weight, const float *bias,
                   float *y, int64_t threads) {
  if (bias)
    for (int64_t row = 0; row < rows; ++row) std::memcpy(y + row * out, bias, out * sizeof(float));
  Product{false, true, rows, out, in}(x, weight, y, bias ? 1.0f : 0.0f, threads);
}

// dy [rows, out] -> dbias [out]: rows in the order in which they stand.
inline void column_sums(int64_t rows, int64_t out, const float *dy, float *dbias, int64_t threads) {
  each_block(out, 64, rows, threads, [&](int64_t from, int64_t to) {
    std::fill(dbias + from, dbias + to, 0.0f);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = from; i < to; ++i) dbias[i] += dy[row * out + i];
  });
}

}  // namespace
