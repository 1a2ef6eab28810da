#include "quanta/papers/recipe.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <map>
#include <numeric>

#include "quanta/core/log.h"
#include "quanta/core/random.h"
#include "quanta/core/safetensors.h"
#include "quanta/models/mini_nets.h"
#include "quanta/models/vision.h"
#include "quanta/nn/fold.h"
#include "quanta/papers/reference.h"
#include "quanta/papers/statistics.h"
#include "quanta/papers/vision_data.h"
#include "quanta/quantize/quantized_model.h"
#include "quanta/quantize/zero_shot.h"
#include "quanta/report/plot.h"
#include "quanta/train/checkpoint.h"

// Recipe 22: "ZeroQ: A Novel Zero Shot Quantization Framework", arXiv 2001.00281. See README.md beside this file.

namespace quanta {
namespace {

using torch::Tensor;

/// What one network gave.
struct Run {
  double float_accuracy = 0;
  std::vector<double> history{};                // L of distilling
  std::map<std::string, double> accuracy{};     // by calibration or allocation
  SensitivityTable weights, activations, real;  // on distilled data; the last on real images
  ParetoFrontier frontier{};
  BitAllocation mixed{};
  std::vector<double> random{};  // accuracies of random allocations
  double rank = 0;               // Spearman, distilled against real
  double seconds = 0;            // of processor time: distill, sensitivities, search, quantize
  Tensor images{};               // distilled
  int64_t weight_count = 0;
  int64_t stored = 0;            // bytes of the codes in the file
  double reload_difference = 0;  // of the stored network's accuracy
  bool untouched = false, repeated = false;
};

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<double> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto below = std::ranges::count_if(values, [&](double v) { return v < values[i]; });
    const auto equal = std::ranges::count(values, values[i]);
    result[i] = double(below) + double(equal - 1) / 2;
  }
  return result;
}

double spearman(const std::vector<double>& a, const std::vector<double>& b) {
  const auto x = ranks(a), y = ranks(b);
  const double mx = mean(x), my = mean(y);
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mx) * (y[i] - my);
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
  }
  return xy / std::sqrt(std::max(xx * yy, 1e-300));
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

std::vector<double> column(const SensitivityTable& table, size_t k) {
  std::vector<double> values;
  for (const auto& row : table.omega) values.push_back(row[k]);
  return values;
}

std::string list(const std::vector<double>& values) {
  return fmt::format("{:.4f}", fmt::join(values, ", "));
}

class Study {
 public:
  Study(const Config& config, const RunContext& context, const VisionData& data, Report& report)
      : config_(config),
        context_(context),
        data_(data),
        prefix_(data.images.train.name + ": "),
        gratings_(data.images.train.name == "gratings" && !context.full),
        report_(report) {}
  void run();

 private:
  template <class T>
  T get(const char* key) const {
    return config_.get<T>(key);
  }
  Network build(uint64_t seed) const;
  DistillOptions distill_options(uint64_t seed) const;
  Run study(uint64_t seed) const;
  double accuracy(Network net) const { return evaluate(net, data_.test).accuracy; }
  double allocated(const Network& net, const std::vector<int>& bits, int activation_bits, const Tensor& data) const {
    Network made(net->copy());
    quantize_weights(made, bits);
    if (activation_bits) calibrate_activations(made, data, activation_bits);
    return accuracy(made);
  }

  template <class F>
  std::vector<double> each(F number) const {
    std::vector<double> values;
    for (const Run& run : runs_) values.push_back(number(run));
    return values;
  }
  std::vector<double> accuracies(const std::string& name) const {
    return each([&](const Run& run) { return run.accuracy.at(name); });
  }
  std::vector<double> differences(const std::string& a, const std::string& b) const {
    return each([&](const Run& run) { return 100 * (run.accuracy.at(a) - run.accuracy.at(b)); });
  }
  void check(const std::string& name, bool holds, const std::string& detail) {
    report_.checks.push_back({prefix_ + name, holds, detail});
  }
  void checks();
  void report_accuracies();
  void report_distilling();
  void report_sensitivities();

