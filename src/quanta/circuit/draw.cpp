#include "quanta/circuit/draw.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "quanta/core/error.h"

namespace quanta {
namespace {

constexpr int kMaxDrawnWires = 1024;

// What the two drawings share: which symbol an operation is, and where.
enum class Look { Box, Meter, Plus, Cross, Dot, Barrier };

struct Symbol {
  const Operation* operation;
  Look look;
  std::vector<int> controls;
  std::vector<int> own;
  std::vector<std::string> pins;  // in a box on several wires, what each own wire is to it
  std::string name;
  std::string angles;
  std::string note;  // what it has to do with classical bits
  int column;
  int top, bottom;          // the wires it covers or crosses
  int own_top, own_bottom;  // of its box

  bool is_box() const { return look == Look::Box || look == Look::Meter; }
  std::string label() const { return (angles.empty() ? name : fmt::format("{}({})", name, angles)) + note; }
  std::string_view pin(int wire) const {
    const auto found = std::ranges::find(own, wire);
    return found == own.end() || pins.empty() ? std::string_view() : pins[found - own.begin()];
  }
};

std::string short_name(const Operation& operation) {
  switch (operation.kind) {
    case GateKind::Sdg:
      return "S†";
    case GateKind::Tdg:
      return "T†";
    case GateKind::SX:
      return "√X";
    case GateKind::SXdg:
      return "√X†";
    case GateKind::ISWAP:
      return "iSWAP";
    case GateKind::Unitary:
      return "U";
    case GateKind::AmplitudeEncoding:
      return "amplitudes";
    case GateKind::Measure:
      return "M";
    case GateKind::Reset:
      return "|0⟩";
    case GateKind::Channel:
      return operation.channel->name();
    case GateKind::PauliRotation: {
      if (operation.pauli.factors.size() > 4) return "R";
      std::string name = "R";
      for (const auto& [wire, letter] : operation.pauli.factors) name += letter;
      return name;
    }
    default:
      return std::string(gate_info(gate_info(operation.kind).base).name);
  }
}

const ClassicalRegister& register_of(const Circuit& circuit, int bit) {
  return *std::prev(std::ranges::upper_bound(circuit.registers(), bit, {}, &ClassicalRegister::first));
}

// "c[0]"
std::string bit_name(const Circuit& circuit, int bit) {
  const ClassicalRegister& bits = register_of(circuit, bit);
  return fmt::format("{}[{}]", bits.name, bit - bits.first);
}

// "c=2", "c[1]≠1", "c[1]..c[3]=5"
std::string condition_text(const Circuit& circuit, const Condition& condition) {
  const ClassicalRegister& bits = register_of(circuit, condition.first);
  std::string what = bits.name;
  if (condition.first != bits.first || condition.count != bits.size) {
    what = bit_name(circuit, condition.first);
    if (condition.count > 1) what += ".." + bit_name(circuit, condition.first + condition.count - 1);
  }
  return fmt::format("{}{}{}", what, condition.negated ? "≠" : "=", condition.value);
}

Symbol symbol(const Operation& operation, const Circuit& circuit) {
  const GateInfo& info = gate_info(operation.kind);
  Symbol s{.operation = &operation,
           .look = Look::Box,
           .controls = operation.controls,
           .own = operation.wires,
           .pins = {},
           .name = short_name(operation),
           .angles = {},
           .note = {},
           .column = 0,
           .top = 0,
           .bottom = 0,
           .own_top = 0,
           .own_bottom = 0};
  s.controls.insert(s.controls.end(), s.own.begin(), s.own.begin() + info.controls);
  s.own.erase(s.own.begin(), s.own.begin() + info.controls);
  for (const Angle& angle : operation.angles) s.angles += (s.angles.empty() ? "" : ", ") + angle.to_string();

  if (operation.kind == GateKind::Measure) s.note = "→" + bit_name(circuit, operation.clbit);
  for (const Condition& condition : operation.conditions)
    s.note += (&condition == operation.conditions.data() ? " if " : " and ") + condition_text(circuit, condition);

  const int wires = circuit.wires();
  const bool controlled = !s.controls.empty();
  const bool conditional = !operation.conditions.empty();  // a box, which has room to say so
  if (operation.kind == GateKind::Measure) {
    s.look = Look::Meter;
  } else if (operation.kind == GateKind::Barrier) {
    s.look = Look::Barrier;
    if (s.own.empty())
      for (int q = 0; q < wires; ++q) s.own.push_back(q);
  } else if (operation.kind == GateKind::AmplitudeEncoding) {
    s.angles = fmt::format("x0..x{}", (1 << wires) - 1);
  } else if (info.base == GateKind::X && controlled && !conditional) {
    s.look = Look::Plus;
  } else if (info.base == GateKind::Z && controlled && !conditional) {
    s.look = Look::Dot;
  } else if (info.base == GateKind::SWAP && !conditional) {
    s.look = Look::Cross;
  } else if (s.own.empty()) {  // a Pauli rotation of the identity: a phase of the controls, or of everything
    s.name = "phase";
    s.angles = fmt::format("-({})/2", s.angles);
    s.own.push_back(controlled ? s.controls.back() : 0);
    if (controlled) s.controls.pop_back();
  } else if (s.own.size() > 1) {
    for (size_t i = 0; i < s.own.size(); ++i) {
      if (operation.kind == GateKind::Unitary) s.pins.push_back(std::to_string(i));
      if (operation.kind == GateKind::PauliRotation) s.pins.emplace_back(1, operation.pauli.factors[i].second);
      if (info.angles == 1 && info.wires == 2) s.pins.emplace_back(1, s.name[i + 1]);  // RXX, RYY, RZZ
    }
  }
  std::tie(s.own_top, s.own_bottom) = std::pair(std::ranges::min(s.own), std::ranges::max(s.own));
  std::tie(s.top, s.bottom) = std::pair(s.own_top, s.own_bottom);
  for (const int q : s.controls) {
    s.top = std::min(s.top, q);
    s.bottom = std::max(s.bottom, q);
  }
  return s;
}

// Every symbol in the first column that is free on all wires it crosses; sorted by column.
std::vector<Symbol> arrange(const Circuit& circuit) {
  require(circuit.wires() <= kMaxDrawnWires, "a drawing shows at most {} wires, got {}", kMaxDrawnWires,
          circuit.wires());
  std::vector<int> level(circuit.wires(), 0);
  std::vector<Symbol> symbols;
  for (const Operation& operation : circuit.operations()) {
    Symbol s = symbol(operation, circuit);
    s.column = *std::max_element(level.begin() + s.top, level.begin() + s.bottom + 1);
    std::fill(level.begin() + s.top, level.begin() + s.bottom + 1, s.column + 1);
    symbols.push_back(std::move(s));
  }
  std::ranges::stable_sort(symbols, {}, &Symbol::column);
  return symbols;
}

// Columns [first, last) that fit side by side into `width`.
struct Line {
  int first, last;
};

std::vector<Line> fill(const std::vector<double>& column_widths, double width) {
  std::vector<Line> lines;
  double used = 0;
  for (int column = 0; column < int(column_widths.size()); ++column) {
    if (lines.empty() || used + column_widths[column] > width) {
      lines.push_back({column, column});
      used = 0;
    }
    used += column_widths[column];
    lines.back().last = column + 1;
  }
  if (lines.empty()) lines.push_back({0, 0});
  return lines;
}

// As few lines as fit into `width`, as equally long as possible.
std::vector<Line> wrap(const std::vector<double>& column_widths, double width) {
  std::vector<Line> lines = fill(column_widths, width);
  const size_t count = lines.size();
  for (double step = width / 2; step >= 1; step /= 2) {
    std::vector<Line> narrower = fill(column_widths, width - step);
    if (narrower.size() > count) continue;
    width -= step;
    lines = std::move(narrower);
  }
  return lines;
}

// The symbols of a line; they are sorted by column.
std::span<const Symbol> symbols_of(const std::vector<Symbol>& symbols, const Line& line) {
  const auto first = std::ranges::lower_bound(symbols, line.first, {}, &Symbol::column);
  const auto last = std::ranges::lower_bound(symbols, line.last, {}, &Symbol::column);
  return {first, last};
}

int columns_of(const std::vector<Symbol>& symbols) {
  return symbols.empty() ? 0 : symbols.back().column + 1;
}

// UTF-8 text as characters.
std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> result;
  for (const char byte : text) {
    const bool continues = (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
    if (continues && !result.empty())
      result.back() += byte;
    else
      result.emplace_back(1, byte);
  }
  return result;
}

class Canvas {
 public:
  Canvas(int rows, int columns) : cells_(rows, std::vector<std::string>(columns, " ")) {}

