#include "quanta/circuit/qasm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <numbers>

#include "quanta/circuit/naive.h"
#include "quanta/circuit/qasm_bench.h"
#include "quanta/circuit/qasm_body.h"
#include "quanta/circuit/random_circuit.h"
#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/temporary_folder.h"

namespace quanta {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr double kPi = std::numbers::pi;

Circuit v2(const std::string& body) {
  return parse_qasm("OPENQASM 2.0;\ninclude \"qelib1.inc\";\n" + body, "test.qasm");
}
Circuit v3(const std::string& body) {
  return parse_qasm("OPENQASM 3.0;\ninclude \"stdgates.inc\";\n" + body, "test.qasm");
}

/// What differs: kinds, wires, angles, conditions ...; "" for circuits with the same operations.
std::string difference(const Circuit& a, const Circuit& b) {
  if (a.wires() != b.wires()) return fmt::format("{} wires and {}", a.wires(), b.wires());
  if (a.registers() != b.registers()) return "registers";
  if (a.weights() != b.weights() || a.inputs() != b.inputs()) return "parameters";
  if (a.operations().size() != b.operations().size())
    return fmt::format("{} operations and {}", a.operations().size(), b.operations().size());
  for (size_t i = 0; i < a.operations().size(); ++i) {
    const Operation &x = a.operations()[i], &y = b.operations()[i];
    if (x.kind != y.kind || x.wires != y.wires || x.angles != y.angles || x.controls != y.controls ||
        x.clbit != y.clbit || x.conditions != y.conditions)
      return fmt::format("operation {}: {} {} and {} {}", i, gate_info(x.kind).name, fmt::join(x.wires, ","),
                         gate_info(y.kind).name, fmt::join(y.wires, ","));
  }
  return "";
}

/// Largest difference after the best global phase.
double distance(const Matrix& a, const Matrix& b) {
  Complex overlap = 0;
  for (size_t i = 0; i < a.data.size(); ++i) overlap += std::conj(b.data[i]) * a.data[i];
  Matrix turned = b;
  for (Complex& element : turned.data) element *= overlap / std::abs(overlap);
  return naive::distance(a, turned);
}

#define EXPECT_SAME_UNITARY(a, b) EXPECT_LT(distance((a).matrix(), (b).matrix()), 1e-10)
#define EXPECT_SAME(a, b) EXPECT_EQ(difference(a, b), "")

// --- OpenQASM 2

TEST(Qasm2, RegistersBecomeWiresInOrder) {
  const Circuit circuit =
      v2("qreg a[2]; qreg b[1]; creg m[2]; creg n[1]; h a; cx a[1],b[0]; measure a -> m;"
         "if (n == 1) x b; reset b[0]; barrier a, b; barrier a[1];");
  Circuit expected(3);
  expected.add_register("m", 2);
  expected.add_register("n", 1);
  expected.h(0).h(1).cx(1, 2).measure(0, 0).measure(1, 1);
  Circuit body = expected;
  expected.when({.first = 2, .count = 1, .value = 1}, [] {
    Circuit c(3, 3);
    return c.x(2);
  }());
  expected.reset(2).barrier().add(GateKind::Barrier, {1});
  EXPECT_SAME(circuit, expected);
}

TEST(Qasm2, ExpressionsFollowArithmetic) {
  const Circuit circuit =
      v2("qreg q[1]; rx(-pi/2^2) q[0]; rx(1+2*3-4/8) q[0]; rx(2^3^0) q[0]; rx(-(2+.5e1)*sin(pi/6)) q[0];"
         "rx(ln(exp(2))) q[0]; rx(sqrt(2)) q[0]; rx(cos(0)+tan(0.5)) q[0]; rx(3/2) q[0]; rx(-2^2) q[0];");
  const double expected[] = {-kPi / 4, 6.5, 2, -7 * std::sin(kPi / 6), 2, std::sqrt(2), 1 + std::tan(0.5), 1.5, -4};
  ASSERT_EQ(circuit.operations().size(), std::size(expected));
  for (size_t i = 0; i < std::size(expected); ++i)
    EXPECT_NEAR(circuit.operations()[i].angles[0].constant, expected[i], 1e-15) << i;
}

// Definitions as qelib1.inc writes them, by U and CX alone.
TEST(Qasm2, LibraryGatesEqualTheirDefinitions) {
  const std::string definitions = R"(OPENQASM 2.0;
    gate w3(t,p,l) a { U(t,p,l) a; }  gate w2(p,l) a { U(pi/2,p,l) a; }  gate w1(l) a { U(0,0,l) a; }
    gate wx a { w3(pi,0,pi) a; } gate wy a { w3(pi,pi/2,pi/2) a; } gate wz a { w1(pi) a; } gate wh a { w2(0,pi) a; }
    gate wid a { U(0,0,0) a; } gate wu0(g) a { U(0,0,0) a; } gate wu(t,p,l) a { U(t,p,l) a; } gate wp(l) a { U(0,0,l) a; }
    gate wu1(l) a { w1(l) a; } gate wu2(p,l) a { w2(p,l) a; } gate wu3(t,p,l) a { w3(t,p,l) a; }
    gate ws a { w1(pi/2) a; } gate wsdg a { w1(-pi/2) a; } gate wt a { w1(pi/4) a; } gate wtdg a { w1(-pi/4) a; }
    gate wsx a { wsdg a; wh a; wsdg a; } gate wsxdg a { ws a; wh a; ws a; }
    gate wrx(t) a { w3(t,-pi/2,pi/2) a; } gate wry(t) a { w3(t,0,0) a; } gate wrz(p) a { w1(p) a; }
    gate wcx c,t { CX c,t; } gate wcz a,b { wh b; wcx a,b; wh b; } gate wcy a,b { wsdg b; wcx a,b; ws b; }
    gate wswap a,b { wcx a,b; wcx b,a; wcx a,b; }
    gate wch a,b { wh b; wsdg b; wcx a,b; wh b; wt b; wcx a,b; wt b; wh b; ws b; wx b; ws a; }
    gate wccx a,b,c { wh c; wcx b,c; wtdg c; wcx a,c; wt c; wcx b,c; wtdg c; wcx a,c; wt b; wt c; wh c; wcx a,b; wt a; wtdg b; wcx a,b; }
    gate wcswap a,b,c { wcx c,b; wccx a,b,c; wcx c,b; }
    gate wcrz(l) a,b { w1(l/2) b; wcx a,b; w1(-l/2) b; wcx a,b; } gate wcry(l) a,b { wry(l/2) b; wcx a,b; wry(-l/2) b; wcx a,b; }
    gate wcrx(l) a,b { w1(pi/2) b; wcx a,b; w3(-l/2,0,0) b; wcx a,b; w3(l/2,-pi/2,0) b; }
    gate wcu1(l) a,b { w1(l/2) a; wcx a,b; w1(-l/2) b; wcx a,b; w1(l/2) b; } gate wcp(l) a,b { wcu1(l) a,b; }
    gate wcu3(t,p,l) c,d { w1((l+p)/2) c; w1((l-p)/2) d; wcx c,d; w3(-t/2,0,-(p+l)/2) d; wcx c,d; w3(t/2,p,0) d; }
    gate wcu(t,p,l,g) c,d { w1(g) c; w1((l+p)/2) c; w1((l-p)/2) d; wcx c,d; w3(-t/2,0,-(p+l)/2) d; wcx c,d; w3(t/2,p,0) d; }
    gate wcsx a,b { wh b; wcu1(pi/2) a,b; wh b; } gate wrzz(t) a,b { wcx a,b; w1(t) b; wcx a,b; }
    gate wrxx(t) a,b { wh a; wh b; wcx a,b; w1(t) b; wcx a,b; wh a; wh b; }
    gate wrccx a,b,c { w2(0,pi) c; w1(pi/4) c; wcx b,c; w1(-pi/4) c; wcx a,c; w1(pi/4) c; wcx b,c; w1(-pi/4) c; w2(0,pi) c; }
    gate wrc3x a,b,c,d { w2(0,pi) d; w1(pi/4) d; wcx c,d; w1(-pi/4) d; w2(0,pi) d; wcx a,d; w1(pi/4) d; wcx b,d; w1(-pi/4) d;
      wcx a,d; w1(pi/4) d; wcx b,d; w1(-pi/4) d; w2(0,pi) d; w1(pi/4) d; wcx c,d; w1(-pi/4) d; w2(0,pi) d; }
    gate wc3x a,b,c,d { wh d; wcu1(pi/4) a,d; wh d; wcx a,b; wh d; wcu1(-pi/4) b,d; wh d; wcx a,b; wh d; wcu1(pi/4) b,d; wh d;
      wcx b,c; wh d; wcu1(-pi/4) c,d; wh d; wcx a,c; wh d; wcu1(pi/4) c,d; wh d; wcx b,c; wh d; wcu1(-pi/4) c,d; wh d; wcx a,c;
      wh d; wcu1(pi/4) c,d; wh d; }
    gate wc3sqrtx a,b,c,d { wh d; wcu1(pi/8) a,d; wh d; wcx a,b; wh d; wcu1(-pi/8) b,d; wh d; wcx a,b; wh d; wcu1(pi/8) b,d; wh d;
      wcx b,c; wh d; wcu1(-pi/8) c,d; wh d; wcx a,c; wh d; wcu1(pi/8) c,d; wh d; wcx b,c; wh d; wcu1(-pi/8) c,d; wh d; wcx a,c;
      wh d; wcu1(pi/8) c,d; wh d; }
    gate wc4x a,b,c,d,e { wh e; wcu1(pi/2) d,e; wh e; wc3x a,b,c,d; wh e; wcu1(-pi/2) d,e; wh e; wc3x a,b,c,d; wc3sqrtx a,b,c,e; }
    include "qelib1.inc"; qreg q[5];
)";
  const char* qubits[] = {"", "q[1]", "q[1],q[3]", "q[1],q[3],q[0]", "q[1],q[3],q[0],q[2]", "q[4],q[1],q[3],q[0],q[2]"};
  const std::vector<std::tuple<std::string, int, int>> gates = {
      {"u3", 3, 1},  {"u2", 2, 1},  {"u1", 1, 1},   {"u0", 1, 1},   {"u", 3, 1},   {"p", 1, 1},       {"cx", 0, 2},
      {"id", 0, 1},  {"x", 0, 1},   {"y", 0, 1},    {"z", 0, 1},    {"h", 0, 1},   {"s", 0, 1},       {"sdg", 0, 1},
      {"t", 0, 1},   {"tdg", 0, 1}, {"rx", 1, 1},   {"ry", 1, 1},   {"rz", 1, 1},  {"sx", 0, 1},      {"sxdg", 0, 1},
      {"cz", 0, 2},  {"cy", 0, 2},  {"swap", 0, 2}, {"ch", 0, 2},   {"ccx", 0, 3}, {"cswap", 0, 3},   {"crx", 1, 2},
      {"cry", 1, 2}, {"crz", 1, 2}, {"cu1", 1, 2},  {"cp", 1, 2},   {"cu3", 3, 2}, {"csx", 0, 2},     {"cu", 4, 2},
      {"rxx", 1, 2}, {"rzz", 1, 2}, {"rccx", 0, 3}, {"rc3x", 0, 4}, {"c3x", 0, 4}, {"c3sqrtx", 0, 4}, {"c4x", 0, 5}};
  for (const auto& [name, angles, wires] : gates) {
    const char* values[] = {" ", "(0.3) ", "(0.3,-1.1) ", "(0.3,-1.1,2.5) ", "(0.3,-1.1,2.5,0.7) "};
    const std::string call = name + values[angles] + qubits[wires] + ";";
    EXPECT_LT(distance(parse_qasm(definitions + call).matrix(), parse_qasm(definitions + "w" + call).matrix()), 1e-10)
        << name;
  }
}

