#include "quanta/papers/recipe.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>

#include "quanta/circuit/draw.h"
#include "quanta/core/log.h"
#include "quanta/core/text.h"
#include "quanta/data/known.h"
#include "quanta/data/transform.h"
#include "quanta/models/hqnn.h"
#include "quanta/papers/figures.h"
#include "quanta/papers/statistics.h"
#include "quanta/train/checkpoint.h"
#include "quanta/train/trainer.h"

// Recipe 02: "Quantum machine learning for image classification", arXiv 2304.09224. See README.md beside this file.

namespace quanta {
namespace {

using torch::Tensor;

/// A network of the study and what was published about it.
struct Model {
  std::string title;
  bool parallel = true;                                              // trained as [parallel] says, else as [quanv] says
  std::map<std::string, std::pair<double, std::string>> accuracy{};  // data set -> percent, source
  int64_t parameters = 0;                                            // on MNIST; 0: not published
};

const std::map<std::string, Model> kModels = {
    {"hqnn_parallel",
     {"HQNN-Parallel",
      true,
      {{"mnist", {99.21, "abstract"}},
       {"medical_mnist", {99, "abstract: more than"}},
       {"cifar10", {82, "abstract: more than"}}},
      45194}},
    {"classical_twin", {"Classical twin", true, {{"mnist", {98.7, "paper, recalled, low confidence"}}}, 372234}},
    {"matched_cnn", {"CNN of the same size", true}},
    {"hqnn_quanv", {"HQNN-Quanv", false}},
    {"cnn1", {"CNN-1", false}},
    {"cnn4", {"CNN-4", false}},
    {"frozen_quanv", {"HQNN-Quanv, angles frozen", false}},  // of ablation C; trained whenever hqnn_quanv is
};

/// One training of a model.
struct Run {
  uint64_t seed = 0;
  std::shared_ptr<ImageClassifier> net;
  History history;
  Evaluation test;
  double train_loss = 0;    // on the training set, after the training
  double angles_moved = 0;  // mean |w - w_start| of the circuits' angles
};

/// The circuits' angles; undefined if the network has none.
Tensor angles(const ImageClassifier& net) {
  if (const auto* parallel = dynamic_cast<const HqnnParallelImpl*>(&net)) return parallel->circuits->weights.detach();
  if (const auto* quanv = dynamic_cast<const HqnnQuanvImpl*>(&net)) return quanv->quanv->circuit->weights.detach();
  return {};
}

/// One number of each run.
template <class F>
std::vector<double> each_run(const std::vector<Run>& runs, F number) {
  std::vector<double> values;
  for (const Run& run : runs) values.push_back(number(run));
  return values;
}

std::vector<double> accuracies(const std::vector<Run>& runs) {
  return each_run(runs, [](const Run& run) { return run.test.accuracy; });
}

std::vector<double> angles_moved(const std::vector<Run>& runs) {
  return each_run(runs, [](const Run& run) { return run.angles_moved; });
}

std::string join(const std::vector<double>& values) {
  return fmt::format("{:.4f}", fmt::join(values, ", "));
}

/// The word's place in the list.
int choice(const char* what, const std::string& word, const std::vector<std::string>& words) {
  const auto found = std::ranges::find(words, word);
  if (found == words.end())
    throw UsageError(fmt::format("unknown {} '{}': expected {}", what, word, fmt::join(words, " or ")));
  return int(found - words.begin());
}

class Study {
 public:
  Study(const Config& config, const RunContext& context);
  Report run();

 private:
  template <class T>
  T setting(const std::string& model, const std::string& key) const {
    return config_.get<T>((kModels.at(model).parallel ? "parallel." : "quanv.") + key);
  }
  std::shared_ptr<ImageClassifier> build(const std::string& model, uint64_t seed) const;
  Tensor forward(const std::string& model, ImageClassifier& net, const Tensor& images) const;
  /// Balanced over the classes; at most as many as the settings say.
  ImageSet train_images(const std::string& model, uint64_t seed) const;
  ImageSet test_images(const std::string& model) const;
  Run train(const std::string& model, uint64_t seed) const;

  bool has(const std::string& model) const { return runs_.contains(model); }
  void check(const std::string& name, bool holds, const std::string& detail) {
    report_.checks.push_back({name, holds, detail});
  }
  void check_parallel();
  void ablate_parallel();
  void check_quanv();
  void ablate_quanv();
  void check_batch_invariance();
  void report_models(bool parallel, const std::string& title, const std::string& text);
  void report_circuits();
  void report_parameters();
  void report_trainings();

