#pragma once

#include <torch/torch.h>

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace quanta {

/// A network: inputs [batch, ...] -> outputs, for a classifier logits [batch, classes].
using Forward = std::function<torch::Tensor(const torch::Tensor& inputs)>;

/// outputs, targets -> a scalar, the mean over the batch.
using Loss = std::function<torch::Tensor(const torch::Tensor& outputs, const torch::Tensor& targets)>;

/// Changes the inputs [batch, ...] of one training step; they are a copy and may be changed in place. `ids` (int64
/// [batch]) are the samples' indices in the training set, `epoch` counts from 0. Draw from streams that depend on the
/// seed, the sample and the epoch alone, as augment() of data/transform.h does.
using Augment = std::function<torch::Tensor(torch::Tensor inputs, const torch::Tensor& ids, int64_t epoch)>;

/// Inputs [N, ...] and targets [N, ...]. uint8 inputs are images: each batch becomes float32 in [0, 1]. A classifier's
/// targets are int64 [N].
struct Examples {
  torch::Tensor inputs{};
  torch::Tensor targets{};

  int64_t size() const { return inputs.defined() ? inputs.size(0) : 0; }
};

struct TrainOptions {
  int epochs = 1;
  int batch = 32;  ///< samples a step; the last batch holds the rest, and a rest of 1 joins the batch before it
  uint64_t seed = 0;
  int patience = 0;      ///< stop after so many epochs without a lower validation loss and restore the best; 0: off
  double clip = 0;       ///< largest norm of the whole gradient; 0: no clipping
  int eval_batch = 256;  ///< samples a step in validation

  Loss loss{};        ///< empty: cross-entropy of logits
  Augment augment{};  ///< empty: none
  /// The learning rate's factor at a step in [0, steps); steps = epochs * batches. Empty: always 1.
  std::function<double(int64_t step, int64_t steps)> schedule{};

  /// Folder for metrics.jsonl and <label>.checkpoint.safetensors; empty: neither is written. Several trainings may
  /// share a folder, one after the other, under different labels.
  std::filesystem::path out{};
  std::string label = "train";     ///< names the training in the progress bar, the metrics and the checkpoint's file
  bool resume = false;             ///< go on from the checkpoint if there is one
  std::string config{};            ///< all else that fixes the result; a checkpoint made under another text is refused
  double checkpoint_seconds = 30;  ///< within an epoch, save this often; an epoch's end always saves
};

struct Epoch {
  int epoch = 0;              ///< from 1
  double train_loss = 0;      ///< mean over the epoch's samples while the weights changed
  double train_accuracy = 0;  ///< likewise; NaN if the targets are no classes
  double val_loss = std::numeric_limits<double>::quiet_NaN();  ///< NaN without a validation set
  double val_accuracy = std::numeric_limits<double>::quiet_NaN();
  double seconds = 0;
};

struct History {
  std::vector<Epoch> epochs{};  ///< those that were completed
  int best_epoch = 0;           ///< with the lowest validation loss; 0 without a validation set
  bool stopped_early = false;
  bool interrupted = false;  ///< SIGINT or SIGTERM came; the state was saved if options.out is given
  bool resumed = false;

  double seconds() const;
  /// One column, for a plot: values(&Epoch::val_loss).
  std::vector<double> values(double Epoch::*column) const;
};

/// Trains `module`, the owner of what `forward` uses, with `optimizer`, which must hold the module's parameters only.
/// `validation` may be empty. Batches come in an order that depends on the seed and the epoch; LibTorch's own generator
/// (dropout) is seeded anew for every step, and after the last. So a run that was killed or interrupted anywhere and
/// then resumed ends with the same bits as an unbroken one, given the same number of threads. Throws Error for empty or
/// ill-matched data, a loss that is not finite, and a checkpoint that does not fit.
History train_classifier(const Forward& forward, torch::nn::Module& module, torch::optim::Optimizer& optimizer,
                         const Examples& train, const Examples& validation, const TrainOptions& options);

/// The same for a module or a module holder (torch::nn::Sequential, MyNet) with forward(Tensor) -> Tensor.
template <class Net>
requires requires(Net& net, torch::Tensor x) {
  { net->forward(x) } -> std::convertible_to<torch::Tensor>;
}
History train_classifier(Net& net, torch::optim::Optimizer& optimizer, const Examples& train,
                         const Examples& validation, const TrainOptions& options) {
  return train_classifier([&](const torch::Tensor& x) { return net->forward(x); }, *net, optimizer, train, validation,
                          options);
}

struct Evaluation {
  double loss = 0;
  double accuracy = 0;          ///< in [0, 1]; NaN if the targets are no classes
  torch::Tensor outputs{};      ///< [N, ...], on the CPU
  torch::Tensor predictions{};  ///< int64 [N]; undefined if the targets are no classes
  torch::Tensor confusion{};    ///< int64 [classes, classes], row: true class, column: prediction; likewise
};

/// In evaluation mode without gradients; the module's mode is put back. `loss` empty: cross-entropy.
Evaluation evaluate(const Forward& forward, torch::nn::Module& module, const Examples& examples, int batch = 256,
                    const Loss& loss = {});

template <class Net>
requires requires(Net& net, torch::Tensor x) {
  { net->forward(x) } -> std::convertible_to<torch::Tensor>;
}
Evaluation evaluate(Net& net, const Examples& examples, int batch = 256, const Loss& loss = {}) {
  return evaluate([&](const torch::Tensor& x) { return net->forward(x); }, *net, examples, batch, loss);
}

/// Counts of (true class, prediction): int64 [classes, classes]. Labels int64 [N] in [0, classes).
torch::Tensor confusion_matrix(const torch::Tensor& labels, const torch::Tensor& predictions, int64_t classes);

/// Number of trainable values; frozen parameters do not count.
int64_t count_parameters(const torch::nn::Module& module);

/// Sets the threads of parallel_for and of LibTorch, which runs one unless it is told.
void use_threads(int count);

}  // namespace quanta
