#include "quanta/simulate/state_batch.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/simulate/checks.h"
#include "quanta/simulate/large.h"
#include "quanta/simulate/row_kernels.h"

namespace quanta::simulate {
namespace {

constexpr int kMaxWiresOfState = 30;
constexpr int kMaxMatrixWires = 10;
constexpr int kMaxMatrixWiresEach = 6;
constexpr int kBlockBits = 6;             // of the Walsh transforms
constexpr uint64_t kRowsOfSum = 1 << 10;  // added up in single precision

/// Rows that make a thread's wake-up worth it.
int64_t grain(size_t width) {
  return std::max<int64_t>(1, (1 << 15) / int64_t(width));
}

struct PauliMasks {
  uint64_t flip = 0, sign = 0;
  int ys = 0;
  explicit PauliMasks(const PauliString& pauli) {
    for (const auto& [wire, letter] : pauli.factors) {
      const uint64_t bit = uint64_t{1} << wire;
      if (letter != 'Z') flip |= bit;
      if (letter != 'X') sign |= bit;
      ys += letter == 'Y';
    }
  }
};

constexpr Complex kPowersOfI[4] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};

}  // namespace

template <class T>
StateBatch<T>::StateBatch(int wires, int64_t batch) : wires_(wires), batch_(batch) {
  require(wires >= 1 && wires <= kMaxWiresOfState, "a batch of states has 1..{} qubits, got {}", kMaxWiresOfState,
          wires);
  require(batch >= 1, "a batch of states needs at least one, got {}", batch);
  const size_t lanes = row_kernels<T>().lanes;
  const int lane_bits = std::bit_width(lanes) - 1;
  stride_bits_ = std::min(lane_bits, int(std::bit_width(uint64_t(batch) - 1)));
  low_bits_ = std::min(wires, lane_bits - stride_bits_);
  width_ = (size_t(batch) + lanes - 1) / lanes * lanes;
  require_memory(fmt::format("a batch of {} states of {} qubits", batch, wires),
                 2.0 * double(width_) * sizeof(T) * double(rows()));
  data_.resize(size_t(rows()) * 2 * width_);
  set_zero_state();
}

template <class T>
int64_t StateBatch<T>::lanes() {
  return int64_t(row_kernels<T>().lanes);
}

template <class T>
void StateBatch<T>::set_zero() {
  parallel_for(int64_t(rows()), grain(width_), [&](int64_t begin, int64_t end) {
    std::fill(data_.begin() + begin * 2 * int64_t(width_), data_.begin() + end * 2 * int64_t(width_), T(0));
  });
}

template <class T>
void StateBatch<T>::set_zero_state() {
  set_zero();
  std::fill_n(data_.begin(), batch_, T(1));
}

template <class T>
void StateBatch<T>::set_amplitudes(const std::complex<T>* amplitudes) {
  parallel_for(int64_t{1} << wires_, grain(size_t(batch_)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t b = 0; b < batch_; ++b) set_amplitude(b, uint64_t(i), amplitudes[(size_t(b) << wires_) + size_t(i)]);
  });
}

template <class T>
void StateBatch<T>::amplitudes(std::complex<T>* amplitudes) const {
  parallel_for(int64_t{1} << wires_, grain(size_t(batch_)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t b = 0; b < batch_; ++b) amplitudes[(size_t(b) << wires_) + size_t(i)] = amplitude(b, uint64_t(i));
  });
}

template <class T>
void StateBatch<T>::probabilities(int64_t sample, T* probabilities) const {
  parallel_for(int64_t{1} << wires_, grain(1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) probabilities[i] = std::norm(amplitude(sample, uint64_t(i)));
  });
}

