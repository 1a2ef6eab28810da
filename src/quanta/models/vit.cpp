#include "quanta/models/vit.h"

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/nn/init.h"

namespace quanta {
namespace {

using torch::Tensor;

std::shared_ptr<LinearImpl> copy_linear(const LinearImpl& layer) {
  return std::dynamic_pointer_cast<LinearImpl>(layer.copy());
}

/// [batch, width, h, w] -> tokens [batch, h w, width] with a learned position added to each.
class Tokens : public TensorTransform {
 public:
  explicit Tokens(const Tensor& positions) { positions_ = register_parameter("pos_embed", positions.detach().clone()); }
  Tensor forward(const Tensor& x) override { return x.flatten(2).transpose(1, 2) + positions_; }
  std::shared_ptr<TensorTransform> copy() const override { return std::make_shared<Tokens>(positions_); }

 private:
  Tensor positions_;  // [1, tokens, width]
};

/// x + attention(norm1(x)), then x + mlp(norm2(x)).
class VitBlock : public TensorTransform {
 public:
  VitBlock(int64_t width, int64_t heads, int64_t hidden)
      : VitBlock(heads, width, std::make_shared<LinearImpl>(width, 3 * width),
                 std::make_shared<LinearImpl>(width, width), std::make_shared<LinearImpl>(width, hidden),
                 std::make_shared<LinearImpl>(hidden, width)) {}

  Tensor forward(const Tensor& input) override {
    const int64_t batch = input.size(0), tokens = input.size(1), width = input.size(2), each = width / heads_;
    const auto heads = qkv_->forward(norm1_(input)).view({batch, tokens, 3, heads_, each}).permute({2, 0, 3, 1, 4});
    const auto scores = heads[0].matmul(heads[1].transpose(-2, -1)) / std::sqrt(double(each));
    const auto mixed = scores.softmax(-1).matmul(heads[2]).transpose(1, 2).reshape({batch, tokens, width});
    const auto x = input + proj_->forward(mixed);
    return x + fc2_->forward(torch::gelu(fc1_->forward(norm2_(x))));
  }

  std::shared_ptr<TensorTransform> copy() const override {
    auto made = std::shared_ptr<VitBlock>(new VitBlock(heads_, proj_->weight.size(0), copy_linear(*qkv_),
                                                       copy_linear(*proj_), copy_linear(*fc1_), copy_linear(*fc2_)));
    copy_values(*this, *made);
    return made;
  }

 private:
  using Layer = std::shared_ptr<LinearImpl>;
  VitBlock(int64_t heads, int64_t width, Layer qkv, Layer proj, Layer fc1, Layer fc2)
      : heads_(heads),
        qkv_(std::move(qkv)),
        proj_(std::move(proj)),
        fc1_(std::move(fc1)),
        fc2_(std::move(fc2)),
        norm1_(torch::nn::LayerNormOptions({width}).eps(1e-6)),
        norm2_(torch::nn::LayerNormOptions({width}).eps(1e-6)) {
    register_module("norm1", norm1_);
    const auto attention = register_module("attn", std::make_shared<torch::nn::Module>("attn"));
    attention->register_module("qkv", qkv_);
    attention->register_module("proj", proj_);
    register_module("norm2", norm2_);
    const auto mlp = register_module("mlp", std::make_shared<torch::nn::Module>("mlp"));
    mlp->register_module("fc1", fc1_);
    mlp->register_module("fc2", fc2_);
  }

  int64_t heads_;
  Layer qkv_, proj_, fc1_, fc2_;
  torch::nn::LayerNorm norm1_, norm2_;
};

/// The normalized mean of the tokens: [batch, tokens, width] -> [batch, width].
class TokenMean : public TensorTransform {
 public:
  explicit TokenMean(int64_t width) : norm_(torch::nn::LayerNormOptions({width}).eps(1e-6)) {
    register_module("norm", norm_);
  }
  Tensor forward(const Tensor& x) override { return norm_(x).mean(1); }
  std::shared_ptr<TensorTransform> copy() const override {
    auto made = std::make_shared<TokenMean>(norm_->weight.size(0));
    copy_values(*this, *made);
    return made;
  }

 private:
  torch::nn::LayerNorm norm_;
};

}  // namespace

Network vit(const VitOptions& o) {
  require(o.patch > 0 && o.input >= o.patch && o.input % o.patch == 0,
          "patches of {} pixels do not divide an image of {}", o.patch, o.input);
  require(o.heads > 0 && o.width > 0 && o.width % o.heads == 0, "{} heads do not divide a width of {}", o.heads,
          o.width);
  require(o.depth > 0 && o.mlp > 0 && o.classes > 0 && o.channels > 0,
          "a vision transformer needs blocks, hidden features, classes and channels, got {}, {}, {}, {}", o.depth,
          o.mlp, o.classes, o.channels);
  const int64_t side = o.input / o.patch;
  Random random = Random(o.seed).split("pos_embed");
  auto positions = torch::empty({1, side * side, o.width});
  for (int64_t i = 0; i < positions.numel(); ++i) positions.data_ptr<float>()[i] = float(0.02 * random.normal());

  Network net;
  int x =
      net->conv("patch_embed", net->input(),
                {.in = o.channels, .out = o.width, .kernel{o.patch, o.patch}, .stride{o.patch, o.patch}, .bias = true});
  x = net->module("tokens", x, std::make_shared<Tokens>(positions));
  for (int64_t i = 0; i < o.depth; ++i)
    x = net->module(fmt::format("blocks.{}", i), x, std::make_shared<VitBlock>(o.width, o.heads, o.mlp * o.width));
  x = net->module("norm", x, std::make_shared<TokenMean>(o.width));
  net->linear("head", x, o.width, o.classes);
  initialize(*net, Random(o.seed));
  return net;
}

}  // namespace quanta
