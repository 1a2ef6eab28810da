#include "quanta/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/parallel.h"
#include "quanta/core/progress.h"
#include "quanta/core/random.h"
#include "quanta/core/signal.h"
#include "quanta/data/loader.h"
#include "quanta/train/checkpoint.h"
#include "quanta/train/metrics_file.h"

namespace quanta {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

torch::Device device_of(const torch::nn::Module& module) {
  const auto parameters = module.parameters();
  return parameters.empty() ? torch::Device(torch::kCPU) : parameters.front().device();
}

torch::Tensor as_inputs(const torch::Tensor& inputs, const torch::Device& device) {
  const torch::Tensor moved = inputs.to(device);
  return moved.scalar_type() == torch::kUInt8 ? moved.to(torch::kFloat32).div_(255) : moved;
}

bool are_classes(const torch::Tensor& targets) {
  return targets.scalar_type() == torch::kInt64 && targets.dim() == 1;
}

void check_examples(const Examples& examples, const char* what) {
  require(examples.size() > 0, "the {} set is empty", what);
  require(examples.targets.defined() && examples.targets.dim() >= 1 && examples.targets.size(0) == examples.size(),
          "the {} set has {} inputs but {} targets", what, examples.size(),
          examples.targets.defined() && examples.targets.dim() >= 1 ? examples.targets.size(0) : 0);
}

void check_logits(const torch::Tensor& outputs, int64_t batch, int64_t highest_label) {
  require(outputs.dim() == 2 && outputs.size(0) == batch,
          "a classifier must return logits [batch, classes], here [{}, classes]; it returned {}", batch,
          c10::str(outputs.sizes()));
  require(highest_label < outputs.size(1), "the labels go up to {} but the network returns {} classes", highest_label,
          outputs.size(1));
}

torch::Tensor loss_of(const Loss& loss, const torch::Tensor& outputs, const torch::Tensor& targets) {
  return loss ? loss(outputs, targets) : torch::cross_entropy_loss(outputs, targets);
}

/// Puts the training mode of a module and of all its parts back, each to its own.
class ModeGuard {
 public:
  explicit ModeGuard(torch::nn::Module& module) : module_(module), training_(module.is_training()) {
    for (const auto& part : module.modules(/*include_self=*/false)) parts_.emplace_back(part, part->is_training());
  }
  ~ModeGuard() {
    module_.train(training_);
    for (const auto& [part, training] : parts_) part->train(training);  // parents come before their parts
  }

 private:
  torch::nn::Module& module_;
  bool training_;
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> parts_;
};

json to_json(double value) {
  return std::isfinite(value) ? json(value) : json(nullptr);
}
double to_double(const json& value) {
  return value.is_null() ? kNan : value.get<double>();
}

json to_json(const Epoch& e) {
  return {{"epoch", e.epoch},
          {"train_loss", to_json(e.train_loss)},
          {"train_accuracy", to_json(e.train_accuracy)},
          {"val_loss", to_json(e.val_loss)},
          {"val_accuracy", to_json(e.val_accuracy)},
          {"seconds", to_json(e.seconds)}};
}

Epoch to_epoch(const json& j) {
  return {.epoch = j.at("epoch"),
          .train_loss = to_double(j.at("train_loss")),
          .train_accuracy = to_double(j.at("train_accuracy")),
          .val_loss = to_double(j.at("val_loss")),
          .val_accuracy = to_double(j.at("val_accuracy")),
          .seconds = to_double(j.at("seconds"))};
}

class Trainer {
 public:
  Trainer(const Forward& forward, torch::nn::Module& module, torch::optim::Optimizer& optimizer, const Examples& train,
          const Examples& validation, const TrainOptions& options)
      : forward_(forward),
        module_(module),
        optimizer_(optimizer),
        train_(train),
        validation_(validation),
        options_(options),
        random_(options.seed),
        device_(device_of(module)) {
    check_examples(train, "training");
    if (validation.size()) check_examples(validation, "validation");
    require(options.epochs >= 1, "epochs must be at least 1, got {}", options.epochs);
    require(options.batch >= 1 && options.eval_batch >= 1, "a batch must hold at least one sample, got {} and {}",
            options.batch, options.eval_batch);
    require(options.patience >= 0, "patience must not be negative, got {}", options.patience);
    require(options.patience == 0 || validation.size() > 0, "early stopping needs a validation set");
    require(options.clip >= 0, "the gradient's largest norm must not be negative, got {}", options.clip);
    batches_ = int64_t(batches_of(0).size());
    if (are_classes(train.targets)) {
      require(train.targets.min().item<int64_t>() >= 0, "a label is negative");
      highest_label_ = train.targets.max().item<int64_t>();
    }
    for (auto& group : optimizer.param_groups()) base_rates_.push_back(group.options().get_lr());
    if (!options.out.empty()) {
      checkpoint_path_ = options.out / checkpoint_name(options.label);
      metrics_path_ = options.out / "metrics.jsonl";
    }
  }

