#include <bit>
#include <tuple>
#include <utility>

#include "quanta/simulate/large.h"
#include "quanta/simulate/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quanta/simulate/large_kernels.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
//
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "quanta/simulate/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace quanta::simulate::HWY_NAMESPACE {

HWY_INLINE bool odd_parity(uint64_t x) {
  return std::popcount(x) & 1;
}

template <class T>
constexpr int kLaneBits = std::bit_width(kLanes<T>) - 1;

// --- memory of a state

template <class T>
struct FullStore {
  T* data;
  explicit FullStore(const StateMemory<T>& memory) : data(memory.full) {}
  HWY_INLINE C<T> load_chunk(size_t number) const { return load_amplitude(data + number * kStride<T>); }
  HWY_INLINE void store_chunk(const C<T>& x, size_t number) const { store_amplitude(x, data + number * kStride<T>); }
  HWY_INLINE void prefetch(size_t number) const {
    __builtin_prefetch(data + number * kStride<T>, 0, 2);
    __builtin_prefetch(data + number * kStride<T> + kLanes<T>, 0, 2);
  }
  HWY_INLINE std::pair<T, T> amplitude(size_t place) const { return {data[place], data[place + kLanes<T>]}; }
};

/// 16-bit integers with one power of two a chunk, such that its largest number keeps 15 bits.
struct HalfStore {
  int16_t* data;
  int8_t* exponents;
  explicit HalfStore(const StateMemory<float>& memory) : data(memory.half), exponents(memory.exponents) {}

  static HWY_INLINE float power(int exponent) { return std::bit_cast<float>(uint32_t(exponent + 127) << 23); }
  HWY_INLINE C<float> load_chunk(size_t number) const {
    const Tag<float> d;
    const hn::RebindToSigned<Tag<float>> di;
    const hn::Rebind<int16_t, Tag<float>> dh;
    const int16_t* at = data + number * kStride<float>;
    const V<float> scale = set<float>(power(exponents[number] - 15));
    return {hn::Mul(scale, hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(dh, at)))),
            hn::Mul(scale, hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(dh, at + kLanes<float>))))};
  }
  HWY_INLINE void store_chunk(const C<float>& x, size_t number) const {
    const Tag<float> d;
    const hn::Rebind<int16_t, Tag<float>> dh;
    const float largest = hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Abs(x.re), hn::Abs(x.im))));
    const int exponent = std::max(int(std::bit_cast<uint32_t>(largest) >> 23) - 126, -100);  // largest < 2^exponent
    const V<float> scale = set<float>(power(15 - exponent));
    int16_t* at = data + number * kStride<float>;
    exponents[number] = int8_t(exponent);
    hn::StoreU(hn::DemoteTo(dh, hn::NearestInt(hn::Mul(scale, x.re))), dh, at);
    hn::StoreU(hn::DemoteTo(dh, hn::NearestInt(hn::Mul(scale, x.im))), dh, at + kLanes<float>);
  }
  HWY_INLINE void prefetch(size_t number) const { __builtin_prefetch(data + number * kStride<float>, 0, 2); }
  HWY_INLINE std::pair<float, float> amplitude(size_t place) const {
    const float scale = power(exponents[place / kStride<float>] - 15);
    return {scale * float(data[place]), scale * float(data[place + kLanes<float>])};
  }
};

/// f(store) with the store that the memory is.
template <class T, class Function>
HWY_INLINE auto with_store(const StateMemory<T>& memory, Function f) {
  if constexpr (sizeof(T) == sizeof(float))
    if (memory.half) return f(HalfStore(memory));
  return f(FullStore<T>(memory));
}

template <class T>
HWY_INLINE C<T> split_lanes(const std::complex<T>* lanes) {
  constexpr size_t L = kLanes<T>;
  HWY_ALIGN T split[2 * L];
  for (size_t i = 0; i < L; ++i) {
    split[i] = lanes[i].real();
    split[L + i] = lanes[i].imag();
  }
  return load_amplitude(split);
}

template <class T>
void product(const StateMemory<T>& memory, uint64_t first, uint64_t last, int lower_bits, const std::complex<T>* upper,
             const std::complex<T>* lower, const std::complex<T>* lanes) {
  const C<T> in_lanes = split_lanes<T>(lanes);
  with_store(memory, [&](auto store) HWY_ATTR {
    for (uint64_t h = first; h < last; ++h) {
      const std::complex<T> u = upper[h >> lower_bits], l = lower[h & ((uint64_t{1} << lower_bits) - 1)];
      const C<T> factor = mul<T>({set<T>(u.real()), set<T>(u.imag())}, {set<T>(l.real()), set<T>(l.imag())});
      store.store_chunk(mul(factor, in_lanes), h);
    }
  });
}

