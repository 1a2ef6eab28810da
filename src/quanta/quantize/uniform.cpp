#include "quanta/quantize/uniform.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/quantize/grid.h"
#include "quanta/quantize/histogram.h"

namespace quanta {
namespace {

constexpr int64_t kBlock = 1 << 15;  // numbers worth a thread's wake-up

std::pair<int64_t, int64_t> code_range(const UniformOptions& o) {
  require(o.bits >= 1 && o.bits <= 16, "a quantizer of {} bits: expected 1 to 16", o.bits);
  if (!o.symmetric || !o.is_signed) return {0, (int64_t{1} << o.bits) - 1};
  require(o.bits >= 2, "a signed symmetric grid of 1 bit has no positive value: use BinaryQuantizer");
  const int64_t top = (int64_t{1} << (o.bits - 1)) - 1;
  return {o.narrow ? -top : -top - 1, top};
}

/// How a tensor's values lie in memory: runs of `length` numbers that share a scale, the r-th that of row r % rows.
struct Runs {
  torch::Tensor x;
  int64_t length;
  int64_t rows;

  int64_t count() const { return (x.numel() + length - 1) / length; }
  /// body(run, first number, how many, row)
  template <class Body>
  void each(const Body& body) const {
    const int64_t n = x.numel();
    parallel_for(count(), std::max<int64_t>(1, kBlock / length), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) body(r, r * length, std::min(length, n - r * length), r % rows);
    });
  }
  /// Another tensor with the numbers in the same order in memory.
  torch::Tensor ordered(const torch::Tensor& other) const {
    return other.strides() == x.strides() ? other : torch::empty_like(x).copy_(other);
  }
};

Runs runs_of(const torch::Tensor& x, int64_t axis, int64_t group) {
  require(x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kFloat64,
          "cannot quantize numbers of type {}: expected float32 or float64", torch::toString(x.scalar_type()));
  if (axis < 0) {
    require(group == 0, "a scale for each group of {} values needs axis 0", group);
    return {x.is_non_overlapping_and_dense() ? x : x.contiguous(), kBlock, 1};
  }
  require(axis < x.dim(), "a scale for each index of dimension {}, but the tensor has {} dimensions", axis, x.dim());
  if (group == 0) {
    const int64_t inner = c10::multiply_integers(x.sizes().slice(size_t(axis) + 1));
    return {x.contiguous(), std::max<int64_t>(inner, 1), x.size(axis)};
  }
  const int64_t row = x.numel() / std::max<int64_t>(x.size(0), 1);
  require(axis == 0, "groups need axis 0, got {}", axis);
  require(group > 0 && row % group == 0, "groups of {} do not divide a row of {} values", group, row);
  return {x.contiguous(), group, x.numel() / group};
}

std::vector<int64_t> scale_shape(const torch::Tensor& x, int64_t axis, int64_t group) {
  if (axis < 0) return {1};
  if (group == 0) return {x.size(axis)};
  return {x.size(0), x.numel() / x.size(0) / group};
}

/// Calls body.operator()<T>() with the tensor's type of number.
template <class Body>
void with_type(const torch::Tensor& x, const Body& body) {
  if (x.scalar_type() == torch::kFloat64)
    body.template operator()<double>();
  else
    body.template operator()<float>();
}

template <class T>
std::vector<grid::Grid<T>> grids(const QuantParams& p, int64_t rows) {
  require(p.scale.defined() && p.zero_point.defined() && p.scale.numel() == p.zero_point.numel(),
          "a quantizer needs a scale and a zero point of one shape");
  require(p.scale.numel() == rows, "{} scales for a tensor that needs {}", p.scale.numel(), rows);
  const auto scale = p.scale.detach().to(torch::kFloat64).contiguous();
  const auto zero = p.zero_point.to(torch::kInt64).contiguous();
  std::vector<grid::Grid<T>> made(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t z = zero.data_ptr<int64_t>()[i];
    made[size_t(i)] = {T(scale.data_ptr<double>()[i]), T(p.qmin - z), T(p.qmax - z)};
  }
  return made;
}

