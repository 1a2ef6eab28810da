#include <chrono>
#include <nlohmann/json.hpp>

#include "quanta/cli/command.h"
#include "quanta/cli/language.h"
#include "quanta/cli/quantize_language.h"
#include "quanta/cli/vision.h"
#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/core/signal.h"
#include "quanta/core/text.h"
#include "quanta/export/onnx.h"
#include "quanta/nn/fold.h"
#include "quanta/nn/state.h"
#include "quanta/papers/recipe.h"
#include "quanta/quantize/complete.h"
#include "quanta/quantize/gradient_ptq.h"
#include "quanta/quantize/hawq.h"
#include "quanta/quantize/mixed_precision.h"
#include "quanta/quantize/ptq.h"
#include "quanta/quantize/qat.h"
#include "quanta/quantize/quantized_model.h"
#include "quanta/quantize/sensitivity.h"
#include "quanta/quantize/to_integer.h"
#include "quanta/quantize/zero_shot.h"
#include "quanta/report/plot.h"
#include "quanta/train/images.h"

namespace quanta::cli {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, RangeMethod> kRanges = {
    {"minmax", RangeMethod::MinMax}, {"percentile", RangeMethod::Percentile}, {"mse", RangeMethod::Mse}};
const std::map<std::string, ObserverKind> kObservers = {{"minmax", ObserverKind::MinMax},
                                                        {"average", ObserverKind::MovingAverage},
                                                        {"percentile", ObserverKind::Percentile},
                                                        {"mse", ObserverKind::Mse},
                                                        {"kl", ObserverKind::Kl}};
/// In the order of --help.
const std::vector<std::pair<std::string, std::string>> kMethods = {
    {"ptq", "round to nearest"},
    {"adaround", "learn the rounding, layer by layer"},
    {"brecq", "learn it block by block"},
    {"qdrop", "the same with randomly dropped activation quantization"},
    {"best", "qdrop with what the study of paper 42 favours"},
    {"qat", "train on with simulated quantization"},
    {"zeroq", "without data: distilled images set the ranges"},
};

constexpr const char* kImages = "Images";

struct Options {
  ModelSource model;
  ImageSource data;
  std::vector<std::string> methods{"ptq"};
  int bits = 8;
  int activation_bits = 8;
  bool per_tensor = false;
  bool affine = false;
  std::string range = "minmax";
  std::string observer = "average";
  int64_t calibration = 512;
  int edge_bits = 0;
  bool equalize = false;
  bool bias_correction = false;
  double average_bits = 0;
  std::vector<int> candidates{2, 4, 8};
  std::string table;
  int epochs = 3;
  double rate = 0.01;
  int64_t train_images = 0;
  std::vector<std::string> overrides;
  int64_t images = 0;
  uint64_t seed = 0;
  std::string out;
  bool json = false;
};

/// One method's network and what was measured of it.
struct Result {
  std::string method;
  double accuracy = 0;
  double agreement = 0;  // integers with the simulation, share of images with the same class
  int64_t bytes = 0;     // of the file
  double bit_operations = 0;
  double seconds = 0;       // to quantize
  double milliseconds = 0;  // an image, integers
  std::string note{};       // what could not be written, and why
  fs::path folder{};
  std::vector<QuantizedLayer> layers{};
};

class Job {
 public:
  explicit Job(const Options& options);
  int run();

 private:
  Network quantized(const std::string& method);
  void choose_bits();
  Result measure(const std::string& method);
  PtqOptions ptq_options() const;
  std::vector<torch::Tensor> batches() const;
  double accuracy(Network net) const { return evaluate_images(net, test_, normalization_).accuracy; }
  double milliseconds(const std::function<void(const torch::Tensor&)>& run) const;
  nlohmann::ordered_json to_json(const Result& result) const;
  void report();
  std::string text() const;