template <class T>
void StateBatch<T>::copy(const StateBatch& from, std::span<const int64_t> source) {
  require(from.wires_ == wires_, "states of {} qubits cannot be copied to states of {}", from.wires_, wires_);
  require(int64_t(source.size()) == batch_, "copy: expected a source for each of {} states, got {}", batch_,
          source.size());
  for (const int64_t s : source)
    require(s >= 0 && s < from.batch_, "copy: state {} is out of range, expected 0..{}", s, from.batch_ - 1);
  if (batch_ == 1 && from.batch_ == 1)
    return parallel_for(int64_t(data_.size()), 1 << 16, [&](int64_t begin, int64_t end) {
      std::copy(from.data_.begin() + begin, from.data_.begin() + end, data_.begin() + begin);
    });
  parallel_for(int64_t{1} << wires_, grain(size_t(batch_)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t b = 0; b < batch_; ++b)
        set_amplitude(b, uint64_t(i), from.amplitude(source[size_t(b)], uint64_t(i)));
  });
}

template <class T>
bool StateBatch<T>::lane(size_t lane, int64_t& sample, uint64_t& low) const {
  // Only a batch below a vector's lanes shares them with qubits.
  low = low_bits_ ? lane >> stride_bits_ : 0;
  sample = int64_t(lane - (low << stride_bits_));
  return sample < batch_ && low >> low_bits_ == 0;
}

template <class T>
uint64_t StateBatch<T>::check_wires(std::span<const int> wires, std::span<const int> controls) const {
  uint64_t used = 0;
  for (const auto& list : {wires, controls})
    for (const int q : list) {
      require(q >= 0 && q < wires_, "wire {} is out of range, the states have wires 0..{}", q, wires_ - 1);
      require(!(used >> q & 1), "wire {} is used twice", q);
      used |= uint64_t{1} << q;
    }
  return used;
}

template <class T>
void StateBatch<T>::check_same(const StateBatch& x) const {
  require(x.wires_ == wires_ && x.batch_ == batch_, "expected a batch of {} states of {} qubits, got {} of {}", batch_,
          wires_, x.batch_, x.wires_);
}

template <class T>
const T* StateBatch<T>::select(std::span<const int> controls, const uint8_t* mask, AlignedVector<T>& lanes) const {
  uint64_t low_controls = 0;
  for (const int q : controls)
    if (q < low_bits_) low_controls |= uint64_t{1} << q;
  if (!mask && !low_controls) return nullptr;
  lanes.assign(width_, T(0));
  for (size_t i = 0; i < width_; ++i) {
    int64_t sample;
    uint64_t low;
    if (lane(i, sample, low) && (!mask || mask[sample]) && (low & low_controls) == low_controls) lanes[i] = 1;
  }
  return lanes.data();
}

template <class T>
RowSet StateBatch<T>::row_set(uint64_t excluded_rows, std::span<const int> controls) const {
  uint64_t fixed = 0;
  for (const int q : controls)
    if (q >= low_bits_) fixed |= uint64_t{1} << (q - low_bits_);
  return {(rows() - 1) & ~excluded_rows & ~fixed, fixed};
}