torch::Tensor rounded(const torch::Tensor& input, const QuantParams& p) {
  const Runs runs = runs_of(input.detach(), p.axis, p.group);
  torch::Tensor y = torch::empty_like(runs.x);
  with_type(runs.x, [&]<class T>() {
    const auto g = grids<T>(p, runs.rows);
    const T* from = runs.x.data_ptr<T>();
    T* to = y.data_ptr<T>();
    runs.each([&](int64_t, int64_t i, int64_t n, int64_t row) {
      grid::loops<T>().round(g[size_t(row)], from + i, to + i, size_t(n));
    });
  });
  return y;
}

class FakeQuantizeFunction : public torch::autograd::Function<FakeQuantizeFunction> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& scale, const QuantParams& p) {
    context->save_for_backward({x, scale, p.zero_point});
    context->saved_data["learned"] = scale.requires_grad();
    context->saved_data["grid"] = std::vector<int64_t>{p.qmin, p.qmax, p.axis, p.group};
    return rounded(x, p);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list upstream) {
    const auto saved = context->get_saved_variables();
    const auto ints = context->saved_data["grid"].toIntVector();
    const QuantParams p{saved[1], saved[2], ints[0], ints[1], ints[2], ints[3]};
    const Runs runs = runs_of(saved[0].detach(), p.axis, p.group);
    const torch::Tensor up = runs.ordered(upstream[0]);
    torch::Tensor dx = torch::empty_like(runs.x), dscale;
    const bool learned = context->saved_data["learned"].toBool();
    with_type(runs.x, [&]<class T>() {
      const auto g = grids<T>(p, runs.rows);
      const T *x = runs.x.data_ptr<T>(), *dy = up.data_ptr<T>();
      T* to = dx.data_ptr<T>();
      std::vector<double> steps(learned ? size_t(runs.count()) : 0);
      runs.each([&](int64_t r, int64_t i, int64_t n, int64_t row) {
        if (learned)
          steps[size_t(r)] = grid::loops<T>().pass_and_step(g[size_t(row)], x + i, dy + i, to + i, size_t(n));
        else
          grid::loops<T>().pass(g[size_t(row)], x + i, dy + i, to + i, size_t(n));
      });
      if (!learned) return;
      std::vector<double> sums(static_cast<size_t>(runs.rows));
      for (size_t r = 0; r < steps.size(); ++r) sums[r % sums.size()] += steps[r];
      const double n = double(runs.x.numel()) / double(runs.rows);
      const double factor = 1 / std::sqrt(n * double(std::max<int64_t>(p.qmax, 1)));
      dscale = (torch::tensor(sums, torch::kFloat64) * factor).view(saved[1].sizes()).to(saved[1].scalar_type());
    });
    return {dx, dscale, torch::Tensor()};
  }
};

}  // namespace

QuantParams choose_qparams(const torch::Tensor& low, const torch::Tensor& high, const UniformOptions& o) {
  const auto [qmin, qmax] = code_range(o);
  require(low.sizes() == high.sizes(), "a range's ends have {} and {} values", low.numel(), high.numel());
  const auto lows = low.detach().to(torch::kFloat64).contiguous(),
             highs = high.detach().to(torch::kFloat64).contiguous();
  auto scale = torch::empty_like(lows), zero_point = torch::zeros(lows.sizes(), torch::kInt32);
  const bool wide = low.scalar_type() == torch::kFloat64;
  for (int64_t i = 0; i < lows.numel(); ++i) {
    double lo = lows.data_ptr<double>()[i], hi = highs.data_ptr<double>()[i];
    require(std::isfinite(lo) && std::isfinite(hi) && lo <= hi, "[{}, {}] is no range of numbers", lo, hi);
    double reach;  // of all steps together
    if (!o.symmetric) {
      lo = std::min(lo, 0.0);
      hi = std::max(hi, 0.0);
      reach = hi - lo;
    } else {
      reach = o.is_signed ? std::max(std::abs(lo), std::abs(hi)) : std::max(hi, 0.0);
    }
    double d = reach > 0 ? reach / double(qmax) : 1;
    if (o.power_of_two) d = std::exp2(std::ceil(std::log2(d)));
    if (!wide) d = float(std::max(d, double(std::numeric_limits<float>::min())));  // or x / scale would be no number
    const int64_t zero = o.symmetric ? 0 : int64_t(std::clamp(std::nearbyint(-lo / d), double(qmin), double(qmax)));
    // Nor may the grid's ends overflow.
    const double most = std::numeric_limits<float>::max() / double(std::max(zero - qmin, qmax - zero));
    if (!wide && d > most) d = o.power_of_two ? d / 2 : std::nextafter(float(most), 0.0f);
    scale.data_ptr<double>()[i] = d;
    zero_point.data_ptr<int32_t>()[i] = int32_t(zero);
  }
  return {wide ? scale : scale.to(torch::kFloat32), zero_point, qmin, qmax, o.axis, o.group};
}

