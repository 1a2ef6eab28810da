#include "quanta/quantize/token_importance.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using torch::Tensor;

constexpr std::array kStrategies{"attncon", "actnorm", "actdiff", "tokensim", "tokenfreq", "cluster", "dot", "uniform"};
constexpr std::string_view kChunks = "chunks:";

std::vector<int64_t> parse_chunks(const std::string& strategy) {
  std::vector<int64_t> numbers;
  const char *begin = strategy.data() + kChunks.size(), *const end = strategy.data() + strategy.size();
  while (true) {
    int64_t number = 0;
    const auto [stop, error] = std::from_chars(begin, end, number);
    require(error == std::errc() && number >= 0 && (stop == end || *stop == '_'),
            "strategy '{}': expected chunks:A_B_..._N, the chunks to keep and their number", strategy);
    numbers.push_back(number);
    if (stop == end) break;
    begin = stop + 1;
  }
  require(numbers.size() > 1, "strategy '{}': expected chunks:A_B_..._N, at least one chunk and their number",
          strategy);
  for (size_t i = 0; i + 1 < numbers.size(); ++i)
    require(numbers[i] < numbers.back(), "strategy '{}': there is no chunk {} of {}, the first one is 0", strategy,
            numbers[i], numbers.back());
  return numbers;
}

/// Distance of each of x [T, d] to the nearest centroid of Lloyd's iteration from random tokens.
Tensor distance_to_cluster(const Tensor& x, int64_t clusters, int64_t iterations) {
  const int64_t T = x.size(0);
  if (T <= clusters) return torch::zeros({T});  // each its own centroid
  auto order = Random(0).split("clusters").permutation(T);
  order.resize(size_t(clusters));
  Tensor centroids = x.index_select(0, torch::tensor(order));
  for (int64_t i = 0; i < iterations; ++i) {
    const Tensor nearest = torch::cdist(x, centroids).argmin(1);
    const Tensor sums = torch::zeros_like(centroids).index_add(0, nearest, x);
    const Tensor sizes = torch::zeros({centroids.size(0), 1}, x.options()).index_add(0, nearest, torch::ones({T, 1}));
    centroids = torch::where(sizes > 0, sums / sizes.clamp_min(1), centroids);
  }
  return std::get<0>(torch::cdist(x, centroids).min(1));
}

/// Whether query i sees key j, [T, T], for all masks that only depend on positions; causality is not included.
Tensor visible(int64_t T, const AttentionMask& mask, bool shifted) {
  const Tensor j = torch::arange(T), i = j.unsqueeze(1);
  const int64_t shift = shifted ? mask.size / 2 : 0;
  const auto block = [&](const Tensor& t) { return (t + shift).div(mask.size, "floor"); };
  switch (mask.kind) {
    case AttentionMask::Kind::Block:
    case AttentionMask::Kind::Shifted:
      return block(i) == block(j);
    case AttentionMask::Kind::Window:
      return i - j < mask.size;
    case AttentionMask::Kind::Sink:
      return (i - j < mask.size).logical_or(j < mask.sinks);
    default:
      return torch::ones({T, T}, torch::kBool);
  }
}

}  // namespace

nlohmann::json to_json(const ImportanceOptions& o) {
  return {{"strategy", o.strategy},
          {"least", o.least},
          {"most", o.most},
          {"mask", {int(o.mask.kind), o.mask.size, o.mask.sinks}},
          {"division", int(o.division)},
          {"power", o.power},
          {"reverse", o.reverse},
          {"quantiles", {o.low_quantile, o.high_quantile}},
          {"bins", o.bins},
          {"top", o.top},
          {"truncate", o.truncate},
          {"clusters", {o.clusters, o.iterations}}};
}

TokenImportance::TokenImportance(const ImportanceOptions& options) : options_(options) {
  const ImportanceOptions& o = options_;
  if (o.strategy.starts_with(kChunks)) {
    chunks_ = parse_chunks(o.strategy);
  } else if (std::ranges::find(kStrategies, o.strategy) == kStrategies.end()) {
    throw UsageError(fmt::format("unknown importance strategy '{}', expected {} or chunks:A_B_..._N", o.strategy,
                                 fmt::join(kStrategies, ", ")));
  }
  require(0 <= o.least && o.least <= o.most && o.most > 0, "importances from {} to {}: expected 0 <= least <= most > 0",
          o.least, o.most);
  require(0 <= o.low_quantile && o.low_quantile < o.high_quantile && o.high_quantile <= 1,
          "quantiles {} and {} of the values: expected 0 <= low < high <= 1", o.low_quantile, o.high_quantile);
  require(o.power > 0, "values raised to the power {}: expected more than 0", o.power);
  require(0 <= o.top && o.top <= 1 && o.bins >= 0 && o.bins != 1,
          "top {} and bins {}: expected a share and 0, 2, 3 ...", o.top, o.bins);
  require(o.mask.kind == AttentionMask::Kind::Full || (o.mask.size > 0 && o.mask.sinks >= 0),
          "an attention mask of {} tokens: expected at least 1", o.mask.size);
  require(o.clusters > 0 && o.iterations >= 0, "{} clusters in {} iterations: expected at least 1 and 0", o.clusters,
          o.iterations);
}

void TokenImportance::count(const Tensor& tokens) {
  counts_ = tokens.flatten().bincount();
}

