#include "quanta/papers/recipe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/core/signal.h"
#include "quanta/data/csv.h"
#include "quanta/data/generated_tables.h"
#include "quanta/data/known.h"
#include "quanta/learn/ensembles.h"
#include "quanta/learn/hybrid_classifier.h"
#include "quanta/learn/linear.h"
#include "quanta/learn/metrics.h"
#include "quanta/learn/preprocess.h"
#include "quanta/learn/q_medley.h"
#include "quanta/learn/svm.h"
#include "quanta/learn/tree_shap.h"
#include "quanta/papers/statistics.h"
#include "quanta/report/plot.h"

// Recipe 18: "QuXAI: Explainers for Hybrid Quantum Machine Learning Models", arXiv 2505.10167. See README.md.

namespace quanta {
namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

/// A table of one seed, split and standardised.
struct Task {
  std::vector<std::string> columns;
  Samples train, test;
  Labels train_labels, test_labels;
};

/// What one model did with one seed's task.
struct Outcome {
  ClassificationReport hybrid, classical;
  std::vector<double> importance;  // Q-MEDLEY's, of each column
};

/// How well explainers find what a classical model says of itself.
struct Validation {
  std::map<std::string, std::vector<double>> recall, spearman;  // by explainer, seed by seed
};

struct TableStudy {
  std::string name, source;
  std::vector<Task> tasks{};                             // by seed
  std::map<std::string, std::vector<Outcome>> models{};  // by model and seed
  std::map<std::string, Validation> validations{};       // by classical model
  double average_error = 0;                              // |Q-MEDLEY - (DCI + PI) / 2|, the largest
};

const std::vector<std::pair<std::string, std::string>> kExplainers = {
    {"dci", "DCI"},
    {"pi", "PI"},
    {"average", "Q-MEDLEY"},
    {"adaptive", "Q-MEDLEY, adaptive"},
    {"interaction", "Q-MEDLEY, interaction"},
    {"both", "Q-MEDLEY, both"},
    {"TreeSHAP", "TreeSHAP"},
    {"L1", "L1 logistic regression"},
};
const std::vector<std::string> kGroundTruths = {"random forest", "decision tree", "logistic regression"};

std::string fixed(double value) {
  return std::isfinite(value) ? fmt::format("{:.3f}", value) : "";
}

std::string fixed_list(const std::vector<double>& values) {
  return fmt::format("{:.3f}", fmt::join(values, ", "));
}

double mean_or_nothing(const std::vector<double>& values) {
  return values.empty() ? kNothing : mean(values);
}

/// One number of each seed's outcome.
template <class F>
std::vector<double> each(const std::vector<Outcome>& outcomes, F number) {
  std::vector<double> values;
  for (const Outcome& outcome : outcomes) values.push_back(number(outcome));
  return values;
}

class Study {
 public:
  Study(const Config& config, const RunContext& context);
  Report run();

 private:
  Task prepare(const std::string& name, const CsvTable& table, uint64_t seed) const;
  TableStudy study(const std::string& name, const std::string& source) const;
  void explain_hybrids(TableStudy& table, const Task& task, uint64_t seed) const;
  void validate(TableStudy& table, const Task& task, uint64_t seed) const;
  Importance explain(const Classifier& model, const Task& task, const std::string& config, uint64_t seed) const;
  /// The rows that explanations are of, and their classes.
  std::pair<const Samples&, const Labels&> reference(const Task& task) const {
    if (train_rows_) return {task.train, task.train_labels};
    return {task.test, task.test_labels};
  }
  CsvTable read(const std::string& name, const std::string& source, uint64_t seed) const;

  void report(const TableStudy& table);
  Section local_section(const TableStudy& table) const;
  void check_iris_like(const TableStudy& table);
  void check(const std::string& name, bool holds, const std::string& detail) {
    report_.checks.push_back({name, holds, detail});
  }