/// lanes' = lanes ^ flip.
template <class T>
HWY_INLINE auto lane_permutation(uint32_t flip) {
  using Index = hwy::MakeSigned<T>;
  const hn::RebindToSigned<Tag<T>> di;
  return hn::IndicesFromVec(Tag<T>(), hn::Xor(hn::Iota(di, 0), hn::Set(di, Index(flip))));
}
template <class T>
HWY_INLINE C<T> permute(const C<T>& x, uint32_t flip) {
  if (flip == 0) return x;
  const auto indices = lane_permutation<T>(flip);
  return {hn::TableLookupLanes(x.re, indices), hn::TableLookupLanes(x.im, indices)};
}

/// (-1)^parity(lane & mask) for every mask.
template <class T>
class LaneSigns {
 public:
  LaneSigns() {
    for (size_t mask = 0; mask < L; ++mask)
      for (size_t lane = 0; lane < L; ++lane) signs_[mask * L + lane] = odd_parity(lane & mask) ? T(-1) : T(1);
  }
  HWY_INLINE V<T> operator()(uint64_t mask) const { return load(signs_ + (mask & (L - 1)) * L); }
  /// value with these signs, negated if asked.
  HWY_INLINE V<T> of(T value, uint64_t mask, bool negative) const {
    return hn::Mul(set<T>(negative ? -value : value), (*this)(mask));
  }

 private:
  static constexpr size_t L = kLanes<T>;
  HWY_ALIGN T signs_[L * L];
};

template <class T>
HWY_INLINE double sum_of(V<T> x) {
  constexpr size_t L = kLanes<T>;
  HWY_ALIGN T lanes[L];
  store<T>(x, lanes);
  double sum = 0;
  for (size_t i = 0; i < L; ++i) sum += double(lanes[i]);
  return sum;
}

// --- diagonals

/// What a block's diagonals are computed in.
template <class T>
struct DiagonalTable {
  static constexpr size_t kChunks = size_t{1} << kInner;
  explicit DiagonalTable(const SweepWork<T>& work) : chunks(kChunks * kStride<T>) {
    size_t slots = 8;
    for (const StageWork<T>& stage : work.stages)
      for (const DiagonalWork<T>* d : {&stage.before, &stage.after}) {
        slots = std::max(slots, (d->plan->slots.size() + 7) / 8 * 8);
        if (d->plan->transform) spectrum.resize(std::max<size_t>(kChunks * kLanes<T>, 8));
      }
    for (auto* v : {&angle, &sine, &cosine}) v->resize(slots);
    if (!spectrum.empty()) {
      flat_cosine.resize(spectrum.size());
      flat_sine.resize(spectrum.size());
    }
  }

  /// The factors of the chunks of the part whose first amplitude is `physical`.
  void fill(const DiagonalWork<T>& work, uint64_t physical, const LaneSigns<T>& signs, const CoefficientMath<T>& math) {
    const Diagonal& plan = *work.plan;
    std::fill(angle.begin(), angle.end(), 0.0);
    for (size_t t = 0; t < plan.terms.size(); ++t) {
      const Diagonal::Term& term = plan.terms[t];
      angle[term.slot] += odd_parity(term.mask & physical) ? work.halves[t] : -work.halves[t];
    }
    if (plan.transform) {
      std::fill(spectrum.begin(), spectrum.end(), 0.0);
      for (size_t s = 0; s < plan.slots.size(); ++s)
        spectrum[plan.slots[s].inner << kLaneBits<T> | plan.slots[s].lanes] = angle[s];
      math.diagonal(kInner + kLaneBits<T>, spectrum.data(), work.scale, flat_cosine.data(), flat_sine.data());
      for (size_t j = 0; j < kChunks; ++j)
        store_amplitude<T>({load(flat_cosine.data() + j * kLanes<T>), load(flat_sine.data() + j * kLanes<T>)}, at(j));
      return;
    }
    math.sine_cosine(plan.slots.size(), angle.data(), sine.data(), cosine.data());
    const auto factor = [&](size_t slot) HWY_ATTR -> C<T> {
      return {set<T>(T(cosine[slot])), hn::Mul(set<T>(T(sine[slot])), signs(plan.slots[slot].lanes))};
    };
    size_t slot = 0;
    C<T> start{set<T>(T(work.scale)), set<T>(0)};
    for (; slot < plan.slots.size() && plan.slots[slot].inner == 0; ++slot) start = mul(start, factor(slot));
    store_amplitude(start, at(0));
    for (int bit = 0; bit < kInner; ++bit) {
      const size_t half = size_t{1} << bit;
      if (slot < plan.slots.size() && plan.slots[slot].inner == half) {
        const C<T> f = factor(slot++);
        for (size_t j = 0; j < half; ++j) {
          const C<T> x = load_amplitude(at(j));
          store_amplitude(mul_conj(f, x), at(half + j));
          store_amplitude(mul(f, x), at(j));
        }
      } else {
        for (size_t j = 0; j < half; ++j) store_amplitude(load_amplitude(at(j)), at(half + j));
      }
      for (; slot < plan.slots.size() && plan.slots[slot].inner < 2 * half; ++slot) {
        const C<T> f = factor(slot);
        for (size_t j = 0; j < 2 * half; ++j) {
          const C<T> x = load_amplitude(at(j));
          store_amplitude(odd_parity(j & plan.slots[slot].inner) ? mul_conj(f, x) : mul(f, x), at(j));
        }
      }
    }
  }

