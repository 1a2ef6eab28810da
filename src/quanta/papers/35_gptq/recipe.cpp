#include "quanta/papers/recipe.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <map>
#include <memory>
#include <optional>

#include "quanta/core/log.h"
#include "quanta/core/parallel.h"
#include "quanta/core/random.h"
#include "quanta/core/signal.h"
#include "quanta/data/text_data.h"
#include "quanta/models/checkpoint.h"
#include "quanta/models/evaluate_text.h"
#include "quanta/models/generate.h"
#include "quanta/nn/packed_linear.h"
#include "quanta/nn/state.h"
#include "quanta/papers/reference_language.h"
#include "quanta/papers/statistics.h"
#include "quanta/quantize/blockwise.h"
#include "quanta/quantize/gptq_layer.h"
#include "quanta/quantize/layerwise_method.h"
#include "quanta/quantize/obq.h"
#include "quanta/report/plot.h"
#include "quanta/train/metrics_file.h"

// Recipe 35: "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", arXiv 2210.17323. See
// README.md beside this file.

namespace quanta {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;
using Values = std::vector<double>;

/// One way to quantize, measured with every seed.
struct Row {
  std::string name{};
  AffineGridOptions grid{};
  std::optional<GptqOptions> gptq{};  // none: rounded to nearest
  bool true_sequential = false;
  double bits = 0;                // a weight, with scales and zero points
  Values perplexity{}, excess{};  // excess: ln perplexity above the float model's
  std::vector<Ledger> ledgers{};
};

/// A model and its data.
struct Subject {
  LanguageModel model = nullptr;
  Tensor calibration{}, test{};
  double perplexity = 0;
};

std::string list(const Values& values) {
  return fmt::format("{:.4f}", fmt::join(values, ", "));
}

/// Whether a <= factor b (or, if `strictly`, a < factor b) holds for each pair.
bool below(const Values& a, const Values& b, double factor = 1, bool strictly = true) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!(strictly ? a[i] < factor * b[i] : a[i] <= factor * b[i])) return false;
  return true;
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
  Subject subject(uint64_t seed);
  void plan(const LanguageConfig& model);
  void add(const std::string& name, const AffineGridOptions& grid, std::optional<GptqOptions> gptq = {},
           bool true_sequential = false);
  const Row& row(const std::string& name) const;
  const Values& excess(const std::string& name) const { return row(name).excess; }
  void measure(const Subject& subject, uint64_t seed);
  void compare_with_obq(Subject& subject);
  void correlated_layers();
  void products();
  void generation(const Subject& subject);

  void check(const std::string& name, bool holds, const std::string& detail) {
    report_.checks.push_back({name, holds, detail});
  }
  void compare(const std::string& claim, const std::string& a, const std::string& b, double factor = 1,
               bool strictly = true) {
    check(claim, below(excess(a), excess(b), factor, strictly),
          fmt::format("{} against {}", list(excess(a)), list(excess(b))));
  }
  void checks();
  void tables();

  const Config& config_;
  const RunContext& context_;
  GptqOptions gptq_;
  std::vector<Row> rows_;
  Values float_perplexity_;
  LanguageModel kept_ = nullptr;  // the 3-bit one of the first seed
  std::vector<Values> obq_;       // of each layer: errors of GPTQ and of OBQ over that of rounding
  std::vector<std::string> obq_layers_;
  Report report_;
};

Study::Study(const Config& config, const RunContext& context) : config_(config), context_(context) {
  const int seeds = get<int>("seeds");
  require(seeds >= 1 && seeds <= 20, "seeds must be between 1 and 20, got {}", seeds);
  require(!get<std::string>("model").empty(),
          "the full run quantizes a model on disk: add --set model=FOLDER --set calibration=FILE --set test=FILE");
  const auto bits = get<std::vector<int>>("bits");
  const auto groups = get<std::vector<int64_t>>("groups");
  for (const int needed : {4, 3, 2})
    require(std::ranges::count(bits, needed) == 1, "bits must hold 4, 3 and 2, which are compared, got {}",
            fmt::join(bits, ", "));
  require(std::ranges::count(groups, 32) == 1, "groups must hold 32, which is compared, got {}",
          fmt::join(groups, ", "));
  for (const int width : bits) AffineGrid({.bits = width});
  for (const int64_t group : groups) AffineGrid({.group = group});
  gptq_ = {.block = get<int64_t>("block"), .damping = get<double>("damping")};
}

