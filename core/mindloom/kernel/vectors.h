// What the kernel needs of a vector unit, in the vector extensions that GCC and Clang share.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __F16C__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

template <int lanes>
struct Vectors {
  typedef float Float __attribute__((vector_size(4 * lanes)));
  typedef int32_t Int __attribute__((vector_size(4 * lanes)));
};

using Vec = Vectors<kLanes>::Float;
using IntVec = Vectors<kLanes>::Int;

template <class V = Vec>
inline V load(const float *from) {
  V value;
  std::memcpy(&value, from, sizeof(V));
  return value;
}

template <class V>
inline void store(float *to, V value) {
  std::memcpy(to, &value, sizeof(V));
}

inline Vec splat(float value) { return value - Vec{}; }

template <class V>
inline V larger(V a, V b) {
  return a > b ? a : b;
}

// Halves the vector until four lanes are left: cheaper than going through the lanes one by one.
template <int lanes = kLanes>
inline float highest(typename Vectors<lanes>::Float value) {
  float parts[lanes];
  store(parts, value);
  if constexpr (lanes > 4) {
    using Half = typename Vectors<lanes / 2>::Float;
    return highest<lanes / 2>(larger(load<Half>(parts), load<Half>(parts + lanes / 2)));
  } else {
    const float a = parts[0] > parts[1] ? parts[0] : parts[1], b = parts[2] > parts[3] ? parts[2] : parts[3];
    return a > b ? a : b;
  }
}

inline float total(Vec value) {
  float sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += value[lane];
  return sum;
}

// 2^x for x <= 1, relative error below 2e-7: 2^n times the Taylor series of 2^r, |r| <= 1/2, to the seventh order.
// What would be subnormal is 0, so that a masked score adds nothing at all. NaN stays NaN.
inline Vec exp2(Vec x) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer that shows in the low bits
  const Vec shifted = x + magic;
  const Vec r = x - (shifted - magic);
  Vec y = splat(1.5252734e-5f);
  y = y * r + 1.5403530e-4f;
  y = y * r + 1.3333558e-3f;
  y = y * r + 9.6181291e-3f;
  y = y * r + 5.5504109e-2f;
  y = y * r + 2.4022651e-1f;
  y = y * r + 6.9314718e-1f;
  y = y * r + 1.0f;
  const IntVec bits = (IntVec)y + ((IntVec)shifted << 23);
  return (Vec)(bits & ~(IntVec)(x < -126.0f));
}

struct Half {  // IEEE binary16 in memory; all arithmetic is in float
  uint16_t bits;
};

inline float to_float(float value) { return value; }

inline float to_float(Half value) {
  // The exponent moves by 112 (127 - 15); multiplying does it for subnormal numbers, too.
  const uint32_t magnitude = (value.bits & 0x7fffu) << 13, sign = (value.bits & 0x8000u) << 16;
  uint32_t bits = magnitude;
  float result;
  if (magnitude >= 0x0f800000u) {
    bits |= 0x7f800000u;
    std::memcpy(&result, &bits, 4);
  } else {
    std::memcpy(&result, &bits, 4);
    result *= 0x1p112f;
  }
  return sign ? -result : result;
}

inline void assign(float &to, float value) { to = value; }

inline void assign(Half &to, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {
    half = static_cast<uint32_t>(std::nearbyint(std::fabs(value) * 0x1p24f));  // subnormal: steps of 2^-24
  } else {
    half = (magnitude + 0x0fffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;  // to nearest, ties to even
  }
  to.bits = static_cast<uint16_t>(sign | half);
}

inline void read(const float *from, float *to, int64_t count, float factor) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i] * factor;
}

inline void read(const Half *from, float *to, int64_t count, float factor) {
  int64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + i));
    _mm256_storeu_ps(to + i, _mm256_mul_ps(_mm256_cvtph_ps(bits), _mm256_set1_ps(factor)));
  }
#endif
  for (; i < count; ++i) to[i] = to_float(from[i]) * factor;
}

inline void write(const float *from, float *to, int64_t count, float factor) { read(from, to, count, factor); }

inline void write(const float *from, Half *to, int64_t count, float factor) {
  int64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8) {
    const __m256 value = _mm256_mul_ps(_mm256_loadu_ps(from + i), _mm256_set1_ps(factor));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to + i), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
  }
#endif
  for (; i < count; ++i) assign(to[i], from[i] * factor);
}