  const Config& config_;
  const RunContext& context_;
  const VisionData& data_;
  std::string prefix_;
  bool gratings_;  // the thresholds are stated for them
  std::vector<Run> runs_;
  Report& report_;
};

Network Study::build(uint64_t seed) const {
  const auto name = get<std::string>("network");
  if (name == "res_mini") return res_mini({.channels = data_.shape()[0], .classes = data_.classes(), .seed = seed});
  return vision_model(
      name, {.classes = data_.classes(), .input = data_.shape()[1], .channels = data_.shape()[0], .seed = seed});
}

DistillOptions Study::distill_options(uint64_t seed) const {
  const auto choice = [&](const char* key, const char* first, const char* second) {
    const auto word = get<std::string>(key);
    if (word != first && word != second)
      throw UsageError(fmt::format("unknown {} '{}': expected {} or {}", key, word, first, second));
    return word == second;
  };
  return {.batch = get<int64_t>("distill.batch"),
          .iterations = get<int>("distill.iterations"),
          .lr = get<double>("distill.lr"),
          .patience = get<int>("distill.patience"),
          .init = choice("distill.init", "uniform_small", "gaussian") ? DistillOptions::Init::Gaussian
                                                                      : DistillOptions::Init::UniformSmall,
          .mode = choice("distill.mode", "fixed", "recon") ? DistillOptions::Mode::Recon : DistillOptions::Mode::Fixed,
          .seed = seed};
}