torch::Tensor quantize(const torch::Tensor& x, const QuantParams& params) {
  const Runs runs = runs_of(x.detach(), params.axis, params.group);
  torch::Tensor codes = torch::empty_like(runs.x, torch::kInt32);
  const auto zero = params.zero_point.to(torch::kInt32).contiguous();
  std::vector<char> finite(static_cast<size_t>(runs.count()));
  with_type(runs.x, [&]<class T>() {
    const auto g = grids<T>(params, runs.rows);
    const T* from = runs.x.data_ptr<T>();
    int32_t* to = codes.data_ptr<int32_t>();
    runs.each([&](int64_t r, int64_t i, int64_t n, int64_t row) {
      finite[size_t(r)] =
          grid::loops<T>().encode(g[size_t(row)], zero.data_ptr<int32_t>()[row], from + i, to + i, size_t(n));
    });
  });
  require(std::all_of(finite.begin(), finite.end(), [](char f) { return f; }),
          "NaN or infinite values have no code: look for what went wrong before quantizing");
  return codes;
}

torch::Tensor dequantize(const torch::Tensor& codes, const QuantParams& p) {
  const auto spread = [&](const torch::Tensor& t) {
    if (p.axis < 0) return t;
    if (p.group != 0) return t.view({-1, 1});
    std::vector<int64_t> shape(size_t(codes.dim()), 1);
    require(p.axis < codes.dim() && codes.size(p.axis) == t.numel(), "{} scales for codes [{}]", t.numel(),
            fmt::join(codes.sizes(), ", "));
    shape[size_t(p.axis)] = t.numel();
    return t.view(shape);
  };
  const auto c = p.group != 0 ? codes.contiguous().view({-1, p.group}) : codes;
  return ((c - spread(p.zero_point)).to(p.scale.scalar_type()) * spread(p.scale)).view_as(codes);
}

torch::Tensor fake_quantize(const torch::Tensor& x, const QuantParams& params) {
  if (torch::GradMode::is_enabled() && (x.requires_grad() || params.scale.requires_grad()))
    return FakeQuantizeFunction::apply(x, params.scale, params);
  return rounded(x, params);
}

std::pair<torch::Tensor, torch::Tensor> extremes(const torch::Tensor& x, int64_t axis, int64_t group) {
  const Runs runs = runs_of(x.detach(), axis, group);
  require(x.numel() > 0, "a tensor without values has no range");
  const auto shape = scale_shape(x, axis, group);
  torch::Tensor low = torch::empty(shape, runs.x.options()), high = torch::empty_like(low);
  with_type(runs.x, [&]<class T>() {
    std::vector<grid::Extremes<T>> found(static_cast<size_t>(runs.count()));
    runs.each([&](int64_t r, int64_t i, int64_t n, int64_t) {
      found[size_t(r)] = grid::loops<T>().extremes(runs.x.data_ptr<T>() + i, size_t(n));
    });
    T *lows = low.data_ptr<T>(), *highs = high.data_ptr<T>();
    bool finite = true;
    for (int64_t r = 0; r < runs.count(); ++r) {
      const auto [lo, hi] = found[size_t(r)];
      const int64_t row = r % runs.rows;
      finite &= std::isfinite(lo) && std::isfinite(hi);
      lows[row] = r < runs.rows ? lo : std::min(lows[row], lo);
      highs[row] = r < runs.rows ? hi : std::max(highs[row], hi);
    }
    require(finite, "NaN or infinite values have no range: look for what went wrong before quantizing");
  });
  return {low, high};
}

