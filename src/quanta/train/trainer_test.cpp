#include "quanta/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/core/safetensors.h"
#include "quanta/core/signal.h"
#include "quanta/train/checkpoint.h"

namespace quanta {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace nn = torch::nn;

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() {
    set_log_level(LogLevel::kQuiet);
    std::filesystem::create_directories(folder_);
    torch::manual_seed(1);
  }
  ~TrainerTest() override {
    std::filesystem::remove_all(folder_);
    set_log_level(LogLevel::kInfo);
  }

  std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) /
      (std::string("quanta_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
};

template <class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

/// Images whose class is the brightest of three columns.
Examples columns(int64_t n, uint64_t seed) {
  Random random(seed);
  Examples examples{torch::zeros({n, 1, 6, 6}, torch::kUInt8), torch::zeros({n}, torch::kInt64)};
  for (int64_t i = 0; i < n; ++i) {
    const auto label = int64_t(random.below(3));
    examples.targets[i] = label;
    for (int64_t y = 0; y < 6; ++y)
      for (int64_t x = 0; x < 6; ++x)
        examples.inputs[i][0][y][x] = int64_t(random.below(120) + (x / 2 == label ? 100 : 0));
  }
  return examples;
}

/// Everything that makes an exact resume hard: batch statistics, dropout, and (in options) augmentation and a schedule.
nn::Sequential make_net() {
  torch::manual_seed(5);
  return nn::Sequential(nn::Conv2d(1, 4, 3), nn::BatchNorm2d(4), nn::ReLU(), nn::Flatten(), nn::Dropout(0.3),
                        nn::Linear(64, 3));
}

TrainOptions hard_options() {
  TrainOptions options{.epochs = 4, .batch = 8, .seed = 9, .patience = 3, .clip = 1};
  options.augment = [](torch::Tensor inputs, const torch::Tensor& ids, int64_t epoch) {
    for (int64_t i = 0; i < ids.size(0); ++i)
      inputs[i] += 0.1 * Random(9).split("test").split(epoch).split(ids[i].item<int64_t>()).normal();
    return inputs;
  };
  options.schedule = [](int64_t step, int64_t steps) { return 1 - 0.9 * double(step) / double(steps); };
  options.config = "lr = 0.01\nwidth = 4\n";
  return options;
}

enum class Kind { kAdam, kAdamW, kSgd, kRmsprop };

std::unique_ptr<torch::optim::Optimizer> make_optimizer(Kind kind, const nn::Sequential& net) {
  using namespace torch::optim;
  switch (kind) {
    case Kind::kAdam:
      return std::make_unique<Adam>(net->parameters(), AdamOptions(0.01));
    case Kind::kAdamW:
      return std::make_unique<AdamW>(net->parameters(), AdamWOptions(0.01));
    case Kind::kSgd:
      return std::make_unique<SGD>(net->parameters(), SGDOptions(0.05).momentum(0.9).nesterov(true));
    default:
      return std::make_unique<RMSprop>(net->parameters(), RMSpropOptions(0.005));
  }
}

/// One process's life: a fresh network and optimizer, as after a restart.
History live(Kind kind, const TrainOptions& options) {
  nn::Sequential net = make_net();
  const auto optimizer = make_optimizer(kind, net);
  torch::manual_seed(std::random_device{}());  // what others drew must not matter
  return train_classifier(net, *optimizer, columns(61, 1), columns(20, 2), options);
}

json without_time(const std::filesystem::path& metrics) {
  json rows = json::array();
  std::istringstream lines(read_file(metrics));
  for (std::string line; std::getline(lines, line);) {
    rows.push_back(json::parse(line));
    rows.back().erase("seconds");
  }
  return rows;
}

/// The folders hold the same weights, moments, counters and metrics, bit for bit.
void expect_same_outcome(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto file = [](const std::filesystem::path& folder) {
    return Safetensors::open(folder / "train.checkpoint.safetensors");
  };
  const Safetensors left = file(a), right = file(b);
  ASSERT_GT(left.tensors().size(), 10u);
  ASSERT_EQ(left.tensors().size(), right.tensors().size());
  for (const auto& [name, view] : left.tensors()) {
    const TensorView& other = right.at(name);
    EXPECT_EQ(view.shape, other.shape) << name;
    EXPECT_TRUE(std::ranges::equal(view.bytes, other.bytes)) << name;
  }
  EXPECT_EQ(left.metadata().at("optimizer"), right.metadata().at("optimizer"));
  EXPECT_EQ(without_time(a / "metrics.jsonl"), without_time(b / "metrics.jsonl"));
}

class ResumeTest : public TrainerTest, public ::testing::WithParamInterface<Kind> {};

TEST_P(ResumeTest, InterruptedAnywhereEndsWithTheSameBits) {
  TrainOptions options = hard_options();
  options.out = folder_ / "straight";
  const History straight = live(GetParam(), options);
  ASSERT_EQ(straight.epochs.size(), 4u);
  EXPECT_FALSE(straight.interrupted || straight.resumed);

  // 61 samples in batches of 8 are 8 steps an epoch. Interrupted at several places, each life going a little further.
  options.out = folder_ / "broken";
  options.resume = true;
  History history;
  int lives = 0;
  for (const int stop : {1 + int(Random(uint64_t(GetParam())).below(7)), 8, 3, 7, 1, 1000}) {
    TrainOptions life = options;
    int steps = 0;
    life.augment = [&](torch::Tensor inputs, const torch::Tensor& ids, int64_t epoch) {
      if (++steps == stop) std::raise(stop % 2 ? SIGINT : SIGTERM);
      return options.augment(inputs, ids, epoch);
    };
    history = live(GetParam(), life);
    EXPECT_EQ(history.interrupted, stop != 1000);
    EXPECT_EQ(history.resumed, ++lives > 1);
    if (history.interrupted) {
      EXPECT_EQ(steps, stop);
    }
  }
  expect_same_outcome(folder_ / "straight", folder_ / "broken");
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(history.epochs[i].train_loss, straight.epochs[i].train_loss);
    EXPECT_EQ(history.epochs[i].val_accuracy, straight.epochs[i].val_accuracy);
  }
  EXPECT_EQ(history.best_epoch, straight.best_epoch);
}