TEST(Qasm2, DefinitionsExpand) {
  const Circuit circuit =
      v2("gate a(x) p { rx(x/2) p; } gate b(x,y) p,r { a(x+y) r; cx p,r; barrier p,r; a(-x) p; }"
         "gate none q {} qreg q[2]; b(1,2) q[1],q[0]; none q;");
  Circuit expected(2);
  expected.rx(0, 1.5).cx(1, 0).barrier().rx(1, -0.5);
  EXPECT_SAME(circuit, expected);
}

TEST(Qasm2, DefinitionsOfKnownGatesAreThoseGates) {
  const Circuit circuit =
      v2("gate ryy(t) a,b { rx(pi/2) a; rx(pi/2) b; cx a,b; rz(t) b; cx a,b; rx(-pi/2) a; rx(-pi/2) b; }"
         "gate iswap a,b { s a; s b; h a; cx a,b; cx b,a; h b; } gate swap a,b { cx a,b; }"
         "qreg q[2]; ryy(0.4) q[0],q[1]; iswap q[1],q[0]; swap q[0],q[1];");
  EXPECT_SAME(circuit, Circuit(2).ryy(0, 1, 0.4).iswap(1, 0).cx(0, 1));
}

TEST(Qasm2, BroadcastsOverRegisters) {
  const Circuit circuit = v2("qreg a[2]; qreg b[2]; qreg c[1]; cx a,b; cx a, c[0]; cx c[0],b;");
  EXPECT_SAME(circuit, Circuit(5).cx(0, 2).cx(1, 3).cx(0, 4).cx(1, 4).cx(4, 2).cx(4, 3));
}

