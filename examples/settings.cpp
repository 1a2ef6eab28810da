// Settings with checked overrides and random streams: what every run stands on.
#include <cstdio>
#include <vector>

#include "quanta/core/config.h"
#include "quanta/core/random.h"

int main() {
  using namespace quanta;
  Config config = Config::parse("epochs = 4\n[circuit]\nqubits = 5\n", "defaults");
  config.set("circuit.qubits=8");  // an unknown key or another type throws, naming the nearest key
  std::printf("%s", config.to_toml().c_str());

  const Random random(7);                // stream of seed 7 ...
  Random noise = random.split("noise");  // ... and independent ones: by name
  Random sample = noise.split(3);        // or by index, the same in whatever order they are asked for
  std::printf("%.3f %.3f\n", sample.uniform(), sample.normal());
  return config.get<int>("circuit.qubits") == 8 ? 0 : 1;
}
