#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "quanta/quantize/stored_transform.h"

namespace quanta {

/// Channel reassembly (QLLM, arXiv 2310.08041, section 4.1): a linear layer's input channels of huge magnitude are
/// split into sub-channels, and similar channels are merged so that the width stays. Sub-channel k of channel i carries
/// x_i / repeat_i and the weight column W_i, so splitting alone changes no output; a group of n sub-channels carries
/// the mean of their activations and the sum of their columns. Kind "reassembly"; its spec() is the whole of it.
class Reassembly : public StoredTransform {
 public:
  /// `repeat` [C]: sub-channels of each channel, at least 1, adjacent to each other. `group` [sum of repeat]: the
  /// output channel of each sub-channel, numbered in the order of their first sub-channels, or -1 for one that is
  /// dropped.
  Reassembly(std::vector<int64_t> repeat, std::vector<int64_t> group);
  static std::shared_ptr<Reassembly> identity(int64_t channels);
  /// Error for a spec() whose entries are missing or out of range.
  static std::shared_ptr<Reassembly> from_spec(const nlohmann::json& spec);

  torch::Tensor forward(const torch::Tensor& x) override;         ///< [..., C] -> [..., width()]
  torch::Tensor apply_weight(const torch::Tensor& weight) const;  ///< [N, C] -> [N, width()]
  torch::Tensor matrix() const;                                   ///< [width(), C]: forward(x) = x M^T
  std::shared_ptr<TensorTransform> copy() const override;
  nlohmann::json spec() const override;

  int64_t channels() const { return int64_t(repeat_.size()); }           ///< C
  int64_t width() const { return lead_.size(0); }                        ///< = C but for disassembly alone
  int64_t added() const { return int64_t(group_.size()) - channels(); }  ///< sub-channels more than channels
  const std::vector<int64_t>& repeat() const { return repeat_; }
  const std::vector<int64_t>& group() const { return group_; }

 private:
  std::vector<int64_t> repeat_, group_;
  // Each output channel begins with its first member, channel lead_, times lead_factor_; the others are added.
  torch::Tensor lead_, lead_factor_;
  torch::Tensor more_, more_factor_, more_group_;
};

/// T_i = max(1, ceil(m_i / theta)) of the channels' largest magnitudes m [C]. Error: theta <= 0, m not finite.
std::vector<int64_t> disassemble(const torch::Tensor& magnitudes, double theta);

/// Which pairs of channels are alike.
enum class MergeScore {
  Exact,     ///< the output's squared change, ||x_i - x_j||^2 ||W_i - W_j||^2 / 4
  Released,  ///< of the published code: ((sum W_i + sum W_j) ||x_i - x_j||)^2
};
/// The cost [C, C] (float64) of merging each pair of channels: x [..., C] a sample of activations, weight [N, C] the
/// rows of all layers that read it.
torch::Tensor merge_costs(const torch::Tensor& x, const torch::Tensor& weight, MergeScore score = MergeScore::Exact);

/// Merges the sub-channels that splitting added away again: of the pairs of an even and an odd place with the least
/// cost an even place, the cheapest. Split channels are not merged. Error: fewer such pairs than added sub-channels.
std::shared_ptr<Reassembly> assemble(const std::vector<int64_t>& repeat, const torch::Tensor& costs);
/// How many assemble() can merge.
int64_t mergeable(const std::vector<int64_t>& repeat);
/// For comparison: as many unsplit channels are dropped instead, those of least ||x_i|| ||W_i||.
std::shared_ptr<Reassembly> prune(const std::vector<int64_t>& repeat, const torch::Tensor& x,
                                  const torch::Tensor& weight);
/// For comparison: nothing is merged, the width grows.
std::shared_ptr<Reassembly> widen(const std::vector<int64_t>& repeat);

/// A threshold and what it splits.
struct Disassembly {
  double theta = 0;
  std::vector<int64_t> repeat{};
  int64_t added = 0;  ///< sub-channels more than channels
};
/// For every number of added sub-channels from 1 to `most` that occurs the first threshold of the grid max m - k (max m
/// - min m) / n, n = max(100, floor(max m / 0.5)), k = 0, 1 ... that gives it.
std::vector<Disassembly> thresholds(const torch::Tensor& magnitudes, int64_t most);

struct ReassemblyChoice {
  std::shared_ptr<Reassembly> plan{};
  double theta = 0;          ///< the largest magnitude if nothing is split
  double loss = 0;           ///< of `plan`
  double baseline_loss = 0;  ///< of leaving all as it is
};
/// The candidate of least loss, or the identity if that is no worse than any.
ReassemblyChoice search_reassembly(
    const torch::Tensor& magnitudes, const std::vector<Disassembly>& candidates,
    const std::function<std::shared_ptr<Reassembly>(const std::vector<int64_t>& repeat)>& plan,
    const std::function<double(const std::shared_ptr<Reassembly>& plan)>& loss);

}  // namespace quanta