template <class T>
void StateBatch<T>::mix(std::span<const int> wires, std::span<const int> controls, int dim,
                        std::span<const Matrix> matrices, const uint8_t* mask) {
  check_wires(wires, controls);
  for (const Matrix& matrix : matrices)
    require(matrix.dim == dim && dim == 1 << wires.size() && matrix.data.size() == size_t(dim) * size_t(dim),
            "expected a matrix of dimension {} for {} wires, got {}", 1 << wires.size(), wires.size(), matrix.dim);

  // The matrix index is spread over rows and lanes.
  uint32_t high = 0, low = 0;  // bits of the matrix index
  for (size_t k = 0; k < wires.size(); ++k) (wires[k] < low_bits_ ? low : high) |= uint32_t{1} << k;
  const auto state_bits = [&](uint32_t index) {
    uint64_t bits = 0;
    for (size_t k = 0; k < wires.size(); ++k) bits |= uint64_t(index >> k & 1) << wires[k];
    return bits;
  };
  std::vector<uint64_t> offsets;
  std::vector<uint32_t> row_index, flip_index, lane_flips;
  for (uint32_t i = 0; i < uint32_t{1} << std::popcount(high); ++i) {
    row_index.push_back(uint32_t(spread(i, high)));
    offsets.push_back(row_bits(state_bits(row_index.back())));
  }
  for (uint32_t i = 0; i < uint32_t{1} << std::popcount(low); ++i) {
    flip_index.push_back(uint32_t(spread(i, low)));
    lane_flips.push_back(lane_bits(state_bits(flip_index.back())));
  }

  const bool uniform = matrices.size() == 1 && low == 0;
  struct Place {
    int64_t sample;
    uint32_t index;  // the lane's part of the matrix index
    bool holds;
  };
  std::vector<Place> places;
  if (!uniform) {
    places.resize(width_);
    for (size_t i = 0; i < width_; ++i) {
      uint64_t bits;
      places[i].holds = lane(i, places[i].sample, bits);
      if (matrices.size() == 1) places[i].sample = 0;
      places[i].index = 0;
      for (size_t k = 0; k < wires.size(); ++k)
        if (low >> k & 1) places[i].index |= uint32_t(bits >> wires[k] & 1) << k;
    }
  }
  std::vector<uint32_t> first{0};
  std::vector<RowTerm> terms;
  AlignedVector<T> coefficients, lanes(2 * width_);
  bool diagonal = true;
  for (uint32_t t = 0; t < row_index.size(); ++t) {
    for (uint32_t s = 0; s < row_index.size(); ++s)
      for (uint32_t f = 0; f < flip_index.size(); ++f) {
        if (uniform) {
          const Complex value = matrices[0](int(row_index[t]), int(row_index[s]));
          if (value == Complex(0)) continue;
          coefficients.push_back(T(value.real()));
          coefficients.push_back(T(value.imag()));
        } else {
          bool zero = true;
          for (size_t i = 0; i < width_; ++i) {
            const auto& [sample, index, holds] = places[i];
            const Complex value =
                holds ? matrices[size_t(sample)](int(row_index[t] | index), int(row_index[s] | (index ^ flip_index[f])))
                      : Complex(0);
            zero = zero && value == Complex(0);
            lanes[i] = T(value.real());
            lanes[width_ + i] = T(value.imag());
          }
          if (zero) continue;
          coefficients.insert(coefficients.end(), lanes.begin(), lanes.end());
        }
        terms.push_back({s, f});
        diagonal = diagonal && s == t && f == 0;
      }
    first.push_back(uint32_t(terms.size()));
  }

  AlignedVector<T> selected;
  uint64_t high_rows = 0;
  for (const uint64_t offset : offsets) high_rows |= offset;
  RowGate<T> gate{.data = data_.data(),
                  .width = width_,
                  .set = row_set(high_rows, controls),
                  .rows = uint32_t(offsets.size()),
                  .flips = uint32_t(lane_flips.size()),
                  .offsets = offsets.data(),
                  .lane_flips = lane_flips.data(),
                  .first = first.data(),
                  .terms = terms.data(),
                  .uniform = uniform,
                  .coefficients = coefficients.data(),
                  .select = select(controls, mask, selected)};
  const auto run = [&](const RowGate<T>& g) {
    parallel_for(int64_t{1} << std::popcount(g.set.free), std::max<int64_t>(1, grain(width_) / g.rows),
                 [&](int64_t begin, int64_t end) { row_kernels<T>().mix(g, uint64_t(begin), uint64_t(end)); });
  };
  if (!diagonal || offsets.size() == 1) return run(gate);
  // Each row for itself, those that stay as they are not at all.
  const size_t step = uniform ? 2 : 2 * width_;
  for (uint32_t r = 0; r < offsets.size(); ++r) {
    const uint32_t count = first[r + 1] - first[r];
    const uint32_t one_term[2] = {0, count};
    const RowTerm itself{0, 0};
    const uint64_t nowhere = 0;
    const T* coefficient = coefficients.data() + first[r] * step;
    if (count && std::all_of(coefficient, coefficient + step / 2, [](T x) { return x == 1; }) &&
        std::all_of(coefficient + step / 2, coefficient + step, [](T x) { return x == 0; }))
      continue;
    RowGate<T> one = gate;
    one.set.fixed |= offsets[r];
    one.rows = one.flips = 1;
    one.offsets = &nowhere;
    one.first = one_term;
    one.terms = &itself;
    one.coefficients = coefficient;
    run(one);
  }
}

