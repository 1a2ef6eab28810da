// What the native drivers share: the circuits of circuits.py, and the clock and the line of JSON of peers.py.

#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

struct Step {
  std::string name;  // of the gate, as in circuits.py
  int first;
  int second = -1;
  double angle = 0;
};

const double pi = 3.14159265358979323846;

// The k-th angle, from 1.
inline double weyl(size_t k) { return 2 * pi * std::fmod(double(k) * 0.6180339887498949, 1); }

inline std::vector<Step> layered(int n) {
  std::vector<Step> steps;
  size_t angles = 0;
  for (int q = 0; q < n; ++q) steps.push_back({"RY", q, -1, weyl(++angles)});
  for (int layer = 0; layer < 4; ++layer) {
    for (int q = 0; q < n; ++q)
      for (const char* name : {"RX", "RY", "RZ"}) steps.push_back({name, q, -1, weyl(++angles)});
    for (int q = 0; q < n; ++q) steps.push_back({"CX", q, (q + 1) % n});
  }
  return steps;
}

inline std::vector<Step> fourier(int n) {
  std::vector<Step> steps;
  for (int q = 0; q < n; ++q) steps.push_back({"RY", q, -1, weyl(size_t(q) + 1)});
  for (int q = n; q-- > 0;) {
    steps.push_back({"H", q});
    for (int c = 0; c < q; ++c) steps.push_back({"CP", c, q, pi / std::pow(2, q - c)});
  }
  for (int q = 0; q < n / 2; ++q) steps.push_back({"SWAP", q, n - 1 - q});
  return steps;
}

// CASE QUBITS BATCH THREADS SECONDS [--check]
struct Options {
  std::string name;
  int qubits, batch, threads;
  double seconds;
  bool check;

  Options(int argc, char** argv) {
    if (argc < 6) {
      std::fprintf(stderr, "usage: %s CASE QUBITS BATCH THREADS SECONDS [--check]\n", argv[0]);
      std::exit(2);
    }
    name = argv[1];
    qubits = std::atoi(argv[2]);
    batch = std::min(std::atoi(argv[3]), 4);  // one sample after the other: more would not be faster
    threads = std::atoi(argv[4]);
    seconds = std::atof(argv[5]);
    check = argc > 6;
  }
};

inline int refuse(const char* reason) {
  std::printf("{\"refused\": \"%s\"}\n", reason);
  return 0;
}

// Prints the median seconds of a run, or with --check what it calculates.
inline int measure(const Options& options, const std::function<void()>& run,
                   const std::function<std::vector<double>()>& read) {
  run();
  if (options.check) {
    std::printf("{\"check\": [");
    const char* comma = "";
    for (const double value : read()) std::printf("%s%.12g", comma, value), comma = ", ";
    std::puts("]}");
    return 0;
  }
  const auto cpu_clock = [] {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
  };
  const auto begin = std::chrono::steady_clock::now();
  const auto wall_clock = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  std::vector<double> cpu, wall;
  while (wall.size() < 3 || (wall_clock() < options.seconds && wall.size() < 200)) {
    const double c = cpu_clock(), w = wall_clock();
    for (int b = 0; b < options.batch; ++b) run();
    cpu.push_back((cpu_clock() - c) / options.batch);
    wall.push_back((wall_clock() - w) / options.batch);
  }
  const auto median = [](std::vector<double>& v) {
    std::nth_element(v.begin(), v.begin() + long(v.size() / 2), v.end());
    return v[v.size() / 2];
  };
  std::printf("{\"case\": \"%s\", \"qubits\": %d, \"threads\": %d, \"cpu\": %.9g, \"wall\": %.9g}\n",
              options.name.c_str(), options.qubits, options.threads, median(cpu), median(wall));
  return 0;
}
