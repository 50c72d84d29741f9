// Tiles that stay in the first two cache levels: packed from strided rows, multiplied with sums kept in registers.
#pragma once

#include "vectors.h"

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRows = 6, kColumns = 4;  // 24 of 32 registers hold sums
#else
constexpr int kRows = 4, kColumns = 2;  // 8 of 16
#endif

constexpr int64_t kPanel = kColumns * kLanes;  // columns of one register tile

inline int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// c[rows, columns * kLanes] (+)= sum over p of a[i, p] b[p, j]; a is read by (row, depth) steps, so it may be transposed.
template <int rows, int columns>
inline void multiply_registers(const float *a, int64_t a_row, int64_t a_depth, const float *b, int64_t b_depth, float *c,
                               int64_t c_row, int64_t depth, bool add) {
  Vec sum[rows][columns];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) sum[i][j] = add ? load(c + i * c_row + j * kLanes) : Vec{};
  for (int64_t p = 0; p < depth; ++p) {
    Vec right[columns];
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) right[j] = load(b + p * b_depth + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const Vec left = splat(a[i * a_row + p * a_depth]);
#pragma GCC unroll 8
      for (int j = 0; j < columns; ++j) sum[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) store(c + i * c_row + j * kLanes, sum[i][j]);
}

template <int columns, int rest>
inline void multiply_rest(int64_t rows, const float *a, int64_t a_row, int64_t a_depth, const float *b, int64_t b_depth,
                          float *c, int64_t c_row, int64_t depth, bool add) {
  if constexpr (rest > 0) {
    if (rows == rest)
      multiply_registers<rest, columns>(a, a_row, a_depth, b, b_depth, c, c_row, depth, add);
    else
      multiply_rest<columns, rest - 1>(rows, a, a_row, a_depth, b, b_depth, c, c_row, depth, add);
  }
}

template <int columns>
inline void multiply_columns(int64_t rows, const float *a, int64_t a_row, int64_t a_depth, const float *b,
                             int64_t b_depth, float *c, int64_t c_row, int64_t depth, bool add) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows)
    multiply_registers<kRows, columns>(a + i * a_row, a_row, a_depth, b, b_depth, c + i * c_row, c_row, depth, add);
  multiply_rest<columns, kRows - 1>(rows - i, a + i * a_row, a_row, a_depth, b, b_depth, c + i * c_row, c_row, depth,
                                    add);
}

template <int width>
inline void multiply_last(int64_t vectors, int64_t rows, const float *a, int64_t a_row, int64_t a_depth, const float *b,
                          int64_t b_depth, float *c, int64_t c_row, int64_t depth, bool add) {
  if constexpr (width > 0) {
    if (vectors == width)
      multiply_columns<width>(rows, a, a_row, a_depth, b, b_depth, c, c_row, depth, add);
    else
      multiply_last<width - 1>(vectors, rows, a, a_row, a_depth, b, b_depth, c, c_row, depth, add);
  }
}

// c[rows, columns] (+)= a b, columns a multiple of kLanes. Panel j of b (kPanel columns) starts at b + j * b_panel.
__attribute__((noinline)) static void multiply(int64_t rows, int64_t columns, int64_t depth, const float *a,
                                               int64_t a_row, int64_t a_depth, const float *b, int64_t b_panel,
                                               int64_t b_depth, float *c, int64_t c_row, bool add) {
  int64_t j = 0;
  for (; j + kPanel <= columns; j += kPanel, b += b_panel)
    multiply_columns<kColumns>(rows, a, a_row, a_depth, b, b_depth, c + j, c_row, depth, add);
  multiply_last<kColumns - 1>((columns - j) / kLanes, rows, a, a_row, a_depth, b, b_depth, c + j, c_row, depth, add);
}

// to[rows_padded, width_padded] = factor * from[rows, width], zeros around it.
template <class T>
void pack(const T *from, int64_t stride, int64_t rows, int64_t width, float *to, int64_t rows_padded,
          int64_t width_padded, float factor = 1) {
  for (int64_t i = 0; i < rows; ++i) {
    read(from + i * stride, to + i * width_padded, width, factor);
    for (int64_t j = width; j < width_padded; ++j) to[i * width_padded + j] = 0;
  }
  std::memset(to + rows * width_padded, 0, sizeof(float) * (rows_padded - rows) * width_padded);
}

// to = panels of kPanel rows, each transposed to [width, kPanel].
inline void transpose(const float *from, int64_t rows_padded, int64_t width, float *to) {
  for (int64_t panel = 0; panel < rows_padded; panel += kPanel, to += kPanel * width)
    for (int64_t j = 0; j < width; ++j)
      for (int64_t i = 0; i < kPanel; ++i) to[j * kPanel + i] = from[(panel + i) * width + j];
}
