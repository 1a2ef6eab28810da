#include "quanta/papers/recipe.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "quanta/core/log.h"
#include "quanta/core/signal.h"
#include "quanta/models/evaluate_text.h"
#include "quanta/models/outliers.h"
#include "quanta/nn/state.h"
#include "quanta/papers/language_subject.h"
#include "quanta/papers/statistics.h"
#include "quanta/quantize/blockwise.h"
#include "quanta/quantize/qllm.h"
#include "quanta/quantize/smoothquant.h"
#include "quanta/report/plot.h"
#include "quanta/train/metrics_file.h"

// Recipe 39: "QLLM: Accurate and Efficient Low-Bitwidth Quantization for Large Language Models", arXiv 2310.08041. See
// README.md beside this file.

namespace quanta {
namespace {

using Values = std::vector<double>;

// Names of the rows that are compared.
constexpr const char *kRounding = "RTN", *kSmooth = "SmoothQuant", *kReassembly = "reassembly",
                     *kCorrection = "correction", *kBoth = "reassembly and correction",
                     *kInside = "both, trained inside the rounding", *kUnmerged = "both, not merged (not deployable)",
                     *kClean = "RTN, no outliers planted";

/// One way to quantize, measured with every seed.
struct Row {
  std::string name{};
  std::optional<QllmOptions> qllm{};  // none: SmoothQuant
  bool ablation = false;
  bool clean = false;             // without outliers
  Values perplexity{}, excess{};  // excess: ln perplexity above the float model's
  std::vector<std::vector<InsertionPoint>> points{};
  std::vector<std::vector<Correction>> corrections{};
};

std::string list(const Values& values) {
  return fmt::format("{:.4f}", fmt::join(values, ", "));
}

class Study {
 public:
  Study(const Config& config, const RunContext& context);
  Report run();

 private:
  template <class T>
  T get(const char* key) const {
    return config_.get<T>(key);
  }
  void plan();
  void add(const std::string& name, const std::function<void(QllmOptions&)>& change, bool ablation = false);
  const Row& row(const std::string& name) const;
  const Values& excess(const std::string& name) const { return row(name).excess; }
  /// The mean excess over the seeds that have ablations.
  double ablated(const std::string& name) const {
    const Values& all = excess(name);
    return mean(Values(all.begin(), all.begin() + std::min<int>(get<int>("ablation.seeds"), int(all.size()))));
  }
  void measure(int seed);
  void check(const std::string& name, bool holds, const std::string& detail) {
    report_.checks.push_back({name, holds, detail});
  }
  /// x(a) <= factor x(b) on every seed.
  void compare(const std::string& claim, const char* a, const char* b, double factor);
  void checks();
  void sections();

