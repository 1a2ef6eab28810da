#include "quanta/papers/recipe.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <sstream>

#include "quanta/core/log.h"
#include "quanta/core/parallel.h"
#include "quanta/core/signal.h"
#include "quanta/data/glyph_digits.h"
#include "quanta/data/known.h"
#include "quanta/models/mini_nets.h"
#include "quanta/models/vit.h"
#include "quanta/nn/fold.h"
#include "quanta/papers/reference.h"
#include "quanta/papers/statistics.h"
#include "quanta/quantize/gradient_ptq.h"
#include "quanta/quantize/importance.h"
#include "quanta/quantize/study.h"
#include "quanta/report/plot.h"
#include "quanta/train/checkpoint.h"

// Recipe 42: "Gradient-Based Post-Training Quantization: Challenging the Status Quo", arXiv 2308.07662. See README.md
// beside this file.

namespace quanta {
namespace {

using torch::Tensor;
using Words = std::vector<std::string>;

/// What one quantized network does on the test images.
struct Outcome {
  double loss = 0;         // cross-entropy
  double accuracy = 0;     // [0, 1]
  double input_error = 0;  // mean over the blocks of |x^ - x|^2 / |x|^2, x what goes into the block
  double decided = 1;      // least mean |2 h - 1| of a unit
  double bits = 0;         // a weight of the inner layers, with mixed precision
};

/// A network and what it is quantized and tested with.
struct Subject {
  std::string name;
  Network net = nullptr;  // batch normalization folded
  Outcome reference{};
  std::vector<Tensor> block_inputs{};  // of the float network on the test images
};

/// One way to quantize, measured with every seed.
struct Row {
  const Subject* subject = nullptr;
  std::string name{};
  PtqPreset preset{};
  Words changes{};  // options, and "calibration=" train, domain, noise
  std::optional<MixedPrecisionOptions> mixed{};
  uint64_t seeds = 0;
  std::vector<Outcome> runs{};