  void put(int row, int column, std::string_view text) {
    for (std::string& c : characters(text)) cells_[row][column++] = std::move(c);
  }

  std::string text() const {
    std::string result;
    for (const auto& row : cells_) {
      std::string line;
      for (const std::string& cell : row) line += cell;
      line.erase(line.find_last_not_of(' ') + 1);
      result += line + "\n";
    }
    return result;
  }

 private:
  std::vector<std::vector<std::string>> cells_;
};

int text_width(const Symbol& s) {
  if (!s.is_box()) return 1;
  return int(characters(s.label()).size()) + (s.pins.empty() ? 4 : 5);
}

void draw(const Symbol& s, int center, Canvas& canvas) {
  const auto row = [](int wire) { return 2 * wire; };
  if (s.look == Look::Barrier) {
    for (const int q : s.own) {
      canvas.put(row(q), center, "░");
      if (std::ranges::count(s.own, q + 1)) canvas.put(row(q) + 1, center, "░");
    }
    return;
  }
  for (int r = row(s.top); r <= row(s.bottom) && s.top < s.bottom; ++r) canvas.put(r, center, r % 2 ? "│" : "┼");
  if (s.is_box()) {
    const int width = text_width(s), left = center - width / 2, right = left + width - 1;
    for (int r = row(s.own_top); r <= row(s.own_bottom); ++r) {
      const bool joined = r % 2 == 0 && std::ranges::count(s.own, r / 2);
      canvas.put(r, left, joined ? "┤" : "│");
      canvas.put(r, left + 1, std::string(width - 2, ' '));
      canvas.put(r, right, joined ? "├" : "│");
      if (joined) canvas.put(r, left + 1, s.pin(r / 2));
    }
    canvas.put(s.own_top + s.own_bottom, left + (s.pins.empty() ? 2 : 3), s.label());
  } else {
    for (const int q : s.own)
      canvas.put(row(q), center, s.look == Look::Plus ? "⊕" : s.look == Look::Cross ? "x" : "●");
  }
  for (const int q : s.controls) canvas.put(row(q), center, "●");
}

}  // namespace

std::string draw_text(const Circuit& circuit, int width) {
  const std::vector<Symbol> symbols = arrange(circuit);
  const int n = circuit.wires();
  const int label_width = int(std::to_string(n - 1).size()) + 2;  // "q12 "

  std::vector<double> widths(columns_of(symbols), 0);
  for (const Symbol& s : symbols) widths[s.column] = std::max(widths[s.column], double(text_width(s)));
  for (double& w : widths) w += 2;  // wire to the left and right

  std::string result;
  for (const Line& line : wrap(widths, width - label_width - 2)) {
    std::vector<int> start{label_width};
    for (int column = line.first; column < line.last; ++column) start.push_back(start.back() + int(widths[column]));
    Canvas canvas(2 * n - 1, start.back() + 2);
    for (int q = 0; q < n; ++q) {
      canvas.put(2 * q, 0, fmt::format("q{}", q));
      for (int x = label_width; x < start.back(); ++x) canvas.put(2 * q, x, "─");
      canvas.put(2 * q, start.back(), line.last < columns_of(symbols) ? "─»" : "─");
    }
    for (const Symbol& s : symbols_of(symbols, line)) {
      const int column = s.column - line.first;
      draw(s, start[column] + int(widths[s.column]) / 2, canvas);
    }
    if (!result.empty()) result += "\n";
    result += canvas.text();
  }
  return result;
}

namespace {

// Pixels.
constexpr double kPitch = 46, kBoxHeight = 34, kGap = 14, kMargin = 16, kLabel = 34, kLineGap = 30;
constexpr double kNameSize = 13, kAngleSize = 10.5, kPinSize = 9, kTitleSize = 15, kLegendSize = 11;
constexpr size_t kLongestAngle = 30;

enum Tone { kFixed, kTrained, kData, kMixed };

struct Palette {
  const char* fill;
  const char* stroke;
  const char* meaning;
};

constexpr std::array<Palette, 4> kPalette{{
    {"#e8eef8", "#5b7db1", "fixed"},
    {"#fdeccf", "#d08a1d", "weights"},
    {"#dcf2e3", "#3d9a63", "inputs"},
    {"#ecdff7", "#8a57b8", "weights and inputs"},
}};

Tone tone(const Operation& operation) {
  bool weights = false;
  bool inputs = operation.kind == GateKind::AmplitudeEncoding;
  for (const Angle& angle : operation.angles) {
    weights |= angle.has_weight();
    inputs |= angle.has_input();
  }
  return weights && inputs ? kMixed : inputs ? kData : weights ? kTrained : kFixed;
}

std::string escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '"')
      result += "&quot;";
    else
      result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return result;
}