template <class T>
void StateBatch<T>::apply_matrix(std::span<const int> wires, const Matrix& matrix, std::span<const int> controls,
                                 const uint8_t* mask) {
  require(!wires.empty() && wires.size() <= size_t(kMaxMatrixWires), "a matrix acts on 1..{} wires, got {}",
          kMaxMatrixWires, wires.size());
  mix(wires, controls, matrix.dim, {&matrix, 1}, mask);
}

template <class T>
void StateBatch<T>::apply_each(std::span<const int> wires, std::span<const Matrix> matrices,
                               std::span<const int> controls, const uint8_t* mask) {
  require(!wires.empty() && wires.size() <= size_t(kMaxMatrixWiresEach),
          "a matrix a sample acts on 1..{} wires, got {}", kMaxMatrixWiresEach, wires.size());
  require(int64_t(matrices.size()) == batch_, "expected a matrix for each of {} samples, got {}", batch_,
          matrices.size());
  mix(wires, controls, matrices[0].dim, matrices, mask);
}

template <class T>
void StateBatch<T>::apply_pauli(const PauliString& pauli, const uint8_t* mask) {
  constexpr GateKind kKinds[] = {GateKind::X, GateKind::Y, GateKind::Z};
  for (const auto& [wire, letter] : pauli.factors) {
    const int wires[] = {wire};
    apply_matrix(wires, gate_matrix(kKinds[letter - 'X'], {}), {}, mask);
  }
}

template <class T>
void StateBatch<T>::rotate(const PauliString& pauli, std::span<const double> angles, std::span<const int> controls,
                           const uint8_t* mask) {
  std::vector<int> wires;
  for (const auto& [wire, letter] : pauli.factors) wires.push_back(wire);
  check_wires(wires, controls);
  require(int64_t(angles.size()) == batch_, "expected an angle for each of {} samples, got {}", batch_, angles.size());
  const PauliMasks masks(pauli);
  AlignedVector<T> coefficients(4 * width_), selected;
  const T* select_lanes = select(controls, mask, selected);
  const uint32_t lane_sign = lane_bits(masks.sign), lane_flip = lane_bits(masks.flip);
  for (size_t i = 0; i < width_; ++i) {
    int64_t sample;
    uint64_t low;
    if (!lane(i, sample, low)) continue;
    const bool acts = !select_lanes || select_lanes[i] != 0;
    const double half = acts ? angles[size_t(sample)] / 2 : 0;
    Complex change = Complex(0, -std::sin(half)) * kPowersOfI[masks.ys % 4];
    if (odd((i ^ lane_flip) & lane_sign)) change = -change;
    coefficients[i] = T(std::cos(half));
    coefficients[2 * width_ + i] = T(change.real());
    coefficients[3 * width_ + i] = T(change.imag());
  }
  RowPauli<T> p{.width = width_,
                .set = {},
                .row_flip = row_bits(masks.flip),
                .row_mask = row_bits(masks.sign),
                .lane_flip = lane_flip,
                .keep = coefficients.data(),
                .change = coefficients.data() + 2 * width_};
  p.set = row_set(std::bit_floor(p.row_flip), controls);
  parallel_for(int64_t{1} << std::popcount(p.set.free), grain(width_), [&](int64_t begin, int64_t end) {
    row_kernels<T>().rotate(p, data_.data(), uint64_t(begin), uint64_t(end));
  });
}

