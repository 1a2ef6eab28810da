#include "quanta/models/generate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

void check(const GenerateOptions& o) {
  require(o.new_tokens >= 0, "the number of new tokens must not be negative, got {}", o.new_tokens);
  require(o.temperature >= 0 && std::isfinite(o.temperature), "temperature must be 0 or above, got {}", o.temperature);
  require(o.top_k >= 0, "top-k must be 0 (all) or above, got {}", o.top_k);
  require(o.top_p > 0 && o.top_p <= 1, "top-p must lie in (0, 1], got {}", o.top_p);
  require(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "repetition penalty must be above 0, got {}",
          o.repetition_penalty);
}

std::vector<double> softmax(std::vector<double> scores) {
  const double most = *std::ranges::max_element(scores);
  for (double& score : scores) score = std::exp(score - most);
  const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
  for (double& score : scores) score /= sum;
  return scores;
}

void keep_top_k(std::vector<double>& scores, int64_t k) {
  if (k == 0 || size_t(k) >= scores.size()) return;
  auto sorted = scores;
  std::ranges::nth_element(sorted, sorted.begin() + (k - 1), std::greater());
  for (double& score : scores)
    if (score < sorted[size_t(k - 1)]) score = kNever;
}

void keep_top_p(std::vector<double>& scores, double p) {
  if (p >= 1) return;
  const auto probabilities = softmax(scores);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return probabilities[i]; });
  double sum = 0;
  for (size_t i = 0; i + 1 < order.size(); ++i) {  // the likeliest is always kept
    sum += probabilities[order[i]];
    if (sum > 1 - p) break;
    scores[order[i]] = kNever;
  }
}

int64_t sample(const std::vector<double>& probabilities, Random& random) {
  double left = random.uniform();
  size_t last = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] == 0) continue;
    last = i;
    if (left < probabilities[i]) break;
    left -= probabilities[i];
  }
  return int64_t(last);
}

}  // namespace

std::vector<double> next_token_probabilities(std::span<const float> logits, std::span<const int64_t> history,
                                             const GenerateOptions& options) {
  check(options);
  require(!logits.empty(), "there are no logits to choose a token from");
  std::vector<double> scores(logits.begin(), logits.end());
  require(std::ranges::all_of(scores, [](double score) { return std::isfinite(score); }),
          "the model's logits are not finite");
  if (options.repetition_penalty != 1)
    for (const int64_t token : std::set<int64_t>(history.begin(), history.end())) {
      require(token >= 0 && size_t(token) < scores.size(), "token id {} is outside the model's vocabulary of {}", token,
              scores.size());
      double& score = scores[size_t(token)];
      score = score < 0 ? score * options.repetition_penalty : score / options.repetition_penalty;
    }
  if (options.temperature > 0) {
    for (double& score : scores) score /= options.temperature;
    keep_top_k(scores, options.top_k);
    keep_top_p(scores, options.top_p);
  }
  return softmax(std::move(scores));
}

std::vector<int64_t> generate(LanguageModel model, const std::vector<int64_t>& prompt, const GenerateOptions& options) {
  check(options);
  require(!prompt.empty(), "generation needs at least one token to begin with");
  const torch::NoGradGuard no_grad;
  const auto& config = model->config();
  const int64_t length = int64_t(prompt.size());
  require(length <= config.longest(), "a prompt of {} tokens is longer than this model's {} positions", length,
          config.longest());
  const int64_t room = std::min(length + options.new_tokens, config.longest());
  const auto eos = options.eos.value_or(config.eos);
  std::optional<KeyValueCache> cache;
  if (options.cache) cache.emplace(config, 1, room, model->tokens->weight.scalar_type());

  Random random(options.seed);
  std::vector<int64_t> text = prompt, made;
  while (int64_t(text.size()) < room) {
    if (int64_t(text.size()) > config.longest_cached()) cache.reset();
    const std::span<int64_t> fresh = std::span(text).subspan(cache ? size_t(cache->length) : 0);
    const auto ids = torch::tensor(torch::IntArrayRef(fresh.data(), fresh.size()), torch::kInt64).unsqueeze(0);
    const auto h = model->hidden(ids, cache ? &*cache : nullptr);
    const auto logits = model->head(h.slice(1, -1)).flatten().to(torch::kFloat32).contiguous();
    const auto probabilities =
        next_token_probabilities({logits.data_ptr<float>(), size_t(logits.numel())}, text, options);
    const int64_t token = options.temperature > 0 ? sample(probabilities, random)
                                                  : std::ranges::max_element(probabilities) - probabilities.begin();
    text.push_back(token);
    made.push_back(token);
    if (options.on_token && !options.on_token(token)) break;
    if (std::ranges::find(eos, token) != eos.end()) break;
  }
  return made;
}

}  // namespace quanta