// "2*pi*x0" as "2π·x0", cut where it would make the box too wide.
std::string pretty(std::string text) {
  const auto replace = [&text](std::string_view from, std::string_view to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  };
  replace("*pi", "π");
  replace("pi", "π");
  replace("*", "·");
  replace("^2", "²");
  replace("..", "…");
  replace("-", "−");
  const auto all = characters(text);
  if (all.size() <= kLongestAngle) return text;
  std::string cut;
  for (size_t i = 0; i + 1 < kLongestAngle; ++i) cut += all[i];
  return cut + "…";
}

// A sans-serif font's width, on the safe side.
double text_pixels(std::string_view text, double size) {
  return 0.6 * size * double(characters(text).size());
}

double box_width(const Symbol& s) {
  const double pins = s.pins.empty() ? 0 : 10;
  const double text = std::max(text_pixels(s.name, kNameSize), text_pixels(pretty(s.angles), kAngleSize));
  return std::max(kBoxHeight, text + 14 + pins);
}

// What stands above a box.
std::string note_above(const Symbol& s) {
  return s.note.starts_with(' ') ? s.note.substr(1) : s.note;
}

double svg_width(const Symbol& s) {
  if (s.is_box()) return std::max(box_width(s), text_pixels(note_above(s), kPinSize));
  return s.look == Look::Barrier ? 8 : s.look == Look::Cross ? 14 : 22;
}

