#include "quanta/learn/svm.h"

#ifdef QUANTA_LIBSVM
#include <libsvm/svm.h>
#endif

namespace quanta {

#ifdef QUANTA_LIBSVM

namespace {

// LIBSVM's rows of (index, value), each ended by index -1; a precomputed kernel has its row number in front.
struct Nodes {
  std::vector<svm_node> nodes;
  std::vector<svm_node*> rows;

  Nodes(const Samples& x, bool precomputed) {
    const int64_t width = x.columns + 1 + precomputed;
    nodes.reserve(size_t(x.rows * width));
    for (int64_t i = 0; i < x.rows; ++i) {
      if (precomputed) nodes.push_back({0, double(i + 1)});
      for (int64_t j = 0; j < x.columns; ++j) nodes.push_back({int(j + 1), x(i, j)});
      nodes.push_back({-1, 0});
    }
    for (int64_t i = 0; i < x.rows; ++i) rows.push_back(nodes.data() + i * width);
  }
};

double variance(const std::vector<double>& values) {
  double mean = 0, result = 0;
  for (const double v : values) mean += v / double(values.size());
  for (const double v : values) result += (v - mean) * (v - mean) / double(values.size());
  return result;
}

}  // namespace

struct Svm::Impl {
  std::optional<Nodes> nodes;  // the model points into them
  std::vector<double> targets;
  svm_model* model = nullptr;

  ~Impl() { clear(); }
  void clear() {
    if (model) svm_free_and_destroy_model(&model);
  }
};

bool have_libsvm() {
  return true;
}

Svm::Svm(SvmOptions options) : options_(options), impl_(std::make_unique<Impl>()) {}

void Svm::learn(const Samples& x, const Labels& y) {
  const bool precomputed = options_.kernel == SvmOptions::Kernel::kPrecomputed;
  require(!precomputed || x.rows == x.columns, "SVM: expected a kernel [{}, {}], got {} columns", x.rows, x.rows,
          x.columns);
  svm_parameter parameter{};
  parameter.svm_type = C_SVC;
  parameter.kernel_type = precomputed                                    ? PRECOMPUTED
                          : options_.kernel == SvmOptions::Kernel::kRbf  ? RBF
                          : options_.kernel == SvmOptions::Kernel::kPoly ? POLY
                                                                         : LINEAR;
  parameter.degree = options_.degree;
  const double spread = variance(x.values);
  parameter.gamma = options_.gamma.value_or(spread > 0 ? 1 / (double(x.columns) * spread) : 1);
  parameter.coef0 = options_.offset;
  parameter.cache_size = 100;
  parameter.eps = options_.tolerance;
  parameter.C = options_.c;
  parameter.shrinking = 1;

  impl_->clear();
  impl_->nodes.emplace(x, precomputed);
  impl_->targets.assign(y.begin(), y.end());
  const svm_problem problem{int(x.rows), impl_->targets.data(), impl_->nodes->rows.data()};
  const char* wrong = svm_check_parameter(&problem, &parameter);
  require(!wrong, "SVM: {}", wrong ? wrong : "");
  svm_set_print_string_function([](const char*) {});
  impl_->model = svm_train(&problem, &parameter);
}

Labels Svm::decide(const Samples& x) const {
  const Nodes nodes(x, options_.kernel == SvmOptions::Kernel::kPrecomputed);
  Labels result;
  for (const svm_node* row : nodes.rows) result.push_back(int(svm_predict(impl_->model, row)));
  return result;
}

Samples Svm::score(const Samples& x) const {
  const int c = classes();
  const Nodes nodes(x, options_.kernel == SvmOptions::Kernel::kPrecomputed);
  std::vector<int> label(c);  // LIBSVM orders classes by their first sample
  svm_get_labels(impl_->model, label.data());
  std::vector<double> margins(size_t(c * (c - 1) / 2));
  Samples result(x.rows, c);
  for (int64_t i = 0; i < x.rows; ++i) {
    svm_predict_values(impl_->model, nodes.rows[i], margins.data());
    if (c == 2) {
      result(i, label[0]) = margins[0];
      result(i, label[1]) = -margins[0];
      continue;
    }
    std::vector<double> sum(c);
    for (int a = 0, pair = 0; a < c; ++a)
      for (int b = a + 1; b < c; ++b, ++pair) {
        result(i, label[margins[pair] > 0 ? a : b]) += 1;
        sum[label[a]] += margins[pair];
        sum[label[b]] -= margins[pair];
      }
    for (int k = 0; k < c; ++k) result(i, k) += sum[k] / (3 * (std::abs(sum[k]) + 1));
  }
  return result;
}

#else

struct Svm::Impl {};

bool have_libsvm() {
  return false;
}

Svm::Svm(SvmOptions options) : options_(options) {
  fail("support vector machines need LIBSVM: install Debian's libsvm-dev and build Quanta again");
}
void Svm::learn(const Samples&, const Labels&) {}
Labels Svm::decide(const Samples&) const {
  return {};
}
Samples Svm::score(const Samples&) const {
  return {};
}

#endif

Svm::~Svm() = default;

}  // namespace quanta