TEST_P(ResumeTest, CrashedAnywhereEndsWithTheSameBits) {
  TrainOptions options = hard_options();
  options.out = folder_ / "straight";
  live(GetParam(), options);
  struct Crash {};
  for (const double every : {0.0, 1e9}) {  // seconds between checkpoints: after each batch, or epochs only
    options.out = folder_ / "broken";
    std::filesystem::remove_all(options.out);
    options.resume = true;
    options.checkpoint_seconds = every;
    for (const int crash : {5, 13, 11, 1000}) {
      TrainOptions life = options;
      int steps = 0;
      life.augment = [&](torch::Tensor inputs, const torch::Tensor& ids, int64_t epoch) {
        if (++steps == crash) throw Crash();
        return options.augment(inputs, ids, epoch);
      };
      if (crash == 1000)
        live(GetParam(), life);
      else
        EXPECT_THROW(live(GetParam(), life), Crash);
    }
    expect_same_outcome(folder_ / "straight", folder_ / "broken");
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, ResumeTest,
                         ::testing::Values(Kind::kAdam, Kind::kAdamW, Kind::kSgd, Kind::kRmsprop));

using TrainerDeathTest = TrainerTest;

TEST_F(TrainerDeathTest, KilledRunGoesOn) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  TrainOptions options = hard_options();
  options.resume = true;
  options.checkpoint_seconds = 0;
  options.out = std::filesystem::path(::testing::TempDir()) / "quanta_killed";  // outlives the child
  TrainOptions doomed = options;
  int steps = 0;
  doomed.augment = [&](torch::Tensor inputs, const torch::Tensor& ids, int64_t epoch) {
    if (++steps == 12) raise(SIGKILL);
    return options.augment(inputs, ids, epoch);
  };
  EXPECT_EXIT(live(Kind::kAdam, doomed), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EQ(without_time(options.out / "metrics.jsonl").size(), 1u);
  EXPECT_TRUE(live(Kind::kAdam, options).resumed);
  TrainOptions straight = hard_options();
  straight.out = folder_ / "straight";
  live(Kind::kAdam, straight);
  expect_same_outcome(straight.out, options.out);
  std::filesystem::remove_all(options.out);
}

TEST_F(TrainerTest, AFinishedRunReturnsAtOnce) {
  TrainOptions options = hard_options();
  options.out = folder_;
  const History first = live(Kind::kAdam, options);
  options.resume = true;
  nn::Sequential net = make_net();
  const auto optimizer = make_optimizer(Kind::kAdam, net);
  int calls = 0;
  const History second = train_classifier(
      [&](const torch::Tensor& x) {
        ++calls;
        return net->forward(x);
      },
      *net, *optimizer, columns(61, 1), columns(20, 2), options);
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE(second.resumed);
  EXPECT_EQ(second.values(&Epoch::val_loss), first.values(&Epoch::val_loss));
  EXPECT_EQ(second.seconds(), first.seconds());
  EXPECT_EQ(evaluate(net, columns(20, 2)).loss, first.epochs[first.best_epoch - 1].val_loss);
}

TEST_F(TrainerTest, WithoutResumeItStartsOver) {
  TrainOptions options = hard_options();
  options.out = folder_;
  live(Kind::kAdam, options);
  const json before = without_time(folder_ / "metrics.jsonl");
  EXPECT_FALSE(live(Kind::kAdam, options).resumed);
  EXPECT_EQ(without_time(folder_ / "metrics.jsonl"), before);
}

TEST_F(TrainerTest, RefusesACheckpointOfOtherSettings) {
  TrainOptions options = hard_options();
  options.out = folder_;
  live(Kind::kAdam, options);
  options.resume = true;
  TrainOptions other = options;
  other.config = "lr = 0.02\nwidth = 4\n";
  EXPECT_THAT(message_of([&] { live(Kind::kAdam, other); }),
              AllOf(HasSubstr("another config: 'lr = 0.01' there, 'lr = 0.02' here"), HasSubstr("resum")));
  other = options;
  other.batch = 9;
  EXPECT_THAT(message_of([&] { live(Kind::kAdam, other); }), HasSubstr("another batch: 8 there, 9 here"));
  EXPECT_THAT(message_of([&] { live(Kind::kSgd, options); }), HasSubstr("optimizer Adam, not SGD"));
  nn::Linear model(36, 3);
  torch::optim::Adam adam(model->parameters());
  EXPECT_THAT(message_of([&] {
                train_classifier([&](const torch::Tensor& x) { return model->forward(x.flatten(1)); }, *model, adam,
                                 columns(61, 1), columns(20, 2), options);
              }),
              AllOf(HasSubstr("weight is missing"), HasSubstr("0.weight is not expected")));
  const auto path = folder_ / "train.checkpoint.safetensors";
  write_file(path, read_file(path).substr(0, 1000));
  EXPECT_NE(message_of([&] { live(Kind::kAdam, options); }), "nothing was thrown");
}

TEST_F(TrainerTest, LabelsShareAFolder) {
  TrainOptions options{.epochs = 2, .out = folder_, .label = "first"};
  live(Kind::kAdam, options);
  options.label = "the / second";
  live(Kind::kAdam, options);
  options.label = "first";
  live(Kind::kAdam, options);  // replaces its own lines only
  const json rows = without_time(folder_ / "metrics.jsonl");
  std::vector<std::string> labels;
  for (const json& row : rows)
    labels.push_back(row.at("label").get<std::string>() + std::to_string(row.at("epoch").get<int>()));
  EXPECT_THAT(labels, ElementsAre("the / second1", "the / second2", "first1", "first2"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "the---second.checkpoint.safetensors"));
}

TEST_F(TrainerTest, AnUnwritableFolderIsAnError) {
  write_file(folder_ / "file", "x");
  EXPECT_THROW(live(Kind::kAdam, {.out = folder_ / "file" / "run"}), Error);
}

TEST_F(TrainerTest, Learns) {
  nn::Sequential net = make_net();
  const auto adam = make_optimizer(Kind::kAdam, net);
  const Examples train = columns(200, 1), test = columns(100, 3);
  const double before = evaluate(net, test).accuracy;
  const History history = train_classifier(net, *adam, train, test, {.epochs = 6, .batch = 16});
  EXPECT_LT(before, 0.7);
  EXPECT_GT(history.epochs.back().val_accuracy, 0.95);
  EXPECT_EQ(history.epochs.back().val_accuracy, evaluate(net, test).accuracy);
  EXPECT_LT(history.epochs.back().train_loss, history.epochs.front().train_loss);
}

/// One weight, started at 0, that is the output for every sample.
struct OneWeight : nn::Module {
  torch::Tensor w = register_parameter("w", torch::zeros({1}, torch::kFloat64));
  Forward forward = [this](const torch::Tensor& x) { return w.expand({x.size(0)}); };
};
const Loss kSquare = [](const torch::Tensor& y, const torch::Tensor& t) { return (y - t).pow(2).mean(); };

Examples constant(int64_t n, double target) {
  return {torch::zeros({n, 1}), torch::full({n}, target, torch::kFloat64)};
}

TEST_F(TrainerTest, EarlyStoppingRestoresTheBestWeights) {
  // Gradient steps on (w - 1)^2 with rate 0.05 give w = 1 - 0.9^k: 0.1, 0.19, 0.271, 0.3439, 0.40951, ...; nearest to
  // 0.35 after epoch 4, and two worse epochs end it.
  auto model = std::make_shared<OneWeight>();
  torch::optim::SGD sgd(model->parameters(), 0.05);
  const History history = train_classifier(model->forward, *model, sgd, constant(4, 1), constant(3, 0.35),
                                           {.epochs = 50, .batch = 4, .patience = 2, .loss = kSquare});
  EXPECT_TRUE(history.stopped_early);
  EXPECT_EQ(history.best_epoch, 4);
  EXPECT_EQ(history.epochs.size(), 6u);
  EXPECT_NEAR(model->w.item<double>(), 1 - std::pow(0.9, 4), 1e-12);
  for (int k = 1; k <= 6; ++k) {
    EXPECT_NEAR(history.epochs[k - 1].val_loss, std::pow(0.65 - std::pow(0.9, k), 2), 1e-12);
    EXPECT_NEAR(history.epochs[k - 1].train_loss, std::pow(0.9, 2 * (k - 1)), 1e-12);  // before the step
    EXPECT_TRUE(std::isnan(history.epochs[k - 1].val_accuracy));
  }
}

TEST_F(TrainerTest, WithoutPatienceTheLastWeightsStay) {
  auto model = std::make_shared<OneWeight>();
  torch::optim::SGD sgd(model->parameters(), 0.05);
  const History history = train_classifier(model->forward, *model, sgd, constant(4, 1), constant(3, 0.35),
                                           {.epochs = 10, .batch = 4, .loss = kSquare, .out = folder_});
  EXPECT_EQ(history.best_epoch, 4);
  EXPECT_NEAR(model->w.item<double>(), 1 - std::pow(0.9, 10), 1e-12);
  EXPECT_TRUE(without_time(folder_ / "metrics.jsonl")[0].at("val_accuracy").is_null());
}

TEST_F(TrainerTest, ClipsTheWholeGradient) {
  auto model = std::make_shared<OneWeight>();
  torch::optim::SGD sgd(model->parameters(), 0.5);
  train_classifier(model->forward, *model, sgd, constant(4, 100), {}, {.batch = 4, .clip = 2, .loss = kSquare});
  EXPECT_NEAR(model->w.item<double>(), 1, 1e-6);  // the gradient is -200; 0.5 * 2 is left
}

TEST_F(TrainerTest, ScheduleScalesTheRateOfEveryStep) {
  auto model = std::make_shared<OneWeight>();
  torch::optim::SGD sgd(model->parameters(), 0.5);
  const Loss slope = [](const torch::Tensor& y, const torch::Tensor&) { return -y.mean(); };  // gradient -1
  std::vector<int64_t> seen;
  train_classifier(model->forward, *model, sgd, constant(6, 0), {},
                   {.epochs = 2, .batch = 2, .loss = slope, .schedule = [&](int64_t step, int64_t steps) {
                      seen.push_back(step);
                      EXPECT_EQ(steps, 6);
                      return double(step);
                    }});
  EXPECT_THAT(seen, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_NEAR(model->w.item<double>(), 0.5 * 15, 1e-12);
}

TEST_F(TrainerTest, EverySampleOnceAnEpochAndNoBatchOfOne) {
  auto model = std::make_shared<OneWeight>();
  torch::optim::SGD sgd(model->parameters(), 0.0);
  std::vector<std::vector<int64_t>> orders(2);
  std::vector<int64_t> sizes;
  TrainOptions options{.epochs = 2, .batch = 4, .loss = kSquare};
  options.augment = [&](torch::Tensor inputs, const torch::Tensor& ids, int64_t epoch) {
    sizes.push_back(ids.size(0));
    for (int64_t i = 0; i < ids.size(0); ++i) orders[epoch].push_back(ids[i].item<int64_t>());
    return inputs;
  };
  train_classifier(model->forward, *model, sgd, constant(9, 0), {}, options);
  EXPECT_THAT(sizes, ElementsAre(4, 5, 4, 5));
  EXPECT_NE(orders[0], orders[1]);
  for (auto& order : orders) {
    std::ranges::sort(order);
    EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8));
  }
}

