#include "quanta/quantize/complete.h"

#include <gtest/gtest.h>

#include "quanta/models/mini_nets.h"
#include "quanta/quantize/gradient_ptq.h"
#include "quanta/quantize/to_integer.h"
#include "quanta/quantize/zero_shot.h"

namespace quanta {
namespace {

double change(const torch::Tensor& a, const torch::Tensor& b) {
  return ((a - b).norm() / a.norm()).item<double>();
}

// Learned rounding quantizes what layers take in, ZeroQ what rectifiers put out; both become integer networks.
TEST(CompleteActivations, MakesIntegersPossible) {
  Network net = mini_resnet({8, 12}, {.seed = 1});
  net->eval();
  torch::manual_seed(2);
  const auto x = torch::randn({16, 3, 12, 12});
  GradientPtqOptions options = gradient_preset(PtqPreset::Nearest);
  options.bits = 8;
  options.activation_bits = 8;
  ZeroShotOptions zero{.weight_bits = {8}, .fold = true};
  zero.distill.iterations = 5;
  for (Network quantized :
       {gradient_ptq(net, {.inputs = x}, options).net, quantize_zero_shot(net, {3, 12, 12}, zero).network}) {
    const auto before = quantized->forward(x);
    const auto step = quantized->nodes()[size_t(quantized->find("stem.relu"))].output.get();
    complete_activations(quantized, {x});
    EXPECT_EQ(quantized->nodes()[size_t(quantized->find("stem.relu"))].output.get(), step);
    EXPECT_LT(change(before, quantized->forward(x)), 0.05);
    const auto got = to_integer(quantized, {3, 12, 12}).run({x.data_ptr<float>(), size_t(x.numel())}, 16);
    EXPECT_LT(change(quantized->forward(x), torch::tensor(got).view({16, 10})), 0.05);
  }
}

}  // namespace
}  // namespace quanta
