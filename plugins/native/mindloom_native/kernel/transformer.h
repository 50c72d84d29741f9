// A whole pre-norm transformer block, forward and backward: see mindloom/transformer.py for what it computes.
//
// One graph node instead of about seventy. Kept for the gradient are only what products and norms need: the normalised
// inputs and the gated values are computed again, at a thousandth of the products' cost.
#pragma once

#include <utility>

#include "activations.h"
#include "attention.h"
#include "linear.h"
#include "norms.h"

namespace {

inline void add_to(int64_t count, const float *from, float *to, int64_t threads) {
  each_block(count, kBlock, 1, threads, [=](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) to[i] += from[i];
  });
}

// Parameters in the order of the operator's inputs and of its gradients.
enum Weights {
  kNorm1, kShift1, kQuery1, kKey1, kValue1, kOut1, kOutBias1,
  kNorm2, kShift2, kQuery2, kKey2, kValue2, kOut2, kOutBias2,
  kNorm3, kShift3, kWide, kWideBias, kNarrow, kNarrowBias, kWeights
};

struct Block {
  int64_t batch, tokens, keys, width, context, heads, threads;
  float eps;
  int64_t rows, texts, inner, stats;

  Block(const int64_t *x, const int64_t *text, const float *settings)
      : batch(x[0]), tokens(x[1]), keys(text[1]), width(x[2]), context(text[2]),
        heads(width / static_cast<int64_t>(settings[2])), threads(static_cast<int64_t>(settings[0])), eps(settings[1]),
        rows(batch * tokens), texts(batch * keys), inner(4 * width), stats(rows * heads) {}

  // Where the forward pass leaves what the backward one needs: blocks.py knows the size.
  struct Kept {
    float *mean1, *rstd1, *q1, *k1, *v1, *out1, *lse1, *x1;
    float *mean2, *rstd2, *q2, *k2, *v2, *out2, *lse2, *x2;
    float *mean3, *rstd3, *wide;

    Kept(const Block &b, float *at) {
      const auto take = [&at](int64_t floats) { return std::exchange(at, at + floats); };
      const int64_t all = b.rows * b.width, text = b.texts * b.width;
      mean1 = take(b.rows), rstd1 = take(b.rows), q1 = take(all), k1 = take(all), v1 = take(all), out1 = take(all);
      lse1 = take(b.stats), x1 = take(all);
      mean2 = take(b.rows), rstd2 = take(b.rows), q2 = take(all), k2 = take(text), v2 = take(text), out2 = take(all);
      lse2 = take(b.stats), x2 = take(all);
      mean3 = take(b.rows), rstd3 = take(b.rows), wide = take(2 * b.rows * b.inner);
    }
  };

  attention::Problem problem(int64_t keys_each) const {
    const int64_t q[] = {batch, tokens, width}, k[] = {batch, keys_each, width};
    const int32_t settings[] = {static_cast<int32_t>(heads), 0, static_cast<int32_t>(threads)};
    return attention::Problem(q, k, settings);
  }

  void norm(const float *x, const float *weight, const float *shift, float *y, float *mean, float *rstd) const {
    layer_norm(rows, width, eps, x, weight, shift, y, mean, rstd, threads);
  }