Tensor TokenImportance::raw(DecoderBlock& block, const Tensor& h, const Tensor& tokens) const {
  const std::string& s = options_.strategy;
  if (s == "attncon") return attention_received(block->attention_probabilities(h), options_.mask);
  if (s == "actnorm") return h.norm(2, -1);
  if (s == "actdiff") return -(block->forward(h) - h).norm(2, -1);
  if (s == "tokensim") {  // mean over t' of |h_t|^2 + |h_t'|^2 - 2 h_t . h_t'
    const Tensor centred = h - h.mean(1, true), squares = centred.square().sum(-1);
    return squares + squares.mean(1, true);
  }
  if (s == "tokenfreq") {
    require(counts_.defined() && tokens.max().item<int64_t>() < counts_.numel(),
            "token frequencies were not counted over this calibration data");
    return -counts_.index_select(0, tokens.flatten()).view(tokens.sizes()).to(torch::kFloat32);
  }
  if (s == "dot") return (h * h.sum(1, true)).sum(-1);
  if (s == "cluster") {
    std::vector<Tensor> rows;
    for (const Tensor& x : h.unbind()) rows.push_back(distance_to_cluster(x, options_.clusters, options_.iterations));
    return torch::stack(rows);
  }
  return torch::ones({h.size(0), h.size(1)});
}

Tensor TokenImportance::operator()(DecoderBlock& block, const Tensor& h, const Tensor& tokens) const {
  const torch::NoGradGuard no_grad;
  const int64_t T = h.size(1);
  Tensor r;
  if (chunks_.empty()) {
    r = scale(raw(block, h, tokens));
  } else {
    r = torch::zeros({h.size(0), T});
    for (size_t i = 0; i + 1 < chunks_.size(); ++i)
      r.slice(1, chunks_[i] * T / chunks_.back(), (chunks_[i] + 1) * T / chunks_.back()).fill_(1);
  }
  require((r.sum(1) > 0).all().item<bool>(), "strategy '{}' leaves no token of a sequence of {} any importance",
          options_.strategy, T);
  return r;
}

Tensor TokenImportance::scale(const Tensor& raw) const {
  const ImportanceOptions& o = options_;
  Tensor v = raw.to(torch::kFloat64);
  require(torch::isfinite(v).all().item<bool>(), "the values of strategy '{}' are NaN or infinite", o.strategy);
  const int64_t T = v.size(-1);
  const Tensor seen = torch::arange(T, 0, -1, torch::kFloat64);
  if (o.division != ImportanceOptions::Division::None)
    v = v / (o.division == ImportanceOptions::Division::Linear ? seen : seen.sqrt());
  if (o.power != 1) v = v.sign() * v.abs().pow(o.power);
  if (o.reverse) v = -v;

  const Tensor low = v.quantile(o.low_quantile, -1, true), high = v.quantile(o.high_quantile, -1, true);
  Tensor share = ((v - low) / (high - low)).clamp(0, 1);
  const auto order = [](const Tensor& x) { return std::get<1>(x.sort(/*stable=*/true, -1, /*descending=*/false)); };
  const Tensor rank = order(order(v));  // 0 for the least
  if (o.bins > 0) share = (rank * o.bins).div(T, "floor") / double(o.bins - 1);
  Tensor r = o.least + (o.most - o.least) * share;
  if (o.top > 0) {
    const auto kept = int64_t(std::ceil(o.top * double(T)));
    r = torch::where(rank >= T - kept, r, torch::full_like(r, o.truncate ? 0 : o.least));
  }
  const Tensor constant = v.amax(-1, true) == v.amin(-1, true);
  return torch::where(constant, torch::ones_like(r), torch::where(high > low, r, torch::full_like(r, o.most)))
      .to(torch::kFloat32);
}

Tensor attention_received(const Tensor& probabilities, const AttentionMask& mask) {
  Tensor p = probabilities;
  const int64_t heads = p.size(1), T = p.size(-1);
  if (mask.kind == AttentionMask::Kind::Top) {
    const Tensor least = std::get<0>(p.topk(std::min(mask.size, T), -1)).slice(-1, -1);
    p = p * (p >= least).logical_or(torch::eye(T, torch::kBool));
  } else if (mask.kind != AttentionMask::Kind::Full) {
    std::vector<Tensor> of_heads;
    for (int64_t head = 0; head < heads; ++head)
      of_heads.push_back(visible(T, mask, mask.kind == AttentionMask::Kind::Shifted && 2 * head >= heads));
    p = p * torch::stack(of_heads);
  }
  if (mask.kind != AttentionMask::Kind::Full) p = p / p.sum(-1, true).clamp_min(1e-30);
  return p.sum({1, 2});
}

Tensor expand_cyclic(const Tensor& tokens, int64_t factor) {
  require(tokens.dim() == 2 && factor > 0 && tokens.size(1) % factor == 0,
          "an expansion by {} does not divide sequences of {} tokens", factor, tokens.dim() == 2 ? tokens.size(1) : 0);
  std::vector<Tensor> copies;
  for (int64_t m = 0; m < factor; ++m) copies.push_back(tokens.roll(m * (tokens.size(1) / factor), 1));
  return torch::stack(copies, 1).flatten(0, 1);
}

}  // namespace quanta