  const Config& config_;
  const RunContext& context_;
  std::vector<std::string> models_;
  ImageSplits data_;
  std::string dataset_;  // the one asked for, or its stand-in
  ImageShape shape_;
  Normalization normalization_;  // of colour images, for the [parallel] models
  std::map<std::string, std::vector<Run>> runs_;
  Report report_;
};

Study::Study(const Config& config, const RunContext& context)
    : config_(config), context_(context), models_(config.get<std::vector<std::string>>("models")) {
  std::vector<std::string> known;
  for (const auto& [name, model] : kModels) known.push_back(name);
  if (models_.empty()) throw UsageError("models is empty: name those to train");
  for (const auto& name : models_)
    if (!kModels.contains(name) || std::ranges::count(models_, name) > 1)
      throw UsageError(kModels.contains(name)
                           ? fmt::format("model '{}' is named twice", name)
                           : fmt::format("unknown model '{}', did you mean {}?", name, nearest(name, known)));
  if (std::ranges::count(models_, "hqnn_quanv") && !std::ranges::count(models_, "frozen_quanv"))
    models_.push_back("frozen_quanv");

  const auto asked = config.get<std::string>("dataset");
  data_ = load_images_or_stand_in(asked, context.data, [](const std::string& line) { log_warn("{}", line); });
  dataset_ = data_.train.name;
  if (dataset_ != known_data(asked).name)
    report_.summary = fmt::format("{} was not found; the generated stand-in {} takes its place.\n\n", asked, dataset_);
  shape_ = {.channels = int(data_.train.channels()),
            .height = int(data_.train.height()),
            .width = int(data_.train.width()),
            .classes = int(data_.train.classes.size())};
  if (shape_.channels > 1) normalization_ = Normalization::measure(data_.train);
}

std::shared_ptr<ImageClassifier> Study::build(const std::string& model, uint64_t seed) const {
  const auto integer = [&](const char* key) { return setting<int>(model, key); };
  const auto word = [&](const char* key) { return setting<std::string>(model, key); };
  if (model == "cnn1") return cnn1(shape_, seed).ptr();
  if (model == "cnn4") return cnn4(shape_, seed).ptr();
  if (!kModels.at(model).parallel) {
    HqnnQuanvOptions options{.shape = shape_, .size = integer("size"), .seed = seed};
    options.quanv = {.kernel = integer("kernel"),
                     .stride = integer("stride"),
                     .layers = integer("layers"),
                     .trainable = model != "frozen_quanv"};
    return std::make_shared<HqnnQuanvImpl>(options);
  }
  const auto channels = setting<std::vector<int>>(model, "channels");
  if (model == "classical_twin")
    return std::make_shared<ClassicalTwinImpl>(
        ClassicalTwinOptions{.shape = shape_,
                             .channels = channels,
                             .widths = setting<std::vector<int>>(model, "twin_widths"),
                             .seed = seed});
  if (model == "matched_cnn")
    return std::make_shared<MatchedCnnImpl>(MatchedCnnOptions{
        .shape = shape_, .channels = channels, .bottleneck = integer("circuits") * integer("qubits"), .seed = seed});
  HqnnParallelOptions options{.shape = shape_,
                              .channels = channels,
                              .circuits = integer("circuits"),
                              .angle_range = parse_angle_range(word("angle_range")),
                              .post_bn = setting<bool>(model, "post_bn"),
                              .seed = seed};
  options.circuit = {
      .qubits = integer("qubits"),
      .depth = integer("depth"),
      .embedding = "XY"[choice("embedding", word("embedding"), {"X", "Y"})],
      .entangler = choice("entangler", word("entangler"), {"ring", "strong"}) ? Entangler::Strong : Entangler::Ring,
      .readout = "XYZ"[choice("readout", word("readout"), {"X", "Y", "Z"})]};
  return std::make_shared<HqnnParallelImpl>(options);
}

Tensor Study::forward(const std::string& model, ImageClassifier& net, const Tensor& images) const {
  return net.forward(kModels.at(model).parallel && shape_.channels > 1 ? normalization_.apply(images) : images);
}

ImageSet Study::train_images(const std::string& model, uint64_t seed) const {
  return subset(data_.train, std::min(setting<int64_t>(model, "train"), data_.train.size()), seed);
}

ImageSet Study::test_images(const std::string& model) const {
  return subset(data_.test, std::min(setting<int64_t>(model, "test"), data_.test.size()), 0);
}

/// All models of a seed see the same training images.
Run Study::train(const std::string& model, uint64_t seed) const {
  const ImageSet train_set = train_images(model, seed), test_set = test_images(model);
  const Examples train{train_set.images, train_set.labels}, test{test_set.images, test_set.labels};
  Run run;
  run.seed = seed;
  run.net = build(model, seed);
  Tensor start = angles(*run.net);
  if (start.defined()) start = start.clone();
  const Forward forward = [&](const Tensor& images) { return this->forward(model, *run.net, images); };

  TrainOptions options{.epochs = setting<int>(model, "epochs"),
                       .batch = setting<int>(model, "batch"),
                       .seed = seed,
                       .out = context_.out,
                       .label = fmt::format("{}-{}", model, seed),
                       .resume = context_.resume,
                       .config = fmt::format("model = {}\ndata = {}\n{}", model, dataset_, config_.to_toml())};
  double rate = setting<double>(model, model == "cnn1" || model == "cnn4" ? "cnn_lr" : "lr");
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  if (kModels.at(model).parallel || choice("optimizer", setting<std::string>(model, "optimizer"), {"adam", "sgd"}) == 0)
    optimizer = std::make_unique<torch::optim::Adam>(run.net->parameters(), torch::optim::AdamOptions(rate));
  else
    optimizer =
        std::make_unique<torch::optim::SGD>(run.net->parameters(), torch::optim::SGDOptions(rate).momentum(0.9));
  if (kModels.at(model).parallel) {
    const Augmentation augmentation{.crop_padding = setting<int>(model, "crop_padding"),
                                    .flip = setting<bool>(model, "flip")};
    if (augmentation.any())
      options.augment = [=](const Tensor& images, const Tensor& ids, int64_t epoch) {
        return augment(images, ids, augmentation, seed, epoch);
      };
  }

  // The test set is only looked at, for the curves: the last epoch counts, whatever they show.
  run.history = train_classifier(forward, *run.net, *optimizer, train, test, options);
  if (run.history.interrupted)
    throw Interrupted(fmt::format("interrupted; the state is in {}: go on with --resume", context_.out.string()));
  run.test = evaluate(forward, *run.net, test);
  run.train_loss = evaluate(forward, *run.net, train).loss;
  if (start.defined()) run.angles_moved = (angles(*run.net) - start).abs().mean().item<double>();
  log_info("{}, seed {}: {:.2f} % of {} test images", kModels.at(model).title, seed, 100 * run.test.accuracy,
           test.size());
  return run;
}

/// Reduced run A, or the full run's targets.
void Study::check_parallel() {
  if (!has("hqnn_parallel")) return;
  const auto ours = accuracies(runs_.at("hqnn_parallel"));
  using Floors = std::map<std::string, double>;
  const Floors floors = context_.full ? Floors{{"mnist", 0.99}, {"medical_mnist", 0.99}, {"cifar10", 0.80}}
                                      : Floors{{"mnist", 0.88}, {"glyph_digits", 0.88}};
  if (const auto floor = floors.find(dataset_); floor != floors.end())
    check(fmt::format("A: HQNN-Parallel reaches {:.0f} %{}", 100 * floor->second, context_.full ? "" : " on each seed"),
          (context_.full ? mean(ours) : std::ranges::min(ours)) >= floor->second, join(ours));
  if (!has("classical_twin")) return;

  const auto twin = accuracies(runs_.at("classical_twin"));
  if (context_.full) {
    check("A: HQNN-Parallel is at most 0.2 points below the twin", mean(ours) >= mean(twin) - 0.002,
          fmt::format("{} against {}", percent(ours), percent(twin)));
  } else {
    bool holds = true;
    for (size_t i = 0; i < ours.size(); ++i) holds &= ours[i] >= twin[i] - 0.04;
    check("A: HQNN-Parallel is at most 4 points below the twin on each seed", holds,
          fmt::format("{} against {}", join(ours), join(twin)));
  }
  const double ratio = double(count_parameters(*runs_.at("classical_twin")[0].net)) /
                       double(count_parameters(*runs_.at("hqnn_parallel")[0].net));
  check("A: the twin has at least eight times the parameters", ratio >= 8, fmt::format("{:.2f} times", ratio));
  report_.results.push_back(
      {.name = "Parameters, twin / HQNN-Parallel", .value = ratio, .unit = "", .paper = 8, .paper_source = "abstract"});
}

/// Reduced run C (i), (ii), (iii).
void Study::ablate_parallel() {
  if (!has("hqnn_parallel")) return;
  const auto& runs = runs_.at("hqnn_parallel");
  const ImageSet images = test_images("hqnn_parallel");
  const Examples test{images.images, images.labels};
  const auto network = [](const Run& run) -> HqnnParallelImpl& { return dynamic_cast<HqnnParallelImpl&>(*run.net); };

  const auto without = each_run(runs, [&](const Run& run) {
    auto& net = network(run);
    const auto outputs = [&](const Tensor& x) { return torch::zeros({x.size(0), net.fc1->options.out_features()}); };
    return evaluate([&](const Tensor& x) { return net.readout(outputs(x)); }, net, test).accuracy;
  });
  const double chance = 1.5 / shape_.classes;
  check("C: with zeros for its circuits' outputs HQNN-Parallel falls to chance", std::ranges::max(without) <= chance,
        fmt::format("{}, at most {:.2f}", join(without), chance));

  const auto moved = angles_moved(runs);
  check("C: training moves the angles of HQNN-Parallel", std::ranges::min(moved) > 0.02,
        fmt::format("mean distance {}, more than 0.02", join(moved)));

  const auto norms = each_run(runs, [&](const Run& run) {
    auto& net = network(run);
    net.eval();
    const Tensor x = images.take(std::min<int64_t>(64, images.size())).to_float();
    const Tensor logits = forward("hqnn_parallel", net, x);
    const auto gradients = torch::autograd::grad(
        {torch::cross_entropy_loss(logits, images.labels.slice(0, 0, x.size(0)))}, net.conv->parameters());
    double square = 0;
    for (const Tensor& gradient : gradients) square += gradient.square().sum().item<double>();
    return std::sqrt(square);
  });
  check("C: gradients reach the convolutions of HQNN-Parallel through its circuits", std::ranges::min(norms) > 0,
        fmt::format("norm {}", fmt::format("{:.2e}", fmt::join(norms, ", "))));
}

/// Reduced run B.
void Study::check_quanv() {
  if (!has("hqnn_quanv")) return;
  const auto ours = accuracies(runs_.at("hqnn_quanv"));
  if (!context_.full && (dataset_ == "mnist" || dataset_ == "glyph_digits"))
    check("B: HQNN-Quanv reaches 74 % on the mean", mean(ours) >= 0.74, percent(ours));
  for (const auto& [model, margin] : {std::pair("cnn1", 0.04), std::pair("cnn4", 0.06)}) {
    if (!has(model)) continue;
    const auto theirs = accuracies(runs_.at(model));
    const auto& title = kModels.at(model).title;
    check(fmt::format("B: HQNN-Quanv is at most {:.0f} points below {} on the mean", 100 * margin, title),
          mean(ours) >= mean(theirs) - margin, fmt::format("{} against {}", percent(ours), percent(theirs)));
    const auto name = fmt::format("HQNN-Quanv - {}", title);
    report_.results.push_back(
        {.name = name + ", test accuracy", .value = 100 * (mean(ours) - mean(theirs)), .unit = "points"});
    if (ours.size() > 1)
      report_.results.push_back(
          {.name = name + ", paired sign-flip p-value", .value = paired_p_value(ours, theirs), .unit = ""});
  }
  if (!has("cnn1") || !has("cnn4")) return;
  const auto kernel = [&](const char* model) {
    return dynamic_cast<KernelCnnImpl&>(*runs_.at(model)[0].net).conv->weight.numel();
  };
  const int64_t weights = angles(*runs_.at("hqnn_quanv")[0].net).numel();
  check("B: HQNN-Quanv has as many kernel weights as CNN-1 and a quarter of those of CNN-4",
        weights == kernel("cnn1") && 4 * weights == kernel("cnn4"),
        fmt::format("{}, {} and {}", weights, kernel("cnn1"), kernel("cnn4")));
}

/// Reduced run C (ii), (iv).
void Study::ablate_quanv() {
  if (!has("hqnn_quanv")) return;
  const auto moved = angles_moved(runs_.at("hqnn_quanv"));
  check("C: training moves the angles of HQNN-Quanv", std::ranges::min(moved) > 0.02,
        fmt::format("mean distance {}, more than 0.02", join(moved)));
  const auto loss = [](const Run& run) { return run.train_loss; };
  const auto trained = each_run(runs_.at("hqnn_quanv"), loss), frozen = each_run(runs_.at("frozen_quanv"), loss);
  bool holds = true;
  for (size_t i = 0; i < trained.size(); ++i) holds &= frozen[i] > trained[i];
  check("C: the training loss of HQNN-Quanv is higher with frozen angles on each seed", holds,
        fmt::format("{} frozen, {} trained", join(frozen), join(trained)));
}

/// Reduced run D, in float64: the order in which LibTorch's own layers sum depends on the size of the batch.
void Study::check_batch_invariance() {
  const torch::NoGradGuard no_grad;
  for (const auto* model : {"hqnn_parallel", "hqnn_quanv"}) {
    if (!has(model)) continue;
    ImageClassifier& net = *runs_.at(model)[0].net;
    net.eval();
    net.to(torch::kFloat64);
    const Tensor images = data_.test.images.slice(0, 0, 64).to(torch::kFloat64) / 255;
    const Tensor together = forward(model, net, images);
    double difference = 0;
    for (int64_t i = 0; i < images.size(0); ++i) {
      const Tensor alone = forward(model, net, images.slice(0, i, i + 1));
      difference = std::max(difference, (alone[0] - together[i]).abs().max().item<double>());
    }
    net.to(torch::kFloat32);
    check(fmt::format("D: {} gives a sample alone what it gives it in a batch", kModels.at(model).title),
          difference <= 1e-6,
          fmt::format("logits of {} samples differ by at most {:.1e} (float64)", images.size(0), difference));
  }
}

void Study::report_models(bool parallel, const std::string& title, const std::string& text) {
  Section section{.title = title, .text = text};
  Table table{.caption =
                  "After the last epoch: mean and standard deviation over the seeds. Nothing was chosen by the "
                  "test set.",
              .columns = {"model", "parameters", "test accuracy", "test loss", "training loss", "seconds a training"},
              .rows = {}};
  LinePlot loss{.title = "", .x = {.label = "epoch"}, .y = {.label = "training loss", .log = true}, .series = {}};
  LinePlot accuracy{.title = "", .x = {.label = "epoch"}, .y = {.label = "test accuracy (%)"}, .series = {}};
  std::string shown;
  for (const auto& name : models_) {
    const Model& model = kModels.at(name);
    if (model.parallel != parallel || name == "frozen_quanv") continue;
    if (shown.empty()) shown = name;
    const auto& runs = runs_.at(name);
    const auto scores = accuracies(runs);
    const int64_t parameters = count_parameters(*runs[0].net);
    std::vector<History> histories;
    for (const Run& run : runs) histories.push_back(run.history);
    loss.series.push_back(history_curve(model.title, histories, &Epoch::train_loss));
    accuracy.series.push_back(history_curve(model.title, histories, &Epoch::val_accuracy, 100));
    const auto average = [&](auto number) { return mean(each_run(runs, number)); };
    table.rows.push_back({model.title, std::to_string(parameters), percent(scores),
                          fmt::format("{:.4f}", average([](const Run& run) { return run.test.loss; })),
                          fmt::format("{:.4f}", average([](const Run& run) { return run.train_loss; })),
                          fmt::format("{:.1f}", average([](const Run& run) { return run.history.seconds(); }))});

    Result result{.name = model.title + ", test accuracy", .value = 100 * mean(scores), .unit = "%"};
    if (const auto published = model.accuracy.find(dataset_); published != model.accuracy.end())
      std::tie(result.paper, result.paper_source) = published->second;
    Result size{.name = model.title + ", parameters", .value = double(parameters), .unit = ""};
    if (dataset_ == "mnist" && model.parameters) size.paper = model.parameters, size.paper_source = "paper, recalled";
    report_.results.push_back(result);
    if (scores.size() > 1)
      report_.results.push_back({.name = model.title + ", test accuracy, standard deviation",
                                 .value = 100 * standard_deviation(scores),
                                 .unit = "points"});
    report_.results.push_back(size);
  }
  if (shown.empty()) return;
  const Run& run = runs_.at(shown)[0];
  section.tables = {table};
  section.figures = {
      line_plot(loss, "Loss while training. Bands: one standard deviation over the seeds."),
      line_plot(accuracy, "Accuracy on the test images after each epoch."),
      confusion_figure(run.test, data_.test,
                       fmt::format("Confusion matrix of {}, seed {}.", kModels.at(shown).title, run.seed)),
      misclassified_figure(run.test, test_images(shown))};
  report_.sections.push_back(section);
}

void Study::report_circuits() {
  Section section{.title = "Circuits", .text = "x are the features of a sample, w the trainable angles."};
  if (has("hqnn_parallel")) {
    const auto& circuits = dynamic_cast<HqnnParallelImpl&>(*runs_.at("hqnn_parallel")[0].net).circuits;
    section.figures.push_back(
        {.caption =
             fmt::format("One of the {} circuits of HQNN-Parallel, each of which has angles of its own; Pauli {} is "
                         "measured on every qubit.",
                         circuits->options().copies, config_.get<std::string>("parallel.readout")),
         .svg = draw_svg(circuits->circuit())});
  }
  if (has("hqnn_quanv")) {
    const auto& quanv = dynamic_cast<HqnnQuanvImpl&>(*runs_.at("hqnn_quanv")[0].net).quanv;
    section.figures.push_back({.caption =
                                   "The circuit that HQNN-Quanv slides over the image: x are the pixels of a patch; "
                                   "Pauli Z is measured on every qubit and gives an output channel.",
                               .svg = draw_svg(quanv->circuit->circuit())});
  }
  if (!section.figures.empty()) report_.sections.push_back(section);
}

void Study::report_parameters() {
  Table table{.caption = "Whole networks are compared: every part of each model counts.",
              .columns = {"model", "parts", "parameters"},
              .rows = {}};
  for (const auto& name : models_) {
    const ImageClassifier& net = *runs_.at(name)[0].net;
    std::vector<std::string> parts;
    for (const auto& part : net.named_children())
      parts.push_back(fmt::format("{} {}", part.key(), count_parameters(*part.value())));
    table.rows.push_back(
        {kModels.at(name).title, fmt::format("{}", fmt::join(parts, " + ")), std::to_string(count_parameters(net))});
  }
  report_.sections.push_back({.title = "Parameters", .tables = {table}});
}

void Study::report_trainings() {
  Table table{
      .caption = "",
      .columns = {"model", "seed", "test accuracy (%)", "test loss", "training loss", "angles moved", "seconds"},
      .rows = {}};
  for (const auto& name : models_)
    for (const Run& run : runs_.at(name))
      table.rows.push_back({kModels.at(name).title, std::to_string(run.seed),
                            fmt::format("{:.2f}", 100 * run.test.accuracy), fmt::format("{:.4f}", run.test.loss),
                            fmt::format("{:.4f}", run.train_loss),
                            angles(*run.net).defined() ? fmt::format("{:.3f}", run.angles_moved) : "",
                            fmt::format("{:.1f}", run.history.seconds())});
  report_.sections.push_back({.title = "All trainings", .tables = {table}});
}

Report Study::run() {
  for (const auto& model : models_) build(model, 0);  // a wrong setting shows before any training
  for (const auto& model : models_) {
    const int seeds = setting<int>(model, "seeds");
    require(seeds >= 1 && seeds <= 20, "seeds must be between 1 and 20, got {}", seeds);
    for (int i = 0; i < seeds; ++i) runs_[model].push_back(train(model, context_.seed + uint64_t(i)));
  }
  const std::string& first = models_.front();
  save_module(*runs_.at(first)[0].net, context_.out / "model.safetensors",
              {{"model", first}, {"data", dataset_}, {"seed", std::to_string(context_.seed)}});
  report_.artifacts = {"metrics.jsonl", "model.safetensors"};
  report_.data = {.name = dataset_,
                  .source = data_.train.source,
                  .train = train_images(first, 0).size(),
                  .test = test_images(first).size()};
  report_.summary +=
      "Image classifiers whose quantum circuits are trained together with the network around them. HQNN-Parallel puts "
      "several narrow circuits side by side behind a small CNN; HQNN-Quanv slides one circuit over the image like a "
      "convolution kernel. Each is compared with classical networks trained in the same way on the same images.";
  report_models(
      true, "HQNN-Parallel and its classical counterparts",
      "The twin has the same convolutions, then dense layers instead of circuits. The CNN of the same size has a "
      "linear layer in place of the circuits.");
  report_models(false, "HQNN-Quanv and small CNNs",
                "CNN-1 has as many kernel weights as the quanvolution has angles, CNN-4 four times as many.");
  report_circuits();
  report_parameters();
  report_trainings();
  check_parallel();
  check_quanv();
  ablate_parallel();
  ablate_quanv();
  check_batch_invariance();
  return report_;
}

Report run(const Config& config, const RunContext& context) {
  return Study(config, context).run();
}

}  // namespace

Recipe recipe_02() {
  return {.title = "Parallel quantum circuits and quanvolution for image classification (arXiv 2304.09224)",
          .kind = "quantum",
          .seconds = 45,
          .run = run};
}

}  // namespace quanta