  History run() {
    if (!options_.out.empty()) {
      make_directory(options_.out);
      if (options_.resume && std::filesystem::exists(checkpoint_path_))
        load();
      else
        std::filesystem::remove(checkpoint_path_);  // of an earlier run; a resume must not find it
      write_metrics();
    }
    history_.interrupted = false;
    if (!finished_ && options_.epochs > int(history_.epochs.size())) {
      module_.train();
      const InterruptGuard guard;
      Progress progress(options_.epochs * train_.size(), options_.label, "samples",
                        int64_t(history_.epochs.size()) * train_.size() + seen_);
      while (!finished_ && !history_.interrupted) run_epoch(progress);
      progress.finish();
    }
    seed_torch("end", 0);
    return history_;
  }

 private:
  // LibTorch's generator (dropout) starts anew at every step, so its state need not be kept.
  void seed_torch(std::string_view what, uint64_t index) {
    torch::manual_seed(random_.split(what).split(index).bits64());
  }

  int epoch() const { return int(history_.epochs.size()) + 1; }

  void run_epoch(Progress& progress) {
    auto last_save = Clock::now();
    start_ = Clock::now();
    const std::vector<torch::Tensor> batches = batches_of(epoch() - 1);
    while (batch_ < batches_) {
      step(batches[batch_]);
      ++batch_;
      progress.update((epoch() - 1) * train_.size() + seen_, status());
      if (batch_ == batches_) break;
      const bool stop = interrupted();
      if (stop || (!options_.out.empty() && seconds_since(last_save) >= options_.checkpoint_seconds)) {
        save();
        last_save = Clock::now();
      }
      if (stop) {
        history_.interrupted = true;
        return;
      }
    }
    end_epoch();
    if (!finished_ && interrupted()) history_.interrupted = true;
  }

  /// The samples of each step of an epoch.
  std::vector<torch::Tensor> batches_of(int64_t epoch) const {
    auto batches = BatchOrder(train_.size(), {.batch = options_.batch, .seed = options_.seed}).epoch(epoch);
    if (options_.batch > 1 && batches.size() > 1 &&
        batches.back().size(0) == 1) {  // batch normalization cannot train on one
      const torch::Tensor last = batches.back();
      batches.pop_back();
      batches.back() = torch::cat({batches.back(), last});
    }
    return batches;
  }

  void step(const torch::Tensor& ids) {
    const int64_t index = (epoch() - 1) * batches_ + batch_;  // in the whole training
    seed_torch("step", index);
    torch::Tensor inputs = as_inputs(train_.inputs.index_select(0, ids.to(train_.inputs.device())), device_);
    if (options_.augment) inputs = options_.augment(inputs, ids, epoch() - 1);
    const torch::Tensor targets = train_.targets.index_select(0, ids.to(train_.targets.device())).to(device_);

    if (options_.schedule) {
      const double factor = options_.schedule(index, options_.epochs * batches_);
      for (size_t i = 0; i < base_rates_.size(); ++i)
        optimizer_.param_groups()[i].options().set_lr(base_rates_[i] * factor);
    }
    const torch::Tensor outputs = forward_(inputs);
    if (!options_.loss) check_logits(outputs, ids.size(0), highest_label_);
    const torch::Tensor loss = loss_of(options_.loss, outputs, targets);
    const double value = loss.item<double>();
    require(std::isfinite(value),
            "{}: the loss became {} in epoch {}, batch {}; try a lower learning rate or gradient clipping",
            options_.label, value, epoch(), batch_ + 1);
    // No gradient rather than a zero one, which would let the moments of an unused parameter move it.
    for (auto& parameter : module_.parameters()) parameter.mutable_grad().reset();
    loss.backward();
    if (options_.clip > 0) torch::nn::utils::clip_grad_norm_(module_.parameters(), options_.clip);
    optimizer_.step();

    loss_sum_ += value * double(ids.size(0));
    seen_ += ids.size(0);
    if (are_classes(targets) && outputs.dim() == 2) {
      correct_ += outputs.detach().argmax(1).eq(targets).sum().item<int64_t>();
      counted_ += ids.size(0);
    }
  }