  HWY_INLINE T* at(size_t chunk) { return chunks.data() + chunk * kStride<T>; }
  HWY_INLINE C<T> operator()(size_t chunk) { return load_amplitude(at(chunk)); }

  AlignedVector<T> chunks, flat_cosine, flat_sine;
  AlignedVector<double> angle, sine, cosine, spectrum;
};

// --- rotations

/// visit(j) for all j below `size` whose bits in `mask` are 0.
template <class Visit>
HWY_INLINE void for_zero_bits(size_t size, size_t mask, Visit visit) {
  for (size_t j = 0; j < size; j = ((j | mask) + 1) & ~mask) visit(j);
}

/// The offsets of a group's amplitudes.
template <int kCount>
HWY_INLINE size_t group_corners(const int* bits, size_t spacing, size_t* corners) {
  size_t mask = 0;
  for (int c = 0; c < 1 << kCount; ++c) {
    corners[c] = 0;
    for (int i = 0; i < kCount; ++i)
      if (c >> i & 1) corners[c] += spacing << bits[i];
  }
  for (int i = 0; i < kCount; ++i) mask |= size_t{1} << bits[i];
  return mask;
}

/// Rotations that flip these bits of the number of chunks that lie `spacing` apart.
template <int kCount, class T>
HWY_NOINLINE void rotate_group(T* chunks, size_t spacing, size_t size, const int* bits, const V<T>* tangents) {
  constexpr int kPoints = 1 << kCount;
  size_t corners[kPoints];
  const size_t mask = group_corners<kCount>(bits, spacing, corners);
  for_zero_bits(size, mask, [&](size_t j) HWY_ATTR {
    T* at = chunks + j * spacing;
    C<T> x[kPoints];
#pragma GCC unroll 8
    for (size_t c = 0; c < kPoints; ++c) x[c] = load_amplitude(at + corners[c]);
    turn<kCount, false, T>(x, tangents);
#pragma GCC unroll 8
    for (size_t c = 0; c < kPoints; ++c) store_amplitude(x[c], at + corners[c]);
  });
}

template <class T>
void rotate_all(T* chunks, size_t spacing, size_t size, const int* bits, int count, const V<T>* tangents) {
  while (count > 0) {
    const int part = count == 4 ? 2 : std::min(3, count);
    if (part == 3) rotate_group<3, T>(chunks, spacing, size, bits, tangents);
    if (part == 2) rotate_group<2, T>(chunks, spacing, size, bits, tangents);
    if (part == 1) rotate_group<1, T>(chunks, spacing, size, bits, tangents);
    bits += part;
    tangents += part;
    count -= part;
  }
}

/// Adds to xy [rotation][X, Y, Z][lane] the overlaps Im<lambda|X|psi> and Im<lambda|Y|psi> of the group's qubits, then
/// undoes the rotations on both states.
template <int kCount, class T>
HWY_NOINLINE void undo_group(T* HWY_RESTRICT psi, T* HWY_RESTRICT lambda, size_t spacing, size_t size, const int* bits,
                             const V<T>* tangents, T* HWY_RESTRICT xy) {
  constexpr int kPoints = 1 << kCount;
  constexpr size_t L = kLanes<T>;
  size_t corners[kPoints];
  const size_t mask = group_corners<kCount>(bits, spacing, corners);
  V<T> sum_x[kCount], sum_y[kCount];
#pragma GCC unroll 2
  for (int i = 0; i < kCount; ++i) {
    sum_x[i] = load(xy + 3 * i * L);
    sum_y[i] = load(xy + (3 * i + 1) * L);
  }
  for_zero_bits(size, mask, [&](size_t number) HWY_ATTR {
    T* at_psi = psi + number * spacing;
    T* at_lambda = lambda + number * spacing;
    C<T> x[kPoints], y[kPoints];
#pragma GCC unroll 4
    for (int j = 0; j < kPoints; ++j) {
      x[j] = load_amplitude(at_psi + corners[j]);
      y[j] = load_amplitude(at_lambda + corners[j]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < kCount; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kPoints; ++j)
        if (!(j >> i & 1)) add_overlaps(x[j], x[j | 1 << i], y[j], y[j | 1 << i], sum_x[i], sum_y[i]);
    }
    turn<kCount, true, T>(x, tangents);
    turn<kCount, true, T>(y, tangents);
#pragma GCC unroll 4
    for (int j = 0; j < kPoints; ++j) {
      store_amplitude(x[j], at_psi + corners[j]);
      store_amplitude(y[j], at_lambda + corners[j]);
    }
  });
#pragma GCC unroll 2
  for (int i = 0; i < kCount; ++i) {
    store<T>(sum_x[i], xy + 3 * i * L);
    store<T>(sum_y[i], xy + (3 * i + 1) * L);
  }
}

