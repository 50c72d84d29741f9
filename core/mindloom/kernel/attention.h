// softmax(q kT / sqrt(head_dim)) v and its gradients, tile by tile: no buffer is as large as queries times keys.
//
// Forward: online softmax (Milakov and Gimelshein 2018; Dao et al. 2022, FlashAttention, algorithm 1).
// Backward: the scores once more from the saved log-sum-exp (Dao 2023, FlashAttention-2, algorithm 2).
// Everything is in base 2: queries are packed times scale * log2(e), so that exp2 gives the softmax.
#pragma once

#include <algorithm>

#include "parallel.h"
#include "tiles.h"

namespace attention {

constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;
constexpr float kLowest = -1e30f;  // finite: a difference of two of them is not NaN
constexpr double kSmall = 4e6;     // multiplications that take less time than starting a thread
constexpr int64_t kBlock = 16 * kRows, kTile = 2 * kPanel;  // queries and keys of one tile of scores

struct Problem {
  int64_t batch, queries, keys, heads, width, stride, padded, causal, threads;

  Problem(const int64_t *q, const int64_t *k, const int32_t *settings)
      : batch(q[0]), queries(q[1]), keys(k[1]), heads(settings[0]), width(q[2] / settings[0]), stride(q[2]),
        padded(round_up(width, kLanes)), causal(settings[1]), threads(settings[2]) {
    if (static_cast<double>(batch) * stride * queries * keys < kSmall) threads = 1;
  }

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(width)); }
  int64_t query_offset(int64_t head, int64_t row) const { return offset(head, row, queries); }
  int64_t key_offset(int64_t head, int64_t row) const { return offset(head, row, keys); }
  int64_t offset(int64_t head, int64_t row, int64_t rows) const {
    return (head / heads * rows + row) * stride + head % heads * width;
  }
};

// Scores that do not count become kLowest: keys past the end and, if causal, keys after the query.
inline void mask(const Problem &problem, float *scores, int64_t row, int64_t rows, int64_t key, int64_t keys,
          int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    int64_t visible = keys;
    if (problem.causal) visible = std::max<int64_t>(0, std::min(keys, row + i + 1 - key));
    std::fill(scores + i * columns + visible, scores + (i + 1) * columns, kLowest);
  }
}

