#include "quanta/papers/recipe.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <numbers>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/draw.h"
#include "quanta/circuit/encodings.h"
#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/core/safetensors.h"
#include "quanta/core/signal.h"
#include "quanta/data/csv.h"
#include "quanta/data/generated_tables.h"
#include "quanta/data/known.h"
#include "quanta/learn/ensembles.h"
#include "quanta/learn/linear.h"
#include "quanta/learn/metrics.h"
#include "quanta/learn/preprocess.h"
#include "quanta/learn/svm.h"
#include "quanta/learn/text.h"
#include "quanta/learn/vqc.h"
#include "quanta/learn/xgboost.h"
#include "quanta/papers/statistics.h"
#include "quanta/report/plot.h"

// Recipe 14: "Evaluating the Performance of Some Local Optimizers for Variational Quantum Classifiers", arXiv
// 2102.08949. See README.md beside this file.

namespace quanta {
namespace {

/// A split of the documents as features in [0, 1].
struct Task {
  Samples train, test;
  Labels train_labels, test_labels;
  int64_t terms = 0, clipped = 0;
  double explained = 0;  // share of the variance that the components keep
};

/// One model's training on one split.
struct Run {
  ClassificationReport test;
  Minimum minimum{};  // of quantum models
  double seconds = 0;
};

struct Model {
  std::string name;
  bool reported = true;     // one of the seven of the paper's table
  std::vector<Run> runs{};  // by seed
};

template <class F>
std::vector<double> each(const Model& model, F number) {
  std::vector<double> values;
  for (const Run& run : model.runs) values.push_back(number(run));
  return values;
}

std::vector<double> losses(const Model& model) {
  return each(model, [](const Run& run) { return run.minimum.value; });
}

std::string list(const std::vector<double>& values) {
  return fmt::format("{:.3f}", fmt::join(values, ", "));
}

bool all_less(const std::vector<double>& a, const std::vector<double>& b) {
  bool holds = true;
  for (size_t i = 0; i < a.size(); ++i) holds &= a[i] < b[i];
  return holds;
}

class Study {
 public:
  /// `data`: "reviews" or "stand_in"; adds to the report.
  Study(const Config& config, const RunContext& context, const std::string& data, Report& report);
  void run();

 private:
  CsvTable documents(uint64_t seed) const;
  Task prepare(uint64_t seed) const;
  VariationalQuantumClassifier vqc(const Optimizer& optimizer, uint64_t seed) const;
  void train_quantum(Model& model, const Optimizer& optimizer, const Task& task, uint64_t seed) const;
  void train_classical(Model& model, Classifier&& learner, const Task& task) const;
  Aqgd aqgd(int iterations, Aqgd::Mode mode = Aqgd::Mode::ObjectiveShift) const;

  void check(const std::string& name, bool holds, const std::string& detail) {
    report_.checks.push_back({prefix_ + name, holds, detail});
  }
  void checks();
  void check_gradients();
  void report_table();
  void report_optimizers();
  void add_lines();

  template <class T>
  T get(const char* key) const {
    return config_.get<T>(key);
  }