  const Config& config_;
  const RunContext& context_;
  std::vector<std::string> models_;
  int seeds_, top_;
  bool train_rows_;
  HybridOptions options_;
  Report report_;
};

Study::Study(const Config& config, const RunContext& context)
    : config_(config),
      context_(context),
      models_(config.get<std::vector<std::string>>("models")),
      seeds_(config.get<int>("seeds")),
      top_(config.get<int>("top")) {
  require(seeds_ >= 1 && seeds_ <= 20, "seeds must be between 1 and 20, got {}", seeds_);
  if (models_.empty()) throw UsageError("models is empty: name those to explain");
  const auto features = config.get<std::string>("features"), scaler = config.get<std::string>("scaler");
  if (features != "amplitude" && features != "probability")
    throw UsageError(fmt::format("unknown features '{}': expected amplitude or probability", features));
  if (scaler != "train" && scaler != "all")
    throw UsageError(fmt::format("unknown scaler '{}': expected train or all", scaler));
  const auto reference = config.get<std::string>("reference");
  if (reference != "train" && reference != "test")
    throw UsageError(fmt::format("unknown reference '{}': expected train or test", reference));
  train_rows_ = reference == "train";
  options_ = {.map = parse_feature_map(config.get<std::string>("map")),
              .features = features == "amplitude" ? Readout::Amplitude : Readout::Probability,
              .trees = config.get<int>("trees"),
              .depth = config.get<int>("depth"),
              .max_qubits = config.get<int>("max_qubits"),
              .truncate = true};
  for (const auto& name : models_) make_hybrid(name, 1, options_);  // a wrong name shows before any work
  options_.truncate = config.get<bool>("truncate");
}

CsvTable Study::read(const std::string& name, const std::string& source, uint64_t seed) const {
  if (name == "iris_like") return parse_csv(iris_like_csv(seed), "iris_like.csv");
  const auto separator = config_.get<std::string>("separator");
  require(separator.size() == 1, "separator must be one character, got '{}'", separator);
  return read_csv(source, {.separator = separator[0]});
}

Task Study::prepare(const std::string& name, const CsvTable& table, uint64_t seed) const {
  const auto asked = config_.get<std::string>("target");
  const std::string target = asked.empty() ? table.columns().back() : asked;
  table.index(target);  // must be there
  Task task;
  for (const auto& column : table.columns())
    if (column != target) task.columns.push_back(column);
  const auto names = table.text(target);
  const std::set<std::string> sorted(names.begin(), names.end());
  Labels labels;
  for (const auto& label : names) labels.push_back(int(std::distance(sorted.begin(), sorted.find(label))));
  require(sorted.size() >= 2, "{}: column '{}' holds a single class", name, target);

  const auto numbers = table.numbers(task.columns).contiguous();
  const double* data = numbers.data_ptr<double>();
  Samples x(table.rows(), int64_t(task.columns.size()), std::vector<double>(data, data + numbers.numel()));
  if (config_.get<bool>("extra_columns")) {
    std::vector<double> deviations;
    for (int64_t j = 0; j < x.columns; ++j) deviations.push_back(standard_deviation(x.column(j)));
    const double width = config_.get<double>("noise") * mean(deviations);
    const int64_t copied = std::ranges::max_element(deviations) - deviations.begin();
    Samples wide(x.rows, x.columns + 3);
    Random random = Random(seed).split("columns");
    for (int64_t i = 0; i < x.rows; ++i) {
      std::copy_n(x.row(i), x.columns, wide.row(i));
      wide(i, x.columns) = width * random.normal();
      wide(i, x.columns + 1) = width * random.uniform(-1, 1);
      wide(i, x.columns + 2) = 0.7 * x(i, copied) + 0.05 * deviations[copied] * random.normal();
    }
    x = std::move(wide);
    task.columns.insert(task.columns.end(), {"gaussian noise", "uniform noise", "copy of " + task.columns[copied]});
  }

  const Split split = stratified_split(labels, config_.get<double>("test"), Random(seed).split("split"));
  StandardScaler scaler;
  scaler.fit(config_.get<std::string>("scaler") == "all" ? x : x.take(split.train));
  for (const int64_t column : scaler.constant_columns())
    log_warn("{}: column '{}' is constant and cannot matter", name, task.columns[column]);
  task.train = scaler.transform(x.take(split.train));
  task.test = scaler.transform(x.take(split.test));
  task.train_labels = take(labels, split.train);
  task.test_labels = take(labels, split.test);
  return task;
}

Importance Study::explain(const Classifier& model, const Task& task, const std::string& config, uint64_t seed) const {
  QMedley medley({.repeats = config_.get<int>("repeats"), .config = parse_medley(config), .seed = seed});
  const auto& [rows, labels] = reference(task);
  medley.fit(model, rows, labels);
  return medley.global();
}

void Study::explain_hybrids(TableStudy& table, const Task& task, uint64_t seed) const {
  for (const auto& name : models_) {
    HybridOptions options = options_;
    options.seed = seed;
    const auto hybrid = make_hybrid(name, task.train.columns, options);
    const auto classical = make_classical_equivalent(name, options);
    hybrid->fit(task.train, task.train_labels);
    classical->fit(task.train, task.train_labels);
    const auto judge = [&](const Classifier& model) {
      return classification_report(task.test_labels, model.predict(task.test), model.classes());
    };
    const Importance found = explain(*hybrid, task, "average", seed);
    for (size_t j = 0; j < found.score.size(); ++j)
      table.average_error = std::max(table.average_error, std::abs(found.score[j] - (found.dci[j] + found.pi[j]) / 2));
    table.models[name].push_back({judge(*hybrid), judge(*classical), found.score});
    log_info("{}, seed {}: {} {:.3f}, classical {:.3f}", table.name, seed, name,
             table.models[name].back().hybrid.accuracy, table.models[name].back().classical.accuracy);
  }
}

/// Classical models that know what they use: their own importances are the truth.
void Study::validate(TableStudy& table, const Task& task, uint64_t seed) const {
  RandomForest forest({.trees = options_.trees, .max_depth = options_.depth, .seed = seed});
  DecisionTree tree({.max_depth = options_.depth});
  LogisticRegression logistic, sparse({.c = 0.1, .penalty = LogisticOptions::Penalty::kL1});
  for (Classifier* model : std::initializer_list<Classifier*>{&forest, &tree, &logistic, &sparse})
    model->fit(task.train, task.train_labels);

  const auto compare = [&](const std::string& name, const Classifier& model, const std::vector<double>& truth,
                           const std::vector<Tree>* trees) {
    const auto note = [&](const std::string& explainer, const std::vector<double>& scores) {
      auto& validation = table.validations[name];
      validation.recall[explainer].push_back(recall_at_k(truth, scores, std::min(top_, int(truth.size()))));
      validation.spearman[explainer].push_back(spearman(truth, scores));
    };
    std::map<std::string, std::vector<double>> scores;
    for (const auto& config : medley_names()) note(config, scores[config] = explain(model, task, config, seed).score);
    for (size_t j = 0; j < truth.size(); ++j)
      table.average_error =
          std::max(table.average_error, std::abs(scores["average"][j] - (scores["dci"][j] + scores["pi"][j]) / 2));
    if (trees) note("TreeSHAP", tree_shap_importance(*trees, reference(task).first));
    note("L1", sparse.magnitudes());
  };
  compare("random forest", forest, forest.importances(), &forest.trees());
  compare("decision tree", tree, tree.importances(), &tree.trees());
  compare("logistic regression", logistic, logistic.magnitudes(), nullptr);
}

TableStudy Study::study(const std::string& name, const std::string& source) const {
  TableStudy table{.name = name, .source = source};
  for (int i = 0; i < seeds_; ++i) {
    const uint64_t seed = context_.seed + uint64_t(i);
    if (interrupted()) throw Interrupted("interrupted; nothing was saved: run it again");
    table.tasks.push_back(prepare(name, read(name, source, seed), seed));
    explain_hybrids(table, table.tasks.back(), seed);
    validate(table, table.tasks.back(), seed);
  }
  return table;
}

/// Two rows of different classes: what drives the model's answer for each.
Section Study::local_section(const TableStudy& table) const {
  const Task& task = table.tasks[0];
  HybridOptions options = options_;
  options.seed = context_.seed;
  const auto model = make_hybrid(models_[0], task.train.columns, options);
  model->fit(task.train, task.train_labels);
  QMedley medley({.repeats = config_.get<int>("repeats"), .seed = context_.seed});
  const auto& [rows, labels] = reference(task);
  medley.fit(*model, rows, labels);
  Table shown{.caption = "", .columns = {"column", "globally"}, .rows = {}};
  std::vector<Importance> local;
  BarPlot bars{.title = "", .groups = task.columns, .bars = {{"globally", medley.global().score}}};
  bars.y.label = "importance";
  for (int64_t row = 0; row < task.test.rows && local.size() < 3; ++row) {
    if (task.test_labels[row] != int(local.size())) continue;
    const double* values = task.test.row(row);
    local.push_back(medley.local(std::vector<double>(values, values + task.test.columns)));
    const std::string name = fmt::format("row {}, class {}", row, task.test_labels[row]);
    shown.columns.push_back(name);
    bars.bars.push_back({name, local.back().score});
  }
  for (size_t j = 0; j < task.columns.size(); ++j) {
    shown.rows.push_back({task.columns[j], fixed(medley.global().score[j])});
    for (const auto& importance : local) shown.rows.back().push_back(fixed(importance.score[j]));
  }
  return {.title = fmt::format("{}: local explanations of {}", table.name, models_[0]),
          .text =
              "The score of the predicted class that a row loses when a column is set to its mean or takes the values "
              "of other rows (the mean of both). Ours: the published code has only global explanations.",
          .tables = {shown},
          .figures = {bar_plot(bars)}};
}

void Study::report(const TableStudy& table) {
  const auto& columns = table.tasks[0].columns;
  const std::string prefix = config_.get<std::vector<std::string>>("data").size() > 1 ? table.name + ": " : "";

  Table performance{.caption =
                        "Means over the seeds. The classical equivalent is the same learner on the standardised "
                        "columns themselves.",
                    .columns = {"model", "accuracy", "F", "precision", "recall", "accuracy, classical", "F, classical"},
                    .rows = {}};
  BarPlot bars{.title = "", .groups = columns, .bars = {}};
  bars.y.label = "Q-MEDLEY";
  HeatMap map{.title = "", .x_label = "", .y_label = "", .columns = columns, .rows = models_, .values = {}};
  std::string csv = "model," + fmt::format("{}\n", fmt::join(columns, ","));
  for (const auto& name : models_) {
    const auto& outcomes = table.models.at(name);
    const auto average = [&](auto number) { return mean(each(outcomes, number)); };
    const double accuracy = average([](const Outcome& o) { return o.hybrid.accuracy; });
    performance.rows.push_back({name, fixed(accuracy),
                                fixed(average([](const Outcome& o) { return o.hybrid.macro_f; })),
                                fixed(average([](const Outcome& o) { return o.hybrid.macro_precision; })),
                                fixed(average([](const Outcome& o) { return o.hybrid.macro_recall; })),
                                fixed(average([](const Outcome& o) { return o.classical.accuracy; })),
                                fixed(average([](const Outcome& o) { return o.classical.macro_f; }))});
    report_.results.push_back({.name = prefix + name + ", test accuracy", .value = 100 * accuracy, .unit = "%"});
    BarPlot::Bars bar{.name = name, .values = {}, .errors = {}};
    csv += name;
    for (size_t j = 0; j < columns.size(); ++j) {
      const auto scores = each(outcomes, [&](const Outcome& o) { return o.importance[j]; });
      bar.values.push_back(mean(scores));
      bar.errors.push_back(standard_deviation(scores));
      map.values.push_back(mean(scores));
      csv += fmt::format(",{}", mean(scores));
    }
    csv += "\n";
    if (bars.bars.size() < 6) bars.bars.push_back(bar);  // more are unreadable; the map shows them all
  }
  const std::string file = fmt::format("importances-{}.csv", std::filesystem::path(table.name).stem().string());
  write_file(context_.out / file, csv);
  report_.artifacts.push_back(file);
  report_.sections.push_back(
      {.title = prefix + "Hybrid models and their classical equivalents", .tables = {performance}});
  report_.sections.push_back(
      {.title = prefix + "What the hybrid models depend on",
       .text = fmt::format("Q-MEDLEY's score of each column on the {} rows: the accuracy that is lost when the column "
                           "is set to its mean, and when it is permuted ({} times), averaged. The error bars are "
                           "standard deviations over {} seeds.",
                           config_.get<std::string>("reference"), config_.get<int>("repeats"), seeds_),
       .figures = {bar_plot(bars), heat_map(map)}});
  report_.sections.push_back(local_section(table));

  HeatMap agreement{.title = "", .x_label = "", .y_label = "", .columns = {}, .rows = kGroundTruths, .values = {}};
  std::map<std::string, std::vector<double>> correlations;  // by ground truth
  Table validation{
      .caption = fmt::format("Means over the seeds; raw figures, none is adjusted. Recall@{} of the columns "
                             "that the model itself uses most: Gini importances, or mean |coefficient|.",
                             top_),
      .columns = {"explainer"},
      .rows = {}};
  for (const auto& truth : kGroundTruths)
    validation.columns.insert(validation.columns.end(),
                              {fmt::format("Recall@{}, {}", top_, truth), "Spearman, " + truth});
  csv = "explainer," + fmt::format("{}\n", fmt::join(kGroundTruths, ","));
  for (const auto& [key, name] : kExplainers) {
    agreement.columns.push_back(name);
    validation.rows.push_back({name});
    csv += "\"" + name + "\"";
    for (const auto& truth : kGroundTruths) {
      const auto& all = table.validations.at(truth);
      const auto value = [&](const auto& lists) {
        return lists.contains(key) ? mean_or_nothing(lists.at(key)) : kNothing;
      };
      correlations[truth].push_back(value(all.spearman));
      validation.rows.back().push_back(fixed(value(all.recall)));
      validation.rows.back().push_back(fixed(value(all.spearman)));
      csv += "," + fixed(value(all.spearman));
    }
    csv += "\n";
  }
  for (const auto& truth : kGroundTruths)
    agreement.values.insert(agreement.values.end(), correlations[truth].begin(), correlations[truth].end());
  const std::string second = fmt::format("explainers-{}.csv", std::filesystem::path(table.name).stem().string());
  write_file(context_.out / second, csv);
  report_.artifacts.push_back(second);
  report_.sections.push_back(
      {.title = prefix + "Validation and ablation on classical models",
       .text = "A classical model on the standardised columns knows what it uses; each explainer is held against that. "
               "The first six rows are the six configurations of Q-MEDLEY's ablation.",
       .tables = {validation},
       .figures = {heat_map(agreement, "Spearman correlation with what the model itself uses")}});
}

/// The relations of the specification, on the table whose informative columns are known: 2, 3 and 6 (a copy of 2).
void Study::check_iris_like(const TableStudy& table) {
  const auto accuracies = [&](const std::string& name) {
    return each(table.models.at(name), [](const Outcome& o) { return o.hybrid.accuracy; });
  };
  for (const auto& [name, floor] : std::map<std::string, double>{{"qknn", 0.85}, {"qridge", 0.60}})
    if (table.models.contains(name))
      check(fmt::format("{} reaches {:.2f} on every seed", name, floor), std::ranges::min(accuracies(name)) >= floor,
            fixed_list(accuracies(name)));
  if (table.tasks[0].columns.size() == 7)
    for (const auto& [name, outcomes] : table.models) {
      if (context_.full && name != "qknn" && name != "qnb" && name != "qridge" && name != "qrf") continue;
      std::vector<double> ratios, found;
      for (const Outcome& outcome : outcomes) {
        const auto& score = outcome.importance;
        const double informative = std::max({score[2], score[3], score[6]});
        ratios.push_back(informative > 0 ? std::max(score[4], score[5]) / informative : INFINITY);
        const auto top = top_k(score, 3);
        found.push_back(double(std::ranges::count_if(top, [](int64_t j) { return j == 2 || j == 3 || j == 6; })));
      }
      check(fmt::format("{}: noise scores below 0.6 of what informs", name), std::ranges::max(ratios) < 0.6,
            fmt::format("largest noise / largest informative score {}", fixed_list(ratios)));
      check(fmt::format("{}: two of the three informative columns are on top", name), std::ranges::min(found) >= 2,
            fmt::format("in the top 3 on each seed: {}", fmt::join(found, ", ")));
    }
  const auto& forest = table.validations.at("random forest");
  check("Random forest: Q-MEDLEY finds two of the three columns of largest Gini importance on every seed",
        std::ranges::min(forest.recall.at("average")) >= 2.0 / 3 - 1e-12, fixed_list(forest.recall.at("average")));
  check("Random forest: Q-MEDLEY's rank correlation with Gini importance is at least 0.5 on every seed",
        std::ranges::min(forest.spearman.at("average")) >= 0.5, fixed_list(forest.spearman.at("average")));
  for (const auto& [key, name] : kExplainers)
    report_.results.push_back(
        {.name = fmt::format("Random forest, Recall@{}, {}", top_, name), .value = mean(forest.recall.at(key))});
}

Report Study::run() {
  std::vector<std::string> absent;
  std::vector<TableStudy> tables;
  for (const auto& name : config_.get<std::vector<std::string>>("data")) {
    std::string source = "generated";
    if (name != "iris_like") {
      source.clear();
      std::vector<std::filesystem::path> places = {name};
      for (const auto& root : data_roots(context_.data))
        places.insert(places.end(), {root / "tables" / name, root / name});
      for (const auto& place : places)
        if (source.empty() && std::filesystem::is_regular_file(place)) source = place.string();
    }
    if (source.empty())
      absent.push_back(name);
    else
      tables.push_back(study(name, source));
  }
  require(!tables.empty(), "none of the tables {} was found; put them into DATA/tables/ as CSV with the class last",
          fmt::join(absent, ", "));
  for (const auto& name : absent) log_warn("{} was not found and is left out; it belongs into DATA/tables/", name);

  report_.summary =
      "Hybrid classifiers write each row into a quantum state and give amplitudes, overlaps or distances of states to "
      "a "
      "classical learner. Q-MEDLEY explains which classical columns they depend on: it perturbs columns before they "
      "are "
      "encoded, and measures the accuracy that is lost. Two columns of noise and a redundant copy are added to each "
      "table, so that it is known what an explanation must find.";
  if (!absent.empty()) report_.summary += fmt::format("\n\nNot found and left out: {}.", fmt::join(absent, ", "));
  report_.data = {.name = tables[0].name,
                  .source = tables[0].source,
                  .train = tables[0].tasks[0].train.rows,
                  .test = tables[0].tasks[0].test.rows};
  double error = 0;
  for (const auto& table : tables) {
    report(table);
    if (table.name == "iris_like") check_iris_like(table);
    error = std::max(error, table.average_error);
  }
  check("Q-MEDLEY is the mean of DCI and PI on the same permutations", error <= 1e-12,
        fmt::format("largest difference {:.1e}", error));
  return report_;
}

Report run(const Config& config, const RunContext& context) {
  return Study(config, context).run();
}

}  // namespace

Recipe recipe_18() {
  return {.title = "QuXAI: explaining hybrid quantum classifiers with Q-MEDLEY (arXiv 2505.10167)",
          .kind = "quantum",
          .seconds = 5,
          .run = run};
}

}  // namespace quanta