  // result = residual + x weight^T + bias
  void closing(const float *residual, const float *x, int64_t in, const float *weight, const float *bias,
               float *result) const {
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < width; ++i) result[row * width + i] = residual[row * width + i] + bias[i];
    Product{false, true, rows, width, in}(x, weight, result, 1.0f, threads);
  }

  void forward(const float *x, const float *text, float *const *w, float *y, float *kept) const {
    const Kept k(*this, kept);
    const Buffer normed = allocate(rows * width), gated = allocate(rows * inner);
    float *n = normed.get();
    norm(x, w[kNorm1], w[kShift1], n, k.mean1, k.rstd1);
    linear(rows, width, width, n, w[kQuery1], nullptr, k.q1, threads);
    linear(rows, width, width, n, w[kKey1], nullptr, k.k1, threads);
    linear(rows, width, width, n, w[kValue1], nullptr, k.v1, threads);
    attention::forward<float>(problem(tokens), k.q1, k.k1, k.v1, k.out1, k.lse1);
    closing(x, k.out1, width, w[kOut1], w[kOutBias1], k.x1);
    norm(k.x1, w[kNorm2], w[kShift2], n, k.mean2, k.rstd2);
    linear(rows, width, width, n, w[kQuery2], nullptr, k.q2, threads);
    linear(texts, context, width, text, w[kKey2], nullptr, k.k2, threads);
    linear(texts, context, width, text, w[kValue2], nullptr, k.v2, threads);
    attention::forward<float>(problem(keys), k.q2, k.k2, k.v2, k.out2, k.lse2);
    closing(k.x1, k.out2, width, w[kOut2], w[kOutBias2], k.x2);
    norm(k.x2, w[kNorm3], w[kShift3], n, k.mean3, k.rstd3);
    linear(rows, width, 2 * inner, n, w[kWide], w[kWideBias], k.wide, threads);
    geglu(rows, inner, k.wide, gated.get(), threads);
    closing(k.x2, gated.get(), inner, w[kNarrow], w[kNarrowBias], y);
  }

  // dweight = dy^T x, and dbias where there is one
  void weights(int64_t count, int64_t in, int64_t out, const float *dy, const float *x, float *dweight,
               float *dbias) const {
    Product{true, false, out, in, count}(dy, x, dweight, 0.0f, threads);
    if (dbias) column_sums(count, out, dy, dbias, threads);
  }

  // dx = dy weight + beta dx
  void inputs(int64_t in, int64_t out, const float *dy, const float *weight, float *dx, float beta = 0.0f) const {
    Product{false, false, rows, in, out}(dy, weight, dx, beta, threads);
  }

  // grad += what reaches it through a norm of x whose output has the gradient dn; spare is overwritten.
  void through_norm(const float *x, float *const *w, float *const *dw, int which, const float *mean, const float *rstd,
                    const float *dn, float *spare, float *grad) const {
    layer_norm_backward(rows, width, x, w[which], mean, rstd, dn, spare, dw[which], dw[which + 1], threads);
    add_to(rows * width, spare, grad, threads);
  }

  // dk2 and dv2 are the gradients of the text's keys and values: those of the text itself are seldom needed.
  void backward(const float *x, const float *text, float *const *w, float *kept, const float *dy, float *dx,
                float *dk2, float *dv2, float *const *dw) const {
    const Kept k(*this, kept);
    const int64_t all = rows * width;
    const Buffer memory = allocate(6 * all), wide = allocate(3 * rows * inner);
    float *n = memory.get(), *dn = n + all, *dout = dn + all, *dq = dout + all, *dk = dq + all, *dv = dk + all;
    float *gated = wide.get(), *dwide = gated + rows * inner;  // of gated values, then of both halves
    float *unused = dk;  // statistics, once more

    geglu(rows, inner, k.wide, gated, threads);
    weights(rows, inner, width, dy, gated, dw[kNarrow], dw[kNarrowBias]);
    inputs(inner, width, dy, w[kNarrow], gated);
    geglu_backward(rows, inner, k.wide, gated, dwide, threads);
    norm(k.x2, w[kNorm3], w[kShift3], n, unused, unused + rows);
    weights(rows, width, 2 * inner, dwide, n, dw[kWide], dw[kWideBias]);
    inputs(width, 2 * inner, dwide, w[kWide], dn);
    std::copy_n(dy, all, dx);
    through_norm(k.x2, w, dw, kNorm3, k.mean3, k.rstd3, dn, dout, dx);

    weights(rows, width, width, dx, k.out2, dw[kOut2], dw[kOutBias2]);
    inputs(width, width, dx, w[kOut2], dout);
    attention::backward<float>(problem(keys), k.q2, k.k2, k.v2, k.out2, k.lse2, dout, dq, dk2, dv2);
    norm(k.x1, w[kNorm2], w[kShift2], n, unused, unused + rows);
    weights(rows, width, width, dq, n, dw[kQuery2], nullptr);
    weights(texts, context, width, dk2, text, dw[kKey2], nullptr);
    weights(texts, context, width, dv2, text, dw[kValue2], nullptr);
    inputs(width, width, dq, w[kQuery2], dn);
    through_norm(k.x1, w, dw, kNorm2, k.mean2, k.rstd2, dn, dout, dx);

    weights(rows, width, width, dx, k.out1, dw[kOut1], dw[kOutBias1]);
    inputs(width, width, dx, w[kOut1], dout);
    norm(x, w[kNorm1], w[kShift1], n, unused, unused + rows);
    attention::backward<float>(problem(tokens), k.q1, k.k1, k.v1, k.out1, k.lse1, dout, dq, dk, dv);
    weights(rows, width, width, dq, n, dw[kQuery1], nullptr);
    weights(rows, width, width, dk, n, dw[kKey1], nullptr);
    weights(rows, width, width, dv, n, dw[kValue1], nullptr);
    inputs(width, width, dq, w[kQuery1], dn);
    inputs(width, width, dk, w[kKey1], dn, 1.0f);
    inputs(width, width, dv, w[kValue1], dn, 1.0f);
    through_norm(x, w, dw, kNorm1, k.mean1, k.rstd1, dn, dout, dx);
  }
};

}  // namespace
