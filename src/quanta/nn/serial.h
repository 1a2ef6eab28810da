#pragma once

#include <torch/torch.h>

#include "quanta/core/machine.h"
#include "quanta/core/parallel.h"

namespace quanta {

/// While it lives, LibTorch and OpenBLAS compute with one thread, and parallel_for() keeps its number of them: for
/// loops whose bodies call LibTorch. Results then do not depend on how LibTorch would have split its work.
class SerialTorch {
 public:
  SerialTorch() : threads_(torch::get_num_threads()) {
    set_threads(threads());  // LibTorch's number is OpenMP's too, which parallel_for() goes by until it is told
    torch::set_num_threads(1);
  }
  ~SerialTorch() { torch::set_num_threads(threads_); }
  SerialTorch(const SerialTorch&) = delete;
  SerialTorch& operator=(const SerialTorch&) = delete;

 private:
  int threads_;
  SingleThreadedBlas blas_;
};

}  // namespace quanta