// Centred on y; not every viewer knows dominant-baseline.
std::string text_at(double x, double y, double size, std::string_view kind, std::string_view text) {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" font-size="{}" class="{}">{}</text>)", x, y + 0.36 * size, size,
                     kind, escape(text));
}

// One symbol centred on x, where the first wire is at y0.
std::string draw(const Symbol& s, double x, double y0) {
  const auto y = [y0](int wire) { return y0 + kPitch * wire; };
  std::string where;
  for (const int q : s.operation->all_wires()) where += fmt::format("{}q{}", where.empty() ? "" : ", ", q);
  std::string svg = fmt::format("<g><title>{} on {}{}{}{}</title>", gate_info(s.operation->kind).name, where,
                                s.angles.empty() ? "" : ": ", escape(s.angles), escape(s.note));
  const Palette& colour = kPalette[tone(*s.operation)];

  if (s.look == Look::Barrier) {
    for (const int q : s.own)
      svg += fmt::format(R"(<line x1="{0}" y1="{1}" x2="{0}" y2="{2}" class="barrier"/>)", x, y(q) - kPitch / 2,
                         y(q) + kPitch / 2);
    return svg + "</g>\n";
  }
  if (s.top < s.bottom && (!s.is_box() || !s.controls.empty()))
    svg += fmt::format(R"(<line x1="{0}" y1="{1}" x2="{0}" y2="{2}" class="link"/>)", x, y(s.top), y(s.bottom));

  if (s.is_box()) {
    const double width = box_width(s), left = x - width / 2;
    const double middle = (y(s.own_top) + y(s.own_bottom)) / 2;
    const double shift = s.pins.empty() ? 0 : 5;
    svg += fmt::format(R"(<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" rx="5" fill="{}" stroke="{}"/>)", left,
                       y(s.own_top) - kBoxHeight / 2, width, y(s.own_bottom) - y(s.own_top) + kBoxHeight, colour.fill,
                       colour.stroke);
    for (int q = s.own_top; q <= s.own_bottom; ++q) {
      if (!std::ranges::count(s.own, q))  // passes behind
        svg += fmt::format(R"(<line x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}" class="behind"/>)", left, y(q),
                           left + width, y(q));
      else if (!s.pins.empty())
        svg += text_at(left + 8, y(q), kPinSize, "pin", s.pin(q));
    }
    const double name_y = s.angles.empty() ? middle : middle - 6;
    svg += fmt::format(R"(<g class="halo" stroke="{}">)", colour.fill);  // keeps wires behind the box off the letters
    if (s.look == Look::Meter)
      svg += fmt::format(R"(<path d="M{} {}a10 10 0 0 1 20 0m-10 0l8 -12" class="cross"/>)", x - 10, middle + 6);
    else
      svg += text_at(x + shift, name_y, kNameSize, "name", s.name);
    if (!s.angles.empty()) svg += text_at(x + shift, middle + 8, kAngleSize, "angle", pretty(s.angles));
    if (!s.note.empty()) svg += text_at(x, y(s.own_top) - kBoxHeight / 2 - 6, kPinSize, "pin", note_above(s));
    svg += "</g>";
  }
  for (const int q : s.own) {
    if (s.look == Look::Plus) {
      svg += fmt::format(R"(<circle cx="{}" cy="{}" r="10" class="plus"/>)", x, y(q));
      svg += fmt::format(R"(<path d="M{} {}h14m-7 -7v14" class="cross"/>)", x - 7, y(q));
    } else if (s.look == Look::Cross) {
      svg += fmt::format(R"(<path d="M{} {}l12 12m0 -12l-12 12" class="cross"/>)", x - 6, y(q) - 6);
    } else if (s.look == Look::Dot) {
      svg += fmt::format(R"(<circle cx="{}" cy="{}" r="4.5" class="dot"/>)", x, y(q));
    }
  }
  for (const int q : s.controls) svg += fmt::format(R"(<circle cx="{}" cy="{}" r="4.5" class="dot"/>)", x, y(q));
  return svg + "</g>\n";
}

