#include "quanta/papers/recipe.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "quanta/core/log.h"
#include "quanta/core/machine.h"
#include "quanta/data/known.h"
#include "quanta/export/onnx.h"
#include "quanta/lowbit/convolution.h"
#include "quanta/models/mini_nets.h"
#include "quanta/models/vision.h"
#include "quanta/nn/fold.h"
#include "quanta/nn/state.h"
#include "quanta/papers/figures.h"
#include "quanta/papers/reference.h"
#include "quanta/papers/statistics.h"
#include "quanta/quantize/ptq.h"
#include "quanta/quantize/qat.h"
#include "quanta/quantize/quantized_model.h"
#include "quanta/quantize/to_integer.h"

// Recipe 16: "Quantizing deep convolutional networks for efficient inference: A whitepaper", arXiv 1806.08342. See
// README.md beside this file.

namespace quanta {
namespace {

using torch::Tensor;

UniformOptions weights(int bits, bool per_channel, bool symmetric) {
  return {.bits = bits, .symmetric = symmetric, .narrow = symmetric, .axis = per_channel ? 0 : -1};
}

/// The schemes of the paper's tables.
struct Scheme {
  const char* name;
  bool per_channel, symmetric;
};
constexpr Scheme kSchemes[] = {
    {"per layer, affine", false, false}, {"per channel, symmetric", true, true}, {"per channel, affine", true, false}};

/// Accuracies in percent, by name; one value a seed.
using Accuracies = std::map<std::string, std::vector<double>>;

class Study {
 public:
  Study(const Config& config, const RunContext& context);
  Report run();

 private:
  Network untrained(double width, uint64_t seed) const;
  Reference reference(const std::string& label, double width, uint64_t seed);
  void one_seed(uint64_t seed);
  void post_training(Network net);
  void with_outliers(Network net);
  void retrained(Network net, uint64_t seed);
  void foldings(Network net, uint64_t seed);
  void widths(uint64_t seed);
  void integers(Network net);
  void sizes();
  void speed();
  void report_accuracies();

  double accuracy(Network net) const { return 100 * evaluate_images(net, data_.test, normalization_).accuracy; }
  Network quantize(Network net, const UniformOptions& weight, int activation_bits, ActivationMode mode) const {
    return ptq(net, calibration_,
               {.weight = weight,
                .activation{.bits = activation_bits},
                .activations = mode,
                .observer{.kind = ObserverKind::MovingAverage, .decay = 0.9}});
  }
  /// Quantization-aware training from the float network; the deployable form.
  Network train_quantized(Network net, const QatOptions& options, uint64_t seed, const std::string& label) const;

  void note(const std::string& name, double value) {
    accuracies_[name].push_back(value);
    log_info("{}: {:.2f} %", name, value);
  }
  /// Holds if it holds on every seed.
  template <class F>
  void check(const std::string& name, const std::string& a, const std::string& b, F holds) {
    bool all = true;
    const auto &x = accuracies_.at(a), &y = accuracies_.at(b);
    for (size_t i = 0; i < x.size(); ++i) all &= holds(x[i], y[i]);
    report_.checks.push_back(
        {name, all, fmt::format("{}: {:.2f}; {}: {:.2f} %", a, fmt::join(x, ", "), b, fmt::join(y, ", "))});
  }

  template <class T>
  T get(const char* key) const {
    return config_.get<T>(key);
  }

