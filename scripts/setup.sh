#!/usr/bin/env bash
# Installs the Debian packages that Quanta is built from. Asks dpkg first: where nothing is missing it changes nothing.
set -euo pipefail

packages=(
  # tools
  cmake ninja-build g++ ccache clang-format git ca-certificates gnuplot-nox jq
  # libraries
  libtorch-dev libhwy-dev libopenblas-dev libcli11-dev nlohmann-json3-dev libtomlplusplus-dev libfmt-dev libspdlog-dev
  libnlopt-dev libarchive-dev zlib1g-dev libpng-dev libjpeg62-turbo-dev libturbojpeg0-dev
  libsvm-dev libxgboost-dev
  # tests and benchmarks
  libgtest-dev libgmock-dev libbenchmark-dev libstb-dev
)

if ! command -v apt-get >/dev/null; then
  echo "setup: no apt-get here; install what corresponds to: ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "setup: all ${#packages[@]} packages are installed"
  exit 0
fi

as_root=(env)
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "setup: not root and no sudo; ask an administrator for: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo env)
  [[ -t 0 ]] || as_root=(sudo -n env)  # without a terminal nobody can type a password
fi

echo "setup: installing ${missing[*]}"
apt_get() {
  "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@" </dev/null
}
apt_get update
apt_get install -y --no-install-recommends "${missing[@]}"
echo "setup: done"
