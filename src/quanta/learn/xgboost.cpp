#include "quanta/learn/xgboost.h"

#ifdef QUANTA_XGBOOST
#include <xgboost/c_api.h>
#endif

namespace quanta {

#ifdef QUANTA_XGBOOST

namespace {

void ask(int status) {
  require(status == 0, "XGBoost: {}", XGBGetLastError());
}

struct DMatrix {
  DMatrixHandle handle = nullptr;
  explicit DMatrix(const Samples& x) {
    const std::vector<float> values(x.values.begin(), x.values.end());
    ask(XGDMatrixCreateFromMat(values.data(), bst_ulong(x.rows), bst_ulong(x.columns), NAN, &handle));
  }
  ~DMatrix() { XGDMatrixFree(handle); }
  DMatrix(const DMatrix&) = delete;
};

}  // namespace

struct XgBoost::Impl {
  BoosterHandle handle = nullptr;
  ~Impl() {
    if (handle) XGBoosterFree(handle);
  }
};

bool have_xgboost() {
  return true;
}

XgBoost::XgBoost(XgBoostOptions options) : options_(options) {}

void XgBoost::learn(const Samples& x, const Labels& y) {
  const DMatrix data(x);
  const std::vector<float> labels(y.begin(), y.end());
  ask(XGDMatrixSetFloatInfo(data.handle, "label", labels.data(), bst_ulong(labels.size())));
  impl_ = std::make_unique<Impl>();
  ask(XGBoosterCreate(&data.handle, 1, &impl_->handle));
  const auto set = [&](const char* name, const std::string& value) {
    ask(XGBoosterSetParam(impl_->handle, name, value.c_str()));
  };
  set("objective", classes() == 2 ? "binary:logistic" : "multi:softprob");
  if (classes() > 2) set("num_class", std::to_string(classes()));
  set("tree_method", "exact");
  set("max_depth", std::to_string(options_.depth));
  set("eta", fmt::format("{}", options_.rate));
  set("lambda", fmt::format("{}", options_.lambda));
  set("seed", std::to_string(options_.seed));
  set("nthread", "1");
  set("verbosity", "0");
  for (int round = 0; round < options_.rounds; ++round) ask(XGBoosterUpdateOneIter(impl_->handle, round, data.handle));
}

Samples XgBoost::score(const Samples& x) const {
  const DMatrix data(x);
  bst_ulong count = 0;
  const float* out = nullptr;
  ask(XGBoosterPredict(impl_->handle, data.handle, 0, 0, 0, &count, &out));
  Samples result(x.rows, classes());
  for (int64_t i = 0; i < x.rows; ++i)
    for (int k = 0; k < classes(); ++k)
      result(i, k) = classes() > 2 ? out[i * classes() + k] : k == 1 ? out[i] : 1 - double(out[i]);
  return result;
}

#else

struct XgBoost::Impl {};

bool have_xgboost() {
  return false;
}

XgBoost::XgBoost(XgBoostOptions options) : options_(options) {
  fail("this classifier needs XGBoost: install Debian's libxgboost-dev and build Quanta again");
}
void XgBoost::learn(const Samples&, const Labels&) {}
Samples XgBoost::score(const Samples&) const {
  return {};
}

#endif

XgBoost::~XgBoost() = default;

}  // namespace quanta
