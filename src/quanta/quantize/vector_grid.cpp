#include "quanta/quantize/vector_grid.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"

namespace quanta {
namespace {

using torch::Tensor;
using Pattern = std::array<float, 8>;

constexpr int kMaxRaises = 30;

float norm_of(const Pattern& p) {
  float sum = 0;
  for (const float x : p) sum += x * x;
  return sum;
}

/// In the order of their digits in base 3, norm 12 last.
std::vector<Pattern> make_patterns() {
  std::vector<Pattern> inside, shell;
  for (int number = 0; number < 6561; ++number) {
    Pattern p{};
    for (int i = 7, rest = number; i >= 0; --i, rest /= 3) p[size_t(i)] = float(rest % 3) + 0.5f;
    if (norm_of(p) <= 10) inside.push_back(p);
    if (norm_of(p) == 12) shell.push_back(p);
  }
  shell.resize(29);
  inside.insert(inside.end(), shell.begin(), shell.end());
  return inside;
}

struct Codebook {
  std::vector<Pattern> patterns = make_patterns();
  std::array<std::array<float, 256>, 8> columns{};  // of the patterns
  std::array<float, 256> norms{};
  std::array<bool, 256> odd{};  // the sum of the pattern without signs

  Codebook() {
    for (size_t p = 0; p < 256; ++p) {
      float sum = 0;
      for (size_t i = 0; i < 8; ++i) {
        columns[i][p] = patterns[p][i];
        sum += patterns[p][i];
      }
      norms[p] = norm_of(patterns[p]);
      odd[p] = int(sum) % 2 != 0;
    }
  }
};

const Codebook& codebook() {
  static const Codebook instance;
  return instance;
}

void decode(int32_t index, float* x) {
  const Codebook& book = codebook();
  const auto p = size_t(index >> 8);
  const uint32_t first = uint32_t(index >> 1) & 127;
  // Each minus changes the parity of the sum, so the last sign makes it even.
  const uint32_t minus = first | uint32_t((std::popcount(first) % 2 != 0) != book.odd[p]) << 7;
  for (size_t i = 0; i < 8; ++i)
    x[i] = (minus >> i & 1 ? -book.patterns[p][i] : book.patterns[p][i]) + (index & 1 ? -0.25f : 0.25f);
}

/// |y - signed pattern|^2 = |y|^2 + |p|^2 - 2 sum |y_i| p_i with y's own signs; if these make the sum odd, the
/// coordinate whose sign costs least is turned: + 4 min |y_i| p_i.
int32_t encode(const float* x) {
  const Codebook& book = codebook();
  float best = std::numeric_limits<float>::infinity();
  int32_t found = 0;
  for (const int shift : {0, 1}) {
    std::array<float, 8> y{};
    float square = 0;
    uint32_t minus = 0;
    for (size_t i = 0; i < 8; ++i) {
      const float value = x[i] - (shift ? -0.25f : 0.25f);
      minus |= uint32_t(value < 0) << i;
      y[i] = std::abs(value);
      square += value * value;
    }
    const bool odd_signs = std::popcount(minus) % 2 != 0;
    std::array<float, 256> gain{}, turn;
    turn.fill(std::numeric_limits<float>::infinity());
    for (size_t i = 0; i < 8; ++i)
      for (size_t p = 0; p < 256; ++p) {
        const float product = y[i] * book.columns[i][p];
        gain[p] += product;
        turn[p] = std::min(turn[p], product);
      }
    for (size_t p = 0; p < 256; ++p) {
      const float distance = square + book.norms[p] - 2 * gain[p] + (book.odd[p] != odd_signs ? 4 * turn[p] : 0);
      if (distance >= best) continue;
      best = distance;
      uint32_t signs = minus;
      if (book.odd[p] != odd_signs) {
        size_t least = 0;
        for (size_t i = 1; i < 8; ++i)
          if (y[i] * book.columns[i][p] < y[least] * book.columns[least][p]) least = i;
        signs ^= 1u << least;
      }
      found = int32_t(p << 8 | (signs & 127) << 1 | uint32_t(shift));
    }
  }
  return found;
}

/// The nearest points themselves.
Tensor nearest(const Tensor& x) {
  return e8p_decode(e8p_encode(x)).to(x.scalar_type());
}

/// The lower Cholesky factor of h + lambda I, and lambda over h's mean.
std::pair<Tensor, double> factor(const Tensor& h, double damping) {
  const Tensor mean = h.diagonal().mean();
  double share = damping;
  for (int i = 0; i <= kMaxRaises; ++i) {
    const auto [c, info] = at::linalg_cholesky_ex(h + torch::diag((share * mean).expand(h.size(0))));
    if (info.item<int>() == 0) return {c, share};
    share = share > 0 ? 2 * share : 1e-6;
  }
  fail("the Hessian is not positive definite with {} of its mean added: check the calibration data", share);
}

}  // namespace

Tensor e8p_patterns() {
  Tensor patterns = torch::empty({256, 8});
  for (size_t p = 0; p < 256; ++p) std::copy_n(codebook().patterns[p].data(), 8, patterns.data_ptr<float>() + 8 * p);
  return patterns;
}

Tensor e8p_points() {
  return e8p_decode(torch::arange(1 << 16, torch::kInt32)).view({1 << 16, 8});
}

Tensor e8p_encode(const Tensor& x) {
  require(x.dim() > 0 && x.size(-1) % 8 == 0, "E8P takes rows of a multiple of 8 values, not {}",
          x.dim() > 0 ? x.size(-1) : 0);
  const Tensor values = x.to(torch::kFloat32).contiguous();
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() /= 8;
  Tensor indices = torch::empty(sizes, torch::kInt32);
  parallel_for(indices.numel(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) indices.data_ptr<int32_t>()[i] = encode(values.data_ptr<float>() + 8 * i);
  });
  return indices;
}

