#include "quanta/cli/quantize_language.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>

#include "quanta/cli/command.h"
#include "quanta/cli/language.h"
#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/core/progress.h"
#include "quanta/core/signal.h"
#include "quanta/core/text.h"
#include "quanta/data/text_data.h"
#include "quanta/papers/recipe.h"
#include "quanta/quantize/awq.h"
#include "quanta/quantize/gguf_rule.h"
#include "quanta/quantize/layerwise_method.h"
#include "quanta/quantize/plan.h"
#include "quanta/quantize/qllm.h"
#include "quanta/quantize/quantized_checkpoint.h"
#include "quanta/quantize/rsq.h"
#include "quanta/quantize/smoothquant.h"
#include "quanta/report/plot.h"
#include "quanta/text/tokenizer.h"

namespace quanta::cli {
namespace {

namespace fs = std::filesystem;

/// In the order of --help.
const std::vector<std::pair<std::string, std::string>> kMethods = {
    {"rtn", "round to nearest"},
    {"gptq", "error feedback by second-order information"},
    {"rsq", "rotate, weight the tokens, then gptq"},
    {"qllm", "reassemble channels, low-rank correction; 4-bit activations too"},
    {"awq", "scale weights by their activations"},
    {"smoothquant", "move outliers from activations to weights; 8-bit activations too"},
};

/// "4G", "512M", "3.5 GB" in bytes. Error for anything else.
int64_t parse_size(const std::string& text) {
  if (text.empty()) return 0;
  size_t end = 0;
  double value = 0;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  std::string unit = text.substr(end);
  std::erase(unit, ' ');
  static const std::map<std::string, double> kUnits{{"M", 1e6},  {"MB", 1e6},  {"G", 1e9}, {"GB", 1e9},
                                                    {"T", 1e12}, {"TB", 1e12}, {"", 1}};
  const auto found = kUnits.find(unit);
  if (end == 0 || found == kUnits.end() || !(value > 0))
    throw UsageError(fmt::format("--ram {} is no size: write 4G or 512M", text));
  return int64_t(value * found->second);
}

/// A file's text, or of a text that Quanta knows the first nine tenths (to calibrate on) or the rest (to measure on).
std::string text_of(const std::string& name, std::string TextSplits::*part) {
  if (fs::exists(name)) return read_text(name);
  return load_text(name, {}, [](const std::string& line) { log_info("{}", line); }).*part;
}

struct Trial {
  std::string method;
  int bits = 0;
  std::unique_ptr<BlockMethod> solver;
  fs::path out;
};

struct Outcome {
  std::string method;
  int bits = 0;
  double perplexity = 0;  // 0: not measured
  int64_t bytes = 0;
  double seconds = 0;
  double kl = 0;
  double worst = 0;  // layer's error
  fs::path folder{};
};

class Job {
 public:
  explicit Job(const LanguageQuantizeOptions& options);
  int run();

 private:
  GgufType gguf_type(int bits) const;
  std::shared_ptr<const GridRule> make_rule(int bits) const;
  std::unique_ptr<BlockMethod> make_method(const std::string& name, int bits) const;
  Plan plan(const Trial& trial) const;
  Outcome quantize(Trial& trial);
  double measure(const fs::path& model);  ///< perplexity
  void report(const std::vector<Outcome>& outcomes, const Plan& plan) const;
  nlohmann::ordered_json to_json(const Outcome& outcome) const;

