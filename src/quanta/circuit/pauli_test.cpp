#include "quanta/circuit/pauli.h"

#include <gmock/gmock.h>

#include <cmath>

#include "quanta/circuit/naive.h"
#include "quanta/core/error.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

PauliString random_string(int wires, Random& random) {
  std::vector<std::pair<int, char>> factors;
  for (int q = 0; q < wires; ++q)
    if (const char letter = "IXYZ"[random.below(4)]; letter != 'I') factors.emplace_back(q, letter);
  return PauliString(factors);
}

PauliSum random_sum(int wires, int terms, Random& random) {
  PauliSum sum;
  for (int k = 0; k < terms; ++k) sum = sum + PauliSum(random_string(wires, random), random.normal());
  return sum;
}

Matrix dense(const PauliString& pauli, int wires) {
  std::string letters;
  for (int q = 0; q < wires; ++q) letters += pauli.at(q);
  return naive::pauli(letters);
}

TEST(PauliString, SortsAndChecks) {
  const PauliString pauli({{3, 'Z'}, {0, 'X'}});
  EXPECT_EQ(pauli.to_string(), "X0 Z3");
  EXPECT_EQ(pauli.max_wire(), 3);
  EXPECT_EQ(pauli.at(3), 'Z');
  EXPECT_EQ(pauli.at(1), 'I');
  EXPECT_EQ(PauliString().to_string(), "I");
  EXPECT_EQ(PauliString().max_wire(), -1);
  EXPECT_THAT([] { PauliString({{1, 'X'}, {1, 'Z'}}); }, ThrowsMessage<Error>(HasSubstr("wire 1 is used twice")));
  EXPECT_THAT([] { PauliString({{-1, 'X'}}); }, ThrowsMessage<Error>(HasSubstr("wire -1 is out of range")));
  EXPECT_THAT([] { PauliString({{2, 'Q'}}); }, ThrowsMessage<Error>(HasSubstr("expected X, Y or Z on wire 2")));
  EXPECT_THROW(PauliString({{kMaxWires, 'X'}}), Error);
}

TEST(PauliString, CommutesAsItsMatrices) {
  Random random(5);
  int commuting = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const PauliString a = random_string(3, random), b = random_string(3, random);
    const Matrix ab = naive::multiply(dense(a, 3), dense(b, 3)), ba = naive::multiply(dense(b, 3), dense(a, 3));
    const bool commute = naive::distance(ab, ba) == 0;
    EXPECT_EQ(a.commutes_with(b), commute) << a.to_string() << " / " << b.to_string();
    commuting += commute;
    bool each_qubit = true;
    for (int q = 0; q < 3; ++q) each_qubit &= a.at(q) == b.at(q) || a.at(q) == 'I' || b.at(q) == 'I';
    EXPECT_EQ(a.qubit_wise_commutes_with(b), each_qubit);
  }
  EXPECT_GT(commuting, 20);
  EXPECT_LT(commuting, 180);
}

TEST(PauliSum, MatrixIsTheKroneckerProduct) {
  Random random(6);
  for (int trial = 0; trial < 50; ++trial) {
    const PauliString pauli = random_string(4, random);
    EXPECT_EQ(naive::distance(PauliSum(pauli).matrix(4), dense(pauli, 4)), 0) << pauli.to_string();
  }
  EXPECT_EQ(PauliSum(2.5).matrix(0).data, std::vector<Complex>{2.5});
  EXPECT_THROW(X(2).matrix(2), Error);
  EXPECT_THROW(X(0).matrix(13), Error);
}

TEST(PauliSum, ArithmeticFollowsTheMatrices) {
  Random random(7);
  int hermitian = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const PauliSum a = random_sum(3, 1 + int(random.below(2)), random);
    // Squares are Hermitian whatever their terms.
    const PauliSum b = trial % 3 ? random_sum(3, 1 + int(random.below(2)), random) : a;
    const Matrix ma = a.matrix(3), mb = b.matrix(3);
    EXPECT_LT(naive::distance((a + b).matrix(3), naive::add(ma, mb)), 1e-15);
    EXPECT_LT(naive::distance((a - b).matrix(3), naive::add(ma, mb, -1)), 1e-15);
    EXPECT_LT(naive::distance((a + b - a).simplified().matrix(3), mb), 1e-14);
    const Matrix product = naive::multiply(ma, mb);
    if (naive::distance(product, product.adjoint()) < 1e-12) {
      ++hermitian;
      EXPECT_LT(naive::distance((a * b).matrix(3), product), 1e-13);
    } else {
      EXPECT_THROW(a * b, Error) << a.to_string() << " times " << b.to_string();
    }
  }
  EXPECT_GT(hermitian, 67);
  EXPECT_LT(hermitian, 180);
}