  const Config& config_;
  const RunContext& context_;
  QllmOptions options_;  // both steps
  std::vector<Row> rows_;
  Values float_perplexity_, planted_perplexity_;
  LanguageModel kept_ = nullptr;  // `kInside` of the first seed
  std::vector<nlohmann::json> lines_;
  Report report_;
};

Study::Study(const Config& config, const RunContext& context) : config_(config), context_(context) {
  const int seeds = get<int>("seeds");
  require(seeds >= 1 && seeds <= 20, "seeds must be between 1 and 20, got {}", seeds);
  options_ = {.bits = {.weights = {.bits = get<int>("weights")}, .activations = {.bits = get<int>("activations")}},
              .attention = get<bool>("attention"),
              .reassembly = {.ratio = get<double>("reassembly.ratio"), .sample = get<int64_t>("reassembly.sample")},
              .correction = {.rank = get<int64_t>("correction.rank"), .alpha = get<double>("correction.alpha")},
              .training = {.epochs = get<int64_t>("correction.epochs"),
                           .batch = get<int64_t>("correction.batch"),
                           .rate = get<double>("correction.rate")},
              .last_norm = get<bool>("correction.last_norm"),
              .blocks = get<int64_t>("correction.blocks")};
  plan();
}

void Study::add(const std::string& name, const std::function<void(QllmOptions&)>& change, bool ablation) {
  Row& row = rows_.emplace_back(Row{.name = name, .qllm = options_, .ablation = ablation});
  change(*row.qllm);
  QllmMethod checked(*row.qllm);
}

void Study::plan() {
  const auto untrained = [](QllmOptions& o) { o.training.epochs = 0; };
  const auto unchanged = [](QllmOptions& o) { o.reassembly.channels = Channels::Keep; };
  const auto rounding = [&](QllmOptions& o) { untrained(o), unchanged(o); };
  if (!get<std::string>("outliers").empty()) {
    add(kClean, rounding);
    rows_.back().clean = true;
  }
  add(kRounding, rounding);
  rows_.push_back({.name = kSmooth});
  add(kReassembly, untrained);
  add(kCorrection, unchanged);
  add(kBoth, [](QllmOptions&) {});
  add(kInside, [](QllmOptions& o) { o.correction.form = TrainForm::Inside; });
  add(kUnmerged, [](QllmOptions& o) { o.merge = false; });
  if (get<int>("ablation.seeds") == 0) return;
  const auto ablation = [&](const std::string& name, const std::function<void(QllmOptions&)>& change) {
    add(name, change, true);
  };
  ablation("reassembly: splitting only, layers grow", [](QllmOptions& o) {
    o.training.epochs = 0;
    o.reassembly.channels = Channels::Widen;
  });
  ablation("reassembly: pruning instead of merging", [](QllmOptions& o) {
    o.training.epochs = 0;
    o.reassembly.channels = Channels::Prune;
  });
  ablation("reassembly: the released code's score", [](QllmOptions& o) {
    o.training.epochs = 0;
    o.reassembly.score = MergeScore::Released;
  });
  for (const double share : get<std::vector<double>>("ablation.thresholds"))
    ablation(fmt::format("reassembly: threshold {:.2f} of the largest", share), [=](QllmOptions& o) {
      o.training.epochs = 0;
      o.reassembly.threshold = share;
    });
  for (const auto rank : get<std::vector<int64_t>>("ablation.ranks"))
    ablation(fmt::format("both, rank {}", rank), [=](QllmOptions& o) { o.correction.rank = rank; });
  ablation("both, norms not trained", [](QllmOptions& o) { o.train_norms = false; });
  ablation("both, two blocks together", [](QllmOptions& o) { o.blocks = 2; });
  ablation("both, the last norm trained", [](QllmOptions& o) { o.last_norm = true; });
  ablation("both, the last norm trained with a bias", [](QllmOptions& o) { o.last_norm = o.last_norm_bias = true; });
}

const Row& Study::row(const std::string& name) const {
  for (const Row& row : rows_)
    if (row.name == name) return row;
  fail("no row '{}'", name);
}

void Study::measure(int index) {
  const InterruptGuard guard;
  const uint64_t seed = context_.seed + uint64_t(index);
  const LanguageSubject clean = language_subject(config_, seed, context_);
  report_.data = clean.data;
  const auto outliers = get<std::string>("outliers");
  LanguageSubject planted = clean;
  if (!outliers.empty()) {
    planted.model = copy(clean.model);
    inject_outliers(planted.model, parse_outliers(outliers, seed));
  }
  const auto perplexity = [&](const LanguageModel& model) { return score_sequences(model, clean.test).perplexity(); };
  float_perplexity_.push_back(perplexity(clean.model));
  planted_perplexity_.push_back(perplexity(planted.model));
  log_info("seed {}: float, perplexity {:.3f}", seed, float_perplexity_.back());
  for (Row& row : rows_) {
    if (interrupted()) throw Interrupted("interrupted; the models are kept: go on with --resume");
    if (row.ablation && index >= get<int>("ablation.seeds")) continue;
    std::unique_ptr<BlockMethod> method;
    QllmMethod* qllm = nullptr;
    if (row.qllm) {
      row.qllm->seed = seed;
      auto made = std::make_unique<QllmMethod>(*row.qllm);
      qllm = made.get();
      method = std::move(made);
    } else {
      method = std::make_unique<SmoothQuantMethod>(
          SmoothQuantOptions{.bits = options_.bits, .attention = options_.attention});
    }
    // A row that ruins a layer is to be seen, too.
    const auto result = quantize_in_memory((row.clean ? clean : planted).model, clean.calibration, *method,
                                           {.work = context_.out / "work", .probe = 1, .allow_ruined = true});
    row.perplexity.push_back(perplexity(result.model));
    row.excess.push_back(std::log(row.perplexity.back() / float_perplexity_.back()));
    if (qllm) {
      row.points.push_back(qllm->insertion_points());
      row.corrections.push_back(qllm->corrections());
    }
    if (!kept_ && row.name == kInside) kept_ = result.model;
    lines_.push_back({{"seed", seed}, {"row", row.name}, {"perplexity", row.perplexity.back()}});
    log_info("seed {}: {}, perplexity {:.3f}", seed, row.name, row.perplexity.back());
  }
}

void Study::compare(const std::string& claim, const char* a, const char* b, double factor) {
  bool holds = true;
  for (size_t i = 0; i < excess(a).size(); ++i) holds &= excess(a)[i] <= factor * excess(b)[i];
  check(fmt::format("{}, on every seed", claim), holds, fmt::format("{} against {}", list(excess(a)), list(excess(b))));
}

void Study::checks() {
  Values change;
  for (size_t i = 0; i < float_perplexity_.size(); ++i)
    change.push_back(std::abs(planted_perplexity_[i] / float_perplexity_[i] - 1));
  check("The planted outliers leave the float models as they are",
        *std::max_element(change.begin(), change.end()) < 1e-3,
        fmt::format("perplexity changes by a factor of at most 1 + {:.1e}",
                    *std::max_element(change.begin(), change.end())));
  compare("Reassembly leaves at most 0.45 of rounding's excess", kReassembly, kRounding, 0.45);
  compare("The correction leaves at most 0.97 of what reassembly leaves", kBoth, kReassembly, 0.97);
  compare("The same trained inside the rounding", kInside, kReassembly, 0.97);
  compare("Both leave at most half of what the correction alone leaves", kBoth, kCorrection, 0.5);

  int64_t most = 0;
  double least_drop = 1;
  for (const auto& seed : row(kReassembly).points)
    for (const InsertionPoint& point : seed) {
      most = std::max(most, point.added);
      least_drop = std::min(least_drop, 1 - point.loss / point.baseline_loss);
    }
  check("At most 12 sub-channels are added anywhere", most <= 12, fmt::format("at most {}", most));
  check("Reassembly takes at least a quarter of the loss at every insertion point", least_drop >= 0.25,
        fmt::format("at least {:.1f} %", 100 * least_drop));
  Values before, merged, unmerged;
  bool better = true;
  for (const auto& seed : row(kBoth).corrections)
    for (const Correction& c : seed) {
      before.push_back(c.before);
      merged.push_back(c.merged);
      unmerged.push_back(c.unmerged);
      better &= c.merged < c.before;
    }
  check("Each block's squared error is smaller after the merged correction than before", better,
        fmt::format("from {} to {} ({} not merged)", list(before), list(merged), list(unmerged)));
  if (get<int>("ablation.seeds") == 0) return;
  const double merging = ablated(kReassembly), pruning = ablated("reassembly: pruning instead of merging");
  check("Merging channels is better than pruning them, in the mean", merging < pruning,
        fmt::format("{:.4f} against {:.4f}", merging, pruning));
}

void Study::sections() {
  const auto table = [&](const std::string& caption, bool ablation) {
    Table made{.caption = caption, .columns = {""}, .rows = {}};
    const auto seeds = ablation ? std::min(get<int>("ablation.seeds"), get<int>("seeds")) : get<int>("seeds");
    for (int i = 0; i < seeds; ++i) made.columns.push_back(fmt::format("seed {}", context_.seed + uint64_t(i)));
    made.columns.push_back("mean excess");
    const auto line = [&](const std::string& name, const Values& perplexity, double excess) {
      made.rows.push_back({name});
      for (int i = 0; i < seeds; ++i) made.rows.back().push_back(fmt::format("{:.3f}", perplexity[size_t(i)]));
      made.rows.back().push_back(fmt::format("{:.4f}", excess));
    };
    if (!ablation) line("float", float_perplexity_, 0);
    for (const Row& row : rows_)
      if (row.ablation == ablation) line(row.name, row.perplexity, mean(row.excess));
    return made;
  };
  BarPlot bars{.title = "Excess of the perplexity", .groups = {}, .bars = {}, .y = {.label = "ln ppl - ln ppl(float)"}};
  BarPlot::Bars excesses{.name = "", .values = {}, .errors = {}};
  for (const Row& row : rows_)
    if (!row.ablation) {
      bars.groups.push_back(row.name);
      excesses.values.push_back(mean(row.excess));
      excesses.errors.push_back(standard_deviation(row.excess));
    }
  bars.bars.push_back(excesses);
  report_.sections.push_back(
      {.title = "Language models",
       .text =
           fmt::format("Weights of {} bits a row, activations of {} bits a token. Excess is ln(perplexity) above the "
                       "float model's.",
                       options_.bits.weights.bits, options_.bits.activations.bits),
       .tables = {table("Perplexity on the test data, by seed", false)},
       .figures = {bar_plot(bars, "Mean over the seeds")}});

  Table points{.caption = "Insertion points of the first seed",
               .columns = {"block", "input of", "largest", "theta", "channels", "added", "loss before", "after"},
               .rows = {}};
  BarPlot losses{
      .title = "Loss at the insertion points",
      .groups = {},
      .bars = {{.name = "rounded", .values = {}, .errors = {}}, {.name = "reassembled", .values = {}, .errors = {}}},
      .y = {.label = "mean square", .log = true}};
  for (const InsertionPoint& p : row(kReassembly).points.front()) {
    points.rows.push_back({fmt::format("{}", p.block), p.layer, fmt::format("{:.3f}", p.largest),
                           fmt::format("{:.3f}", p.theta), fmt::format("{}", p.channels), fmt::format("{}", p.added),
                           fmt::format("{:.5f}", p.baseline_loss), fmt::format("{:.5f}", p.loss)});
    losses.groups.push_back(fmt::format("{} {}", p.block, p.layer));
    losses.bars[0].values.push_back(p.baseline_loss);
    losses.bars[1].values.push_back(p.loss);
  }
  Table corrections{.caption = "Mean squares of the blocks' errors, first seed",
                    .columns = {"blocks from", "before", "trained", "merged"},
                    .rows = {}};
  for (const Correction& c : row(kBoth).corrections.front())
    corrections.rows.push_back({fmt::format("{}", c.block), fmt::format("{:.6f}", c.before),
                                fmt::format("{:.6f}", c.unmerged), fmt::format("{:.6f}", c.merged)});
  report_.sections.push_back(
      {.title = "Inside the blocks",
       .text = "The loss at an insertion point is that of the attention's or the MLP's inner output, "
               "or of the layer, on float inputs. A correction's is that of the block's output.",
       .tables = {points, corrections},
       .figures = {bar_plot(losses, "First seed")}});
  if (get<int>("ablation.seeds") == 0) return;
  Section section{.title = "Ablations", .text = "", .tables = {table("Perplexity", true)}, .figures = {}};
  std::vector<std::pair<double, double>> ranks{{double(options_.correction.rank), ablated(kBoth)}};
  for (const auto rank : get<std::vector<int64_t>>("ablation.ranks"))
    ranks.emplace_back(double(rank), ablated(fmt::format("both, rank {}", rank)));
  std::sort(ranks.begin(), ranks.end());
  Series series{.name = "", .x = {}, .y = {}};
  for (const auto& [rank, x] : ranks) {
    series.x.push_back(rank);
    series.y.push_back(x);
  }
  section.figures.push_back(line_plot({.title = "Rank of the correction",
                                       .x = {.label = "rank", .log = true},
                                       .y = {.label = "ln ppl - ln ppl(float)"},
                                       .series = {series}},
                                      "Reassembly and correction, mean over the seeds"));
  report_.sections.push_back(std::move(section));
}

Report Study::run() {
  for (int i = 0; i < get<int>("seeds"); ++i) measure(i);
  write_metrics(context_.out / "metrics.jsonl", "rows", lines_);
  report_.summary = fmt::format(
      "Channels with outliers are split into sub-channels and similar channels merged, so that layers keep their width "
      "and activations fit grids of {} bits; then a low-rank correction of the weights is trained block by block and "
      "merged into them. Perplexity of the float models: {}.",
      options_.bits.activations.bits, list(float_perplexity_));
  report_.results.push_back({.name = "float, perplexity", .value = mean(float_perplexity_)});
  for (const Row& row : rows_)
    report_.results.push_back({.name = row.name + ", perplexity", .value = mean(row.perplexity)});
  checks();
  sections();
  save_module(*kept_, context_.out / "model.safetensors", {{"model", get<std::string>("model")}, {"method", "QLLM"}});
  report_.artifacts = {"metrics.jsonl", "model.safetensors"};
  return report_;
}

Report run(const Config& config, const RunContext& context) {
  return Study(config, context).run();
}

}  // namespace

Recipe recipe_39() {
  return {.title = "QLLM: channel reassembly and low-rank correction for few-bit activations (arXiv 2310.08041)",
          .kind = "quantized",
          .seconds = 120,
          .run = run};
}

}  // namespace quanta
