#include "quanta/quantize/stored_transform.h"

#include <utility>

#include "quanta/core/error.h"
#include "quanta/quantize/dynamic_affine.h"
#include "quanta/quantize/hadamard.h"

namespace quanta {
namespace {

std::shared_ptr<StoredTransform> stored(const Slot& slot) {
  const auto transform = slot.as<StoredTransform>();
  require(transform || !slot,
          "a slot holds a transform that cannot be kept in a file (an observer?): take it out first");
  return transform;
}

std::shared_ptr<StoredTransform> join(const std::shared_ptr<StoredTransform>& a,
                                      const std::shared_ptr<StoredTransform>& b) {
  std::vector<std::shared_ptr<StoredTransform>> links;
  for (const auto& part : {a, b})
    if (const auto chain = std::dynamic_pointer_cast<TransformChain>(part))
      links.insert(links.end(), chain->links().begin(), chain->links().end());
    else if (part)
      links.push_back(part);
  if (links.size() < 2) return links.empty() ? nullptr : links.front();
  return std::make_shared<TransformChain>(std::move(links));
}

}  // namespace

std::shared_ptr<StoredTransform> make_transform(const nlohmann::json& spec) {
  require(spec.is_object() && spec.contains("kind") && spec["kind"].is_string(),
          "the description of a transform is {}, expected an object with a text 'kind'", spec.dump());
  const std::string kind = spec["kind"];
  try {
    if (kind == "hadamard")
      return std::make_shared<HadamardTransform>(spec.at("size"), spec.value("stride", int64_t{1}));
    if (kind == "dynamic")
      return std::make_shared<DynamicAffine>(
          DynamicAffineOptions{.bits = spec.at("bits"), .symmetric = spec.value("symmetric", false)});
    if (kind == "chain") {
      std::vector<std::shared_ptr<StoredTransform>> links;
      for (const auto& link : spec.at("links")) links.push_back(make_transform(link));
      return std::make_shared<TransformChain>(std::move(links));
    }
  } catch (const nlohmann::json::exception& error) {
    fail("the description of a transform, {}, is not right: {}", spec.dump(), error.what());
  }
  fail("unknown transform '{}', expected hadamard, dynamic or chain", kind);
}

nlohmann::json spec_of(const Slot& slot) {
  const auto transform = stored(slot);
  return transform ? transform->spec() : nlohmann::json();
}

TransformChain::TransformChain(std::vector<std::shared_ptr<StoredTransform>> links) : links_(std::move(links)) {
  for (size_t i = 0; i < links_.size(); ++i) register_module(std::to_string(i), links_[i]);
}

torch::Tensor TransformChain::forward(const torch::Tensor& x) {
  torch::Tensor y = x;
  for (const auto& link : links_) y = link->forward(y);
  return y;
}

std::shared_ptr<TensorTransform> TransformChain::copy() const {
  std::vector<std::shared_ptr<StoredTransform>> links;
  for (const auto& link : links_) links.push_back(std::dynamic_pointer_cast<StoredTransform>(link->copy()));
  return std::make_shared<TransformChain>(std::move(links));
}

nlohmann::json TransformChain::spec() const {
  nlohmann::json links = nlohmann::json::array();
  for (const auto& link : links_) links.push_back(link->spec());
  return {{"kind", "chain"}, {"links", std::move(links)}};
}

std::shared_ptr<StoredTransform> before(std::shared_ptr<StoredTransform> first, const Slot& slot) {
  return join(first, stored(slot));
}
std::shared_ptr<StoredTransform> after(const Slot& slot, std::shared_ptr<StoredTransform> last) {
  return join(stored(slot), last);
}

}  // namespace quanta