TEST_F(TrainerTest, BytesBecomeNumbersBetweenZeroAndOne) {
  nn::Linear model(1, 2);
  torch::optim::SGD sgd(model->parameters(), 0.1);
  const Examples bytes{torch::tensor({0, 51, 255}, torch::kUInt8).reshape({3, 1}),
                       torch::tensor({0, 1, 0}, torch::kInt64)};
  std::vector<float> seen;
  const Forward forward = [&](const torch::Tensor& x) {
    for (int64_t i = 0; i < x.size(0); ++i) seen.push_back(x[i].item<float>());
    return model->forward(x);
  };
  evaluate(forward, *model, bytes);
  EXPECT_THAT(seen, ElementsAre(0, 0.2f, 1));
  seen.clear();
  train_classifier(forward, *model, sgd, bytes, {}, {.batch = 3});
  std::ranges::sort(seen);
  EXPECT_THAT(seen, ElementsAre(0, 0.2f, 1));
}

TEST_F(TrainerTest, BadInput) {
  nn::Linear model(2, 2);
  torch::optim::SGD sgd(model->parameters(), 0.1);
  const auto message = [&](Examples train, TrainOptions options = {}, Examples validation = {}) {
    return message_of([&] { train_classifier(model, sgd, train, validation, options); });
  };
  const Examples good{torch::zeros({3, 2}), torch::tensor({0, 1, 0}, torch::kInt64)};
  EXPECT_THAT(message({}), HasSubstr("training set is empty"));
  EXPECT_THAT(message({torch::zeros({3, 2}), torch::zeros({2}, torch::kInt64)}), HasSubstr("3 inputs but 2 targets"));
  EXPECT_THAT(message(good, {}, {torch::zeros({3, 2}), {}}), HasSubstr("validation set has 3 inputs but 0 targets"));
  EXPECT_THAT(message({torch::zeros({2, 2}), torch::tensor({0, 2}, torch::kInt64)}),
              HasSubstr("labels go up to 2 but the network returns 2"));
  EXPECT_THAT(message({torch::zeros({2, 2}), torch::tensor({0, -1}, torch::kInt64)}), HasSubstr("negative"));
  EXPECT_THAT(message(good, {.patience = 1}), HasSubstr("early stopping needs a validation set"));
  for (const TrainOptions& bad : {TrainOptions{.epochs = -1}, TrainOptions{.batch = 0}, TrainOptions{.patience = -1},
                                  TrainOptions{.clip = -1}, TrainOptions{.eval_batch = 0}})
    EXPECT_NE(message(good, bad), "nothing was thrown");
  EXPECT_THAT(message({torch::full({4, 2}, INFINITY), torch::zeros({4}, torch::kInt64)}, {.batch = 2, .label = "net"}),
              AllOf(HasSubstr("net: the loss became"), HasSubstr("epoch 1, batch 1")));
  EXPECT_THAT(message_of([&] { evaluate(model, {}); }), HasSubstr("evaluation set is empty"));
  EXPECT_THAT(message_of([&] { evaluate(model, good, 0); }), HasSubstr("at least one sample"));
}

