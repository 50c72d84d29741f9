// The entries. MindSpore's calling convention of ahead-of-time operators: inputs, then outputs; 0 is success.
//
// All tensors are float32. `settings` begins with the number of threads.
#include <cstdio>
#include <exception>

#include "convolution.h"
#include "optimizer.h"
#include "transformer.h"

#define ENTRY(name) \
  extern "C" int name(int count, void **data, int *dims, int64_t **shapes, const char **dtypes, void *, void *)

namespace {

// The tensors of one call, all of them float32.
struct Call {
  int count;
  float **data;
  const int *dims;
  int64_t **shapes;

  int64_t size(int i) const { return product(shapes[i], 0, dims[i]); }
  int64_t width(int i) const { return shapes[i][dims[i] - 1]; }
  int64_t rows(int i) const { return product(shapes[i], 0, dims[i] - 1); }
};

template <class Work>
int run(int expected, int count, void **data, int *dims, int64_t **shapes, const char **dtypes, const Work &work) {
  if (expected != count) return 1;
  for (int i = 0; i < count; ++i)
    if (std::strcmp(dtypes[i], "float32") != 0) return 2;
  try {
    work(Call{count, reinterpret_cast<float **>(data), dims, shapes});
  } catch (const std::exception &error) {  // MindSpore says no more than the number
    std::fprintf(stderr, "native: %s\n", error.what());
    return 9;
  }
  return 0;
}

Groups groups_of(const Call &c, int x, const float *settings) {
  const int64_t *shape = c.shapes[x];
  return {shape[0], shape[1], product(shape, 2, c.dims[x]), static_cast<int64_t>(settings[2]),
          static_cast<int64_t>(settings[0]), settings[3] != 0};
}

}  // namespace

#define RUN(expected, ...) \
  return run(expected, count, data, dims, shapes, dtypes, [&](const Call &c) { float **t = c.data; __VA_ARGS__; })