TEST(Qasm2, AnOpaqueGateMayBeDeclared) {
  EXPECT_SAME(v2("opaque secret(a,b) x,y; qreg q[1]; x q[0];"), Circuit(1).x(0));
}

TEST(Qasm2, IncludesBesideTheFile) {
  const testing::TemporaryFolder folder;
  write_file(folder / "mine.inc", "gate mine a { U(0,0,pi) a; }\n");
  write_file(folder / "main.qasm", "OPENQASM 2.0; include \"mine.inc\"; qreg q[1]; mine q[0];");
  write_file(folder / "loop.qasm", "OPENQASM 2.0; include \"loop.inc\"; qreg q[1];");
  write_file(folder / "loop.inc", "include \"loop.inc\";");
  EXPECT_SAME(read_qasm(folder / "main.qasm"), Circuit(1).u(0, 0, 0, kPi));
  try {
    read_qasm(folder / "loop.qasm");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("nested deeper"));
  }
}

TEST(Qasm2, ConditionsOnBitsAndLongRegisters) {
  const auto conditions = [](const std::string& body) { return v2(body).operations().at(0).conditions; };
  using Conditions = std::vector<Condition>;
  EXPECT_EQ(conditions("qreg q[1]; creg c[3]; if (c[1] == 0) x q[0];"), (Conditions{{1, 1, 0}}));
  // 2^64 + 5, and 2^63, as decimal integers.
  EXPECT_EQ(conditions("qreg q[1]; creg c[65]; if (c == 18446744073709551621) x q[0];"),
            (Conditions{{0, 64, 5}, {64, 1, 1}}));
  EXPECT_EQ(conditions("qreg q[1]; creg c[100]; if (c == 9223372036854775808) x q[0];"),
            (Conditions{{0, 64, uint64_t{1} << 63}, {64, 36, 0}}));
  EXPECT_TRUE(v2("qreg q[1]; creg c[64]; if (c == 18446744073709551616) x q[0];").operations().empty());
  const Circuit wide = v3("qubit q; bit[70] c; if (c == \"1" + std::string(66, '0') + "101\") x q;");
  EXPECT_EQ(wide.operations().at(0).conditions, (Conditions{{0, 64, 5}, {64, 6, 32}}));
  EXPECT_SAME(parse_qasm(write_qasm(wide)), wide);
  EXPECT_SAME(v2("qreg q[1];; x q[0]; barrier;"), Circuit(1).x(0).barrier());
}

// --- OpenQASM 3

TEST(Qasm3, StatementsOfACircuit) {
  const Circuit circuit = v3(R"(
    qubit[2] q; qubit a; bit[2] c; bit d; creg old[2]; qreg r[1];
    /* a comment */ #pragma ignored
    @annotation ignored too
    h q; cx q[0], a; U(0.1, 0.2, 0.3) r; c = measure q; d = measure a; measure q[-1] -> old[0]; old[1] = measure a;
    reset q; barrier; barrier q[0], a; gphase(pi/3); bit[1] e = measure r;)");
  Circuit expected(4);
  expected.add_register("c", 2);
  expected.add_register("d", 1);
  expected.add_register("old", 2);
  expected.add_register("e", 1);
  expected.h(0).h(1).cx(0, 2).u(3, 0.1, 0.2, 0.3).measure(0, 0).measure(1, 1).measure(2, 2).measure(1, 3).measure(2, 4);
  expected.reset(0).reset(1).barrier().add(GateKind::Barrier, {0, 2}).measure(3, 5);
  EXPECT_SAME(circuit, expected);
}

TEST(Qasm3, InputsAreTheCircuitsInputs) {
  const Circuit circuit =
      v3("input float[64] theta; input angle x; qubit q; const float k = pi / 2;"
         "rx(2 * theta + k) q; rz(-x / 4) q; p(theta * x) q;");
  EXPECT_SAME(circuit, Circuit(1).rx(0, 2 * input(0) + kPi / 2).rz(0, -input(1) / 4).p(0, input(0) * input(1)));
}

TEST(Qasm3, ConstantsLoopsAndBranchesAreFolded) {
  const Circuit circuit = v3(R"(
    const int[32] n = 3; const uint m = 2 ** 2 - 1; float[64] f = 0.5; int k = 0; const bool on = n == m && !false;
    uint[4] number = 5; qubit[n] q; let pair = q[1:2]; let both = q[2] ++ pair[0] ++ q[{0}];
    for uint i in [0:n - 1] { for int j in [i + 1:2] cp(pi / 2 ** (j - i)) q[j], q[i]; }
    for int i in {2, 0} x q[i];
    for int i in [2:-2:0] { y q[i]; k += 1; }
    for int i in [1:0] { z q[i]; if (true) x q[0]; }
    if (on) { rx(f * k) q[0]; } else { x q[99]; }
    if (n < 3) x q[0]; else z q[0];
    if (bool(number[0])) s q[0]; if (bool(number[1])) s q[1];
    h pair; t both; sx q[0:2:2]; f = 0.25; rx(f) q[0]; rx(float(7) / 2) q[0]; rx(int(3.7)) q[0]; rx(5 % 3 + (1 << 2)) q[0];)");
  Circuit expected(3);
  expected.cp(1, 0, kPi / 2).cp(2, 0, kPi / 4).cp(2, 1, kPi / 2).x(2).x(0).y(2).y(0).rx(0, 1.0).z(0).s(0).h(1).h(2);
  expected.t(2).t(1).t(0).sx(0).sx(2).rx(0, 0.25).rx(0, 3.5).rx(0, 3.0).rx(0, 6.0);
  EXPECT_SAME(circuit, expected);
}

