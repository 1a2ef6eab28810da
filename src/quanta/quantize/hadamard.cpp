#include "quanta/quantize/hadamard.h"

#include <array>
#include <bit>
#include <cmath>
#include <map>
#include <mutex>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/quantize/hadamard_kernels.h"

namespace quanta {
namespace {

using Signs = std::vector<double>;  // [n, n]

bool is_prime(int64_t q) {
  for (int64_t p = 2; p * p <= q; ++p)
    if (q % p == 0) return false;
  return q > 1;
}

/// Jacobsthal's matrix with a border: S[i, j] = chi(i - j), S S^T = q I. Skew for q = 3 modulo 4, else symmetric.
Signs conference(int64_t q) {
  std::vector<double> chi(size_t(q), -1.0);
  chi[0] = 0;
  for (int64_t x = 1; x < q; ++x) chi[size_t(x * x % q)] = 1;
  const int64_t n = q + 1;
  Signs s(size_t(n * n), 0.0);
  for (int64_t i = 1; i < n; ++i) {
    s[size_t(i)] = 1;
    s[size_t(i * n)] = q % 4 == 3 ? -1 : 1;
    for (int64_t j = 1; j < n; ++j) s[size_t(i * n + j)] = chi[size_t((i - j + q) % q)];
  }
  return s;
}

/// I + S.
Signs paley_1(int64_t n) {
  Signs h = conference(n - 1);
  for (int64_t i = 0; i < n; ++i) h[size_t(i * n + i)] = 1;
  return h;
}

/// S (x) [[1, 1], [1, -1]] + I (x) [[1, -1], [-1, -1]].
Signs paley_2(int64_t n) {
  const Signs s = conference(n / 2 - 1);
  Signs h(size_t(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const double both_odd = i % 2 && j % 2 ? -1 : 1, any_odd = i % 2 || j % 2 ? -1 : 1;
      h[size_t(i * n + j)] = i / 2 == j / 2 ? any_odd : both_odd * s[size_t(i / 2 * (n / 2) + j / 2)];
    }
  return h;
}

/// The first rows of four circulants A, B, C, D of order v with A A^T + B B^T + C C^T + D D^T = 4 v I: bit j is +1.
struct Circulants {
  int64_t v;
  std::array<uint64_t, 4> rows;
};
constexpr Circulants kCirculants[] = {
    {13, {0xccd, 0x7f9, 0x1ad7, 0xe1d}},
    {23, {0x2c2435, 0x1a7e59, 0x74662f, 0x3dc3bd}},
    {25, {0x14a014b, 0xf2313d, 0x69ce59, 0x2e01d1}},
    {29, {0x7340b39, 0x172c0d3b, 0x15da16eb, 0x1a3def17}},
    {39, {0x2c2855cbcb, 0x2d2e04e6fd, 0x9b25dcd77, 0x18f00cf041}},
    {43, {0x14f4ef72f29, 0x207ac935e05, 0x2cdf198fb35, 0x67aec0375e7}},
};

/// With R the reversal of columns:  A    BR    CR    DR
///                                -BR    A   -D'R   C'R
///                                -CR   D'R    A   -B'R
///                                -DR  -C'R   B'R    A
Signs goethals_seidel(const Circulants& c) {
  struct Part {
    int row, sign;
    bool transposed;
  };
  constexpr Part kArray[4][4] = {{{0, 1, false}, {1, 1, false}, {2, 1, false}, {3, 1, false}},
                                 {{1, -1, false}, {0, 1, false}, {3, -1, true}, {2, 1, true}},
                                 {{2, -1, false}, {3, 1, true}, {0, 1, false}, {1, -1, true}},
                                 {{3, -1, false}, {2, -1, true}, {1, 1, true}, {0, 1, false}}};
  const int64_t v = c.v, n = 4 * v;
  Signs h(size_t(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const Part& part = kArray[i / v][j / v];
      const int64_t r = i % v, k = part.row == 0 ? j % v : v - 1 - j % v;
      const int64_t shift = part.transposed ? r - k : k - r;
      h[size_t(i * n + j)] = part.sign * (c.rows[size_t(part.row)] >> ((shift + v) % v) & 1 ? 1 : -1);
    }
  return h;
}

/// The matrix of order k by a construction that is not a doubling; empty if there is none.
Signs core(int64_t k) {
  if (k == 1) return {1};
  if (k % 4 != 0) return {};
  if (k % 4 == 0 && is_prime(k - 1)) return paley_1(k);
  if (k / 2 % 4 == 2 && is_prime(k / 2 - 1)) return paley_2(k);
  for (const Circulants& c : kCirculants)
    if (4 * c.v == k) return goethals_seidel(c);
  return {};
}

/// n = order * 2^m.
struct Plan {
  int64_t n = 0, order = 0;
  Signs signs, transposed;  // [order, order]
  std::vector<float> signs_f, transposed_f;

  template <class T>
  const T* matrix(bool transpose) const {
    if constexpr (std::is_same_v<T, float>)
      return transpose ? transposed_f.data() : signs_f.data();
    else
      return transpose ? transposed.data() : signs.data();
  }
};

/// Null if no matrix is known. Plans are kept.
const Plan* find_plan(int64_t n) {
  static std::mutex mutex;
  static std::map<int64_t, Plan> plans;
  const std::lock_guard lock(mutex);
  if (const auto found = plans.find(n); found != plans.end()) return &found->second;
  if (n < 1) return nullptr;
  for (int64_t k = n >> std::countr_zero(uint64_t(n)); k <= n; k *= 2)
    if (Signs signs = core(k); !signs.empty()) {
      Plan plan{.n = n, .order = k, .signs = std::move(signs), .transposed = {}, .signs_f = {}, .transposed_f = {}};
      plan.transposed.resize(plan.signs.size());
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < k; ++j) plan.transposed[size_t(i * k + j)] = plan.signs[size_t(j * k + i)];
      plan.signs_f.assign(plan.signs.begin(), plan.signs.end());
      plan.transposed_f.assign(plan.transposed.begin(), plan.transposed.end());
      return &plans.emplace(n, std::move(plan)).first->second;
    }
  return nullptr;
}

const Plan& plan_for(int64_t n) {
  const Plan* plan = find_plan(n);
  require(plan != nullptr, "no Hadamard matrix of order {} is known here: use a random rotation, or none at this place",
          n);
  return *plan;
}

template <class T>
void transform(T* x, int64_t groups, const Plan& plan, int64_t stride, bool transposed) {
  const auto& loops = hadamard_loops<T>();
  const auto size = size_t(plan.n * stride), order = size_t(plan.order), width = size / order;
  const T scale = T(1 / std::sqrt(double(plan.n)));
  parallel_for(groups, std::max<int64_t>(1, (1 << 16) / int64_t(size)), [&](int64_t begin, int64_t end) {
    std::vector<T> scratch(order > 1 ? order * kHadamardTile : 0);
    for (T* group = x + begin * int64_t(size); group < x + end * int64_t(size); group += size) {
      for (size_t k = 0; k < order; ++k) loops.walsh(group + k * width, width, size_t(stride), scale);
      if (order > 1) loops.mix(plan.matrix<T>(transposed), order, group, width, scratch.data());
    }
  });
}

torch::Tensor transformed(const torch::Tensor& x, int64_t n, int64_t stride, bool transposed) {
  const Plan& plan = plan_for(n);
  torch::Tensor y = x.detach().contiguous().clone();
  const int64_t groups = y.numel() / (n * stride);
  if (y.scalar_type() == torch::kFloat64)
    transform(y.data_ptr<double>(), groups, plan, stride, transposed);
  else
    transform(y.data_ptr<float>(), groups, plan, stride, transposed);
  return y;
}

struct Product : torch::autograd::Function<Product> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x, int64_t n,
                               int64_t stride, bool transposed) {
    context->saved_data["n"] = n;
    context->saved_data["stride"] = stride;
    context->saved_data["transposed"] = transposed;
    return transformed(x, n, stride, transposed);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& dy) {
    auto& saved = context->saved_data;
    return {transformed(dy[0], saved["n"].toInt(), saved["stride"].toInt(), !saved["transposed"].toBool()), {}, {}, {}};
  }
};

}  // namespace