Run Study::study(uint64_t seed) const {
  const auto bits = get<std::vector<int>>("bits");
  const int activation_bits = get<int>("activation_bits");
  const double budget = get<double>("budget");
  const auto shape = data_.shape();
  const ImageTraining training{
      .epochs = get<int>("epochs"),
      .batch = get<int>("batch"),
      .rate = get<double>("rate"),
      .weight_decay = get<double>("weight_decay"),
      .warmup = 0,
      .nesterov = false,
      .augmentation = {.crop_padding = get<bool>("augment") ? shape[1] / 8 : 0, .flip = get<bool>("augment")},
      .seed = seed};
  const std::string label = fmt::format("{}-float-{}", data_.images.train.name, seed);
  Network net = reference_network(label, build(seed), data_.images, data_.normalization, training, context_).net;
  std::vector<Tensor> before;
  for (const auto& tensor : net->buffers()) before.push_back(tensor.clone());
  for (const auto& tensor : net->parameters()) before.push_back(tensor.detach().clone());

  Run run;
  run.float_accuracy = run.accuracy["float"] = accuracy(net);
  const DistillOptions distill = distill_options(seed);
  ZeroShotOptions options{
      .weight_bits = bits, .average_bits = budget, .activation_bits = activation_bits, .distill = distill};
  const std::clock_t start = std::clock();
  const ZeroShotResult found = quantize_zero_shot(net, shape, options);
  run.seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
  run.history = found.history;
  run.images = found.data;
  run.weights = found.sensitivity;
  run.frontier = found.frontier;
  run.mixed = found.bits;
  run.accuracy["mixed"] = accuracy(found.network);
  run.weight_count = std::accumulate(run.weights.sizes.begin(), run.weights.sizes.end(), int64_t{0});

  bool same = true;
  size_t at = 0;
  for (const auto& tensor : net->buffers()) same &= tensor.equal(before[at++]);
  for (const auto& tensor : net->parameters()) same &= tensor.equal(before[at++]);
  run.untouched = same;

  // All a distiller is given is the network: from its file alone the images come out the same.
  Network alone = build(seed + 1000);
  load_module(*alone, context_.out / (label + ".safetensors"));
  alone->eval();
  run.repeated = distill_data(alone, shape, distill).equal(found.data);

  const size_t layers = run.mixed.bits.size();
  const std::vector<int> eight(layers, 8), four(layers, 4), lowest(layers, bits.front());
  const Tensor real_few = data_.train.inputs.slice(0, 0, distill.batch);
  Random random = Random(seed).split("noise");
  Tensor noise = torch::empty_like(found.data);
  for (int64_t i = 0; i < noise.numel(); ++i) noise.data_ptr<float>()[i] = float(random.normal());
  const std::map<std::string, Tensor> calibrations{
      {"distilled", found.data}, {"noise", noise}, {"start", distill_init(shape, distill)}, {"real", real_few}};
  for (const auto& [name, images] : calibrations) {
    run.accuracy["W8A8 " + name] = allocated(net, eight, 8, images);
    run.accuracy["W4A4 " + name] = allocated(net, four, 4, images);
  }
  run.accuracy["lowest"] = allocated(net, lowest, activation_bits, found.data);

  const auto real_count = std::min(get<int64_t>("real"), data_.train.size());
  const MakeQuantizer per_channel = [](const Tensor& w, int b) { return zero_shot_quantizer(w, b, true); };
  const MakeQuantizer per_tensor = [](const Tensor& x, int b) { return zero_shot_quantizer(x, b, false); };
  run.real = layer_sensitivity(net, data_.train.inputs.slice(0, 0, real_count),
                               {.bits = {bits.front()}, .quantizer = per_channel, .batch = 128});
  run.rank = spearman(column(run.weights, 0), column(run.real, 0));
  run.activations =
      layer_sensitivity(net, found.data, {.bits = bits, .part = QuantizedPart::Activations, .quantizer = per_tensor});

  // Random allocations of nearly the budget's size.
  const auto limit = int64_t(budget * double(run.weight_count));
  Random dice = Random(seed).split("allocations");
  const int wanted = get<int>("random");
  for (int64_t tries = 0; int(run.random.size()) < wanted; ++tries) {
    require(tries < 10000000, "no random allocations have 93 to 100 % of {} bits a weight", budget);
    std::vector<int> choice;
    int64_t size = 0;
    for (size_t i = 0; i < layers; ++i) {
      choice.push_back(bits[dice.below(bits.size())]);
      size += run.weights.sizes[i] * choice.back();
    }
    if (size > limit || double(size) < 0.93 * double(limit)) continue;
    run.random.push_back(allocated(net, choice, activation_bits, found.data));
  }

  // Folded and stored, then read again.
  Network folded = fold_batch_norm(net);
  quantize_weights(folded, run.mixed.bits);
  if (activation_bits) calibrate_activations(folded, found.data, activation_bits);
  const auto path = context_.out / fmt::format("{}-mixed-{}.safetensors", data_.images.train.name, seed);
  save_quantized(path, folded);
  const auto file = Safetensors::open(path);
  for (const auto& [name, tensor] : file.tensors())
    if (name.ends_with(".codes")) run.stored += int64_t(tensor.bytes.size());
  run.accuracy["mixed, folded"] = accuracy(folded);
  run.reload_difference = accuracy(load_quantized(path, net)) - run.accuracy["mixed, folded"];
  log_info("{}seed {}: float {:.2f} %, W8A8 {:.2f} %, {} bits a weight {:.2f} %, uniform {} bits {:.2f} %", prefix_,
           seed, 100 * run.float_accuracy, 100 * run.accuracy["W8A8 distilled"], budget, 100 * run.accuracy["mixed"],
           bits.front(), 100 * run.accuracy["lowest"]);
  return run;
}

