#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "quanta/models/language_model.h"

namespace quanta {

/// Shows what goes into some of a block's linear layers, as their weights see it. In their input slots while it lives;
/// the block may run on several threads.
class InputTaps {
 public:
  InputTaps(DecoderBlock& block, const std::vector<std::string>& paths);
  ~InputTaps();
  InputTaps(const InputTaps&) = delete;
  InputTaps& operator=(const InputTaps&) = delete;

  /// The inputs of the layers, in the order of the paths, when `run` runs the block on this thread (detached).
  std::vector<torch::Tensor> listen(const std::function<void()>& run) const;

 private:
  std::vector<std::pair<std::shared_ptr<QuantizableLayer>, std::shared_ptr<TensorTransform>>> held_;
};

}  // namespace quanta