  LanguageQuantizeOptions options_;
  const InterruptGuard guard_{};
  Checkpoint model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  torch::Tensor tokens_{}, test_{};  // calibration [n, T], windows of the text [m, T]
  int64_t ram_ = 0;
  fs::path out_;
  std::vector<Trial> trials_;
};

Job::Job(const LanguageQuantizeOptions& options)
    : options_(options), model_(Checkpoint::open(options.model)), ram_(parse_size(options.ram)) {
  const LanguageConfig& config = model_.config();
  if (options_.length == 0) options_.length = std::min<int64_t>(2048, config.longest());
  out_ = options_.out.empty() ? fs::path("runs") / (fs::absolute(options_.model).filename().string() + "-quantized")
                              : fs::path(options_.out);
  std::vector<std::string> names;
  for (const auto& [name, meaning] : kMethods) names.push_back(name);
  for (const std::string& method : options_.methods)
    if (std::find(names.begin(), names.end(), method) == names.end())
      throw UsageError(fmt::format("there is no method '{}' for language models; did you mean '{}'? Known are {}",
                                   method, nearest(method, names), fmt::join(names, ", ")));
  const bool several = options_.methods.size() * options_.bits.size() > 1;
  for (const std::string& method : options_.methods)
    for (const int bits : options_.bits)
      trials_.push_back(
          {method, bits, make_method(method, bits), several ? out_ / fmt::format("{}-{}bit", method, bits) : out_});

  const auto windows = [&](const std::string& text) {
    if (!tokenizer_) tokenizer_ = load_tokenizer(options_.model);
    require_vocabulary(config, *tokenizer_);
    return token_stream(tokenizer_->encode(text, true));
  };
  std::string calibration, text;
  if (!options_.calibration.empty()) {
    calibration = text_of(options_.calibration, &TextSplits::train);
    tokens_ =
        random_windows(windows(calibration), options_.samples, options_.length, options_.seed, options_.calibration)
            .tokens;
  }
  if (!options_.text.empty()) {
    text = text_of(options_.text, &TextSplits::test);
    if (!calibration.empty()) require_disjoint(calibration, text);
    const torch::Tensor stream = windows(text);
    int64_t count = stream.numel() / options_.length;
    require(count > 0, "{} has {} tokens, fewer than one window of {}: give a longer text or a smaller --length",
            options_.text, stream.numel(), options_.length);
    if (options_.windows > 0) count = std::min(count, options_.windows);
    test_ = stream.slice(0, 0, count * options_.length).view({count, options_.length});
  }
}

/// --gguf-type, or for so many bits the best of the formats that llama.cpp's users know.
GgufType Job::gguf_type(int bits) const {
  static const std::map<int, GgufType> kTypes{{2, GgufType::Q2_K}, {3, GgufType::Q3_K}, {4, GgufType::Q4_K},
                                              {5, GgufType::Q5_K}, {6, GgufType::Q6_K}, {8, GgufType::Q8_0}};
  if (!options_.gguf_type.empty()) {
    const auto type = parse_gguf_type(options_.gguf_type);
    if (!type || !is_gguf_block_format(*type))
      throw UsageError(
          fmt::format("--gguf-type {} is not known; choose Q4_0, Q4_1, Q5_0, Q8_0, Q2_K ... Q6_K", options_.gguf_type));
    return *type;
  }
  const auto found = kTypes.find(bits);
  if (found == kTypes.end()) throw UsageError(fmt::format("GGUF has no format of {} bits; choose 2 to 6 or 8", bits));
  return found->second;
}

std::shared_ptr<const GridRule> Job::make_rule(int bits) const {
  if (options_.format == "gguf") return std::make_shared<GgufRule>(gguf_type(bits));
  if (options_.format == "safetensors" && bits > 4 && bits != 8)
    throw UsageError(fmt::format("GPTQ's layout holds 2, 3, 4 or 8 bits, not {}: choose one, or --format float", bits));
  return std::make_shared<AffineGrid>(
      AffineGridOptions{.bits = bits,
                        .kind = options_.symmetric ? AffineKind::Symmetric : AffineKind::Asymmetric,
                        .group = options_.group,
                        .search = options_.search,
                        .half_scales = true});
}

std::unique_ptr<BlockMethod> Job::make_method(const std::string& name, int bits) const {
  const auto rule = make_rule(bits);
  if (name == "rtn") return std::make_unique<RoundToNearest>(rule);
  if (name == "gptq")
    return std::make_unique<GptqMethod>(
        rule,
        GptqOptions{.damping = options_.damping,
                    .act_order = options_.act_order,
                    .static_groups = options_.static_groups || options_.format == "gguf"},
        options_.true_sequential);
  if (name == "rsq") {
    RsqOptions rsq{.rule = rule,
                   .importance = ImportanceOptions{.strategy = options_.strategy, .least = options_.least},
                   .gptq = {.damping = options_.damping,
                            .act_order = options_.act_order,
                            .static_groups = options_.static_groups || options_.format == "gguf"}};
    rsq.rotation = options_.online ? RotateOptions{.seed = options_.seed} : RotateOptions::offline(options_.seed);
    if (options_.rotation == "random") rsq.rotation->kind = RotateOptions::Kind::Random;
    if (options_.rotation == "none") rsq.rotation.reset();
    if (options_.strategy == "uniform") rsq.importance.reset();
    return std::make_unique<RsqMethod>(rsq);
  }
  if (name == "awq") return std::make_unique<AwqMethod>(rule, AwqOptions{.clip = options_.clip});
  if (options_.format == "gguf")
    throw UsageError(fmt::format("{} quantizes activations too, which a GGUF file cannot hold", name));
  LowBits low{.weights = {.bits = bits, .symmetric = options_.symmetric},
              .activations = {.bits = options_.activation_bits ? options_.activation_bits
                                      : name == "qllm"         ? 4
                                                               : 8}};
  if (name == "smoothquant")
    return std::make_unique<SmoothQuantMethod>(SmoothQuantOptions{.bits = low, .alpha = options_.alpha});
  return std::make_unique<QllmMethod>(QllmOptions{.bits = low,
                                                  .reassembly = {.ratio = options_.ratio},
                                                  .correction = {.rank = options_.rank},
                                                  .training = {.epochs = options_.epochs, .rate = options_.rate},
                                                  .blocks = options_.blocks,
                                                  .seed = options_.seed});
}

Plan Job::plan(const Trial& trial) const {
  const bool data = tokens_.defined() || trial.solver->needs_data();
  return make_plan({.config = model_.config(),
                    .bits = trial.bits,
                    .group = options_.format == "gguf" ? make_rule(trial.bits)->span() : options_.group,
                    .sequences = data ? options_.samples : 0,
                    .length = options_.length,
                    .weight_bytes = 2,
                    .ram = ram_,
                    .out = out_,
                    .gguf = options_.format == "gguf"},
                   *trial.solver);
}

double Job::measure(const fs::path& model) {
  const fs::path work = out_ / ".evaluation";
  if (model.extension() == ".gguf") {
    const LanguageModel whole = read_gguf(model).model;
    return std::exp(mean_nll(
        whole, [&](int64_t i) { return whole->blocks.at(size_t(i)); }, test_, work));
  }
  return std::exp(mean_nll(open_checkpoint(model), test_, work));
}

Outcome Job::quantize(Trial& trial) {
  const Plan planned = plan(trial);
  require(planned.refusals.empty(), "{} with {} bits: {}", trial.method, trial.bits, fmt::join(planned.refusals, "; "));
  if (trial.solver->needs_data() && !tokens_.defined())
    throw UsageError(fmt::format("{} calibrates on a text: give --calib FILE", trial.method));
  const auto start = std::chrono::steady_clock::now();
  const nlohmann::json job{{"model", fs::absolute(options_.model).string()},
                           {"weights", fingerprint(options_.model)},
                           {"method", trial.solver->name()},
                           {"settings", trial.solver->settings()},
                           {"calibration", tokens_.defined() ? tokens_hash(tokens_) : ""}};
  QuantizedFolder folder(model_, trial.out, job, options_.fresh);
  Progress progress(model_.config().layers, fmt::format("{} {} bits", trial.method, trial.bits), "blocks");
  const BlockwiseResult result = quantize_blockwise(
      folder, tokens_, *trial.solver,
      {.work = folder.work(),
       .memory = planned.statistics,
       .allow_ruined = options_.allow_ruined,
       .progress = [&](int64_t done, int64_t) {
         progress.update(done);
         if (interrupted())
           throw Interrupted(fmt::format("interrupted after {} of {} blocks; the same command goes on", done,
                                         model_.config().layers));
       }});
  progress.finish();
  nlohmann::json description{{"bits", trial.bits},
                             {"group_size", options_.group},
                             {"sym", options_.symmetric},
                             {"desc_act", options_.act_order && !options_.static_groups},
                             {"lm_head", false},
                             {"quantizer", "quanta"},
                             {"method", job["method"]},
                             {"settings", job["settings"]},
                             {"calibration", job["calibration"]}};
  if (options_.format == "gguf") {
    if (!tokenizer_) tokenizer_ = load_tokenizer(options_.model);
    for (const auto& [name, type] : folder.finish_gguf(result, tokenizer_.get(), GgufType::F16))
      log_info("{} is stored as {}", name, gguf_type_name(type));
  } else if (options_.format == "float")
    folder.finish_float(result, SaveType::F16);
  else
    folder.finish(result, description);
  const fs::path file = options_.format == "gguf" ? trial.out / "model.gguf" : trial.out;
  Outcome outcome{.method = trial.method,
                  .bits = trial.bits,
                  .bytes = options_.format == "gguf" ? int64_t(fs::file_size(file)) : weight_bytes(file),
                  .folder = trial.out};
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!result.ledger.blocks.empty()) outcome.kl = result.ledger.blocks.back().kl;
  for (const LedgerBlock& block : result.ledger.blocks)
    for (const LedgerLayer& layer : block.layers) outcome.worst = std::max(outcome.worst, layer.error);
  if (test_.defined()) outcome.perplexity = measure(file);
  if (!options_.json && trials_.size() == 1) print(to_text(result.ledger));
  return outcome;
}

nlohmann::ordered_json Job::to_json(const Outcome& o) const {
  nlohmann::ordered_json json{{"method", o.method},         {"bits", o.bits}, {"bytes", o.bytes},
                              {"seconds", o.seconds},       {"kl", o.kl},     {"worst_layer_error", o.worst},
                              {"folder", o.folder.string()}};
  if (o.perplexity > 0) json["perplexity"] = o.perplexity;
  return json;
}

void Job::report(const std::vector<Outcome>& outcomes, const Plan& plan) const {
  Report page{.recipe = "quantize",
              .title = fmt::format("{}, quantized", fs::absolute(options_.model).filename().string()),
              .mode = "quantization",
              .seed = options_.seed,
              .data = {options_.calibration, options_.text, tokens_.defined() ? tokens_.size(0) : 0,
                       test_.defined() ? test_.size(0) : 0}};
  page.environment = environment_facts();
  Table table{.caption = "KL: of the predictions against the float model on calibration text, nats a token",
              .columns = {"", "bits", "perplexity", "weights, MB", "KL", "worst layer's error", "seconds"},
              .rows = {}};
  std::map<std::string, Series> curves;  // nats a token above the float model, by method
  for (const Outcome& o : outcomes) {
    table.rows.push_back({o.method, o.bits ? fmt::format("{}", o.bits) : "",
                          o.perplexity > 0 ? fmt::format("{:.4f}", o.perplexity) : "",
                          fmt::format("{:.2f}", double(o.bytes) / 1e6), fmt::format("{:.4g}", o.kl),
                          fmt::format("{:.3g}", o.worst), fmt::format("{:.1f}", o.seconds)});
    if (o.perplexity > 0 && o.bits > 0) {
      Series& curve = curves[o.method];
      curve.name = o.method;
      curve.x.push_back(double(o.bytes) / 1e6);
      curve.y.push_back(std::log(o.perplexity / outcomes.front().perplexity));
    }
    if (o.perplexity > 0)
      page.results.push_back({.name = fmt::format("{} {} perplexity", o.method, o.bits), .value = o.perplexity});
  }
  Section section{.title = "Perplexity and size", .tables = {table}};
  if (!curves.empty()) {
    LinePlot plot{.title = "", .x = {.label = "weights, MB"}, .y = {.label = "nats a token above float"}, .series = {}};
    for (const auto& [method, curve] : curves) plot.series.push_back(curve);
    section.figures.push_back(line_plot(plot, "Size and what it costs in prediction"));
  }
  page.sections.push_back(section);
  Table layers{.caption = "", .columns = {"layers", "count", "outputs", "inputs", "runs as", "why"}, .rows = {}};
  for (const PlanLayer& l : plan.layers)
    layers.rows.push_back({l.name, fmt::format("{}", l.count), fmt::format("{}", l.rows), fmt::format("{}", l.columns),
                           l.kernel, l.reason});
  page.sections.push_back({.title = "Layers", .tables = {layers}});
  for (const Outcome& o : outcomes) {
    if (o.folder.empty()) continue;
    const Ledger ledger = Ledger::load(o.folder);
    Series error{.name = "output error"}, kl{.name = "KL"};
    std::vector<std::string> names;
    BarPlot bars{.title = "",
                 .groups = {},
                 .bars = {{.name = o.method, .values = {}}, {.name = "rounded to nearest", .values = {}}},
                 .y = {.label = "error / output", .log = true}};
    for (const LedgerBlock& block : ledger.blocks) {
      kl.x.push_back(double(block.block));
      kl.y.push_back(block.kl);
      for (const LedgerLayer& layer : block.layers) {
        if (layer.error <= 0 || layer.rounded_error <= 0) continue;
        bars.groups.push_back(fmt::format("{} {}", block.block, layer.name.substr(layer.name.rfind('.') + 1)));
        bars.bars[0].values.push_back(layer.error);
        bars.bars[1].values.push_back(layer.rounded_error);
      }
    }
    Section own{.title = fmt::format("{}, {} bits", o.method, o.bits), .text = "What each layer's outputs lost."};
    if (!bars.groups.empty() && bars.groups.size() <= 60) own.figures.push_back(bar_plot(bars, "Errors of the layers"));
    own.figures.push_back(
        line_plot({.title = "", .x = {.label = "block"}, .y = {.label = "KL, nats a token"}, .series = {kl}},
                  "Behind each block, read off through the head"));
    page.sections.push_back(own);
  }
  write_html(page, out_ / "report.html");
}

int Job::run() {
  std::vector<Plan> plans;
  std::vector<std::string> refusals;
  for (const Trial& trial : trials_) {
    plans.push_back(plan(trial));
    for (const std::string& refusal : plans.back().refusals)
      refusals.push_back(fmt::format("{} {} bits: {}", trial.method, trial.bits, refusal));
  }
  if (options_.plan) {
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (size_t i = 0; i < plans.size(); ++i) {
      if (options_.json)
        json.push_back({{"method", trials_[i].method}, {"bits", trials_[i].bits}, {"plan", plans[i].to_json()}});
      else
        print(fmt::format("{}, {} bits\n{}\n", trials_[i].method, trials_[i].bits, to_text(plans[i])));
    }
    if (options_.json) print_json(json);
    return refusals.empty() ? kDone : kFailed;
  }
  require(refusals.empty(), "{}", fmt::join(refusals, "; "));
  make_directory(out_);
  if (!options_.json) print(to_text(plans.front()) + "\n");

  std::vector<Outcome> outcomes;
  if (test_.defined())
    outcomes.push_back(
        {.method = "float", .perplexity = measure(options_.model), .bytes = weight_bytes(options_.model)});
  for (Trial& trial : trials_) outcomes.push_back(quantize(trial));
  report(outcomes, plans.front());
  nlohmann::ordered_json json{{"model", options_.model}, {"results", nlohmann::ordered_json::array()}};
  for (const Outcome& o : outcomes) json["results"].push_back(to_json(o));
  write_file(out_ / "report.json", json.dump(2) + "\n");
  if (options_.json) {
    print_json(json);
    return kDone;
  }
  std::string text = fmt::format("{:<12} {:>4} {:>11} {:>11} {:>10} {:>10} {:>9}\n", "method", "bits", "perplexity",
                                 "weights", "KL", "worst", "seconds");
  for (const Outcome& o : outcomes)
    text += fmt::format("{:<12} {:>4} {:>11} {:>8.2f} MB {:>10.4g} {:>10.3g} {:>9.1f}\n", o.method,
                        o.bits ? fmt::format("{}", o.bits) : "-",
                        o.perplexity > 0 ? fmt::format("{:.4f}", o.perplexity) : "-", double(o.bytes) / 1e6, o.kl,
                        o.worst, o.seconds);
  for (const Outcome& o : outcomes)
    if (!o.folder.empty()) text += fmt::format("{} {} bits: {}\n", o.method, o.bits, o.folder.string());
  print(text + fmt::format("Report page: {}\n", (out_ / "report.html").string()));
  return kDone;
}

}  // namespace

