#pragma once

#include <string>

#include "quanta/circuit/circuit.h"

namespace quanta {

/// The circuit as Unicode text, two lines a wire, wire 0 on top: boxes, ● controls, ⊕ controlled X, x swaps, ░
/// barriers. Operations on disjoint wires share a column. Wraps at `width` characters. At most 1024 wires.
///
///   q0 ─┤ RY(x0) ├──●──
///                   │
///   q1 ─┤ RY(x1) ├──⊕──
std::string draw_text(const Circuit& circuit, int width = 100);

struct SvgOptions {
  int width = 960;         // in pixels, where it wraps; a single wide column may exceed it
  std::string title = {};  // above the circuit, if not empty
  bool legend = true;      // what the colours mean, if there is more than one
};

/// The same as a self-contained SVG image on white. Boxes are coloured by what their angles depend on: nothing,
/// weights, inputs or both; pointing at one shows its full angles.
std::string draw_svg(const Circuit& circuit, const SvgOptions& options = {});

}  // namespace quanta
