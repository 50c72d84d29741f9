// AdamW over many parameters in one pass, and the norm of all gradients.
#pragma once

#include <cmath>
#include <vector>

#include "functions.h"
#include "rows.h"

namespace {

// Arrays of different sizes, cut into blocks that are counted through.
struct Arrays {
  std::vector<int64_t> sizes, first;  // of each array: its elements, and the number of its first block
  int64_t elements = 0;

  Arrays(int64_t count, const int *dims, int64_t **shapes) : first(1, 0) {
    for (int64_t i = 0; i < count; ++i) {
      sizes.push_back(product(shapes[i], 0, dims[i]));
      first.push_back(first.back() + (sizes.back() + kBlock - 1) / kBlock);
      elements += sizes.back();
    }
  }

  int64_t blocks() const { return first.back(); }

  // work(block, array, offset, elements)
  template <class Work>
  void each(int64_t threads, const Work &work) const {
    parallel(blocks(), elements < kSmall ? 1 : threads, [&](const auto &next) {
      for (int64_t block; (block = next()) >= 0;) {
        const int64_t array = std::upper_bound(first.begin(), first.end(), block) - first.begin() - 1;
        const int64_t offset = (block - first[array]) * kBlock;
        work(block, array, offset, std::min(kBlock, sizes[array] - offset));
      }
    });
  }
};

inline double global_norm(const Arrays &arrays, float **gradients, int64_t threads) {
  std::vector<double> sums(arrays.blocks());
  arrays.each(threads, [&](int64_t block, int64_t array, int64_t offset, int64_t count) {
    double sum = 0;
    for (int64_t at = 0; at < count; at += 64 * kLanes) {
      Vec some{};
      each_vector(std::min<int64_t>(64 * kLanes, count - at), [&](int64_t, const auto &get, const auto &) {
        const Vec g = get(gradients[array] + offset + at);
        some += g * g;
      });
      sum += total(some);
    }
    sums[block] = sum;
  });
  double all = 0;
  for (const double sum : sums) all += sum;
  return std::sqrt(all);
}

struct AdamW {
  float rate, beta1, beta2, eps, ratio, clip;

  // With c1 = 1 - beta1^t and c2 = sqrt(1 - beta2^t): p -= lr wd p + lr/c1 m / (sqrt(v)/c2 + eps), as
  // p -= rate (m / (sqrt(v) + eps c2) + ratio wd p), rate = lr c2/c1, ratio = c1/c2.
  AdamW(double lr, double step, const float *settings, double clip)
      : beta1(settings[0]), beta2(settings[1]), clip(static_cast<float>(clip)) {
    const double c1 = -std::expm1(step * std::log(static_cast<double>(beta1)));
    const double c2 = std::sqrt(-std::expm1(step * std::log(static_cast<double>(beta2))));
    rate = static_cast<float>(lr * c2 / c1);
    eps = static_cast<float>(settings[2] * c2);
    ratio = static_cast<float>(c1 / c2);
  }

  void update(int64_t count, float decay, float *p, float *m, float *v, const float *g) const {
    const float keep1 = 1.0f - beta1, keep2 = 1.0f - beta2, shrink = decay * ratio;
    each_vector(count, [=, *this](int64_t, const auto &get, const auto &put) {
      const Vec gradient = get(g) * clip;
      const Vec mean = get(m) * beta1 + gradient * keep1, square = get(v) * beta2 + gradient * gradient * keep2;
      put(m, mean);
      put(v, square);
      const Vec weight = get(p);
      put(p, weight - rate * (mean / (root(square) + eps) + shrink * weight));
    });
  }
};

}  // namespace