TEST(PauliSum, Expressions) {
  const PauliSum sum = Z(0) * Z(1) + 0.5 * X(2) - 1.0;
  EXPECT_EQ(sum.to_string(), "Z0 Z1 + 0.5 X2 - 1");
  EXPECT_EQ(sum.max_wire(), 2);
  EXPECT_EQ((X(0) * X(0)).to_string(), "1");
  EXPECT_EQ((X(0) - X(0)).simplified().to_string(), "0");
  EXPECT_EQ((X(0) * X(1) * (Y(0) * Y(1))).to_string(), "-Z0 Z1");
  EXPECT_THAT([] { X(0) * Y(0); }, ThrowsMessage<Error>(HasSubstr("is not Hermitian")));
  EXPECT_EQ(sum_of('Y', 3).to_string(), "Y0 + Y1 + Y2");
  ASSERT_EQ(each('Z', 3).size(), 3u);
  EXPECT_EQ(each('Z', 3)[2].to_string(), "Z2");
}

TEST(PauliSumParser, Accepts) {
  const std::pair<const char*, PauliSum> cases[] = {
      {"Z0", Z(0)},
      {"Z0 Z1 + 0.5 X2 - 1.25", Z(0) * Z(1) + 0.5 * X(2) - 1.25},
      {"0.5*X0*Y1", 0.5 * X(0) * Y(1)},
      {"  -2e-3Z7+I ", -2e-3 * Z(7) + 1.0},
      {"+3 I4", PauliSum(3)},
      {"Y5X2", X(2) * Y(5)},
      {"2*3 X0 .5", 3 * X(0)},
      {"X1 X1", PauliSum(1)},
      {"X0 Y0 Z0 X1 Y1 Z1", PauliSum(-1)},
      {"X0 - X0", X(0) - X(0)},
      {"0", PauliSum(0)},
      {"Z65535", Z(65535)},
  };
  for (const auto& [text, sum] : cases) EXPECT_EQ(PauliSum::parse(text).terms, sum.terms) << text;
}

TEST(PauliSumParser, RefusesAndNamesTheColumn) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "column 1: expected a number or a Pauli operator such as X0, got the end"},
      {"Z0 +", "column 5: expected a number or a Pauli operator such as X0, got the end"},
      {"Z0 + * X1", "column 6: expected a number or a Pauli operator such as X0, got '*'"},
      {"Z0 - -X1", "column 6"},
      {"Z0 X", "column 4: expected X with a wire from 0 to 65535, got 'X'"},
      {"Z-1", "column 1: expected Z with a wire"},
      {"Z65536", "column 1: expected Z with a wire from 0 to 65535, got 'Z65536'"},
      {"Z99999999999999999999", "column 1"},
      {"z0", "column 1"},
      {"0.5 Q3 + X0", "column 5: expected '+', '-' or the end, got 'Q3'"},
      {"1e999 X0", "column 1: expected a number of double precision, got '1e999'"},
      {"1e300*1e300 X0", "the coefficient in column 1 is too large"},
      {"X1 + X0 Y0", "the product in column 6 is not Hermitian"},
      {"nan X0", "column 1"},
      {"inf", "column 1"},
      {"X0 * ", "column 6"},
      {"X0 * + X1", "column 6"},
      {"0x10", "column 2"},
      {"..", "column 1"},
      {"(X0)", "column 1"},
      {"X0\nZ1", "column 3"},
  };
  for (const auto& [text, message] : cases)
    EXPECT_THAT([&] { PauliSum::parse(text); }, ThrowsMessage<Error>(HasSubstr(message))) << text;
  try {
    PauliSum::parse(std::string("X0 \n\x01") + std::string(1000, 'q'));
    ADD_FAILURE();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << "one line";
    EXPECT_LT(message.size(), 300u);
  }
}

TEST(PauliSumParser, ReadsBackWhatIsPrinted) {
  Random random(8);
  for (int trial = 0; trial < 200; ++trial) {
    PauliSum sum = random_sum(20, 1 + int(random.below(6)), random);
    sum.terms[0].coefficient *= std::pow(10.0, random.uniform(-300, 300));
    EXPECT_EQ(PauliSum::parse(sum.to_string()).terms, sum.terms) << sum.to_string();
  }
}

TEST(PauliSumParser, SurvivesMutations) {
  Random random(9);
  const std::string seeds[] = {"Z0 Z1 + 0.5 X2 - 1.25", "-2e-3*Y7 + 3.5*X0*Z1 - I", "1e10 X65535 Y3", "0"};
  const std::string alphabet = "XYZI0123456789.+-*eE \t()x\n\xff,";
  int accepted = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    std::string text = seeds[random.below(std::size(seeds))];
    for (uint64_t edits = 1 + random.below(6); edits > 0; --edits) {
      const size_t at = random.below(text.size() + 1);
      const char c = random.below(8) ? alphabet[random.below(alphabet.size())] : char(random.below(256));
      const uint64_t action = random.below(3);
      if (action == 0)
        text.insert(at, 1, c);
      else if (action == 1 && at < text.size())
        text[at] = c;
      else
        text.erase(at, 1 + random.below(3));
    }
    try {
      const PauliSum sum = PauliSum::parse(text);
      ++accepted;
      EXPECT_LT(sum.max_wire(), kMaxWires);
      for (const auto& term : sum.terms) ASSERT_TRUE(std::isfinite(term.coefficient)) << text;
      ASSERT_EQ(PauliSum::parse(sum.to_string()).terms, sum.terms) << text;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_LT(accepted, 19000);
}

}  // namespace
}  // namespace quanta
