// Elementwise activations, and the gated one.
#pragma once

#include "functions.h"
#include "rows.h"

namespace {

template <class F>
void activate(int64_t count, const float *x, float *y, int64_t threads) {
  each_block(count, kBlock, 1, threads, [=](int64_t first, int64_t last) {
    each_vector(last - first, [=](int64_t, const auto &get, const auto &put) { put(y + first, F::value(get(x + first))); });
  });
}

template <class F>
void activate_backward(int64_t count, const float *x, const float *dy, float *dx, int64_t threads) {
  each_block(count, kBlock, 1, threads, [=](int64_t first, int64_t last) {
    each_vector(last - first, [=](int64_t, const auto &get, const auto &put) {
      put(dx + first, get(dy + first) * F::slope(get(x + first)));
    });
  });
}

// Rows of 2 width elements, (value, gate) -> value * gelu(gate), rows of width elements.
inline void geglu(int64_t rows, int64_t width, const float *x, float *y, int64_t threads) {
  each_block(rows, std::max<int64_t>(1, kBlock / std::max<int64_t>(1, width)), width, threads,
             [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const float *value = x + row * 2 * width, *gate = value + width;
      each_vector(width, [=](int64_t, const auto &get, const auto &put) {
        put(y + row * width, get(value) * Gelu::value(get(gate)));
      });
    }
  });
}

inline void geglu_backward(int64_t rows, int64_t width, const float *x, const float *dy, float *dx, int64_t threads) {
  each_block(rows, std::max<int64_t>(1, kBlock / std::max<int64_t>(1, width)), width, threads,
             [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const float *value = x + row * 2 * width, *gate = value + width;
      float *dvalue = dx + row * 2 * width, *dgate = dvalue + width;
      each_vector(width, [=](int64_t, const auto &get, const auto &put) {
        const Vec g = get(gate), d = get(dy + row * width);
        Vec cdf, density;
        normal(g, cdf, density);
        put(dvalue, d * g * cdf);
        put(dgate, d * get(value) * (cdf + g * density));
      });
    }
  });
}

// exp(x - max) over its sum, along rows.
inline void softmax(int64_t rows, int64_t width, const float *x, float *y, int64_t threads) {
  each_block(rows, std::max<int64_t>(1, kBlock / std::max<int64_t>(1, width)), width, threads,
             [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const float *from = x + row * width;
      float *to = y + row * width;
      Vec best = splat(from[0]), sum{};
      int64_t i = 0;
      for (; i + kLanes <= width; i += kLanes) best = larger(load(from + i), best);
      float top = highest(best);
      for (; i < width; ++i) top = from[i] > top ? from[i] : top;
      each_vector(width, [&](int64_t at, const auto &get, const auto &put) {
        Vec e = exp_negative(get(from) - top);
        put(to, e);
        if (at + kLanes > width) e = load_some(to + at, width - at);
        sum += e;
      });
      const Vec scale = splat(1.0f / total(sum));
      each_vector(width, [=](int64_t, const auto &get, const auto &put) { put(to, get(to) * scale); });
    }
  });
}

inline void softmax_backward(int64_t rows, int64_t width, const float *y, const float *dy, float *dx,
                             int64_t threads) {
  each_block(rows, std::max<int64_t>(1, kBlock / std::max<int64_t>(1, width)), width, threads,
             [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const float *out = y + row * width, *grad = dy + row * width;
      Vec sum{};
      each_vector(width, [&](int64_t, const auto &get, const auto &) { sum += get(out) * get(grad); });
      const float mean = total(sum);
      each_vector(width, [=](int64_t, const auto &get, const auto &put) {
        put(dx + row * width, get(out) * (get(grad) - mean));
      });
    }
  });
}

}  // namespace