constexpr std::string_view kStyle = R"(<style>
.quanta text{font-family:Inter,'Helvetica Neue',Helvetica,Arial,'DejaVu Sans',sans-serif;text-anchor:middle;fill:#1e2633}
.quanta .title{font-weight:600;text-anchor:start}
.quanta .wire{stroke:#9aa5b5;stroke-width:1.2}
.quanta .label{fill:#5a6678;text-anchor:end}
.quanta .name{font-weight:600}
.quanta .angle{fill:#3c4759}
.quanta .halo{stroke-width:5;paint-order:stroke}
.quanta .pin{fill:#6b7789}
.quanta .link{stroke:#34415a;stroke-width:1.6}
.quanta .dot{fill:#34415a}
.quanta .plus{fill:#fff;stroke:#34415a;stroke-width:1.6}
.quanta .cross{fill:none;stroke:#34415a;stroke-width:1.6}
.quanta .behind{stroke:#9aa5b5;stroke-width:1.2;stroke-dasharray:2 3}
.quanta .barrier{stroke:#9aa5b5;stroke-width:1.5;stroke-dasharray:4 4}
.quanta .legend{fill:#5a6678;text-anchor:start}
</style>
)";

}  // namespace

std::string draw_svg(const Circuit& circuit, const SvgOptions& options) {
  const std::vector<Symbol> symbols = arrange(circuit);
  const int n = circuit.wires();
  std::vector<double> widths(columns_of(symbols), 0);
  std::array<bool, kPalette.size()> used{};
  for (const Symbol& s : symbols) {
    widths[s.column] = std::max(widths[s.column], svg_width(s) + kGap);
    if (s.is_box()) used[tone(*s.operation)] = true;
  }

  const double left = kMargin + kLabel;
  const std::vector<Line> lines = wrap(widths, options.width - left - kMargin - kGap);
  const double line_height = kPitch * n;
  double width = 0;
  double y = kMargin + (options.title.empty() ? 0 : 30);
  std::string body;
  for (const Line& line : lines) {
    const double first = y + kPitch / 2;
    std::vector<double> start{left + kGap / 2};
    for (int column = line.first; column < line.last; ++column) start.push_back(start.back() + widths[column]);
    const double right = start.back() + kGap / 2;
    width = std::max(width, right + kMargin);
    for (int q = 0; q < n; ++q) {
      const double wire_y = first + kPitch * q;
      body += fmt::format(R"(<line x1="{}" y1="{}" x2="{:.1f}" y2="{}" class="wire"/>)", left, wire_y, right, wire_y);
      body += text_at(left - 8, wire_y, kNameSize, "label", fmt::format("q{}", q));
      body += "\n";
    }
    for (const Symbol& s : symbols_of(symbols, line))
      body += draw(s, std::round(start[s.column - line.first] + widths[s.column] / 2), first);
    y += line_height + kLineGap;
  }
  y += kMargin - kLineGap;

  if (!options.title.empty()) {
    body += text_at(kMargin, kMargin + 8, kTitleSize, "title", options.title) + "\n";
    width = std::max(width, 2 * kMargin + text_pixels(options.title, kTitleSize));
  }
  if (options.legend && std::ranges::count(used, true) > 1) {
    double x = kMargin;
    for (size_t i = 0; i < kPalette.size(); ++i) {
      if (!used[i]) continue;
      body += fmt::format(R"(<rect x="{}" y="{}" width="12" height="12" rx="3" fill="{}" stroke="{}"/>)", x, y,
                          kPalette[i].fill, kPalette[i].stroke);
      body += text_at(x + 18, y + 6, kLegendSize, "legend", kPalette[i].meaning) + "\n";
      x += 34 + text_pixels(kPalette[i].meaning, kLegendSize);
    }
    width = std::max(width, x);
    y += 12 + kMargin;
  }
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"quanta\" role=\"img\" width=\"{0:.0f}\" "
             "height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\">\n",
             std::ceil(width), std::ceil(y)) +
         std::string(kStyle) + "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n" + body + "</svg>\n";
}

}  // namespace quanta