template <class T>
void StateBatch<T>::add(const StateBatch& x, std::span<const Complex> factors, const PauliString& pauli) {
  check_same(x);
  require(int64_t(factors.size()) == batch_, "expected a factor for each of {} samples, got {}", batch_,
          factors.size());
  require(pauli.max_wire() < wires_, "wire {} of {} is out of range, the states have wires 0..{}", pauli.max_wire(),
          pauli.to_string(), wires_ - 1);
  const PauliMasks masks(pauli);
  const uint32_t lane_sign = lane_bits(masks.sign), lane_flip = lane_bits(masks.flip);
  AlignedVector<T> coefficients(2 * width_);
  for (size_t i = 0; i < width_; ++i) {
    int64_t sample;
    uint64_t low;
    if (!lane(i, sample, low)) continue;
    Complex change = factors[size_t(sample)] * kPowersOfI[masks.ys % 4];
    if (odd((i ^ lane_flip) & lane_sign)) change = -change;
    coefficients[i] = T(change.real());
    coefficients[width_ + i] = T(change.imag());
  }
  require(&x != this || (masks.flip == 0), "add: the states cannot be added to themselves under {}", pauli.to_string());
  const RowPauli<T> p{.width = width_,
                      .set = {},
                      .row_flip = row_bits(masks.flip),
                      .row_mask = row_bits(masks.sign),
                      .lane_flip = lane_flip,
                      .keep = nullptr,
                      .change = coefficients.data()};
  parallel_for(int64_t(rows()), grain(width_), [&](int64_t begin, int64_t end) {
    row_kernels<T>().add(p, x.data_.data(), data_.data(), uint64_t(begin), uint64_t(end));
  });
}

template <class T>
void StateBatch<T>::add(const StateBatch& x, Complex factor, const PauliString& pauli) {
  add(x, std::vector<Complex>(size_t(batch_), factor), pauli);
}

template <class T>
void StateBatch<T>::scale(std::span<const Complex> factors) {
  require(int64_t(factors.size()) == batch_, "expected a factor for each of {} samples, got {}", batch_,
          factors.size());
  std::vector<Matrix> matrices;
  for (const Complex& factor : factors) matrices.emplace_back(1, std::vector<Complex>{factor});
  mix({}, {}, 1, matrices, nullptr);
}

template <class T>
void StateBatch<T>::scale(Complex factor) {
  const Matrix matrix(1, {factor});
  mix({}, {}, 1, {&matrix, 1}, nullptr);
}

template <class T>
std::vector<double> StateBatch<T>::sum_rows(uint64_t count, size_t sums,
                                            const std::function<void(uint64_t, uint64_t, T*)>& add) const {
  const uint64_t parts = (count + kRowsOfSum - 1) / kRowsOfSum;
  const size_t size = sums * width_;
  std::vector<double> part_sums(parts * size);
  parallel_for(int64_t(parts), std::max<int64_t>(1, grain(width_) / int64_t(kRowsOfSum)),
               [&](int64_t begin, int64_t end) {
                 AlignedVector<T> lanes(size);
                 for (int64_t part = begin; part < end; ++part) {
                   std::fill(lanes.begin(), lanes.end(), T(0));
                   const uint64_t first = uint64_t(part) * kRowsOfSum;
                   add(first, std::min(count, first + kRowsOfSum), lanes.data());
                   std::copy(lanes.begin(), lanes.end(), part_sums.begin() + int64_t(size) * part);
                 }
               });
  for (uint64_t part = 1; part < parts; ++part)
    for (size_t i = 0; i < size; ++i) part_sums[i] += part_sums[part * size + i];
  part_sums.resize(size);
  return part_sums;
}

template <class T>
std::vector<double> StateBatch<T>::norms() const {
  const std::vector<double> sums = sum_rows(rows(), 1, [&](uint64_t begin, uint64_t end, T* lanes) {
    row_kernels<T>().norm(width_, data_.data(), {rows() - 1, 0}, begin, end, lanes);
  });
  std::vector<double> result(size_t(batch_), 0.0);
  for (size_t i = 0; i < width_; ++i) {
    int64_t sample;
    uint64_t low;
    if (lane(i, sample, low)) result[size_t(sample)] += sums[i];
  }
  return result;
}