#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM
constexpr int kUndoGroup = 2;
#else
constexpr int kUndoGroup = 1;
#endif

template <class T>
void undo_all(T* psi, T* lambda, size_t spacing, size_t size, const int* bits, int count, const V<T>* tangents, T* xy) {
  while (count > 0) {
    const int part = std::min(kUndoGroup, count);
    if (part == 2)
      undo_group<2, T>(psi, lambda, spacing, size, bits, tangents, xy);
    else
      undo_group<1, T>(psi, lambda, spacing, size, bits, tangents, xy);
    bits += part;
    tangents += part;
    xy += 3 * part * kLanes<T>;
    count -= part;
  }
}

// --- sweeps

/// The block at hand and what its loops share.
template <class T>
class BlockLoop {
 public:
  static constexpr size_t kPart = size_t{1} << kInner;
  static constexpr int kMostRotations = 16;

  explicit BlockLoop(const SweepWork<T>& sweep_work)
      : work(sweep_work), s(*work.sweep), bits(int(s.span.size())), chunks(size_t{1} << bits), table(work) {}

  // A gap after every part keeps chunks that are worked on together in different sets of the cache.
  static size_t place(size_t j) { return (j + (j >> kInner)) * kStride<T>; }
  static constexpr size_t kColumn = (kPart + 1) * kStride<T>;  // from a chunk to the same one of the next part
  size_t buffer_size() const { return place(chunks) + kStride<T>; }

  uint64_t next(uint64_t block) const { return ((block | ~s.free) + 1) & s.free; }
  void start(uint64_t block) {
    base = block;
    physical = block << kLaneBits<T>;
  }
  size_t chunk(size_t j) const { return base ^ s.offsets[j]; }
  /// The first physical amplitude of a part.
  uint64_t origin(size_t part) const { return physical ^ (uint64_t(s.offsets[part]) << kLaneBits<T> | s.lanes[part]); }
  void fill(const DiagonalWork<T>& diagonal, size_t part) { table.fill(diagonal, origin(part), signs, *work.math); }
  /// Whether a rotation's even parity is its qubit's 1 in lane 0.
  bool exchanged(const SweepRotation<T>& r) const { return r.exchanged != odd_parity(r.parity & physical); }

  void set_tangents(const StageWork<T>& stage) {
    for (size_t i = 0; i < stage.rotations.size(); ++i) {
      const auto& r = stage.rotations[i];
      tangents[i] = signs.of(r.tangent, r.parity, exchanged(r));
    }
    for (size_t i = 0; i < stage.lane_rotations.size(); ++i) {
      const auto& r = stage.lane_rotations[i];
      lane_tangents[i] = signs.of(r.tangent, r.parity, !exchanged(r));
    }
  }

  const SweepWork<T>& work;
  const Sweep& s;
  const int bits;
  const size_t chunks;
  const LaneSigns<T> signs;
  DiagonalTable<T> table;
  uint64_t base = 0, physical = 0;
  HWY_ALIGN V<T> tangents[kMostRotations], lane_tangents[8];
};

/// A thread's memory for blocks, kept: to zero it anew would cost a tenth of a sweep.
template <class T>
T* block_memory(size_t size) {
  thread_local AlignedVector<T> memory;
  if (memory.size() < size) memory.resize(size);
  return memory.data();
}