void Study::checks() {
  const auto all_at_least = [](const std::vector<double>& values, double least) {
    return std::ranges::min(values) >= least;
  };
  const auto falls = each([](const Run& run) { return run.history.front() / run.history.back(); });
  bool smooth = true;
  for (const Run& run : runs_) {
    std::vector<double> sums;
    for (size_t i = 20; i <= run.history.size(); ++i)
      sums.push_back(std::accumulate(run.history.begin() + int64_t(i) - 20, run.history.begin() + int64_t(i), 0.0));
    for (size_t i = 1; i < sums.size(); ++i) smooth &= sums[i] <= sums[i - 1] * 1.01;
  }
  std::vector<std::string> ends;
  for (const Run& run : runs_) ends.push_back(fmt::format("{:.1f} to {:.2f}", run.history.front(), run.history.back()));
  check(
      gratings_ ? "distilling lowers L to a thirtieth, on every seed" : "distilling lowers L to a tenth, on every seed",
      all_at_least(falls, gratings_ ? 30 : 10), fmt::format("{}", fmt::join(ends, "; ")));
  check("averaged over 20 iterations L never rises by more than 1 %", smooth, fmt::format("{}", fmt::join(ends, "; ")));

  const auto w8 = differences("W8A8 distilled", "float"), w4 = differences("W4A4 distilled", "float");
  check("W8A8 calibrated on distilled images loses at most 1 point, on every seed", all_at_least(w8, -1),
        fmt::format("{:+.2f} points", fmt::join(w8, ", ")));
  if (gratings_) {
    const auto start = accuracies("W8A8 start");
    check("W8A8 calibrated on the start of distilling is at most 65 %, on every seed", std::ranges::max(start) <= 0.65,
          list(start));
    check("W4A4 calibrated on distilled images loses at most 2 points, on every seed", all_at_least(w4, -2),
          fmt::format("{:+.2f} points", fmt::join(w4, ", ")));
  } else {
    const auto gain = differences("W8A8 distilled", "W8A8 start");
    check("W8A8: distilled images calibrate better than the start of distilling, on every seed",
          all_at_least(gain, 1e-9), fmt::format("{:+.2f} points", fmt::join(gain, ", ")));
  }

  const auto rank = each([](const Run& run) { return run.rank; });
  check("sensitivities on distilled and on real images rank alike: Spearman 0.6 on every seed, 0.8 in the mean",
        all_at_least(rank, 0.6) && mean(rank) >= 0.8, list(rank));

  const auto gain = differences("mixed", "lowest");
  if (gratings_)
    check("the mixed allocation gains 0.5 points over uniform 2 bits on every seed, 2 in the mean",
          all_at_least(gain, 0.5) && mean(gain) >= 2, fmt::format("{:+.2f} points", fmt::join(gain, ", ")));
  else
    check("the mixed allocation is better than the uniform lowest width, on every seed", all_at_least(gain, 1e-9),
          fmt::format("{:+.2f} points", fmt::join(gain, ", ")));
  if (get<int>("random") > 0) {
    const auto medians = each([](const Run& run) { return median(run.random); });
    check("the mixed allocation is at least as good as the median of random ones, in the mean over seeds",
          mean(accuracies("mixed")) >= mean(medians),
          fmt::format("{:.4f} against {:.4f}", mean(accuracies("mixed")), mean(medians)));
  }

  const auto seconds = each([](const Run& run) { return run.seconds; });
  check("distilling, sensitivities and search take at most 30 s of processor time", std::ranges::max(seconds) <= 30,
        fmt::format("{:.1f} s", fmt::join(seconds, ", ")));
  check("the weights' file alone gives the same distilled images, bit for bit",
        std::ranges::all_of(runs_, &Run::repeated), "no data set is asked");
  check("the network's weights and running statistics keep their bits", std::ranges::all_of(runs_, &Run::untouched),
        "compared before and after");
  bool size = true, budget = true;
  for (const Run& run : runs_) {
    int64_t bytes = 0;
    for (size_t i = 0; i < run.mixed.bits.size(); ++i) bytes += (run.weights.sizes[i] * run.mixed.bits[i] + 7) / 8;
    size &= bytes == run.stored;
    budget &= double(run.mixed.size) <= get<double>("budget") * double(run.weight_count);
  }
  check("the stored codes take as many bytes as the allocation says, within the budget", size && budget,
        fmt::format("{} bytes for {} weights, seed {}", runs_[0].stored, runs_[0].weight_count, context_.seed));
  const auto reload = each([](const Run& run) { return run.reload_difference; });
  check("the stored network, read again, is as accurate", all_at_least(reload, 0) && std::ranges::max(reload) <= 0,
        list(reload));
}

