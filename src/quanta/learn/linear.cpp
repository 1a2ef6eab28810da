#include "quanta/learn/linear.h"

#include <algorithm>
#include <cmath>

#include "quanta/learn/linalg.h"

namespace quanta {
namespace {

struct Plane {
  std::vector<double> w;
  double b = 0;
};

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<double> column_means(const Samples& x) {
  std::vector<double> means(static_cast<size_t>(x.columns));
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j) means[j] += x(i, j) / double(x.rows);
  return means;
}

Samples minus_row(Samples x, const std::vector<double>& row) {
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j) x(i, j) -= row[j];
  return x;
}

// The samples with a column of ones.
Samples with_ones(const Samples& x) {
  Samples result(x.rows, x.columns + 1, 1);
  for (int64_t i = 0; i < x.rows; ++i) std::copy_n(x.row(i), x.columns, result.row(i));
  return result;
}

double softplus(double t) {
  return t > 0 ? t + std::log1p(std::exp(-t)) : std::log1p(std::exp(t));
}

// |w|^2 / 2 + c sum log(1 + exp(-y f)) by Newton's method with step halving; `x` has the column of ones.
Plane newton(const Samples& x, const std::vector<double>& y, const LogisticOptions& options) {
  const int64_t n = x.rows, d = x.columns;
  std::vector<double> w(d), f(n);
  const auto objective = [&](const std::vector<double>& w) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += softplus(-y[i] * dot(x.row(i), w.data(), d));
    return dot(w.data(), w.data(), d - 1) / 2 + options.c * sum;
  };
  double value = objective(w);
  for (int step = 0; step < (options.max_iterations ? options.max_iterations : 100); ++step) {
    std::vector<double> gradient(w), curvature(n);
    gradient[d - 1] = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double p = logistic(dot(x.row(i), w.data(), d));
      curvature[i] = options.c * p * (1 - p);
      const double slope = options.c * (p - (y[i] > 0));
      for (int64_t j = 0; j < d; ++j) gradient[j] += slope * x(i, j);
    }
    Samples hessian = gram(x, curvature);
    for (int64_t j = 0; j < d; ++j) hessian(j, j) += j + 1 < d ? 1 : 1e-10;
    const std::vector<double> direction = solve_spd(std::move(hessian), gradient);
    double rate = 1, moved = 0;
    std::vector<double> next(d);
    for (double trial = INFINITY; rate > 1e-8; rate /= 2) {
      for (int64_t j = 0; j < d; ++j) next[j] = w[j] - rate * direction[j];
      trial = objective(next);
      if (trial <= value + 1e-12 * std::abs(value)) {
        value = trial;
        break;
      }
    }
    for (int64_t j = 0; j < d; ++j) moved = std::max(moved, std::abs(rate * direction[j]));
    w = next;
    if (moved <= options.tolerance) break;
  }
  Plane plane{w, w[d - 1]};
  plane.w.pop_back();
  return plane;
}

// |w|_1 + c sum log(1 + exp(-y f)) by FISTA with restarts; `x` has the column of ones.
Plane fista(const Samples& x, const std::vector<double>& y, const LogisticOptions& options) {
  const int64_t n = x.rows, d = x.columns;
  // The gradient's Lipschitz constant: c / 4 times the largest squared singular value.
  const double largest = svd(x).s[0], step = 4 / (options.c * largest * largest);
  std::vector<double> w(d), ahead(d), next(d);
  double momentum = 1;
  for (int iteration = 0; iteration < (options.max_iterations ? options.max_iterations : 10'000); ++iteration) {
    std::vector<double> gradient(d);
    for (int64_t i = 0; i < n; ++i) {
      const double slope = options.c * (logistic(dot(x.row(i), ahead.data(), d)) - (y[i] > 0));
      for (int64_t j = 0; j < d; ++j) gradient[j] += slope * x(i, j);
    }
    double moved = 0, uphill = 0;
    for (int64_t j = 0; j < d; ++j) {
      const double v = ahead[j] - step * gradient[j];
      next[j] = j + 1 == d ? v : std::copysign(std::max(0.0, std::abs(v) - step), v);
      moved = std::max(moved, std::abs(next[j] - w[j]));
      uphill += (ahead[j] - next[j]) * (next[j] - w[j]);
    }
    const double before = uphill > 0 ? 1 : momentum;
    momentum = (1 + std::sqrt(1 + 4 * before * before)) / 2;
    for (int64_t j = 0; j < d; ++j) ahead[j] = next[j] + (before - 1) / momentum * (next[j] - w[j]);
    w = next;
    if (moved <= options.tolerance) break;
  }
  Plane plane{w, w[d - 1]};
  plane.w.pop_back();
  return plane;
}

}  // namespace