template <class Store, class T>
void sweep_in(const Store store, const SweepWork<T>& work, uint64_t first_block, uint64_t last_block) {
  BlockLoop<T> loop(work);
  const Sweep& s = *work.sweep;
  T* buffer = block_memory<T>(loop.buffer_size());
  uint64_t base = spread(first_block, s.free);
  for (uint64_t block = first_block; block < last_block; ++block, base = loop.next(base)) {
    loop.start(base);
    const uint64_t next_base = loop.next(base);
    for (const StageWork<T>& stage : work.stages) {
      const Stage& plan = *stage.plan;
      const bool first = &stage == work.stages.data(), last = &stage + 1 == work.stages.data() + work.stages.size();
      const int rotations = int(plan.rotations.size());
      const bool phases = !stage.before.trivial();
      loop.set_tangents(stage);
      for (size_t part = 0; part < loop.chunks; part += loop.kPart) {
        if (phases) loop.fill(stage.before, part);
        if (first || phases || !stage.lane_rotations.empty())
          for (size_t j = part; j < part + loop.kPart; ++j) {
            T* at = buffer + loop.place(j);
            C<T> x;
            if (first) {
              x = permute<T>(store.load_chunk(loop.chunk(j)), s.lanes[j]);
              store.prefetch(next_base ^ s.offsets[j]);
            } else {
              x = load_amplitude(at);
            }
            if (phases) x = mul(loop.table(j - part), x);
            for (size_t i = 0; i < stage.lane_rotations.size(); ++i) {
              const C<T> partner = permute<T>(x, stage.lane_rotations[i].lane_flip);
              x = {hn::MulAdd(loop.lane_tangents[i], partner.re, x.re),
                   hn::MulAdd(loop.lane_tangents[i], partner.im, x.im)};
            }
            store_amplitude(x, at);
          }
        rotate_all<T>(buffer + loop.place(part), kStride<T>, loop.kPart, plan.bits.data(), plan.inner, loop.tangents);
      }
      if (rotations > plan.inner) {
        int outer[loop.kMostRotations];
        for (int i = plan.inner; i < rotations; ++i) outer[i] = plan.bits[i] - kInner;
        for (size_t j = 0; j < loop.kPart; ++j)
          rotate_all<T>(buffer + j * kStride<T>, loop.kColumn, loop.chunks >> kInner, outer + plan.inner,
                        rotations - plan.inner, loop.tangents + plan.inner);
      }
      const bool after = !stage.after.trivial();
      if (!after && !last) continue;
      for (size_t part = 0; part < loop.chunks; part += loop.kPart) {
        if (after) loop.fill(stage.after, part);
        for (size_t j = part; j < part + loop.kPart; ++j) {
          C<T> x = load_amplitude(buffer + loop.place(j));
          if (after) x = mul(loop.table(j - part), x);
          if (last)
            store.store_chunk(permute<T>(x, s.lanes[j]), loop.chunk(j));
          else
            store_amplitude(x, buffer + loop.place(j));
        }
      }
    }
  }
}

template <class T>
void sweep(const SweepWork<T>& work, uint64_t first_block, uint64_t last_block) {
  with_store(work.psi, [&](auto store) HWY_ATTR { sweep_in(store, work, first_block, last_block); });
}

template <class T>
void density(const StateMemory<T>& memory, uint64_t first, int bits, T* spectrum) {
  with_store(memory, [&](auto store) HWY_ATTR {
    for (size_t j = 0; j < size_t{1} << bits; ++j) {
      const C<T> x = store.load_chunk(first + j);
      quanta::simulate::HWY_NAMESPACE::store<T>(hn::MulAdd(x.im, x.im, hn::Mul(x.re, x.re)), spectrum + j * kLanes<T>);
    }
  });
  walsh(spectrum, bits);
}

/// Adds the sum over chunks of density * (-1)^bit of the chunk's number to z [bit] for the lowest `bits`, and leaves
/// the sum of all in density[0].
template <class T>
HWY_INLINE void fold(T* density, int bits, T* z) {
  constexpr size_t L = kLanes<T>;
  for (int q = 0; q < bits; ++q) {
    V<T> sum = load(z + q * L);
    for (size_t i = 0; i < size_t{1} << (bits - q - 1); ++i) {
      const V<T> a = load(density + 2 * i * L), b = load(density + (2 * i + 1) * L);
      sum = hn::Add(sum, hn::Sub(a, b));
      store<T>(hn::Add(a, b), density + i * L);
    }
    store<T>(sum, z + q * L);
  }
}