template <class T>
void forward(const Problem &p, const T *q, const T *k, const T *v, T *out, float *lse) {
  // Several row tiles share one packed tile of keys; fewer for wide heads, so that the sums stay in the second level.
  const int64_t chunk = kBlock * std::max<int64_t>(1, 256 / p.padded);
  const int64_t chunks = (p.queries + chunk - 1) / chunk, items = p.batch * p.heads * chunks;
  const int64_t most = std::min(chunk, p.queries);
  parallel(items, p.threads, [&](const auto &next) {
    const Buffer query = allocate(most * p.padded), sum = allocate(most * p.padded), high = allocate(most);
    const Buffer weight = allocate(most * kLanes), scores = allocate(kBlock * kTile);
    const Buffer rows_of_keys = allocate(kTile * p.padded), key_panels = allocate(kTile * p.padded);
    const Buffer value = allocate(kTile * p.padded);
    for (int64_t item; (item = next()) >= 0;) {
      const int64_t head = item / chunks, start = item % chunks * chunk, rows = std::min(chunk, p.queries - start);
      pack(q + p.query_offset(head, start), p.stride, rows, p.width, query.get(), rows, p.padded, p.scale() * kLog2E);
      std::fill_n(sum.get(), rows * p.padded, 0.0f);
      std::fill_n(weight.get(), rows * kLanes, 0.0f);
      std::fill_n(high.get(), rows, kLowest);
      const int64_t end = p.causal ? std::min(p.keys, start + rows) : p.keys;
      for (int64_t key = 0; key < end; key += kTile) {
        const int64_t keys = std::min(kTile, p.keys - key), columns = round_up(keys, kLanes);
        pack(k + p.key_offset(head, key), p.stride, keys, p.width, rows_of_keys.get(), round_up(keys, kPanel), p.padded);
        transpose(rows_of_keys.get(), round_up(keys, kPanel), p.padded, key_panels.get());
        pack(v + p.key_offset(head, key), p.stride, keys, p.width, value.get(), columns, p.padded);
        int64_t first = 0;
        if (p.causal) first = std::max<int64_t>(0, key - start) / kBlock * kBlock;
        for (int64_t row = first; row < rows; row += kBlock) {
          const int64_t some = std::min(kBlock, rows - row);
          multiply(some, columns, p.width, query.get() + row * p.padded, p.padded, 1, key_panels.get(),
                   kPanel * p.padded, kPanel, scores.get(), kTile, false);
          if (keys < columns || (p.causal && key + keys > start + row + 1)) {
            mask(p, scores.get(), start + row, some, key, keys, kTile);
          }
          for (int64_t i = 0; i < some; ++i) {
            float *s = scores.get() + i * kTile, *w = weight.get() + (row + i) * kLanes, &top = high[row + i];
            Vec best = load(s);
            for (int64_t j = kLanes; j < columns; j += kLanes) best = larger(best, load(s + j));
            const float now = std::max(top, highest(best));
            Vec sums = load(w);
            if (now > top) {
              const Vec shrink = exp2(splat(top - now));
              float *o = sum.get() + (row + i) * p.padded;
              for (int64_t j = 0; j < p.padded; j += kLanes) store(o + j, load(o + j) * shrink);
              sums *= shrink;
              top = now;
            }
            for (int64_t j = 0; j < columns; j += kLanes) {
              const Vec e = exp2(load(s + j) - now);
              store(s + j, e);
              sums += e;
            }
            store(w, sums);
          }
          multiply(some, p.padded, keys, scores.get(), kTile, 1, value.get(), kPanel, p.padded,
                   sum.get() + row * p.padded, p.padded, true);
        }
      }
      for (int64_t i = 0; i < rows; ++i) {
        const float w = total(load(weight.get() + i * kLanes));
        write(sum.get() + i * p.padded, out + p.query_offset(head, start + i), p.width, 1.0f / w);
        lse[head * p.queries + start + i] = high[i] + std::log2(w);
      }
    }
  });
}