template <class T>
std::vector<double> StateBatch<T>::probabilities_of_one(int wire) const {
  const int wires[] = {wire};
  check_wires(wires, {});
  const RowSet set = row_set(0, wires);  // a wire within the lanes excludes no rows
  const std::vector<double> sums =
      sum_rows(uint64_t{1} << std::popcount(set.free), 1, [&](uint64_t begin, uint64_t end, T* lanes) {
        row_kernels<T>().norm(width_, data_.data(), set, begin, end, lanes);
      });
  std::vector<double> result(size_t(batch_), 0.0);
  for (size_t i = 0; i < width_; ++i) {
    int64_t sample;
    uint64_t low;
    if (lane(i, sample, low) && (wire >= low_bits_ || low >> wire & 1)) result[size_t(sample)] += sums[i];
  }
  return result;
}

template <class T>
std::vector<Complex> StateBatch<T>::inner(const StateBatch& x) const {
  check_same(x);
  const std::vector<double> sums = sum_rows(rows(), 2, [&](uint64_t begin, uint64_t end, T* lanes) {
    row_kernels<T>().inner(width_, data_.data(), x.data_.data(), begin, end, lanes);
  });
  std::vector<Complex> result(size_t(batch_), Complex(0));
  for (size_t i = 0; i < width_; ++i) {
    int64_t sample;
    uint64_t low;
    if (lane(i, sample, low)) result[size_t(sample)] += Complex(sums[i], sums[width_ + i]);
  }
  return result;
}

template <class T>
void StateBatch<T>::project(int wire, std::span<const uint8_t> outcomes, const uint8_t* mask) {
  require(int64_t(outcomes.size()) == batch_, "expected an outcome for each of {} samples, got {}", batch_,
          outcomes.size());
  const std::vector<double> ones = probabilities_of_one(wire), all = norms();
  std::vector<Matrix> projectors;
  for (size_t b = 0; b < size_t(batch_); ++b) {
    Matrix& projector = projectors.emplace_back(2);
    if (mask && !mask[b]) continue;
    const int outcome = outcomes[b] != 0;
    const double probability = outcome ? ones[b] : all[b] - ones[b];
    require(probability > 0, "sample {}: wire {} is never {}, so the state cannot be projected", b, wire, outcome);
    projector(outcome, outcome) = 1 / std::sqrt(probability);
  }
  const int wires[] = {wire};
  mix(wires, {}, 2, projectors, mask);
}

