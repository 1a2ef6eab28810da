#include "quanta/quantize/qat.h"

#include <gmock/gmock.h>

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/quantize/fake_quantize.h"
#include "quanta/quantize/placement.h"
#include "quanta/quantize/ptq.h"
#include "quanta/quantize/test_network.h"
#include "quanta/train/trainer.h"

namespace quanta {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Place = QuantizableLayer::Place;

/// A few steps of training on random classes.
void train(Network& net, const QatOptions& o, int64_t steps = 6) {
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.02).momentum(0.9));
  net->train();
  for (int64_t step = 0; step < steps; ++step) {
    qat_step(net, o, step, steps);
    optimizer.zero_grad();
    const auto x = torch::randn({16, 3, 12, 12});
    torch::nn::functional::cross_entropy(net->forward(x), torch::randint(0, 7, {16})).backward();
    optimizer.step();
  }
}

struct Case {
  const char* name;
  QatOptions options;
};

class Deployed : public testing::TestWithParam<Case> {};

TEST_P(Deployed, EqualsTheTrainedNetworkBitForBit) {
  const QatOptions& o = GetParam().options;
  Network net = prepare_qat(test_network(1), o);
  train(net, o);
  net->eval();
  const torch::NoGradGuard no_grad;
  const auto x = torch::randn({8, 3, 12, 12});
  Network made = finish_qat(net);
  EXPECT_TRUE(torch::equal(net->forward(x), made->forward(x)));
  EXPECT_FALSE(made->is_training());
  // The form that ptq() gives: no batch normalization, frozen quantizers in the same slots.
  const Network reference = ptq(test_network(1), {x});
  ASSERT_EQ(made->nodes().size(), reference->nodes().size());
  for (size_t i = 0; i < made->nodes().size(); ++i) {
    const Node &a = made->nodes()[i], &b = reference->nodes()[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(bool(a.output), bool(b.output)) << a.name;
    if (a.output) {
      const auto fake = a.output.as<FakeQuantize>();
      ASSERT_TRUE(fake);
      EXPECT_TRUE(fake->quantizing() && !fake->observing() && !fake->quantizer().options().learned);
    }
    if (a.layer) {
      EXPECT_EQ(typeid(*a.layer), typeid(*b.layer));
    }
  }
  EXPECT_TRUE(made->parameters().size() == reference->parameters().size());
}

INSTANTIATE_TEST_SUITE_P(Options, Deployed,
                         testing::Values(Case{"default", {}}, Case{"corrected", {.fold = BatchNormFold::Corrected}},
                                         Case{"naive", {.fold = BatchNormFold::Naive, .freeze_bn = 1}},
                                         Case{"delayed", {.decay = 0.9, .quant_delay = 3}},
                                         Case{"affine", {.weight{.bits = 4, .axis = 0}, .activation{.bits = 6}}},
                                         Case{"learned",
                                              {.weight{.bits = 3, .symmetric = true, .axis = 0, .learned = true},
                                               .activation{.bits = 4, .learned = true}}}),
                         [](const auto& info) { return info.param.name; });

TEST(Qat, LearnedStepsLearn) {
  const QatOptions o{.weight{.bits = 3, .symmetric = true, .axis = 0, .learned = true},
                     .activation{.bits = 4, .symmetric = true, .is_signed = false, .learned = true}};
  Network net = prepare_qat(test_network(2), o);
  {
    const torch::NoGradGuard no_grad;
    net->forward(torch::randn({16, 3, 12, 12}));
  }
  std::vector<torch::Tensor> before;
  for (const auto& p : net->named_parameters())
    if (p.key().ends_with("scale")) before.push_back(p.value().detach().clone());
  EXPECT_GE(before.size(), 18u);
  train(net, o, 3);
  size_t i = 0;
  for (const auto& p : net->named_parameters())
    if (p.key().ends_with("scale")) {
      EXPECT_FALSE(torch::equal(p.value(), before[i++])) << p.key();
    }
}

TEST(Qat, TheScheduleFollowsTheSteps) {
  const QatOptions o{.quant_delay = 2, .freeze_bn = 0.5};
  Network net = prepare_qat(test_network(3), o);
  const auto schedule = qat_schedule(net, o, [](int64_t step, int64_t) { return double(step); });
  const auto& stem = *net->nodes()[size_t(net->find("stem.conv"))].layer;
  const auto quantizing = [&] { return stem.slot(Place::Weight).as<FakeQuantize>()->quantizing(); };
  const auto frozen = [&] { return dynamic_cast<const ConvBn2dImpl&>(stem).frozen(); };
  for (int64_t step = 0; step < 10; ++step) {
    EXPECT_EQ(schedule(step, 10), double(step));
    EXPECT_EQ(quantizing(), step >= 2);
    EXPECT_EQ(frozen(), step >= 5);
  }
}

// Before the delay is over, training is that of the float network.
TEST(Qat, DelayedIsFloat) {
  const QatOptions o{.quant_delay = 100, .freeze_bn = 1};
  Network plain = test_network(4), net = prepare_qat(plain, o);
  plain->train();
  qat_step(net, o, 0, 200);
  const auto x = torch::randn({8, 3, 12, 12});
  torch::manual_seed(5);
  const auto a = plain->forward(x);
  torch::manual_seed(5);
  const auto b = net->forward(x);
  EXPECT_LT((a - b).abs().max().item<double>(), 1e-4 * a.abs().max().item<double>());
}

TEST(Qat, Refuses) {
  EXPECT_THAT([] { finish_qat(prepare_qat(test_network(7))); },
              ThrowsMessage<Error>(testing::AllOf(HasSubstr("'input'"), HasSubstr("has seen no data"))));
  EXPECT_THAT([] { prepare_qat(prepare_qat(test_network(7))); },
              ThrowsMessage<Error>(HasSubstr("weight slot already")));
  EXPECT_THAT([] { prepare_qat(test_network(7), {.freeze_bn = 2}); },
              ThrowsMessage<Error>(HasSubstr("share in [0, 1]")));
}

}  // namespace
}  // namespace quanta