void Study::report_accuracies() {
  const auto bits = get<std::vector<int>>("bits");
  const int activations = get<int>("activation_bits");
  Table table{.caption = fmt::format("Accuracy on {} test images, {} seeds.", data_.test.size(), runs_.size()),
              .columns = {"network", "calibrated on", "accuracy", "bits a weight", "weights, bytes"},
              .rows = {}};
  const auto row = [&](const std::string& name, const std::string& on, const std::string& key, double width) {
    table.rows.push_back({name, on, percent(accuracies(key)), fmt::format("{:.3f}", width),
                          fmt::format("{:.0f}", width * double(runs_[0].weight_count) / 8)});
  };
  row("float", "", "float", 32);
  for (const char* width : {"W8A8", "W4A4"})
    for (const auto& [key, on] : {std::pair{"real", "real images (not zero-shot)"},
                                  {"distilled", "distilled images"},
                                  {"noise", "Gaussian noise"},
                                  {"start", "the start of distilling"}})
      row(width, on, fmt::format("{} {}", width, key), width[1] == '8' ? 8 : 4);
  const double mixed = mean(each([](const Run& run) { return double(run.mixed.size) / double(run.weight_count); }));
  row(fmt::format("mixed, A{}", activations), "distilled images", "mixed", mixed);
  row(fmt::format("mixed, A{}, folded and stored", activations), "distilled images", "mixed, folded", mixed);
  row(fmt::format("uniform W{}A{}", bits.front(), activations), "distilled images", "lowest", bits.front());

  const auto result = [&](const std::string& name, const std::string& key, std::optional<double> paper = {},
                          const std::string& source = "") {
    report_.results.push_back({.name = prefix_ + name,
                               .value = 100 * mean(accuracies(key)),
                               .unit = "%",
                               .paper = paper,
                               .paper_source = source});
  };
  result("float", "float", 71.47, "ResNet18, ImageNet (authors' code)");
  result("W8A8, distilled", "W8A8 distilled", 71.43, "ResNet18, ImageNet (authors' code)");
  result("W4A4, distilled", "W4A4 distilled");
  result(fmt::format("mixed, {} bits a weight, A{}", get<double>("budget"), activations), "mixed");
  result(fmt::format("uniform {} bits, A{}", bits.front(), activations), "lowest");
  report_.results.push_back({.name = prefix_ + "distilling, sensitivities and search, processor time",
                             .value = mean(each([](const Run& run) { return run.seconds; })),
                             .unit = "s",
                             .paper = 30,
                             .paper_source = "abstract, ResNet50: less than"});

  ScatterPlot plot{
      .title = "", .x = {.label = "bits a weight"}, .y = {.label = "test accuracy"}, .points = {}, .pareto = false};
  const Run& run = runs_[0];
  for (const double accuracy : run.random) plot.points.push_back({get<double>("budget"), accuracy, "", "random"});
  plot.points.push_back({double(run.mixed.size) / double(run.weight_count), run.accuracy.at("mixed"), "", "mixed"});
  plot.points.push_back({double(bits.front()), run.accuracy.at("lowest"), "", "uniform"});
  Series front{.name = ""};
  for (const auto& point : run.frontier.points) {
    front.x.push_back(double(point.size) / double(run.weight_count));
    front.y.push_back(std::max(point.cost, 1e-12));
  }
  report_.sections.push_back(
      {.title = prefix_ + "accuracy",
       .text = "Biases and batch normalizations stay in float; weights have a range for each output channel, "
               "activations one for each rectifier.",
       .tables = {table},
       .figures = {line_plot({.title = "",
                              .x = {.label = "bits a weight"},
                              .y = {.label = "sum of sensitivities", .log = true},
                              .series = {front}},
                             "The Pareto frontier of the first network: no choice of widths has both a smaller size "
                             "and a smaller sum."),
                   scatter_plot(plot,
                                "Random allocations of 93 to 100 % of the budget, the one chosen, and the lowest "
                                "width for all. First network, activations quantized.")}});
}

void Study::report_distilling() {
  LinePlot loss{.title = "",
                .x = {.label = "iteration"},
                .y = {.label = "distance of the statistics, L", .log = true},
                .series = {}};
  for (size_t i = 0; i < runs_.size(); ++i)
    loss.series.push_back({.name = fmt::format("network {}", i), .y = runs_[i].history});
  std::vector<GridImage> images;
  const Tensor made = runs_[0].images.slice(0, 0, 20);
  for (int64_t i = 0; i < made.size(0); ++i) {
    const Tensor low = made[i].min(), high = made[i].max();
    const Tensor pixels = ((made[i] - low) / (high - low).clamp_min(1e-6) * 255).round().to(torch::kUInt8).contiguous();
    images.push_back({.channels = pixels.size(0),
                      .height = pixels.size(1),
                      .width = pixels.size(2),
                      .pixels = {pixels.data_ptr<uint8_t>(), pixels.data_ptr<uint8_t>() + pixels.numel()}});
  }
  report_.sections.push_back(
      {.title = prefix_ + "distilled images",
       .text = "Each image has, at the input of every batch normalization, the mean and deviation that training left "
               "there. Nothing else is asked of it: no label, no pixel range.",
       .tables = {},
       .figures = {line_plot(loss), image_grid(images, 10, "Of the first network; each scaled to its own range.")}});
}