TEST(Qasm3, Arrays) {
  EXPECT_SAME(v3("qubit[3] q; array[float[64], 2, 3] a = {{0.1, 0.2, 0.3}, {1, 2, pi}}; array[float, 3] row = a[1];"
                 "const array[int[8], 3] order = {2, 0, 1,}; row[-1] += a[0][2]; array[uint[4], 2] zeros;"
                 "for int i in [0:sizeof(a, 1) - 1] { rx(row[i]) q[order[i]]; } for float f in a[0] rz(f) q[0];"
                 "if (zeros[1] == 0) x q[sizeof(q) - 1];"),
              Circuit(3).rx(2, 1).rx(0, 2).rx(1, kPi + 0.3).rz(0, 0.1).rz(0, 0.2).rz(0, 0.3).x(2));
}

TEST(Qasm3, LoopsOnConstantsBlocksAndBoxes) {
  EXPECT_SAME(v3("qubit[3] q; int i = 2; while (i >= 0) { h q[i]; i -= 1; } { int i = 1; x q[i]; } box { y q[0]; }"
                 "while (false) { z q; } bit[3] mask = \"101\"; for int k in [0:2] { if (mask[k]) s q[k]; }"
                 "rx(popcount(7)) q[0];"),
              Circuit(3).h(2).h(1).h(0).x(1).y(0).s(0).s(2).rx(0, 3));
}

TEST(Qasm3, SpellingsOfOtherPrograms) {
  // Commas at the end, physical qubits that are declared, CX without the library, gates of Qiskit and MQT that no
  // library has, measurements whose outcome nobody reads, lines for other programs.
  EXPECT_SAME(
      v3("gate g(a,) x, y, { rx(a,) x; cx x, y,; } qubit[2] q; g(0.5,) q[0], q[1],; for int i in {0, 1,} x q[{i,}];"),
      Circuit(2).rx(0, 0.5).cx(0, 1).x(0).x(1));
  EXPECT_SAME(parse_qasm("OPENQASM 3.0; qubit $0; qubit $2; CX $0, $2;"), Circuit(3).cx(0, 2));
  EXPECT_SAME(v3("qubit[4] q; sxdg q[0]; ryy(0.1) q[0], q[1]; iswap q[1], q[2]; mcx q[0], q[1], q[3];"
                 "mcx q[2], q[0], q[1], q[3];"),
              Circuit(4)
                  .sxdg(0)
                  .ryy(0, 1, 0.1)
                  .iswap(1, 2)
                  .add(GateKind::X, {3}, {}, {0, 1})
                  .add(GateKind::X, {3}, {}, {2, 0, 1}));
  EXPECT_SAME(v3("qubit[2] q; h q; measure q[0]; x q[1]; measure q;"), Circuit(2).h(0).h(1).x(1));
  EXPECT_SAME(v3("pragma user \"unfinished 'x ` $\n#pragma user {\n@bind [0:1] { ;\r\nqubit q;\n@a\n@b\nh q;"),
              Circuit(1).h(0));
  EXPECT_SAME(parse_qasm("const float a = π; qubit q; U(a, 0, 0) q;"), Circuit(1).u(0, kPi, 0, 0));
}

TEST(Qasm3, ModifiersAreExactInPhase) {
  const std::string head = "qubit[3] q; gate g(a) x { gphase(a); h x; rz(a) x; } ";
  const auto expect = [&](const std::string& call, const Circuit& expected) {
    SCOPED_TRACE(call);
    EXPECT_SAME_UNITARY(v3(head + call), expected);
  };
  expect("ctrl @ x q[0], q[1];", Circuit(3).cx(0, 1));
  expect("ctrl(2) @ rz(0.3) q[0], q[1], q[2];", Circuit(3).add(GateKind::RZ, {2}, {0.3}, {0, 1}));
  expect("negctrl @ x q[0], q[1];", Circuit(3).x(0).cx(0, 1).x(0));
  expect("ctrl @ negctrl @ x q[0], q[1], q[2];", Circuit(3).x(1).ccx(0, 1, 2).x(1));
  expect("ctrl @ gphase(0.4) q[1];", Circuit(3).p(1, 0.4));
  expect("ctrl(2) @ gphase(0.4) q[1], q[0];", Circuit(3).cp(1, 0, 0.4));
  expect("ctrl @ g(0.4) q[1], q[0];", Circuit(3).p(1, 0.4).ch(1, 0).crz(1, 0, 0.4));
  expect("inv @ g(0.4) q[0];", Circuit(3).rz(0, -0.4).h(0));
  expect("ctrl @ inv @ g(0.4) q[1], q[0];", Circuit(3).crz(1, 0, -0.4).ch(1, 0).p(1, -0.4));
  expect("ctrl @ pow(2) @ g(0.4) q[1], q[0];", Circuit(3).p(1, 0.8).ch(1, 0).crz(1, 0, 0.4).ch(1, 0).crz(1, 0, 0.4));
  expect("pow(1/2) @ x q[0];", Circuit(3).sx(0));
  expect("ctrl @ pow(0.5) @ x q[0], q[1];", Circuit(3).add(GateKind::SX, {1}, {}, {0}));
  expect("pow(0.5) @ ctrl @ x q[0], q[1];", Circuit(3).add(GateKind::SX, {1}, {}, {0}));
  expect("ctrl @ pow(1/4) @ z q[0], q[1];", Circuit(3).cp(0, 1, kPi / 4));
  expect("pow(-1) @ s q[0];", Circuit(3).sdg(0));
  expect("pow(-2) @ t q[0];", Circuit(3).sdg(0));
  expect("pow(0.5) @ ry(1.0) q[0];", Circuit(3).ry(0, 0.5));
  expect("ctrl @ U(0.1, 0.2, 0.3) q[0], q[1];", Circuit(3).cu(0, 1, 0.1, 0.2, 0.3, 0));
  expect("inv @ ctrl @ sx q[0], q[1];", Circuit(3).add(GateKind::SXdg, {1}, {}, {0}));
  expect("pow(0) @ x q[0];", Circuit(3).i(0));
  // The square root, twice, is the gate; also of two qubits.
  expect("pow(0.5) @ swap q[0], q[2]; pow(0.5) @ swap q[0], q[2];", Circuit(3).swap(0, 2));
  expect("ctrl @ pow(1/3) @ g(0.4) q[1], q[0]; ctrl @ pow(2/3) @ g(0.4) q[1], q[0];",
         Circuit(3).p(1, 0.4).ch(1, 0).crz(1, 0, 0.4));
  expect("gate is a,b { s a; s b; h a; cx a,b; cx b,a; h b; } inv @ is q[0],q[1]; is q[0],q[1];", Circuit(3).i(0));
}

