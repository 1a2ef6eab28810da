#include "quanta/nn/quanv2d.h"

#include "quanta/core/error.h"

namespace quanta {

Circuit quanv_circuit(const Quanv2dOptions& options) {
  require(options.kernel >= 1 && options.stride >= 1 && options.in_channels >= 1 && options.layers >= 0,
          "Quanv2d: kernel, stride and channels must be at least 1 and layers at least 0, got {}, {}, {} and {}",
          options.kernel, options.stride, options.in_channels, options.layers);
  constexpr int64_t kMaxQubits = 12;
  const int64_t qubits = int64_t{options.kernel} * options.kernel * options.in_channels;
  require(qubits <= kMaxQubits, "Quanv2d: a {0}x{0} kernel on {1} channels needs {2} qubits, at most {3} are allowed",
          options.kernel, options.in_channels, qubits, kMaxQubits);
  const int n = int(qubits);
  Circuit c(n);
  for (int q = 0; q < n; ++q) c.rx(q, std::numbers::pi * input(q));
  for (int layer = 0; layer < options.layers; ++layer) {
    for (int q = 0; q < n; ++q) c.rx(q, weight());
    for (int q = 0; q < n && n > 1; ++q) c.cnot(q, (q + 1) % n);
  }
  return c;
}

Quanv2dImpl::Quanv2dImpl(const Quanv2dOptions& options) : options_(options) {
  reset();
}

void Quanv2dImpl::reset() {
  const Circuit patch = quanv_circuit(options_);
  circuit = register_module("circuit", QuantumLayer(patch, each('Z', patch.wires()),
                                                    QuantumLayerOptions{.init = AngleInit::uniform(0, std::numbers::pi),
                                                                        .seed = options_.seed,
                                                                        .trainable = options_.trainable,
                                                                        .name = "Quanv2d"}));
}

void Quanv2dImpl::pretty_print(std::ostream& stream) const {
  stream << fmt::format("Quanv2d({} channels, {}x{} patches, stride {}, {} layers)", options_.in_channels,
                        options_.kernel, options_.kernel, options_.stride, options_.layers);
}

torch::Tensor Quanv2dImpl::forward(const torch::Tensor& images) {
  const int64_t k = options_.kernel, s = options_.stride, channels = options_.in_channels;
  require(images.dim() == 4 && images.size(1) == channels, "Quanv2d: expected [batch, {}, height, width], got [{}]",
          channels, fmt::join(images.sizes(), ", "));
  const int64_t batch = images.size(0), height = images.size(2), width = images.size(3);
  require(height >= k && width >= k, "Quanv2d: the image ({}x{}) is smaller than the kernel ({}x{})", height, width, k,
          k);
  require(!options_.strict || ((height - k) % s == 0 && (width - k) % s == 0),
          "Quanv2d: {}x{} patches with stride {} do not cover a {}x{} image: pad or crop it, or set strict = false", k,
          k, s, height, width);
  const auto patches = images.unfold(2, k, s).unfold(3, k, s);  // [batch, channels, rows, columns, k, k]
  const int64_t rows = patches.size(2), columns = patches.size(3);
  const auto pixels = patches.permute({0, 2, 3, 1, 4, 5}).reshape({batch, rows, columns, channels * k * k});
  return circuit->forward(pixels).permute({0, 3, 1, 2});
}

}  // namespace quanta
