#include "quanta/papers/recipe.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <map>

#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/models/mini_nets.h"
#include "quanta/models/vision.h"
#include "quanta/papers/reference.h"
#include "quanta/papers/statistics.h"
#include "quanta/papers/vision_data.h"
#include "quanta/quantize/hawq.h"
#include "quanta/quantize/quantized_model.h"
#include "quanta/report/plot.h"

// Recipe 27: "HAWQ: Hessian AWare Quantization of Neural Networks with Mixed-Precision", arXiv 1905.03696. See
// README.md beside this file.

namespace quanta {
namespace {

using torch::Tensor;

const std::map<std::string, StageOrder> kOrders = {{"descending", StageOrder::DescendingOmega},
                                                   {"ascending", StageOrder::AscendingOmega},
                                                   {"forward", StageOrder::Forward},
                                                   {"backward", StageOrder::Backward},
                                                   {"random", StageOrder::Random}};

/// An assignment of bits: accuracies before and after fine-tuning all blocks at once.
struct Outcome {
  HawqPlan plan{};
  double before = 0, after = 0;
};

/// What one network gave.
struct Run {
  double float_accuracy = 0;
  std::map<std::string, Outcome> outcomes{};                 // hawq, reversed, low, uniform
  std::map<std::string, std::vector<StageResult>> stages{};  // by order
  double seconds = 0;                                        // of processor time, of all eigenvalues
  std::vector<std::vector<double>> landscape{};              // by block, at kSteps
  SpectralDensity density{};                                 // of the block of the largest eigenvalue
  double stored_accuracy = 0;
};

std::vector<double> steps() {
  std::vector<double> all;
  for (int i = -20; i <= 20; ++i) all.push_back(i / 40.0);
  return all;
}

class Study {
 public:
  Study(const Config& config, const RunContext& context, const VisionData& data, Report& report)
      : config_(config),
        context_(context),
        data_(data),
        name_(data.images.train.name),
        prefix_(name_ + ": "),
        gratings_(name_ == "gratings" && !context.full),
        report_(report) {}
  void run();

 private:
  template <class T>
  T get(const char* key) const {
    return config_.get<T>(key);
  }
  Network build(uint64_t seed) const;
  Run study(uint64_t seed);
  StageOptions stage_options(const std::string& label, uint64_t seed) const;
  /// Quantizes a copy by the plan and fine-tunes it, all blocks at once.
  Outcome tune(const Network& net, const HawqPlan& plan, const std::string& label, uint64_t seed,
               Network* tuned = nullptr) const;
  double accuracy(Network net) const { return evaluate(net, data_.test).accuracy; }
  Tensor few() const { return data_.train.inputs.slice(0, 0, 256); }
  std::string file(const char* what, uint64_t seed, const char* ending) const {
    return fmt::format("{}-{}-{}.{}", name_, what, seed, ending);
  }

  template <class F>
  std::vector<double> each(F number) const {
    std::vector<double> values;
    for (const Run& run : runs_) values.push_back(number(run));
    return values;
  }
  std::vector<double> points(const std::string& name, double Outcome::*when) const {
    return each([&](const Run& run) { return 100 * (run.outcomes.at(name).*when); });
  }
  std::vector<double> gains(const std::string& a, const std::string& b, double Outcome::*when) const {
    return each([&](const Run& run) { return 100 * (run.outcomes.at(a).*when - run.outcomes.at(b).*when); });
  }
  void check(const std::string& name, bool holds, const std::string& detail) {
    report_.checks.push_back({prefix_ + name, holds, detail});
  }
  void checks();
  void report_accuracies();
  void report_blocks();
  void report_curvature();
  void report_stages();