TEST(Qasm3, MatrixPowersOfRandomUnitaries) {
  Random random(3);
  for (const int dim : {2, 4, 8}) {
    const Matrix u = naive::random_unitary(dim, random);
    const Matrix third = qasm::matrix_power(u, 1.0 / 3);
    EXPECT_LT(naive::distance(third * third * third, u), 1e-11);
    EXPECT_LT(naive::distance(qasm::matrix_power(u, -1), u.adjoint()), 1e-11);
  }
}

// What happens for each value of the classical bits.
std::string happens(const Circuit& circuit) {
  std::string all;
  for (int value = 0; value < 1 << circuit.clbits(); ++value) {
    std::vector<uint8_t> bits;
    for (int i = 0; i < circuit.clbits(); ++i) bits.push_back(value >> i & 1);
    for (const Operation& operation : circuit.operations())
      if (std::ranges::all_of(operation.conditions, [&](const Condition& c) { return c.holds(bits.data()); }))
        all += gate_info(operation.kind).name;
    all += ' ';
  }
  return all;
}

TEST(Qasm3, Conditions) {
  const auto of = [](const std::string& text) { return happens(v3("qubit q; bit[2] c; " + text)); };
  EXPECT_EQ(of("if (c == 2) x q;"), "  X  ");
  EXPECT_EQ(of("if (c == 2) { x q; y q; } else { z q; }"), "Z Z XY Z ");
  EXPECT_EQ(of("if (c[0]) x q; else y q;"), "Y X Y X ");
  EXPECT_EQ(of("if (!c[0]) x q;"), "X  X  ");
  EXPECT_EQ(of("if (c[1] == 0) x q;"), "X X   ");
  EXPECT_EQ(of("if (c[0] == true && c[1] == false) x q; else if (c[1]) y q; else z q;"), "Z X Y Y ");
  EXPECT_EQ(of("if (c[0] || c[1]) x q; else y q;"), "Y X X X ");
  EXPECT_EQ(of("if (c[0]) { if (c[1]) x q; else y q; }"), " Y  X ");
  EXPECT_EQ(of("if (c == \"10\") x q;"), "  X  ");
  EXPECT_EQ(of("if (int(c) < 2) x q;"), "X X   ");
  EXPECT_EQ(of("if (c >= 1) x q; else z q;"), "Z X X X ");
  EXPECT_EQ(of("if (c != 3) x q;"), "X X X  ");
  EXPECT_EQ(of("if (c[0:1] == 1) x q;"), " X   ");
  EXPECT_EQ(of("if (!(c[0] && c[1])) x q;"), "X X X  ");
  EXPECT_EQ(of("if (c == 4) x q; if (c == -1) y q;"), "    ");
}

TEST(Qasm3, PhysicalQubitsAreWires) {
  EXPECT_SAME(v3("cx $2, $0;"), Circuit(3).cx(2, 0));
}

TEST(Qasm, TheVersionMayBeMissing) {
  EXPECT_SAME(parse_qasm("include \"qelib1.inc\"; qreg q[1]; rx(pi^2) q[0];"), Circuit(1).rx(0, kPi * kPi));
  EXPECT_SAME(parse_qasm("include \"stdgates.inc\"; qubit q; rx(pi**2) q;"), Circuit(1).rx(0, kPi * kPi));
}

// --- writing

TEST(QasmWrite, EveryGateReadsBackInVersion3) {
  Random random(11);
  for (int trial = 0; trial < 300; ++trial) {
    const Circuit circuit = naive::random_circuit(5, 4, random);
    if (std::ranges::any_of(circuit.operations(), [](const Operation& operation) {
          return operation.kind == GateKind::Unitary && operation.wires.size() > 1;
        }))
      continue;
    const std::string text = write_qasm(circuit);
    const Circuit back = parse_qasm(text);
    const auto weights = naive::random_values(size_t(circuit.weights()), random);
    const auto inputs = naive::random_values(size_t(circuit.inputs()), random);
    ASSERT_EQ(back.weights(), circuit.weights()) << text;
    ASSERT_EQ(back.inputs(), circuit.inputs()) << text;
    EXPECT_LT(distance(circuit.matrix(weights, inputs), back.matrix(weights, inputs)), 1e-10) << text;
    for (const int version : {2, 3}) {
      const std::string bound = write_qasm(circuit, {.version = version, .weights = weights, .inputs = inputs});
      EXPECT_LT(distance(circuit.matrix(weights, inputs), parse_qasm(bound).matrix()), 1e-9) << bound;
    }
    EXPECT_EQ(write_qasm(parse_qasm(write_qasm(back))), write_qasm(back));
  }
}

TEST(QasmWrite, OneGateOfEachKindIsTheSameOperation) {
  Random random(12);
  for (const GateInfo& info : gate_table()) {
    if (!is_unitary(info.kind) || info.kind >= GateKind::PauliRotation) continue;
    for (const int further : {0, 1, 2}) {
      Circuit circuit(6);
      std::vector<int> wires, controls;
      for (int k = 0; k < info.wires; ++k) wires.push_back(5 - k);
      for (int k = 0; k < further; ++k) controls.push_back(k);
      std::vector<Angle> angles;
      for (int k = 0; k < info.angles; ++k) angles.emplace_back(random.normal());
      circuit.add(info.kind, wires, angles, controls);
      if (further == 0) {
        EXPECT_SAME(parse_qasm(write_qasm(circuit, {.version = 2})), circuit);
      }
      if (further == 0 || info.kind != GateKind::U) {
        EXPECT_SAME(parse_qasm(write_qasm(circuit)), circuit);
      }
    }
  }
}