void Study::report_sensitivities() {
  const Run& run = runs_[0];
  BarPlot bars{.title = "", .groups = run.weights.names, .bars = {{"distilled images"}, {"real images"}}};
  bars.y = {.label = fmt::format("KL, weights of {} bits", run.weights.bits[0]), .log = true};
  bars.bars[0].values = column(run.weights, 0);
  bars.bars[1].values = column(run.real, 0);
  const auto table = [](const SensitivityTable& from, const std::string& caption, const std::vector<int>* chosen) {
    Table made{.caption = caption, .columns = {"layer", "size"}, .rows = {}};
    for (const int bits : from.bits) made.columns.push_back(fmt::format("KL, {} bits", bits));
    if (chosen) made.columns.push_back("chosen");
    for (size_t i = 0; i < from.names.size(); ++i) {
      made.rows.push_back({from.names[i], std::to_string(from.sizes[i])});
      for (const double omega : from.omega[i]) made.rows.back().push_back(fmt::format("{:.2e}", omega));
      if (chosen) made.rows.back().push_back(std::to_string((*chosen)[i]));
    }
    return made;
  };
  report_.sections.push_back(
      {.title = prefix_ + "sensitivities",
       .text =
           fmt::format("The divergence of the outputs when one layer alone is quantized. The ranks of the layers on "
                       "distilled and on {} real images correlate by {} (Spearman, all networks).",
                       get<int64_t>("real"), list(each([](const Run& r) { return r.rank; }))),
       .tables = {table(run.weights, "Weights, first network, distilled images.", &run.mixed.bits),
                  table(run.activations, "Activations, first network, distilled images.", nullptr)},
       .figures = {bar_plot(bars)}});
}

void Study::run() {
  for (int i = 0; i < get<int>("seeds"); ++i) runs_.push_back(study(context_.seed + uint64_t(i)));
  checks();
  report_accuracies();
  report_distilling();
  report_sensitivities();
  for (size_t i = 0; i < runs_.size(); ++i)
    for (const char* kind : {"float", "mixed"})
      report_.artifacts.push_back(
          fmt::format("{}-{}-{}.safetensors", data_.images.train.name, kind, context_.seed + i));
}

Report run(const Config& config, const RunContext& context) {
  Report report;
  require(config.get<int>("seeds") >= 1, "seeds is {}, expected at least 1", config.get<int>("seeds"));
  const auto data = vision_data(
      config.get<std::vector<std::string>>("data"),
      {.train = config.get<int64_t>("train"), .test = config.get<int64_t>("test"), .size = config.get<int64_t>("size")},
      context);
  for (const VisionData& one : data) Study(config, context, one, report).run();
  const ImageSplits& first = data[0].images;
  report.data = {first.train.name, first.train.source, first.train.size(), first.test.size()};
  const auto artifact = context.out / "model.safetensors";
  std::filesystem::copy_file(context.out / fmt::format("{}-mixed-{}.safetensors", first.train.name, context.seed),
                             artifact, std::filesystem::copy_options::overwrite_existing);
  report.artifacts.insert(report.artifacts.begin(), "model.safetensors");
  report.summary =
      "A trained network is quantized without a single image. What its batch normalizations have stored is turned into "
      "a batch of images; these measure what every layer loses with 2, 4 or 8 bits, a Pareto frontier picks each "
      "layer's width, and the same images set the ranges of the activations. Test images are only used to report "
      "accuracies.";
  return report;
}

}  // namespace

Recipe recipe_22() {
  return {.title = "ZeroQ: zero-shot quantization with distilled data and mixed precision",
          .kind = "quantized",
          .seconds = 120,
          .run = run};
}

}  // namespace quanta
