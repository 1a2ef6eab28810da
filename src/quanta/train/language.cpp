#include "quanta/train/language.h"

#include <fmt/ranges.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/progress.h"
#include "quanta/core/random.h"
#include "quanta/core/signal.h"
#include "quanta/data/text_data.h"
#include "quanta/models/evaluate_text.h"
#include "quanta/nn/serial.h"
#include "quanta/train/checkpoint.h"
#include "quanta/train/metrics_file.h"

namespace quanta {
namespace {

using nlohmann::json;
using torch::Tensor;
using Clock = std::chrono::steady_clock;

constexpr int64_t kShardTokens = 1024;  // fixed, so that results do not depend on the number of threads

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

json to_json(const LanguageProgress& row) {
  const auto number = [](double value) { return std::isfinite(value) ? json(value) : json(nullptr); };
  return {{"step", row.step},
          {"loss", number(row.loss)},
          {"rate", row.rate},
          {"gradient", number(row.gradient)},
          {"val_loss", number(row.val_loss)},
          {"tokens_per_second", row.tokens_per_second}};
}

LanguageProgress to_row(const json& j) {
  const auto number = [&](const char* key) {
    return j.at(key).is_null() ? std::numeric_limits<double>::quiet_NaN() : j.at(key).get<double>();
  };
  return {.step = j.at("step"),
          .loss = number("loss"),
          .rate = number("rate"),
          .gradient = number("gradient"),
          .val_loss = number("val_loss"),
          .tokens_per_second = number("tokens_per_second")};
}

std::vector<torch::optim::OptimizerParamGroup> parameter_groups(const LanguageModelImpl& model,
                                                                const LanguageTraining& training) {
  std::vector<Tensor> decayed, others;
  for (const Tensor& p : model.parameters()) (p.dim() >= 2 ? decayed : others).push_back(p);
  const auto options = [&](double decay) {
    return std::make_unique<torch::optim::AdamWOptions>(
        torch::optim::AdamWOptions(training.rate).betas({training.beta1, training.beta2}).weight_decay(decay));
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(decayed, options(training.weight_decay));
  groups.emplace_back(others, options(0));
  return groups;
}

class LanguageTrainer {
 public:
  LanguageTrainer(LanguageModel model, const Tensor& tokens, const Tensor& validation, const LanguageTraining& training)
      : model_(std::move(model)),
        tokens_(tokens),
        validation_(validation),
        training_(training),
        parameters_(model_->parameters()),
        optimizer_(parameter_groups(*model_, training)),
        random_(training.seed) {
    require(training.steps >= 1 && training.batch >= 1 && training.length >= 1 && training.report_every >= 1,
            "steps, batch and length must be at least 1, got {}, {} and {}", training.steps, training.batch,
            training.length);
    require(tokens.dim() <= 2 && tokens.numel() > 0, "the training text is empty");
    require(tokens.dim() == 2 ? tokens.size(1) >= 2 : tokens.numel() > training.length,
            "the training text has {} tokens, fewer than a window of {}: take a longer text or shorter sequences",
            tokens.numel(), training.length + 1);
    const auto check_ids = [&](const Tensor& ids, const char* what) {
      const int64_t least = ids.min().item<int64_t>(), most = ids.max().item<int64_t>();
      require(least >= 0 && most < model_->config().vocabulary,
              "the {} text has a token {}, outside the model's vocabulary of {}", what, least < 0 ? least : most,
              model_->config().vocabulary);
    };
    check_ids(tokens, "training");
    if (validation.defined()) check_ids(validation, "validation");
    if (!training.out.empty()) {
      checkpoint_path_ = training.out / checkpoint_name(training.label);
      metrics_path_ = training.out / "metrics.jsonl";
    }
  }

  LanguageHistory run() {
    const SerialTorch serial;  // the shards are what runs in parallel
    if (!training_.out.empty()) {
      make_directory(training_.out);
      if (training_.resume && std::filesystem::exists(checkpoint_path_))
        load();
      else
        std::filesystem::remove(checkpoint_path_);
      write_metrics();
    }
    model_->train();
    train();
    model_->eval();
    return history_;
  }

 private:
  void train() {
    const InterruptGuard guard;
    Progress progress(training_.steps * tokens_a_step(), training_.label, "tokens", step_ * tokens_a_step());
    mark();
    saved_ = Clock::now();
    while (step_ < training_.steps && !history_.interrupted) {
      step();
      const bool done = step_ == training_.steps;
      if (done || step_ % training_.report_every == 0) report();
      progress.update(step_ * tokens_a_step(), status());
      history_.interrupted = !done && interrupted();
      if (done || history_.interrupted || seconds_since(saved_) >= training_.checkpoint_seconds) save();
    }
    if (!history_.interrupted) progress.finish();
  }

  int64_t tokens_a_step() const {
    return training_.batch * (tokens_.dim() == 2 ? tokens_.size(1) - 1 : training_.length);
  }

  /// The sequences of a step: [batch, T + 1].
  Tensor sequences() const {
    Random random = random_.split("step").split(uint64_t(step_));
    const int64_t span = training_.length + 1;
    const int64_t choices = tokens_.dim() == 2 ? tokens_.size(0) : tokens_.numel() - span + 1;
    std::vector<Tensor> drawn;
    for (int64_t i = 0; i < training_.batch; ++i) {
      const int64_t at = int64_t(random.below(uint64_t(choices)));
      drawn.push_back(tokens_.dim() == 2 ? tokens_[at] : tokens_.narrow(0, at, span));
    }
    return torch::stack(drawn);
  }

  void step() {
    const Tensor all = sequences();
    const int64_t batch = training_.batch, T = all.size(1) - 1;
    const int64_t shards = std::clamp<int64_t>(batch * T / kShardTokens, 1, batch);
    std::vector<std::vector<Tensor>> gradients(static_cast<size_t>(shards));
    std::vector<double> losses(static_cast<size_t>(shards));
    parallel_for(shards, 1, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        const Tensor part = all.slice(0, batch * s / shards, batch * (s + 1) / shards);
        const Tensor loss = torch::cross_entropy_loss(model_->forward(part.slice(1, 0, T)).flatten(0, 1),
                                                      part.slice(1, 1).flatten(), {}, at::Reduction::Sum) /
                            double(batch * T);
        losses[size_t(s)] = loss.item<double>();
        gradients[size_t(s)] = torch::autograd::grad({loss}, parameters_);
      }
    });
    double loss = 0;
    for (const double part : losses) loss += part;
    require(std::isfinite(loss), "{}: the loss became {} at step {}; try a lower learning rate", training_.label, loss,
            step_ + 1);
    for (size_t p = 0; p < parameters_.size(); ++p) {
      for (size_t s = 1; s < gradients.size(); ++s) gradients[0][p].add_(gradients[s][p]);
      parameters_[p].mutable_grad() = gradients[0][p];
    }
    gradient_ = torch::nn::utils::clip_grad_norm_(
        parameters_, training_.clip > 0 ? training_.clip : double(std::numeric_limits<float>::max()));
    rate_ = training_.rate * training_.schedule.factor(step_, training_.steps);
    for (auto& group : optimizer_.param_groups()) group.options().set_lr(rate_);
    optimizer_.step();
    loss_sum_ += loss;
    ++loss_steps_;
    ++step_;
  }