Subject Study::subject(uint64_t seed) {
  const auto name = get<std::string>("model");
  if (!fs::is_directory(name)) {
    ReferenceLanguage reference = reference_language_model(name, seed, context_);
    report_.data = reference.data;
    return {reference.model, reference.calibration, reference.test};
  }
  const auto calibration = get<std::string>("calibration"), test = get<std::string>("test");
  require(!calibration.empty() && !test.empty(),
          "a model from a folder needs two texts: --set calibration=FILE --set test=FILE");
  const Checkpoint checkpoint = Checkpoint::open(name);
  const auto tokenizer = load_tokenizer(name);
  require_vocabulary(checkpoint.config(), *tokenizer);
  const int64_t length = std::min(get<int64_t>("length"), checkpoint.config().longest());
  const auto before = read_text(calibration), after = read_text(test);
  require_disjoint(before, after);
  const Tensor stream = token_stream(tokenizer->encode(after, true));
  int64_t count = stream.numel() / length;
  if (const auto most = get<int64_t>("windows"); most > 0) count = std::min(count, most);
  require(count > 0, "{} has {} tokens, fewer than one window of {}", test, stream.numel(), length);
  Subject made{.model = checkpoint.model(),
               .calibration = random_windows(token_stream(tokenizer->encode(before, true)), get<int64_t>("sequences"),
                                             length, seed, calibration)
                                  .tokens,
               .test = stream.slice(0, 0, count * length).view({count, length})};
  made.model->eval();
  report_.data = {.name = fs::path(test).filename().string(),
                  .source = test,
                  .train = made.calibration.numel(),
                  .test = made.test.numel()};
  return made;
}

void Study::add(const std::string& name, const AffineGridOptions& grid, std::optional<GptqOptions> gptq,
                bool true_sequential) {
  rows_.push_back({.name = name, .grid = grid, .gptq = gptq, .true_sequential = true_sequential});
}

const Row& Study::row(const std::string& name) const {
  for (const Row& row : rows_)
    if (row.name == name) return row;
  fail("no row '{}'", name);
}

constexpr AffineGridOptions kTernary{.kind = AffineKind::Ternary};

void Study::plan(const LanguageConfig& model) {
  const int64_t widest = std::max(model.width, model.inner);
  for (const int bits : get<std::vector<int>>("bits")) {
    add(fmt::format("RTN {}", bits), {.bits = bits});
    add(fmt::format("GPTQ {}", bits), {.bits = bits}, gptq_);
    if (bits > 3) continue;
    for (const int64_t group : get<std::vector<int64_t>>("groups"))
      if (group < widest) {
        add(fmt::format("RTN {} g{}", bits, group), {.bits = bits, .group = group});
        add(fmt::format("GPTQ {} g{}", bits, group), {.bits = bits, .group = group}, gptq_);
      }
  }
  GptqOptions ordered = gptq_;
  ordered.act_order = true;
  add("GPTQ 2 act-order", {.bits = 2}, ordered);
  add("GPTQ 2 true-sequential", {.bits = 2}, gptq_, true);
  add("GPTQ 2 act-order true-sequential", {.bits = 2}, ordered, true);
  GptqOptions fixed = ordered, stale = gptq_;
  fixed.static_groups = true;
  stale.group_stats = GroupStats::BlockStart;
  add("GPTQ 2 g32 act-order", {.bits = 2, .group = 32}, ordered);
  add("GPTQ 2 g32 act-order static groups", {.bits = 2, .group = 32}, fixed);
  add("GPTQ 2 g32 block-start statistics", {.bits = 2, .group = 32}, stale);
  AffineGridOptions eighths = kTernary;
  eighths.group = 8;
  add("RTN ternary g8", eighths);
  add("GPTQ ternary g8", eighths, gptq_);
  add("RTN ternary", kTernary);
  add("GPTQ ternary", kTernary, gptq_);
}

