#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>

namespace quanta {

/// The hidden states of all calibration sequences at one place of a model, [sequences, length, width] float32, in a
/// file. The system keeps as much of it in memory as nobody else needs, so that the sequences' number is bounded by the
/// disk alone and a killed job finds them again. get() and set() may be called from several threads for different
/// sequences. The file is a safetensors file with the tensor "h".
class ActivationStore {
 public:
  /// A new one, under a hidden name until finish(). Error if the disk has no room for it.
  ActivationStore(std::filesystem::path path, int64_t sequences, int64_t length, int64_t width);
  /// One that was finished. Error if the file is damaged.
  static ActivationStore open(const std::filesystem::path& path);
  ActivationStore(ActivationStore&&) noexcept;
  ActivationStore& operator=(ActivationStore&&) noexcept;
  ~ActivationStore();

  int64_t sequences() const;
  int64_t length() const;
  int64_t width() const;

  torch::Tensor get(int64_t first, int64_t count = 1) const;  ///< [count, length, width]
  void set(int64_t first, const torch::Tensor& h);            ///< h [count, length, width]
  /// Gives the file its name: from now on open() finds it.
  void finish();

  /// Bytes of the file.
  static int64_t bytes(int64_t sequences, int64_t length, int64_t width);

 private:
  struct Impl;
  explicit ActivationStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace quanta