TEST_F(TrainerTest, EvaluateAgreesWithClosedForms) {
  // The inputs are the logits. Cross-entropy of (a, b) for class 0 is log(1 + e^(b - a)).
  struct Identity : nn::Module {};
  auto identity = std::make_shared<Identity>();
  const Forward forward = [](const torch::Tensor& x) { return x; };
  const Examples examples{torch::tensor({2.0, 0.0, 0.0, 1.0, 3.0, 1.0}, torch::kFloat64).reshape({3, 2}),
                          torch::tensor({0, 1, 1}, torch::kInt64)};
  const double loss = (std::log1p(std::exp(-2)) + std::log1p(std::exp(-1)) + std::log1p(std::exp(2))) / 3;
  for (int batch : {1, 2, 3, 100}) {
    const Evaluation evaluation = evaluate(forward, *identity, examples, batch);
    EXPECT_NEAR(evaluation.loss, loss, 1e-12);
    EXPECT_DOUBLE_EQ(evaluation.accuracy, 2.0 / 3);
    EXPECT_TRUE(torch::equal(evaluation.outputs, examples.inputs));
    EXPECT_TRUE(torch::equal(evaluation.predictions, torch::tensor({0, 1, 0}, torch::kInt64)));
    EXPECT_TRUE(torch::equal(evaluation.confusion, torch::tensor({1, 0, 1, 1}, torch::kInt64).reshape({2, 2})));
  }
}

