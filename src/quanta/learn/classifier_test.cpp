#include "quanta/learn/classifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "quanta/core/parallel.h"
#include "quanta/learn/ensembles.h"
#include "quanta/learn/linear.h"
#include "quanta/learn/metrics.h"
#include "quanta/learn/neighbors.h"
#include "quanta/learn/oracle_data.h"
#include "quanta/learn/svm.h"
#include "quanta/learn/xgboost.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// The numbers are scikit-learn 1.9's for the same data: the first two test rows' scores and the accuracy on 40 rows
/// after training on 60.
void expect_scores(Classifier&& model, int classes, const std::vector<double>& scores, double right, double tolerance) {
  const OracleData train(classes, 60), test(classes, 40, 60);
  model.fit(train.x, train.y);
  const Samples got = model.scores(test.x);
  for (size_t i = 0; i < scores.size(); ++i) EXPECT_NEAR(got.values[i], scores[i], tolerance) << "score " << i;
  EXPECT_DOUBLE_EQ(accuracy(test.y, model.predict(test.x)), right);
}

TEST(Classifier, TreesAsScikitLearn) {
  // Where splits are equally good scikit-learn draws one of them; this data has no such ties.
  const OracleData train(3, 200), test(3, 40, 200);
  DecisionTree tree({.max_depth = 4});
  tree.fit(train.x, train.y);
  const Tree::Node& root = tree.trees()[0].nodes[0];
  EXPECT_EQ(root.feature, 1);
  EXPECT_NEAR(root.threshold, 1.519702613354, 1e-6);  // it rounds samples to float32
  EXPECT_EQ(tree.trees()[0].nodes.size(), 9);
  const std::vector<double> expected = {0.29631707854, 0.472387745692, 0.231295175768, 0};
  for (int j = 0; j < 4; ++j) EXPECT_NEAR(tree.importances()[j], expected[j], 1e-10);
  EXPECT_DOUBLE_EQ(accuracy(test.y, tree.predict(test.x)), 0.65);

  DecisionTree whole;
  whole.fit(train.x, train.y);
  EXPECT_EQ(accuracy(train.y, whole.predict(train.x)), 1);
}

TEST(Classifier, WeightedRegressionTreeAsScikitLearn) {
  const OracleData train(3, 200), test(3, 40, 200);
  Samples targets(200, 1);
  std::vector<double> weights;
  for (int i = 0; i < 200; ++i) {
    targets(i, 0) = std::cos(0.7 * std::pow(i, 1.5));
    weights.push_back(1 + i % 3);
  }
  const Tree tree = grow_tree(train.x, targets, weights, {.max_depth = 5, .min_leaf = 4}, Random(0));
  EXPECT_EQ(tree.nodes.size(), 29);
  EXPECT_EQ(tree.depth(), 5);
  const std::vector<double> shares = {0.67435426815, 0.026255876263, 0.074741966847, 0.22464788874};
  for (int j = 0; j < 4; ++j) EXPECT_NEAR(importances({tree}, 4)[j], shares[j], 1e-9);
  const std::vector<double> expected = {0.569388953403, 0.236224458973, 0.72804747086, 0.154262310657, -0.138023444929};
  for (int i = 0; i < 5; ++i) EXPECT_NEAR(tree.values.values[tree.leaf(test.x.row(i))], expected[i], 1e-9);
}

TEST(Classifier, BoostingAsScikitLearn) {
  const OracleData train(3, 200), test(3, 40, 200);
  AdaBoost ada({.rounds = 20});
  ada.fit(train.x, train.y);
  const std::vector<double> expected = {0.573002868718, 0.711346532061, 0.995058432101};
  for (int t = 0; t < 3; ++t) EXPECT_NEAR(ada.tree_weights()[t], expected[t], 1e-10);
  // Its decision is share - (1 - share) / (C - 1).
  const std::vector<double> decisions = {0.147828264251, -0.42598110748, 0.27815284323};
  for (int k = 0; k < 3; ++k) EXPECT_NEAR(ada.scores(test.x)(0, k) * 1.5 - 0.5, decisions[k], 1e-10);
  EXPECT_DOUBLE_EQ(accuracy(test.y, ada.predict(test.x)), 0.575);

  expect_scores(GradientBoosting({.rounds = 20}), 2, {0.849229025079, 0.150770974921, 0.703119874587}, 0.75, 1e-10);
  // Its own seeds, which settle ties, move this by 1e-3.
  expect_scores(GradientBoosting({.rounds = 20}), 3,
                {0.921019090331, 0.033647200741, 0.045333708928, 0.047914523579, 0.923262035235}, 0.475, 2e-3);
}

