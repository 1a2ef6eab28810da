#include "quanta/quantize/activation_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "quanta/core/error.h"
#include "quanta/core/safetensors.h"

namespace quanta {

namespace fs = std::filesystem;

struct ActivationStore::Impl {
  fs::path path, partial;
  int file = -1;
  int64_t sequences = 0, length = 0, width = 0;
  int64_t begin = 0;  // of the data in the file

  int64_t sequence_bytes() const { return length * width * int64_t(sizeof(float)); }

  ~Impl() {
    if (file >= 0) ::close(file);
    if (!partial.empty()) ::unlink(partial.c_str());
  }

  /// Moves the bytes of some sequences with pread or pwrite.
  template <class Call, class Bytes>
  void move(int64_t first, int64_t count, Bytes* bytes, Call call, const char* verb) const {
    require(first >= 0 && count > 0 && first + count <= sequences, "sequences {} to {} of {}", first, first + count,
            sequences);
    const int64_t offset = begin + first * sequence_bytes(), size = count * sequence_bytes();
    for (int64_t done = 0; done < size;) {
      const ssize_t n = call(file, bytes + done, size_t(size - done), offset + done);
      if (n < 0 && errno == EINTR) continue;
      require(n > 0, "cannot {} the activations in {}: {}", verb, path.string(),
              n == 0 ? "the file ends" : std::strerror(errno));
      done += n;
    }
  }
};

namespace {

std::string header_of(int64_t sequences, int64_t length, int64_t width) {
  std::string json = fmt::format(R"({{"h":{{"dtype":"F32","shape":[{},{},{}],"data_offsets":[0,{}]}}}})", sequences,
                                 length, width, sequences * length * width * int64_t(sizeof(float)));
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const uint64_t size = json.size();
  std::string header(sizeof size, '\0');
  std::memcpy(header.data(), &size, sizeof size);
  return header + json;
}

}  // namespace

ActivationStore::ActivationStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ActivationStore::ActivationStore(ActivationStore&&) noexcept = default;
ActivationStore& ActivationStore::operator=(ActivationStore&&) noexcept = default;
ActivationStore::~ActivationStore() = default;

int64_t ActivationStore::sequences() const {
  return impl_->sequences;
}
int64_t ActivationStore::length() const {
  return impl_->length;
}
int64_t ActivationStore::width() const {
  return impl_->width;
}

int64_t ActivationStore::bytes(int64_t sequences, int64_t length, int64_t width) {
  return int64_t(header_of(sequences, length, width).size()) + sequences * length * width * int64_t(sizeof(float));
}

ActivationStore::ActivationStore(fs::path path, int64_t sequences, int64_t length, int64_t width)
    : impl_(std::make_unique<Impl>()) {
  require(sequences > 0 && length > 0 && width > 0, "activations [{}, {}, {}] are empty", sequences, length, width);
  const std::string header = header_of(sequences, length, width);
  impl_->path = std::move(path);
  impl_->sequences = sequences;
  impl_->length = length;
  impl_->width = width;
  impl_->begin = int64_t(header.size());
  impl_->partial = impl_->path.parent_path() / fmt::format(".{}.partial", impl_->path.filename().string());
  impl_->file = ::open(impl_->partial.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  require(impl_->file >= 0, "cannot make {}: {}", impl_->partial.string(), std::strerror(errno));
  // Reserved at once, so that a full disk shows before the work and not in the middle of it.
  const int64_t size = bytes(sequences, length, width);
  const bool room = fs::space(impl_->path.parent_path()).available > uintmax_t(size);
  require(
      room && ::posix_fallocate(impl_->file, 0, size) == 0,
      "no room for {:.2f} GB of activations in {}: free some, choose another folder or calibrate with fewer sequences",
      double(size) / 1e9, impl_->path.parent_path().string());
  require(::pwrite(impl_->file, header.data(), header.size(), 0) == ssize_t(header.size()), "cannot write {}: {}",
          impl_->partial.string(), std::strerror(errno));
}

ActivationStore ActivationStore::open(const fs::path& path) {
  auto impl = std::make_unique<Impl>();
  {
    const auto file = Safetensors::open(path);
    const TensorView& h = file.at("h");
    require(h.type == DataType::kF32 && h.shape.size() == 3, "{} does not hold activations", path.string());
    impl->sequences = h.shape[0];
    impl->length = h.shape[1];
    impl->width = h.shape[2];
  }
  impl->begin = int64_t(header_of(impl->sequences, impl->length, impl->width).size());
  impl->path = path;
  impl->file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  require(impl->file >= 0, "cannot open {}: {}", path.string(), std::strerror(errno));
  return ActivationStore(std::move(impl));
}

torch::Tensor ActivationStore::get(int64_t first, int64_t count) const {
  torch::Tensor h = torch::empty({count, impl_->length, impl_->width});
  impl_->move(first, count, reinterpret_cast<char*>(h.data_ptr<float>()), ::pread, "read");
  return h;
}

void ActivationStore::set(int64_t first, const torch::Tensor& h) {
  require(h.dim() == 3 && h.size(1) == impl_->length && h.size(2) == impl_->width,
          "activations [{}] where [count, {}, {}] were expected", fmt::join(h.sizes(), ", "), impl_->length,
          impl_->width);
  const torch::Tensor values = h.detach().to(torch::kFloat32).contiguous();
  impl_->move(first, h.size(0), reinterpret_cast<const char*>(values.data_ptr<float>()), ::pwrite, "write");
}

void ActivationStore::finish() {
  fs::rename(impl_->partial, impl_->path);
  impl_->partial.clear();
}

}  // namespace quanta
