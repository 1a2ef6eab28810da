#include "quanta/learn/q_medley.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quanta/core/random.h"
#include "quanta/learn/hybrid_classifier.h"
#include "quanta/learn/metrics.h"
#include "quanta/learn/oracle_data.h"
#include "quanta/learn/svm.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Config = QMedleyOptions::Config;
using Kind = QuantumFeatureMap::Kind;

TEST(QuantumFeatures, KernelFromTheSimulatorAndInClosedForm) {
  const Samples x(1, 2, std::vector<double>{0.3, -1.1}), minus(1, 2, std::vector<double>{-0.3, 1.1});
  const double expected = std::pow(std::cos(0.3), 2) * std::pow(std::cos(1.1), 2);
  EXPECT_NEAR(expected, 0.18778089, 1e-8);
  for (const Kind kind : {Kind::Rx, Kind::Ry}) {
    const QuantumFeatureMap map(kind, 2);
    EXPECT_NEAR(map.kernel(x, minus)(0, 0), expected, 1e-12);
    const auto a = map.states(x), b = map.states(minus);
    std::complex<double> overlap = 0;
    for (int i = 0; i < 4; ++i) overlap += std::conj(a[i]) * b[i];
    EXPECT_NEAR(std::norm(overlap), expected, 1e-12);
  }
  EXPECT_NEAR(QuantumFeatureMap(Kind::Zz, 2).kernel(x, x)(0, 0), 1, 1e-12);
}

TEST(QuantumFeatures, RxIsEvenInAmplitudesOnly) {
  const OracleData data(2, 10);
  Samples minus(data.x);
  for (double& v : minus.values) v = -v;
  const QuantumFeatureMap rx(Kind::Rx, 4), ry(Kind::Ry, 4);
  const Samples a = rx.amplitudes(data.x), b = rx.amplitudes(minus);
  for (size_t i = 0; i < a.values.size(); ++i) EXPECT_NEAR(a.values[i], b.values[i], 1e-12);
  EXPECT_LT(rx.kernel(data.x, minus)(0, 0), 0.99);
  // prod_i (b_i ? sin : cos)(x_i / 2), qubit 0 least significant.
  const double* x = data.x.row(3);
  const double expected = std::abs(std::sin(x[0] / 2) * std::cos(x[1] / 2) * std::sin(x[2] / 2) * std::cos(x[3] / 2));
  EXPECT_NEAR(a(3, 0b0101), expected, 1e-12);
  EXPECT_NEAR(rx.probabilities(data.x)(3, 0b0101), expected * expected, 1e-12);
}

TEST(HybridClassifier, TrainsAndPredictsOnTheSameKernel) {
  if (!have_libsvm()) GTEST_SKIP() << "built without LIBSVM";
  const OracleData data(3, 40);
  const auto model = make_hybrid("qsvc_poly", 4);
  model->fit(data.x, data.y);
  const Samples kernel = model->map().kernel(data.x, data.x), trained = model->encode(data.x);
  const Samples one = model->encode(data.x.take({7}));
  for (int j = 0; j < 40; ++j) {
    EXPECT_NEAR(trained(7, j), std::pow(kernel(7, j) + 1, 3), 1e-12);
    EXPECT_NEAR(one(0, j), trained(7, j), 1e-12);
  }
}

TEST(HybridClassifier, AllModelsLearn) {
  OracleData data(2, 60);  // the classes differ in the size of x_0
  for (int64_t i = 0; i < 60; ++i) data.x(i, 0) = data.y[i] ? 2.5 : 0.3 + 0.01 * double(i % 7);
  for (const std::string& name : hybrid_names()) {
    if (!have_libsvm() && name.starts_with("qsv")) continue;
    const auto hybrid = make_hybrid(name, 4);
    const auto classical = make_classical_equivalent(name);
    hybrid->fit(data.x, data.y);
    classical->fit(data.x, data.y);
    EXPECT_GE(accuracy(data.y, hybrid->predict(data.x)), 0.9) << name;
    EXPECT_GE(accuracy(data.y, classical->predict(data.x)), 0.9) << name;
  }
}