  void report() {
    LanguageProgress row{.step = step_, .loss = loss_sum_ / double(loss_steps_), .rate = rate_, .gradient = gradient_};
    row.tokens_per_second = double((step_ - marked_step_) * tokens_a_step()) / seconds_since(marked_);
    if (validation_.defined()) row.val_loss = score_sequences(model_, validation_).mean();
    history_.rows.push_back(row);
    loss_sum_ = 0;
    loss_steps_ = 0;
    mark();
    write_metrics();
  }

  void mark() {
    marked_step_ = step_;
    marked_ = Clock::now();
  }

  std::string status() const {
    std::string text = fmt::format("step {}/{}", step_, training_.steps);
    if (!history_.rows.empty()) text += fmt::format(" loss {:.4f}", history_.rows.back().loss);
    if (!history_.rows.empty() && std::isfinite(history_.rows.back().val_loss))
      text += fmt::format(" validation {:.4f}", history_.rows.back().val_loss);
    return text;
  }

  void write_metrics() const {
    if (metrics_path_.empty()) return;
    std::vector<json> rows;
    for (const LanguageProgress& row : history_.rows) rows.push_back(to_json(row));
    quanta::write_metrics(metrics_path_, training_.label, rows);
  }

  json settings() const {
    json settings = settings_of(training_);
    settings["model"] = model_->config().to_json().dump();
    settings["text"] = tokens_hash(tokens_);
    settings["config"] = training_.config;
    return settings;
  }

  void save() {
    history_.seconds += seconds_since(saved_);
    saved_ = Clock::now();
    if (checkpoint_path_.empty()) return;
    json rows = json::array();
    for (const LanguageProgress& row : history_.rows) rows.push_back(to_json(row));
    save_checkpoint(checkpoint_path_, *model_, optimizer_,
                    {.state = {{"settings", settings()},
                               {"rows", rows},
                               {"step", step_},
                               {"loss_steps", loss_steps_},
                               {"loss_sum", loss_sum_},
                               {"seconds", history_.seconds}}});
  }

