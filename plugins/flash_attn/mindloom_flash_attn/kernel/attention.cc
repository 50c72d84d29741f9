// The entries of attention: see mindloom/kernel/attention.h for how it is computed.
#include <cstring>
#include <type_traits>

#include "attention.h"

namespace {

bool is(const char *dtype, const char *name) { return std::strcmp(dtype, name) == 0; }

}  // namespace

// MindSpore's calling convention of ahead-of-time operators: inputs, then outputs; 0 is success.
//
// Forward:  q, k, v, settings [heads, causal, threads] (int32) -> out, lse [batch, heads, queries] (float32, base 2)
// Backward: q, k, v, settings, out, lse, dout -> dq, dk, dv
extern "C" int attention_forward(int count, void **data, int *, int64_t **shapes, const char **dtypes, void *, void *) {
  if (count != 6) return 1;
  const attention::Problem problem(shapes[0], shapes[1], static_cast<const int32_t *>(data[3]));
  const auto run = [&](auto *type) {
    using T = std::remove_pointer_t<decltype(type)>;
    T **t = reinterpret_cast<T **>(data);
    attention::forward<T>(problem, t[0], t[1], t[2], t[4], static_cast<float *>(data[5]));
    return 0;
  };
  if (is(dtypes[0], "float32")) return run(static_cast<float *>(nullptr));
  if (is(dtypes[0], "float16")) return run(static_cast<Half *>(nullptr));
  return 2;
}

extern "C" int attention_backward(int count, void **data, int *, int64_t **shapes, const char **dtypes, void *,
                                  void *) {
  if (count != 10) return 1;
  const attention::Problem problem(shapes[0], shapes[1], static_cast<const int32_t *>(data[3]));
  const auto run = [&](auto *type) {
    using T = std::remove_pointer_t<decltype(type)>;
    T **t = reinterpret_cast<T **>(data);
    attention::backward<T>(problem, t[0], t[1], t[2], t[4], static_cast<const float *>(data[5]), t[6], t[7], t[8], t[9]);
    return 0;
  };
  if (is(dtypes[0], "float32")) return run(static_cast<float *>(nullptr));
  if (is(dtypes[0], "float16")) return run(static_cast<Half *>(nullptr));
  return 2;
}