TEST(HybridClassifier, BadRequests) {
  EXPECT_THAT([] { make_hybrid("qtree", 4); }, ThrowsMessage<UsageError>(HasSubstr("qrf, qextra")));
  EXPECT_THAT([] { make_hybrid("qnb", 9); }, ThrowsMessage<Error>(HasSubstr("truncate")));
  EXPECT_THAT([] { parse_feature_map("rz"); }, ThrowsMessage<UsageError>(HasSubstr("rx, ry or zz")));
}

/// Class 1 where |x_0| > 1.
class Rule : public Classifier {
  void learn(const Samples&, const Labels&) override {}
  Samples score(const Samples& x) const override {
    Samples result(x.rows, 2);
    for (int64_t i = 0; i < x.rows; ++i) result(i, std::abs(x(i, 0)) > 1) = 1;
    return result;
  }
};

struct RuleData {
  Samples x{200, 3};
  Labels y;
  Rule rule;
  explicit RuleData(double positives) {
    Random random(5);
    for (int64_t i = 0; i < x.rows; ++i) {
      y.push_back(double(i) < positives * 200);
      x(i, 0) = (y[i] ? 2 : 0.5) * (i % 2 ? 1 : -1);
      x(i, 1) = random.normal();
      x(i, 2) = random.normal();
    }
    rule.fit(x, y);
  }
};

TEST(QMedley, KnownRule) {
  const auto score = [](double positives, Config config) {
    RuleData data(positives);
    QMedley medley({.repeats = 2000, .config = config});
    medley.fit(data.rule, data.x, data.y);
    EXPECT_DOUBLE_EQ(medley.global().dci[0], positives);
    EXPECT_NEAR(medley.global().pi[0], 2 * positives * (1 - positives), 0.01);
    for (int j : {1, 2}) EXPECT_EQ(medley.global().score[j], 0);
    return medley.global().score[0];
  };
  EXPECT_NEAR(score(0.4, Config::Average), 0.44, 0.01);
  EXPECT_NEAR(score(0.4, Config::Adaptive), 0.44, 0.01);
  EXPECT_NEAR(score(0.3, Config::Average), 0.36, 0.01);
  EXPECT_NEAR(score(0.3, Config::Adaptive), 0.384, 0.01);
}

TEST(QMedley, ConfigurationsShareTheirPermutations) {
  const OracleData data(2, 60);
  const auto model = make_hybrid("qnb", 4);
  model->fit(data.x, data.y);
  std::vector<Importance> all;
  for (const auto& name : medley_names()) {
    QMedley medley({.config = parse_medley(name), .seed = 3});
    medley.fit(*model, data.x, data.y);
    all.push_back(medley.global());
  }
  for (int j = 0; j < 4; ++j) EXPECT_NEAR(all[2].score[j], (all[0].score[j] + all[1].score[j]) / 2, 1e-12);
  EXPECT_EQ(all[3].pi, all[2].pi);
  EXPECT_NE(all[4].pi, all[2].pi);
}

TEST(QMedley, LocalExplanationsAreOfTheirRow) {
  RuleData data(0.4);
  QMedley medley;
  medley.fit(data.rule, data.x, data.y);
  const auto positive = medley.local({2, 0.3, 0.1}), negative = medley.local({0.5, 0.3, 0.1});
  EXPECT_EQ(positive.dci[0], 1);  // at 0 it is no longer above the threshold
  EXPECT_EQ(negative.dci[0], 0);
  EXPECT_GT(negative.pi[0], 0);
  for (int j : {1, 2}) EXPECT_EQ(positive.score[j], 0);
}

TEST(QMedley, ColumnsThatAreNotEncodedScoreZero) {
  const OracleData data(2, 60);
  const auto model = make_hybrid("qknn", 4, {.max_qubits = 2, .truncate = true});
  model->fit(data.x, data.y);
  QMedley medley;
  medley.fit(*model, data.x, data.y);
  EXPECT_EQ(medley.global().score[2], 0);
  EXPECT_EQ(medley.global().score[3], 0);
}

TEST(QMedley, BadRequests) {
  EXPECT_THAT([] { QMedley({.repeats = 0}); }, ThrowsMessage<Error>(HasSubstr("at least 1 repeat")));
  EXPECT_THAT([] { QMedley().global(); }, ThrowsMessage<Error>(HasSubstr("fit()")));
  EXPECT_THAT([] { parse_medley("mean"); }, ThrowsMessage<UsageError>(HasSubstr("average")));
}

}  // namespace
}  // namespace quanta