void Study::measure(const Subject& subject, uint64_t seed) {
  const InterruptGuard guard;
  float_perplexity_.push_back(subject.perplexity);
  log_info("seed {}: float, perplexity {:.3f}", seed, subject.perplexity);
  for (Row& row : rows_) {
    if (interrupted()) throw Interrupted("interrupted; the models are kept: go on with --resume");
    const auto rule = std::make_shared<AffineGrid>(row.grid);
    std::unique_ptr<BlockMethod> method = std::make_unique<RoundToNearest>(rule);
    if (row.gptq) method = std::make_unique<GptqMethod>(rule, *row.gptq, row.true_sequential);
    // With the calibration data also for rounding, so that the ledgers have its layers' errors. A ternary row may lose
    // a whole layer, and is to be seen.
    BlockwiseResult result = quantize_in_memory(subject.model, subject.calibration, *method,
                                                {.work = context_.out / "work", .probe = 1, .allow_ruined = true});
    row.perplexity.push_back(score_sequences(result.model, subject.test).perplexity());
    row.excess.push_back(std::log(row.perplexity.back() / subject.perplexity));
    double bits = 0, weights = 0;
    for (const auto& block : result.ledger.blocks)
      for (const auto& layer : block.layers) {
        bits += double(layer.rows * layer.columns) * rule->bits_per_weight(layer.columns);
        weights += double(layer.rows * layer.columns);
      }
    row.bits = bits / weights;
    row.ledgers.push_back(std::move(result.ledger));
    if (!kept_ && row.name == "GPTQ 3") kept_ = result.model;
    log_info("seed {}: {}, perplexity {:.3f}", seed, row.name, row.perplexity.back());
  }
}

/// The layers of the first blocks with the inputs they have in the float model.
void Study::compare_with_obq(Subject& subject) {
  const torch::NoGradGuard no_grad;
  Tensor h = subject.model->embed(subject.calibration);
  const int64_t count = std::min(get<int64_t>("obq.blocks"), subject.model->config().layers);
  for (int64_t b = 0; b < count; ++b) {
    DecoderBlock block = copy(subject.model->blocks[size_t(b)], b);
    std::map<std::string, std::shared_ptr<InputHessian>> hessians;
    for (const auto& stage : block->stages())
      for (const auto& path : stage) hessians[path] = capture_hessians(*block->linear(path)).front();
    h = block->forward(h);
    for (const auto& stage : block->stages())
      for (const auto& path : stage) {
        const Tensor w = block->linear(path)->weight.to(torch::kFloat64),
                     H = hessians.at(path)->value().to(torch::kFloat64);
        const AffineGrid grid({.bits = 3});
        const double nearest = output_error(w, rtn(w, grid).weight, H);
        obq_layers_.push_back(fmt::format("layers.{}.{}", b, path));
        obq_.push_back({output_error(w, gptq(w, H, grid, gptq_).weight, H) / nearest,
                        output_error(w, obq(w, H, grid, gptq_.damping).weight, H) / nearest});
      }
  }
}

/// Inputs with a falling spectrum in a random basis, random weights: the error of the outputs over that of rounding.
void Study::correlated_layers() {
  const auto inputs = get<int64_t>("layer.inputs");
  const auto gaussian = [](std::vector<int64_t> sizes, Random random) {
    Tensor t = torch::empty(sizes, torch::kFloat64);
    for (int64_t i = 0; i < t.numel(); ++i) t.data_ptr<double>()[i] = random.normal();
    return t;
  };
  double worst = 0;
  bool ordered_smaller = true;
  Table table{.caption = "tr(D H D') over that of rounding to nearest",
              .columns = {"bits", "seed", "GPTQ", "act-order"},
              .rows = {}};
  for (int seed = 0; seed < get<int>("seeds"); ++seed) {
    const Random random(context_.seed + uint64_t(seed));
    const Tensor basis = std::get<0>(torch::linalg_qr(gaussian({inputs, inputs}, random.split("basis"))));
    const Tensor A = basis / torch::arange(1, inputs + 1, torch::kFloat64);
    InputHessian hessian(inputs);
    hessian.add(gaussian({get<int64_t>("layer.tokens"), inputs}, random.split("tokens")).matmul(A.t()));
    const Tensor H = hessian.value(),
                 W = gaussian({get<int64_t>("layer.outputs"), inputs}, random.split("weight")).to(torch::kFloat32);
    for (const int bits : {4, 3, 2}) {
      const AffineGrid grid({.bits = bits});
      GptqOptions ordered = gptq_;
      ordered.act_order = true;
      const double nearest = output_error(W, rtn(W, grid).weight, H);
      const double plain = output_error(W, gptq(W, H, grid, gptq_).weight, H) / nearest;
      const double by_order = output_error(W, gptq(W, H, grid, ordered).weight, H) / nearest;
      worst = std::max(worst, plain);
      ordered_smaller &= by_order < plain;
      table.rows.push_back({fmt::format("{}", bits), fmt::format("{}", seed), fmt::format("{:.4f}", plain),
                            fmt::format("{:.4f}", by_order)});
    }
  }
  check("Correlated layer: GPTQ leaves at most 0.15 of the error of rounding", worst <= 0.15,
        fmt::format("at most {:.4f}", worst));
  check("Correlated layer: act-order leaves less still", ordered_smaller, "see the table");
  report_.results.push_back({.name = "Correlated layer, error over rounding's, at most", .value = worst});
  report_.sections.push_back(
      {.title = "A layer with correlated inputs",
       .text = fmt::format("{} inputs whose principal components have deviations 1, 1/2, 1/3 ..., and {} outputs.",
                           inputs, get<int64_t>("layer.outputs")),
       .tables = {table}});
}

