#include "quanta/quantize/blockwise.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "quanta/core/error.h"
#include "quanta/core/file.h"

namespace quanta {
namespace {

namespace fs = std::filesystem;

// The hidden states before block k, of the quantized or of the float model.
class HiddenStates {
 public:
  HiddenStates(fs::path folder, std::string name) : folder_(std::move(folder)), name_(std::move(name)) {}

  fs::path path(int64_t block) const { return folder_ / fmt::format("{}-{:05}.safetensors", name_, block); }
  bool has(int64_t block) const { return fs::exists(path(block)); }
  ActivationStore at(int64_t block) const { return ActivationStore::open(path(block)); }
  void remove(int64_t block) const { fs::remove(path(block)); }

  void start(const torch::Tensor& tokens, LanguageModel& ends) const {
    ActivationStore store(path(0), tokens.size(0), tokens.size(1), ends->config().width);
    const torch::NoGradGuard no_grad;
    for (int64_t i = 0; i < tokens.size(0); ++i) store.set(i, ends->embed(tokens.slice(0, i, i + 1)));
    store.finish();
  }

  /// Those behind `blocks`, which begin at `first`.
  void advance(int64_t first, std::vector<DecoderBlock>& blocks) const {
    const ActivationStore from = at(first);
    ActivationStore to(path(first + int64_t(blocks.size())), from.sequences(), from.length(), from.width());
    for_each_sequence(from, [&](int64_t sequence, torch::Tensor h) {
      for (DecoderBlock& block : blocks) h = block->forward(h);
      to.set(sequence, h);
    });
    to.finish();
  }

 private:
  fs::path folder_;
  std::string name_;
};

// error and KL of the hidden states behind a block. The distributions are read at 64 places of each sequence: with a
// large vocabulary all would take more memory than the block.
LedgerBlock measure(int64_t block, const ActivationStore& quantized, const ActivationStore& exact, int64_t probe,
                    LanguageModel& ends) {
  const torch::NoGradGuard no_grad;
  LedgerBlock ledger{.block = block};
  double difference = 0, all = 0, kl = 0;
  const int64_t sequences = std::min({probe, quantized.sequences(), exact.sequences()});
  const int64_t step = std::max<int64_t>(1, quantized.length() / 64);
  for (int64_t i = 0; i < sequences; ++i) {
    const torch::Tensor q = quantized.get(i), e = exact.get(i);
    difference += (q - e).square().sum(torch::kFloat64).item<double>();
    all += e.square().sum(torch::kFloat64).item<double>();
    const auto log_p = [&](const torch::Tensor& h) {
      return ends->head(h.slice(1, 0, h.size(1), step)).log_softmax(-1);
    };
    const torch::Tensor p = log_p(e);
    kl += (p.exp() * (p - log_p(q))).sum(-1).mean().item<double>();
  }
  ledger.error = difference / all;
  ledger.kl = kl / double(sequences);
  return ledger;
}

class InMemory : public BlockStore {
 public:
  explicit InMemory(const LanguageModel& model) : model_(model), kept_(model->blocks.size(), nullptr) {}
  const LanguageConfig& config() const override { return model_->config(); }
  LanguageModel ends() override { return copy_ends(model_); }
  DecoderBlock block(int64_t index) override { return copy(model_->blocks.at(size_t(index)), index); }
  DecoderBlock kept(int64_t index) override { return kept_.at(size_t(index)); }
  void keep(int64_t index, DecoderBlock block, const std::vector<LayerResult>&) override {
    kept_.at(size_t(index)) = block;
  }
  void keep(const LedgerBlock&) override {}
  const std::vector<DecoderBlock>& blocks() const { return kept_; }