  void load() {
    try {
      require_same_settings(checkpoint_path_, read_checkpoint_state(checkpoint_path_).at("settings"), settings());
      const json state = load_checkpoint(checkpoint_path_, *model_, optimizer_).state;
      for (const json& row : state.at("rows")) history_.rows.push_back(to_row(row));
      step_ = state.at("step");
      loss_steps_ = state.at("loss_steps");
      loss_sum_ = state.at("loss_sum");
      history_.seconds = state.at("seconds");
      history_.resumed = true;
    } catch (const json::exception& error) {
      fail("{} is damaged: {}", checkpoint_path_.string(), error.what());
    }
  }

  LanguageModel model_;
  const Tensor &tokens_, &validation_;
  const LanguageTraining& training_;
  std::vector<Tensor> parameters_;
  torch::optim::AdamW optimizer_;
  const Random random_;
  std::filesystem::path checkpoint_path_, metrics_path_;

  // What a checkpoint holds, with the model and the optimizer.
  LanguageHistory history_;
  int64_t step_ = 0, loss_steps_ = 0;
  double loss_sum_ = 0;

  double rate_ = 0, gradient_ = 0;  // of the last step
  int64_t marked_step_ = 0;
  Clock::time_point marked_, saved_;
};

}  // namespace

double RateSchedule::factor(int64_t step, int64_t steps) const {
  require(
      warmup >= 0 && warmup < 1 && decay >= 0 && last >= 0,
      "a schedule's warm-up is a share in [0, 1), its decay and its last factor are not negative, got {}, {} and {}",
      warmup, decay, last);
  const auto half_cosine = [](double from, double to, double share) {
    return to + (from - to) * (0.5 + 0.5 * std::cos(std::numbers::pi * share));
  };
  const double rise = warmup * double(steps);
  if (kind == Kind::OneCycle) {  // its ends are reached at the last step of each part
    const double peak = std::max(rise - 1, 0.0);
    if (double(step) <= peak) return peak > 0 ? half_cosine(1.0 / 25, 1, double(step) / peak) : 1;
    return half_cosine(1, last, (double(step) - peak) / (double(steps - 1) - peak));
  }
  if (double(step) < rise) return double(step + 1) / (rise + 1);
  const double length = kind == Kind::Wsd ? decay * double(steps) : double(steps) - rise;
  const double share = length > 0 ? std::max(0.0, (double(step) - (double(steps) - length)) / length) : 0;
  switch (kind) {
    case Kind::Linear:
      return 1 + (last - 1) * share;
    case Kind::Cosine:
      return half_cosine(1, last, share);
    case Kind::Wsd:
      return fall == Fall::Cosine ? half_cosine(1, last, share)
                                  : 1 + (last - 1) * (fall == Fall::Linear ? share : std::sqrt(share));
    default:
      return 1;
  }
}

json settings_of(const LanguageTraining& t) {
  const RateSchedule& s = t.schedule;
  return {{"steps", t.steps},
          {"batch", t.batch},
          {"length", t.length},
          {"rate", t.rate},
          {"betas", {t.beta1, t.beta2}},
          {"weight decay", t.weight_decay},
          {"clip", t.clip},
          {"schedule", {int(s.kind), s.warmup, s.last, s.decay, int(s.fall)}},
          {"seed", t.seed},
          {"report interval", t.report_every}};
}

LanguageHistory train_language(LanguageModel model, const Tensor& tokens, const Tensor& validation,
                               const LanguageTraining& training) {
  return LanguageTrainer(std::move(model), tokens, validation, training).run();
}

LanguageConfig LanguagePreset::config(int64_t vocabulary) const {
  return LanguageConfig::llama(vocabulary, width, inner, layers, heads, 2 * training.length);
}

const std::vector<LanguagePreset>& language_presets() {
  static const std::vector<LanguagePreset> all = {
      {"pico", 2, 64, 2, 192, {.steps = 400, .batch = 16, .length = 128, .rate = 3e-3}},
      {"nano", 4, 128, 4, 384, {.steps = 400, .batch = 16, .length = 128, .rate = 2e-3}},
      {"micro", 6, 256, 8, 768, {.steps = 3000, .batch = 32, .length = 256, .rate = 1e-3}},
  };
  return all;
}

const LanguagePreset& language_preset(std::string_view name) {
  std::vector<std::string> names;
  for (const LanguagePreset& preset : language_presets()) {
    if (preset.name == name) return preset;
    names.push_back(preset.name);
  }
  throw UsageError(fmt::format("unknown model '{}'; known: {}", name, fmt::join(names, ", ")));
}

}  // namespace quanta
