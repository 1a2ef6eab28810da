#include "quanta/train/language.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/core/parallel.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/models/evaluate_text.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;
using Kind = RateSchedule::Kind;

LanguageModel tiny(uint64_t seed = 1) {
  LanguageModel model(LanguageConfig::llama(16, 16, 24, 2, 2, 64));
  model->initialize(seed);
  return model;
}
torch::Tensor counting(int64_t n) {
  return torch::arange(n) * 5 % 16;
}  // each token tells the next one

std::map<std::string, torch::Tensor> values(LanguageModel model) {
  std::map<std::string, torch::Tensor> all;
  for (const auto& item : model->named_parameters()) all[item.key()] = item.value().detach().clone();
  return all;
}
void expect_equal(LanguageModel a, LanguageModel b) {
  const auto x = values(a), y = values(b);
  for (const auto& [name, value] : x) EXPECT_TRUE(value.equal(y.at(name))) << name;
}

TEST(RateSchedule, FollowsItsFormulas) {
  const auto at = [](const RateSchedule& s, int64_t step) { return s.factor(step, 100); };
  const RateSchedule cosine{.warmup = 0.1, .last = 0.1};
  EXPECT_NEAR(at(cosine, 0), 1 / 11.0, 1e-12);
  EXPECT_NEAR(at(cosine, 10), 1, 1e-12);
  EXPECT_NEAR(at(cosine, 55), 0.55, 1e-12);  // half way: the mean of 1 and 0.1
  EXPECT_NEAR(at(cosine, 99), 0.1, 1e-3);
  const RateSchedule linear{.kind = Kind::Linear, .warmup = 0, .last = 0};
  EXPECT_NEAR(at(linear, 0), 1, 1e-12);
  EXPECT_NEAR(at(linear, 25), 0.75, 1e-12);
  const RateSchedule constant{.kind = Kind::Constant, .warmup = 0.1};
  EXPECT_EQ(at(constant, 10), 1);
  EXPECT_EQ(at(constant, 99), 1);
  RateSchedule wsd{.kind = Kind::Wsd, .warmup = 0.1, .last = 0, .decay = 0.2};
  EXPECT_EQ(at(wsd, 79), 1);
  EXPECT_EQ(at(wsd, 80), 1);
  EXPECT_NEAR(at(wsd, 85), 0.75, 1e-12);
  wsd.fall = RateSchedule::Fall::OneMinusRoot;
  EXPECT_NEAR(at(wsd, 85), 0.5, 1e-12);
  wsd.fall = RateSchedule::Fall::Cosine;
  EXPECT_NEAR(at(wsd, 90), 0.5, 1e-12);
  // torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=100, pct_start=0.3, div_factor=25,
  // final_div_factor=1e4) at steps 0, 10, 29, 64, 99.
  const RateSchedule cycle{.kind = Kind::OneCycle, .warmup = 0.3, .last = 4e-6};
  EXPECT_NEAR(at(cycle, 0), 0.04, 1e-12);
  EXPECT_NEAR(at(cycle, 29), 1, 1e-12);
  EXPECT_NEAR(at(cycle, 64), (1 + 4e-6) / 2, 1e-12);
  EXPECT_NEAR(at(cycle, 99), 4e-6, 1e-12);
}

TEST(TrainLanguage, LearnsWhatIsCertain) {
  LanguageModel model = tiny();
  const double before = score_sequences(model, counting(128).view({4, 32})).mean();
  EXPECT_NEAR(before, std::log(16), 0.05);
  const LanguageHistory history = train_language(model, counting(1000), counting(128).view({4, 32}),
                                                 {.steps = 150, .batch = 4, .length = 16, .rate = 1e-2});
  ASSERT_EQ(history.rows.size(), 3u);
  EXPECT_EQ(history.rows.back().step, 150);
  EXPECT_LT(history.rows.back().val_loss, 0.05);
  EXPECT_EQ(history.rows.back().val_loss, score_sequences(model, counting(128).view({4, 32})).mean());
}

TEST(TrainLanguage, OneStepIsAdamWs) {
  // Adam's first step moves every value by the rate against its gradient's sign; decay acts on matrices only. Values
  // whose gradient is 0 (embeddings of absent tokens) only decay.
  LanguageModel model = tiny();
  const auto before = values(model);
  const double rate = 1e-2, decay = 0.5;
  train_language(model, counting(100), {},
                 {.steps = 1,
                  .batch = 2,
                  .length = 8,
                  .rate = rate,
                  .weight_decay = decay,
                  .schedule = {.kind = Kind::Constant, .warmup = 0}});
  for (const auto& [name, after] : values(model)) {
    const auto kept = before.at(name) * (after.dim() >= 2 ? 1 - rate * decay : 1.0);
    const auto moved = ((after - kept) / rate).abs();
    EXPECT_LT(moved.max().item<double>(), 1 + 1e-3) << name;
    EXPECT_GT(moved.median().item<double>(), 0.9) << name;
  }
}

