// Layer and group normalisation. Gradients of weight and bias are sums over fixed parts, so two runs give equal bits.
#pragma once

#include <cmath>
#include <vector>

#include "functions.h"
#include "rows.h"

namespace {

// Mean and 1 / sqrt(variance + eps) in two passes, which do not cancel; sums of long rows are joined in double.
inline void moments(const float *x, int64_t count, float eps, float &mean, float &rstd) {
  constexpr int64_t part = 256 * kLanes;
  double sum = 0, squares = 0;
  for (int64_t at = 0; at < count; at += part) {
    Vec some{};
    each_vector(std::min(part, count - at), [&](int64_t, const auto &get, const auto &) { some += get(x + at); });
    sum += total(some);
  }
  mean = static_cast<float>(sum / count);
  for (int64_t at = 0; at < count; at += part) {
    const int64_t here = std::min(part, count - at), whole = here / kLanes * kLanes;
    Vec some{};
    for (int64_t i = 0; i < whole; i += kLanes) {
      const Vec d = load(x + at + i) - mean;
      some += d * d;
    }
    squares += total(some);
    for (int64_t i = whole; i < here; ++i) squares += (x[at + i] - mean) * (x[at + i] - mean);
  }
  rstd = static_cast<float>(1.0 / std::sqrt(squares / count + eps));
}

inline void layer_norm(int64_t rows, int64_t width, float eps, const float *x, const float *weight, const float *bias,
                       float *y, float *mean, float *rstd, int64_t threads) {
  each_block(rows, std::max<int64_t>(1, kBlock / std::max<int64_t>(1, width)), width, threads,
             [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      moments(x + row * width, width, eps, mean[row], rstd[row]);
      const float m = mean[row], r = rstd[row];
      each_vector(width, [=](int64_t, const auto &get, const auto &put) {
        put(y + row * width, (get(x + row * width) - m) * r * get(weight) + get(bias));
      });
    }
  });
}

constexpr int64_t kParts = 16;  // sums over rows: as many whatever the threads are

inline void layer_norm_backward(int64_t rows, int64_t width, const float *x, const float *weight, const float *mean,
                                const float *rstd, const float *dy, float *dx, float *dweight, float *dbias,
                                int64_t threads) {
  const int64_t parts = std::max<int64_t>(1, std::min(kParts, rows / 8)), block = (rows + parts - 1) / parts;
  const Buffer sums = allocate(2 * parts * width + 1);
  float *begin = sums.get();
  std::fill_n(begin, 2 * parts * width, 0.0f);
  if (rows) each_block(rows, block, width, threads, [=](int64_t first, int64_t last) {
    float *dw = begin + first / block * 2 * width, *db = dw + width;
    for (int64_t row = first; row < last; ++row) {
      const float *in = x + row * width, *grad = dy + row * width, m = mean[row], r = rstd[row];
      Vec plain{}, scaled{};
      each_vector(width, [&](int64_t, const auto &get, const auto &put) {
        const Vec normed = (get(in) - m) * r, d = get(grad), g = d * get(weight);
        plain += g;
        scaled += g * normed;
        put(dw, get(dw) + d * normed);
        put(db, get(db) + d);
      });
      const float a = total(plain) / width, b = total(scaled) / width;
      each_vector(width, [=](int64_t, const auto &get, const auto &put) {
        put(dx + row * width, (get(grad) * get(weight) - a - (get(in) - m) * r * b) * r);
      });
    }
  });
  std::copy_n(begin, width, dweight);
  std::copy_n(begin + width, width, dbias);
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < width; ++i) {
      dweight[i] += begin[part * 2 * width + i];
      dbias[i] += begin[part * 2 * width + width + i];
    }
}

// x [batch, channels, size]; a group is `channels / groups` channels in a row, so `count` elements in a row.
struct Groups {
  int64_t batch, channels, size, groups, threads;
  bool silu;
  int64_t width() const { return channels / groups; }
  int64_t count() const { return width() * size; }
};

inline void group_norm(const Groups &p, float eps, const float *x, const float *weight, const float *bias, float *y,
                       float *mean, float *rstd) {
  each_block(p.batch * p.groups, 1, p.count(), p.threads, [=](int64_t item, int64_t) {
    moments(x + item * p.count(), p.count(), eps, mean[item], rstd[item]);
    for (int64_t i = 0; i < p.width(); ++i) {
      const int64_t channel = item % p.groups * p.width() + i, at = item * p.count() + i * p.size;
      const float scale = rstd[item] * weight[channel], shift = bias[channel], m = mean[item];
      each_vector(p.size, [=](int64_t, const auto &get, const auto &put) {
        const Vec normed = (get(x + at) - m) * scale + shift;
        put(y + at, p.silu ? Silu::value(normed) : normed);
      });
    }
  });
}

inline void group_norm_backward(const Groups &p, const float *x, const float *weight, const float *bias,
                                const float *mean, const float *rstd, const float *dy, float *dx, float *dweight,
                                float *dbias) {
  const Buffer sums = allocate(2 * p.batch * p.channels + 1);
  float *dw = sums.get(), *db = dw + p.batch * p.channels;
  each_block(p.batch * p.groups, 1, p.count(), p.threads, [=](int64_t item, int64_t) {
    const float m = mean[item], r = rstd[item];
    const int64_t sample = item / p.groups * p.channels, begin = item % p.groups * p.width();
    double plain = 0, scaled = 0;
    for (int64_t i = 0; i < p.width(); ++i) {
      const int64_t channel = begin + i, at = item * p.count() + i * p.size;
      const float w = weight[channel], shift = bias[channel];
      Vec straight{}, weighted{};
      each_vector(p.size, [&](int64_t, const auto &get, const auto &put) {
        const Vec normed = (get(x + at) - m) * r;
        Vec d = get(dy + at);
        if (p.silu) {
          d *= Silu::slope(normed * w + shift);
          put(dx + at, d);  // for the second pass
        }
        straight += d;
        weighted += d * normed;
      });
      db[sample + channel] = total(straight);
      dw[sample + channel] = total(weighted);
      plain += w * static_cast<double>(db[sample + channel]);
      scaled += w * static_cast<double>(dw[sample + channel]);
    }
    const float a = static_cast<float>(plain / p.count()), b = static_cast<float>(scaled / p.count());
    const float *grad = p.silu ? dx : dy;
    for (int64_t i = 0; i < p.width(); ++i) {
      const int64_t at = item * p.count() + i * p.size;
      const float w = weight[begin + i];
      each_vector(p.size, [=](int64_t, const auto &get, const auto &put) {
        put(dx + at, (get(grad + at) * w - a - (get(x + at) - m) * r * b) * r);
      });
    }
  });
  std::fill_n(dweight, p.channels, 0.0f);
  std::fill_n(dbias, p.channels, 0.0f);
  for (int64_t i = 0; i < p.batch * p.channels; ++i) {
    dweight[i % p.channels] += dw[i];
    dbias[i % p.channels] += db[i];
  }
}

}  // namespace
