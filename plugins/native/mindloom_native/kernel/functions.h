// Vectorised functions of one variable, with their derivatives, in float32.
#pragma once

#include "vectors.h"

#ifdef __AVX__
#include <immintrin.h>
#endif

namespace {

constexpr float kLog2E = 1.44269504f;

inline Vec reciprocal(Vec value) { return 1.0f / value; }

inline Vec root(Vec value) {
#if defined(__AVX512F__)
  return (Vec)_mm512_sqrt_ps((__m512)value);
#elif defined(__AVX__)
  return (Vec)_mm256_sqrt_ps((__m256)value);
#else
  for (int lane = 0; lane < kLanes; ++lane) value[lane] = std::sqrt(value[lane]);
  return value;
#endif
}

inline Vec magnitude(Vec x) { return (Vec)((IntVec)x & 0x7fffffff); }

// exp(x) for x <= 0; below -87 it is 0.
inline Vec exp_negative(Vec x) { return exp2(x * kLog2E); }

// 1 / (1 + exp(-x)) without overflow: exp of the negative magnitude serves both signs.
inline Vec sigmoid(Vec x) {
  const Vec e = exp_negative(-magnitude(x)), r = reciprocal(1.0f + e);
  return x < 0.0f ? e * r : r;
}

// The normal distribution's cdf and density, relative error of both tails about 1e-6.
//
// cdf(-x) = exp(-x^2/2) f(x) for x >= 0, and f, smooth and slowly falling, is a polynomial in 1 / (1 + 0.26 x). Its
// coefficients minimise the largest relative error on [0, 14], which is 6e-9: iterated weighted least squares.
inline void normal(Vec x, Vec &cdf, Vec &density) {
  const Vec e = exp_negative(-0.5f * x * x), t = reciprocal(1.0f + 0.26f * magnitude(x));
  Vec y = splat(0.03392576167814707f);
  y = y * t - 0.1705163705167851f;
  y = y * t + 0.29097631620044306f;
  y = y * t - 0.20080287728129054f;
  y = y * t + 0.2001101029057687f;
  y = y * t + 0.031211889748078134f;
  y = y * t + 0.10947997494657344f;
  y = y * t + 0.10171580770262212f;
  y = y * t + 0.10390656117985284f;
  y = y * t - 7.163845154717254e-06f;
  const Vec tail = e * y;
  cdf = x > 0.0f ? 1.0f - tail : tail;
  density = 0.398942280401432678f * e;
}

struct Gelu {
  static Vec value(Vec x) {
    Vec cdf, density;
    normal(x, cdf, density);
    return x * cdf;
  }
  static Vec slope(Vec x) {
    Vec cdf, density;
    normal(x, cdf, density);
    return cdf + x * density;
  }
};

struct Silu {
  static Vec value(Vec x) { return x * sigmoid(x); }
  static Vec slope(Vec x) {
    const Vec s = sigmoid(x);
    return s + x * s * (1.0f - s);
  }
};

struct QuickGelu {
  static Vec value(Vec x) { return x * sigmoid(1.702f * x); }
  static Vec slope(Vec x) {
    const Vec s = sigmoid(1.702f * x);
    return s + x * (1.702f * s * (1.0f - s));
  }
};

}  // namespace