  void end_epoch() {
    Epoch row{.epoch = epoch(), .train_loss = loss_sum_ / double(seen_), .train_accuracy = train_accuracy()};
    if (validation_.size()) {
      seed_torch("validation", epoch());
      const Evaluation evaluation = evaluate(forward_, module_, validation_, options_.eval_batch, options_.loss);
      row.val_loss = evaluation.loss;
      row.val_accuracy = evaluation.accuracy;
    }
    row.seconds = seconds_ + seconds_since(start_);
    history_.epochs.push_back(row);
    if (validation_.size() &&
        (history_.best_epoch == 0 ? std::isfinite(row.val_loss)
                                  : row.val_loss < history_.epochs[history_.best_epoch - 1].val_loss)) {
      history_.best_epoch = row.epoch;
      if (options_.patience) best_ = snapshot();
    }
    batch_ = seen_ = correct_ = counted_ = 0;
    loss_sum_ = seconds_ = 0;
    start_ = Clock::now();
    history_.stopped_early =
        options_.patience && row.epoch - history_.best_epoch >= options_.patience && row.epoch < options_.epochs;
    finished_ = history_.stopped_early || row.epoch >= options_.epochs;
    if (finished_ && !best_.empty()) restore(best_);
    if (!options_.out.empty()) {
      save();
      write_metrics();
    }
  }

  double train_accuracy() const { return counted_ ? double(correct_) / double(counted_) : kNan; }

  std::string status() const {
    std::string text = fmt::format("epoch {}/{} loss {:.4f}", epoch(), options_.epochs, loss_sum_ / double(seen_));
    if (counted_) text += fmt::format(" acc {:.2f} %", 100 * train_accuracy());
    if (validation_.size() && !history_.epochs.empty()) {
      const Epoch& last = history_.epochs.back();
      text += std::isnan(last.val_accuracy) ? fmt::format(" val loss {:.4f}", last.val_loss)
                                            : fmt::format(" val acc {:.2f} %", 100 * last.val_accuracy);
    }
    return text;
  }

  std::map<std::string, torch::Tensor> snapshot() const {
    std::map<std::string, torch::Tensor> tensors;
    for (const auto& item : module_.named_parameters()) tensors[item.key()] = item.value().detach().clone();
    for (const auto& item : module_.named_buffers()) tensors[item.key()] = item.value().detach().clone();
    return tensors;
  }

  void restore(const std::map<std::string, torch::Tensor>& tensors) {
    const torch::NoGradGuard guard;
    for (auto& item : module_.named_parameters()) item.value().copy_(tensors.at(item.key()));
    for (auto& item : module_.named_buffers()) item.value().copy_(tensors.at(item.key()));
  }

  json settings() const {
    return {{"config", options_.config},         {"epochs", options_.epochs},
            {"batch", options_.batch},           {"seed", options_.seed},
            {"patience", options_.patience},     {"clip", options_.clip},
            {"training samples", train_.size()}, {"validation samples", validation_.size()}};
  }

  void save() {
    if (options_.out.empty()) return;
    seconds_ += seconds_since(start_);
    start_ = Clock::now();
    json epochs = json::array();
    for (const Epoch& e : history_.epochs) epochs.push_back(to_json(e));
    const json state{{"settings", settings()},
                     {"epochs", epochs},
                     {"best_epoch", history_.best_epoch},
                     {"stopped_early", history_.stopped_early},
                     {"finished", finished_},
                     {"batch", batch_},
                     {"loss_sum", loss_sum_},
                     {"seen", seen_},
                     {"correct", correct_},
                     {"counted", counted_},
                     {"seconds", seconds_}};
    save_checkpoint(checkpoint_path_, module_, optimizer_, {state, finished_ ? decltype(best_){} : best_});
  }

  void load() {
    try {
      load_checked();
    } catch (const json::exception& error) {
      fail("{} is damaged: {}", checkpoint_path_.string(), error.what());
    }
  }

  void load_checked() {
    // The settings are compared before the tensors: they explain why tensors differ.
    require_same_settings(checkpoint_path_, read_checkpoint_state(checkpoint_path_).at("settings"), settings());
    TrainingState checkpoint = load_checkpoint(checkpoint_path_, module_, optimizer_);
    const json& state = checkpoint.state;
    for (const json& e : state.at("epochs")) history_.epochs.push_back(to_epoch(e));
    history_.best_epoch = state.at("best_epoch");
    history_.stopped_early = state.at("stopped_early");
    history_.resumed = true;
    finished_ = state.at("finished");
    batch_ = state.at("batch");
    loss_sum_ = state.at("loss_sum");
    seen_ = state.at("seen");
    correct_ = state.at("correct");
    counted_ = state.at("counted");
    seconds_ = state.at("seconds");
    best_ = std::move(checkpoint.tensors);
  }

