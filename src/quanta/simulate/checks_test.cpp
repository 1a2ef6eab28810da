#include "quanta/simulate/checks.h"

#include <gmock/gmock.h>

#include "quanta/core/error.h"

namespace quanta::simulate {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Checks, SayWhatIsWrong) {
  require_memory("a number", 8);
  EXPECT_THAT([] { require_memory("a gradient of 60 qubits", 4e19); },
              ThrowsMessage<Error>(HasSubstr("a gradient of 60 qubits takes 37252902984.6 GiB")));
  require_wires({Z(1), PauliSum(2.0)}, 2);
  EXPECT_THAT(
      [] {
        require_wires({Z(0), X(2)}, 2);
      },
      ThrowsMessage<Error>(HasSubstr("wire 2 is out of range, the circuit has wires 0..1")));
  require_batch(0);
  EXPECT_THAT([] { require_batch(-1); }, ThrowsMessage<Error>(HasSubstr("the batch size is -1")));
  require_unitary(Circuit(1).barrier());
  EXPECT_THAT([] { require_unitary(Circuit(1).reset(0)); }, ThrowsMessage<Error>(HasSubstr("got a Reset")));
  EXPECT_THAT([] { require_unitary(Circuit(1, 1).when({}, Circuit(1, 1).x(0))); },
              ThrowsMessage<Error>(HasSubstr("got a conditional X")));
}

}  // namespace
}  // namespace quanta::simulate