template <class T>
void StateBatch<T>::expectations(std::span<const PauliSum> observables, T* values) const {
  struct Term {
    size_t output;
    double coefficient;
    uint64_t mask;
  };
  std::map<std::pair<uint64_t, bool>, std::vector<Term>> groups;  // (flip, imaginary part)
  std::vector<double> totals(observables.size() * size_t(batch_), 0.0);
  for (size_t k = 0; k < observables.size(); ++k) {
    require(observables[k].max_wire() < wires_, "observable {}: wire {} is out of range, the states have wires 0..{}",
            observables[k].to_string(), observables[k].max_wire(), wires_ - 1);
    for (const PauliSum::Term& term : observables[k].terms) {
      const PauliMasks masks(term.pauli);
      // The real part of i^ys (re + i im).
      const bool negative = masks.ys % 4 == 1 || masks.ys % 4 == 2;
      groups[{masks.flip, masks.ys % 2}].push_back({k, negative ? -term.coefficient : term.coefficient, masks.sign});
    }
  }
  const int row_count_bits = wires_ - low_bits_, bits = std::min(kBlockBits, row_count_bits);
  for (const auto& [key, terms] : groups) {
    const auto& [flip, imaginary] = key;
    // Strings that differ in the lanes only share their sums over rows.
    std::vector<uint64_t> masks;
    for (const Term& term : terms) masks.push_back(row_bits(term.mask));
    std::ranges::sort(masks);
    masks.erase(std::unique(masks.begin(), masks.end()), masks.end());
    const uint64_t blocks = uint64_t{1} << (row_count_bits - bits);
    const uint64_t parts = std::max<uint64_t>(1, kRowsOfSum >> bits);
    // sum_rows counts rows: a block of it is one call's.
    const std::vector<double> sums =
        sum_rows((blocks + parts - 1) / parts * kRowsOfSum, masks.size(), [&](uint64_t begin, uint64_t, T* lanes) {
          AlignedVector<T> scratch(size_t(row_kernels<T>().lanes) << bits);
          const uint64_t first = begin / kRowsOfSum * parts;
          row_kernels<T>().correlate(width_, data_.data(), row_bits(flip), lane_bits(flip), imaginary, bits, first,
                                     std::min(blocks, first + parts), masks.size(), masks.data(), scratch.data(),
                                     lanes);
        });
    for (const Term& term : terms) {
      const size_t row = size_t(std::ranges::lower_bound(masks, row_bits(term.mask)) - masks.begin()) * width_;
      const uint32_t lane_sign = lane_bits(term.mask);
      for (size_t i = 0; i < width_; ++i) {
        int64_t sample;
        uint64_t low;
        if (!lane(i, sample, low)) continue;
        totals[size_t(sample) * observables.size() + term.output] +=
            term.coefficient * (odd(i & lane_sign) ? -sums[row + i] : sums[row + i]);
      }
    }
  }
  std::copy(totals.begin(), totals.end(), values);
}

template <class T>
std::vector<uint64_t> StateBatch<T>::draw(std::span<const double> uniform) const {
  require(int64_t(uniform.size()) == batch_, "expected a uniform number for each of {} samples, got {}", batch_,
          uniform.size());
  // A sample's cells: the rows of a block in one lane. First the cell is found, then the row.
  const uint64_t block_rows = std::min<uint64_t>(64, rows()), blocks = rows() / block_rows;
  AlignedVector<T> sums(blocks * width_);
  parallel_for(int64_t(blocks), std::max<int64_t>(1, grain(width_) / int64_t(block_rows)),
               [&](int64_t begin, int64_t end) {
                 for (uint64_t block = uint64_t(begin); block < uint64_t(end); ++block)
                   row_kernels<T>().norm(width_, data_.data(), {rows() - 1, 0}, block * block_rows,
                                         (block + 1) * block_rows, sums.data() + block * width_);
               });
  std::vector<uint64_t> result;
  for (int64_t b = 0; b < batch_; ++b) {
    const uint64_t lows = uint64_t{1} << low_bits_;
    const auto cell = [&](uint64_t i) {
      return double(sums[size_t(i >> low_bits_) * width_ + ((i & (lows - 1)) << stride_bits_) + size_t(b)]);
    };
    const auto state = [&](uint64_t i, uint64_t row) {
      return ((i >> low_bits_) * block_rows + row) << low_bits_ | (i & (lows - 1));
    };
    double total = 0;
    for (uint64_t i = 0; i < blocks * lows; ++i) total += cell(i);
    require(std::isfinite(total) && total > 0,
            "cannot sample: the probabilities sum to {}; check the weights and inputs", total);
    double left = uniform[size_t(b)] * total;
    uint64_t chosen = 0;
    for (uint64_t i = 0; i < blocks * lows; ++i) {
      if (cell(i) <= 0) continue;
      chosen = i;
      if (left < cell(i)) break;
      left -= cell(i);
    }
    uint64_t reached = state(chosen, 0);
    for (uint64_t row = 0; row < block_rows; ++row) {
      const double part = std::norm(Complex(amplitude(b, state(chosen, row))));
      if (part <= 0) continue;
      reached = state(chosen, row);
      if (left < part) break;
      left -= part;
    }
    result.push_back(reached);
  }
  return result;
}