  void write_metrics() const {
    std::vector<json> rows;
    for (const Epoch& e : history_.epochs) rows.push_back(to_json(e));
    quanta::write_metrics(metrics_path_, options_.label, rows);
  }

  const Forward& forward_;
  torch::nn::Module& module_;
  torch::optim::Optimizer& optimizer_;
  const Examples& train_;
  const Examples& validation_;
  const TrainOptions& options_;
  const Random random_;
  const torch::Device device_;
  std::filesystem::path checkpoint_path_, metrics_path_;
  int64_t batches_ = 0;
  int64_t highest_label_ = -1;
  std::vector<double> base_rates_;

  // What a checkpoint holds, with the module and the optimizer.
  History history_;
  bool finished_ = false;
  int64_t batch_ = 0;  // steps done in the epoch under way, and its sums so far
  double loss_sum_ = 0;
  int64_t seen_ = 0, correct_ = 0, counted_ = 0;
  double seconds_ = 0;
  std::map<std::string, torch::Tensor> best_;

  Clock::time_point start_;  // of the time not yet in seconds_
};

}  // namespace

double History::seconds() const {
  double sum = 0;
  for (const Epoch& e : epochs) sum += e.seconds;
  return sum;
}

std::vector<double> History::values(double Epoch::*column) const {
  std::vector<double> result;
  for (const Epoch& e : epochs) result.push_back(e.*column);
  return result;
}

History train_classifier(const Forward& forward, torch::nn::Module& module, torch::optim::Optimizer& optimizer,
                         const Examples& train, const Examples& validation, const TrainOptions& options) {
  use_threads(threads());
  return Trainer(forward, module, optimizer, train, validation, options).run();
}

Evaluation evaluate(const Forward& forward, torch::nn::Module& module, const Examples& examples, int batch,
                    const Loss& loss) {
  check_examples(examples, "evaluation");
  require(batch >= 1, "a batch must hold at least one sample, got {}", batch);
  const torch::NoGradGuard no_grad;
  const ModeGuard mode(module);
  module.eval();
  const torch::Device device = device_of(module);
  std::vector<torch::Tensor> outputs;
  double loss_sum = 0;
  for (int64_t begin = 0; begin < examples.size(); begin += batch) {
    const int64_t end = std::min<int64_t>(begin + batch, examples.size());
    const torch::Tensor targets = examples.targets.slice(0, begin, end).to(device);
    const torch::Tensor output = forward(as_inputs(examples.inputs.slice(0, begin, end), device));
    if (!loss) check_logits(output, end - begin, are_classes(targets) ? targets.max().item<int64_t>() : -1);
    loss_sum += loss_of(loss, output, targets).item<double>() * double(end - begin);
    outputs.push_back(output.cpu());
  }
  Evaluation result{.loss = loss_sum / double(examples.size()), .accuracy = kNan, .outputs = torch::cat(outputs)};
  if (are_classes(examples.targets) && result.outputs.dim() == 2) {
    const torch::Tensor labels = examples.targets.cpu();
    result.predictions = result.outputs.argmax(1);
    result.accuracy = double(result.predictions.eq(labels).sum().item<int64_t>()) / double(examples.size());
    result.confusion = confusion_matrix(labels, result.predictions, result.outputs.size(1));
  }
  return result;
}

torch::Tensor confusion_matrix(const torch::Tensor& labels, const torch::Tensor& predictions, int64_t classes) {
  require(are_classes(labels) && are_classes(predictions) && labels.size(0) == predictions.size(0),
          "a confusion matrix needs as many labels as predictions, both int64 [N]");
  require(classes >= 1, "a confusion matrix needs at least one class, got {}", classes);
  if (labels.size(0)) {
    for (const torch::Tensor& t : {labels, predictions})
      require(t.min().item<int64_t>() >= 0 && t.max().item<int64_t>() < classes, "a class is not in [0, {})", classes);
  }
  return torch::bincount(labels * classes + predictions, {}, classes * classes).reshape({classes, classes});
}

int64_t count_parameters(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const auto& parameter : module.parameters())
    if (parameter.requires_grad()) count += parameter.numel();
  return count;
}

void use_threads(int count) {
  set_threads(count);
  torch::set_num_threads(count);
}

}  // namespace quanta
