#include "quanta/models/evaluate_text.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/nn/serial.h"

namespace quanta {
namespace {

using torch::Tensor;

constexpr int64_t kUnitTokens = 1024;    // sequences that run together hold so many, whatever the number of threads
constexpr int64_t kHeadPositions = 256;  // logits of a large vocabulary are the largest thing in memory

/// Adds what `score(unit)` finds for each unit, in order.
double sum_over(int64_t units, const std::function<double(int64_t unit)>& score) {
  const SerialTorch serial;
  std::vector<double> sums(static_cast<size_t>(units));
  parallel_for(units, 1, [&](int64_t begin, int64_t end) {
    const torch::NoGradGuard no_grad;
    for (int64_t unit = begin; unit < end; ++unit) sums[size_t(unit)] = score(unit);
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

double sum_of(const Tensor& nll) {
  return nll.to(torch::kFloat64).sum().item<double>();
}

}  // namespace

double TextScore::perplexity() const {
  return std::exp(mean());
}

double TextScore::bits_per_byte(int64_t tokens, int64_t bytes) const {
  return mean() / std::numbers::ln2 * double(tokens) / double(bytes);
}

Tensor token_nll(LanguageModel model, const Tensor& ids) {
  const int64_t T = ids.size(1) - 1;
  require(T >= 1, "a sequence must have at least two tokens to be scored, got {}", T + 1);
  const Tensor h = model->hidden(ids);
  std::vector<Tensor> parts;
  for (int64_t t = 0; t < T; t += kHeadPositions) {
    const int64_t count = std::min(kHeadPositions, T - t);
    const Tensor logits = model->head(h.narrow(1, t, count)).to(torch::kFloat32);
    parts.push_back(
        torch::cross_entropy_loss(logits.flatten(0, 1), ids.narrow(1, t + 1, count).flatten(), {}, at::Reduction::None)
            .view({ids.size(0), count}));
  }
  return parts.size() == 1 ? parts[0] : torch::cat(parts, 1);
}

TextScore score_sequences(LanguageModel model, const Tensor& sequences) {
  require(sequences.dim() == 2 && sequences.size(0) > 0, "there are no sequences to score");
  const int64_t n = sequences.size(0), unit = std::max<int64_t>(1, kUnitTokens / sequences.size(1));
  const double nll = sum_over((n + unit - 1) / unit, [&](int64_t i) {
    return sum_of(token_nll(model, sequences.slice(0, i * unit, std::min(n, (i + 1) * unit))));
  });
  return {.nll = nll, .predicted = n * (sequences.size(1) - 1), .windows = n};
}

TextScore perplexity(LanguageModel model, const Tensor& stream, const PerplexityOptions& options) {
  const int64_t n = stream.numel();
  const int64_t length = options.length ? options.length : std::min<int64_t>(2048, model->config().longest());
  const int64_t stride = options.stride ? options.stride : length;
  require(length >= 2 && stride >= 1 && stride <= length && options.windows >= 0,
          "a window needs at least two tokens and a stride in [1, window], got {} and {}", length, stride);
  require(n >= length, "the text has {} tokens, fewer than a window of {}: take a longer text or a shorter window", n,
          length);
  if (stride == length) {
    const int64_t windows = options.windows ? std::min(options.windows, n / length) : n / length;
    return score_sequences(model, stream.narrow(0, 0, windows * length).view({windows, length}));
  }
  // Window i ends at length + i stride, or with the text, and scores from where the one before it ended.
  const int64_t all = 1 + (n - length + stride - 1) / stride;
  const int64_t windows = options.windows ? std::min(options.windows, all) : all;
  const auto end_of = [&](int64_t i) { return std::min(n, length + i * stride); };
  const double nll = sum_over(windows, [&](int64_t i) {
    const int64_t end = end_of(i), fresh = i ? end - end_of(i - 1) : length - 1;
    const Tensor scores = token_nll(model, stream.narrow(0, end - length, length).unsqueeze(0));
    return sum_of(scores.narrow(1, length - 1 - fresh, fresh));
  });
  return {.nll = nll, .predicted = end_of(windows - 1) - 1, .windows = windows};
}

TokensScore score_tokens(LanguageModel model, const Tensor& ids) {
  const torch::NoGradGuard no_grad;
  require(ids.numel() >= 1, "there are no tokens to score");
  const Tensor row = ids.view({1, -1}), h = model->hidden(row);
  TokensScore score;
  score.last_logits = model->head(h.narrow(1, ids.numel() - 1, 1)).flatten().to(torch::kFloat32);
  score.nll = ids.numel() > 1 ? token_nll(model, row).to(torch::kFloat64).mean().item<double>()
                              : std::numeric_limits<double>::quiet_NaN();
  return score;
}

ChoiceTokens choice_tokens(const Tokenizer& tokenizer, const std::string& context, const std::string& choice,
                           int64_t positions) {
  const size_t end = context.find_last_not_of(' ') + 1;  // npos + 1 = 0
  const std::string before = context.substr(0, end);
  ChoiceTokens tokens{.ids = tokenizer.encode(before + context.substr(end) + choice, /*special=*/true)};
  // An empty context is the token that begins a text, or whatever the first token is.
  const int64_t given = std::max<int64_t>(1, int64_t(tokenizer.encode(before, true).size()));
  tokens.scored = int64_t(tokens.ids.size()) - given;
  require(tokens.scored >= 1, "the choice '{}' has no token of its own behind its context", choice);
  require(tokens.scored < positions, "the choice '{}...' has {} tokens, more than the model's {} positions leave",
          choice.substr(0, 24), tokens.scored, positions);
  const int64_t surplus = int64_t(tokens.ids.size()) - positions;
  if (surplus > 0) tokens.ids.erase(tokens.ids.begin(), tokens.ids.begin() + surplus);
  return tokens;
}

double ChoiceScore::standard_error(double p) const {
  return std::sqrt(p * (1 - p) / double(items));
}

ChoiceScore score_choices(LanguageModel model, const Tokenizer& tokenizer,
                          const std::vector<MultipleChoiceItem>& items) {
  require(!items.empty(), "there are no items to choose from");
  ChoiceScore score{.items = int64_t(items.size()), .chosen = std::vector<int64_t>(items.size())};
  std::vector<int64_t> normalized(items.size());
  const auto best = [](const std::vector<double>& sums) {
    return std::max_element(sums.begin(), sums.end()) - sums.begin();
  };
  sum_over(score.items, [&](int64_t i) {
    const MultipleChoiceItem& item = items[size_t(i)];
    std::vector<double> sums, means;
    for (size_t c = 0; c < item.choices.size(); ++c) {
      const ChoiceTokens tokens = choice_tokens(tokenizer, item.context(c), item.choices[c], model->config().longest());
      const Tensor nll = token_nll(model, torch::tensor(tokens.ids, torch::kInt64).unsqueeze(0));
      sums.push_back(-sum_of(nll.slice(1, nll.size(1) - tokens.scored)));
      means.push_back(sums.back() / double(std::max<int64_t>(1, item.lengths[c])));
    }
    score.chosen[size_t(i)] = best(sums);
    normalized[size_t(i)] = best(means);
    return 0.0;
  });
  for (size_t i = 0; i < items.size(); ++i) {
    score.accuracy += score.chosen[i] == items[i].label;
    score.normalized_accuracy += normalized[i] == items[i].label;
  }
  score.accuracy /= double(score.items);
  score.normalized_accuracy /= double(score.items);
  return score;
}

}  // namespace quanta
