#!/usr/bin/env bash
# Sets up and builds. The program is build/bin/quanta.
#   scripts/build.sh                          everything
#   scripts/build.sh quanta                   only these targets
#   scripts/build.sh -DQUANTA_TORCH=OFF       words that begin with - go to cmake's configure step
#   PRESET=asan scripts/build.sh              another preset of CMakePresets.json
set -euo pipefail
cd "$(dirname "$0")/.."

configure=()
targets=()
for argument in "$@"; do
  if [[ $argument == -* ]]; then configure+=("$argument"); else targets+=("$argument"); fi
done

scripts/setup.sh
preset=${PRESET:-release}
cmake --preset "$preset" "${configure[@]}"

# One compiler takes up to 1.5 GB on a source that includes LibTorch.
jobs=$(nproc)
gigabytes=$(awk '/^MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
((jobs * 3 <= gigabytes * 2)) || jobs=$((gigabytes * 2 / 3))
((jobs >= 1)) || jobs=1
cmake --build --preset "$preset" -j "$jobs" ${targets[@]+--target "${targets[@]}"}