TEST(TrainLanguage, GradientsAreThoseOfTheWholeBatch) {
  // Three shards of uneven size against one product over all sequences.
  const LanguageTraining options{.steps = 1, .batch = 65, .length = 48, .rate = 1e-3, .clip = 0, .seed = 3};
  LanguageModel sharded = tiny();
  const auto sequences = torch::arange(7 * 49).view({7, 49}) * 3 % 16;
  const LanguageHistory history = train_language(sharded, sequences, {}, options);
  const auto norm_of = [&](const torch::Tensor& rows) {
    LanguageModel model = tiny();
    torch::cross_entropy_loss(model->forward(rows.slice(1, 0, 48)).flatten(0, 1), rows.slice(1, 1).flatten())
        .backward();
    double sum = 0;
    for (const auto& p : model->parameters()) sum += p.grad().square().sum().item<double>();
    return std::sqrt(sum);
  };
  // All rows are shifts by 49 * 3 = 147 = 3 mod 16 of each other; their gradients differ little, the mean is between.
  double least = 1e9, most = 0;
  for (int64_t i = 0; i < 7; ++i) {
    const double norm = norm_of(sequences.narrow(0, i, 1));
    least = std::min(least, norm);
    most = std::max(most, norm);
  }
  EXPECT_GT(history.rows[0].gradient, 0.5 * least);
  EXPECT_LT(history.rows[0].gradient, most);
  // With a single sequence to draw, the batch's mean gradient is that sequence's.
  LanguageModel same = tiny();
  const auto single = sequences.narrow(0, 0, 1);
  EXPECT_NEAR(train_language(same, single, {}, options).rows[0].gradient, norm_of(single), 1e-5);
}

TEST(TrainLanguage, ResultsDoNotDependOnThreads) {
  const LanguageTraining options{.steps = 6, .batch = 70, .length = 32, .seed = 5};
  const int before = threads();
  LanguageModel one = tiny(), three = tiny();
  set_threads(1);
  train_language(one, counting(1000), {}, options);
  set_threads(3);
  train_language(three, counting(1000), {}, options);
  set_threads(before);
  expect_equal(one, three);
}

/// Raises SIGINT the nth time it is passed.
class Interrupter : public TensorTransform {
 public:
  explicit Interrupter(int at) : left_(at) {}
  torch::Tensor forward(const torch::Tensor& x) override {
    if (--left_ == 0) std::raise(SIGINT);
    return x;
  }
  std::shared_ptr<TensorTransform> copy() const override { return std::make_shared<Interrupter>(*this); }

 private:
  int left_;
};

TEST(TrainLanguage, ResumesToTheSameBits) {
  const TemporaryFolder folder;
  LanguageTraining options{.steps = 40, .batch = 4, .length = 16, .report_every = 15, .out = folder / "a"};
  LanguageModel unbroken = tiny();
  const LanguageHistory whole = train_language(unbroken, counting(1000), {}, options);

  options.out = folder / "b";
  LanguageModel broken = tiny();
  broken->blocks[0]->value.hold(std::make_shared<Interrupter>(23));
  EXPECT_TRUE(train_language(broken, counting(1000), {}, options).interrupted);
  LanguageModel resumed = tiny(99);
  options.resume = true;
  const LanguageHistory rest = train_language(resumed, counting(1000), {}, options);
  EXPECT_TRUE(rest.resumed);
  expect_equal(unbroken, resumed);
  ASSERT_EQ(rest.rows.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(rest.rows[i].loss, whole.rows[i].loss);
  const std::string metrics = read_file(folder / "b/metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 3);

  options.rate = 1e-4;
  EXPECT_THROW(train_language(resumed, counting(1000), {}, options), Error);
  options.rate = 3e-3;
  EXPECT_THROW(train_language(resumed, counting(1001), {}, options), Error);
}

TEST(TrainLanguage, BadInputIsRefused) {
  const auto message_of = [](const torch::Tensor& tokens, const LanguageTraining& options) -> std::string {
    try {
      train_language(tiny(), tokens, {}, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message_of(counting(16), {.length = 16}), HasSubstr("16 tokens, fewer than a window of 17"));
  EXPECT_THAT(message_of(counting(100) + 1, {.length = 16}), HasSubstr("token 16, outside the model's vocabulary"));
  EXPECT_THAT(message_of(counting(100), {.steps = 0}), HasSubstr("at least 1"));
  EXPECT_THAT(message_of(counting(100), {.steps = 20, .batch = 2, .length = 16, .rate = 1e30, .clip = 0}),
              HasSubstr("the loss became"));
  EXPECT_THROW(language_preset("picco"), UsageError);
}

TEST(LanguagePresets, HaveTheSizesTheyAreKnownFor) {
  const auto parameters = [](const char* name) {
    int64_t sum = 0;
    LanguageModel model(language_preset(name).config(65));
    for (const auto& p : model->parameters()) sum += p.numel();
    return sum;
  };
  EXPECT_EQ(parameters("pico"), 115'136);
  EXPECT_EQ(parameters("nano"), 869'760);
}

}  // namespace
}  // namespace quanta
