#!/usr/bin/env bash
# This machine's figures: the table of `quanta bench`, then the Google Benchmarks of every module.
#   scripts/bench.sh --benchmark_filter=Gradient     arguments go to the Google Benchmarks
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh
# These hold OpenBLAS and OpenMP below what the processor can do, or spin against the program that is measured.
unset OPENBLAS_CORETYPE OPENBLAS_NUM_THREADS OMP_NUM_THREADS
build/bin/quanta bench
for program in build/bin/*_bench; do
  [[ -x $program ]] || continue
  echo
  echo "== ${program##*/}"
  "$program" "$@"
done