template <class T>
double angle_value(const Angle& angle, const T* weights, const T* inputs) {
  double product = angle.scale;
  if (product != 0) {
    if (angle.weight != Angle::kNone) product *= double(weights[angle.weight]);
    if (angle.input != Angle::kNone) product *= double(inputs[angle.input]);
    if (angle.input2 != Angle::kNone) product *= double(inputs[angle.input2]);
  }
  return product + (angle.offset != Angle::kNone ? double(weights[angle.offset]) : 0) + angle.constant;
}

template <class T>
TargetMatrix target_matrix(const Operation& operation, const T* weights, const T* inputs) {
  const GateInfo& info = gate_info(operation.kind);
  require(is_unitary(operation.kind), "{} has no unitary matrix", info.name);
  TargetMatrix result;
  const auto first_target = operation.wires.begin() + info.controls;
  result.controls.assign(operation.wires.begin(), first_target);
  result.targets.assign(first_target, operation.wires.end());
  result.controls.insert(result.controls.end(), operation.controls.begin(), operation.controls.end());
  std::vector<double> values;
  for (const Angle& angle : operation.angles) values.push_back(angle_value(angle, weights, inputs));
  if (operation.kind == GateKind::Unitary) {
    result.matrix = *operation.matrix;
  } else if (operation.kind == GateKind::PauliRotation) {
    Operation fixed = operation;
    fixed.controls.clear();
    fixed.angles = {values[0]};
    result.matrix = fixed.unitary();
  } else {
    const Matrix whole = gate_matrix(operation.kind, values);
    const int ones = (1 << info.controls) - 1;
    result.matrix = Matrix(whole.dim >> info.controls);
    for (int i = 0; i < result.matrix.dim; ++i)
      for (int j = 0; j < result.matrix.dim; ++j)
        result.matrix(i, j) = whole(i << info.controls | ones, j << info.controls | ones);
  }
  return result;
}

template <class T>
void StateBatch<T>::apply(const Operation& operation, const T* weights, const T* inputs, int64_t input_stride,
                          const uint8_t* mask) {
  if (operation.kind == GateKind::Barrier) return;
  const auto row = [&](int64_t b) { return inputs + b * input_stride; };
  if (operation.kind == GateKind::AmplitudeEncoding) {
    for (int64_t b = 0; b < batch_; ++b) {
      if (mask && !mask[b]) continue;
      double norm = 0;
      for (uint64_t i = 0; i < uint64_t{1} << wires_; ++i) norm += double(row(b)[i]) * double(row(b)[i]);
      require(norm > 0 && std::isfinite(norm), "amplitude encoding: the inputs of sample {} have no direction", b);
      for (uint64_t i = 0; i < uint64_t{1} << wires_; ++i) set_amplitude(b, i, T(double(row(b)[i]) / std::sqrt(norm)));
    }
    return;
  }
  const bool shared = batch_ == 1 || input_stride == 0 || std::ranges::none_of(operation.angles, &Angle::has_input);
  if (operation.kind == GateKind::PauliRotation) {
    std::vector<double> angles;
    for (int64_t b = 0; b < batch_; ++b)
      angles.push_back(angle_value(operation.angles[0], weights, shared ? inputs : row(b)));
    return rotate(operation.pauli, angles, operation.controls, mask);
  }
  const TargetMatrix first = target_matrix(operation, weights, inputs);
  if (shared) return apply_matrix(first.targets, first.matrix, first.controls, mask);
  std::vector<Matrix> matrices;
  for (int64_t b = 0; b < batch_; ++b) matrices.push_back(target_matrix(operation, weights, row(b)).matrix);
  apply_each(first.targets, matrices, first.controls, mask);
}

template class StateBatch<float>;
template class StateBatch<double>;
template double angle_value(const Angle&, const float*, const float*);
template double angle_value(const Angle&, const double*, const double*);
template TargetMatrix target_matrix(const Operation&, const float*, const float*);
template TargetMatrix target_matrix(const Operation&, const double*, const double*);

}  // namespace quanta::simulate
