#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quanta/nn/transform.h"

namespace quanta {

/// A transform that an artifact can keep: spec() says what it is, its parameters and buffers are its tensors.
class StoredTransform : public TensorTransform {
 public:
  /// {"kind": ..., what make_transform() needs to build one with tensors of the same names and shapes}.
  virtual nlohmann::json spec() const = 0;
};

/// The transform that a spec() describes; the values of its tensors are to be copied in. Error for a kind or an entry
/// that is not known, a missing entry, or a value out of range.
std::shared_ptr<StoredTransform> make_transform(const nlohmann::json& spec);

/// The spec() of what a slot holds; null for an empty slot. Error if its transform cannot be kept.
nlohmann::json spec_of(const Slot& slot);

/// Several transforms in one slot, the first one first; registered as "0", "1" ...
class TransformChain : public StoredTransform {
 public:
  explicit TransformChain(std::vector<std::shared_ptr<StoredTransform>> links);
  torch::Tensor forward(const torch::Tensor& x) override;
  std::shared_ptr<TensorTransform> copy() const override;
  nlohmann::json spec() const override;  ///< {"kind": "chain", "links": [...]}
  const std::vector<std::shared_ptr<StoredTransform>>& links() const { return links_; }

 private:
  std::vector<std::shared_ptr<StoredTransform>> links_;
};

/// `first` and then what the slot held; the slot's transform must be one that can be kept. Null if both are.
std::shared_ptr<StoredTransform> before(std::shared_ptr<StoredTransform> first, const Slot& slot);
/// What the slot held and then `last`.
std::shared_ptr<StoredTransform> after(const Slot& slot, std::shared_ptr<StoredTransform> last);

}  // namespace quanta
