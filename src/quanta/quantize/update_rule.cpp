#include "quanta/quantize/update_rule.h"

#include <cmath>

#include "quanta/core/error.h"

namespace quanta {

Updater::Updater(UpdateRule rule, std::vector<ParameterGroup> groups) : rule_(rule) {
  for (const auto& group : groups) {
    require(group.rate > 0, "a learning rate must be positive, got {}", group.rate);
    for (const auto& p : group.parameters)
      states_.push_back({p, torch::zeros_like(p), torch::zeros_like(p), group.rate});
  }
}

void Updater::zero_gradients() {
  for (auto& state : states_) state.parameter.mutable_grad().reset();
}

void Updater::step(double factor) {
  const torch::NoGradGuard no_grad;
  constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-8;
  const double t = double(++steps_);
  const double bias1 = 1 - std::pow(kBeta1, t), bias2 = 1 - std::pow(kBeta2, t);
  const auto momentum = [](double step) { return kBeta1 * (1 - 0.5 * std::pow(0.96, step * 0.004)); };
  momentum_product_ *= momentum(t);
  for (auto& [p, m, v, rate] : states_) {
    const auto& g = p.grad();
    if (!g.defined()) continue;
    const double lr = rate * factor;
    switch (rule_) {
      case UpdateRule::Sgd:
        m.mul_(0.9).add_(g);
        p.sub_(m, lr);
        continue;
      case UpdateRule::RmsProp:
        v.mul_(0.99).addcmul_(g, g, 0.01);
        p.addcdiv_(g, v.sqrt().add_(kEps), -lr);
        continue;
      case UpdateRule::Adamax:
        m.lerp_(g, 1 - kBeta1);
        torch::maximum_out(v, v.mul_(kBeta2), g.abs() + kEps);
        p.addcdiv_(m, v, -lr / bias1);
        continue;
      case UpdateRule::AdamW:
        p.mul_(1 - lr * 0.01);
        break;
      case UpdateRule::Adam:
      case UpdateRule::NAdam:
        break;
    }
    m.lerp_(g, 1 - kBeta1);
    v.mul_(kBeta2).addcmul_(g, g, 1 - kBeta2);
    const auto spread = (v / bias2).sqrt_().add_(kEps);
    if (rule_ == UpdateRule::NAdam) {
      p.addcdiv_(g, spread, -lr * (1 - momentum(t)) / (1 - momentum_product_));
      p.addcdiv_(m, spread, -lr * momentum(t + 1) / (1 - momentum_product_ * momentum(t + 1)));
    } else {
      p.addcdiv_(m, spread, -lr / bias1);
    }
  }
}

}  // namespace quanta