 private:
  const LanguageModel& model_;
  std::vector<DecoderBlock> kept_;
};

}  // namespace

BlockwiseResult quantize_blockwise(BlockStore& store, const torch::Tensor& tokens, BlockMethod& method,
                                   const BlockwiseOptions& options) {
  const LanguageConfig& config = store.config();
  method.check(config);
  BlockwiseResult result{.ledger = {.method = method.name()}};
  // Loaded where they are needed and let go: beside a block and its Hessians a large vocabulary is too much.
  const auto prepared_ends = [&] {
    LanguageModel ends = store.ends();
    ends->eval();
    method.prepare(ends);
    return ends;
  };

  const bool data = tokens.defined();
  require(data || !method.needs_data(), "{} needs calibration text", method.name());
  const HiddenStates hidden(options.work, "hidden"), exact(options.work, "float");
  const torch::Tensor exact_tokens =
      data ? tokens.slice(0, 0, method.needs_float_inputs() ? tokens.size(0) : std::min(options.probe, tokens.size(0)))
           : tokens;
  if (data) make_directory(options.work);

  const auto load = [&](int64_t first, int64_t count, bool quantized) {
    std::vector<DecoderBlock> blocks;
    for (int64_t i = first; i < first + count; ++i) {
      blocks.push_back(quantized ? store.kept(i) : store.block(i));
      blocks.back()->eval();
      if (!quantized) method.prepare(blocks.back(), i);
    }
    return blocks;
  };

  for (int64_t first = 0, count; first < config.layers; first += count) {
    count = std::min(method.group(), config.layers - first);
    if (options.progress) options.progress(first, config.layers);
    std::vector<LedgerBlock> done;
    for (int64_t i = first; i < first + count; ++i)
      if (auto ledger = store.done(i)) done.push_back(*std::move(ledger));
    if (int64_t(done.size()) == count) {
      result.ledger.blocks.insert(result.ledger.blocks.end(), done.begin(), done.end());
      if (data && !hidden.has(first + count) && hidden.has(first)) {
        std::vector<DecoderBlock> kept = load(first, count, true);
        hidden.advance(first, kept);
      }
      continue;
    }

    if (data && first == 0) {
      LanguageModel ends = prepared_ends();
      hidden.start(tokens, ends);
      exact.start(exact_tokens, ends);
    }
    std::vector<DecoderBlock> blocks = load(first, count, false);
    if (data && !exact.has(first + count)) exact.advance(first, blocks);
    std::optional<ActivationStore> inputs, exact_inputs, exact_outputs;
    if (data) {
      inputs = hidden.at(first);
      if (method.needs_float_inputs()) {
        exact_inputs = exact.at(first);
        exact_outputs = exact.at(first + count);
      }
    }
    const BlockInputs given{.block = first,
                            .tokens = tokens,
                            .inputs = inputs ? &*inputs : nullptr,
                            .float_inputs = exact_inputs ? &*exact_inputs : nullptr,
                            .float_outputs = exact_outputs ? &*exact_outputs : nullptr,
                            .memory = options.memory ? options.memory : method.memory(config)};
    const std::vector<LayerResult> results = method.quantize(blocks, given);
    for (int64_t i = first; i < first + count; ++i) {
      std::vector<LayerResult> own;
      std::copy_if(results.begin(), results.end(), std::back_inserter(own),
                   [&](const LayerResult& r) { return r.block == i; });
      store.keep(i, blocks[size_t(i - first)], own);
    }
    blocks.clear();
    blocks = load(first, count, true);  // what is propagated is what will be read later
    LedgerBlock behind{.block = first + count - 1};
    if (data) {
      hidden.advance(first, blocks);
      LanguageModel ends = prepared_ends();
      behind = measure(behind.block, hidden.at(first + count), exact.at(first + count), options.probe, ends);
    }
    for (int64_t i = first; i < first + count; ++i) {
      LedgerBlock ledger = behind;
      ledger.block = i;
      for (const LayerResult& r : results)
        if (r.block == i) ledger.layers.push_back(ledger_layer(r));
      if (const auto faults = ruined(ledger); !faults.empty() && !options.allow_ruined)
        fail("stopped, for the model would be ruined: {}. More bits, smaller groups or other calibration text may help",
             fmt::join(faults, "; "));
      store.keep(ledger);
      result.ledger.blocks.push_back(ledger);
    }
    if (data) {
      hidden.remove(first);
      exact.remove(first);
    }
  }
  if (options.progress) options.progress(config.layers, config.layers);
  std::optional<ActivationStore> last, exact_last;
  if (data) {
    last = hidden.at(config.layers);
    exact_last = exact.at(config.layers);
  }
  result.model = prepared_ends();
  method.finish(result.model, last ? &*last : nullptr, exact_last ? &*exact_last : nullptr);
  if (data) {
    hidden.remove(config.layers);
    exact.remove(config.layers);
  }
  return result;
}

BlockwiseResult quantize_in_memory(const LanguageModel& model, const torch::Tensor& tokens, BlockMethod& method,
                                   const BlockwiseOptions& options) {
  InMemory store(model);
  BlockwiseResult result = quantize_blockwise(store, tokens, method, options);
  result.model->set_blocks(store.blocks());
  return result;
}

double mean_nll(LanguageModel ends, const std::function<DecoderBlock(int64_t)>& block, const torch::Tensor& sequences,
                const fs::path& work) {
  const torch::NoGradGuard no_grad;
  make_directory(work);
  const HiddenStates hidden(work, "test");
  ends->eval();
  hidden.start(sequences, ends);
  const int64_t layers = ends->config().layers;
  for (int64_t i = 0; i < layers; ++i) {
    std::vector<DecoderBlock> blocks{block(i)};
    blocks[0]->eval();
    hidden.advance(i, blocks);
    hidden.remove(i);
  }
  // The vocabulary's width makes logits large: a few positions at a time.
  constexpr int64_t kPositions = 256;
  std::vector<double> sums(size_t(sequences.size(0)));
  for_each_sequence(hidden.at(layers), [&](int64_t first, const torch::Tensor& h) {
    for (int64_t i = 0; i < h.size(0); ++i)
      for (int64_t t = 0; t + 1 < h.size(1); t += kPositions) {
        const int64_t end = std::min(h.size(1) - 1, t + kPositions);
        const torch::Tensor log_p = ends->head(h.slice(0, i, i + 1).slice(1, t, end)).log_softmax(-1)[0];
        sums[size_t(first + i)] -= log_p.gather(1, sequences[first + i].slice(0, t + 1, end + 1).unsqueeze(1))
                                       .sum(torch::kFloat64)
                                       .item<double>();
      }
  });
  fs::remove_all(work);
  double sum = 0;
  for (const double s : sums) sum += s;
  return sum / double(sequences.size(0) * (sequences.size(1) - 1));
}

}  // namespace quanta