/// Median of the processor time of one call, in seconds.
template <class F>
double seconds_of(const F& call, int times = 15) {
  Values each;
  for (int i = 0; i < times; ++i) {
    const std::clock_t start = std::clock();
    call();
    each.push_back(double(std::clock() - start) / CLOCKS_PER_SEC);
  }
  std::nth_element(each.begin(), each.begin() + times / 2, each.end());
  return each[size_t(times / 2)];
}

/// One thread while it lives.
struct OneThread {
  int before = threads(), torch_before = torch::get_num_threads();
  OneThread() {
    set_threads(1);
    torch::set_num_threads(1);
  }
  ~OneThread() {
    set_threads(before);
    torch::set_num_threads(torch_before);
  }
};

std::shared_ptr<const PackedMatrix> packed(const Tensor& w, int bits, int64_t group, const Tensor& bias = {}) {
  const GptqResult made = rtn(w, AffineGrid({.bits = bits, .group = group, .half_scales = true}));
  return pack({.bits = bits,
               .group = group < 0 ? 0 : group,
               .codes = made.codes,
               .scales = made.grid.scale,
               .zeros = made.grid.zero,
               .bias = bias});
}

/// Size and speed of a matrix times a vector.
void Study::products() {
  const auto size = get<int64_t>("speed.size");
  if (size == 0) return;
  const torch::NoGradGuard no_grad;
  const OneThread one;
  torch::manual_seed(int64_t(context_.seed));
  const Tensor w = torch::randn({size, size}), x = torch::randn({1, size});
  Tensor y = torch::empty({1, size});
  const double dense = seconds_of([&] { y = torch::linear(x, w); });
  Table table{
      .caption = fmt::format("A {0} x {0} matrix times a vector, one thread", size),
      .columns = {"weights", "bytes", "of float16", "processor time, ms", "faster than float32"},
      .rows = {{"float32", fmt::format("{}", 4 * size * size), "2.0000", fmt::format("{:.3f}", 1e3 * dense), "1.00"}}};
  for (const int bits : {4, 3, 2})
    for (const int64_t group : {-1, 128}) {
      if (group >= size) continue;
      const auto matrix = packed(w, bits, group);
      const double share = double(matrix->bytes()) / double(2 * size * size);
      for (const Activations activations : {Activations::Float, Activations::Int8}) {
        const double time =
            seconds_of([&] { matrix->multiply(x.data_ptr<float>(), 1, y.data_ptr<float>(), activations); });
        const auto name = fmt::format("{} bits{}, {} activations", bits, group < 0 ? "" : fmt::format(" g{}", group),
                                      activations == Activations::Float ? "float" : "8-bit");
        table.rows.push_back({name, fmt::format("{}", matrix->bytes()), fmt::format("{:.4f}", share),
                              fmt::format("{:.3f}", 1e3 * time), fmt::format("{:.2f}", dense / time)});
        if (bits == 3 && group < 0)
          report_.results.push_back(
              {.name = fmt::format("Matrix times vector, 3 bits, {} activations, faster than float32",
                                   activations == Activations::Float ? "float" : "8-bit"),
               .value = dense / time});
      }
      if (bits == 3 && group < 0) {
        check("Packed 3-bit weights take at most 0.20 of float16's bytes", share <= 0.20, fmt::format("{:.4f}", share));
        report_.results.push_back({.name = "Packed 3-bit weights, share of float16's bytes", .value = share});
      }
    }
  report_.sections.push_back({.title = "Size and speed of packed weights",
                              .text = "The weights stay packed; scales have 16 bits.",
                              .tables = {table}});
}