template <class T>
void backward(const Problem &p, const T *q, const T *k, const T *v, const T *out, const float *lse, const T *dout,
              T *dq, T *dk, T *dv) {
  const int64_t heads = p.batch * p.heads;
  // Normally a head is one item. With too few heads for the threads, its keys are split, and the parts of dq summed.
  const bool whole = heads % p.threads == 0 || heads >= 4 * p.threads;
  const int64_t tiles = (p.keys + kTile - 1) / kTile, parts = whole ? 1 : std::min(tiles, p.threads);
  const int64_t size = p.queries * p.padded;
  const Buffer partial = allocate(whole ? 0 : heads * parts * size);
  parallel(heads * parts, p.threads, [&](const auto &next) {
    const Buffer own = allocate(whole ? size : 0), delta = allocate(p.queries);
    const Buffer query = allocate(kBlock * p.padded), grad = allocate(kBlock * p.padded);
    const Buffer soft = allocate(kBlock * kTile), score = allocate(kBlock * kTile);
    const Buffer key = allocate(kTile * p.padded), key_panels = allocate(kTile * p.padded);
    const Buffer value = allocate(kTile * p.padded), value_panels = allocate(kTile * p.padded);
    const Buffer dkey = allocate(kTile * p.padded), dvalue = allocate(kTile * p.padded);
    for (int64_t item; (item = next()) >= 0;) {
      const int64_t head = item / parts, part = item % parts;
      float *dquery = whole ? own.get() : partial.get() + item * size;
      std::fill_n(dquery, size, 0.0f);
      for (int64_t i = 0; i < p.queries; ++i) {
        const T *o = out + p.query_offset(head, i), *d = dout + p.query_offset(head, i);
        read(o, query.get(), p.width, 1);
        read(d, grad.get(), p.width, 1);
        float sum = 0;
        for (int64_t j = 0; j < p.width; ++j) sum += query[j] * grad[j];
        delta[i] = sum;
      }
      for (int64_t t = tiles * part / parts; t < tiles * (part + 1) / parts; ++t) {
        const int64_t from = t * kTile, keys = std::min(kTile, p.keys - from), columns = round_up(keys, kLanes);
        const int64_t packed = round_up(keys, kPanel);
        pack(k + p.key_offset(head, from), p.stride, keys, p.width, key.get(), packed, p.padded);
        pack(v + p.key_offset(head, from), p.stride, keys, p.width, value.get(), packed, p.padded);
        transpose(key.get(), packed, p.padded, key_panels.get());
        transpose(value.get(), packed, p.padded, value_panels.get());
        std::fill_n(dkey.get(), keys * p.padded, 0.0f);
        std::fill_n(dvalue.get(), keys * p.padded, 0.0f);
        for (int64_t row = p.causal ? from / kBlock * kBlock : 0; row < p.queries; row += kBlock) {
          const int64_t rows = std::min(kBlock, p.queries - row);
          pack(q + p.query_offset(head, row), p.stride, rows, p.width, query.get(), rows, p.padded,
               p.scale() * kLog2E);
          pack(dout + p.query_offset(head, row), p.stride, rows, p.width, grad.get(), rows, p.padded);
          multiply(rows, columns, p.width, query.get(), p.padded, 1, key_panels.get(), kPanel * p.padded, kPanel,
                   soft.get(), kTile, false);
          multiply(rows, columns, p.width, grad.get(), p.padded, 1, value_panels.get(), kPanel * p.padded, kPanel,
                   score.get(), kTile, false);
          if (keys < columns || (p.causal && from + keys > row + 1)) mask(p, soft.get(), row, rows, from, keys, kTile);
          for (int64_t i = 0; i < rows; ++i) {
            const float norm = lse[head * p.queries + row + i], mean = delta[row + i];
            for (int64_t j = i * kTile; j < i * kTile + columns; j += kLanes) {
              const Vec e = exp2(load(soft.get() + j) - norm);
              store(soft.get() + j, e);
              store(score.get() + j, e * (load(score.get() + j) - mean));
            }
          }
          multiply(keys, p.padded, rows, soft.get(), 1, kTile, grad.get(), kPanel, p.padded, dvalue.get(), p.padded,
                   true);
          multiply(keys, p.padded, rows, score.get(), 1, kTile, query.get(), kPanel, p.padded, dkey.get(), p.padded,
                   true);
          multiply(rows, p.padded, keys, score.get(), kTile, 1, key.get(), kPanel, p.padded, dquery + row * p.padded,
                   p.padded, true);
        }
        for (int64_t i = 0; i < keys; ++i) {
          write(dkey.get() + i * p.padded, dk + p.key_offset(head, from + i), p.width, kLn2);
          write(dvalue.get() + i * p.padded, dv + p.key_offset(head, from + i), p.width, 1);
        }
      }
      if (!whole) continue;
      for (int64_t i = 0; i < p.queries; ++i)
        write(dquery + i * p.padded, dq + p.query_offset(head, i), p.width, p.scale());
    }
  });
  if (whole) return;
  for (int64_t head = 0; head < heads; ++head) {
    float *first = partial.get() + head * parts * size;
    for (int64_t part = 1; part < parts; ++part)
      for (int64_t i = 0; i < size; ++i) first[i] += first[part * size + i];
    for (int64_t i = 0; i < p.queries; ++i)
      write(first + i * p.padded, dq + p.query_offset(head, i), p.width, p.scale());
  }
}

}  // namespace attention