template <class T>
void undo(const SweepWork<T>& work, uint64_t first_block, uint64_t last_block, double* sums) {
  constexpr size_t L = kLanes<T>;
  BlockLoop<T> loop(work);
  const FullStore<T> all_psi(work.psi), all_lambda(work.lambda);
  const Sweep& s = *work.sweep;
  constexpr size_t kPart = loop.kPart;
  T* psi = block_memory<T>(2 * loop.buffer_size());
  T* lambda = psi + loop.buffer_size();
  const size_t parts = loop.chunks >> kInner;
  AlignedVector<T> density(kPart * L), part_density(parts * L), z(size_t(loop.bits) * L), lane_z(L);
  AlignedVector<T> xy(3 * loop.kMostRotations * L), lane_xy(3 * 8 * L);
  uint64_t base = spread(first_block, s.free);
  for (uint64_t block = first_block; block < last_block; ++block, base = loop.next(base)) {
    loop.start(base);
    const uint64_t next_base = loop.next(base);
    for (auto stage = work.stages.rbegin(); stage != work.stages.rend(); ++stage) {
      const Stage& plan = *stage->plan;
      // Seen from the end: the last stage loads, the first one stores.
      const bool loads = stage == work.stages.rbegin(), stores = stage + 1 == work.stages.rend();
      const int rotations = int(plan.rotations.size());
      const bool after = !stage->after.trivial();
      loop.set_tangents(*stage);
      std::fill(z.begin(), z.end(), T(0));
      std::fill(xy.begin(), xy.end(), T(0));
      std::fill(lane_xy.begin(), lane_xy.end(), T(0));
      for (size_t part = 0; part < loop.chunks; part += kPart) {
        if (after) loop.fill(stage->after, part);
        for (size_t j = part; j < part + kPart; ++j) {
          T* at_psi = psi + loop.place(j);
          T* at_lambda = lambda + loop.place(j);
          C<T> x, y;
          if (loads) {
            x = permute<T>(all_psi.load_chunk(loop.chunk(j)), s.lanes[j]);
            y = permute<T>(all_lambda.load_chunk(loop.chunk(j)), s.lanes[j]);
            all_psi.prefetch(next_base ^ s.offsets[j]);
            all_lambda.prefetch(next_base ^ s.offsets[j]);
          } else {
            x = load_amplitude(at_psi);
            y = load_amplitude(at_lambda);
          }
          if (after) {
            const C<T> phase = loop.table(j - part);
            x = mul_conj(phase, x);
            y = mul_conj(phase, y);
          }
          store<T>(im_conj(y, x), density.data() + (j - part) * L);
          for (size_t i = 0; i < stage->lane_rotations.size(); ++i) {
            const uint32_t flip = stage->lane_rotations[i].lane_flip;
            const C<T> px = permute<T>(x, flip), py = permute<T>(y, flip);
            // conj(lambda_p) psi_q over all p, q being p's partner: both members of a pair count.
            T* at = lane_xy.data() + 3 * i * L;
            add_to<T>(im_conj(y, px), at);
            add_to<T>(hn::MulAdd(y.im, px.im, hn::Mul(y.re, px.re)), at + L);
            const V<T> t = loop.lane_tangents[i];
            x = {hn::NegMulAdd(t, px.re, x.re), hn::NegMulAdd(t, px.im, x.im)};
            y = {hn::NegMulAdd(t, py.re, y.re), hn::NegMulAdd(t, py.im, y.im)};
          }
          store_amplitude(x, at_psi);
          store_amplitude(y, at_lambda);
        }
        fold(density.data(), kInner, z.data());
        store<T>(load(density.data()), part_density.data() + (part >> kInner) * L);
        undo_all<T>(psi + loop.place(part), lambda + loop.place(part), kStride<T>, kPart, plan.bits.data(), plan.inner,
                    loop.tangents, xy.data());
      }
      fold(part_density.data(), loop.bits - kInner, z.data() + kInner * L);
      store<T>(load(part_density.data()), lane_z.data());
      if (rotations > plan.inner) {
        int outer[loop.kMostRotations];
        for (int i = plan.inner; i < rotations; ++i) outer[i] = plan.bits[i] - kInner;
        for (size_t j = 0; j < kPart; ++j)
          undo_all<T>(psi + j * kStride<T>, lambda + j * kStride<T>, loop.kColumn, parts, outer + plan.inner,
                      rotations - plan.inner, loop.tangents + plan.inner, xy.data() + 3 * plan.inner * L);
      }
      // Y and Z change their signs where the qubit's 0 and 1 are exchanged.
      double* sum = sums + plan.first_sum;
      for (int i = 0; i < rotations; ++i, sum += 3) {
        const auto& r = stage->rotations[i];
        const V<T> sign = loop.signs.of(T(1), r.parity, loop.exchanged(r));
        sum[0] += sum_of<T>(load(xy.data() + 3 * i * L));
        sum[1] += sum_of<T>(hn::Mul(sign, load(xy.data() + (3 * i + 1) * L)));
        sum[2] += sum_of<T>(hn::Mul(sign, load(z.data() + plan.bits[i] * L)));
      }
      for (size_t i = 0; i < stage->lane_rotations.size(); ++i, sum += 3) {
        const auto& r = stage->lane_rotations[i];
        const V<T> sign = loop.signs.of(T(1), r.parity, loop.exchanged(r));
        sum[0] += sum_of<T>(load(lane_xy.data() + 3 * i * L));
        sum[1] -= sum_of<T>(hn::Mul(sign, load(lane_xy.data() + (3 * i + 1) * L)));
        sum[2] += sum_of<T>(hn::Mul(sign, load(lane_z.data())));
      }
      const bool phases = !stage->before.trivial();
      const Diagonal& before = plan.before;
      if (!phases && !stores) continue;
      for (size_t part = 0; part < loop.chunks; part += kPart) {
        if (before.trainable) {
          for (size_t j = 0; j < kPart; ++j)
            store<T>(im_conj(load_amplitude(lambda + loop.place(part + j)), load_amplitude(psi + loop.place(part + j))),
                     density.data() + j * L);
          walsh(density.data(), kInner);
          for (size_t k = 0; k < before.slots.size(); ++k)
            loop.table.angle[k] =
                sum_of<T>(hn::Mul(loop.signs(before.slots[k].lanes), load(density.data() + before.slots[k].inner * L)));
          for (size_t t = 0; t < before.terms.size(); ++t) {
            const double overlap = loop.table.angle[before.terms[t].slot];
            sum[t] += odd_parity(before.terms[t].mask & loop.origin(part)) ? -overlap : overlap;
          }
        }
        if (phases) loop.fill(stage->before, part);
        for (size_t j = part; j < part + kPart; ++j) {
          C<T> x = load_amplitude(psi + loop.place(j)), y = load_amplitude(lambda + loop.place(j));
          if (phases) {
            const C<T> phase = loop.table(j - part);
            x = mul_conj(phase, x);
            y = mul_conj(phase, y);
          }
          if (stores) {
            all_psi.store_chunk(permute<T>(x, s.lanes[j]), loop.chunk(j));
            all_lambda.store_chunk(permute<T>(y, s.lanes[j]), loop.chunk(j));
          } else {
            store_amplitude(x, psi + loop.place(j));
            store_amplitude(y, lambda + loop.place(j));
          }
        }
      }
    }
  }
}

