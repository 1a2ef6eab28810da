#pragma once

#include <map>
#include <string>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/text.h"

namespace quanta {

/// The tensor of that name in a file's list. Throws Error, naming the file and the nearest tensor, if there is none.
template <class Tensor>
const Tensor& tensor_at(const std::map<std::string, Tensor>& tensors, const std::string& name,
                        const std::string& file) {
  const auto found = tensors.find(name);
  if (found != tensors.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, tensor] : tensors) names.push_back(known);
  require(!names.empty(), "{}: no tensor {}: the file holds none", file, printable(name));
  fail("{}: no tensor {}; nearest: {}", file, printable(name), printable(nearest(name, names)));
}

}  // namespace quanta