torch::Tensor rows_of(const torch::Tensor& x, int64_t axis, int64_t group) {
  const Runs runs = runs_of(x, axis, group);  // checks
  if (axis < 0) return x.reshape({1, -1});
  if (group != 0) return x.reshape({-1, group});
  return x.movedim(axis, 0).reshape({x.size(axis), -1});
}

namespace {

/// The value below which a share q of the numbers lies, linear between neighbours. Reorders them.
template <class T>
double quantile(T* x, int64_t n, double q) {
  const double at = q * double(n - 1);
  const int64_t i = std::min(int64_t(at), n - 1);
  std::nth_element(x, x + i, x + n);
  const double here = x[i];
  if (i + 1 == n) return here;
  const double next = *std::min_element(x + i + 1, x + n);
  return here + (at - double(i)) * (next - here);
}

using Range = std::pair<torch::Tensor, torch::Tensor>;

Range percentile_range(const torch::Tensor& x, const UniformOptions& o, const Range& widest) {
  require(o.percentile > 0 && o.percentile <= 1, "a percentile of {}: expected a share in (0, 1]", o.percentile);
  const auto rows = rows_of(x.detach(), o.axis, o.group).clone(torch::MemoryFormat::Contiguous);
  Range range{torch::empty_like(widest.first), torch::empty_like(widest.second)};
  with_type(x, [&]<class T>() {
    const int64_t n = rows.size(1);
    parallel_for(rows.size(0), std::max<int64_t>(1, kBlock / n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        T* row = rows.data_ptr<T>() + r * n;
        range.first.data_ptr<T>()[r] = T(quantile(row, n, (1 - o.percentile) / 2));
        range.second.data_ptr<T>()[r] = T(quantile(row, n, (1 + o.percentile) / 2));
      }
    });
  });
  return range;
}

Range mse_range(const torch::Tensor& x, const UniformOptions& o, const Range& widest) {
  constexpr int64_t kTries = 100;
  const auto rows = rows_of(x.detach(), o.axis, o.group).contiguous();
  const int64_t count = rows.size(0), n = rows.size(1);
  const auto shrunk = [&](int64_t i) {
    const double factor = 1 - double(i) / kTries;
    return Range{widest.first * factor, widest.second * factor};
  };
  Range best = shrunk(0);
  with_type(x, [&]<class T>() {
    std::vector<std::vector<grid::Grid<T>>> tries;
    for (int64_t i = 0; i < kTries; ++i) {
      const auto [low, high] = shrunk(i);
      tries.push_back(grids<T>(choose_qparams(low, high, o), count));
    }
    std::vector<double> errors(size_t(count * kTries));
    parallel_for(count * kTries, std::max<int64_t>(1, kBlock / n), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t row = k / kTries;
        errors[size_t(k)] = grid::loops<T>().error(tries[size_t(k % kTries)][size_t(row)], rows.data_ptr<T>() + row * n,
                                                   size_t(n), o.norm);
      }
    });
    for (int64_t row = 0; row < count; ++row) {
      const auto first = errors.begin() + row * kTries;
      const double factor = 1 - double(std::min_element(first, first + kTries) - first) / kTries;
      best.first.data_ptr<T>()[row] = T(widest.first.data_ptr<T>()[row] * factor);
      best.second.data_ptr<T>()[row] = T(widest.second.data_ptr<T>()[row] * factor);
    }
  });
  return best;
}

}  // namespace

UniformQuantizer::UniformQuantizer(const UniformOptions& options) : options_(options) {
  code_range(options);
  require(options.group == 0 || options.axis == 0, "groups of {} values need axis 0, got {}", options.group,
          options.axis);
  scale_ =
      options.learned ? register_parameter("scale", torch::zeros({1})) : register_buffer("scale", torch::zeros({1}));
  zero_point_ = register_buffer("zero_point", torch::zeros({1}, torch::kInt32));
}