Tensor e8p_decode(const Tensor& indices) {
  std::vector<int64_t> sizes = indices.sizes().vec();
  require(!sizes.empty() && indices.scalar_type() == torch::kInt32, "E8P indices are int32 [..., n]");
  sizes.back() *= 8;
  const Tensor packed = indices.contiguous();
  Tensor x = torch::empty(sizes, torch::kFloat32);
  for (int64_t i = 0; i < packed.numel(); ++i) decode(packed.data_ptr<int32_t>()[i], x.data_ptr<float>() + 8 * i);
  return x;
}

GptqResult ldlq_e8p(const Tensor& weight, const Tensor& hessian, const LdlqOptions& options) {
  const int64_t n = weight.size(0), k = weight.size(1), b = kE8pSize;
  require(k % b == 0, "E8P takes layers of a multiple of 8 inputs, not {}", k);
  const auto usable = [](const Tensor& x) { return torch::isfinite(x).all().item<bool>(); };
  require(usable(weight), "a weight holds NaN or infinity");
  const Tensor w = weight.detach().to(torch::kFloat64);
  const double rms = w.square().mean().sqrt().item<double>(), scale = rms > 0 ? rms / options.fill : 1;
  GptqResult result;
  const Tensor target = w / scale;  // [N, K]
  Tensor q = torch::zeros_like(target);
  const auto block = [&](const Tensor& x, int64_t i) { return x.slice(-1, i, i + b); };
  if (!hessian.defined()) {
    q = nearest(target);
  } else {
    require(hessian.dim() == 2 && hessian.size(0) == k && hessian.size(1) == k && usable(hessian),
            "expected a finite Hessian [{}, {}]", k, k);
    Tensor h = hessian.to(torch::kFloat64);
    const auto [c, damping] = factor(h, options.damping);
    h = h + torch::diag((damping * h.diagonal().mean()).expand(k));
    result.damping = damping;
    Tensor error = target.clone();  // W - W^
    for (int64_t i = k - b; i >= 0; i -= b) {
      // L_{>k,k} = C_{>k,k} C_kk^-1 of the Cholesky factor H = C C'
      const Tensor corner = c.slice(0, i, i + b).slice(1, i, i + b), below = c.slice(0, i + b).slice(1, i, i + b);
      const Tensor l = at::linalg_solve_triangular(corner, below, /*upper=*/false, /*left=*/false);
      block(q, i).copy_(nearest(block(target, i) + error.slice(1, i + b).mm(l)));
      block(error, i).copy_(block(target, i) - block(q, i));
    }
    for (int sweep = 0; sweep < options.sweeps; ++sweep)
      for (int64_t i = 0; i < k; i += b) {
        const Tensor corner = h.slice(0, i, i + b).slice(1, i, i + b);
        const Tensor step = at::linalg_solve(corner, error.mm(block(h, i)).t()).t();
        block(q, i).copy_(nearest(block(q, i) + step));
        block(error, i).copy_(block(target, i) - block(q, i));
      }
    result.row_loss = (error.mm(h) * error).sum(1) * (scale * scale);
    result.loss = result.row_loss.sum().item<double>();
  }
  // Coordinates are -2.75, -2.25 ... 2.75.
  const auto column = [&](double value) { return torch::full({n, 1}, value, torch::kFloat32); };
  result.grid = {.group = k, .levels = 12, .scale = column(scale / 2), .zero = column(5.5)};
  result.codes = (2 * q + 5.5).round().to(torch::kUInt8);
  result.weight = dequantize(result.codes, result.grid);
  return result;
}

}  // namespace quanta