  template <class F>
  std::vector<double> each(F number) const {
    std::vector<double> values;
    for (const Outcome& run : runs) values.push_back(number(run));
    return values;
  }
  /// Cross-entropy above the float network's, in the place of ln(perplexity) of the original's language models.
  std::vector<double> excess() const {
    return each([&](const Outcome& run) { return run.loss - subject->reference.loss; });
  }
  std::vector<double> accuracy() const {
    return each([](const Outcome& run) { return run.accuracy; });
  }
  std::vector<double> input_error() const {
    return each([](const Outcome& run) { return run.input_error; });
  }
};

std::string list(const std::vector<double>& values) {
  return fmt::format("{:.4f}", fmt::join(values, ", "));
}

std::string mean_and_deviation(const std::vector<double>& values) {
  return fmt::format("{:.4f} ± {:.4f}", mean(values), standard_deviation(values));
}

template <class F>
int count_where(const std::vector<double>& a, const std::vector<double>& b, F holds) {
  int count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += holds(a[i], b[i]);
  return count;
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
  ImageSet images(const ImageSet& set, int64_t count) const;
  Tensor inputs(const ImageSet& set) const { return normalization_.apply(set.to_float()); }
  Subject subject(const std::string& label, Network untrained, ImageTraining training);
  Examples calibration(const std::string& kind, uint64_t seed) const;
  Outcome test(const Subject& subject, Network net) const;
  Outcome quantize(const Row& row, uint64_t seed) const;

  size_t add(const Subject& subject, const std::string& name, PtqPreset preset, Words changes, uint64_t seeds = 0);
  void plan();
  void quantize_all();
  const Row& row(const Subject& subject, const std::string& name) const;
  std::vector<double> excess(const std::string& name) const { return row(cnn_, name).excess(); }

  void check(const std::string& name, bool holds, const std::string& detail) {
    report_.checks.push_back({name, holds, detail});
  }
  void checks();
  void check_presets(const Subject& subject, const std::string& width);
  void tables();
  Table table(const Subject& subject, const std::string& caption, const Words& names) const;
  void factors();

  const Config& config_;
  const RunContext& context_;
  ImageSplits data_;
  Normalization normalization_;
  Tensor test_inputs_;
  Subject cnn_, vit_;
  std::map<uint64_t, std::map<std::string, Tensor>> gradients_;  // of the CNN, by seed
  std::vector<Row> rows_;
  std::vector<Factor> factors_;
  Report report_;
};

Study::Study(const Config& config, const RunContext& context) : config_(config), context_(context) {
  const int seeds = get<int>("seeds");
  require(seeds >= 1 && seeds <= 20, "seeds must be between 1 and 20, got {}", seeds);
  const auto widths = get<std::vector<int>>("mixed.bits");
  const double average = get<double>("mixed.average");
  require(widths.size() >= 2 && average >= widths.front() && average <= widths.back(),
          "mixed.average is {}, expected one between the first and the last of at least two mixed.bits", average);
  require(get<int>("ptq.calibration") >= 8, "ptq.calibration must be at least 8 images, got {}",
          get<int>("ptq.calibration"));
  const auto asked = get<std::string>("dataset");
  data_ = load_images_or_stand_in(asked, context.data, [](const std::string& line) { log_warn("{}", line); });
  if (data_.train.name != known_data(asked).name)
    report_.summary =
        fmt::format("{} was not found; the generated stand-in {} takes its place.\n\n", asked, data_.train.name);
  data_.train = images(data_.train, get<int64_t>("train"));
  data_.test = images(data_.test, get<int64_t>("test"));
  normalization_ = Normalization::measure(data_.train);
  test_inputs_ = inputs(data_.test);
}

/// At most so many, balanced over the classes, at the size of the study.
ImageSet Study::images(const ImageSet& set, int64_t count) const {
  ImageSet some = subset(set, std::min(count, set.size()), context_.seed);
  const auto size = get<int64_t>("size");
  require(size >= 8, "size must be at least 8 pixels, got {}", size);
  if (some.height() != size || some.width() != size) some.images = resize_area(some.images, size, size);
  return some;
}

Subject Study::subject(const std::string& label, Network untrained, ImageTraining training) {
  training.epochs = get<int>((label + ".epochs").c_str());
  training.batch = get<int>((label + ".batch").c_str());
  training.rate = get<double>((label + ".rate").c_str());
  training.augmentation.flip = data_.train.channels() > 1;
  training.seed = context_.seed;
  const auto trained = reference_network(label, std::move(untrained), data_, normalization_, training, context_);
  Subject made{.name = label, .net = fold_batch_norm(trained.net)};
  for (auto& p : made.net->parameters()) p.set_requires_grad(false);
  std::map<std::string, std::vector<Tensor>> seen;
  const torch::NoGradGuard no_grad;
  for (const auto& part : test_inputs_.split(256))
    made.net->run(part, [&](const Node& node, const auto&, const Tensor& out) { seen[node.name].push_back(out); });
  for (const Block& block : made.net->blocks())
    if (block.input > 0) made.block_inputs.push_back(torch::cat(seen.at(made.net->nodes()[size_t(block.input)].name)));
  made.reference = test(made, made.net);
  log_info("{}: {:.1f} % of {} test images, loss {:.4f}", label, 100 * made.reference.accuracy, data_.test.size(),
           made.reference.loss);
  return made;
}

/// The calibration images of a seed: of the training set, of another domain, or noise. Labels for the first only.
Examples Study::calibration(const std::string& kind, uint64_t seed) const {
  const auto count = get<int64_t>("ptq.calibration");
  if (kind == "train") {
    const ImageSet set = subset(data_.train, std::min(count, data_.train.size()), seed + 1000);
    return {.inputs = inputs(set), .targets = set.labels};
  }
  const auto shape = data_.train.images.sizes().slice(1);
  if (kind == "domain") {
    const auto glyphs = glyph_digits({.count = count, .size = shape[1], .seed = seed}).to_float();
    return {.inputs = normalization_.apply(glyphs.expand({count, shape[0], shape[1], shape[2]}))};
  }
  require(kind == "noise", "unknown calibration set '{}'", kind);
  Random random = Random(seed).split("noise");
  auto noise = torch::empty({count, shape[0], shape[1], shape[2]});
  for (int64_t i = 0; i < noise.numel(); ++i) noise.data_ptr<float>()[i] = float(random.normal());
  return {.inputs = noise};
}

Outcome Study::test(const Subject& subject, Network net) const {
  const torch::NoGradGuard no_grad;
  std::map<std::string, size_t> place;  // of a block's input
  for (const Block& block : subject.net->blocks())
    if (block.input > 0) place.emplace(subject.net->nodes()[size_t(block.input)].name, place.size());
  std::vector<double> errors(place.size());
  std::vector<Tensor> logits;
  int64_t at = 0;
  for (const auto& part : test_inputs_.split(256)) {
    logits.push_back(net->run(part, [&](const Node& node, const auto&, const Tensor& out) {
      const auto found = place.find(node.name);
      if (found == place.end()) return;
      const auto x = subject.block_inputs[found->second].slice(0, at, at + part.size(0));
      errors[found->second] += (out - x).square().sum().item<double>();
    }));
    at += part.size(0);
  }
  const auto outputs = torch::cat(logits);
  Outcome outcome{.loss = torch::cross_entropy_loss(outputs, data_.test.labels).item<double>(),
                  .accuracy = (outputs.argmax(1) == data_.test.labels).to(torch::kDouble).mean().item<double>()};
  for (size_t i = 0; i < errors.size(); ++i)
    outcome.input_error += errors[i] / subject.block_inputs[i].square().sum().item<double>() / double(errors.size());
  return outcome;
}

Outcome Study::quantize(const Row& row, uint64_t seed) const {
  auto options = gradient_preset(row.preset);
  const auto set = [&](const char* key, const auto& value) { set_option(options, fmt::format("{}={}", key, value)); };
  set("steps", get<int64_t>("ptq.steps"));
  set("batch", get<int64_t>("ptq.batch"));
  set("activation_steps", get<int64_t>("ptq.activation_steps"));
  set("joint_rate", get<double>("ptq.joint_rate"));
  if (row.preset == PtqPreset::Best) set("rate", get<double>("ptq.rate"));
  set("seed", seed);
  std::string kind = "train";
  for (const auto& change : row.changes)
    if (change.starts_with("calibration="))
      kind = change.substr(change.find('=') + 1);
    else
      set_option(options, change);
  double bits = options.bits;
  if (row.mixed) {
    auto mixed = *row.mixed;
    mixed.seed = seed;
    const auto plan = mixed_precision(row.subject->net, gradients_.at(seed), mixed);
    options.widths = plan.widths;
    bits = plan.average_bits;
  }
  const auto result = gradient_ptq(row.subject->net, calibration(kind, seed), options);
  Outcome outcome = test(*row.subject, result.net);
  outcome.bits = bits;
  for (const auto& unit : result.units) outcome.decided = std::min(outcome.decided, unit.report.decided);
  return outcome;
}

size_t Study::add(const Subject& subject, const std::string& name, PtqPreset preset, Words changes, uint64_t seeds) {
  rows_.push_back({.subject = &subject,
                   .name = name,
                   .preset = preset,
                   .changes = std::move(changes),
                   .seeds = seeds ? seeds : uint64_t(get<int>("seeds"))});
  return rows_.size() - 1;
}

const Row& Study::row(const Subject& subject, const std::string& name) const {
  for (const Row& row : rows_)
    if (row.subject == &subject && row.name == name) return row;
  fail("no row '{}'", name);
}

const Words kPresets = {"nearest", "adaround", "brecq", "qdrop", "best"};

void Study::plan() {
  const auto rate = fmt::format("rate={}", get<double>("ptq.rate"));
  const auto few = fmt::format("samples={}", get<int>("ptq.calibration") / 4);
  for (const int bits : {2, 3}) {
    const auto width = fmt::format("bits={}", bits);
    const auto name = [&](const std::string& what) { return fmt::format("W{} {}", bits, what); };
    add(cnn_, name("nearest"), PtqPreset::Nearest, {width});
    add(cnn_, name("layer units"), PtqPreset::AdaRound, {width, rate});
    add(cnn_, name("block units"), PtqPreset::Brecq, {width, rate});
    add(cnn_, name("block units, published rate"), PtqPreset::Brecq, {width});
    if (bits == 3) continue;
    add(cnn_, name("block units, SGD"), PtqPreset::Brecq, {width, "optimizer=sgd", "rate=1"});
    add(cnn_, name("block units, L1"), PtqPreset::Brecq, {width, rate, "loss=l1"});
    add(cnn_, name("block units, cosine"), PtqPreset::Brecq, {width, rate, "loss=cosine", "lambda=0.001"});
    add(cnn_, name("block units, a quarter of the images"), PtqPreset::Brecq, {width, rate, few});
  }
  for (const Subject* subject : {&cnn_, &vit_})
    for (const int bits : {4, 2}) {
      if (subject == &vit_ && bits == 2) continue;
      for (const auto& preset : kPresets)
        add(*subject, fmt::format("W{}A4 {}", bits, preset), parse_preset(preset),
            {fmt::format("bits={}", bits), "activation_bits=4"});
    }
  for (const int bits : {4, 2})
    for (const auto* drop : {"0.5", "1"})
      add(cnn_, fmt::format("W{}A4 joint, drop {}", bits, drop), PtqPreset::QDrop,
          {fmt::format("bits={}", bits), "activation_bits=4", rate, fmt::format("drop={}", drop)});

  MixedPrecisionOptions mixed{.bits = get<std::vector<int>>("mixed.bits"), .average = get<double>("mixed.average")};
  const auto add_mixed = [&](const std::string& name, const MixedPrecisionOptions& options, PtqPreset preset) {
    rows_[add(cnn_, "mixed: " + name, preset, {rate})].mixed = options;
  };
  add(cnn_, "mixed: one width", PtqPreset::Nearest, {fmt::format("bits={}", int(mixed.average))});
  for (const auto* kind : {"fisher", "taylor", "magnitude", "random"}) {
    mixed.importance = parse_importance(kind);
    add_mixed(kind, mixed, PtqPreset::Nearest);
  }
  mixed.importance = Importance::Taylor;
  mixed.binary = true;
  add_mixed("two widths by taylor", mixed, PtqPreset::Nearest);
  mixed.inverted = true;
  add_mixed("two widths by taylor, inverted", mixed, PtqPreset::Nearest);
  add_mixed("fisher, learned", {.bits = mixed.bits, .average = mixed.average}, PtqPreset::Brecq);
  add(cnn_, "mixed: one width, learned", PtqPreset::Brecq, {fmt::format("bits={}", int(mixed.average)), rate});

  factors_ = {
      {"weights learned",
       {"", "select=random selected=0.5", "select=largest selected=0.5", "select=undecided selected=0.5"}},
      {"feature augmentation", {"", "drop=1", "augment=noise", "augment=mixup", "augment=cutout"}},
      {"calibration set", {"", "calibration=domain", "calibration=noise", few}},
      {"loss", {"", "loss=l1", "loss=huber", "loss=lp", "loss=cosine lambda=0.001", "loss=kl lambda=0.001"}},
      {"degrees of freedom", {"", "learn_bias=false", "learn_scale=true", "learn_bias=false learn_scale=true"}},
      {"unit", {"", "blocks=false"}},
      {"scheme", {"", "scheme=power", "scheme=log"}},
      {"variable",
       {"", "variable=sigmoid", "variable=clamp", "variable=sine", "variable=straight", "variable=full_space"}},
      {"optimizer",
       {"", "optimizer=sgd rate=1", "optimizer=rmsprop", "optimizer=adamw", "optimizer=adamax", "optimizer=nadam"}},
      {"rate", {"", "rate=0.001", "rate=0.03", "schedule=cosine"}}};
  std::vector<std::string> seen;
  for (const Factor& factor : factors_)
    for (const auto& option : factor.options) {
      if (std::ranges::find(seen, option) != seen.end()) continue;
      seen.push_back(option);
      Words changes = {fmt::format("bits={}", get<int>("study.bits")),
                       fmt::format("steps={}", get<int64_t>("study.steps"))};
      std::istringstream words(option);
      for (std::string word; words >> word;) changes.push_back(word);
      add(cnn_, "study: " + option, PtqPreset::Best, changes, uint64_t(get<int>("study.seeds")));
    }
}

/// Runs are independent of each other, so each core takes one after the other.
void Study::quantize_all() {
  struct Job {
    Row* row;
    size_t index;
  };
  std::vector<Job> jobs;
  for (Row& row : rows_) {
    row.runs.resize(row.seeds);
    for (size_t i = 0; i < row.seeds; ++i) jobs.push_back({&row, i});
  }
  const InterruptGuard guard;
  std::atomic<size_t> next = 0;
  parallel_for(threads(), 1, [&](int64_t, int64_t) {
    for (size_t i; (i = next++) < jobs.size() && !interrupted();) {
      const auto& [row, index] = jobs[i];
      try {
        row->runs[index] = quantize(*row, context_.seed + index);
      } catch (const Error& error) {
        if (interrupted()) return;
        fail("{}, {}: {}", row->subject->name, row->name, error.what());
      }
      log_info("{}, {}, seed {}: loss {:.4f} ({:+.4f}), {:.1f} %", row->subject->name, row->name, context_.seed + index,
               row->runs[index].loss, row->runs[index].loss - row->subject->reference.loss,
               100 * row->runs[index].accuracy);
    }
  });
  if (interrupted())
    throw Interrupted(
        fmt::format("interrupted; the reference networks are in {}: go on with --resume", context_.out.string()));
}

/// The reduced run's relations. Its measure, ln(perplexity) above the float network's, is here the cross-entropy above
/// the float network's.
void Study::checks() {
  const auto seeds = size_t(get<int>("seeds"));
  const auto every = [&](const std::vector<double>& a, const std::vector<double>& b, double factor = 1) {
    return size_t(count_where(a, b, [&](double x, double y) { return x <= factor * y; })) == seeds;
  };
  const auto compare = [&](const std::string& a, const std::string& b) {
    return fmt::format("{} against {}", list(excess(a)), list(excess(b)));
  };
  check("2 bits: learned rounding leaves at most 0.6 of nearest's excess loss, on every seed",
        every(excess("W2 block units"), excess("W2 nearest"), 0.6), compare("W2 block units", "W2 nearest"));
  check("3 bits: learned rounding is below nearest on every seed",
        every(excess("W3 block units"), excess("W3 nearest")), compare("W3 block units", "W3 nearest"));
  if (!context_.full)
    for (const int bits : {2, 3}) {
      const auto fast = fmt::format("W{} block units", bits), slow = fast + ", published rate";
      check(fmt::format("{} bits: for few steps Adam's rate {} beats the published 0.001 on every seed", bits,
                        get<double>("ptq.rate")),
            every(excess(fast), excess(slow)), compare(fast, slow));
    }
  {
    double worst = 0;
    for (size_t i = 0; i < seeds; ++i) {
      std::vector<double> perplexity;
      for (const auto* loss : {"W2 block units", "W2 block units, L1", "W2 block units, cosine"})
        perplexity.push_back(std::exp(row(cnn_, loss).runs[i].loss));
      const auto [low, high] = std::ranges::minmax(perplexity);
      worst = std::max(worst, (high - low) / low);
    }
    check("2 bits: among L2, L1 and cosine the choice of the loss changes exp(cross-entropy) by at most 2 %",
          worst <= 0.02, fmt::format("at most {:.2f} %", 100 * worst));
  }
  check("2 bits: a quarter of the calibration images is enough to beat nearest on every seed",
        every(excess("W2 block units, a quarter of the images"), excess("W2 nearest")),
        compare("W2 block units, a quarter of the images", "W2 nearest"));
  double decided = 1;
  for (const auto& run : row(cnn_, "W2 block units").runs) decided = std::min(decided, run.decided);
  check("2 bits: the rounding is decided before it is hardened (mean |2h - 1| at least 0.99)", decided >= 0.99,
        fmt::format("{:.4f}", decided));

  const auto fisher = excess("mixed: fisher"), one = excess("mixed: one width"), random = excess("mixed: random");
  check("Mixed precision: fisher < one width < random on every seed", every(fisher, one) && every(one, random),
        fmt::format("{}; {}; {}", list(fisher), list(one), list(random)));
  check("Mixed precision: taylor is below one width in the mean", mean(excess("mixed: taylor")) < mean(one),
        fmt::format("{:.4f} against {:.4f}", mean(excess("mixed: taylor")), mean(one)));
  check("Mixed precision: fisher leaves at most 0.85 of random's excess loss, on every seed",
        every(fisher, random, 0.85), fmt::format("{} against {}", list(fisher), list(random)));
  double most = 0;
  for (const Row& row : rows_)
    if (row.mixed)
      for (const auto& run : row.runs) most = std::max(most, run.bits);
  check("Mixed precision: the budget is never exceeded", most <= get<double>("mixed.average"),
        fmt::format("at most {:.4f} bits a weight", most));

  for (const int bits : {4, 2}) {
    const auto with = row(cnn_, fmt::format("W{}A4 joint, drop 0.5", bits)).input_error();
    const auto without = row(cnn_, fmt::format("W{}A4 joint, drop 1", bits)).input_error();
    const int better = count_where(with, without, [](double a, double b) { return a < b; });
    check(fmt::format("W{}A4: dropping quantization brings the blocks' inputs closer to the float network's on most "
                      "seeds, or is level within 2 %",
                      bits),
          3 * better >= 2 * int(seeds) || mean(with) <= 1.02 * mean(without),
          fmt::format("squared error {} against {}", list(with), list(without)));
  }
  check_presets(cnn_, "W4A4");
  check_presets(cnn_, "W2A4");
  check_presets(vit_, "W4A4");
}

/// The paper's claim: its best practices improve every method.
void Study::check_presets(const Subject& subject, const std::string& width) {
  const auto of = [&](const char* preset) { return row(subject, fmt::format("{} {}", width, preset)).excess(); };
  const auto best = of("best");
  bool holds = true;
  for (const auto* preset : {"adaround", "brecq", "qdrop"}) holds &= mean(best) <= mean(of(preset));
  check(
      fmt::format("{} {}: the best practices are at or below every published preset in the mean", subject.name, width),
      holds,
      fmt::format("{:.4f}; adaround {:.4f}, brecq {:.4f}, qdrop {:.4f}", mean(best), mean(of("adaround")),
                  mean(of("brecq")), mean(of("qdrop"))));
}

Table Study::table(const Subject& subject, const std::string& caption, const Words& names) const {
  Table made{.caption = caption, .columns = {"", "excess loss", "accuracy", "error of the blocks' inputs"}, .rows = {}};
  for (const auto& name : names) {
    const Row& r = row(subject, name);
    made.rows.push_back(
        {name, mean_and_deviation(r.excess()), percent(r.accuracy()), mean_and_deviation(r.input_error())});
  }
  return made;
}

void Study::tables() {
  const auto names = [&](const Subject& subject, const std::string& prefix) {
    Words found;
    for (const Row& row : rows_)
      if (row.subject == &subject && row.name.starts_with(prefix)) found.push_back(row.name);
    return found;
  };
  report_.sections.push_back(
      {.title = "Rounding of weights",
       .text =
           "Weights of the inner layers with 2 or 3 bits a channel, the first and the last layer with 8, "
           "activations float. Excess loss is the cross-entropy on the test images above that of the float network.",
       .tables = {table(cnn_, "2 bits", names(cnn_, "W2 ")), table(cnn_, "3 bits", names(cnn_, "W3 "))}});
  const auto presets = [&](const Subject& subject, const std::string& width) {
    BarPlot plot{.title = fmt::format("{} {}", subject.name, width), .y = {.label = "excess loss"}};
    BarPlot::Bars bars{.name = "", .values = {}, .errors = {}};
    for (const auto& preset : kPresets) {
      const auto values = row(subject, fmt::format("{} {}", width, preset)).excess();
      plot.groups.push_back(preset);
      bars.values.push_back(mean(values));
      bars.errors.push_back(standard_deviation(values));
    }
    plot.bars.push_back(std::move(bars));
    return bar_plot(plot, fmt::format("Presets, {} {}", subject.name, width));
  };
  report_.sections.push_back(
      {.title = "Weights and activations",
       .text =
           "Activations with 4 bits (those next to the first and the last layer with 8). The published presets have "
           "their published learning rate, and all have the same number of steps a unit.",
       .tables = {table(cnn_, "CNN, weights of 4 bits", names(cnn_, "W4A4")),
                  table(cnn_, "CNN, weights of 2 bits", names(cnn_, "W2A4")),
                  table(vit_, "Vision transformer, weights of 4 bits", names(vit_, "W4A4"))},
       .figures = {presets(cnn_, "W2A4"), presets(vit_, "W4A4")}});
  report_.sections.push_back({.title = "Mixed precision",
                              .text = fmt::format("{:.1f} bits a weight on average, a width for every output channel.",
                                                  get<double>("mixed.average")),
                              .tables = {table(cnn_, "", names(cnn_, "mixed: "))}});
}

void Study::factors() {
  std::vector<uint64_t> seeds;
  for (int i = 0; i < get<int>("study.seeds"); ++i) seeds.push_back(uint64_t(i));
  const auto results = factor_study(factors_, seeds, [&](const Words& changes, uint64_t seed) {
    return excess("study: " + fmt::format("{}", fmt::join(changes, " ")))[size_t(seed)];
  });
  Table options{.caption = "Excess loss", .columns = {"factor", "option", "excess loss"}, .rows = {}};
  Table summary{.caption = "What matters: a factor is robust if its options differ by at most two deviations",
                .columns = {"factor", "spread", "deviation", "robust", "best option"},
                .rows = {}};
  for (const auto& result : results) {
    for (const auto& option : result.options)
      options.rows.push_back({result.name, option.text, fmt::format("{:.4f} ± {:.4f}", option.mean, option.deviation)});
    summary.rows.push_back({result.name, fmt::format("{:.4f}", result.spread), fmt::format("{:.4f}", result.deviation),
                            result.robust ? "yes" : "no", result.options[result.best].text});
    report_.results.push_back({.name = fmt::format("Spread of the factor {}", result.name), .value = result.spread});
  }
  report_.sections.push_back(
      {.title = "Factors",
       .text = fmt::format("One choice at a time around the preset \"best\", weights of {} bits, activations float, "
                           "{} steps a unit, {} seeds.",
                           get<int>("study.bits"), get<int64_t>("study.steps"), get<int>("study.seeds")),
       .tables = {summary, options}});
}

Report Study::run() {
  MiniNetOptions mini{
      .channels = data_.train.channels(), .classes = int64_t(data_.train.classes.size()), .seed = context_.seed};
  cnn_ = subject("cnn", mini_resnet(get<std::vector<int64_t>>("cnn.widths"), mini), {});
  vit_ = subject("vit",
                 vit({.input = get<int64_t>("size"),
                      .channels = data_.train.channels(),
                      .patch = get<int64_t>("vit.patch"),
                      .width = get<int64_t>("vit.width"),
                      .depth = get<int64_t>("vit.depth"),
                      .heads = get<int64_t>("vit.heads"),
                      .mlp = get<int64_t>("vit.mlp"),
                      .classes = mini.classes,
                      .seed = context_.seed}),
                 {.weight_decay = get<double>("vit.weight_decay")});
  for (int i = 0; i < get<int>("seeds"); ++i) {
    const uint64_t seed = context_.seed + uint64_t(i);
    const auto set = subset(data_.train, std::min(get<int64_t>("mixed.samples"), data_.train.size()), seed + 1000);
    gradients_[seed] = squared_gradients(cnn_.net, {.inputs = inputs(set), .targets = set.labels});
  }
  plan();
  quantize_all();

  report_.data = {
      .name = data_.train.name, .source = data_.train.source, .train = data_.train.size(), .test = data_.test.size()};
  report_.summary += fmt::format(
      "The rounding of weights is learned on a few calibration images so that every unit of the network keeps its "
      "output. One engine with the published methods as presets; its choices are varied one at a time. All rows of a "
      "table quantize the same network: the CNN classifies {:.1f} % of the test images, the vision transformer {:.1f} "
      "%.",
      100 * cnn_.reference.accuracy, 100 * vit_.reference.accuracy);
  for (const Subject* subject : {&cnn_, &vit_})
    report_.results.push_back(
        {.name = fmt::format("{}, float", subject->name), .value = 100 * subject->reference.accuracy, .unit = "%"});
  for (const Row& row : rows_) {
    if (row.name.starts_with("study: ")) continue;
    report_.results.push_back(
        {.name = fmt::format("{}, {}, excess loss", row.subject->name, row.name), .value = mean(row.excess())});
    report_.results.push_back(
        {.name = fmt::format("{}, {}", row.subject->name, row.name), .value = 100 * mean(row.accuracy()), .unit = "%"});
  }
  const auto gain = mean(row(vit_, "W4A4 best").accuracy()) - mean(row(vit_, "W4A4 qdrop").accuracy());
  report_.results.push_back({.name = "vit, W4A4, gain of the best practices over QDrop",
                             .value = 100 * gain,
                             .unit = "points",
                             .paper = 6.819,
                             .paper_source = "abstract: ViT, 4 bits, ImageNet"});
  tables();
  factors();
  checks();
  save_module(*cnn_.net, context_.out / "model.safetensors",
              {{"model", "cnn, batch normalization folded"}, {"data", data_.train.name}});
  report_.artifacts = {"cnn.safetensors", "metrics.jsonl", "model.safetensors", "vit.safetensors"};
  return report_;
}

Report run(const Config& config, const RunContext& context) {
  return Study(config, context).run();
}

}  // namespace

Recipe recipe_42() {
  return {.title = "Gradient-based post-training quantization (arXiv 2308.07662)",
          .kind = "quantized",
          .seconds = 220,
          .run = run};
}

}  // namespace quanta
