#include "quanta/train/images.h"

#include <cmath>
#include <numbers>

#include "quanta/core/error.h"

namespace quanta {

Forward with_normalization(Network net, const Normalization& normalization) {
  return
      [net, normalization](const torch::Tensor& pixels) mutable { return net->forward(normalization.apply(pixels)); };
}

History train_images(Network net, const ImageSet& train, const ImageSet& test, const Normalization& normalization,
                     const ImageTraining& training) {
  require(training.warmup >= 0 && training.warmup < 1, "the warm-up is {} of the steps, expected a share in [0, 1)",
          training.warmup);
  std::vector<torch::Tensor> decayed, others;
  for (const auto& p : net->parameters())
    if (p.requires_grad()) (p.dim() > 1 ? decayed : others).push_back(p);
  const auto options = [&](double decay) {
    return std::make_unique<torch::optim::SGDOptions>(torch::optim::SGDOptions(training.rate)
                                                          .momentum(training.momentum)
                                                          .weight_decay(decay)
                                                          .nesterov(training.nesterov));
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(decayed, options(training.weight_decay));
  if (!others.empty()) groups.emplace_back(others, options(0));
  torch::optim::SGD optimizer(groups, *options(0));

  TrainOptions run{.epochs = training.epochs,
                   .batch = training.batch,
                   .seed = training.seed,
                   .out = training.out,
                   .label = training.label,
                   .resume = training.resume};
  run.schedule = [warmup = training.warmup, before = training.before_step](int64_t step, int64_t steps) {
    if (before) before(step, steps);
    const double rise = warmup * double(steps);
    if (double(step) < rise) return double(step + 1) / (rise + 1);
    return 0.5 + 0.5 * std::cos(std::numbers::pi * (double(step) - rise) / (double(steps) - rise));
  };
  if (training.augmentation.any())
    run.augment = [augmentation = training.augmentation, seed = training.seed](
                      const torch::Tensor& images, const torch::Tensor& ids, int64_t epoch) {
      return augment(images, ids, augmentation, seed, epoch);
    };
  return train_classifier(with_normalization(net, normalization), *net, optimizer,
                          {.inputs = train.images, .targets = train.labels},
                          {.inputs = test.images, .targets = test.labels}, run);
}

Evaluation evaluate_images(Network net, const ImageSet& set, const Normalization& normalization, int batch) {
  return evaluate(with_normalization(net, normalization), *net, {.inputs = set.images, .targets = set.labels}, batch);
}

}  // namespace quanta
