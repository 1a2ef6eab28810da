#include "quanta/quantize/qllm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/models/outliers.h"
#include "quanta/nn/state.h"
#include "quanta/quantize/blockwise.h"
#include "quanta/quantize/test_language_model.h"

namespace quanta {
namespace {

using quanta::testing::TemporaryFolder;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;
using torch::Tensor;
using Place = QuantizableLayer::Place;

LanguageModel planted() {
  LanguageModel model = test_language_model(test_config(Family::Llama));
  inject_outliers(model, parse_outliers("norms=2x20,mlp=2x20"));
  return model;
}

QllmOptions options() {
  return {.attention = false,
          .reassembly = {.ratio = 0.2, .sample = 8},
          .correction = {.form = TrainForm::Inside},
          .training = {.epochs = 4, .batch = 4, .rate = 2e-3},
          .blocks = 1};
}

struct Quantized {
  Quantized(const LanguageModel& model, const QllmOptions& options, int64_t sequences = 24)
      : method(options),
        result(
            quantize_in_memory(model, test_tokens(sequences), method, {.work = folder.path(), .allow_ruined = true})) {}
  TemporaryFolder folder;
  QllmMethod method;
  BlockwiseResult result;
};

double squared_error(const LanguageModel& model, LanguageModel exact) {
  const torch::NoGradGuard no_grad;
  const Tensor tokens = test_tokens(16, 24, 77);
  LanguageModel quantized = model;
  return torch::mse_loss(quantized->hidden(tokens), exact->hidden(tokens)).item<double>();
}

// Without reassembly and correction: every linear layer as the formulas have it.
TEST(Qllm, PlainRoundingIsTheFormula) {
  const LanguageModel model = test_language_model(test_config(Family::Llama, 1));
  const DynamicAffineOptions grid{.bits = 4};
  QllmOptions plain{.reassembly = {.channels = Channels::Keep}, .training = {.epochs = 0}, .blocks = 1};
  Quantized run(model, plain);
  const DecoderBlock& exact = model->blocks[0];
  DecoderBlock& block = run.result.model->blocks[0];
  const torch::NoGradGuard no_grad;
  for (const auto& stage : block->stages())
    for (const auto& path : stage) {
      const Linear layer = block->linear(path);
      const Tensor w = dynamic_affine(exact->linear(path)->weight, grid);
      EXPECT_TRUE(torch::equal(layer->weight, w)) << path;
      const Tensor x = torch::randn({3, w.size(1)});
      EXPECT_TRUE(torch::allclose(block->layer(path)->forward(x), dynamic_affine(x, grid).matmul(w.t()), 1e-5, 1e-5));
    }
  for (const Slot& slot : {block->query, block->key, block->value})
    EXPECT_EQ(spec_of(slot), DynamicAffine(grid).spec());
  EXPECT_THAT(run.method.corrections(), SizeIs(0));
  for (const auto& layer : run.result.ledger.blocks[0].layers) EXPECT_NEAR(layer.error, layer.rounded_error, 1e-6);
}

TEST(Qllm, ReassemblyAndCorrectionEachHelp) {
  const LanguageModel model = planted();
  QllmOptions rounding = options(), reassembly = options(), correction = options();
  rounding.training.epochs = reassembly.training.epochs = 0;
  rounding.reassembly.channels = correction.reassembly.channels = Channels::Keep;
  const Quantized nearest(model, rounding), merged(model, reassembly), trained(model, correction),
      both(model, options());
  const auto error = [&](const Quantized& run) { return squared_error(run.result.model, model); };
  EXPECT_LT(error(merged), 0.7 * error(nearest));
  EXPECT_LT(error(trained), error(nearest));
  EXPECT_LT(error(both), error(merged));

  ASSERT_THAT(both.method.insertion_points(), SizeIs(9));
  EXPECT_EQ(both.method.insertion_points()[1].layer, "mlp.gate_proj");
  for (const InsertionPoint& point : both.method.insertion_points()) {
    EXPECT_LE(point.loss, point.baseline_loss);
    EXPECT_LE(point.added, int64_t(0.2 * double(point.channels)));
    EXPECT_LE(point.theta, point.largest);
  }
  ASSERT_THAT(both.method.corrections(), SizeIs(3));
  for (const Correction& c : both.method.corrections()) {
    EXPECT_LT(c.unmerged, c.before);
    EXPECT_NEAR(c.merged, c.unmerged, 1e-5 * c.unmerged);  // trained inside the rounding: nothing is lost
  }
}

// What is deployed: weights of 16 levels, no side branch, no new parameters.
TEST(Qllm, DeploysPlainWeights) {
  const LanguageModel model = planted();
  Quantized run(model, options());
  const auto before = state_of(*model), after = state_of(*run.result.model);
  for (size_t b = 0; b < 3; ++b) {
    DecoderBlock& block = run.result.model->blocks[b];
    for (const auto& stage : block->stages())
      for (const auto& path : stage) {
        const auto layer = block->layer(path);
        EXPECT_EQ(layer->weight.sizes(), model->blocks[b]->layer(path)->weight.sizes());
        for (const Tensor& row : layer->weight.unbind(0)) EXPECT_LE(std::get<0>(at::_unique(row)).numel(), 16);
        EXPECT_FALSE(layer->slot(Place::Weight));
        EXPECT_EQ(layer->parameters().size(), 1u);
        const auto spec = spec_of(layer->slot(Place::Input));
        EXPECT_EQ(make_transform(spec)->spec(), spec);
      }
    EXPECT_FALSE(torch::equal(block->attention_norm->weight, model->blocks[b]->attention_norm->weight));
  }
  EXPECT_FALSE(torch::equal(run.result.model->norm->weight, model->norm->weight));
}

TEST(Qllm, OutsideLosesSomethingInMerging) {
  const LanguageModel model = planted();
  QllmOptions outside = options();
  outside.correction.form = TrainForm::Outside;
  const Quantized run(model, outside);
  double unmerged = 0, merged = 0, before = 0;
  for (const Correction& c : run.method.corrections()) {
    unmerged += c.unmerged;
    merged += c.merged;
    before += c.before;
  }
  EXPECT_GT(merged, unmerged);
  EXPECT_LT(merged, before);
  outside.merge = false;
  const Quantized branch(model, outside);
  EXPECT_NEAR(branch.method.corrections()[0].merged, branch.method.corrections()[0].unmerged, 1e-9);
}

TEST(Qllm, WideningIsReassemblyWithoutMerging) {
  const LanguageModel model = planted();
  QllmOptions wide = options();
  wide.reassembly.channels = Channels::Widen;
  wide.training.epochs = 0;
  Quantized run(model, wide);
  const auto weight = run.result.model->blocks[0]->layer("self_attn.q_proj")->weight;
  EXPECT_EQ(weight.size(1), 32 + run.method.insertion_points()[0].added);
  EXPECT_GT(weight.size(1), 32);
  wide.reassembly.channels = Channels::Prune;
  wide.reassembly.threshold = 0.6;
  Quantized pruned(model, wide);
  EXPECT_EQ(pruned.result.model->blocks[0]->layer("self_attn.q_proj")->weight.size(1), 32);
  EXPECT_NEAR(pruned.method.insertion_points()[0].theta, 0.6 * pruned.method.insertion_points()[0].largest, 1e-6);
}

TEST(Qllm, GroupsOfBlocksAndTheLastNormsBias) {
  const LanguageModel model = planted();
  QllmOptions grouped = options();
  grouped.blocks = 2;
  grouped.last_norm_bias = true;
  Quantized run(model, grouped);
  ASSERT_THAT(run.method.corrections(), SizeIs(2));
  EXPECT_EQ(run.method.corrections()[1].block, 2);
  const auto spec = spec_of(run.result.model->output->slot(Place::Input));
  EXPECT_EQ(spec.at("kind"), "shift");
  EXPECT_GT(state_of(*run.result.model->output->slot(Place::Input).get()).at("bias").abs().max().item<double>(), 0);
}

TEST(Qllm, DoesNotDependOnTheNumberOfThreads) {
  const LanguageModel model = test_language_model(test_config(Family::Llama, 1));
  std::vector<Tensor> logits;
  const int before = threads();
  QllmOptions large_batches = options();  // of which several threads have a part each
  large_batches.training = {.epochs = 2, .batch = 100, .rate = 1e-3};
  for (const int count : {1, 2}) {
    set_threads(count);
    Quantized run(model, large_batches, 100);
    const torch::NoGradGuard no_grad;
    logits.push_back(run.result.model(test_tokens(2)));
  }
  set_threads(before);
  EXPECT_TRUE(torch::equal(logits[0], logits[1]));
}

TEST(Qllm, WorksOnTheOtherFamilies) {
  for (const Family family : {Family::Gpt2, Family::Opt}) {
    const LanguageModel model = test_language_model(test_config(family, 2));
    QllmOptions fine = options();
    fine.bits = {.weights = {.bits = 8}, .activations = {.bits = 8}};
    fine.attention = true;
    Quantized run(model, fine);
    EXPECT_LT(run.result.ledger.blocks.back().error, 1e-3);
  }
}

TEST(Qllm, Errors) {
  const auto error = [](QllmOptions o, const std::string& text) {
    EXPECT_THAT([&] { QllmMethod(o).check(test_config(Family::Gpt2)); }, ThrowsMessage<Error>(HasSubstr(text)));
  };
  error({.bits = {.weights = {.bits = 1}}}, "weights of 1 bits");
  error({.bits = {.activations = {.bits = 17}}}, "activations of 17 bits");
  error({.reassembly = {.ratio = 0.6}}, "a channel ratio of 0.6");
  error({.reassembly = {.threshold = 1.5}}, "a threshold of 1.5");
  error({.reassembly = {.sample = 0}}, "0 sample sequences");
  error({.correction = {.rank = 0}}, "rank 0");
  error({.correction = {.rank = 33}}, "rank 33 for attn.c_attn");
  error({.training = {.epochs = -1}}, "-1 epochs");
  error({.last_norm_bias = true}, "cannot have a bias");
}

}  // namespace
}  // namespace quanta
