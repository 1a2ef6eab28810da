#include "quanta/simulate/plan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace quanta::simulate {
namespace {

bool odd(uint64_t x) {
  return std::popcount(x) & 1;
}

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
    : overlap_slot(program.chains.size(), -1), runs_as_rotation(program.chains.size()) {
  for (const Layer& layer : program.layers) {
    LayerTables& tables = layers.emplace_back();
    const int rotations = int(layer.rotations.size()), blocks = (rotations + 5) / 6;
    for (int b = 0; b < blocks; ++b) {
      Block block;
      block.first = rotations * b / blocks;
      block.count = rotations * (b + 1) / blocks - block.first;
      const std::vector<Rotation> members(layer.rotations.begin() + block.first,
                                          layer.rotations.begin() + block.first + block.count);
      block.bases = subspace(program.wires, members);
      block.forward = groups(members, forward_group);
      block.backward = groups(members, backward_group);
      tables.blocks.push_back(std::move(block));
    }
    for (const Rotation& rotation : layer.rotations) {
      runs_as_rotation[rotation.chain] = true;
      if (program.chains[rotation.chain].trainable) overlap_slot[rotation.chain] = overlap_slots++;
    }
    for (const Rotation& gate : layer.sample_gates) tables.sample_bases.push_back(subspace(program.wires, {gate}));
    for (const Dense& dense : layer.dense) {
      tables.dense_bases.push_back(subspace(program.wires, dense.wires));
      tables.dense_corners.push_back(spans(dense.wires));
    }
    const auto trainable = [](const PhaseGate& gate) { return !gate.angle.is_constant(); };
    tables.phases_trainable = std::any_of(layer.shared_phases.begin(), layer.shared_phases.end(), trainable) ||
                              !layer.per_sample_phases.empty();
  }
}

template <class T>
void Values<T>::update(const Program& program, const Tables& tables, const T* weights, DiagonalFunction<T> diagonal) {
  const std::vector<double> wide(weights, weights + program.weights);
  const auto angle_of = [&](const Angle& angle) { return angle.value(wide.data(), nullptr); };

  layers.resize(program.layers.size());
  factors.resize(program.chains.size());
  after_angle.assign(program.chains.size(), 0);
  flipped = 0;
  global_phase = 0;
  for (size_t c = 0; c < program.chains.size(); ++c) {
    factors[c].clear();
    if (tables.runs_as_rotation[c]) continue;
    for (const Factor& factor : program.chains[c].factors) {
      FactorValue<T> value{};
      if (factor.axis == 0) {
        value = {T(factor.fixed.a.real()), T(factor.fixed.a.imag()), T(factor.fixed.b.real()),
                 T(factor.fixed.b.imag())};
      } else if (!factor.angle.has_input()) {
        const double half = angle_of(factor.angle) / 2;
        value = {T(std::cos(half)), T(std::sin(half)), 0, 0};
      }
      factors[c].push_back(value);
    }
  }

  for (size_t l = 0; l < program.layers.size(); ++l) {
    const Layer& layer = program.layers[l];
    const LayerTables& table = tables.layers[l];
    LayerValues<T>& out = layers[l];
    const size_t rotations = layer.rotations.size();
    out.flipped = flipped;
    const auto inverted = [&](uint64_t mask, bool by_frame) { return by_frame != odd(mask & flipped); };

    // Z-Y-Z of each chain, with |tangent| <= 1: a rotation beyond that is X Z followed by a smaller one, and X is a
    // flip of the frame.
    std::vector<double> cosines(rotations), before(rotations);
    std::vector<char> flips(rotations);
    out.tangent.resize(rotations);
    for (size_t i = 0; i < rotations; ++i) {
      const Chain& chain = program.chains[layer.rotations[i].chain];
      Su2 u;
      for (const Factor& factor : chain.factors)
        u = (factor.axis ? rotation(factor.axis, angle_of(factor.angle)) : factor.fixed) * u;
      double a = std::abs(u.a), b = std::abs(u.b), after = 0;
      if (chain.only_y) {
        a = u.a.real();
        b = u.b.real();
      } else {
        const double sum = -2 * std::arg(u.a), difference = 2 * std::arg(u.b);
        after = (sum + difference) / 2;
        before[i] = (sum - difference) / 2;
      }
      flips[i] = std::abs(b) > std::abs(a);
      if (flips[i]) {
        out.tangent[i] = T(-a / b);
        cosines[i] = std::abs(b);
        before[i] += std::numbers::pi;
        global_phase += b < 0 ? -std::numbers::pi / 2 : std::numbers::pi / 2;
      } else {
        out.tangent[i] = T(b / a);
        cosines[i] = std::abs(a);
        global_phase += a < 0 ? std::numbers::pi : 0;
      }
      after_angle[layer.rotations[i].chain] = after;
    }
    double scale = 1;
    for (const double cosine : cosines) scale *= cosine;
    out.scale = T(scale);

    if (rotations || !layer.chain_phases.empty() || !layer.shared_phases.empty()) {
      const size_t size = size_t{1} << program.wires;
      spectrum.assign(std::max<size_t>(size, 8), 0);
      const auto add = [&](uint64_t mask, bool minus, double angle) {
        spectrum[mask] += minus ? angle / 2 : -angle / 2;
      };
      size_t next = 0;  // "before" phases are in the rotations' order
      for (const ChainPhase& phase : layer.chain_phases)
        add(phase.mask, inverted(phase.mask, phase.inverted), phase.after ? after_angle[phase.chain] : before[next++]);
      for (const PhaseGate& gate : layer.shared_phases) {
        const double angle = angle_of(gate.angle);
        for (const auto& [mask, coefficient] : gate.spectrum) add(mask, inverted(mask, false), coefficient * angle);
      }
      out.cosine.resize(size);
      out.sine.resize(size);
      diagonal(program.wires, spectrum.data(), scale, out.cosine.data(), out.sine.data());
    }

    out.block_origin.assign(table.blocks.size(), 0);
    out.xy_norm.resize(rotations);
    out.z_norm.resize(rotations);
    double norm = 1;
    for (size_t b = table.blocks.size(); b-- > 0;) {
      const Block& block = table.blocks[b];
      for (int i = block.first; i < block.first + block.count; ++i) {
        const Rotation& rotation = layer.rotations[i];
        if (inverted(rotation.parity, rotation.inverted) != bool(flips[i]))
          out.block_origin[b] ^= uint32_t(rotation.flip);
        out.z_norm[i] = T(norm);
      }
      for (const Group& group : block.backward) {
        const int first = block.first + group.first;
        for (int i = first; i < first + group.count; ++i) out.xy_norm[i] = T(norm);
        for (int i = first; i < first + group.count; ++i) norm *= cosines[i] * cosines[i];
      }
    }
    for (size_t i = 0; i < rotations; ++i)
      if (flips[i]) flipped ^= layer.rotations[i].flip;

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

template struct Values<float>;
template struct Values<double>;

}  // namespace quanta::simulate