bool has_hadamard(int64_t n) {
  return find_plan(n) != nullptr;
}

torch::Tensor hadamard(int64_t n) {
  return hadamard_product(torch::eye(n, torch::kFloat64), n).mul_(std::sqrt(double(n))).round_();
}

torch::Tensor hadamard_product(const torch::Tensor& x, int64_t n, int64_t stride, bool transposed) {
  require(n > 0 && stride > 0 && x.dim() > 0 && x.size(-1) % (n * stride) == 0,
          "a Hadamard transform of {} values {} apart does not fit into rows of {}", n, stride,
          x.dim() > 0 ? x.size(-1) : 0);
  require(x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kFloat64,
          "a Hadamard transform takes float32 or float64, not {}", toString(x.scalar_type()));
  return Product::apply(x, n, stride, transposed);
}

torch::Tensor random_orthogonal(int64_t n, uint64_t seed) {
  require(n > 0, "an orthogonal matrix has at least one row, not {}", n);
  Random random = Random(seed).split("orthogonal");
  torch::Tensor gaussian = torch::empty({n, n}, torch::kFloat64);
  for (double* value = gaussian.data_ptr<double>(); value < gaussian.data_ptr<double>() + n * n; ++value)
    *value = random.normal();
  const auto [q, r] = torch::linalg_qr(gaussian, "reduced");
  return q * r.diagonal().sign();  // makes the factor unique and Haar distributed
}

HadamardTransform::HadamardTransform(int64_t size, int64_t stride) : size_(size), stride_(stride) {
  require(stride > 0, "a Hadamard transform's stride is {}, expected at least 1", stride);
  plan_for(size);
}

std::shared_ptr<TensorTransform> HadamardTransform::copy() const {
  return std::make_shared<HadamardTransform>(size_, stride_);
}

nlohmann::json HadamardTransform::spec() const {
  return {{"kind", "hadamard"}, {"size", size_}, {"stride", stride_}};
}

}  // namespace quanta
