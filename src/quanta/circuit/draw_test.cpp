#include "quanta/circuit/draw.h"

#include <gmock/gmock.h>

#include <numbers>
#include <sstream>

#include "quanta/circuit/ansaetze.h"
#include "quanta/circuit/encodings.h"
#include "quanta/circuit/naive.h"
#include "quanta/core/error.h"

namespace quanta {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Every gate of the table once.
Circuit everything() {
  Circuit circuit(4);
  circuit.amplitude_encoding();
  for (const GateInfo& info : gate_table()) {
    if (info.wires == 0 || !is_unitary(info.kind)) continue;
    std::vector<int> wires{3, 0, 1};
    wires.resize(info.wires);
    circuit.add(info.kind, wires, std::vector<Angle>(info.angles, 0.5 * weight() * input(1)), {2});
  }
  Random random(1);
  circuit.unitary({2, 0}, naive::random_unitary(4, random)).barrier();
  circuit.pauli_rotation(PauliString({{0, 'X'}, {3, 'Z'}}), weight());
  circuit.pauli_rotation({}, weight());
  circuit.add(Operation{GateKind::PauliRotation, {}, {1.0}, {1, 2}, {}});
  circuit.add(GateKind::Barrier, {1, 2});
  circuit.add_register("c", 2);
  circuit.reset(0).measure(1, 1).channel(depolarizing(0.1, 2), {3, 1});
  circuit.when({.first = 1}, Circuit(4, 2).x(2));
  return circuit;
}

size_t width_of(const std::string& text) {
  size_t widest = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    widest = std::max(widest, size_t(std::ranges::count_if(line, [](char c) { return (c & 0xC0) != 0x80; })));
  return widest;
}

// Tags open and close in order, attributes are quoted, and no bare & or < is left.
void expect_well_formed(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = 0; at < xml.size();) {
    if (xml[at] == '&') {
      EXPECT_LT(xml.find(';', at), at + 7) << xml.substr(at, 40);
    }
    if (xml[at] != '<') {
      ++at;
      continue;
    }
    const size_t end = xml.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = xml.substr(at + 1, end - at - 1);
    EXPECT_EQ(tag.find('<'), std::string::npos) << tag;
    EXPECT_EQ(std::ranges::count(tag, '"') % 2, 0) << tag;
    if (tag[0] == '/') {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
    at = end + 1;
  }
  EXPECT_TRUE(open.empty());
}

TEST(DrawText, Golden) {
  Circuit circuit(3);
  circuit.h(0).cx(0, 2).ry(1, weight() * input(0)).barrier().swap(0, 1).sdg(2).rzz(0, 2, std::numbers::pi / 2);
  EXPECT_EQ(draw_text(circuit), R"(q0 ─┤ H ├──●─────────────────░─────x────┤Z           ├──
           │                 ░     │    │            │
q1 ────────┼──┤ RY(w0*x0) ├──░─────x────│  RZZ(pi/2) │──
           │                 ░          │            │
q2 ────────⊕─────────────────░──┤ S† ├──┤Z           ├──
)");
}

TEST(DrawText, PacksDisjointOperations) {
  Circuit circuit(4);
  circuit.cx(0, 1).cx(2, 3).cx(3, 0).x(1);
  EXPECT_EQ(draw_text(circuit), R"(q0 ─●──⊕─────────
    │  │
q1 ─⊕──┼──┤ X ├──
       │
q2 ─●──┼─────────
    │  │
q3 ─⊕──●─────────
)");
  EXPECT_EQ(draw_text(Circuit(2)), "q0 ─\n\nq1 ─\n");
}

Circuit teleportation() {
  Circuit circuit(2, 2);
  circuit.add_register("flag", 1);
  circuit.measure(0, 1).reset(0).measure(1, 2);
  const auto with = [](auto append) {
    Circuit body(2, 2);
    body.add_register("flag", 1);
    append(body);
    return body;
  };
  circuit.when({.first = 0, .count = 2, .value = 2}, with([](Circuit& c) { c.x(0); }));
  circuit.when({.first = 1, .count = 1, .value = 1, .negated = true}, with([](Circuit& c) { c.cx(0, 1); }));
  return circuit;
}

TEST(DrawText, NamesClassicalBits) {
  EXPECT_EQ(draw_text(teleportation()), R"(q0 ──┤ M→c[1] ├────┤ |0⟩ ├──┤ X if c=2 ├─────────●─────────
                                                 │
q1 ─┤ M→flag[0] ├─────────────────────────┤ X if c[1]≠1 ├──
)");
}

TEST(DrawSvg, DrawsMetersAndConditions) {
  const std::string svg = draw_svg(teleportation());
  EXPECT_THAT(svg, HasSubstr("→flag[0]</text>"));
  EXPECT_THAT(svg, HasSubstr("if c[1]≠1</text>"));
  EXPECT_THAT(svg, HasSubstr("<title>X on q0 if c=2</title>"));
  EXPECT_THAT(svg, Not(HasSubstr(">M</text>"))) << "a meter is drawn";
}

TEST(DrawText, Wraps) {
  Circuit circuit(3);
  hardware_efficient(circuit, 6);
  for (const int width : {40, 60, 100, 200}) {
    const std::string text = draw_text(circuit, width);
    EXPECT_LE(width_of(text), size_t(width));
    for (int w = 0; w < circuit.weights(); ++w) EXPECT_THAT(text, HasSubstr("(w" + std::to_string(w) + ")"));
    EXPECT_EQ(std::ranges::count(text, '\n') % 6, 5) << "blocks of five lines, a blank line between";
  }
  EXPECT_THAT(draw_text(circuit, 40), HasSubstr("»"));
  EXPECT_THAT(draw_text(circuit, 10000), Not(HasSubstr("»")));
  EXPECT_FALSE(draw_text(circuit, -5).empty()) << "a column a line";
}

TEST(DrawText, ShowsEveryGate) {
  const std::string text = draw_text(everything());
  for (const char* name : {"I", "Y", "H", "S†", "T†", "√X†", "RX(0.5*w", "U(0.5*w", "iSWAP", "RYY(0.5*w", "●", "⊕", "x",
                           "░", "RXZ(w", "phase(-(w", "amplitudes(x0..x15)"})
    EXPECT_THAT(text, HasSubstr(name));
  EXPECT_THROW(draw_text(Circuit(1025)), Error);
}

TEST(DrawSvg, IsWellFormed) {
  for (const Circuit& circuit : {Circuit(1), everything()}) {
    const std::string svg = draw_svg(circuit, {.title = "a < b & \"c\" > d\n\x01"});
    expect_well_formed(svg);
    EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; &quot;c&quot; &gt; d  <"));
    EXPECT_EQ(svg.find("http", svg.find("xmlns") + 20), std::string::npos) << "refers to nothing outside";
  }
}

TEST(DrawSvg, ColoursAnglesByTheirOrigin) {
  Circuit circuit(2);
  circuit.rx(0, weight());
  EXPECT_THAT(draw_svg(circuit), Not(HasSubstr("class=\"legend\"")));
  circuit.rx(1, input(0));
  const std::string svg = draw_svg(circuit);
  EXPECT_THAT(svg, HasSubstr(">weights</text>"));
  EXPECT_THAT(svg, HasSubstr(">inputs</text>"));
  EXPECT_THAT(svg, Not(HasSubstr(">fixed</text>")));
  EXPECT_THAT(draw_svg(circuit, {.legend = false}), Not(HasSubstr(">inputs</text>")));
  circuit.rx(0, 2 * std::numbers::pi * input(0) + weight());
  EXPECT_THAT(draw_svg(circuit), HasSubstr("2π·x0 + w1"));
}

TEST(DrawSvg, WrapsAndCutsLongAngles) {
  Circuit circuit(3);
  hardware_efficient(circuit, 6);
  const auto lines = [&](int width) {
    const std::string svg = draw_svg(circuit, {.width = width});
    int count = 0;
    for (size_t at = 0; (at = svg.find(">q0</text>", at)) != std::string::npos; ++at) ++count;
    const size_t at = svg.find("width=\"") + 7;
    EXPECT_LE(std::stoi(svg.substr(at)), width);
    return count;
  };
  EXPECT_EQ(lines(100000), 1);
  EXPECT_GT(lines(500), lines(1000));

  Circuit wide(1);
  wide.u(0, 0.123456 * weight() * input(0) + weight() + 0.234567, weight(), weight());
  const std::string svg = draw_svg(wide);
  EXPECT_THAT(svg, HasSubstr("U on q0: 0.123456*w0*x0 + w1 + 0.234567, w2, w3")) << "in full where one points";
  EXPECT_THAT(svg, HasSubstr("…</text>"));
}

}  // namespace
}  // namespace quanta
