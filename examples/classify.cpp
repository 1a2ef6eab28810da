// A variational quantum classifier tells two clouds of points apart, and says which of their columns it depends on.
#include <cstdio>
#include <numbers>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/encodings.h"
#include "quanta/core/random.h"
#include "quanta/learn/metrics.h"
#include "quanta/learn/q_medley.h"
#include "quanta/learn/vqc.h"

int main() {
  using namespace quanta;
  // Column 0 tells the classes apart, the others are noise.
  Samples x(200, 3);
  Labels y;
  Random random(1);
  for (int64_t i = 0; i < x.rows; ++i) {
    y.push_back(int(i % 2));
    for (int64_t j = 0; j < x.columns; ++j) x(i, j) = random.uniform(-1, 1) + (j == 0 ? 2 * y[i] - 1 : 0);
  }

  Circuit map(3), ansatz(3);
  angle_encoding(map, 'Y');  // RY(input(q)) on qubit q
  efficient_su2(ansatz, 2, Entanglement::Full);
  VariationalQuantumClassifier model(map, ansatz, {.optimizer = Cobyla{.max_evaluations = 500}, .seed = 1});
  model.fit(x, y);
  const auto report = classification_report(y, model.predict(x), 2);

  QMedley medley({.repeats = 5});
  medley.fit(model, x, y);
  const auto importance = medley.global().score;  // of each column

  std::printf("accuracy %.3f, importance of the columns %.3f %.3f %.3f\n", report.accuracy, importance[0],
              importance[1], importance[2]);
  return report.accuracy > 0.85 && top_k(importance, 1)[0] == 0 ? 0 : 1;
}