std::vector<double> LinearClassifier::magnitudes() const {
  std::vector<double> result(static_cast<size_t>(features()));
  for (int64_t k = 0; k < weights_.rows; ++k)
    for (int64_t j = 0; j < weights_.columns; ++j) result[j] += std::abs(weights_(k, j)) / double(weights_.rows);
  return result;
}

Samples LinearClassifier::margins(const Samples& x) const {
  Samples result(x.rows, classes());
  for (int64_t i = 0; i < x.rows; ++i) {
    for (int64_t k = 0; k < weights_.rows; ++k) {
      const double margin = dot(x.row(i), weights_.row(k), x.columns) + biases_[k];
      if (weights_.rows == 1) result(i, 0) = -margin;
      result(i, weights_.rows == 1 ? 1 : k) = margin;
    }
  }
  return result;
}

template <class Fit>
void LinearClassifier::each_plane(const Samples& x, const Labels& y, Fit fit) {
  const int planes = classes() == 2 ? 1 : classes();
  weights_ = Samples(planes, x.columns);
  biases_.assign(planes, 0);
  for (int k = 0; k < planes; ++k) {
    std::vector<double> targets;
    for (const int label : y) targets.push_back(label == (planes == 1 ? 1 : k) ? 1 : -1);
    const Plane plane = fit(targets, k);
    std::ranges::copy(plane.w, weights_.row(k));
    biases_[k] = plane.b;
  }
}

void LogisticRegression::learn(const Samples& x, const Labels& y) {
  require(options_.c > 0, "logistic regression: c must be positive, got {}", options_.c);
  const Samples extended = with_ones(x);
  each_plane(x, y, [&](const std::vector<double>& targets, int) {
    return options_.penalty == LogisticOptions::Penalty::kL2 ? newton(extended, targets, options_)
                                                             : fista(extended, targets, options_);
  });
}

Samples LogisticRegression::score(const Samples& x) const {
  Samples result = margins(x);
  for (int64_t i = 0; i < x.rows; ++i) {
    double sum = 0;
    for (int k = 0; k < classes(); ++k) sum += result(i, k) = logistic(result(i, k));
    for (int k = 0; k < classes(); ++k) result(i, k) = sum > 0 ? result(i, k) / sum : 1.0 / classes();
  }
  return result;
}

void RidgeClassifier::learn(const Samples& x, const Labels& y) {
  require(alpha_ > 0, "ridge classifier: alpha must be positive, got {}", alpha_);
  const std::vector<double> means = column_means(x);
  const Samples centred = minus_row(x, means);
  Samples matrix = gram(centred);
  for (int64_t j = 0; j < x.columns; ++j) matrix(j, j) += alpha_;
  each_plane(x, y, [&](const std::vector<double>& targets, int) {
    double mean = 0;
    for (const double t : targets) mean += t / double(targets.size());
    std::vector<double> right(static_cast<size_t>(x.columns));
    for (int64_t i = 0; i < x.rows; ++i)
      for (int64_t j = 0; j < x.columns; ++j) right[j] += centred(i, j) * (targets[i] - mean);
    Plane plane{solve_spd(matrix, right)};
    plane.b = mean - dot(plane.w.data(), means.data(), x.columns);
    return plane;
  });
}