TEST(QasmWrite, AControlBecomesTheControlledGateInVersion2) {
  Circuit circuit(3);
  circuit.add(GateKind::X, {1}, {}, {0}).add(GateKind::RY, {2}, {0.3}, {1}).add(GateKind::SWAP, {0, 2}, {}, {1});
  circuit.add(GateKind::CX, {0, 1}, {}, {2}).add(GateKind::SX, {1}, {}, {0});
  EXPECT_THAT(
      write_qasm(circuit, {.version = 2}),
      HasSubstr(
          "cx q[0], q[1];\ncry(0.3) q[1], q[2];\ncswap q[1], q[0], q[2];\nccx q[2], q[0], q[1];\ncsx q[0], q[1];\n"));
}

TEST(QasmWrite, NumbersSurvive) {
  Random random(13);
  Circuit circuit(1);
  for (int numerator = -20; numerator <= 20; ++numerator)
    for (const int denominator : {1, 2, 3, 4, 5, 6, 7, 8, 64, 1024}) circuit.rz(0, numerator * kPi / denominator);
  for (int k = 0; k < 200; ++k) circuit.rz(0, std::ldexp(random.normal(), int(random.below(80)) - 40));
  circuit.rz(0, 5e-324).rz(0, 1.7976931348623157e308).rz(0, 1e22).rz(0, 0.1 + 0.2);
  for (const int version : {2, 3}) EXPECT_SAME(parse_qasm(write_qasm(circuit, {.version = version})), circuit);
  EXPECT_THAT(write_qasm(Circuit(1).rz(0, -3 * kPi / 4).rz(0, 3.14159265)),
              HasSubstr("rz(-3*pi/4) q[0];\nrz(3.14159265) "));
}

TEST(QasmWrite, RegistersAndConditions) {
  Circuit circuit(2);
  circuit.add_register("a", 2);
  circuit.add_register("q", 3);
  circuit.measure(0, 1).reset(0).barrier();
  const auto x = [&] {
    Circuit c(2, 5);
    return c.x(0);
  }();
  circuit.when({.first = 0, .count = 2, .value = 2}, x);
  circuit.when({.first = 2, .count = 3, .value = 0}, x);
  EXPECT_SAME(parse_qasm(write_qasm(circuit, {.version = 2})), circuit);
  circuit.when({.first = 1, .count = 1, .value = 1}, x).when({.first = 1, .count = 1, .value = 1, .negated = true}, x);
  circuit.when({.first = 1, .count = 1, .value = 0}, x).when({.first = 3, .count = 2, .value = 1, .negated = true}, x);
  Circuit inner(2, 5);
  inner.when({.first = 0, .count = 1, .value = 1}, x);
  circuit.when({.first = 4, .count = 1, .value = 1}, inner);
  EXPECT_SAME(parse_qasm(write_qasm(circuit)), circuit);
  // Across registers it is a conjunction: another form, the same meaning.
  for (const bool negated : {false, true}) {
    Circuit across(2);
    across.add_register("a", 2);
    across.add_register("b", 2);
    across.when({.first = 1, .count = 2, .value = 2, .negated = negated}, [] {
      Circuit c(2, 4);
      return c.x(0);
    }());
    EXPECT_EQ(happens(parse_qasm(write_qasm(across))), happens(across));
  }
}

// Qiskit's importer knows `register == integer`, bits, their negation and `bit == false`, and else.
TEST(QasmWrite, ConditionsThatQiskitReads) {
  const auto condition = [](const Condition& c) {
    Circuit circuit(1);
    circuit.add_register("a", 1);
    circuit.add_register("b", 3);
    Circuit body = circuit;
    circuit.when(c, body.x(0));
    const std::string text = write_qasm(circuit);
    EXPECT_SAME(parse_qasm(text), circuit);
    return text.substr(text.find("if"));
  };
  EXPECT_EQ(condition({0, 1, 1}), "if (a[0]) { x q[0]; }\n");
  EXPECT_EQ(condition({0, 1, 0}), "if (a[0] == false) { x q[0]; }\n");
  EXPECT_EQ(condition({0, 1, 1, true}), "if (!a[0]) { x q[0]; }\n");
  EXPECT_EQ(condition({1, 3, 5}), "if (b == 5) { x q[0]; }\n");
  EXPECT_EQ(condition({1, 3, 5, true}), "if (b == 5) { } else { x q[0]; }\n");
  EXPECT_EQ(condition({2, 2, 2}), "if (b[1:2] == 2) { x q[0]; }\n");
}

TEST(QasmWrite, RefusesWhatTheLanguageLacks) {
  const auto error = [](const Circuit& circuit, const QasmOptions& options) -> std::string {
    try {
      write_qasm(circuit, options);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  Random random(14);
  EXPECT_THAT(error(Circuit(2).unitary({0, 1}, naive::random_unitary(4, random)), {}), HasSubstr("transpile"));
  EXPECT_THAT(error(Circuit(1).amplitude_encoding(), {}), HasSubstr("amplitude"));
  EXPECT_THAT(error(Circuit(1).rx(0, weight()), {.version = 2}), HasSubstr("1 weights"));
  EXPECT_THAT(error(Circuit(1).rx(0, input(1)), {.inputs = {1}}), HasSubstr("2 inputs"));
  EXPECT_THAT(error(Circuit(1), {.version = 4}), HasSubstr("version 4"));
  Circuit part(1, 2);
  part.when({.first = 0}, [] {
    Circuit c(1, 2);
    return c.x(0);
  }());
  EXPECT_THAT(error(part, {.version = 2}), HasSubstr("register == value"));
}

// --- errors

struct BadInput {
  const char* text;
  const char* position;
  const char* message;
};

void expect_errors(const std::vector<BadInput>& inputs) {
  for (const BadInput& bad : inputs) {
    try {
      parse_qasm(bad.text, "f");
      ADD_FAILURE() << bad.text;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), ::testing::StartsWith(std::string("f:") + bad.position + ": ")) << bad.text;
      EXPECT_THAT(error.what(), HasSubstr(bad.message)) << bad.text;
    }
  }
}

