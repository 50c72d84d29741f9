// Convolution of NCHW as matrix products over columns (Chellapilla et al. 2006), a few rows of the output at a time.
//
// MindSpore keeps scratch memory of its own for every convolution of a graph; this takes about two megabytes for each
// thread while it runs. Kernels of one pixel and stride 1 are products as they are.
#pragma once

#include "linear.h"

namespace {

constexpr int64_t kScratch = 512 * 1024;  // floats, about what the second level of cache holds

struct Convolution {
  int64_t batch, channels, height, width, outputs, kernel, out_height, out_width;
  int64_t threads, stride, top, left;
  const Sgemm gemm = sgemm();  // found here, because no exception may leave a thread
  mutable std::atomic<bool> failed{false};

  // Settings: threads, stride, top and left padding.
  Convolution(const int64_t *x, const int64_t *weight, const int64_t *y, const float *settings)
      : batch(x[0]), channels(x[1]), height(x[2]), width(x[3]), outputs(weight[0]), kernel(weight[2]),
        out_height(y[2]), out_width(y[3]), threads(settings[0]), stride(settings[1]), top(settings[2]),
        left(settings[3]) {}

  int64_t taps() const { return kernel * kernel; }
  int64_t inner() const { return channels * taps(); }
  int64_t in_size() const { return height * width; }
  int64_t out_size() const { return out_height * out_width; }
  // c [rows, columns] = a b + beta c, on this thread.
  void multiply(char a_order, char b_order, int64_t rows, int64_t columns, int64_t depth, const float *a,
                int64_t a_step, const float *b, int64_t b_step, float beta, float *c, int64_t c_step) const {
    if (gemm(a_order, b_order, rows, columns, depth, 1.0f, a, a_step, b, b_step, beta, c, c_step)) failed = true;
  }
  void check() const {
    if (failed) throw std::runtime_error("dnnl_sgemm refuses a product, which happens when memory is short");
  }

  bool plain() const { return kernel == 1 && stride == 1 && top == 0 && left == 0 && in_size() == out_size(); }

  // Rows of the output whose columns fit into scratch memory together.
  int64_t rows(int64_t some_channels) const {
    return std::clamp<int64_t>(kScratch / std::max<int64_t>(1, some_channels * taps() * out_width), 1, out_height);
  }

  // Channels that make one item of work: enough items for the threads, and columns of 512 pixels that fit.
  int64_t block() const {
    const int64_t pixels = std::clamp<int64_t>(512, out_width, std::max(out_width, out_size()));
    const int64_t fit = std::max<int64_t>(1, kScratch / (taps() * pixels));
    return std::min(fit, (channels + threads - 1) / threads);
  }

  // visit(pixels of x, pixels of a column, count) for every run that lies side by side in both: empty ones have none.
  template <class Run, class Gap>
  void runs(int64_t from, int64_t to, int64_t row, int64_t end, const Run &run, const Gap &gap) const {
    const int64_t size = (end - row) * out_width;
    for (int64_t c = from; c < to; ++c)
      for (int64_t ky = 0; ky < kernel; ++ky)
        for (int64_t kx = 0; kx < kernel; ++kx) {
          const int64_t column = (((c - from) * kernel + ky) * kernel + kx) * size;
          const int64_t first = left > kx ? std::min(out_width, (left - kx + stride - 1) / stride) : 0;
          const int64_t last = std::clamp((width - 1 - kx + left + stride) / stride, first, out_width);
          for (int64_t r = row; r < end; ++r) {
            const int64_t at = column + (r - row) * out_width, y = r * stride + ky - top;
            if (y < 0 || y >= height) {
              gap(at, out_width);
              continue;
            }
            gap(at, first);
            run((c * height + y) * width + first * stride + kx - left, at + first, last - first);
            gap(at + last, out_width - last);
          }
        }
  }

  void to_columns(const float *x, int64_t from, int64_t to, int64_t row, int64_t end, float *columns) const {
    runs(from, to, row, end,
         [=](int64_t pixel, int64_t at, int64_t count) {
           if (stride == 1)
             std::memcpy(columns + at, x + pixel, count * sizeof(float));
           else
             for (int64_t i = 0; i < count; ++i) columns[at + i] = x[pixel + i * stride];
         },
         [=](int64_t at, int64_t count) { std::memset(columns + at, 0, count * sizeof(float)); });
  }