/// Time a token of the float model and of the packed 3-bit one.
void Study::generation(const Subject& subject) {
  const auto count = std::min(get<int64_t>("speed.new_tokens"), subject.model->config().longest() - 4);
  if (count <= 0) return;
  const torch::NoGradGuard no_grad;
  const OneThread one;
  size_t bytes = 0, half = 0;
  LanguageModel small(subject.model->config());
  copy_values(*subject.model, *small);
  for (auto& block : small->blocks)
    for (const auto& stage : block->stages())
      for (const auto& path : stage) {
        const Linear layer = block->linear(path);
        const auto matrix = packed(layer->weight.detach(), 3, -1, layer->bias);
        bytes += matrix->bytes();
        half += size_t(2 * layer->weight.numel());
        block->replace(path, PackedLinear(matrix, Activations::Float).ptr());
      }
  const std::vector<int64_t> prompt{1, 2, 3};
  const GenerateOptions options{.new_tokens = count, .eos = std::vector<int64_t>()};
  const double dense = seconds_of([&] { generate(subject.model, prompt, options); }, 5) / double(count);
  const double few = seconds_of([&] { generate(small, prompt, options); }, 5) / double(count);
  report_.results.push_back({.name = "Generation, float", .value = 1e3 * dense, .unit = "ms a token"});
  report_.results.push_back({.name = "Generation, packed 3 bits", .value = 1e3 * few, .unit = "ms a token"});
  const double share = double(bytes) / double(half);
  check("The linear layers of the packed 3-bit model take at most a quarter of float16's memory", share <= 0.25,
        fmt::format("{} of {} bytes ({:.4f})", bytes, half, share));
}

void Study::checks() {
  compare("3 bits: GPTQ leaves at most 0.9 of rounding's excess, on every seed", "GPTQ 3", "RTN 3", 0.9, false);
  compare("2 bits: GPTQ leaves at most 0.88 of rounding's excess, on every seed", "GPTQ 2", "RTN 2", 0.88, false);
  compare("4 bits: GPTQ is below rounding on every seed", "GPTQ 4", "RTN 4");
  compare("2 bits: act-order and true-sequential together are below plain GPTQ on every seed",
          "GPTQ 2 act-order true-sequential", "GPTQ 2");
  for (const int bits : {3, 2})
    compare(fmt::format("{} bits: groups of 32 are below whole rows on every seed", bits),
            fmt::format("GPTQ {} g32", bits), fmt::format("GPTQ {}", bits));
  compare("2 bits, groups of 32: GPTQ is below rounding on every seed", "GPTQ 2 g32", "RTN 2 g32");
  compare("Ternary, groups of 8: GPTQ is below rounding on every seed", "GPTQ ternary g8", "RTN ternary g8");
  compare("Ternary, whole rows: GPTQ is below rounding on every seed", "GPTQ ternary", "RTN ternary");
  int64_t layers = 0, worse = 0;
  for (const char* name : {"GPTQ 4", "GPTQ 3", "GPTQ 2"})
    for (const Ledger& ledger : row(name).ledgers)
      for (const auto& block : ledger.blocks)
        for (const auto& layer : block.layers) ++layers, worse += layer.error > layer.rounded_error;
  check("No layer's outputs have a larger error than with rounding on the same grid (4, 3 and 2 bits)", worse == 0,
        fmt::format("{} of {} layers", worse, layers));
  if (obq_.empty()) return;
  Values gptq, obq;
  for (const Values& pair : obq_) gptq.push_back(pair[0]), obq.push_back(pair[1]);
  report_.results.push_back({.name = "3 bits, error of the layers over rounding's, GPTQ", .value = mean(gptq)});
  report_.results.push_back({.name = "3 bits, error of the layers over rounding's, OBQ", .value = mean(obq)});
}