std::string language_methods() {
  std::string text;
  for (const auto& [name, meaning] : kMethods)
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", name, meaning);
  return text;
}

void add_language_options(CLI::App& command, LanguageQuantizeOptions& options) {
  const auto option = [&](const std::string& name, auto& value, const std::string& text) {
    return command.add_option(name, value, text)->group(kLanguageModels);
  };
  const auto flag = [&](const std::string& name, bool& value, const std::string& text) {
    command.add_flag(name, value, text)->group(kLanguageModels);
  };
  option("--group", options.group, "Inputs that share a scale; -1: the whole row")->capture_default_str();
  flag("--symmetric", options.symmetric, "Grids without a zero point");
  flag("--search", options.search, "Shrink each range to where it errs least (norm 2.4)");
  option("--calib", options.calibration,
         "Text to calibrate on: .txt or .jsonl, also .gz, or tiny-shakespeare (its first part)")
      ->type_name("FILE");
  option("--samples", options.samples, "Sequences of it")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  option("--length", options.length, "Tokens of a sequence (default: the model's positions, at most 2048)")
      ->check(CLI::Range(2, 1 << 20))
      ->type_name("N");
  option("--text", options.text,
         "Text to measure perplexity on, of the float model too; tiny-shakespeare: its last tenth")
      ->type_name("FILE");
  option("--windows", options.windows, "The first so many windows of it only")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  option("--damping", options.damping, "gptq: of the Hessian, as a share of its mean diagonal")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  flag("--act-order", options.act_order, "gptq: the inputs with the largest activations first");
  flag("--static-groups", options.static_groups, "gptq: the grids of all groups beforehand");
  flag("--true-sequential", options.true_sequential, "gptq: layers of a block see the quantized ones before them");
  option("--strategy", options.strategy,
         "rsq: what makes a token important: attncon, actnorm, actdiff, tokenfreq, tokensim, cluster, dot, "
         "chunks:0_31_32, or uniform (QuaRot)")
      ->capture_default_str();
  option("--r-min", options.least, "rsq: importance of the least important token")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  option("--expand", options.expand, "rsq: every sequence in so many cyclic shifts")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  option("--rotate", options.rotation, "rsq: hadamard, random or none")
      ->check(CLI::IsMember({"hadamard", "random", "none"}))
      ->capture_default_str();
  flag("--online", options.online,
       "rsq: also rotate what only the running model can, as in the paper; other programs cannot run the result");
  option("--activations", options.activation_bits, "qllm, smoothquant: bits of activations (default: 4, 8)")
      ->check(CLI::Range(2, 16))
      ->type_name("N");
  option("--channel-ratio", options.ratio, "qllm: most channels that reassembly adds on the way, as a share")
      ->check(CLI::Range(0.0, 0.5))
      ->capture_default_str();
  option("--rank", options.rank, "qllm: of the correction")->check(CLI::PositiveNumber)->capture_default_str();
  option("--correction-epochs", options.epochs, "qllm: of training it; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  option("--correction-rate", options.rate, "qllm: its learning rate")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  option("--blocks", options.blocks, "qllm: trained together")->check(CLI::PositiveNumber)->capture_default_str();
  option("--alpha", options.alpha, "smoothquant: share of the range that moves into the weights")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  option("--format", options.format,
         "safetensors (codes, in GPTQ's layout), gguf (codes on the grids of llama.cpp's formats) or float (decoded)")
      ->check(CLI::IsMember({"safetensors", "gguf", "float"}))
      ->capture_default_str();
  option("--gguf-type", options.gguf_type, "gguf: Q4_0, Q8_0, Q4_K ... (default: by --bits)")->type_name("TYPE");
  option("--ram", options.ram, "Memory that may be used, as 4G (default: what is free)")->type_name("SIZE");
  flag("--compare", options.compare, "Compare several methods and bits (implied by naming several)");
  flag("--plan", options.plan, "Print what it would cost, and do nothing");
  flag("--fresh", options.fresh, "Give up what a killed job left in the folder instead of going on");
  flag("--allow-ruined", options.allow_ruined, "Go on although a layer is ruined");
}

int quantize_language(LanguageQuantizeOptions options) {
  return Job(options).run();
}

}  // namespace quanta::cli