TEST(Classifier, ForestsAgreeWithScikitLearnWithinTheirNoise) {
  const OracleData train(2, 60), test(2, 40, 60);
  const auto difference = [&](Classifier&& model, double first, double second) {
    model.fit(train.x, train.y);
    const Samples scores = model.scores(test.x);
    EXPECT_NEAR(scores(0, 0), first, 0.1);
    EXPECT_NEAR(scores(1, 0), second, 0.1);
    EXPECT_NEAR(accuracy(test.y, model.predict(test.x)), 0.75, 0.051);
  };
  difference(RandomForest({.trees = 400}), 0.885, 0.63);
  difference(RandomForest({.trees = 400, .max_depth = 5, .extra = true}), 0.805294364541, 0.596642027913);
}

TEST(Classifier, LinearModelsAsScikitLearn) {
  expect_scores(LogisticRegression(), 2, {0.723252683074, 0.276747316926, 0.585632601391}, 0.7, 1e-6);
  expect_scores(LogisticRegression(), 3, {0.526464406429, 0.446069092915, 0.027466500656, 0.420483181608}, 0.5, 1e-6);
  expect_scores(LogisticRegression({.c = 0.3, .penalty = LogisticOptions::Penalty::kL1}), 2,
                {0.663181121765, 0.336818878235, 0.572584466774}, 0.725, 1e-5);
  expect_scores(LogisticRegression({.c = 0.3, .penalty = LogisticOptions::Penalty::kL1}), 3,
                {0.483066971467, 0.428435784462, 0.088497244071, 0.366781199512}, 0.425, 1e-5);
  expect_scores(RidgeClassifier(), 2, {0.351619525856, -0.351619525856, 0.148513862396}, 0.725, 1e-10);
  expect_scores(RidgeClassifier(), 3, {-0.032495300153, 0.047651400495, -1.015156100342, 0.008831547743}, 0.475, 1e-10);
  expect_scores(Lda(), 2, {0.73692175282, 0.26307824718, 0.607034256761}, 0.725, 1e-10);
  expect_scores(Lda(), 3, {0.2967817257488, 0.7003493751186, 0.002868899132539, 0.006960531091212}, 0.475, 1e-10);
}

TEST(Classifier, L1LeavesIrrelevantFeaturesOut) {
  const OracleData train(2, 60);
  LogisticRegression model({.c = 0.3, .penalty = LogisticOptions::Penalty::kL1});
  model.fit(train.x, train.y);
  EXPECT_NEAR(model.magnitudes()[0], 0.582772749794, 1e-6);  // scikit-learn, saga
  EXPECT_NEAR(model.biases()[0], -0.007566617963, 1e-6);
  EXPECT_EQ(model.weights()(0, 2), 0);
  EXPECT_EQ(model.weights()(0, 3), 0);
}

TEST(Classifier, LdaTakesDependentFeatures) {
  OracleData train(3, 60), test(3, 40, 60);
  const auto widen = [](const Samples& x) {
    Samples wide(x.rows, 5);
    for (int64_t i = 0; i < x.rows; ++i) {
      std::copy_n(x.row(i), 4, wide.row(i));
      wide(i, 4) = x(i, 0) + x(i, 1);
    }
    return wide;
  };
  Lda plain, dependent;
  plain.fit(train.x, train.y);
  dependent.fit(widen(train.x), train.y);
  const Samples a = plain.scores(test.x), b = dependent.scores(widen(test.x));
  for (size_t i = 0; i < a.values.size(); ++i) EXPECT_NEAR(a.values[i], b.values[i], 1e-9);
}

TEST(Classifier, BayesAndNeighboursAsScikitLearn) {
  expect_scores(GaussianNb(), 2, {0.724570201174, 0.275429798826, 0.625709531897}, 0.7, 1e-10);
  expect_scores(GaussianNb(), 3, {0.9925118547065, 2.344039927540e-08, 7.488121853074e-03, 0.5129028896939}, 0.425,
                1e-10);
  expect_scores(NearestNeighbors(), 2, {1. / 3, 2. / 3, 2. / 3, 1. / 3}, 0.65, 1e-12);
}

TEST(Classifier, NeighboursOfEqualVotesCountByDistance) {
  // Distances of two samples to four of classes 1, 0, 2, 2.
  NearestNeighbors model({.k = 3, .precomputed = true});
  model.fit(Samples(4, 4), {1, 0, 2, 2});
  EXPECT_EQ(model.predict(Samples(2, 4, std::vector<double>{1, 2, 3, 4, 3, 2, 1, 9})), (Labels{1, 2}));
}

TEST(Classifier, PerceptronSeparatesWhatIsSeparable) {
  const OracleData data(2, 60);
  Samples x(data.x);
  for (int64_t i = 0; i < x.rows; ++i) x(i, 3) = data.y[i] ? 1.5 : -1.5;
  Perceptron model;
  model.fit(x, data.y);
  EXPECT_EQ(accuracy(data.y, model.predict(x)), 1);
}

