#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace quanta::simulate {

/// Memory aligned to a cache line, which no vector register exceeds.
template <class T>
struct AlignedAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kAlignment)); }
  void deallocate(T* p, size_t) { ::operator delete(p, kAlignment); }
  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) { return true; }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

/// The vector's memory, made larger if need be, never smaller.
template <class T>
T* reserve(AlignedVector<T>& vector, size_t count) {
  if (vector.size() < count) vector.resize(count);
  return vector.data();
}

}  // namespace quanta::simulate