  void add_columns(const float *columns, int64_t from, int64_t to, int64_t row, int64_t end, float *x) const {
    runs(from, to, row, end,
         [=](int64_t pixel, int64_t at, int64_t count) {
           for (int64_t i = 0; i < count; ++i) x[pixel + i * stride] += columns[at + i];
         },
         [](int64_t, int64_t) {});
  }

  void forward(const float *x, const float *weight, const float *bias, float *y) const {
    const int64_t step = plain() ? std::max<int64_t>(1, 1024 / out_width) : rows(channels);
    const int64_t parts = (out_height + step - 1) / step;
    parallel(batch * parts, threads, [&](const auto &next) {
      const Buffer scratch = allocate(plain() ? 0 : inner() * step * out_width);
      for (int64_t item; (item = next()) >= 0;) {
        const int64_t row = item % parts * step, end = std::min(out_height, row + step), size = (end - row) * out_width;
        const float *image = x + item / parts * channels * in_size();
        float *out = y + item / parts * outputs * out_size() + row * out_width;
        for (int64_t o = 0; o < outputs; ++o) std::fill_n(out + o * out_size(), size, bias[o]);
        if (!plain()) to_columns(image, 0, channels, row, end, scratch.get());
        multiply('N', 'N', outputs, size, inner(), weight, inner(),
                plain() ? image + row * out_width : scratch.get(), plain() ? in_size() : size, 1.0f, out, out_size());
      }
    });
    check();
  }

  void inputs(const float *dy, const float *weight, float *dx) const {
    const int64_t each = block(), parts = (channels + each - 1) / each;
    parallel(batch * parts, threads, [&](const auto &next) {
      const int64_t step = rows(each);
      const Buffer scratch = allocate(plain() ? 0 : each * taps() * step * out_width);
      for (int64_t item; (item = next()) >= 0;) {
        const int64_t from = item % parts * each, to = std::min(channels, from + each), some = (to - from) * taps();
        const float *grad = dy + item / parts * outputs * out_size();
        float *image = dx + item / parts * channels * in_size();
        if (plain()) {
          multiply('T', 'N', some, out_size(), outputs, weight + from, inner(), grad, out_size(), 0.0f,
                  image + from * in_size(), in_size());
          continue;
        }
        std::fill(image + from * in_size(), image + to * in_size(), 0.0f);
        for (int64_t row = 0; row < out_height; row += step) {
          const int64_t end = std::min(out_height, row + step), size = (end - row) * out_width;
          multiply('T', 'N', some, size, outputs, weight + from * taps(), inner(), grad + row * out_width,
                  out_size(), 0.0f, scratch.get(), size);
          add_columns(scratch.get(), from, to, row, end, image);
        }
      }
    });
    check();
  }

  void weights(const float *dy, const float *x, float *dweight, float *dbias) const {
    const int64_t each = block(), parts = (channels + each - 1) / each;
    if (batch * out_size() == 0) std::fill_n(dweight, outputs * inner(), 0.0f);
    parallel(parts, threads, [&](const auto &next) {
      const int64_t step = rows(each);
      const Buffer scratch = allocate(plain() ? 0 : each * taps() * step * out_width);
      for (int64_t item; (item = next()) >= 0;) {
        const int64_t from = item * each, to = std::min(channels, from + each), some = (to - from) * taps();
        for (int64_t i = 0; i < batch; ++i)
          for (int64_t row = 0; row < out_height; row += step) {
            const int64_t end = std::min(out_height, row + step), size = (end - row) * out_width;
            const float *image = x + i * channels * in_size(), *columns = image + from * in_size() + row * out_width;
            if (!plain()) {
              to_columns(image, from, to, row, end, scratch.get());
              columns = scratch.get();
            }
            multiply('N', 'T', outputs, some, size, dy + i * outputs * out_size() + row * out_width, out_size(),
                    columns, plain() ? in_size() : size, i + row ? 1.0f : 0.0f, dweight + from * taps(), inner());
          }
      }
    });
    check();
    each_block(outputs, 1, batch * out_size(), threads, [&](int64_t o, int64_t) {
      double sum = 0;
      for (int64_t i = 0; i < batch; ++i) {
        Vec some{};
        const float *grad = dy + (i * outputs + o) * out_size();
        each_vector(out_size(), [&](int64_t, const auto &get, const auto &) { some += get(grad); });
        sum += total(some);
      }
      dbias[o] = static_cast<float>(sum);
    });
  }
};

}  // namespace
