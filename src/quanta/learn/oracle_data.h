#pragma once

#include <cmath>

#include "quanta/learn/samples.h"

namespace quanta {

/// Samples first .. first + rows - 1 of an endless list that any program can make: sample i is of class i mod C,
/// x_ij = 1.5 sin(12.9898 (i + 1)(j + 2)) + [j = class].
struct OracleData {
  Samples x;
  Labels y;
  OracleData(int classes, int rows, int first = 0, int columns = 4) : x(rows, columns) {
    for (int i = 0; i < rows; ++i) {
      y.push_back((first + i) % classes);
      for (int j = 0; j < columns; ++j) x(i, j) = 1.5 * std::sin(12.9898 * (first + i + 1) * (j + 2)) + (j == y[i]);
    }
  }
};

}  // namespace quanta