template <class T>
void weigh(const T* psi, T* lambda, int bits, double* spectrum) {
  walsh_of_numbers(spectrum, bits + kLaneBits<T>);
  for (size_t j = 0; j < size_t{1} << bits; ++j) {
    HWY_ALIGN T weights[kLanes<T>];
    for (size_t i = 0; i < kLanes<T>; ++i) weights[i] = T(spectrum[j * kLanes<T> + i]);
    const V<T> w = load(weights);
    const C<T> x = load_amplitude(psi + j * kStride<T>);
    store_amplitude<T>({hn::Mul(w, x.re), hn::Mul(w, x.im)}, lambda + j * kStride<T>);
  }
}

template <class T>
double pauli_overlap(const StateMemory<T>& memory, uint64_t first, uint64_t last, const PauliWork& pauli) {
  const LaneSigns<T> signs;
  const uint64_t high = pauli.flip >> kLaneBits<T>;
  const auto flip = uint32_t(pauli.flip & (kLanes<T> - 1));
  double total = 0;
  with_store(memory, [&](auto store) HWY_ATTR {
    V<T> sum = set<T>(0);
    for (uint64_t h = first; h < last; ++h) {
      // conj(psi[p ^ flip]) i^ys (-1)^parity(p & mask) psi[p]
      const C<T> x = store.load_chunk(h);
      const C<T> y = permute<T>(store.load_chunk(h ^ high), flip);
      const V<T> sign = signs.of(T(1), pauli.mask, odd_parity(pauli.mask >> kLaneBits<T> & h));
      sum = hn::MulAdd(sign, pauli.ys & 1 ? im_conj(y, x) : hn::MulAdd(y.im, x.im, hn::Mul(y.re, x.re)), sum);
      if ((h & 1023) == 1023 || h + 1 == last) {
        total += sum_of<T>(sum);
        sum = set<T>(0);
      }
    }
  });
  return (pauli.ys % 4 == 0 || pauli.ys % 4 == 3 ? 1 : -1) * pauli.coefficient * total;
}

