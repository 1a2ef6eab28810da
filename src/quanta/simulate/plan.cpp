#include "quanta/simulate/plan.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <span>

namespace quanta::simulate {
namespace {

/// XOR of every subset of the qubits' flips; subset bits in order.
std::vector<uint32_t> spans(const std::vector<Rotation>& qubits) {
  std::vector<uint32_t> all{0};
  for (const Rotation& qubit : qubits)
    for (size_t i = 0, size = all.size(); i < size; ++i) all.push_back(all[i] ^ uint32_t(qubit.flip));
  return all;
}

std::vector<Group> groups(const std::vector<Rotation>& block, int largest) {
  std::vector<Group> result;
  const int count = int(block.size()), parts = (count + largest - 1) / largest;
  for (int g = 0; g < parts; ++g) {
    Group group;
    group.first = count * g / parts;
    group.count = count * (g + 1) / parts - group.first;
    std::vector<Rotation> inside(block.begin() + group.first, block.begin() + group.first + group.count), outside;
    for (int i = 0; i < count; ++i)
      if (i < group.first || i >= group.first + group.count) outside.push_back(block[i]);
    const auto corners = spans(inside);
    std::copy(corners.begin(), corners.end(), group.corners.begin());
    group.offsets = spans(outside);
    result.push_back(std::move(group));
  }
  return result;
}

// 2^8 amplitudes of 16 floats are 32 KiB; backward, there are two states.
constexpr int kForwardBlock = 8, kBackwardBlock = 6;

/// Shares the rotations out among blocks. The cache finds its lines by the lowest bits of an address: a block whose
/// flips span few of these bits would push its own amplitudes out, so each block takes flips that add to its span if it
/// can.
std::vector<Block> blocks(int wires, const std::vector<Rotation>& rotations, int largest, int largest_group) {
  constexpr uint64_t kLowBits = 31;
  const int count = int(rotations.size()), parts = (count + largest - 1) / largest;
  std::vector<Block> result(parts);
  std::vector<std::vector<uint64_t>> span(parts, {0});
  std::vector<int> remaining(count);
  std::iota(remaining.begin(), remaining.end(), 0);
  for (int b = 0; !remaining.empty(); b = (b + 1) % parts) {
    const auto low = [&](int i) { return rotations[i].flip & kLowBits; };
    auto pick = std::find_if(remaining.begin(), remaining.end(),
                             [&](int i) { return std::find(span[b].begin(), span[b].end(), low(i)) == span[b].end(); });
    if (pick == remaining.end()) {
      pick = remaining.begin();
    } else {
      for (size_t i = 0, size = span[b].size(); i < size; ++i) span[b].push_back(span[b][i] ^ low(*pick));
    }
    result[b].rotations.push_back(*pick);
    remaining.erase(pick);
  }
  for (Block& block : result) {
    std::vector<Rotation> members;
    for (const int i : block.rotations) members.push_back(rotations[i]);
    block.bases = subspace(wires, members);
    block.groups = groups(members, largest_group);
  }
  return result;
}

}  // namespace

std::vector<uint32_t> subspace(int wires, const std::vector<Rotation>& qubits) {
  std::vector<uint32_t> result;
  result.reserve((size_t{1} << wires) >> qubits.size());
  for (uint64_t p = 0; p < uint64_t{1} << wires; ++p)
    if (std::none_of(qubits.begin(), qubits.end(), [p](const Rotation& q) { return odd(p & q.parity); }))
      result.push_back(uint32_t(p));
  return result;
}

Tables::Tables(const Program& program, int forward_group, int backward_group)
    : for_tiles(forward_group > 0), overlap_slot(program.chains.size(), -1), runs_as_rotation(program.chains.size()) {
  for (const Layer& layer : program.layers) {
    LayerTables& tables = layers.emplace_back();
    for (const Rotation& rotation : layer.rotations) {
      runs_as_rotation[rotation.chain] = true;
      if (program.chains[rotation.chain].trainable) overlap_slot[rotation.chain] = overlap_slots++;
    }
    if (!for_tiles) continue;
    tables.forward = blocks(program.wires, layer.rotations, kForwardBlock, forward_group);
    tables.backward = blocks(program.wires, layer.rotations, kBackwardBlock, backward_group);
    for (const Rotation& gate : layer.sample_gates) tables.sample_bases.push_back(subspace(program.wires, {gate}));
    for (const Dense& dense : layer.dense) {
      tables.dense_bases.push_back(subspace(program.wires, dense.wires));
      tables.dense_corners.push_back(spans({dense.wires.begin(), dense.wires.begin() + dense.targets}));
    }
    const auto trainable = [](const PhaseGate& gate) { return !gate.angle.is_constant(); };
    tables.phases_trainable = std::any_of(layer.shared_phases.begin(), layer.shared_phases.end(), trainable) ||
                              !layer.per_sample_phases.empty();
  }
}

template <class T>
void Values<T>::update(const Program& program, const Tables& tables, const T* weights, const T* inputs,
                       const CoefficientMath<T>& math) {
  const auto angle_of = [&](const Angle& angle) {
    double product = angle.scale;
    if (product != 0) {
      if (angle.weight >= 0) product *= double(weights[angle.weight]);
      if (angle.input >= 0) product *= double(inputs[angle.input]);
      if (angle.input2 >= 0) product *= double(inputs[angle.input2]);
    }
    return product + angle.constant + (angle.offset >= 0 ? double(weights[angle.offset]) : 0);
  };
  const size_t chains = program.chains.size();
  layers.resize(program.layers.size());
  flipped = 0;
  global_phase = 0;

  // All factors that depend on weights only.
  if (first_factor.empty()) {
    size_t count = 0;
    for (const Chain& chain : program.chains) {
      first_factor.push_back(count);
      count += chain.factors.size();
    }
    factors.resize(count);
    for (AlignedVector<double>* v : {&angle_, &sine_, &cosine_}) v->resize((count + 7) / 8 * 8);
    for (AlignedVector<double>* v : {&before_, &after_, &after_sine_, &after_cosine_, &a_re_, &a_im_, &b_re_, &b_im_,
                                     &a_abs_, &a_arg_, &b_abs_, &b_arg_})
      v->resize((chains + 7) / 8 * 8);
  }
  size_t f = 0;
  for (const Chain& chain : program.chains)
    for (const Factor& factor : chain.factors)
      angle_[f++] =
          factor.axis && (!factor.angle.has_input() || program.single_sample) ? angle_of(factor.angle) / 2 : 0;
  math.sine_cosine(f, angle_.data(), sine_.data(), cosine_.data());
  f = 0;
  for (size_t c = 0; c < chains; ++c) {
    Su2 u;
    for (const Factor& factor : program.chains[c].factors) {
      const double cosine = cosine_[f], sine = sine_[f];
      if (factor.axis == 0) {
        const auto& [a, b] = factor.fixed;
        factors[f] = {a.real(), a.imag(), b.real(), b.imag()};
      } else {
        factors[f] = {cosine, sine, 0, 0};
      }
      ++f;
      if (!tables.runs_as_rotation[c]) continue;
      switch (factor.axis) {
        case 0:
          u = factor.fixed * u;
          break;
        case 'X':
          u = {{cosine * u.a.real() + sine * u.b.imag(), cosine * u.a.imag() - sine * u.b.real()},
               {cosine * u.b.real() + sine * u.a.imag(), cosine * u.b.imag() - sine * u.a.real()}};
          break;
        case 'Y':
          u = {cosine * u.a - sine * u.b, cosine * u.b + sine * u.a};
          break;
        default:
          u = {{cosine * u.a.real() + sine * u.a.imag(), cosine * u.a.imag() - sine * u.a.real()},
               {cosine * u.b.real() - sine * u.b.imag(), cosine * u.b.imag() + sine * u.b.real()}};
      }
    }
    a_re_[c] = u.a.real(), a_im_[c] = u.a.imag();
    b_re_[c] = u.b.real(), b_im_[c] = u.b.imag();
  }
  math.polar(chains, a_re_.data(), a_im_.data(), a_abs_.data(), a_arg_.data());
  math.polar(chains, b_re_.data(), b_im_.data(), b_abs_.data(), b_arg_.data());

  for (size_t l = 0; l < program.layers.size(); ++l) {
    const Layer& layer = program.layers[l];
    const LayerTables& table = tables.layers[l];
    LayerValues<T>& out = layers[l];
    const size_t rotations = layer.rotations.size();
    out.flipped = flipped;
    const auto inverted = [&](uint64_t mask, bool by_frame) { return by_frame != odd(mask & flipped); };

    // Z-Y-Z of each chain, with |tangent| <= 1: a rotation beyond that is X Z followed by a smaller one, and X is a
    // flip of the frame.
    cosines_.resize(rotations);
    flips_.resize(rotations);
    out.tangent.resize(rotations);
    double scale = 1;
    for (size_t i = 0; i < rotations; ++i) {
      const int c = layer.rotations[i].chain;
      double a = a_abs_[c], b = b_abs_[c];
      if (program.chains[c].only_y) {
        a = a_re_[c];
        b = b_re_[c];
        after_[c] = before_[c] = 0;
      } else {
        after_[c] = b_arg_[c] - a_arg_[c];
        before_[c] = -b_arg_[c] - a_arg_[c];
      }
      flips_[i] = std::abs(b) > std::abs(a);
      if (flips_[i]) {
        out.tangent[i] = T(-a / b);
        cosines_[i] = std::abs(b);
        before_[c] += std::numbers::pi;
        global_phase += b < 0 ? -std::numbers::pi / 2 : std::numbers::pi / 2;
      } else {
        out.tangent[i] = T(b / a);
        cosines_[i] = std::abs(a);
        global_phase += a < 0 ? std::numbers::pi : 0;
      }
      scale *= cosines_[i];
    }
    out.scale = T(scale);

    out.phases.clear();
    const auto add = [&](uint64_t mask, bool minus, double angle) {
      out.phases.emplace_back(mask, minus ? -angle / 2 : angle / 2);
    };
    for (const ChainPhase& phase : layer.chain_phases)
      add(phase.mask, inverted(phase.mask, phase.inverted), phase.after ? after_[phase.chain] : before_[phase.chain]);
    for (const PhaseGate& gate : layer.shared_phases) {
      const double angle = angle_of(gate.angle);
      for (const auto& [mask, coefficient] : gate.spectrum) add(mask, inverted(mask, false), coefficient * angle);
    }
    out.exchanged.resize(rotations);
    for (size_t i = 0; i < rotations; ++i)
      out.exchanged[i] = inverted(layer.rotations[i].parity, layer.rotations[i].inverted) != bool(flips_[i]);

    if (tables.for_tiles && !out.phases.empty()) {
      const size_t size = std::max<size_t>(size_t{1} << program.wires, 8);
      spectrum_.assign(size, 0);
      for (const auto& [mask, half] : out.phases) spectrum_[mask] -= half;
      out.cosine.resize(size);
      out.sine.resize(size);
      math.diagonal(program.wires, spectrum_.data(), scale, out.cosine.data(), out.sine.data());
    }

    // Addresses start where all qubits of a block are 0.
    const auto origins = [&](const std::vector<Block>& blocks, std::vector<uint32_t>& origin) {
      origin.assign(blocks.size(), 0);
      for (size_t b = 0; b < blocks.size(); ++b)
        for (const int i : blocks[b].rotations)
          if (out.exchanged[i]) origin[b] ^= uint32_t(layer.rotations[i].flip);
    };
    origins(table.forward, out.forward_origin);
    origins(table.backward, out.backward_origin);
    // Undoing a rotation without its cosine leaves both states too large for the overlaps that follow.
    out.xy_norm.resize(rotations);
    out.z_norm.resize(rotations);
    double norm = 1;
    for (size_t b = table.backward.size(); b-- > 0;) {
      const Block& block = table.backward[b];
      for (const int i : block.rotations) out.z_norm[i] = T(norm);
      for (const Group& group : block.groups) {
        const auto members = std::span(block.rotations).subspan(group.first, group.count);
        for (const int i : members) out.xy_norm[i] = T(norm);
        for (const int i : members) norm *= cosines_[i] * cosines_[i];
      }
    }
    for (size_t i = 0; i < rotations; ++i)
      if (flips_[i]) flipped ^= layer.rotations[i].flip;

    const auto origin = [&](const Rotation& r) { return inverted(r.parity, r.inverted) ? uint32_t(r.flip) : 0u; };
    out.sample_origin.clear();
    for (const Rotation& gate : layer.sample_gates) out.sample_origin.push_back(origin(gate));
    out.dense_origin.clear();
    for (const Dense& dense : layer.dense) {
      uint32_t all = 0;
      for (const Rotation& wire : dense.wires) all ^= origin(wire);
      out.dense_origin.push_back(all);
    }
  }
}

template <class T>
Su2 Values<T>::matrix(const Program& program, int chain) const {
  Su2 u;
  for (size_t f = 0; f < program.chains[chain].factors.size(); ++f) {
    const Factor& factor = program.chains[chain].factors[f];
    const FactorValue& value = factors[first_factor[chain] + f];
    u = (factor.axis ? rotation(factor.axis, 2 * std::atan2(value.sine, value.cosine)) : factor.fixed) * u;
  }
  return u;
}

template <class T>
void AngleGradient<T>::add(const Angle& angle, double dangle) const {
  if (dweights && angle.offset >= 0) dweights[angle.offset] += dangle;
  if (angle.scale == 0) return;
  const auto value = [](int index, const T* values) { return index >= 0 ? double(values[index]) : 1.0; };
  const double w = value(angle.weight, weights), x = value(angle.input, inputs), x2 = value(angle.input2, inputs);
  if (dweights && angle.weight >= 0) dweights[angle.weight] += dangle * angle.scale * x * x2;
  if (dinputs && angle.input >= 0) dinputs[angle.input] += dangle * angle.scale * w * x2;
  if (dinputs && angle.input2 >= 0) dinputs[angle.input2] += dangle * angle.scale * w * x;
}

namespace {

/// The overlaps transform as the axes do: before a rotation by t, u is cos t u + sin t v and v is cos t v - sin t u.
void turn(double& u, double& v, double cosine, double sine) {
  const double before = cosine * u + sine * v;
  v = cosine * v - sine * u;
  u = before;
}

}  // namespace

template <class T>
void Values<T>::chain_gradient(const Program& program, int chain, std::array<double, 3> xyz,
                               const AngleGradient<T>& gradient) const {
  auto& [x, y, z] = xyz;
  const auto& factors_of_chain = program.chains[chain].factors;
  for (size_t f = factors_of_chain.size(); f-- > 0;) {
    const Factor& factor = factors_of_chain[f];
    const FactorValue& value = factors[first_factor[chain] + f];
    if (factor.axis == 0) {
      const auto r = axes(value.cosine, value.sine, value.cosine_b, value.sine_b);
      xyz = {r[0][0] * x + r[1][0] * y + r[2][0] * z, r[0][1] * x + r[1][1] * y + r[2][1] * z,
             r[0][2] * x + r[1][2] * y + r[2][2] * z};
      continue;
    }
    gradient.add(factor.angle, factor.axis == 'X' ? x : factor.axis == 'Y' ? y : z);
    const double cosine = 1 - 2 * value.sine * value.sine, sine = 2 * value.sine * value.cosine;
    if (factor.axis == 'X') turn(y, z, cosine, sine);
    if (factor.axis == 'Y') turn(z, x, cosine, sine);
    if (factor.axis == 'Z') turn(x, y, cosine, sine);
  }
}

template <class T>
void Values<T>::add_gradients(const Program& program, const Tables& tables, const double* overlaps,
                              const AngleGradient<T>& gradient, const CoefficientMath<T>& math) {
  math.sine_cosine(program.chains.size(), after_.data(), after_sine_.data(), after_cosine_.data());
  for (size_t c = 0; c < program.chains.size(); ++c) {
    const int slot = tables.overlap_slot[c];
    if (slot < 0) continue;
    std::array<double, 3> xyz{overlaps[3 * slot], overlaps[3 * slot + 1], overlaps[3 * slot + 2]};
    turn(xyz[0], xyz[1], after_cosine_[c], -after_sine_[c]);
    chain_gradient(program, int(c), xyz, gradient);
  }
}

template struct AngleGradient<float>;
template struct AngleGradient<double>;
template struct Values<float>;
template struct Values<double>;

}  // namespace quanta::simulate
