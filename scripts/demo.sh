#!/usr/bin/env bash
# The first command: sets up, builds the program, and trains a hybrid quantum-classical network on images (system 02).
# Arguments go to `quanta run 02`, for example: scripts/demo.sh --seed 7
# The last line it prints says where the report page is.
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
"$scripts/build.sh" quanta
cd "$scripts/.."
exec build/bin/quanta run 02 "$@"