template <class T>
void add_pauli(const T* psi, T* lambda, uint64_t first, uint64_t last, const PauliWork& pauli) {
  const LaneSigns<T> signs;
  const uint64_t high = pauli.flip >> kLaneBits<T>;
  const auto flip = uint32_t(pauli.flip & (kLanes<T> - 1));
  // i^ys: 1, i, -1, -i; the sign is that of the amplitude that moves to p.
  const T factor = T(pauli.ys % 4 < 2 ? pauli.coefficient : -pauli.coefficient);
  for (uint64_t h = first; h < last; ++h) {
    const C<T> x = permute<T>(load_amplitude(psi + (h ^ high) * kStride<T>), flip);
    const V<T> g = signs.of(factor, pauli.mask, odd_parity(pauli.mask & ((h << kLaneBits<T>)^pauli.flip)));
    C<T> y = load_amplitude(lambda + h * kStride<T>);
    if (pauli.ys & 1) {
      y = {hn::NegMulAdd(g, x.im, y.re), hn::MulAdd(g, x.re, y.im)};
    } else {
      y = {hn::MulAdd(g, x.re, y.re), hn::MulAdd(g, x.im, y.im)};
    }
    store_amplitude(y, lambda + h * kStride<T>);
  }
}

template <class T>
void contract(const T* lambda, uint64_t first, uint64_t last, int lower_bits, const std::complex<T>* upper,
              const std::complex<T>* lower, const std::complex<T>* lanes, T* by_lower, std::complex<T>* by_upper) {
  const C<T> in_lanes = split_lanes<T>(lanes);
  const uint64_t row = uint64_t{1} << lower_bits;
  for (uint64_t h = first; h < last; h += row) {
    const std::complex<T> u = upper[h >> lower_bits];
    const C<T> factor{set<T>(u.real()), set<T>(u.imag())};
    C<T> sum{set<T>(0), set<T>(0)};
    for (uint64_t l = 0; l < row; ++l) {
      const C<T> y = load_amplitude(lambda + (h + l) * kStride<T>);
      T* at = by_lower + l * kStride<T>;
      store_amplitude(add(load_amplitude(at), mul_conj(y, factor)), at);
      sum = add(sum, mul_conj(y, C<T>{set<T>(lower[l].real()), set<T>(lower[l].imag())}));
    }
    sum = mul(sum, in_lanes);
    by_upper[h >> lower_bits] = {T(sum_of<T>(sum.re)), T(sum_of<T>(sum.im))};
  }
}

/// Amplitudes at places (origin ^ member).
template <class T, class Store>
HWY_INLINE C<T> gather_row(const Store& state, uint64_t origin, const uint64_t* members) {
  constexpr size_t L = kLanes<T>;
  HWY_ALIGN T split[2 * L];
  for (size_t i = 0; i < L; ++i) std::tie(split[i], split[L + i]) = state.amplitude(origin ^ members[i]);
  return load_amplitude(split);
}

template <class T>
void gather(const StateMemory<T>& memory, size_t rows, const uint64_t* origins, const uint64_t* members,
            std::complex<T> factor, const uint64_t* states, std::complex<T>* out) {
  const C<T> f{set<T>(factor.real()), set<T>(factor.imag())};
  with_store(memory, [&](auto store) HWY_ATTR {
    for (size_t r = 0; r < rows; ++r) {
      const C<T> x = mul(f, gather_row<T>(store, origins[r], members));
      hn::StoreInterleaved2(x.re, x.im, Tag<T>(), reinterpret_cast<T*>(out + states[r]));
    }
  });
}

template <class T>
void gather_norms(const StateMemory<T>& memory, size_t rows, const uint64_t* origins, const uint64_t* members,
                  const uint64_t* states, T* out) {
  with_store(memory, [&](auto store) HWY_ATTR {
    for (size_t r = 0; r < rows; ++r) {
      const C<T> x = gather_row<T>(store, origins[r], members);
      hn::StoreU(hn::MulAdd(x.im, x.im, hn::Mul(x.re, x.re)), Tag<T>(), out + states[r]);
    }
  });
}

template <class T>
LargeKernels<T> make_large() {
  return {kLaneBits<T>, kUndoGroup, product<T>,       contract<T>,  sweep<T>,  undo<T>,
          density<T>,   weigh<T>,   pauli_overlap<T>, add_pauli<T>, gather<T>, gather_norms<T>};
}
LargeKernels<float> make_large_float() {
  return make_large<float>();
}
LargeKernels<double> make_large_double() {
  return make_large<double>();
}

}  // namespace quanta::simulate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quanta::simulate {
HWY_EXPORT(make_large_float);
HWY_EXPORT(make_large_double);

template <>
const LargeKernels<float>& large_kernels() {
  static const LargeKernels<float> instance = HWY_DYNAMIC_DISPATCH(make_large_float)();
  return instance;
}
template <>
const LargeKernels<double>& large_kernels() {
  static const LargeKernels<double> instance = HWY_DYNAMIC_DISPATCH(make_large_double)();
  return instance;
}
}  // namespace quanta::simulate
#endif