  const Options options_;
  const InterruptGuard guard_{};
  OpenedModel model_;
  ImageSet train_, test_;
  Normalization normalization_;
  torch::Tensor samples_, labels_;  // of calibration, normalized
  std::map<std::string, int> layer_bits_;
  SensitivityTable sensitivity_;
  ParetoFrontier frontier_;
  std::vector<int64_t> shape_;  // of one image
  fs::path out_;
  Result float_;
  std::vector<Result> results_;
};

Job::Job(const Options& options) : options_(options), model_(open(options.model)) {
  require(!model_.quantized, "{} is quantized already: give the float model", options.model.path);
  for (const auto& method : options_.methods) {
    std::vector<std::string> names;
    for (const auto& [name, meaning] : kMethods) names.push_back(name);
    if (std::find(names.begin(), names.end(), method) == names.end())
      throw UsageError(fmt::format("there is no method '{}'; did you mean '{}'? Known are {}", method,
                                   nearest(method, names), fmt::join(names, ", ")));
  }
  const ImageSplits data = load(options_.data, model_.info.options.input);
  require_fit(model_.info, data.test);
  train_ = data.train;
  test_ =
      options_.images > 0 ? subset(data.test, std::min(options_.images, data.test.size()), options_.seed) : data.test;
  normalization_ = normalization_of(model_.info);
  if (options_.train_images > 0) train_ = subset(train_, std::min(options_.train_images, train_.size()), options_.seed);
  const ImageSet calibration = subset(train_, std::min(options_.calibration, train_.size()), options_.seed);
  samples_ = normalization_.apply(calibration.to_float());
  labels_ = calibration.labels;
  shape_ = {1, test_.channels(), test_.height(), test_.width()};
  out_ = options_.out.empty() ? fs::path("runs") / (model_.info.model + "-quantized") : fs::path(options_.out);
  make_directory(out_);
}

std::vector<torch::Tensor> Job::batches() const {
  return samples_.split(64);
}

PtqOptions Job::ptq_options() const {
  PtqOptions ptq{.weight{.bits = options_.bits,
                         .symmetric = !options_.affine,
                         .narrow = !options_.affine,
                         .axis = options_.per_tensor ? -1 : 0,
                         .range = kRanges.at(options_.range)},
                 .activation{.bits = std::max(options_.activation_bits, 1)},
                 .activations = options_.activation_bits > 0 ? ActivationMode::Static : ActivationMode::None,
                 .observer{.kind = kObservers.at(options_.observer)},
                 .first_bits = options_.edge_bits,
                 .last_bits = options_.edge_bits,
                 .weight_bits = layer_bits_,
                 .equalize = options_.equalize,
                 .bias_correction = options_.bias_correction};
  return ptq;
}

/// Bits of each layer: of a table, or those that lose least within an average.
void Job::choose_bits() {
  if (!options_.table.empty()) {
    try {
      layer_bits_ = nlohmann::json::parse(read_file(options_.table)).get<std::map<std::string, int>>();
    } catch (const nlohmann::json::exception&) {
      fail("{} is no table of bits: expected JSON like {{\"conv1\": 8, \"fc\": 4}}", options_.table);
    }
    return;
  }
  if (options_.average_bits == 0) return;
  Network folded = fold_batch_norm(model_.net);
  sensitivity_ = layer_sensitivity(folded, samples_.slice(0, 0, 256), {.bits = options_.candidates});
  int64_t weights = 0;
  for (const int64_t size : sensitivity_.sizes) weights += size;
  frontier_ = pareto_bits(sensitivity_.sizes, options_.candidates, sensitivity_.omega);
  const BitAllocation& chosen = frontier_.within(int64_t(options_.average_bits * double(weights)));
  for (size_t i = 0; i < sensitivity_.names.size(); ++i) layer_bits_[sensitivity_.names[i]] = chosen.bits[i];
}

Network Job::quantized(const std::string& method) {
  if (method == "ptq") return ptq(model_.net, batches(), ptq_options());
  if (method == "qat") {
    const PtqOptions base = ptq_options();
    const QatOptions qat{.weight = base.weight,
                         .activation = base.activation,
                         .decay = 0.99,
                         .first_bits = base.first_bits,
                         .last_bits = base.last_bits,
                         .weight_bits = base.weight_bits,
                         .activations = options_.activation_bits > 0};
    Network net = prepare_qat(model_.net, qat);
    const History history =
        train_images(net, train_, {}, normalization_,
                     {.epochs = options_.epochs,
                      .rate = options_.rate,
                      .augmentation{.crop_padding = train_.height() / 8, .flip = true},
                      .seed = options_.seed,
                      .before_step = [&](int64_t step, int64_t steps) { qat_step(net, qat, step, steps); }});
    if (history.interrupted) throw Interrupted("interrupted; nothing was written");
    return finish_qat(net);
  }
  if (method == "zeroq") {
    ZeroShotOptions zero{.weight_bits = {options_.bits},
                         .activation_bits = options_.activation_bits,
                         .fold = true,
                         .distill{.seed = options_.seed}};
    if (options_.average_bits > 0) {
      zero.weight_bits = options_.candidates;
      zero.average_bits = options_.average_bits;
    }
    ZeroShotResult made = quantize_zero_shot(model_.net, {test_.channels(), test_.height(), test_.width()}, zero);
    if (options_.activation_bits > 0) complete_activations(made.network, made.data.split(64));
    return made.network;
  }
  GradientPtqOptions learned = gradient_preset(parse_preset(method));
  learned.bits = options_.bits;
  learned.activation_bits = options_.activation_bits;
  if (options_.edge_bits > 0) learned.edge_bits = options_.edge_bits;
  for (const auto& [name, bits] : layer_bits_) learned.widths[name] = {bits};
  learned.reconstruct.seed = options_.seed;
  for (const auto& assignment : options_.overrides) set_option(learned, assignment);
  Network net = gradient_ptq(model_.net, {.inputs = samples_, .targets = labels_}, learned).net;
  if (options_.activation_bits > 0) complete_activations(net, batches());
  return net;
}

/// Median of batches of 32 images, an image.
double Job::milliseconds(const std::function<void(const torch::Tensor&)>& run) const {
  const int64_t batch = std::min<int64_t>(32, test_.size());
  const auto x = normalization_.apply(test_.take(batch).to_float()).contiguous();
  run(x);
  std::vector<double> times;
  for (double total = 0; total < 0.3 || times.size() < 3; total += times.back()) {
    const auto start = std::chrono::steady_clock::now();
    run(x);
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + int64_t(times.size() / 2), times.end());
  return 1e3 * times[times.size() / 2] / double(batch);
}

Result Job::measure(const std::string& method) {
  log_info("{}: quantizing", method);
  Result result{.method = method, .folder = options_.methods.size() > 1 ? out_ / method : out_};
  make_directory(result.folder);
  const auto start = std::chrono::steady_clock::now();
  Network net = quantized(method);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const Evaluation simulated = evaluate_images(net, test_, normalization_);
  result.accuracy = simulated.accuracy;
  result.layers = quantization_table(net, shape_);
  for (const auto& layer : result.layers) result.bit_operations += layer.bit_ops;

  // What other forms of the network cannot express is said, and the others are written all the same.
  const auto attempt = [&](const char* what, const auto& write) {
    try {
      write();
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& error) {
      result.note += fmt::format("{}no {}: {}", result.note.empty() ? "" : "; ", what, error.what());
    }
  };
  const fs::path file = result.folder / "model.safetensors";
  attempt("model.safetensors", [&] {
    save_quantized(file, net, vision_model_metadata(model_.info));
    result.bytes = int64_t(fs::file_size(file));
  });
  attempt("model.onnx", [&] {
    export_onnx(result.folder / "model.onnx", net, {.input = {shape_[1], shape_[2], shape_[3]}});
  });
  attempt("integer network", [&] {
    const IntegerNetwork network = to_integer(net, {int(shape_[1]), int(shape_[2]), int(shape_[3])});
    network.save(result.folder / "integer.safetensors");
    result.agreement = evaluate_integers(network, test_, normalization_, 64)
                           .predictions.eq(simulated.predictions)
                           .to(torch::kFloat64)
                           .mean()
                           .item<double>();
    std::vector<float> logits;
    result.milliseconds = milliseconds([&](const torch::Tensor& x) {
      logits.resize(size_t(x.size(0) * network.outputs()));
      network.run({x.data_ptr<float>(), size_t(x.numel())}, int(x.size(0)), logits);
    });
  });
  return result;
}

nlohmann::ordered_json Job::to_json(const Result& result) const {
  nlohmann::ordered_json json{{"method", result.method},
                              {"accuracy", result.accuracy},
                              {"bytes", result.bytes},
                              {"bit_operations", result.bit_operations},
                              {"quantize_seconds", result.seconds},
                              {"milliseconds_per_image", result.milliseconds}};
  if (&result == &float_) return json;
  json["integer_agreement"] = result.agreement;
  json["folder"] = result.folder.string();
  if (!result.note.empty()) json["note"] = result.note;
  for (const auto& layer : result.layers)
    json["layers"].push_back({{"name", layer.layer.name},
                              {"weight_bits", layer.weight_bits},
                              {"activation_bits", layer.activation_bits},
                              {"bytes", layer.bytes},
                              {"macs", layer.layer.macs},
                              {"sqnr_db", layer.sqnr}});
  return json;
}

std::string Job::text() const {
  std::string text = fmt::format("\n{:<10}{:>10}{:>12}{:>10}{:>14}{:>16}\n", "", "accuracy", "file", "ms/image",
                                 "giga bit-ops", "integers agree");
  const auto row = [&](const Result& r) {
    text += fmt::format("{:<10}{:>8.2f} %{:>9.1f} kB{:>10}{:>14.3f}{:>16}\n", r.method, 100 * r.accuracy,
                        double(r.bytes) / 1000, r.milliseconds > 0 ? fmt::format("{:.3f}", r.milliseconds) : "-",
                        1e-9 * r.bit_operations,
                        &r != &float_ && r.milliseconds > 0 ? fmt::format("{:.2f} %", 100 * r.agreement) : "-");
    if (!r.note.empty()) text += "          " + r.note + "\n";
  };
  row(float_);
  for (const Result& result : results_) row(result);
  for (const Result& result : results_) text += fmt::format("\n{}: {}", result.method, result.folder.string());
  return text + fmt::format("\nReport page: {}\n", (out_ / "report.html").string());
}

void Job::report() {
  Report page{.recipe = model_.info.model,
              .title = fmt::format("{} on {}, quantized", model_.info.model, test_.name),
              .mode = "quantization",
              .seed = options_.seed,
              .data = {test_.name, test_.source, samples_.size(0), test_.size()}};
  page.environment = environment_facts();
  Table table{.caption = "Milliseconds an image in batches of 32; the float network by LibTorch, others in integers",
              .columns = {"", "accuracy, %", "file, kB", "ms an image", "giga bit-operations", "seconds to quantize"},
              .rows = {}};
  ScatterPlot plot{.title = "",
                   .x = {.label = "file, kB", .log = true},
                   .y = {.label = "accuracy in %"},
                   .points = {},
                   .pareto = true};
  const auto row = [&](const Result& r) {
    page.results.push_back({.name = r.method + " accuracy", .value = 100 * r.accuracy, .unit = "%"});
    table.rows.push_back({r.method, fmt::format("{:.2f}", 100 * r.accuracy),
                          fmt::format("{:.1f}", double(r.bytes) / 1000), fmt::format("{:.3f}", r.milliseconds),
                          fmt::format("{:.3f}", 1e-9 * r.bit_operations), fmt::format("{:.1f}", r.seconds)});
    plot.points.push_back({double(r.bytes) / 1000, 100 * r.accuracy, r.method, ""});
  };
  row(float_);
  for (const Result& result : results_) row(result);
  page.sections.push_back(
      {.title = "Accuracy, size, speed", .tables = {table}, .figures = {scatter_plot(plot, "Size and accuracy")}});
  for (const Result& result : results_) {
    Table layers{.caption = result.note,
                 .columns = {"layer", "kind", "weights", "bits", "input bits", "bytes", "million MACs", "SQNR, dB"},
                 .rows = {}};
    for (const auto& l : result.layers)
      layers.rows.push_back({l.layer.name, l.layer.kind, fmt::format("{}", l.layer.parameters),
                             fmt::format("{}", l.weight_bits), fmt::format("{}", l.activation_bits),
                             fmt::format("{}", l.bytes), fmt::format("{:.3f}", 1e-6 * double(l.layer.macs)),
                             fmt::format("{:.1f}", l.sqnr)});
    page.sections.push_back({.title = "Layers, " + result.method, .tables = {layers}});
  }
  if (!sensitivity_.names.empty()) {
    BarPlot bars{.title = "",
                 .groups = sensitivity_.names,
                 .bars = {},
                 .y = {.label = "divergence of the outputs", .log = true}};
    for (size_t k = 0; k < sensitivity_.bits.size(); ++k) {
      bars.bars.push_back({.name = fmt::format("{} bits", sensitivity_.bits[k]), .values = {}});
      for (const auto& row : sensitivity_.omega) bars.bars.back().values.push_back(row[k]);
    }
    Series front{.name = ""};
    int64_t weights = 0;
    for (const int64_t size : sensitivity_.sizes) weights += size;
    for (const auto& point : frontier_.points) {
      front.x.push_back(double(point.size) / double(weights));
      front.y.push_back(point.cost);
    }
    page.sections.push_back(
        {.title = "Bits by sensitivity",
         .text = "What each layer alone does to the outputs at each width, and the best sum of these for every size.",
         .figures = {bar_plot(bars, "Sensitivity"), line_plot({.title = "",
                                                               .x = {.label = "average bits a weight"},
                                                               .y = {.label = "sum of divergences", .log = true},
                                                               .series = {front}},
                                                              "Pareto front")}});
  }
  write_html(page, out_ / "report.html");
}

int Job::run() {
  choose_bits();
  float_ = {.method = "float", .accuracy = accuracy(model_.net)};
  Network folded = fold_batch_norm(model_.net);
  for (const auto& p : folded->parameters()) float_.bytes += 4 * p.numel();
  for (const auto& layer : layer_table(folded, shape_)) float_.bit_operations += 32.0 * 32.0 * double(layer.macs);
  {
    const torch::NoGradGuard no_grad;
    float_.milliseconds = milliseconds([&](const torch::Tensor& x) { folded->forward(x); });
  }
  for (const auto& method : options_.methods) results_.push_back(measure(method));
  report();
  nlohmann::ordered_json json{{"model", model_.info.model},
                              {"data", test_.name},
                              {"images", test_.size()},
                              {"calibration", samples_.size(0)},
                              {"float", to_json(float_)}};
  for (const Result& result : results_) json["results"].push_back(to_json(result));
  write_file(out_ / "report.json", json.dump(2) + "\n");
  if (options_.json)
    print_json(json);
  else
    print(text());
  return kDone;
}

}  // namespace