  const Config& config_;
  const RunContext& context_;
  std::string prefix_, source_;
  bool generated_;
  Circuit map_, ansatz_;
  std::vector<Task> tasks_;
  Model aqgd_short_, aqgd_long_, cobyla_short_, cobyla_long_, svm_{"SVM"}, boosting_{"Gradient boosting"},
      forest_{"Random forest"}, logistic_{"Logistic regression", false},
      cobyla_more_{"COBYLA, more evaluations", false}, chain_{"AQGD, chain rule", false};
  Report& report_;
};

template <class T>
T pick(const char* what, const std::string& word, const std::map<std::string, T>& choices) {
  const auto found = choices.find(word);
  if (found != choices.end()) return found->second;
  std::vector<std::string> words;
  for (const auto& [name, value] : choices) words.push_back(name);
  throw UsageError(fmt::format("unknown {} '{}': expected {}", what, word, fmt::join(words, " or ")));
}

Study::Study(const Config& config, const RunContext& context, const std::string& data, Report& report)
    : config_(config),
      context_(context),
      prefix_(data == "reviews" ? "Reviews: " : "Stand-in: "),
      source_(data == "reviews" ? require_data("restaurant_reviews", context.data).string() : "generated"),
      generated_(data != "reviews"),
      map_(config.get<int>("components")),
      ansatz_(config.get<int>("components")),
      report_(report) {
  const int seeds = get<int>("seeds"), reps = get<int>("reps");
  require(seeds >= 1 && seeds <= 20, "seeds must be between 1 and 20, got {}", seeds);
  require(get<std::vector<int>>("maxiter").size() == 2 && get<std::vector<int>>("cobyla_maxiter").size() == 2,
          "maxiter and cobyla_maxiter must hold two numbers, as [100, 150]");
  const auto entanglement = pick<Entanglement>("entanglement", get<std::string>("entanglement"),
                                               {{"full", Entanglement::Full},
                                                {"linear", Entanglement::Linear},
                                                {"reverse_linear", Entanglement::ReverseLinear},
                                                {"circular", Entanglement::Ring}});
  if (pick<bool>("map", get<std::string>("map"), {{"angle", true}, {"zz", false}}))
    angle_encoding(map_, 'Y', {}, 0, std::numbers::pi);
  else
    zz_feature_map(map_);
  if (pick<bool>("ansatz", get<std::string>("ansatz"), {{"efficient_su2", true}, {"real_amplitudes", false}}))
    efficient_su2(ansatz_, reps, entanglement);
  else
    real_amplitudes(ansatz_, reps, entanglement);

  const auto maxiter = get<std::vector<int>>("maxiter"), cobyla = get<std::vector<int>>("cobyla_maxiter");
  aqgd_short_.name = fmt::format("VQC, AQGD {}", maxiter[0]);
  aqgd_long_.name = fmt::format("VQC, AQGD {}", maxiter[1]);
  cobyla_short_.name = fmt::format("VQC, COBYLA {}", cobyla[0]);
  cobyla_long_.name = fmt::format("VQC, COBYLA {}", cobyla[1]);
  cobyla_more_.name = fmt::format("VQC, COBYLA {}", get<int>("cobyla_long"));
  chain_.name = fmt::format("VQC, AQGD {}, chain rule", maxiter[0]);
  boosting_.name += have_xgboost() ? " (XGBoost)" : "";
}

CsvTable Study::documents(uint64_t seed) const {
  if (!generated_) return read_csv(source_);
  return parse_csv(pseudo_reviews_tsv({.polar = get<double>("polar"), .seed = seed}), "pseudo_reviews.tsv");
}

/// Everything is fitted on the training documents alone.
Task Study::prepare(uint64_t seed) const {
  const CsvTable table = documents(seed);
  const auto texts = table.text("Review");
  const auto liked = table.numbers("Liked");
  Labels labels;
  for (int64_t i = 0; i < table.rows(); ++i) {
    const double label = liked[i].item<double>();
    require(label == 0 || label == 1, "{}: column Liked: expected 0 or 1, got {}", source_, label);
    labels.push_back(int(label));
  }
  const Split split = stratified_split(labels, generated_ ? 0.5 : 0.2, Random(seed).split("split"));
  std::vector<std::string> train, test;
  for (const int64_t i : split.train) train.push_back(texts[i]);
  for (const int64_t i : split.test) test.push_back(texts[i]);

  Task task;
  TfidfVectorizer vectorizer({.max_terms = get<int>("terms"), .stem = get<bool>("stem")});
  vectorizer.fit(train);
  Pca pca(get<int>("components"));
  const Samples bags = vectorizer.transform(train);
  pca.fit(bags);
  MinMaxScaler scaler;
  const Samples projected = pca.transform(bags);
  scaler.fit(projected);
  task.train = scaler.transform(projected);
  task.test = scaler.transform(pca.transform(vectorizer.transform(test)), &task.clipped);
  task.train_labels = take(labels, split.train);
  task.test_labels = take(labels, split.test);
  task.terms = int64_t(vectorizer.terms().size());
  for (const double share : pca.explained_variance_ratio()) task.explained += share;
  return task;
}

Aqgd Study::aqgd(int iterations, Aqgd::Mode mode) const {
  return {.iterations = {iterations}, .eta = {get<double>("eta")}, .momentum = {get<double>("momentum")}, .mode = mode};
}

VariationalQuantumClassifier Study::vqc(const Optimizer& optimizer, uint64_t seed) const {
  return {map_,
          ansatz_,
          {.optimizer = optimizer, .shots = get<int64_t>("shots"), .seed = seed, .callback = [](const OptimizerStep&) {
             return !interrupted();
           }}};
}

void Study::train_quantum(Model& model, const Optimizer& optimizer, const Task& task, uint64_t seed) const {
  const auto start = std::chrono::steady_clock::now();
  auto classifier = vqc(optimizer, seed);
  classifier.fit(task.train, task.train_labels);
  if (interrupted()) throw Interrupted("interrupted; nothing was saved: run it again");
  Run run{.test = classification_report(task.test_labels, classifier.predict(task.test), 2),
          .minimum = classifier.minimum()};
  run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  log_info("{}, seed {}: loss {:.3f}, {:.1f} % of {} test documents, {} evaluations", model.name, seed,
           run.minimum.value, 100 * run.test.accuracy, task.test.rows, run.minimum.evaluations);
  model.runs.push_back(std::move(run));
}

void Study::train_classical(Model& model, Classifier&& learner, const Task& task) const {
  const auto start = std::chrono::steady_clock::now();
  learner.fit(task.train, task.train_labels);
  Run run{.test = classification_report(task.test_labels, learner.predict(task.test), 2)};
  run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  model.runs.push_back(std::move(run));
}

/// The thresholds are of the stand-in with the angle map; elsewhere only what must hold of any data is checked.
void Study::checks() {
  const bool thresholds = generated_ && get<std::string>("map") == "angle";
  const auto ratios = [](const Model& model) {
    return each(model, [](const Run& run) { return run.minimum.value / run.minimum.values.front(); });
  };
  for (const Model* model : {&aqgd_short_, &chain_})
    check(fmt::format("{} lowers the training loss{} on every seed", model->name,
                      thresholds ? " to 0.65 of the start" : ""),
          std::ranges::max(ratios(*model)) < (thresholds ? 0.65 : 1),
          fmt::format("end / start {}", list(ratios(*model))));
  if (thresholds) {
    const auto accuracy = each(aqgd_short_, [](const Run& run) { return run.test.accuracy; });
    check(fmt::format("{} classifies 80 % of the test documents on every seed", aqgd_short_.name),
          std::ranges::min(accuracy) >= 0.80, list(accuracy));
    check(
        fmt::format("{} ends below {} on every seed", aqgd_short_.name, cobyla_short_.name),
        all_less(losses(aqgd_short_), losses(cobyla_short_)),
        fmt::format("{} against {}, with {} and {} evaluations", list(losses(aqgd_short_)), list(losses(cobyla_short_)),
                    aqgd_short_.runs[0].minimum.evaluations, cobyla_short_.runs[0].minimum.evaluations));
  }
  if (!cobyla_more_.runs.empty())
    check(fmt::format("{} ends below {} on every seed", cobyla_more_.name, cobyla_short_.name),
          all_less(losses(cobyla_more_), losses(cobyla_short_)),
          fmt::format("{} against {}", list(losses(cobyla_more_)), list(losses(cobyla_short_))));
  bool falling = true, simplex = true;
  for (const Model* model : {&cobyla_short_, &cobyla_long_, &cobyla_more_})
    for (const Run& run : model->runs) {
      falling &= std::ranges::is_sorted(run.minimum.trace, std::ranges::greater{});
      simplex &= run.minimum.evaluations > ansatz_.weights() + 1;
    }
  check("COBYLA's best value never rises, and it goes on after its first simplex", falling && simplex,
        fmt::format("simplex of {} evaluations", ansatz_.weights() + 1));
  if (context_.full && !generated_) {  // the abstract's claim
    const auto accuracy = [](const Model& model) {
      return mean(each(model, [](const Run& run) { return run.test.accuracy; }));
    };
    double others = 0;
    for (const Model* model : {&aqgd_long_, &cobyla_short_, &cobyla_long_, &svm_, &boosting_, &forest_})
      others = std::max(others, accuracy(*model));
    check(fmt::format("{} is the most accurate of the seven models", aqgd_short_.name), accuracy(aqgd_short_) > others,
          fmt::format("{:.3f}, the best other {:.3f}", accuracy(aqgd_short_), others));
  }
}

/// The shift rule on the cost is not the cost's gradient.
void Study::check_gradients() {
  const Task& task = tasks_[0];
  VariationalQuantumClassifier model(map_, ansatz_);
  const Objective objective = model.objective(task.train, task.train_labels);
  std::vector<double> theta(ansatz_.weights()), chain(theta.size()), numeric;
  Random random = Random(context_.seed).split("theta");
  for (double& angle : theta) angle = random.normal();
  objective.gradient(theta, chain);
  double apart = 0, error = 0;
  const auto at = [&](size_t j, double offset) {
    std::vector<double> moved(theta);
    moved[j] += offset;
    return objective.value(moved);
  };
  for (size_t j = 0; j < theta.size(); ++j) {
    apart = std::max(apart, std::abs((at(j, std::numbers::pi / 2) - at(j, -std::numbers::pi / 2)) / 2 - chain[j]));
    error = std::max(error, std::abs((at(j, 1e-4) - at(j, -1e-4)) / 2e-4 - chain[j]));
  }
  check("The first step's shift of the cost differs from its gradient, the chain rule does not",
        apart > 1e-3 && error < 1e-6,
        fmt::format("largest difference {:.3f}; chain rule and finite differences {:.1e}", apart, error));
}

void Study::report_table() {
  Table table{.caption = fmt::format("Means over {} splits, test documents; precision, recall and F-score of the class "
                                     "\"liked\". Evaluations of the loss, each of all training documents.",
                                     tasks_.size()),
              .columns = {"model", "accuracy", "precision", "recall", "F", "training loss", "evaluations", "seconds"},
              .rows = {}};
  BarPlot bars{.title = "", .groups = {}, .bars = {{"accuracy"}, {"F"}}};
  bars.y = {.label = "test documents", .min = 0.0, .max = 1.0};
  for (const Model* model : {&aqgd_short_, &aqgd_long_, &cobyla_short_, &cobyla_long_, &svm_, &boosting_, &forest_,
                             &chain_, &cobyla_more_, &logistic_}) {
    if (model->runs.empty()) continue;
    const bool quantum = !model->runs[0].minimum.x.empty();
    const auto average = [&](auto number) { return mean(each(*model, number)); };
    const auto accuracy = each(*model, [](const Run& run) { return run.test.accuracy; });
    const auto f = each(*model, [](const Run& run) { return run.test.f[1]; });
    table.rows.push_back(
        {model->name, percent(accuracy),
         fmt::format("{:.3f}", average([](const Run& r) { return r.test.precision[1]; })),
         fmt::format("{:.3f}", average([](const Run& r) { return r.test.recall[1]; })), fmt::format("{:.3f}", mean(f)),
         quantum ? fmt::format("{:.3f}", mean(losses(*model))) : "",
         quantum ? fmt::format("{:.0f}", average([](const Run& r) { return double(r.minimum.evaluations); })) : "",
         fmt::format("{:.2f}", average([](const Run& r) { return r.seconds; }))});
    if (!model->reported) continue;
    Result accuracy_result{.name = prefix_ + model->name + ", accuracy", .value = 100 * mean(accuracy), .unit = "%"};
    Result f_result{.name = prefix_ + model->name + ", F-score", .value = mean(f)};
    if (model == &aqgd_short_ && context_.full && !generated_) {
      accuracy_result.paper = 77;
      f_result.paper = 0.785;
      accuracy_result.paper_source = f_result.paper_source = "abstract, AQGD 100";
    }
    report_.results.insert(report_.results.end(), {accuracy_result, f_result});
    bars.groups.push_back(model->name);
    bars.bars[0].values.push_back(mean(accuracy));
    bars.bars[0].errors.push_back(standard_deviation(accuracy));
    bars.bars[1].values.push_back(mean(f));
    bars.bars[1].errors.push_back(standard_deviation(f));
  }
  report_.sections.push_back(
      {.title = prefix_ + "four quantum and three classical models",
       .text =
           fmt::format("All of them see the same {} principal components of the same documents ({} terms; the "
                       "components keep {:.1f} % of the variance; {} test values lay outside the training range and "
                       "were clipped, first split). The rows after the first seven are not in the paper.",
                       tasks_[0].train.columns, tasks_[0].terms, 100 * tasks_[0].explained, tasks_[0].clipped),
       .tables = {table},
       .figures = {bar_plot(bars)}});
}

void Study::report_optimizers() {
  LinePlot traces{.title = "",
                  .x = {.label = "evaluations of the loss", .log = true},
                  .y = {.label = "best training loss"},
                  .series = {}};
  int color = 0;
  for (const Model* model : {&aqgd_long_, &chain_, cobyla_more_.runs.empty() ? &cobyla_long_ : &cobyla_more_}) {
    for (size_t seed = 0; seed < model->runs.size() && seed < 3; ++seed) {
      Series series{.name = seed == 0 ? model->name : "", .y = model->runs[seed].minimum.trace, .color = color};
      if (model == &chain_) {  // an evaluation with gradient is 2 P + 1 circuits a document
        for (size_t i = 0; i < series.y.size(); ++i) series.x.push_back(1 + double(i) * (2 * ansatz_.weights() + 1));
      }
      traces.series.push_back(series);
    }
    ++color;
  }
  Table equal{.caption = "Best training loss after so many evaluations of the loss, means over the splits.",
              .columns = {"evaluations", "AQGD", "COBYLA"},
              .rows = {}};
  const Model& cobyla = cobyla_more_.runs.empty() ? cobyla_long_ : cobyla_more_;
  for (const int64_t count : {41, 100, 150, 300, 1000, 3000, 8100}) {
    const auto after = [&](const Model& model) -> std::string {
      std::vector<double> values;
      for (const Run& run : model.runs)
        if (int64_t(run.minimum.trace.size()) >= count) values.push_back(run.minimum.trace[count - 1]);
      return values.size() == model.runs.size() ? fmt::format("{:.3f}", mean(values)) : "";
    };
    equal.rows.push_back({std::to_string(count), after(aqgd_long_), after(cobyla)});
  }
  Figure drawing{.caption = "The ansatz", .svg = draw_svg(ansatz_)};
  report_.sections.push_back(
      {.title = prefix_ + "the optimizers at equal cost",
       .text = fmt::format(
           "\"Epochs\" of the two are not one budget: an AQGD iteration takes 2 P + 1 = {} evaluations of the loss, "
           "COBYLA's "
           "limit counts single evaluations, the first {} of which only build its simplex. AQGD applies the shift rule "
           "to "
           "the cross-entropy, as published; that is not its gradient. \"Chain rule\" applies it to the probabilities, "
           "which gives the gradient at the same cost.",
           2 * ansatz_.weights() + 1, ansatz_.weights() + 1),
       .tables = {equal},
       .figures = {line_plot(traces, "Best training loss of the first three splits"), drawing}});
}

/// Every training as a line of metrics.jsonl; the first model's angles.
void Study::add_lines() {
  std::string lines;
  for (const Model* model : {&aqgd_short_, &aqgd_long_, &cobyla_short_, &cobyla_long_, &chain_, &cobyla_more_, &svm_,
                             &boosting_, &forest_, &logistic_})
    for (size_t seed = 0; seed < model->runs.size(); ++seed) {
      const Run& run = model->runs[seed];
      nlohmann::json line{{"data", report_.data.name},
                          {"model", model->name},
                          {"seed", context_.seed + seed},
                          {"accuracy", run.test.accuracy},
                          {"precision", run.test.precision[1]},
                          {"recall", run.test.recall[1]},
                          {"f", run.test.f[1]}};
      if (!run.minimum.x.empty()) {
        line["loss"] = run.minimum.value;
        line["evaluations"] = run.minimum.evaluations;
        line["trace"] = run.minimum.trace;
      }
      lines += line.dump() + "\n";
    }
  const std::string name = report_.data.name + ".jsonl", model = report_.data.name + ".safetensors";
  write_file(context_.out / name, lines);
  const auto& theta = aqgd_short_.runs[0].minimum.x;
  write_safetensors(
      context_.out / model, {{"theta", {DataType::kF64, {int64_t(theta.size())}, std::as_bytes(std::span(theta))}}},
      {{"model", aqgd_short_.name}, {"data", report_.data.name}, {"seed", std::to_string(context_.seed)}});
  report_.artifacts.insert(report_.artifacts.end(), {name, model});
}

void Study::run() {
  const auto maxiter = get<std::vector<int>>("maxiter"), cobyla = get<std::vector<int>>("cobyla_maxiter");
  for (int i = 0; i < get<int>("seeds"); ++i) {
    const uint64_t seed = context_.seed + uint64_t(i);
    tasks_.push_back(prepare(seed));
    const Task& task = tasks_.back();
    // All quantum models of a seed start from the same angles.
    train_quantum(aqgd_short_, aqgd(maxiter[0]), task, seed);
    train_quantum(aqgd_long_, aqgd(maxiter[1]), task, seed);
    train_quantum(cobyla_short_, Cobyla{.max_evaluations = cobyla[0]}, task, seed);
    train_quantum(cobyla_long_, Cobyla{.max_evaluations = cobyla[1]}, task, seed);
    train_quantum(chain_, aqgd(maxiter[0], Aqgd::Mode::ChainRule), task, seed);
    if (const int more = get<int>("cobyla_long"); more > 0)
      train_quantum(cobyla_more_, Cobyla{.max_evaluations = more}, task, seed);
    train_classical(svm_, Svm(), task);
    if (have_xgboost())
      train_classical(boosting_, XgBoost(), task);
    else
      train_classical(boosting_, GradientBoosting(), task);
    train_classical(forest_, RandomForest({.seed = seed}), task);
    train_classical(logistic_, LogisticRegression(), task);
  }
  report_.data = {.name = generated_ ? "pseudo_reviews" : "restaurant_reviews",
                  .source = source_,
                  .train = tasks_[0].train.rows,
                  .test = tasks_[0].test.rows};
  if (report_.summary.empty())
    report_.summary = fmt::format(
        "A {}-qubit circuit with {} trainable angles tells liked from disliked reviews, given {} principal components "
        "of "
        "their words. Two optimizers train it: AQGD, a gradient descent that shifts each angle, and COBYLA, which fits "
        "linear models to single evaluations. Classical learners get the same components.",
        ansatz_.wires(), ansatz_.weights(), tasks_[0].train.columns);
  report_table();
  report_optimizers();
  checks();
  check_gradients();
  add_lines();
}

Report run(const Config& config, const RunContext& context) {
  Report report;
  auto data = config.get<std::vector<std::string>>("data");
  if (data.empty()) throw UsageError("data is empty: expected reviews, stand_in or both");
  for (const auto& name : data) pick<bool>("data", name, {{"reviews", true}, {"stand_in", true}});
  if (data.size() > 1 && !find_data("restaurant_reviews", context.data)) {
    log_warn("restaurant_reviews was not found; only the stand-in is run");
    std::erase(data, "reviews");
  }
  for (const auto& name : data) Study(config, context, name, report).run();
  if (data.size() < config.get<std::vector<std::string>>("data").size())
    report.summary += "\n\nThe reviews were not found: only the generated documents were used.";
  return report;
}

}  // namespace

Recipe recipe_14() {
  return {.title = "Local optimizers for variational quantum classifiers of reviews (arXiv 2102.08949)",
          .kind = "quantum",
          .seconds = 40,
          .run = run};
}

}  // namespace quanta