// x, settings [threads] -> y; x, dy, settings -> dx
#define ACTIVATION(name, Function)                                                     \
  ENTRY(name) { RUN(3, activate<Function>(c.size(0), t[0], t[2], t[1][0])); }          \
  ENTRY(name##_backward) { RUN(4, activate_backward<Function>(c.size(0), t[0], t[1], t[3], t[2][0])); }

ACTIVATION(gelu, Gelu)
ACTIVATION(quick_gelu, QuickGelu)
ACTIVATION(silu, Silu)

// x [..., 2 n], settings [threads] -> y [..., n]; x, dy, settings -> dx
ENTRY(geglu) { RUN(3, geglu(c.rows(2), c.width(2), t[0], t[2], t[1][0])); }
ENTRY(geglu_backward) { RUN(4, geglu_backward(c.rows(1), c.width(1), t[0], t[1], t[3], t[2][0])); }

// x, settings [threads] -> y; y, dy, settings -> dx
ENTRY(softmax) { RUN(3, softmax(c.rows(0), c.width(0), t[0], t[2], t[1][0])); }
ENTRY(softmax_backward) { RUN(4, softmax_backward(c.rows(0), c.width(0), t[0], t[1], t[3], t[2][0])); }

// x, weight, bias, settings [threads, eps] -> y, mean, rstd; x, weight, mean, rstd, dy, settings -> dx, dweight, dbias
ENTRY(layer_norm) {
  RUN(7, layer_norm(c.rows(0), c.width(0), t[3][1], t[0], t[1], t[2], t[4], t[5], t[6], t[3][0]));
}
ENTRY(layer_norm_backward) {
  RUN(9, layer_norm_backward(c.rows(0), c.width(0), t[0], t[1], t[2], t[3], t[4], t[6], t[7], t[8], t[5][0]));
}

// x [B, C, ...], weight, bias, settings [threads, eps, groups, silu] -> y, mean, rstd;
// x, weight, bias, mean, rstd, dy, settings -> dx, dweight, dbias
ENTRY(group_norm) {
  RUN(7, group_norm(groups_of(c, 0, t[3]), t[3][1], t[0], t[1], t[2], t[4], t[5], t[6]));
}
ENTRY(group_norm_backward) {
  RUN(10, group_norm_backward(groups_of(c, 0, t[6]), t[0], t[1], t[2], t[3], t[4], t[5], t[7], t[8], t[9]));
}

// x [..., in], weight [out, in], (bias,) settings [threads] -> y [..., out]
ENTRY(linear) { RUN(4, linear(c.rows(0), c.width(0), c.width(3), t[0], t[1], nullptr, t[3], t[2][0])); }
ENTRY(linear_bias) { RUN(5, linear(c.rows(0), c.width(0), c.width(4), t[0], t[1], t[2], t[4], t[3][0])); }

// dy, weight, settings -> dx; dy, x, settings -> dweight(, dbias). Two entries, because often only one is needed.
ENTRY(linear_inputs) {
  RUN(4, (Product{false, false, c.rows(0), c.width(3), c.width(0)})(t[0], t[1], t[3], 0.0f, t[2][0]));
}
ENTRY(linear_weights) {
  RUN(count, (Product{true, false, c.width(0), c.width(1), c.rows(0)})(t[0], t[1], t[3], 0.0f, t[2][0]);
      if (count == 5) column_sums(c.rows(0), c.width(0), t[0], t[4], t[2][0]));
}

// x [B, C, h, w], weight [out, C, kernel, kernel], bias, settings [threads, stride, top, left] -> y;
// dy, weight, settings, x (for its shape) -> dx; dy, x, weight (for its shape), settings -> dweight, dbias
ENTRY(convolution) {
  RUN(5, Convolution(c.shapes[0], c.shapes[1], c.shapes[4], t[3]).forward(t[0], t[1], t[2], t[4]));
}
ENTRY(convolution_inputs) {
  RUN(5, Convolution(c.shapes[3], c.shapes[1], c.shapes[0], t[2]).inputs(t[0], t[1], t[4]));
}
ENTRY(convolution_weights) {
  RUN(6, Convolution(c.shapes[1], c.shapes[2], c.shapes[0], t[3]).weights(t[0], t[1], t[4], t[5]));
}

// x, text, 20 parameters, settings [threads, eps, head_dim] -> y, kept;
// x, text, 20 parameters, settings, kept, dy -> dx, dkeys, dvalues (of the text), 20 gradients
ENTRY(transformer_block) {
  RUN(kWeights + 5, Block(c.shapes[0], c.shapes[1], t[kWeights + 2])
      .forward(t[0], t[1], t + 2, t[kWeights + 3], t[kWeights + 4]));
}
ENTRY(transformer_block_backward) {
  RUN(2 * kWeights + 8, float **out = t + kWeights + 5; Block(c.shapes[0], c.shapes[1], t[kWeights + 2])
      .backward(t[0], t[1], t + 2, t[kWeights + 3], t[kWeights + 4], out[0], out[1], out[2], out + 3));
}

// x -> x, in memory of its own
ENTRY(copy) { RUN(2, std::copy_n(t[0], c.size(0), t[1])); }

// settings [threads], gradients -> norm [1]
ENTRY(global_norm) {
  RUN(count, t[count - 1][0] = global_norm(Arrays(count - 2, dims + 1, shapes + 1), t + 1, t[0][0]));
}

// lr, steps, settings [threads, beta1, beta2, eps, limit (0: none)], decays [n], norm [1], then n each of parameters,
// means, squares and gradients -> step. Writes steps, parameters, means and squares where they are.
ENTRY(adamw) {
  RUN(count, const int64_t n = (count - 6) / 4; float **p = t + 5, **m = p + n, **v = m + n, **g = v + n;
      const double limit = t[2][4], clip = limit > 0 ? std::min(1.0, limit / (t[4][0] + 1e-6)) : 1.0;
      const AdamW step(t[0][0], t[1][0] += 1, t[2] + 1, std::isnan(t[4][0]) ? t[4][0] : clip);
      Arrays(n, dims + 5, shapes + 5).each(t[2][0], [&](int64_t, int64_t i, int64_t at, int64_t size) {
        step.update(size, t[3][i], p[i] + at, m[i] + at, v[i] + at, g[i] + at);
      });
      t[count - 1][0] = t[1][0]);
}
