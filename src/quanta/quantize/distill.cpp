#include "quanta/quantize/distill.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using torch::Tensor;

constexpr double kEps = 1e-6;

/// The mean over images of sum over channels of the squared distances.
Tensor distance(const Tensor& x, const Tensor& mean, const Tensor& deviation) {
  Tensor y = x.flatten(2);                       // [B, C, pixels]
  if (y.size(2) == 1) y = y.permute({2, 1, 0});  // [1, C, B]: over the batch
  require(y.size(2) > 1, "a feature map of one pixel needs a batch of two images or more");
  const Tensor s = (y.var(2, /*unbiased=*/true) + kEps).sqrt();
  return ((y.mean(2) - mean).square() + (s - deviation).square()).sum(1).mean();
}

/// Lowers the rate to a tenth after `patience` steps without a better loss (ReduceLROnPlateau).
class Plateau {
 public:
  Plateau(torch::optim::Adam& adam, const DistillOptions& options) : adam_(adam), options_(options) {}
  void step(double loss) {
    if (loss < best_ * (1 - 1e-4)) {
      best_ = loss;
      bad_ = 0;
    } else if (++bad_ > options_.patience) {
      auto& adam = static_cast<torch::optim::AdamOptions&>(adam_.param_groups()[0].options());
      adam.lr(std::max(adam.lr() / 10, options_.min_lr));
      bad_ = 0;
    }
  }

 private:
  torch::optim::Adam& adam_;
  const DistillOptions& options_;
  double best_ = std::numeric_limits<double>::infinity();
  int bad_ = 0;
};

}  // namespace

std::vector<BnStatistics> collect_bn_stats(const Network& network) {
  std::vector<BnStatistics> found;
  for (const Node& node : network->nodes()) {
    if (node.op != Op::BatchNorm) continue;
    const auto& bn = *node.batch_norm;
    require(bn.running_mean.defined() && bn.running_var.defined(), "batch normalization '{}' stores no statistics",
            node.name);
    BnStatistics one{node.name, bn.running_mean.detach().clone(), (bn.running_var.detach() + kEps).sqrt()};
    require(one.mean.isfinite().all().item<bool>() && one.deviation.isfinite().all().item<bool>(),
            "the statistics of batch normalization '{}' are not finite", node.name);
    found.push_back(std::move(one));
  }
  require(!found.empty(), "the network has no batch-norm statistics to match (were they folded into the layers?)");
  return found;
}

Tensor bn_matching_loss(Network network, const std::vector<BnStatistics>& statistics, const Tensor& x,
                        Tensor* input_term) {
  require(!network->is_training(), "matching statistics needs the network in evaluation mode");
  Tensor loss = distance(x, torch::zeros({x.size(1)}, x.options()), torch::ones({x.size(1)}, x.options()));
  if (input_term) *input_term = loss;
  size_t next = 0;
  network->run(x, [&](const Node& node, const std::vector<Tensor>& inputs, const Tensor&) {
    if (node.op != Op::BatchNorm) return;
    const BnStatistics& wanted = statistics.at(next++);
    loss = loss + distance(inputs[0], wanted.mean, wanted.deviation);
  });
  return loss;
}

Tensor distill_init(torch::IntArrayRef shape, const DistillOptions& options, int64_t index) {
  std::vector<int64_t> sizes{options.batch};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  Tensor x = torch::empty(sizes);
  Random random = Random(options.seed).split("distill").split(uint64_t(index));
  for (float& value : std::span(x.data_ptr<float>(), size_t(x.numel())))
    value = options.init == DistillOptions::Init::Gaussian ? float(random.normal())
                                                           : float((double(random.below(255)) - 127.5) / 5418.75);
  return x;
}

Tensor distill_data(Network network, torch::IntArrayRef shape, const DistillOptions& options,
                    std::vector<double>* history) {
  require(!network->is_training(), "distilling needs a trained network in evaluation mode");
  require(shape.size() == 3 && std::ranges::all_of(shape, [](int64_t n) { return n > 0; }),
          "the shape of distilled images must be [channels, height, width], got [{}]", fmt::join(shape, ", "));
  require(options.batch >= 1 && options.batches >= 1 && options.iterations >= 0 && options.lr > 0,
          "distilling: batch {}, batches {}, iterations {} and rate {} must be positive", options.batch,
          options.batches, options.iterations, options.lr);
  const auto statistics = collect_bn_stats(network);
  Network teacher(network->copy());
  for (Tensor& parameter : teacher->parameters()) parameter.set_requires_grad(false);
  try {
    torch::NoGradGuard no_grad;
    bn_matching_loss(teacher, statistics, distill_init(shape, options));
  } catch (const c10::Error& error) {
    fail("the network cannot take images of shape [{}]: {}", fmt::join(shape, ", "), error.what_without_backtrace());
  }

  const bool recon = options.mode == DistillOptions::Mode::Recon;
  const double enough = recon ? 5 * double(statistics.size() + 1) : -1;
  std::vector<Tensor> made;
  for (int64_t b = 0; b < options.batches; ++b) {
    Tensor x = distill_init(shape, options, b).requires_grad_();
    torch::optim::Adam adam({x}, torch::optim::AdamOptions(recon ? 0.1 : options.lr));
    Plateau plateau(adam, options);
    for (int i = 0;; ++i) {
      const bool last = i == options.iterations;
      torch::AutoGradMode graph(!last);
      const Tensor loss = bn_matching_loss(teacher, statistics, x);
      const double value = loss.item<double>();
      require(std::isfinite(value), "distilling: the distance of the statistics is {} after {} steps", value, i);
      if (history && b == 0) history->push_back(value);
      if (last || value <= enough) break;
      x.mutable_grad() = torch::autograd::grad({loss}, {x})[0];
      adam.step();
      plateau.step(value);
    }
    made.push_back(x.detach());
  }
  return torch::cat(made);
}

}  // namespace quanta
