#include "quanta/train/checkpoint.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/safetensors.h"

namespace quanta {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
namespace nn = torch::nn;

class CheckpointTest : public ::testing::Test {
 protected:
  CheckpointTest() {
    std::filesystem::create_directories(folder_);
    torch::manual_seed(1);
  }
  ~CheckpointTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file(const std::string& name) const { return folder_ / name; }

 private:
  std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) /
      (std::string("quanta_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
};

nn::Sequential make_net(int64_t hidden = 3) {
  return nn::Sequential(nn::Linear(2, hidden), nn::BatchNorm1d(hidden), nn::Linear(hidden, 2));
}

void step(nn::Sequential& net, torch::optim::Optimizer& optimizer) {
  optimizer.zero_grad();
  net->forward(torch::randn({5, 2})).pow(2).sum().backward();
  optimizer.step();
}

void expect_same(const nn::Module& a, const nn::Module& b) {
  const auto compare = [](const auto& left, const auto& right) {
    ASSERT_EQ(left.size(), right.size());
    for (const auto& item : left) EXPECT_TRUE(torch::equal(item.value(), right[item.key()])) << item.key();
  };
  compare(a.named_parameters(), b.named_parameters());
  compare(a.named_buffers(), b.named_buffers());
}

template <class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST_F(CheckpointTest, ModuleComesBackWithItsBuffersAndMetadata) {
  nn::Sequential net = make_net(), other = make_net();
  torch::optim::SGD sgd(net->parameters(), 0.1);
  step(net, sgd);
  save_module(*net, file("m.safetensors"), {{"seed", "7"}});
  EXPECT_EQ(load_module(*other, file("m.safetensors")).at("seed"), "7");
  expect_same(*net, *other);
  EXPECT_EQ(Safetensors::open(file("m.safetensors")).at("1.num_batches_tracked").type, DataType::kI64);
}

TEST_F(CheckpointTest, EveryTypeComesBack) {
  struct Types : nn::Module {
    Types() {
      int64_t i = 0;
      for (auto type : {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kInt64,
                        torch::kInt32, torch::kInt16, torch::kInt8, torch::kUInt8, torch::kBool})
        register_buffer(fmt::format("b{}", i++), torch::randint(0, 100, {2, 3}).to(type).t());  // not contiguous
      register_buffer("empty", torch::empty({0, 4}));
      register_buffer("scalar", torch::tensor(1.5));
    }
  };
  auto a = std::make_shared<Types>(), b = std::make_shared<Types>();
  save_module(*a, file("t.safetensors"));
  load_module(*b, file("t.safetensors"));
  expect_same(*a, *b);
}

TEST_F(CheckpointTest, OneMessageListsEveryDifferenceAndNothingChanges) {
  nn::Sequential saved(nn::Linear(2, 3), nn::BatchNorm1d(3), nn::Linear(3, 4));
  save_module(*saved, file("m.safetensors"));
  nn::Sequential net(nn::Linear(2, 3), nn::Linear(5, 4), nn::Linear(nn::LinearOptions(3, 4).bias(false)),
                     nn::Linear(1, 1));
  net[0]->to(torch::kFloat64);
  const torch::Tensor before = net[2]->parameters()[0].clone();
  EXPECT_THAT(
      message_of([&] { load_module(*net, file("m.safetensors")); }),
      AllOf(HasSubstr("0.weight is F32 [3, 2], expected F64 [3, 2]"), HasSubstr("0.bias is F32 [3], expected F64 [3]"),
            HasSubstr("1.weight is F32 [3], expected F32 [4, 5]"), HasSubstr("1.running_mean is not expected"),
            HasSubstr("2.bias is not expected"), HasSubstr("3.weight is missing"), HasSubstr("3.bias is missing")));
  EXPECT_TRUE(torch::equal(net[2]->parameters()[0], before));
}

TEST_F(CheckpointTest, TruncatedFilesAreRefused) {
  nn::Sequential net = make_net();
  torch::optim::Adam adam(net->parameters());
  step(net, adam);
  save_checkpoint(file("c"), *net, adam, {.state = {{"epoch", 3}}});
  const std::string bytes = read_file(file("c"));
  const nn::Sequential copy = make_net();
  for (const size_t length : {size_t{0}, size_t{5}, size_t{8}, size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    write_file(file("cut"), bytes.substr(0, length));
    EXPECT_THROW(load_checkpoint(file("cut"), *net, adam), Error) << length;
    EXPECT_THROW(load_module(*net, file("cut")), Error) << length;
  }
  EXPECT_THROW(load_checkpoint(file("absent"), *net, adam), Error);
}

template <class Optimizer>
std::unique_ptr<torch::optim::Optimizer> make(nn::Sequential& net, int variant) {
  using namespace torch::optim;
  if constexpr (std::is_same_v<Optimizer, SGD>)
    return std::make_unique<SGD>(net->parameters(), SGDOptions(0.1).momentum(variant ? 0.9 : 0));
  else if constexpr (std::is_same_v<Optimizer, RMSprop>)
    return std::make_unique<RMSprop>(net->parameters(),
                                     RMSpropOptions(0.01).momentum(variant ? 0.5 : 0).centered(variant));
  else if constexpr (std::is_same_v<Optimizer, Adam>)
    return std::make_unique<Adam>(net->parameters(), AdamOptions(0.01).amsgrad(variant));
  else
    return std::make_unique<AdamW>(net->parameters(), AdamWOptions(0.01).amsgrad(variant));
}

template <class Optimizer>
class OptimizerTest : public CheckpointTest {};
using Optimizers = ::testing::Types<torch::optim::Adam, torch::optim::AdamW, torch::optim::SGD, torch::optim::RMSprop>;
TYPED_TEST_SUITE(OptimizerTest, Optimizers);

TYPED_TEST(OptimizerTest, GoesOnAsIfItHadNeverStopped) {
  for (int variant : {0, 1}) {
    nn::Sequential net = make_net();
    auto optimizer = make<TypeParam>(net, variant);
    for (int i = 0; i < 3; ++i) step(net, *optimizer);
    optimizer->param_groups()[0].options().set_lr(0.02);
    save_checkpoint(this->file("c"), *net, *optimizer,
                    {.state = {{"epoch", 3}, {"name", "a\"b"}}, .tensors = {{"best.w", torch::arange(4)}}});

    nn::Sequential other = make_net();
    auto other_optimizer = make<TypeParam>(other, variant);
    step(other, *other_optimizer);  // its own state must give way
    const TrainingState checkpoint = load_checkpoint(this->file("c"), *other, *other_optimizer);
    EXPECT_EQ(checkpoint.state, (nlohmann::json{{"epoch", 3}, {"name", "a\"b"}}));
    EXPECT_EQ(read_checkpoint_state(this->file("c")), checkpoint.state);
    EXPECT_TRUE(torch::equal(checkpoint.tensors.at("best.w"), torch::arange(4)));
    EXPECT_EQ(other_optimizer->param_groups()[0].options().get_lr(), 0.02);
    expect_same(*net, *other);
    for (int i = 0; i < 3; ++i) {
      torch::manual_seed(i);
      step(net, *optimizer);
      torch::manual_seed(i);
      step(other, *other_optimizer);
      expect_same(*net, *other);
    }
  }
}

TEST_F(CheckpointTest, ParametersWithoutAGradientHaveNoState) {
  nn::Sequential net = make_net();
  torch::optim::Adam adam(net->parameters());
  save_checkpoint(file("c"), *net, adam, {});
  step(net, adam);
  load_checkpoint(file("c"), *net, adam);
  EXPECT_TRUE(adam.state().empty());
}

TEST_F(CheckpointTest, RefusesAnotherOptimizerModelOrFile) {
  nn::Sequential net = make_net();
  torch::optim::Adam adam(net->parameters());
  step(net, adam);
  save_checkpoint(file("c"), *net, adam, {.state = {{"epoch", 1}}});

  torch::optim::SGD sgd(net->parameters(), 0.1);
  EXPECT_THAT(message_of([&] { load_checkpoint(file("c"), *net, sgd); }), HasSubstr("optimizer Adam, not SGD"));

  nn::Sequential wide = make_net(4);
  torch::optim::Adam wide_adam(wide->parameters());
  EXPECT_THAT(message_of([&] { load_checkpoint(file("c"), *wide, wide_adam); }),
              AllOf(HasSubstr("0.weight is F32 [3, 2], expected F32 [4, 2]"),
                    HasSubstr("the optimizer's 0.weight.exp_avg is"), Not(HasSubstr("2.bias"))));

  torch::optim::Adam two_groups({net[0]->parameters(), net[2]->parameters()}, torch::optim::AdamOptions());
  EXPECT_THAT(message_of([&] { load_checkpoint(file("c"), *net, two_groups); }),
              HasSubstr("1 parameter groups, the optimizer has 2"));

  save_module(*net, file("m"));
  EXPECT_THAT(message_of([&] { load_checkpoint(file("m"), *net, adam); }), HasSubstr("not a training's checkpoint"));
  save_module(*net, file("m"), {{"state", "{}"}, {"optimizer", "{\"kind\":\"Adam\"}"}});
  EXPECT_THAT(message_of([&] { load_checkpoint(file("m"), *net, adam); }), HasSubstr("is damaged"));
  save_module(*net, file("m"), {{"state", "[oops"}});
  EXPECT_THAT(message_of([&] { read_checkpoint_state(file("m")); }), HasSubstr("is damaged"));

  nn::Linear foreign(2, 7);
  torch::optim::Adam stray(foreign->parameters());
  EXPECT_THAT(message_of([&] { save_checkpoint(file("d"), *net, stray, {}); }), HasSubstr("not the module's"));
  torch::optim::LBFGS lbfgs(net->parameters());
  EXPECT_THAT(message_of([&] { save_checkpoint(file("d"), *net, lbfgs, {}); }),
              HasSubstr("Adam, AdamW, SGD and RMSprop"));
  EXPECT_THROW(save_checkpoint("/nonexistent/c", *net, adam, {}), Error);
}

}  // namespace
}  // namespace quanta