void Perceptron::learn(const Samples& x, const Labels& y) {
  require(options_.epochs >= 1, "perceptron: expected at least 1 epoch, got {}", options_.epochs);
  each_plane(x, y, [&](const std::vector<double>& targets, int plane_index) {
    Plane plane{std::vector<double>(static_cast<size_t>(x.columns))};
    Random random = Random(options_.seed).split(uint64_t(plane_index));
    double best = INFINITY;
    for (int epoch = 0, idle = 0; epoch < options_.epochs && idle < 5; ++epoch) {
      double loss = 0;
      for (const int64_t i : random.permutation(x.rows)) {
        const double margin = targets[i] * (dot(x.row(i), plane.w.data(), x.columns) + plane.b);
        loss += std::max(0.0, -margin) / double(x.rows);
        if (margin > 0) continue;
        for (int64_t j = 0; j < x.columns; ++j) plane.w[j] += targets[i] * x(i, j);
        plane.b += targets[i];
      }
      idle = loss > best - options_.tolerance ? idle + 1 : 0;
      best = std::min(best, loss);
    }
    return plane;
  });
}

void Lda::learn(const Samples& x, const Labels& y) {
  constexpr double kTolerance = 1e-4;
  const int c = classes();
  const int64_t n = x.rows, d = x.columns;
  require(n > c, "LDA: {} samples of {} classes, expected more samples than classes", n, c);
  Samples means(c, d);
  std::vector<double> prior(c);
  for (const int label : y) prior[label] += 1.0 / double(n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < d; ++j) means(y[i], j) += x(i, j) / (prior[y[i]] * double(n));
  const std::vector<double> centre = column_means(x);

  // Whiten within the classes ...
  Samples within(x);
  std::vector<double> deviation(d);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < d; ++j) {
      within(i, j) -= means(y[i], j);
      deviation[j] += within(i, j) * within(i, j) / double(n);
    }
  for (double& v : deviation) v = v > 0 ? std::sqrt(v) : 1;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < d; ++j) within(i, j) /= deviation[j] * std::sqrt(double(n));
  const Svd whiten = svd(within);
  const int64_t rank = std::ranges::count_if(whiten.s, [&](double s) { return s > kTolerance; });
  require(rank > 0, "LDA: the samples of each class are all alike");
  Samples scaling(d, rank);
  for (int64_t j = 0; j < d; ++j)
    for (int64_t r = 0; r < rank; ++r) scaling(j, r) = whiten.vt(r, j) / deviation[j] / whiten.s[r];
  // ... and keep the directions in which the classes' means differ.
  const Samples offsets = minus_row(means, centre);
  const auto times = [](const Samples& a, const Samples& b) {
    Samples product(a.rows, b.columns);
    for (int64_t i = 0; i < a.rows; ++i)
      for (int64_t k = 0; k < a.columns; ++k)
        for (int64_t j = 0; j < b.columns; ++j) product(i, j) += a(i, k) * b(k, j);
    return product;
  };
  Samples between = times(offsets, scaling);
  for (int k = 0; k < c; ++k)
    for (int64_t r = 0; r < rank; ++r) between(k, r) *= std::sqrt(double(n) * prior[k] / (c - 1));
  const Svd discriminant = svd(between);
  const int64_t kept =
      std::ranges::count_if(discriminant.s, [&](double s) { return s > kTolerance * discriminant.s[0]; });
  Samples directions(rank, kept);
  for (int64_t r = 0; r < rank; ++r)
    for (int64_t k = 0; k < kept; ++k) directions(r, k) = discriminant.vt(k, r);
  const Samples projection = times(scaling, directions), projected = times(offsets, projection);

  weights_ = Samples(c, d);
  biases_.assign(c, 0);
  for (int k = 0; k < c; ++k) {
    for (int64_t j = 0; j < d; ++j) weights_(k, j) = dot(projection.row(j), projected.row(k), kept);
    biases_[k] =
        std::log(prior[k]) - dot(projected.row(k), projected.row(k), kept) / 2 - dot(weights_.row(k), centre.data(), d);
  }
}

Samples Lda::score(const Samples& x) const {
  Samples result = margins(x);
  softmax_rows(result);
  return result;
}

}  // namespace quanta