TEST(QasmErrors, Version2) {
  expect_errors({
      {"OPENQASM 4.0;", "1:10", "version '4.0'"},
      {"OPENQASM 2.0;\nqreg q[2]", "2:10", "end of the file, expected ';'"},
      {"OPENQASM 2.0;\nqreg q[2];\n  h q[0];", "3:3", "include \"qelib1.inc\""},
      {"OPENQASM 2.0;include \"qelib1.inc\";\nqreg q[2];\nhh q[0];", "3:1", "did you mean"},
      {"include \"qelib1.inc\";\nqreg q[2];\nx q[2];", "3:5", "index 2 is out of range"},
      {"include \"qelib1.inc\";\nqreg q[2];\nx q[-1];", "3:5", "out of range"},
      {"include \"qelib1.inc\";\nqreg q[2];\ncx q[1],q[1];", "3:1", "used twice"},
      {"include \"qelib1.inc\";\nqreg q[2];\ncx q[1];", "3:1", "expected 2 qubits, got 1"},
      {"include \"qelib1.inc\";\nqreg q[2];\nrx q[1];", "3:1", "expected 1 angles, got 0"},
      {"include \"qelib1.inc\";\nqreg q[2];\nrx(1/0) q[1];", "3:5", "division by zero"},
      {"include \"qelib1.inc\";\nqreg q[2];\nrx(ln(0)) q[1];", "3:4", "not a finite"},
      {"include \"qelib1.inc\";\nqreg q[2];\nrx(1e300*1e300) q[1];", "3:9", "not a finite"},
      {"include \"qelib1.inc\";\nqreg q[2];\nrx(1e999) q[1];", "3:4", "out of range"},
      {"include \"qelib1.inc\";\nqreg q[2];\nrx(foo) q[1];", "3:4", "no parameter or constant 'foo'"},
      {"include \"qelib1.inc\";\nqreg q[2];\nrx(sine(1)) q[1];", "3:4", "no function 'sine'"},
      {"include \"qelib1.inc\";\nqreg q[2];\nrx((1) q[1];", "3:8", "got 'q', expected ')'"},
      {"qreg q[2]; qreg p[3];\nCX q,p;", "2:1", "different sizes, 2 and 3"},
      {"qreg q[2]; creg c[3];\nmeasure q -> c;", "2:1", "2 qubits into 3"},
      {"qreg q[2]; creg c[3];\nmeasure q -> q;", "2:14", "not a classical register"},
      {"qreg q[2];\nqreg q[3];", "2:6", "declared already"},
      {"qreg q[0];", "1:8", "1..1048576 elements"},
      {"qreg q[65537];", "1:6", "at most 65536"},
      {"qreg q[99999999999999999999];", "1:8", "expected an integer"},
      {"gate a x { b x; }\nqreg q[1];", "1:12", "no gate 'b'"},
      {"gate a x { a x; }\nqreg q[1];", "1:12", "no gate 'a'"},
      {"gate a x { U(0,0,0) y; }\nqreg q[1];", "1:21", "no qubit 'y'"},
      {"gate a x { reset x; }\nqreg q[1];", "1:12", "cannot be part of a gate"},
      {"gate a(t,t) x { }\nqreg q[1];", "1:10", "named twice"},
      {"gate a x { U(0,0,0) x;", "1:23", "expected '}'"},
      {"opaque o x; qreg q[1];\no q[0];", "2:1", "opaque"},
      {"qreg q[1]; creg c[1];\nif (c = 1) U(0,0,0) q[0];", "2:7", "got '=', expected '=='"},
      {"qreg q[1]; creg c[1];\nif (d == 1) U(0,0,0) q[0];", "2:5", "no classical register 'd'"},
      {"qreg q[1]; ?", "1:12", "unexpected character '?'"},
      {"qreg q[1]; /* x", "1:12", "comment does not end"},
      {"include \"nothing.inc\"; qreg q[1];", "1:9", "cannot include"},
      {"include \"nothing.inc; qreg q[1];", "1:9", "string does not end"},
      {"// no qubits", "1:1", "declares no qubits"},
      {"qreg q[1]; creg c[1];\nif (c[1] == 1) U(0,0,0) q[0];", "2:7", "index 1 is out of range"},
      {"qreg q[1]; creg c[1];\nif (c == 99999999999999999999x) U(0,0,0) q[0];", "2:30", "expected ')'"},
      {"qreg q[1];\n@note\nU(0,0,0) q;", "2:1", "got '@note'"},
      {"qreg \xCF\x80q[1]; h", "1:13", "no gate 'h'"},
  });
}

