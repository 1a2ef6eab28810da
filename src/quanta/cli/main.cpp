#include "quanta/cli/program.h"
#include "quanta/core/parallel.h"

int main(int argc, char** argv) {
  quanta::restart_with_bounded_spinning(argv);
  return quanta::cli::program(argc, argv);
}