TEST(Classifier, SvmAsScikitLearn) {
  if (!have_libsvm()) {
    EXPECT_THAT([] { Svm(); }, ThrowsMessage<Error>(HasSubstr("libsvm-dev")));
    return;
  }
  expect_scores(Svm(), 2, {0.906891534945, -0.906891534945, 0.360984013201}, 0.725, 2e-3);
  expect_scores(Svm(), 3, {2.206544215835, 0.960669294644, -0.199746757169, 1.122415228341}, 0.575, 2e-3);
  expect_scores(Svm({.kernel = SvmOptions::Kernel::kPoly, .gamma = 0.5, .offset = 1}), 2,
                {3.637340318519, -3.637340318519, -0.532612612481}, 0.75, 2e-2);
}

TEST(Classifier, PrecomputedKernelIsTheKernel) {
  if (!have_libsvm()) GTEST_SKIP() << "built without LIBSVM";
  const OracleData train(3, 60), test(3, 40, 60);
  const auto kernel = [&](const Samples& a) {
    Samples k(a.rows, train.x.rows);
    for (int64_t i = 0; i < a.rows; ++i)
      for (int64_t j = 0; j < train.x.rows; ++j) {
        double distance = 0;
        for (int64_t f = 0; f < 4; ++f) distance += std::pow(a(i, f) - train.x(j, f), 2);
        k(i, j) = std::exp(-0.2 * distance);
      }
    return k;
  };
  Svm direct({.gamma = 0.2}), precomputed({.kernel = SvmOptions::Kernel::kPrecomputed});
  direct.fit(train.x, train.y);
  precomputed.fit(kernel(train.x), train.y);
  EXPECT_EQ(direct.predict(test.x), precomputed.predict(kernel(test.x)));
  const Samples a = direct.scores(test.x), b = precomputed.scores(kernel(test.x));
  for (size_t i = 0; i < a.values.size(); ++i) EXPECT_NEAR(a.values[i], b.values[i], 1e-9);
}

TEST(Classifier, XgBoostLearnsWhatItsKinLearns) {
  if (!have_xgboost()) {
    EXPECT_THAT([] { XgBoost(); }, ThrowsMessage<Error>(HasSubstr("libxgboost-dev")));
    return;
  }
  for (const int classes : {2, 3}) {
    const OracleData train(classes, 60), test(classes, 40, 60);
    XgBoost model;
    GradientBoosting kin;
    model.fit(train.x, train.y);
    kin.fit(train.x, train.y);
    EXPECT_GE(accuracy(train.y, model.predict(train.x)), 0.95);
    EXPECT_NEAR(accuracy(test.y, model.predict(test.x)), accuracy(test.y, kin.predict(test.x)), 0.1);
    const Samples scores = model.scores(test.x);
    for (int64_t i = 0; i < scores.rows; ++i) {
      double sum = 0;
      for (int k = 0; k < classes; ++k) sum += scores(i, k);
      EXPECT_NEAR(sum, 1, 1e-6);
    }
  }
}

TEST(Classifier, ForestsDoNotDependOnThreads) {
  const OracleData data(3, 60);
  const int before = threads();
  std::vector<Samples> scores;
  for (const int count : {1, 3}) {
    set_threads(count);
    RandomForest forest({.trees = 20, .seed = 4});
    forest.fit(data.x, data.y);
    scores.push_back(forest.scores(data.x));
  }
  set_threads(before);
  EXPECT_EQ(scores[0].values, scores[1].values);
}

TEST(Classifier, BadInput) {
  GaussianNb model;
  EXPECT_THAT([&] { model.predict(Samples(1, 2)); }, ThrowsMessage<Error>(HasSubstr("call fit() first")));
  EXPECT_THAT([&] { model.fit(Samples(3, 2, 1.0), {0, 1}); }, ThrowsMessage<Error>(HasSubstr("3 rows but 2 labels")));
  EXPECT_THAT(
      [&] {
        model.fit(Samples(2, 2, 1.0), {0, 2});
      },
      ThrowsMessage<Error>(HasSubstr("no sample is of class 1")));
  EXPECT_THAT([&] { model.fit(Samples(2, 2, 1.0), {0, 0}); }, ThrowsMessage<Error>(HasSubstr("at least 2 classes")));
  EXPECT_THAT(
      [&] {
        model.fit(Samples(2, 1, std::vector<double>{1, NAN}), {0, 1});
      },
      ThrowsMessage<Error>(HasSubstr("row 1, column 0 is nan")));
  const OracleData data(2, 20);
  model.fit(data.x, data.y);
  EXPECT_THAT([&] { model.scores(Samples(1, 3)); }, ThrowsMessage<Error>(HasSubstr("expected 4 columns")));
}

}  // namespace
}  // namespace quanta
