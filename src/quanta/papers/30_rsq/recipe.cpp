#include "quanta/papers/recipe.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "quanta/core/log.h"
#include "quanta/core/signal.h"
#include "quanta/models/evaluate_text.h"
#include "quanta/models/outliers.h"
#include "quanta/nn/state.h"
#include "quanta/papers/language_subject.h"
#include "quanta/papers/statistics.h"
#include "quanta/quantize/blockwise.h"
#include "quanta/quantize/rsq.h"
#include "quanta/report/plot.h"

// Recipe 30: "RSQ: Learning from Important Tokens Leads to Better Quantized LLMs", arXiv 2503.01820. See README.md
// beside this file.

namespace quanta {
namespace {

using torch::Tensor;
using Values = std::vector<double>;
using Words = std::vector<std::string>;

/// One way to quantize, measured with every seed.
struct Row {
  std::string name{};
  RsqOptions options{};
  int64_t expand = 1;
  bool rounded = false;             // to nearest, without error feedback
  Values perplexity{}, excess{};    // excess: ln perplexity above the float model's
  Values calibration_perplexity{};  // of rows among which one is chosen
};

/// What weighting does to the layers' errors, of one seed.
struct Objective {
  Words layers{};
  Values ratios{};  // tr(D H_R D') of RSQ over that of the unweighted solver
  int lower() const {
    return int(std::ranges::count_if(ratios, [](double ratio) { return ratio < 1; }));
  }
};

std::string list(const Values& values, const char* format = "{:.3f}") {
  std::string text;
  for (const double value : values) text += (text.empty() ? "" : ", ") + fmt::format(fmt::runtime(format), value);
  return text;
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
  ImportanceOptions importance(const std::string& strategy, double least) const {
    return {.strategy = strategy, .least = least, .clusters = get<int64_t>("clusters")};
  }
  void add(const std::string& name, const RsqOptions& options, int64_t expand = 1);
  void plan();
  const Row& row(const std::string& name) const;
  const Values& excess(const std::string& name) const { return row(name).excess; }
  LanguageModel quantize(const LanguageSubject& subject, const Row& row, uint64_t seed) const;
  void measure_rows(const LanguageSubject& subject, uint64_t seed);
  void rotate_float(const LanguageSubject& subject);
  Objective compare_objectives(const LanguageSubject& subject) const;
  void profile(const LanguageSubject& subject);
  void planted_layers();

  void check(const std::string& name, bool holds, const std::string& detail) {
    report_.checks.push_back({name, holds, detail});
  }
  void checks();
  Table table(const std::string& caption, const std::string& ending) const;
  void sections();

  const Config& config_;
  const RunContext& context_;
  std::vector<Row> rows_;
  Values float_perplexity_, logit_change_, logit_change_wide_;
  std::vector<Objective> objectives_;
  Values important_, others_;  // errors with weights over those without, a planted layer each
  std::vector<Series> profile_;
  Report report_;
};

Study::Study(const Config& config, const RunContext& context) : config_(config), context_(context) {
  const int seeds = get<int>("seeds");
  require(seeds >= 1 && seeds <= 20, "seeds must be between 1 and 20, got {}", seeds);
  for (const auto& strategy : get<Words>("strategies")) TokenImportance(importance(strategy, 0));
  if (const auto outliers = get<std::string>("outliers"); !outliers.empty()) parse_outliers(outliers);
  plan();
}

void Study::add(const std::string& name, const RsqOptions& options, int64_t expand) {
  rows_.push_back({.name = name, .options = options, .expand = expand});
}

void Study::plan() {
  const auto strategy = get<std::string>("strategy");
  const auto least = get<double>("least");
  const ImportanceOptions usual = importance(strategy, least);
  const int64_t expand = get<int64_t>("expand");
  RsqOptions rsq{.importance = usual,
                 .gptq = {.damping = get<double>("damping")},
                 .true_sequential = get<bool>("true_sequential")};
  rsq.ldlq.damping = rsq.gptq.damping;
  RsqOptions quarot = rsq;
  quarot.importance.reset();

  for (const int bits : get<std::vector<int>>("bits")) {
    rsq.grid.bits = quarot.grid.bits = bits;
    const auto named = [&](const std::string& name) { return fmt::format("{} {}", name, bits); };
    RsqOptions gptq = quarot;
    gptq.rotation.reset();
    add(named("RTN"), gptq);
    rows_.back().rounded = true;
    add(named("GPTQ"), gptq);
    add(named("QuaRot"), quarot);
    add(named("RSQ"), rsq);
    if (expand > 1) {
      add(named("QuaRot, expanded"), quarot, expand);
      add(named("RSQ, expanded"), rsq, expand);
    }
    const auto weighted = [&](const std::string& name, const ImportanceOptions& options) {
      RsqOptions changed = rsq;
      changed.importance = options;
      add(named(fmt::format("RSQ {}", name)), changed);
    };
    for (const auto& name : get<Words>("strategies")) weighted(name, importance(name, least));
    for (const double value : get<Values>("least_search"))
      weighted(fmt::format("r_min={}", value), importance(strategy, value));
    if (get<bool>("variants")) {
      using Mask = AttentionMask::Kind;
      ImportanceOptions base = usual;
      const auto vary = [&](const std::string& name, auto change) {
        ImportanceOptions options = base;
        change(options);
        weighted(name, options);
      };
      vary("reversed", [](auto& o) { o.reverse = true; });
      vary("root", [](auto& o) { o.power = 0.5; });
      vary("square", [](auto& o) { o.power = 2; });
      vary("over T-t", [](auto& o) { o.division = ImportanceOptions::Division::Linear; });
      vary("over root of T-t", [](auto& o) { o.division = ImportanceOptions::Division::Root; });
      vary("8 bins", [](auto& o) { o.bins = 8; });
      vary("top half", [](auto& o) { o.top = 0.5; });
      vary("window 16", [](auto& o) { o.mask = {.kind = Mask::Window, .size = 16}; });
      vary("blocks of 16", [](auto& o) { o.mask = {.kind = Mask::Block, .size = 16}; });
      vary("shifted blocks of 16", [](auto& o) { o.mask = {.kind = Mask::Shifted, .size = 16}; });
      vary("top 4 keys", [](auto& o) { o.mask = {.kind = Mask::Top, .size = 4}; });
      vary("sinks 4 and window 12", [](auto& o) { o.mask = {.kind = Mask::Sink, .size = 12, .sinks = 4}; });
      RsqOptions squared = rsq, values = rsq;
      squared.power = 2;
      values.apply_to = {"v_proj", "o_proj"};
      add(named("RSQ r squared"), squared);
      add(named("RSQ v and o only"), values);
    }
    if (!get<bool>("grids")) continue;
    const auto both = [&](const std::string& name, auto change) {
      for (RsqOptions options : {quarot, rsq}) {
        change(options);
        add(fmt::format("{} {}", options.importance ? "RSQ" : "QuaRot", name), options);
      }
    };
    both(named("asymmetric"), [](auto& o) { o.grid.kind = AffineKind::Asymmetric; });
    both(named("NormalFloat"), [](auto& o) {
      o.grid.kind = AffineKind::NormalFloat;
      o.grid.search = false;
    });
    both(named("8 bits for down_proj"), [](auto& o) { o.int8_down = true; });
    if (bits == 2) both("E8P 2", [](auto& o) { o.e8p = true; });
  }
  if (get<bool>("flow")) {
    rsq.grid.bits = quarot.grid.bits = 4;
    RsqOptions gptq = quarot;
    gptq.rotation.reset();
    add("GPTQ 4", gptq);
    add("QuaRot 4", quarot);
    for (RsqOptions* options : {&gptq, &quarot, &rsq}) options->flow = {.activations = 4, .keys = 4, .values = 4};
    quarot.rotation->keys = rsq.rotation->keys = true;
    add("GPTQ W4A4KV4", gptq);
    add("QuaRot W4A4KV4", quarot);
    add("RSQ W4A4KV4", rsq);
  }
}

const Row& Study::row(const std::string& name) const {
  for (const Row& row : rows_)
    if (row.name == name) return row;
  fail("no row '{}'", name);
}

LanguageModel Study::quantize(const LanguageSubject& subject, const Row& row, uint64_t seed) const {
  RsqOptions options = row.options;
  if (options.rotation) options.rotation->seed = seed;
  std::unique_ptr<BlockMethod> method = std::make_unique<RsqMethod>(options);
  if (row.rounded) method = std::make_unique<RoundToNearest>(std::make_shared<AffineGrid>(options.grid));
  return quantize_in_memory(subject.model, expand_cyclic(subject.calibration, row.expand), *method,
                            {.work = context_.out / "work", .probe = 1, .allow_ruined = true})
      .model;
}

void Study::measure_rows(const LanguageSubject& subject, uint64_t seed) {
  const InterruptGuard guard;
  const double reference = score_sequences(subject.model, subject.test).perplexity();
  float_perplexity_.push_back(reference);
  log_info("seed {}: float, perplexity {:.3f}", seed, reference);
  for (Row& row : rows_) {
    if (interrupted()) throw Interrupted("interrupted; the models are kept: go on with --resume");
    const LanguageModel model = quantize(subject, row, seed);
    row.perplexity.push_back(score_sequences(model, subject.test).perplexity());
    row.excess.push_back(std::log(row.perplexity.back() / reference));
    if (row.name.find("r_min=") != std::string::npos)
      row.calibration_perplexity.push_back(score_sequences(model, subject.calibration).perplexity());
    log_info("seed {}: {}, perplexity {:.3f}", seed, row.name, row.perplexity.back());
  }
}

/// The largest change of a logit by rotating the float model, in both precisions.
void Study::rotate_float(const LanguageSubject& subject) {
  const torch::NoGradGuard no_grad;
  const auto change = [&](torch::ScalarType type) {
    LanguageModel model = copy(subject.model);
    model->to(type);
    LanguageModel rotated = copy(model);
    rotated->to(type);
    rotate(rotated, {.seed = context_.seed, .keys = true});
    double largest = 0;
    for (const Tensor& ids : subject.test.split(8))
      largest = std::max(largest, (rotated->forward(ids) - model->forward(ids)).abs().max().item<double>());
    return largest;
  };
  logit_change_.push_back(change(torch::kFloat32));
  if (!context_.full) logit_change_wide_.push_back(change(torch::kFloat64));
}

/// Every layer of the rotated model solved with and without weights, on the inputs that quantized layers before it
/// give.
Objective Study::compare_objectives(const LanguageSubject& subject) const {
  const torch::NoGradGuard no_grad;
  const TokenImportance importance({.strategy = "attncon", .least = get<double>("objective.least")});
  const AffineGrid grid({.bits = get<int>("objective.bits"), .kind = AffineKind::Signed, .search = true});
  const GptqOptions options{.damping = get<double>("damping")};
  LanguageModel model = copy(subject.model);
  rotate(model, {.seed = context_.seed});
  Tensor h = model->embed(subject.calibration);
  Objective objective;
  for (DecoderBlock& block : model->blocks) {
    ActivationStore store(context_.out / "objective", h.size(0), h.size(1), h.size(2));
    store.set(0, h);
    const Tensor r = token_weights(importance(block, h, subject.calibration), 1);
    for (const auto& stage : block->stages()) {
      InputHessian plain(block->linear(stage[0])->weight.size(1)), weighted(plain.inputs());
      collect_inputs(block, {stage[0]}, store, [&](int64_t first, const std::vector<Tensor>& x) {
        plain.add(x[0]);
        weighted.add(x[0], r.slice(0, first, first + x[0].size(0)));
      });
      for (const auto& path : stage) {
        Tensor w = block->linear(path)->weight.detach();
        const Tensor H = weighted.value(), q = gptq(w, H, grid, options).weight;
        objective.ratios.push_back(output_error(w, q, H) /
                                   output_error(w, gptq(w, plain.value(), grid, options).weight, H));
        objective.layers.push_back(fmt::format("layers.{}.{}", block->index(), path));
        w.copy_(q);
      }
    }
    h = block->forward(h);
  }
  return objective;
}

/// Mean importance by position in the first block.
void Study::profile(const LanguageSubject& subject) {
  const torch::NoGradGuard no_grad;
  LanguageModel model = copy(subject.model);
  const Tensor ids = subject.calibration.slice(0, 0, 64), h = model->embed(ids);
  for (const auto* strategy : {"attncon", "actnorm", "actdiff", "tokensim", "tokenfreq"}) {
    TokenImportance importance({.strategy = strategy});
    importance.count(subject.calibration);
    const Tensor r = importance(model->blocks[0], h, ids).mean(0).to(torch::kFloat64).contiguous();
    profile_.push_back({.name = strategy, .y = Values(r.data_ptr<double>(), r.data_ptr<double>() + r.numel())});
  }
}

/// Tokens of which a tenth lies in a subspace of 12 of 64 dimensions and matters, W [48, 64].
void Study::planted_layers() {
  const AffineGrid grid({.bits = 3, .kind = AffineKind::Signed, .search = true});
  for (int seed = 0; seed < get<int>("layer.seeds"); ++seed) {
    torch::manual_seed(int64_t(context_.seed) + seed);
    const Tensor b = torch::randn({12, 64}) / std::sqrt(12.0), w = torch::randn({48, 64});
    const auto draw = [&](int64_t n) {
      const Tensor important = torch::rand({n}) < 0.1;
      return std::pair(torch::where(important.unsqueeze(1), torch::randn({n, 12}).mm(b), torch::randn({n, 64})),
                       important);
    };
    const auto [x, important] = draw(get<int64_t>("layer.tokens"));
    const auto [test, test_important] = draw(get<int64_t>("layer.test"));
    const auto solve = [&](double least) {
      InputHessian hessian(64);
      const Tensor r = torch::where(important, torch::ones({x.size(0)}), torch::full({x.size(0)}, least));
      hessian.add(x.unsqueeze(0), token_weights(r.unsqueeze(0), 1));
      return gptq(w, hessian.value(), grid, {.damping = get<double>("damping")}).weight;
    };
    const Tensor plain = solve(1), weighted = solve(get<double>("layer.least"));
    const auto error = [&](const Tensor& q, const Tensor& which) {
      return test.index({which}).mm((w - q).t()).square().mean().item<double>();
    };
    important_.push_back(error(weighted, test_important) / error(plain, test_important));
    others_.push_back(error(weighted, ~test_important) / error(plain, ~test_important));
  }
}

void Study::checks() {
  const auto seeds = float_perplexity_.size();
  const auto has = [&](int bits) { return std::ranges::count(get<std::vector<int>>("bits"), bits) > 0; };
  const auto count = [](const Values& a, const Values& b, double factor) {
    size_t holds = 0;
    for (size_t i = 0; i < a.size(); ++i) holds += a[i] <= factor * b[i];
    return holds;
  };
  check("Rotating the float model changes no logit by more than 1e-4 in float32",
        std::ranges::max(logit_change_) <= 1e-4, list(logit_change_, "{:.1e}"));
  if (!logit_change_wide_.empty())
    check("... and by no more than 1e-9 in float64", std::ranges::max(logit_change_wide_) <= 1e-9,
          list(logit_change_wide_, "{:.1e}"));
  for (const auto& [bits, factor] : {std::pair{3, 0.35}, {2, 0.75}})
    if (has(bits)) {
      const auto& quarot = excess(fmt::format("QuaRot {}", bits));
      const auto& gptq = excess(fmt::format("GPTQ {}", bits));
      check(fmt::format("{} bits: rotation leaves at most {} of GPTQ's excess, on every seed", bits, factor),
            count(quarot, gptq, factor) == seeds, fmt::format("{} against {}", list(quarot), list(gptq)));
    }
  {
    bool holds = true;
    Values means;
    std::string detail;
    for (const Objective& o : objectives_) {
      means.push_back(mean(o.ratios));
      holds &= o.lower() * 14 >= 11 * int(o.ratios.size()) && means.back() <= 0.995;
      detail +=
          fmt::format("{}{} of {}, mean {:.4f}", detail.empty() ? "" : "; ", o.lower(), o.ratios.size(), means.back());
    }
    check(
        "Weighting lowers the weighted error of at least 11 of 14 layers, and to at most 0.995 in the mean, on every "
        "seed",
        holds, detail);
  }
  check("Planted importance: weights at least halve the error on important tokens, on every seed",
        std::ranges::max(important_) <= 0.5, list(important_));
  check("Planted importance: the error on the others grows by at least a tenth, on every seed",
        std::ranges::min(others_) >= 1.1, list(others_));
  if (has(3)) {
    const auto &rsq = row("RSQ 3").perplexity, &quarot = row("QuaRot 3").perplexity;
    Values ratios;
    for (size_t i = 0; i < seeds; ++i) ratios.push_back(rsq[i] / quarot[i]);
    check("3 bits: RSQ's perplexity is at most 1.02 of QuaRot's on every seed, and 1.005 in the mean",
          std::ranges::max(ratios) <= 1.02 && mean(ratios) <= 1.005,
          fmt::format("{}; mean {:.4f}", list(ratios, "{:.4f}"), mean(ratios)));
  }
  if (has(2) && std::ranges::count(get<Words>("strategies"), "chunks:0_8") > 0) {
    const auto &first = excess("RSQ chunks:0_8 2"), &quarot = excess("QuaRot 2");
    check(
        "2 bits: with the first eighth of the tokens alone the model is worse than QuaRot's, on two thirds of the "
        "seeds",
        3 * (seeds - count(first, quarot, 1)) >= 2 * seeds, fmt::format("{} against {}", list(first), list(quarot)));
  }
  if (get<bool>("flow")) {
    const auto &gptq = excess("GPTQ W4A4KV4"), &quarot = excess("QuaRot W4A4KV4"), &rsq = excess("RSQ W4A4KV4");
    check("W4A4KV4: rotation is below GPTQ on every seed", count(quarot, gptq, 1) == seeds,
          fmt::format("{} against {}; RSQ {}", list(quarot), list(gptq), list(rsq)));
  }
}

Table Study::table(const std::string& caption, const std::string& ending) const {
  Table made{.caption = caption, .columns = {"", "perplexity", "excess", "over QuaRot"}, .rows = {}};
  for (const Row& r : rows_) {
    if (!r.name.ends_with(ending)) continue;
    std::string share;
    for (const Row& quarot : rows_)
      if (quarot.name == "QuaRot" + ending && r.options.rotation)
        share = fmt::format("{:.4f}", mean(r.perplexity) / mean(quarot.perplexity));
    made.rows.push_back({r.name, list(r.perplexity, "{:.2f}"),
                         fmt::format("{:.4f} ± {:.4f}", mean(r.excess), standard_deviation(r.excess)), share});
  }
  return made;
}

void Study::sections() {
  Section comparison{.title = "Strategies",
                     .text = fmt::format(
                         "Perplexity of each seed. Excess is ln perplexity above the float model's. RSQ without a name "
                         "is {} with r_min {}.",
                         get<std::string>("strategy"), get<double>("least"))};
  for (const int bits : get<std::vector<int>>("bits")) {
    const auto ending = fmt::format(" {}", bits);
    comparison.tables.push_back(table(fmt::format("{} bits", bits), ending));
    BarPlot plot{.title = fmt::format("{} bits", bits), .y = {.label = "excess"}};
    BarPlot::Bars bars{.name = "", .values = {}, .errors = {}};
    Words names{"QuaRot", "RSQ"};
    for (const auto& strategy : get<Words>("strategies")) names.push_back("RSQ " + strategy);
    for (const auto& name : names) {
      plot.groups.push_back(name == "RSQ"              ? get<std::string>("strategy")
                            : name.starts_with("RSQ ") ? name.substr(4)
                                                       : name);
      bars.values.push_back(mean(excess(name + ending)));
      bars.errors.push_back(standard_deviation(excess(name + ending)));
    }
    plot.bars.push_back(std::move(bars));
    comparison.figures.push_back(bar_plot(plot, fmt::format("Excess by strategy, {} bits", bits)));

    // r_min as a user would choose it: without the test data.
    Words chosen;
    for (size_t seed = 0; seed < float_perplexity_.size(); ++seed) {
      const Row* best = nullptr;
      for (const Row& r : rows_)
        if (!r.calibration_perplexity.empty() && r.name.ends_with(ending) &&
            (!best || r.calibration_perplexity[seed] < best->calibration_perplexity[seed]))
          best = &r;
      if (best) chosen.push_back(fmt::format("{} ({:.3f})", best->name, best->perplexity[seed]));
    }
    if (!chosen.empty())
      comparison.text += fmt::format(" {} bits: by perplexity on the calibration data the choice is {}.", bits,
                                     fmt::join(chosen, ", "));
  }
  report_.sections.push_back(std::move(comparison));
  if (get<bool>("flow"))
    report_.sections.push_back({.title = "Activations, keys and values with 4 bits",
                                .text = "Symmetric grids for every token, set anew: inputs of linear layers behind the "
                                        "online rotation, values of all heads, keys of each head after a rotation.",
                                .tables = {table("Float activations", " 4"), table("4 bits", " W4A4KV4")}});
  Table layers{
      .caption = "tr(D H_R D') with weights in the solver over that without", .columns = {"layer"}, .rows = {}};
  for (size_t i = 0; i < objectives_.size(); ++i) layers.columns.push_back(fmt::format("seed {}", context_.seed + i));
  for (size_t l = 0; l < objectives_[0].layers.size(); ++l) {
    layers.rows.push_back({objectives_[0].layers[l]});
    for (const Objective& o : objectives_) layers.rows.back().push_back(fmt::format("{:.4f}", o.ratios[l]));
  }
  report_.sections.push_back({.title = "The weighted objective", .text = {}, .tables = {layers}});
  report_.sections.push_back(
      {.title = "Importance",
       .text = "Mean over calibration sequences in the first block. Attention concentrates on early tokens, which all "
               "later ones can see; expansion by shifted copies lets every token be early once.",
       .figures = {
           line_plot({.title = "", .x = {.label = "position"}, .y = {.label = "importance"}, .series = profile_},
                     "Importance by position")}});
}

Report Study::run() {
  LanguageModel kept = nullptr;
  for (int i = 0; i < get<int>("seeds"); ++i) {
    const uint64_t seed = context_.seed + uint64_t(i);
    LanguageSubject subject = language_subject(config_, seed, context_);
    report_.data = subject.data;
    if (const auto outliers = get<std::string>("outliers"); !outliers.empty())
      inject_outliers(subject.model, parse_outliers(outliers, seed));
    rotate_float(subject);
    objectives_.push_back(compare_objectives(subject));
    if (i == 0) profile(subject);
    measure_rows(subject, seed);
    kept = subject.model;
  }
  planted_layers();
  report_.summary = fmt::format(
      "A decoder is rotated so that no channel stands out, its calibration tokens are weighted by their importance, "
      "and "
      "its weights are rounded with GPTQ's error feedback on the weighted statistics. {} models; perplexity of the "
      "float "
      "ones: {}. Without weights the method is QuaRot, without rotation GPTQ.",
      float_perplexity_.size(), list(float_perplexity_));
  for (const Row& r : rows_) report_.results.push_back({.name = r.name + ", perplexity", .value = mean(r.perplexity)});
  sections();
  checks();
  save_module(*kept, context_.out / "model.safetensors", {{"model", get<std::string>("model")}});
  report_.artifacts = {"model.safetensors"};
  return report_;
}

Report run(const Config& config, const RunContext& context) {
  return Study(config, context).run();
}

}  // namespace

Recipe recipe_30() {
  return {.title = "Rotate, scale, then quantize (arXiv 2503.01820)", .kind = "quantized", .seconds = 200, .run = run};
}

}  // namespace quanta