TEST(QasmErrors, Version3) {
  const std::string h = "OPENQASM 3.0; include \"stdgates.inc\"; qubit[2] q; bit[2] c;\n";
  const std::vector<BadInput> inputs = {
      {"def f(qubit a) { h a; }", "2:1", "'def' is not supported"},
      {"while (c[0]) { x q[0]; }", "2:1", "'while' on measured bits is not supported"},
      {"delay[100ns] q[0];", "2:1", "'delay' is not supported"},
      {"switch (1) { }", "2:1", "'switch' is not supported"},
      {"box[100ns] { x q[0]; }", "2:1", "a box with a duration is not supported"},
      {"extern f(int) -> int;", "2:1", "'extern' is not supported"},
      {"defcal x q { }", "2:1", "'defcal' is not supported"},
      {"c[0] = 1;", "2:6", "not supported"},
      {"measure q[0]; x q[0];", "2:15", "measured without a bit"},
      {"array[int, 2] a = {1};", "2:21", "expected 2 elements here, got 1"},
      {"array[int, 2] a = {1, 2, 3};", "2:26", "expected 2 elements here, got more"},
      {"array[int, 2, 2] a; int i = a[0];", "2:29", "'a' is an array here"},
      {"array[int, 2] a; int i = a[2];", "2:28", "index 2 is out of range"},
      {"array[int, 2] a; int i = a[0, 0];", "2:31", "more indices"},
      {"array[int, 9999999, 9999999] a;", "2:12", "1..65536 elements"},
      {"array[qubit, 2] a;", "2:7", "array of type 'qubit'"},
      {"const array[int, 2] a = {1, 2}; a[0] = 1;", "2:33", "cannot be assigned to"},
      {"array[int, 2] a; array[int, 3] b = a;", "2:36", "another shape"},
      {"int n = sizeof(q, 1);", "2:16", "no dimension 1"},
      {"if (c == q) x q[0];", "2:10", "has no value"},
      {"bit[6] d; if (d[{0, 5, 2}] == 1) x q[0];", "2:15", "neighbouring"},
      {"bit[2] d; if (c == d) x q[0];", "2:17", "registers with each other"},
      {"bit[2] d = 4;", "2:12", "does not fit"},
      {"bit[2] d = 2; d[0] = measure q[0];", "2:15", "cannot be assigned to"},
      {"@note\n}", "3:1", "behind the annotation"},
      {"x q[2];", "2:5", "out of range"},
      {"x q[-3];", "2:5", "out of range"},
      {"x q[1:0];", "2:5", "range is empty"},
      {"x q[0.5];", "2:5", "expected an integer"},
      {"rx(c) q[0];", "2:4", "classical bits"},
      {"input int n;", "2:7", "expected float or angle"},
      {"input float t; rx(sin(t)) q[0];", "2:19", "of an input"},
      {"input float t; rx(1/t) q[0];", "2:20", "input"},
      {"input float a; input float b; rx(a+b) q[0];", "2:35", "form scale"},
      {"ctrl @ x q[0];", "2:8", "expected 2 qubits, got 1"},
      {"ctrl(0) @ x q[0];", "2:6", "1 or more controls"},
      {"ctrl x q[0];", "2:6", "expected '@'"},
      {"pow @ x q[0];", "2:5", "expected '('"},
      {"for int i in [0:1:0:2] x q[i];", "2:20", "expected ']'"},
      {"for int i in [0:0:2] x q[i];", "2:14", "step 0"},
      {"for int i in q { }", "2:14", "expected a range"},
      {"const int n = c; ", "2:11", "known before"},
      {"const int n = 2; n = 3;", "2:18", "cannot be assigned"},
      {"int n = 2; if (c[0]) { n = 3; }", "2:24", "within a condition"},
      {"if (c[0]) { c[0] = measure q[0]; x q[0]; }", "2:34", "measured within its own block"},
      {"if (c[0]) { qubit r; }", "2:19", "outside of blocks"},
      {"x $0;", "2:3", "physical qubits"},
      {"if (c[0]) x q[0]; else", "2:23", "expected a statement"},
      {"let a = q[0] ++ c;", "2:17", "not a qubit"},
      {"for int i in [0:10000000000000] { }", "2:14", "range is too large"},
  };
  for (BadInput bad : inputs) {
    const std::string text = h + bad.text;
    bad.text = text.c_str();
    SCOPED_TRACE(text);
    expect_errors({bad});
  }
}

TEST(QasmErrors, LimitsHoldAgainstHostileTexts) {
  const QasmLimits limits{.bytes = 1 << 20, .operations = 10000, .depth = 100};
  const auto error = [&](const std::string& text) -> std::string {
    try {
      parse_qasm(text, "f", limits);
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_THAT(error("qreg q[1]; U(" + std::string(100000, '(') + "0,0,0) q[0];"), HasSubstr("nested deeper"));
  EXPECT_THAT(error("qreg q[1]; U(" + std::string(100000, '-') + "0,0,0) q[0];"), HasSubstr("nested deeper"));
  EXPECT_THAT(error("OPENQASM 3; qubit q; " + std::string(100000, '{')), HasSubstr("nested deeper"));
  std::string blocks = "OPENQASM 3; qubit q; ";
  for (int i = 0; i < 10000; ++i) blocks += "if (true) { ";
  EXPECT_THAT(error(blocks), HasSubstr("nested deeper"));
  for (const std::string body : {"", "U(0,0,0) a;"}) {  // 2^40 gates, with and without operations
    std::string doubling = "gate g0 a { " + body + " } ";
    for (int i = 1; i < 40; ++i) doubling += fmt::format("gate g{} a {{ g{} a; g{} a; }} ", i, i - 1, i - 1);
    EXPECT_THAT(error(doubling + "qreg q[1]; g39 q[0];"),
                ::testing::AnyOf(HasSubstr("steps"), HasSubstr("operations")));
  }
  std::string chain = "gate g0 a { } ";
  for (int i = 1; i < 1000; ++i) chain += fmt::format("gate g{} a {{ g{} a; }} ", i, i - 1);
  EXPECT_THAT(error(chain + "qreg q[1]; g999 q[0];"), HasSubstr("nested deeper"));
  EXPECT_THAT(error("OPENQASM 3; qubit q; pow(1e9) @ U(1,2,3) q;"), HasSubstr("many"));
  EXPECT_THAT(error("OPENQASM 3; qubit q; pow(1e9) @ pow(1e9) @ U(1,2,3) q;"), HasSubstr("many"));
  EXPECT_THAT(error(std::string(2 << 20, ' ')), HasSubstr("bytes"));
  EXPECT_THAT(error("OPENQASM 3; qubit q; for int i in [0:1000000000] { }"), HasSubstr("steps"));
  EXPECT_THAT(error("OPENQASM 3; while (true) { }"), HasSubstr(":1:13: the text expands to too many steps"));
  EXPECT_EQ(error("qreg q[15000]; creg c[65536]; barrier q;"), "accepted");
}

// --- other programs' files

TEST(QasmFiles, QasmBenchReadsBackFromBothVersions) {
  const testing::TemporaryFolder folder;
  const auto files = testing::unpack_qasm_bench(QUANTA_SOURCE_DIR, folder.path());
  if (files.empty()) GTEST_SKIP() << "qasm/qasmbench-small-medium.tar.gz is not in the data folder";
  EXPECT_EQ(files.size(), 62u);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.string());
    try {
      const Circuit circuit = read_qasm(file);
      for (const int version : {2, 3}) EXPECT_SAME(parse_qasm(write_qasm(circuit, {.version = version})), circuit);
    } catch (const Error& error) {
      // Two of the files declare `reg` and measure `q`.
      EXPECT_THAT(file.string(), HasSubstr("vqe_uccsd")) << error.what();
      EXPECT_THAT(error.what(), HasSubstr("there is no qubit 'q'"));
    }
  }
}

}  // namespace
}  // namespace quanta