  const Config& config_;
  const RunContext& context_;
  const VisionData& data_;
  std::string name_, prefix_;
  bool gratings_;  // the thresholds are stated for them
  std::vector<Run> runs_;
  Report& report_;
};

Network Study::build(uint64_t seed) const {
  const auto name = get<std::string>("network");
  if (name == "res_mini2") return res_mini2({.channels = data_.shape()[0], .classes = data_.classes(), .seed = seed});
  return vision_model(
      name, {.classes = data_.classes(), .input = data_.shape()[1], .channels = data_.shape()[0], .seed = seed});
}

StageOptions Study::stage_options(const std::string& label, uint64_t seed) const {
  return {.epochs = get<double>("finetune.stage_epochs"),
          .final_epochs = get<double>("finetune.final_epochs"),
          .lr = get<double>("finetune.rate"),
          .weight_decay = get<double>("weight_decay"),
          .batch = get<int>("batch"),
          .seed = seed,
          .train = {.out = context_.out,
                    .label = fmt::format("{}-{}-{}", name_, label, seed),
                    .resume = context_.resume,
                    .config = config_.to_toml()}};
}

void stop_if_interrupted(const std::vector<StageResult>& stages, const RunContext& context) {
  if (stages.back().history.interrupted)
    throw Interrupted(fmt::format("interrupted; the state is in {}: go on with --resume", context.out.string()));
}

Outcome Study::tune(const Network& net, const HawqPlan& plan, const std::string& label, uint64_t seed,
                    Network* tuned) const {
  Outcome outcome{.plan = plan};
  Network made(net->copy());
  quantize_block_activations(made, plan, few());
  quantize_blocks(made, plan);
  outcome.before = accuracy(made);
  StageOptions options = stage_options(label, seed);
  options.order = StageOrder::AllAtOnce;
  options.final_epochs = get<double>("finetune.epochs");
  stop_if_interrupted(finetune_blockwise(made, plan, data_.train, options), context_);
  outcome.after = accuracy(made);
  if (tuned) *tuned = made;
  return outcome;
}

Run Study::study(uint64_t seed) {
  const auto bits = get<std::vector<int>>("bits");
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
  Network net = reference_network(fmt::format("{}-float-{}", name_, seed), build(seed), data_.images,
                                  data_.normalization, training, context_)
                    .net;
  Run run;
  run.float_accuracy = accuracy(net);

  const auto samples = std::min(get<int64_t>("hessian.samples"), data_.train.size());
  const Tensor inputs = data_.train.inputs.slice(0, 0, samples), classes = data_.train.targets.slice(0, 0, samples);
  std::vector<Eigenpair> pairs;
  const std::clock_t start = std::clock();
  HawqPlan plan = hawq_sensitivities(
      net, hawq_blocks(net), inputs, classes,
      {.iterations = get<int>("hessian.iterations"), .tolerance = get<double>("hessian.tolerance"), .seed = seed}, 256,
      &pairs);
  run.seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
  for (HawqEntry& block : plan.blocks) block.activation_bits = get<int>("activation_bits");

  const LossFn loss = cross_entropy_of([&](const Tensor& x) { return net->forward(x); }, few(),
                                       data_.train.targets.slice(0, 0, few().size(0)));
  if (runs_.empty()) {
    size_t sharpest = 0;
    std::string csv = "block,step,loss\n";
    const auto weights = [&](size_t b) {
      Tensors found;
      for (const auto& layer : plan.blocks[b].layers)
        found.push_back(net->nodes()[size_t(net->find(layer))].layer->weight);
      return found;
    };
    for (size_t b = 0; b < plan.blocks.size(); ++b) {
      run.landscape.push_back(loss_along(loss, weights(b), pairs[b].vector, steps()));
      for (size_t i = 0; i < steps().size(); ++i)
        csv += fmt::format("{},{},{}\n", plan.blocks[b].name, steps()[i], run.landscape[b][i]);
      if (plan.blocks[b].sensitivity() > plan.blocks[sharpest].sensitivity()) sharpest = b;
    }
    write_file(context_.out / (name_ + "-landscape.csv"), csv);
    run.density = lanczos_density(Hessian(loss, weights(sharpest)), {.steps = 20, .vectors = 1, .seed = seed});
  }

  auto reversed = plan.precision_order();
  std::ranges::reverse(reversed);
  HawqPlan hawq = plan, other = plan, low = plan, uniform = plan;
  assign_bits(hawq, net, bits, get<double>("budget"));
  assign_bits(other, net, bits, get<double>("budget"), reversed);
  assign_bits(low, net, bits, get<double>("low_budget"));
  assign_uniform_bits(uniform, net, bits.front());
  write_file(context_.out / file("plan", seed, "json"), hawq.to_json().dump(2) + "\n");
  Network tuned = nullptr;
  run.outcomes["hawq"] = tune(net, hawq, "hawq", seed, &tuned);
  run.outcomes["reversed"] = tune(net, other, "reversed", seed);
  run.outcomes["low"] = tune(net, low, "low", seed);
  run.outcomes["uniform"] = tune(net, uniform, "uniform", seed);

  const auto path = context_.out / file("hawq", seed, "safetensors");
  save_quantized(path, finish_hawq(tuned, hawq));
  run.stored_accuracy = accuracy(load_quantized(path, net));

  for (const auto& word : get<std::vector<std::string>>("finetune.orders")) {
    const auto order = kOrders.find(word);
    if (order == kOrders.end())
      throw UsageError(fmt::format(
          "unknown order of stages '{}': expected descending, ascending, forward, backward or random", word));
    Network made(net->copy());
    quantize_block_activations(made, uniform, few());
    StageOptions options = stage_options("stages-" + word, seed);
    options.order = order->second;
    run.stages[word] = finetune_blockwise(made, uniform, data_.train, options, [&] { return accuracy(made); });
    stop_if_interrupted(run.stages[word], context_);
  }
  log_info("{}seed {}: float {:.2f} %, HAWQ at {:.3f} bits {:.2f} to {:.2f} %, reversed at {:.3f} {:.2f} to {:.2f} %",
           prefix_, seed, 100 * run.float_accuracy, hawq.cost().average_bits, 100 * run.outcomes["hawq"].before,
           100 * run.outcomes["hawq"].after, other.cost().average_bits, 100 * run.outcomes["reversed"].before,
           100 * run.outcomes["reversed"].after);
  return run;
}

void Study::checks() {
  const auto all_at_least = [](const std::vector<double>& values, double least) {
    return std::ranges::min(values) >= least;
  };
  const auto text = [](const std::vector<double>& values) {
    return fmt::format("{:+.2f} points", fmt::join(values, ", "));
  };
  const std::string each_seed = runs_.size() > 1 ? ", on every seed" : "";

  bool ends = true, differs = true, monotone = true, within = true;
  std::vector<std::string> orders;
  for (const Run& run : runs_) {
    const HawqPlan& plan = run.outcomes.at("hawq").plan;
    const auto order = plan.precision_order();
    std::vector<std::string> names;
    for (const int64_t b : order) names.push_back(plan.blocks[size_t(b)].name);
    orders.push_back(fmt::format("{}", fmt::join(names, " > ")));
    // The classifier, the stem and the first block are the top three, the last block is the bottom.
    std::vector<int64_t> top(order.begin(), order.begin() + 3);
    std::ranges::sort(top);
    const auto last = int64_t(plan.blocks.size()) - 1;
    ends &= top == std::vector<int64_t>{0, 1, last} && order.back() == last - 1;
    std::vector<int64_t> by_eigenvalue = order;
    std::ranges::stable_sort(by_eigenvalue, [&](int64_t a, int64_t b) {
      return std::abs(plan.blocks[size_t(a)].eigenvalue) > std::abs(plan.blocks[size_t(b)].eigenvalue);
    });
    differs &= by_eigenvalue != order;
    for (const auto& [name, budget] : {std::pair{"hawq", get<double>("budget")}, {"low", get<double>("low_budget")}}) {
      const HawqPlan& one = run.outcomes.at(name).plan;
      within &= one.cost().average_bits <= budget;
      for (size_t i = 1; i < order.size(); ++i)
        monotone &= one.blocks[size_t(order[i])].bits <= one.blocks[size_t(order[i - 1])].bits;
    }
  }
  if (get<std::string>("network") == "res_mini2")
    check("S ranks classifier, stem and first block highest and the last block lowest" + each_seed, ends,
          fmt::format("{}", fmt::join(orders, "; ")));
  check("S orders the blocks otherwise than the eigenvalue alone" + each_seed, differs, "eigenvalues in the table");
  check("bits never rise along S and keep the budget", monotone && within,
        fmt::format("{:.3f} and {:.3f} bits a weight, first network",
                    runs_[0].outcomes.at("hawq").plan.cost().average_bits,
                    runs_[0].outcomes.at("low").plan.cost().average_bits));

  const auto before = gains("hawq", "reversed", &Outcome::before), after = gains("hawq", "reversed", &Outcome::after);
  const double lead = gratings_ ? 2 : 0;
  check(fmt::format("before fine-tuning HAWQ's order is {} better than the reversed one{}",
                    gratings_ ? "2 points" : "at all", each_seed),
        all_at_least(before, gratings_ ? lead : 1e-9), text(before));
  check("after fine-tuning HAWQ's order is at least as good as the reversed one" + each_seed, all_at_least(after, 0),
        text(after));
  if (gratings_) check("and 0.3 points better in the mean", mean(after) >= 0.3, text(after));

  const auto low = gains("low", "uniform", &Outcome::before);
  check(fmt::format("at {} bits HAWQ is {} better than the lowest width for all, before fine-tuning{}",
                    get<double>("low_budget"), gratings_ ? "2 points" : "at all", each_seed),
        all_at_least(low, gratings_ ? lead : 1e-9), text(low));
  const auto loss = each([](const Run& run) { return 100 * (run.outcomes.at("low").after - run.float_accuracy); });
  check(fmt::format("and after it at most 1.5 points below float{}", each_seed), all_at_least(loss, -1.5), text(loss));

  const auto& stages = runs_[0].stages;
  if (stages.contains("descending") && stages.contains("ascending")) {
    const auto gap = each([](const Run& run) {
      return 100 * (run.stages.at("descending").back().accuracy - run.stages.at("ascending").back().accuracy);
    });
    check("stages by descending Omega end at most 0.5 points below ascending ones, in the mean", mean(gap) >= -0.5,
          text(gap));
  }
  const auto seconds = each([](const Run& run) { return run.seconds; });
  check("all eigenvalues take at most 25 s of processor time", std::ranges::max(seconds) <= 25,
        fmt::format("{:.1f} s", fmt::join(seconds, ", ")));
  const auto stored = each([](const Run& run) { return 100 * (run.stored_accuracy - run.outcomes.at("hawq").after); });
  check("the stored network, folded and read again, is as accurate to 0.2 points",
        all_at_least(stored, -0.2) && std::ranges::max(stored) <= 0.2, text(stored));
}

void Study::report_accuracies() {
  Table table{
      .caption = fmt::format("Accuracy on {} test images; {} training run{}. Bits and sizes of the first network.",
                             data_.test.size(), runs_.size(), runs_.size() > 1 ? "s" : ""),
      .columns = {"assignment", "bits of the blocks", "bits a weight", "compression", "MB", "before fine-tuning",
                  "after"},
      .rows = {}};
  const auto fractions = [&](const std::string& name, double Outcome::*when) {
    return each([&](const Run& run) { return run.outcomes.at(name).*when; });
  };
  table.rows.push_back(
      {"float", "32", "32", "1", "", percent(each([](const Run& r) { return r.float_accuracy; })), ""});
  for (const auto& [name, title] : {std::pair{"hawq", fmt::format("HAWQ, at most {} bits", get<double>("budget"))},
                                    {"reversed", fmt::format("reversed order, at most {} bits", get<double>("budget"))},
                                    {"low", fmt::format("HAWQ, at most {} bits", get<double>("low_budget"))},
                                    {"uniform", "lowest width for all (\"Direct\")"}}) {
    const HawqPlan& plan = runs_[0].outcomes.at(name).plan;
    const ModelCost cost = plan.cost();
    std::vector<int> bits;
    for (const HawqEntry& block : plan.blocks) bits.push_back(block.bits);
    table.rows.push_back({title, fmt::format("{}", fmt::join(bits, " ")), fmt::format("{:.3f}", cost.average_bits),
                          fmt::format("{:.2f}", cost.weight_compression), fmt::format("{:.4f}", cost.megabytes),
                          percent(fractions(name, &Outcome::before)), percent(fractions(name, &Outcome::after))});
  }
  const auto result = [&](const std::string& name, double value, const std::string& unit,
                          std::optional<double> paper = {}, const std::string& source = "") {
    report_.results.push_back(
        {.name = prefix_ + name, .value = value, .unit = unit, .paper = paper, .paper_source = source});
  };
  const HawqPlan& low = runs_[0].outcomes.at("low").plan;
  result("float", 100 * mean(each([](const Run& r) { return r.float_accuracy; })), "%");
  result("HAWQ, fine-tuned", mean(points("low", &Outcome::after)), "%", 92.22,
         "ResNet20, CIFAR-10, 13.11x, 4-bit activations (paper, recalled)");
  result("weight compression", low.cost().weight_compression, "", 13.11, "ResNet20, CIFAR-10 (paper, recalled)");
  result("activation compression", low.cost().activation_compression, "", 8, "abstract");
  result(fmt::format("HAWQ, at most {} bits, before fine-tuning", get<double>("budget")),
         mean(points("hawq", &Outcome::before)), "%");
  result("reversed order, before fine-tuning", mean(points("reversed", &Outcome::before)), "%");
  result("lowest width for all, fine-tuned", mean(points("uniform", &Outcome::after)), "%");
  result("all eigenvalues, processor time", mean(each([](const Run& r) { return r.seconds; })), "s");
  report_.sections.push_back(
      {.title = prefix_ + "accuracy",
       .text = fmt::format("Weights are symmetric with a scale for each output channel, activations behind rectifiers "
                           "have {} bits. Fine-tuning trains all blocks at once for {} epoch(s).",
                           get<int>("activation_bits"), get<double>("finetune.epochs")),
       .tables = {table},
       .figures = {}});
}

void Study::report_blocks() {
  Table table{.caption = "Blocks of the first network. Change: relative, of the last power iteration.",
              .columns = {"block", "n", "lambda", "iterations", "change", "S", "bits", "|Q(W) - W|^2", "Omega",
                          "place in fine-tuning"},
              .rows = {}};
  const HawqPlan& plan = runs_[0].outcomes.at("hawq").plan;
  const auto order = plan.finetune_order();
  BarPlot bars{.title = "", .groups = {}, .bars = {{"lambda"}, {"10^4 S"}}};
  bars.y = {.label = "", .log = true};
  for (size_t i = 0; i < plan.blocks.size(); ++i) {
    const HawqEntry& b = plan.blocks[i];
    const auto place = std::ranges::find(order, int64_t(i)) - order.begin() + 1;
    table.rows.push_back(
        {b.name, std::to_string(b.weights), fmt::format("{:.3f}", b.eigenvalue), std::to_string(b.iterations),
         fmt::format("{:.1e}", b.change), fmt::format("{:.2e}", b.sensitivity()), std::to_string(b.bits),
         fmt::format("{:.4f}", b.perturbation), fmt::format("{:.3f}", b.omega()), std::to_string(place)});
    bars.groups.push_back(b.name);
    bars.bars[0].values.push_back(std::abs(b.eigenvalue));
    bars.bars[1].values.push_back(1e4 * b.sensitivity());
  }
  report_.sections.push_back({.title = prefix_ + "blocks",
                              .text = fmt::format("Eigenvalues of each block's own Hessian on {} training images.",
                                                  get<int64_t>("hessian.samples")),
                              .tables = {table},
                              .figures = {bar_plot(bars)}});
}

void Study::report_curvature() {
  const Run& run = runs_[0];
  const HawqPlan& plan = run.outcomes.at("hawq").plan;
  LinePlot plot{
      .title = "", .x = {.label = "step along the top eigenvector"}, .y = {.label = "loss", .log = true}, .series = {}};
  for (size_t b = 0; b < run.landscape.size(); ++b)
    plot.series.push_back({.name = plan.blocks[b].name, .x = steps(), .y = run.landscape[b]});
  LinePlot density{.title = "",
                   .x = {.label = "eigenvalue"},
                   .y = {.label = "density", .log = true, .min = 1e-5},
                   .series = {{.name = "", .x = run.density.x, .y = run.density.density}}};
  const auto& sharpest = plan.blocks[size_t(plan.precision_order()[0])].name;
  report_.sections.push_back(
      {.title = prefix_ + "curvature",
       .text = "The loss of the first network when one block moves along its own top eigenvector.",
       .tables = {},
       .figures = {line_plot(plot, "Loss landscape by block (figure 2 of the paper)."),
                   line_plot(density, fmt::format("Spectrum of block '{}' (stochastic Lanczos).", sharpest))}});
}

void Study::report_stages() {
  if (runs_[0].stages.empty()) return;
  LinePlot plot{.title = "", .x = {.label = "stage"}, .y = {.label = "test accuracy"}, .series = {}};
  Table table{.caption = fmt::format("Test accuracy after the last stage, all blocks at {} bits.",
                                     get<std::vector<int>>("bits").front()),
              .columns = {"order", "first block", "accuracy"},
              .rows = {}};
  for (const auto& [word, first] : runs_[0].stages) {
    Series series{.name = word};
    for (size_t s = 0; s < first.size(); ++s)
      series.y.push_back(mean(each([&](const Run& run) { return run.stages.at(word)[s].accuracy; })));
    plot.series.push_back(series);
    const auto last = each([&](const Run& run) { return run.stages.at(word).back().accuracy; });
    table.rows.push_back({std::string(stage_order_name(kOrders.at(word))), first.front().block, percent(last)});
    report_.results.push_back({.name = prefix_ + fmt::format("stages, {}", stage_order_name(kOrders.at(word))),
                               .value = 100 * mean(last),
                               .unit = "%"});
  }
  report_.sections.push_back(
      {.title = prefix_ + "block-wise fine-tuning",
       .text = fmt::format("One block after the other is quantized and trained for {} epochs; blocks of earlier stages "
                           "are frozen.",
                           get<double>("finetune.stage_epochs")),
       .tables = {table},
       .figures = {line_plot(plot)}});
}

void Study::run() {
  for (int i = 0; i < get<int>("seeds"); ++i) runs_.push_back(study(context_.seed + uint64_t(i)));
  checks();
  report_accuracies();
  report_blocks();
  report_curvature();
  report_stages();
  report_.artifacts.push_back(name_ + "-landscape.csv");
  for (size_t i = 0; i < runs_.size(); ++i) {
    report_.artifacts.push_back(file("float", context_.seed + i, "safetensors"));
    report_.artifacts.push_back(file("hawq", context_.seed + i, "safetensors"));
    report_.artifacts.push_back(file("plan", context_.seed + i, "json"));
  }
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
  std::filesystem::copy_file(context.out / fmt::format("{}-hawq-{}.safetensors", first.train.name, context.seed),
                             context.out / "model.safetensors", std::filesystem::copy_options::overwrite_existing);
  report.artifacts.insert(report.artifacts.begin(), "model.safetensors");
  report.summary =
      "Power iteration finds the largest eigenvalue of the loss Hessian of each block of a trained network, without "
      "forming it. Eigenvalue over number of weights orders the blocks: who stands higher never gets fewer bits. "
      "Eigenvalue times quantization error orders the blocks for fine-tuning. Both orders are compared with their "
      "opposites on the same network.";
  return report;
}

}  // namespace

Recipe recipe_27() {
  return {.title = "HAWQ: bits and fine-tuning order by Hessian eigenvalues",
          .kind = "quantized",
          .seconds = 115,
          .run = run};
}

}  // namespace quanta