TEST_F(TrainerTest, EvaluateLeavesEveryModeAndGradientAsItWas) {
  nn::Sequential net = make_net();
  net[1]->eval();  // a frozen batch normalization
  const torch::Tensor mean = net[1]->buffers()[0].clone();
  evaluate(net, columns(5, 1));
  EXPECT_TRUE(net->is_training() && net[0]->is_training() && net[4]->is_training());
  EXPECT_FALSE(net[1]->is_training());
  EXPECT_TRUE(torch::equal(net[1]->buffers()[0], mean));
  EXPECT_FALSE(net[0]->parameters()[0].grad().defined());
}

TEST(ConfusionMatrix, CountsPairs) {
  const torch::Tensor labels = torch::tensor({0, 0, 1, 2, 2, 2}, torch::kInt64),
                      predictions = torch::tensor({0, 1, 1, 0, 2, 2}, torch::kInt64);
  EXPECT_TRUE(
      torch::equal(confusion_matrix(labels, predictions, 4),
                   torch::tensor({1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0}, torch::kInt64).reshape({4, 4})));
  const torch::Tensor none = torch::empty({0}, torch::kInt64);
  EXPECT_TRUE(torch::equal(confusion_matrix(none, none, 2), torch::zeros({2, 2}, torch::kInt64)));
  EXPECT_THROW(confusion_matrix(labels, predictions, 2), Error);
  EXPECT_THROW(confusion_matrix(labels, predictions.slice(0, 0, 2), 3), Error);
  EXPECT_THROW(confusion_matrix(labels, predictions - 1, 3), Error);
}

TEST(CountParameters, LeavesFrozenOnesOut) {
  nn::Sequential net(nn::Linear(3, 4), nn::BatchNorm1d(4));
  EXPECT_EQ(count_parameters(*net), 12 + 4 + 8);
  net[0]->parameters()[0].set_requires_grad(false);
  EXPECT_EQ(count_parameters(*net), 4 + 8);
}

TEST(UseThreads, SetsBoth) {
  const int before = threads();
  use_threads(3);
  EXPECT_EQ(threads(), 3);
  EXPECT_EQ(torch::get_num_threads(), 3);
  EXPECT_THROW(use_threads(0), Error);
  use_threads(before);
}

}  // namespace
}  // namespace quanta