void Study::tables() {
  Table table{.caption = "Perplexity on the test data, by seed", .columns = {"", "bits a weight"}, .rows = {}};
  for (size_t seed = 0; seed < float_perplexity_.size(); ++seed)
    table.columns.push_back(fmt::format("seed {}", context_.seed + seed));
  table.columns.push_back("mean excess");
  const auto line = [&](const std::string& name, double bits, const Values& perplexity, double excess) {
    table.rows.push_back({name, fmt::format("{:.3f}", bits)});
    for (const double value : perplexity) table.rows.back().push_back(fmt::format("{:.3f}", value));
    table.rows.back().push_back(fmt::format("{:.4f}", excess));
  };
  line("float", 32, float_perplexity_, 0);
  LinePlot plot{.title = "Perplexity", .x = {.label = "bits a weight"}, .y = {.label = "perplexity"}, .series = {}};
  for (const char* method : {"RTN", "GPTQ"})
    for (const char* groups : {"", " g32"}) {
      Series series{.name = fmt::format("{}{}", method, groups), .x = {}, .y = {}, .dashed = *groups != 0};
      for (const Row& row : rows_)
        for (const int bits : {4, 3, 2})
          if (row.name == fmt::format("{} {}{}", method, bits, groups)) {
            series.x.push_back(row.bits);
            series.y.push_back(mean(row.perplexity));
          }
      plot.series.push_back(std::move(series));
    }
  for (const Row& row : rows_) line(row.name, row.bits, row.perplexity, mean(row.excess));
  BarPlot bars{.title = "Relative error of each layer's outputs, 3 bits",
               .groups = {},
               .bars = {},
               .y = {.label = "error", .log = true}};
  BarPlot::Bars rounded{.name = "RTN", .values = {}, .errors = {}}, solved{.name = "GPTQ", .values = {}, .errors = {}};
  for (const auto& block : row("GPTQ 3").ledgers.front().blocks)
    for (const auto& layer : block.layers) {
      bars.groups.push_back(layer.name);
      rounded.values.push_back(layer.rounded_error);
      solved.values.push_back(layer.error);
    }
  bars.bars = {rounded, solved};
  Section section{.title = "Language models",
                  .text =
                      "Excess is ln(perplexity) above the float model's. Bits count the scales (16 bits) and zero "
                      "points; embedding and head stay float.",
                  .tables = {table},
                  .figures = {line_plot(plot, "Perplexity over bits a weight, mean over the seeds"),
                              bar_plot(bars, "Errors of the layers of the first seed's model")}};
  if (!obq_.empty()) {
    Table against{.caption = "3 bits: error of the outputs over that of rounding",
                  .columns = {"layer", "GPTQ", "OBQ"},
                  .rows = {}};
    for (size_t i = 0; i < obq_.size(); ++i)
      against.rows.push_back({obq_layers_[i], fmt::format("{:.4f}", obq_[i][0]), fmt::format("{:.4f}", obq_[i][1])});
    section.tables.push_back(against);
  }
  report_.sections.insert(report_.sections.begin(), std::move(section));
}

Report Study::run() {
  std::vector<nlohmann::json> lines;
  for (int i = 0; i < get<int>("seeds"); ++i) {
    const uint64_t seed = context_.seed + uint64_t(i);
    Subject made = subject(seed);
    made.perplexity = score_sequences(made.model, made.test).perplexity();
    if (rows_.empty()) plan(made.model->config());
    measure(made, seed);
    for (const Row& row : rows_)
      lines.push_back({{"seed", seed}, {"row", row.name}, {"bits", row.bits}, {"perplexity", row.perplexity.back()}});
    if (i > 0) continue;
    compare_with_obq(made);
    generation(made);
  }
  write_metrics(context_.out / "metrics.jsonl", "rows", lines);
  report_.summary = fmt::format(
      "Each linear layer is quantized column by column; the error of a column is pushed into those not yet quantized, "
      "by "
      "the second moments of the layer's inputs on {} calibration sequences. Perplexity of the float models: {}.",
      get<std::string>("model") == "mk64" ? 64 : get<int64_t>("sequences"), list(float_perplexity_));
  report_.results.push_back({.name = "float, perplexity", .value = mean(float_perplexity_)});
  for (const Row& row : rows_)
    report_.results.push_back({.name = row.name + ", perplexity", .value = mean(row.perplexity)});
  checks();
  tables();
  correlated_layers();
  products();
  save_module(*kept_, context_.out / "model.safetensors", {{"model", get<std::string>("model")}, {"method", "GPTQ 3"}});
  report_.artifacts = {"metrics.jsonl", "model.safetensors"};
  return report_;
}

Report run(const Config& config, const RunContext& context) {
  return Study(config, context).run();
}

}  // namespace

Recipe recipe_35() {
  return {.title = "GPTQ: accurate post-training quantization for generative transformers (arXiv 2210.17323)",
          .kind = "quantized",
          .seconds = 50,
          .run = run};
}

}  // namespace quanta
