#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "quanta/simulate/linear_algebra.h"

namespace quanta::simulate {

/// A tensor of a matrix-product state: element (l, p, r) is at l + left * (p + 2 * r), so it is at once the matrix
/// [left, 2 right] and the matrix [2 left, right].
struct SiteTensor {
  int left = 1, right = 1;
  std::vector<Scalar> data;
};

/// Where singular values are dropped: all but `max_bond`, and as many of the smallest as have squares that sum to at
/// most `cutoff` of the whole.
struct Truncation {
  int max_bond;
  double cutoff;
  bool normalize = true;  // the state to norm 1 afterwards
};

/// A matrix-product state in mixed canonical form: the sites left and right of `centre` are isometries.
class TensorTrain {
 public:
  /// |0...0>
  explicit TensorTrain(int sites);
  explicit TensorTrain(std::vector<SiteTensor> sites, int centre) : centre(centre), sites_(std::move(sites)) {}

  int centre = 0;
  /// If set, receives what a call replaces: the site and its former tensor.
  std::vector<std::pair<int, SiteTensor>>* tape = nullptr;

  int sites() const { return int(sites_.size()); }
  const SiteTensor& operator[](int site) const { return sites_[size_t(site)]; }
  int largest_bond() const;

  void move_centre(int to);
  /// A gate on the sites first, ..., first + count - 1; its 2^count dimensional matrix is row-major and bit k of an
  /// index belongs to site first + k. With count > 1 the centre must be one of the sites and ends at the last (at the
  /// first, if `to_left` and count == 2). Returns the share of the norm squared that was discarded.
  double apply(const Scalar* gate, int first, int count, const Truncation& truncation, bool to_left = false);
  /// Cuts the bond right of the centre and moves the centre over it; returns the discarded share.
  double truncate_right(const Truncation& truncation);
  void restore(int site, SiteTensor tensor) { sites_[size_t(site)] = std::move(tensor); }

  /// The sites contracted: [left, 2^count, right], bit k of the middle index being site first + k.
  std::vector<Scalar> block(int first, int count) const;

 private:
  void replace(int site, SiteTensor tensor);

  std::vector<SiteTensor> sites_;
};

/// b += factor * a, without the checks for infinities that operator* makes.
inline void add_multiple(int64_t size, Scalar factor, const Scalar* a, Scalar* b) {
  const double re = factor.real(), im = factor.imag();
  for (int64_t i = 0; i < size; ++i)
    b[i] += Scalar(re * a[i].real() - im * a[i].imag(), re * a[i].imag() + im * a[i].real());
}

/// sum conj(a) b
inline Scalar inner(int64_t size, const Scalar* a, const Scalar* b) {
  double re = 0, im = 0;
  for (int64_t i = 0; i < size; ++i) {
    re += a[i].real() * b[i].real() + a[i].imag() * b[i].imag();
    im += a[i].real() * b[i].imag() - a[i].imag() * b[i].real();
  }
  return {re, im};
}

/// A gate's matrix on [left, 2^count, right].
std::vector<Scalar> apply_gate(const Scalar* gate, int count, int left, int right, const std::vector<Scalar>& block);

}  // namespace quanta::simulate
