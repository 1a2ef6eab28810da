#pragma once

// For tests: a network with every operation that has an integer form, all values random, moments included.

#include "quanta/nn/network.h"

namespace quanta {

/// [N, 3, 12, 12] -> [N, 7]: residual blocks with and without a shortcut of their own, depthwise and grouped
/// convolutions, a concatenation, each kind of pooling, a channel shuffle, ReLU6.
inline Network test_network(uint64_t seed) {
  torch::manual_seed(seed);
  Network net;
  const auto conv_bn = [&](const std::string& name, int x, const Conv2dOptions& options) {
    return net->batch_norm(name + "_bn", net->conv(name, x, options));
  };
  int x = net->input();
  net->block("stem");
  x = net->relu("stem.relu", conv_bn("stem.conv", x, Conv2dOptions::square(3, 8, 3)));
  net->block("residual");
  int y = net->relu("residual.relu1", conv_bn("residual.conv1", x, Conv2dOptions::square(8, 16, 3, 2)));
  y = conv_bn("residual.conv2", y, Conv2dOptions::square(16, 16, 3, 1, 16));
  const int down = conv_bn("residual.down", x, {.in = 8, .out = 16, .stride{2, 2}, .bias = true});
  x = net->relu("residual.relu2", net->add("residual.add", y, down));
  net->block("identity");
  y = net->relu6("identity.relu", conv_bn("identity.conv1", x, {.in = 16, .out = 16, .groups = 2}));
  y = net->channel_shuffle("identity.shuffle", y, 2);
  x = net->add("identity.add", x, conv_bn("identity.conv2", y, {.in = 16, .out = 16}));
  net->block("");
  const int a = net->relu("left.relu", conv_bn("left.conv", x, {.in = 16, .out = 6}));
  const int b = net->max_pool("right.pool", x, {.kernel = 3, .stride = 1, .padding = 1});
  const int c = net->avg_pool("middle.pool", x, {.kernel = 3, .stride = 1, .padding = 1});
  x = net->concat("join", {a, b, c});
  x = net->max_pool("pool", x, {.kernel = 2, .stride = 2});
  x = net->flatten("flatten", net->global_avg_pool("mean", x));
  net->linear("fc", net->dropout("drop", x, 0.2), 38, 7);
  const torch::NoGradGuard no_grad;
  for (const auto& p : net->named_parameters()) p.value().normal_(0, p.value().dim() > 1 ? 0.3 : 1);
  for (const auto& b : net->named_buffers())
    if (b.value().is_floating_point()) b.value().uniform_(0.5, 2);
  net->eval();
  return net;
}

}  // namespace quanta
