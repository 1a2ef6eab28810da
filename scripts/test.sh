#!/usr/bin/env bash
# The second command: sets up, builds, and runs every test. Arguments go to cmake's configure step.
#   CTEST_ARGS="-L unit" scripts/test.sh      only the tests beside the sources (other labels: system, consumer)
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh "$@"
status=0
# shellcheck disable=SC2086  # several arguments in one variable
ctest --test-dir build --output-on-failure --no-tests=error ${CTEST_ARGS:-} || status=$?
if ((status == 0)); then echo "test: every test passed"; else echo "test: SOME TESTS FAILED (see above)"; fi
exit "$status"