  const Config& config_;
  const RunContext& context_;
  ImageSplits data_;
  Normalization normalization_;
  std::vector<Tensor> calibration_;
  Accuracies accuracies_;
  std::vector<History> histories_;
  Report report_;
};

Study::Study(const Config& config, const RunContext& context) : config_(config), context_(context) {
  const ImageSplits all = load_images_or_stand_in(get<std::string>("dataset"), context.data,
                                                  [](const std::string& line) { log_warn("{}", line); });
  data_.train = subset(all.train, std::min<int64_t>(get<int64_t>("train"), all.train.size()), context.seed);
  data_.test = subset(all.test, std::min<int64_t>(get<int64_t>("test"), all.test.size()), context.seed);
  normalization_ = Normalization::measure(data_.train);
  const int64_t count = std::min<int64_t>(get<int64_t>("calibration"), data_.train.size());
  for (int64_t i = 0; i < count; i += 64)
    calibration_.push_back(
        normalization_.apply(data_.train.take(count).to_float().slice(0, i, std::min(i + 64, count))));
  report_.data = {data_.train.name, data_.train.source, data_.train.size(), data_.test.size()};
}

Network Study::untrained(double width, uint64_t seed) const {
  const auto name = get<std::string>("network");
  const int64_t classes = int64_t(data_.train.classes.size()), channels = data_.train.channels();
  if (name == "micro_mobile")
    return micro_mobile(std::llround(width * get<int>("width")),
                        {.channels = channels, .classes = classes, .seed = seed});
  return vision_model(
      name, {.classes = classes, .input = data_.train.height(), .channels = channels, .width = width, .seed = seed});
}

Reference Study::reference(const std::string& label, double width, uint64_t seed) {
  return reference_network(
      label, untrained(width, seed), data_, normalization_,
      {.epochs = get<int>("epochs"),
       .batch = get<int>("batch"),
       .rate = get<double>("rate"),
       .weight_decay = get<double>("decay"),
       .augmentation{.crop_padding = get<bool>("augment") ? data_.train.height() / 8 : 0, .flip = get<bool>("augment")},
       .seed = seed},
      context_);
}

Network Study::train_quantized(Network net, const QatOptions& options, uint64_t seed, const std::string& label) const {
  Network trained = prepare_qat(net, options);
  const History history =
      train_images(trained, data_.train, {}, normalization_,
                   {.epochs = get<int>("qat_epochs"),
                    .batch = get<int>("batch"),
                    .rate = get<double>("qat_rate"),
                    .weight_decay = get<double>("decay"),
                    .seed = seed,
                    .before_step = [&](int64_t step, int64_t steps) { qat_step(trained, options, step, steps); },
                    .out = context_.out,
                    .label = label,
                    .resume = context_.resume});
  if (history.interrupted)
    throw Interrupted(fmt::format("interrupted; the state is in {}: go on with --resume", context_.out.string()));
  return finish_qat(trained);
}

/// Table 1: every scheme, of weights alone and of weights and activations.
void Study::post_training(Network net) {
  for (const Scheme& scheme : kSchemes) {
    const auto grid = weights(8, scheme.per_channel, scheme.symmetric);
    note(fmt::format("W8, {}", scheme.name), accuracy(quantize(net, grid, 8, ActivationMode::None)));
    note(fmt::format("W8A8, {}", scheme.name), accuracy(quantize(net, grid, 8, ActivationMode::Static)));
  }
  Network activations = quantize(net, weights(8, true, true), 8, ActivationMode::Static);
  for (const auto& [name, layer] : quantizable_layers(*activations))
    layer->put(QuantizableLayer::Place::Weight, nullptr);
  note("A8", accuracy(activations));
  for (const int bits : {4, 3, 2})
    note(fmt::format("W{}A8, post-training", bits),
         accuracy(quantize(net, weights(bits, true, true), 8, ActivationMode::Static)));
}

/// The same function with badly scaled channels: in each depthwise convolution every 8th filter is multiplied, and the
/// channel that goes into it divided, by a factor, which ReLU lets pass.
void Study::with_outliers(Network original) {
  Network net = fold_batch_norm(original);
  const double factor = get<double>("outlier_factor");
  const torch::NoGradGuard no_grad;
  std::shared_ptr<Conv2dImpl> before;
  for (const auto& [name, layer] : quantizable_layers(*net)) {
    const auto conv = std::dynamic_pointer_cast<Conv2dImpl>(layer);
    if (before && conv && conv->options().depthwise())
      for (int64_t c = 0; c < conv->options().out; c += 8) {
        conv->weight[c] *= factor;
        before->weight[c] /= factor;
        before->bias[c] /= factor;
      }
    before = conv;
  }
  const auto x = calibration_[0];
  original->eval();
  const auto expected = original->forward(x);
  const double change = ((net->forward(x) - expected).norm() / expected.norm()).item<double>();
  note("outliers, float", accuracy(net));
  note("outliers, W8, per channel, symmetric",
       accuracy(quantize(net, weights(8, true, true), 8, ActivationMode::None)));
  note("outliers, W8, per layer, affine", accuracy(quantize(net, weights(8, false, false), 8, ActivationMode::None)));
  if (accuracies_["outliers, float"].size() == 1)
    report_.checks.push_back(
        {"outliers keep the function", change <= 1e-4, fmt::format("logits change by {:.1e}", change)});
}

void Study::retrained(Network net, uint64_t seed) {
  for (const auto& [w, a] : {std::pair(8, 8), {4, 8}, {3, 8}, {2, 8}, {8, 4}}) {
    const QatOptions options{
        .weight = weights(w, true, true), .activation{.bits = a}, .decay = 0.99, .freeze_bn = get<double>("freeze_bn")};
    const std::string name = fmt::format("W{}A{}, trained", w, a);
    Network trained = train_quantized(net, options, seed, fmt::format("qat-w{}a{}-seed{}", w, a, seed));
    note(name, accuracy(trained));
    if (w == 8 && a == 8 && seed == context_.seed) {
      save_quantized(context_.out / "model.safetensors", trained);
      export_onnx(context_.out / "model.onnx", trained,
                  {.input = {data_.train.channels(), data_.train.height(), data_.train.width()}});
    }
  }
}

/// Section 3.2.2: the weight's grid jitters with the batch, or does not.
void Study::foldings(Network net, uint64_t seed) {
  const int bits = get<int>("ablation_bits");
  if (bits == 0) return;
  for (const auto& [name, fold] : {std::pair("naive", BatchNormFold::Naive), {"corrected", BatchNormFold::Corrected}}) {
    const QatOptions options{
        .weight = weights(bits, true, true), .decay = 0.99, .fold = fold, .freeze_bn = get<double>("freeze_bn")};
    note(fmt::format("W{}A8, trained, {} folding", bits, name),
         accuracy(train_quantized(net, options, seed, fmt::format("qat-{}-seed{}", name, seed))));
  }
}

/// Section 4: a wider network at fewer bits against a narrower one at more.
void Study::widths(uint64_t seed) {
  const double wide = get<double>("wide");
  if (wide == 0) return;
  Network net = reference(fmt::format("wide-seed{}", seed), wide, seed).net;
  note(fmt::format("{:g} wide, float", wide), accuracy(net));
  for (const int bits : {8, 4})
    note(fmt::format("{:g} wide, W{}A8, trained", wide, bits),
         accuracy(train_quantized(
             net, {.weight = weights(bits, true, true), .decay = 0.99, .freeze_bn = get<double>("freeze_bn")}, seed,
             fmt::format("qat-wide-w{}-seed{}", bits, seed))));
}

/// The integer network against the simulated one: whole, and each operation on the same codes.
void Study::integers(Network net) {
  Network simulated = quantize(net, weights(8, true, true), 8, ActivationMode::Static);
  const ImageShape shape{int(data_.test.channels()), int(data_.test.height()), int(data_.test.width())};
  const IntegerNetwork network = to_integer(simulated, shape);
  network.save(context_.out / "integer.safetensors");
  const Evaluation expected = evaluate_images(simulated, data_.test, normalization_);
  const auto x = normalization_.apply(data_.test.to_float()).contiguous();
  const auto logits =
      torch::tensor(network.run({x.data_ptr<float>(), size_t(x.numel())}, int(x.size(0)))).view({x.size(0), -1});
  const double agreement = 100 * logits.argmax(1).eq(expected.predictions).to(torch::kFloat64).mean().item<double>();
  report_.results.push_back({.name = "integers agree with the simulation", .value = agreement, .unit = "%"});
  report_.checks.push_back({"integer network", agreement >= 99.5,
                            fmt::format("same class on {:.2f} % of {} images, expected 99.5", agreement, x.size(0))});

  // Fold exactness, once in each precision.
  net->eval();
  const auto images = calibration_[0];
  const double single = (net->forward(images) - fold_batch_norm(net)->forward(images)).abs().max().item<double>();
  Network wide = net->copy();
  wide->to(torch::kFloat64);
  const auto exact = images.to(torch::kFloat64);
  const double twice = (wide->forward(exact) - fold_batch_norm(wide)->forward(exact)).abs().max().item<double>();
  report_.checks.push_back(
      {"folding is exact", single <= 1e-4 && twice <= 1e-10,
       fmt::format("logits differ by {:.1e} in float and {:.1e} in double, expected 1e-4 and 1e-10", single, twice)});
}

/// The abstract's factor of 4, on a network of 0.27 million weights.
void Study::sizes() {
  Network net = vision_model("resnet20", {.seed = context_.seed});
  const auto float_file = context_.out / "resnet20.float.safetensors", codes = context_.out / "resnet20.w8.safetensors";
  save_module(*fold_batch_norm(net), float_file);
  save_quantized(codes, quantize(net, weights(8, true, true), 8, ActivationMode::None));
  const double ratio = double(std::filesystem::file_size(codes)) / double(std::filesystem::file_size(float_file));
  std::filesystem::remove(float_file);
  std::filesystem::remove(codes);
  report_.results.push_back({.name = "8-bit file, of the float one",
                             .value = 100 * ratio,
                             .unit = "%",
                             .paper = 25,
                             .paper_source = "abstract: 4x smaller"});
  report_.checks.push_back(
      {"size", ratio <= 0.27, fmt::format("ResNet-20, weights only: {:.3f} of the float file, expected 0.27", ratio)});
}

/// Median seconds a call, of at least 0.2 s of calls.
double seconds(const std::function<void()>& call) {
  call();
  std::vector<double> times;
  for (double total = 0; total < 0.2 || times.size() < 5; total += times.back()) {
    const auto start = std::chrono::steady_clock::now();
    call();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + int64_t(times.size() / 2), times.end());
  return times[times.size() / 2];
}

/// Integers against LibTorch's own float kernels, one thread: a matrix product and the 3x3 convolutions of ResNet-50.
void Study::speed() {
  const int before = torch::get_num_threads();
  use_threads(1);
  const torch::NoGradGuard no_grad;
  Table table{.caption = "Milliseconds of one thread, an image at a time",
              .columns = {"", "float", "8 bits", "ratio"},
              .rows = {}};
  double product = 0;
  const auto time = [&](const std::string& name, const ConvolutionShape& shape, int count, int size) {
    const std::vector<int8_t> codes(size_t(shape.weights()), 3);
    const std::vector<float> scales(size_t(shape.out_channels), 0.01f);
    const IntegerConvolution conv(shape, {.codes = codes, .scales = scales}, {.scale = 0.02f, .zero_point = 3},
                                  {.scale = 0.5f, .zero_point = 3}, {});
    std::vector<uint8_t> in(
        size_t(count) * size_t(size * size) * size_t(shape.in_channels) + IntegerConvolution::kReadAhead, 7);
    std::vector<uint8_t> out(size_t(count) * size_t(shape.output_h(size) * shape.output_w(size)) *
                             size_t(shape.out_channels));
    std::vector<uint8_t> scratch(conv.scratch_bytes(count, size, size, 1));
    const auto w = torch::randn({shape.out_channels, shape.in_channels, shape.kernel_h, shape.kernel_w});
    const auto x = torch::randn({count, shape.in_channels, size, size});
    const auto flat = x.view({count, -1}), matrix = w.view({shape.out_channels, -1});
    const bool dense = size == 1;
    const double as_float =
        seconds([&] { dense ? torch::linear(flat, matrix) : torch::conv2d(x, w, {}, 1, shape.padding_h); });
    const double as_codes = seconds([&] { conv.run(in.data(), count, size, size, out.data(), scratch, 1); });
    table.rows.push_back({name, fmt::format("{:.3f}", 1e3 * as_float), fmt::format("{:.3f}", 1e3 * as_codes),
                          fmt::format("{:.2f}", as_float / as_codes)});
    if (dense) product = as_float / as_codes;
  };
  time("matrices 512 x 512 x 512", {.in_channels = 512, .out_channels = 512}, 512, 1);
  for (const auto& [channels, size] : {std::pair(64, 56), {128, 28}, {256, 14}, {512, 7}})
    time(fmt::format("convolution 3x3, {} channels, {} x {}", channels, size, size),
         {.in_channels = channels,
          .out_channels = channels,
          .kernel_h = 3,
          .kernel_w = 3,
          .padding_h = 1,
          .padding_w = 1},
         1, size);
  use_threads(before);
  report_.results.push_back({.name = "8-bit matrix product, times faster than float",
                             .value = product,
                             .paper = 2,
                             .paper_source = "abstract: 2-3x on CPUs"});
  const auto simd = Machine::detect().simd;
  const bool vnni = std::find(simd.begin(), simd.end(), "avx512vnni") != simd.end();
  if (vnni)
    report_.checks.push_back(
        {"speed", product >= 1.3,
         fmt::format("8-bit product {:.2f} times as fast as LibTorch's float one, expected 1.3", product)});
  report_.sections.push_back({.title = "Speed",
                              .text = vnni ? "" : "Without VNNI instructions the specification asks for no factor.",
                              .tables = {table}});
}

void Study::one_seed(uint64_t seed) {
  const Reference trained = reference(fmt::format("float-seed{}", seed), 1, seed);
  histories_.push_back(trained.history);
  note("float", accuracy(trained.net));
  post_training(trained.net);
  if (get<std::string>("network") == "micro_mobile") with_outliers(trained.net);
  retrained(trained.net, seed);
  if (seed != context_.seed) return;
  foldings(trained.net, seed);
  widths(seed);
  integers(trained.net);
}

void Study::report_accuracies() {
  Table table{.caption = "Accuracy in percent on the test images", .columns = {"", "mean"}, .rows = {}};
  const size_t seeds = accuracies_.at("float").size();
  for (size_t s = 0; s < seeds; ++s) table.columns.push_back(fmt::format("seed {}", context_.seed + s));
  const auto mean = [](const std::vector<double>& v) {
    return std::accumulate(v.begin(), v.end(), 0.0) / double(v.size());
  };
  BarPlot plot{
      .title = "", .groups = {}, .bars = {{.name = "accuracy in %", .values = {}}}, .y = {.label = "%", .min = 0}};
  for (const auto& [name, values] : accuracies_) {
    table.rows.push_back({name, fmt::format("{:.2f}", mean(values))});
    for (const double v : values) table.rows.back().push_back(fmt::format("{:.2f}", v));
    plot.groups.push_back(name);
    plot.bars[0].values.push_back(mean(values));
    report_.results.push_back({.name = name, .value = mean(values), .unit = "%"});
  }
  LinePlot bits{.title = "",
                .x = {.label = "bits of the weights, activations 8 bits"},
                .y = {.label = "accuracy in %"},
                .series = {}};
  for (const char* how : {"post-training", "trained"}) {
    Series series{.name = how};
    for (const int b : {2, 3, 4, 8}) {
      const auto found =
          accuracies_.find(b == 8 && how[0] == 'p' ? "W8A8, per channel, symmetric" : fmt::format("W{}A8, {}", b, how));
      series.x.push_back(b);
      series.y.push_back(mean(found->second));
    }
    bits.series.push_back(series);
  }
  bits.series.push_back({.name = "float",
                         .x = {2, 8},
                         .y = {mean(accuracies_.at("float")), mean(accuracies_.at("float"))},
                         .dashed = true});
  report_.sections.insert(report_.sections.begin(),
                          {.title = "Accuracy",
                           .tables = {table},
                           .figures = {line_plot(bits, "Fewer bits"), bar_plot(plot, "All settings")}});
  report_.results.push_back({.name = "W8A8 per channel, trained, loss",
                             .value = mean(accuracies_.at("float")) - mean(accuracies_.at("W8A8, trained")),
                             .unit = "points",
                             .paper = 1,
                             .paper_source = "abstract"});
  report_.results.push_back({.name = "W4A8 per channel, trained, loss",
                             .value = mean(accuracies_.at("float")) - mean(accuracies_.at("W4A8, trained")),
                             .unit = "points",
                             .paper = 2,
                             .paper_source = "abstract: 2 to 10"});
}

Report Study::run() {
  for (int s = 0; s < get<int>("seeds"); ++s) one_seed(context_.seed + uint64_t(s));
  check("8 bits after training", "W8A8, per channel, symmetric", "float",
        [](double q, double f) { return q >= f - 1; });
  if (accuracies_.contains("outliers, float")) {
    check("outliers, per channel", "outliers, W8, per channel, symmetric", "float",
          [](double q, double f) { return q >= f - 1; });
    check("outliers, per layer", "outliers, W8, per layer, affine", "float", [](double q, double) { return q <= 30; });
  }
  check("training helps at 3 bits", "W3A8, trained", "W3A8, post-training",
        [](double t, double p) { return t >= p + 3; });
  check("training helps at 2 bits", "W2A8, trained", "W2A8, post-training",
        [](double t, double p) { return t >= p + 25; });
  check("4 bits by training", "W4A8, trained", "float", [](double t, double f) { return t >= f - 2; });
  sizes();
  speed();
  report_accuracies();
  if (!histories_[0].epochs.empty())
    report_.sections.push_back(
        {.title = "Float training",
         .figures = {line_plot({.title = "",
                                .x = {.label = "epoch"},
                                .y = {.label = "loss"},
                                .series = {history_curve("train", histories_, &Epoch::train_loss),
                                           history_curve("test", histories_, &Epoch::val_loss)}})}});
  report_.artifacts = {"model.safetensors", "model.onnx", "integer.safetensors", "metrics.jsonl"};
  report_.summary =
      "A small network of depthwise-separable convolutions is trained in float, then quantized after training in every "
      "scheme of the paper, trained on with simulated quantization, and run in integers only. Each comparison is on "
      "the same float network.";
  return report_;
}

Report run(const Config& config, const RunContext& context) {
  return Study(config, context).run();
}

}  // namespace

Recipe recipe_16() {
  return {.title = "Integer inference: the whitepaper's toolchain (arXiv 1806.08342)",
          .kind = "quantized",
          .seconds = 130,
          .run = run};
}

}  // namespace quanta