void UniformQuantizer::fit(const torch::Tensor& x) {
  const Range widest = extremes(x, options_.axis, options_.group);
  switch (options_.range) {
    case RangeMethod::MinMax:
      set_range(widest.first, widest.second);
      if (options_.learned) {
        const torch::NoGradGuard no_grad;
        const QuantParams p = params();
        const auto reach = (p.qmax - p.zero_point).clamp_min(1).to(x.scalar_type());
        const auto start =
            2 * rows_of(x.detach(), options_.axis, options_.group).abs().mean(1).view(p.scale.sizes()) / reach.sqrt();
        scale_.copy_(torch::where(start > 0, start, torch::ones_like(start)));
      }
      return;
    case RangeMethod::Percentile: {
      const auto [low, high] = percentile_range(x, options_, widest);
      return set_range(low, high);
    }
    case RangeMethod::Mse: {
      const auto [low, high] = mse_range(x, options_, widest);
      return set_range(low, high);
    }
    case RangeMethod::Kl: {
      require(options_.axis < 0, "the range of least divergence is for whole tensors: use Mse for channels");
      Histogram histogram;
      histogram.add(x);
      const auto [low, high] = histogram.kl_range(options_);
      const auto like = widest.first.options();
      return set_range(torch::full({1}, low, like), torch::full({1}, high, like));
    }
  }
}

void UniformQuantizer::set_range(const torch::Tensor& low, const torch::Tensor& high) {
  set_params(choose_qparams(low, high, options_));
}

void UniformQuantizer::set_params(const QuantParams& p) {
  const auto [qmin, qmax] = code_range(options_);
  require(p.qmin == qmin && p.qmax == qmax && p.axis == options_.axis && p.group == options_.group,
          "codes [{}, {}] along {} do not fit a quantizer of {}", p.qmin, p.qmax, p.axis, describe());
  const torch::NoGradGuard no_grad;
  const auto take = [](torch::Tensor& to, const torch::Tensor& from) {
    if (to.sizes() == from.sizes() && to.scalar_type() == from.scalar_type())
      to.copy_(from);
    else
      to.set_data(from.detach().clone());
  };
  take(scale_, p.scale);
  take(zero_point_, p.zero_point);
}

bool UniformQuantizer::ready() const {
  return scale_.flatten()[0].item<double>() != 0;
}

QuantParams UniformQuantizer::params() const {
  require(ready(), "a quantizer has no scale yet: call fit() or set_range() first");
  const auto [qmin, qmax] = code_range(options_);
  // Training may drive a learned scale across 0.
  const auto scale = options_.learned ? scale_.abs().clamp_min(std::numeric_limits<float>::min()) : scale_;
  return {scale, zero_point_, qmin, qmax, options_.axis, options_.group};
}

torch::Tensor UniformQuantizer::encode(const torch::Tensor& x) const {
  return quantize(x, params());
}
torch::Tensor UniformQuantizer::decode(const torch::Tensor& codes) const {
  return dequantize(codes, params());
}
torch::Tensor UniformQuantizer::forward(const torch::Tensor& x) {
  return fake_quantize(x, params());
}

std::shared_ptr<TensorTransform> UniformQuantizer::copy() const {
  auto made = std::make_shared<UniformQuantizer>(options_);
  copy_values(*this, *made);
  return made;
}

std::string UniformQuantizer::describe() const {
  return fmt::format("{} bit{}, {}{}{}{}, per {}", options_.bits, options_.bits == 1 ? "" : "s",
                     options_.symmetric ? "symmetric" : "affine",
                     options_.symmetric && !options_.is_signed ? " unsigned" : "",
                     options_.power_of_two ? ", power-of-two scale" : "", options_.learned ? ", learned step" : "",
                     options_.group > 0   ? fmt::format("group of {}", options_.group)
                     : options_.axis >= 0 ? "channel"
                                          : "tensor");
}

}  // namespace quanta