void add_quantize(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  const auto language = std::make_shared<LanguageQuantizeOptions>();
  const auto bits = std::make_shared<std::vector<int>>();
  const auto methods = std::make_shared<std::vector<std::string>>();
  auto* command = app.add_subcommand(
      "quantize",
      "Take an image classifier or a language model to few bits; compare methods; write it for other programs");
  command->option_defaults()->group(kImages);
  add_model_source(*command, options->model);
  command->get_option("model")->description(
      "A model's file or folder: of quanta train, a Hugging Face folder, or see --arch");
  add_image_source(*command, options->data, false);
  std::string image_methods;
  for (const auto& [name, meaning] : kMethods)
    image_methods += fmt::format("{}{} ({})", image_methods.empty() ? "" : ", ", name, meaning);
  command->option_defaults()->group("Options");
  command
      ->add_option("--method", *methods,
                   fmt::format("One or more, separated by commas. Images: {}. Language models: {}", image_methods,
                               language_methods()))
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAME,...");
  command->add_option("--bits", *bits, "Of weights (default: 8 for images, 4 for language models, which take several)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(2, 8))
      ->type_name("N,...");
  command->add_option("--seed", options->seed, "Seed of everything random")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--out", options->out, "Folder for what is written (default: runs/MODEL-quantized)")
      ->type_name("DIR");
  add_threads_option(*command);
  command->add_flag("--json", options->json, "Print one JSON object");
  add_language_options(*command, *language);
  command->option_defaults()->group(kImages);
  command->add_option("--act-bits", options->activation_bits, "Of activations; 0: weights only")
      ->check(CLI::Range(0, 8))
      ->capture_default_str();
  command->add_flag("--per-tensor", options->per_tensor,
                    "One scale for a layer's weights instead of one for each channel");
  command->add_flag("--affine", options->affine, "Weights with a zero point");
  command->add_option("--range", options->range, "Of weights: minmax, percentile or mse")
      ->check(CLI::IsMember(kRanges))
      ->capture_default_str();
  command->add_option("--observer", options->observer, "Of activations: minmax, average, percentile, mse or kl")
      ->check(CLI::IsMember(kObservers))
      ->capture_default_str();
  command
      ->add_option("--calibration", options->calibration, "Images that set ranges, or from which rounding is learned")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--edge-bits", options->edge_bits,
                   "Of the first and the last layer's weights; 0: as the others (for learned rounding: 8)")
      ->check(CLI::Range(0, 8))
      ->capture_default_str();
  command->add_flag("--equalize", options->equalize, "ptq: equalize the ranges of consecutive layers first");
  command->add_flag("--bias-correction", options->bias_correction,
                    "ptq: undo the mean shift that rounded weights cause");
  auto* average = command
                      ->add_option("--average-bits", options->average_bits,
                                   "Give each layer its own bits, with this average, by its sensitivity")
                      ->check(CLI::Range(1.0, 8.0))
                      ->type_name("BITS");
  command->add_option("--candidates", options->candidates, "Bits to choose from with --average-bits")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(2, 8))
      ->capture_default_str();
  command->add_option("--table", options->table, "A JSON file of each layer's bits: {\"conv1\": 8, ...}")
      ->check(CLI::ExistingFile)
      ->excludes(average)
      ->type_name("FILE");
  command->add_option("--epochs", options->epochs, "qat: of training")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_option("--rate", options->rate, "qat: highest learning rate")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--train-images", options->train_images, "qat: train on so many images only")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  command
      ->add_option("--set", options->overrides,
                   "adaround, brecq, qdrop, best: change an option, as steps=2000; repeatable")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
  command->add_option("--images", options->images, "Evaluate on so many test images only")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  command->callback([=, &status] {
    require(fs::exists(options->model.path), "{}: no such file or folder", options->model.path);
    const bool is_language = is_language_model(options->model.path);
    for (const auto* option : command->get_options())
      if (option->count() > 0 && option->get_group() == (is_language ? kImages : kLanguageModels) &&
          option->get_name() != "model")
        throw UsageError(fmt::format("{} is not for {}; see quanta quantize --help", option->get_name(),
                                     is_language ? "language models" : "image classifiers"));
    if (is_language) {
      language->model = options->model.path;
      if (!methods->empty()) language->methods = *methods;
      if (!bits->empty()) language->bits = *bits;
      language->seed = options->seed;
      language->out = options->out;
      language->json = options->json;
      status = quantize_language(*language);
      return;
    }
    if (options->data.set.empty()) throw UsageError("--data is required: images to calibrate with and to measure on");
    if (bits->size() > 1) throw UsageError("--bits takes one number for image classifiers");
    if (!bits->empty()) options->bits = bits->front();
    if (!methods->empty()) options->methods = *methods;
    status = Job(*options).run();
  });
}

void add_plan(CLI::App& app, int& status) {
  const auto options = std::make_shared<LanguageQuantizeOptions>();
  auto* command = app.add_subcommand("plan", "What quantizing a language model would take, before any work");
  command->add_option("model", options->model, "A Hugging Face folder")->required()->type_name("MODEL");
  command->add_option("--method", options->methods, language_methods())
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->type_name("NAME,...");
  command->add_option("--bits", options->bits, "Of weights")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(2, 8))
      ->capture_default_str()
      ->type_name("N,...");
  command->add_option("--out", options->out, "Folder where the result shall go")->type_name("DIR");
  add_threads_option(*command);
  command->add_flag("--json", options->json, "Print one JSON array");
  add_language_options(*command, *options);
  command->callback([options, &status] {
    options->plan = true;
    status = quantize_language(*options);
  });
}

}  // namespace quanta::cli
