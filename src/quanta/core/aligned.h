#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <vector>

namespace quanta {

/// Memory aligned to a cache line, which no vector register exceeds; much of it on huge pages, for strided passes over
/// it would otherwise miss the page tables' cache.
template <class T>
struct AlignedAllocator {
  using value_type = T;
  static constexpr size_t kHugePage = size_t{1} << 21, kLarge = size_t{1} << 19;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}
  static std::align_val_t alignment(size_t bytes) { return std::align_val_t(bytes < kLarge ? 64 : kHugePage); }
  T* allocate(size_t count) {
    if (count > (size_t{1} << 62) / sizeof(T)) throw std::bad_array_new_length();
    size_t bytes = count * sizeof(T);
    const std::align_val_t align = alignment(bytes);
    if (bytes >= kLarge) bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    void* memory = ::operator new(bytes, align);
#ifdef MADV_HUGEPAGE
    if (bytes >= kLarge) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* p, size_t count) {
    ::operator delete(p, alignment(count * sizeof(T)));
  }
  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) {
    return true;
  }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

/// The vector's memory, made larger if need be, never smaller.
template <class T>
T* reserve(AlignedVector<T>& vector, size_t count) {
  if (vector.size() < count) vector.resize(count);
  return vector.data();
}

}  // namespace quanta
