// What the native programs of the comparison share: the circuits of circuits.py, and the requests, the clock and the
// answers of peers.py.

#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Step {
  std::string name;  // of the gate, as in circuits.py
  int first;
  int second = -1;
  double angle = 0;

  bool turns() const { return name[0] == 'R'; }
};

const double pi = 3.14159265358979323846, noise = 0.01;
const int64_t shots = 1000000;

// The k-th angle, from 1.
inline double weyl(size_t k) {
  return 2 * pi * std::fmod(double(k) * 0.6180339887498949, 1);
}

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

// What one sample's value depends on through Z_q.
inline double upstream(const std::string& name, int q) {
  return name == "vjp" ? std::cos(q + 1.0) : 1.0;
}

// The mean of each Z_q over drawn basis states.
template <class Index>
std::vector<double> means(const std::vector<Index>& samples, int n) {
  std::vector<double> z(size_t(n), 0.0);
  for (const Index sample : samples)
    for (int q = 0; q < n; ++q) z[size_t(q)] += (sample >> q & 1 ? -1.0 : 1.0) / double(samples.size());
  return z;
}

struct Request {
  std::string name;  // of the case, as in peers.py
  int qubits = 0, batch = 0;

  std::vector<Step> steps() const { return name == "fourier" ? fourier(qubits) : layered(qubits); }
  bool operator==(const Request&) const = default;
};

struct Work {
  std::function<void()> run;
  std::function<std::vector<double>()> answer;  // of the last run
  int samples = 1;                              // that a run takes together
};

// Answers the requests on the standard input, see peers.py. `prepare` throws std::runtime_error for a case it lacks.
inline int serve(const std::function<Work(const Request&)>& prepare) {
  const auto cpu_clock = [] {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
  };
  const auto wall_clock = [begin = std::chrono::steady_clock::now()] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const auto median = [](std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
  };
  Request last;
  Work work;
  int runs = 1;
  for (std::string line; std::getline(std::cin, line);) try {
      std::istringstream words(line);
      std::string verb;
      Request request;
      words >> verb >> request.name >> request.qubits >> request.batch;
      if (!(request == last)) {
        work = {};
        last = {};
        work = prepare(request);
        last = request;
        const double begin = wall_clock();
        work.run();  // the first one allocates
        const double first = wall_clock();
        runs = 1;
        if (first - begin < 0.05) {
          work.run();
          runs = std::max(1, int(0.005 / (wall_clock() - first)));
        }
      }
      if (verb == "check") {
        work.run();
        std::printf("{\"answer\": [");
        const char* comma = "";
        for (const double value : work.answer()) std::printf("%s%.12g", comma, value), comma = ", ";
        std::puts("]}");
      } else {
        std::vector<double> cpu, wall;
        for (const double begin = wall_clock(); cpu.empty() || wall_clock() - begin < 0.25;) {
          const double c = cpu_clock(), w = wall_clock();
          for (int k = 0; k < runs; ++k) work.run();
          cpu.push_back((cpu_clock() - c) / runs / work.samples);
          wall.push_back((wall_clock() - w) / runs / work.samples);
        }
        std::printf("{\"cpu\": %.9g, \"wall\": %.9g}\n", median(cpu), median(wall));
      }
      std::fflush(stdout);
    } catch (const std::exception& reason) {
      std::printf("{\"refused\": \"%s\"}\n", reason.what());
      std::fflush(stdout);
    }
  return 0;
}
