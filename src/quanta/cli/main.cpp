#include "quanta/cli/program.h"
#include "quanta/core/machine.h"
#include "quanta/core/parallel.h"
#include "quanta/core/process.h"

int main(int argc, char** argv) {
  const bool wider = quanta::choose_blas_core();
  quanta::restart_with_bounded_spinning(argv);
  if (wider) quanta::restart(argv);
  return quanta::cli::program(argc, argv);
}
