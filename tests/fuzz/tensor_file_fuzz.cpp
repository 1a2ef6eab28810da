// Hostile bytes for the readers of safetensors and GGUF files: whatever they are given, they return tensors whose bytes
// all lie in the buffer and that can be written and read again, or throw quanta::Error. Everything else (a crash, a
// sanitizer's report, another exception, endless work) is a bug.
//
//   tensor_file_fuzz --seconds 600 [--seed N]    mutates a built-in corpus of both formats
//
// With clang: -fsanitize=fuzzer,address -DQUANTA_LIBFUZZER gives a libFuzzer program of the same property.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/gguf.h"
#include "quanta/core/random.h"
#include "quanta/core/safetensors.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/lowbit/gguf_blocks.h"

namespace {

using namespace quanta;
using Bytes = std::vector<std::byte>;

void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

std::byte touch(std::span<const std::byte> bytes) {
  std::byte sum{};
  for (const std::byte b : bytes) sum ^= b;
  return sum;
}

volatile std::byte sink;

// Whether the bytes are a file; aborts if it breaks the property. `rewrite`: also written to that path and read again.
bool check_safetensors(std::span<const std::byte> bytes, const std::filesystem::path* rewrite) {
  try {
    const auto file = Safetensors::parse(bytes, "fuzz");
    for (const auto& [name, tensor] : file.tensors()) sink = touch(tensor.bytes);
    if (rewrite && !file.tensors().contains("__metadata__")) {
      write_safetensors(*rewrite, file.tensors(), file.metadata());
      expect(Safetensors::open(*rewrite).tensors().size() == file.tensors().size(), "safetensors: read back otherwise");
    }
  } catch (const Error&) {
    return false;
  }
  return true;
}

bool check_gguf(std::span<const std::byte> bytes, const std::filesystem::path* rewrite) {
  Gguf file;
  try {
    file = Gguf::parse(bytes, "fuzz");
  } catch (const Error&) {
    return false;
  }
  std::vector<GgufTensorInfo> infos;
  for (const auto& [name, tensor] : file.tensors()) {
    sink = touch(tensor.bytes);
    infos.push_back({name, tensor.type, tensor.shape});
    if (is_gguf_encodable(tensor.type)) decode_gguf(tensor.type, tensor.bytes);
  }
  for (const auto& [key, value] : file.metadata()) try {
      file.get<std::vector<double>>(key);
      file.get<int64_t>(key);
    } catch (const Error&) {
    }
  if (rewrite) try {
      GgufWriter writer(*rewrite, file.metadata(), infos);
      for (const auto& [name, tensor] : file.tensors()) writer.write(tensor.bytes);
      writer.commit();
      const Gguf back = Gguf::open(*rewrite);
      expect(back.tensors().size() == infos.size() && back.metadata().size() == file.metadata().size(),
             "gguf: read back otherwise");
    } catch (const Error& error) {  // names that readers take and the writer does not
      expect(std::strstr(error.what(), "1 to 6") || std::strstr(error.what(), "beyond the last"), error.what());
    }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  check_safetensors(bytes, nullptr);
  check_gguf(bytes, nullptr);
  return 0;
}

#ifndef QUANTA_LIBFUZZER
namespace {

Bytes bytes_of(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Bytes gguf_file(const std::filesystem::path& path, int kind) {
  GgufMetadata metadata{{"general.alignment", uint32_t{kind ? 8u : 32u}},
                        {"general.architecture", std::string("llama")},
                        {"b", true},
                        {"f", 1.5f},
                        {"tokens", GgufArray(std::vector<std::string>{"a", "bc", ""})},
                        {"scores", GgufArray(std::vector<float>{1, 2, 3})},
                        {"flags", GgufArray(std::vector<bool>{true, false})},
                        {"u", uint64_t{7}}};
  std::vector<GgufTensorInfo> tensors{{"a", GgufType::F32, {2, 3}}, {"q", GgufType::Q4_0, {2, 32}}};
  if (kind) tensors = {{"k", GgufType::Q4_K, {256}}, {"l", GgufType::Q6_K, {1, 256}}, {"e", GgufType::I8, {0}}};
  GgufWriter writer(path, metadata, tensors);
  for (const auto& t : tensors) {
    int64_t size = gguf_row_bytes(t.type, t.shape.back());
    for (size_t i = 0; i + 1 < t.shape.size(); ++i) size *= t.shape[i];
    Bytes data(size_t(size), std::byte{0x35});
    writer.write(data);
  }
  writer.commit();
  return bytes_of(path);
}

Bytes safetensors_file(const std::filesystem::path& path, int kind) {
  const Bytes data(64, std::byte{0x35});
  const auto view = [&](DataType type, std::vector<int64_t> shape, size_t size) {
    return TensorView{type, std::move(shape), std::span(data).first(size)};
  };
  if (kind)
    write_safetensors(path, {{"x", view(DataType::kBF16, {4, 2}, 16)}, {"y", view(DataType::kI64, {}, 8)}});
  else
    write_safetensors(path, {{"a.weight", view(DataType::kF32, {2, 3}, 24)}, {"b", view(DataType::kI8, {0, 7}, 0)}},
                      {{"format", "pt"}});
  return bytes_of(path);
}

Bytes mutate(Bytes file, const Bytes& other, Random& random) {
  constexpr uint64_t numbers[] = {0, 1, 2, 8, 9, 31, 32, 255, 1u << 16, 1u << 31, uint64_t{1} << 60, UINT64_MAX};
  constexpr std::string_view words[] = {"\"F32\"",
                                        "\"shape\"",
                                        "[",
                                        "]",
                                        "{",
                                        "}",
                                        ",",
                                        ":",
                                        "-1",
                                        "1e9",
                                        "null",
                                        "data_offsets",
                                        "__metadata__",
                                        "18446744073709551615",
                                        "GGUF",
                                        "\\u0000"};
  for (uint64_t edits = 1 + random.below(5); edits > 0 && !file.empty(); --edits) {
    const size_t at = random.below(file.size());
    const auto begin = file.begin() + std::ptrdiff_t(at);
    const size_t length = std::min(file.size() - at, size_t(1) << random.below(6));
    switch (random.below(9)) {
      case 0:
        file[at] ^= std::byte(1 << random.below(8));
        break;
      case 1:
        file[at] = std::byte(random());
        break;
      case 2: {  // a number of one of the formats' widths
        const uint64_t value = numbers[random.below(std::size(numbers))];
        std::memcpy(&*begin, &value, std::min(file.size() - at, size_t(1) << random.below(4)));
        break;
      }
      case 3:
        file.resize(at);
        break;
      case 4:
        file.erase(begin, begin + std::ptrdiff_t(length));
        break;
      case 5: {
        const Bytes copy(begin, begin + std::ptrdiff_t(length));
        file.insert(file.begin() + std::ptrdiff_t(random.below(file.size())), copy.begin(), copy.end());
        break;
      }
      case 6: {
        const auto word = std::as_bytes(std::span(words[random.below(std::size(words))]));
        file.insert(begin, word.begin(), word.end());
        break;
      }
      case 7: {
        const size_t from = random.below(other.size());
        const size_t count = std::min({other.size() - from, length, file.size() - at});
        std::copy_n(other.begin() + std::ptrdiff_t(from), count, begin);
        break;
      }
      default: {  // the header's length, so that an edit of it reaches the reader
        uint64_t value = 0;
        const size_t place = random.below(2) ? 0 : std::min(at, file.size() - std::min<size_t>(file.size(), 8));
        if (file.size() < place + 8) break;
        std::memcpy(&value, file.data() + place, 8);
        value += random.below(17) - 8;
        std::memcpy(file.data() + place, &value, 8);
      }
    }
  }
  if (file.size() > 20'000) file.resize(20'000);
  file.shrink_to_fit();
  return file;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 5;
  uint64_t seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string_view(argv[i]) == "--seconds") seconds = std::atof(argv[i + 1]);
    if (std::string_view(argv[i]) == "--seed") seed = std::strtoull(argv[i + 1], nullptr, 10);
  }
  const quanta::testing::TemporaryFolder folder;
  const auto path = folder / "file";
  std::vector<Bytes> corpus{gguf_file(path, 0), gguf_file(path, 1), safetensors_file(path, 0),
                            safetensors_file(path, 1)};
  const size_t given = corpus.size();

  Random random(seed);
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  int64_t runs = 0, accepted[2]{};
  double slowest = 0;
  while (elapsed() < seconds) {
    const Bytes& parent = corpus[random.below(corpus.size())];
    const Bytes file = mutate(parent, corpus[random.below(corpus.size())], random);
    const double before = elapsed();
    const auto* rewrite = random.below(50) == 0 ? &path : nullptr;
    const bool gguf = check_gguf(file, rewrite), safetensors = check_safetensors(file, rewrite);
    slowest = std::max(slowest, elapsed() - before);
    ++runs;
    accepted[0] += gguf;
    accepted[1] += safetensors;
    // Accepted files become parents, so that changes add up.
    if ((gguf || safetensors) && file.size() < 4000) {
      if (corpus.size() < given + 500)
        corpus.push_back(file);
      else
        corpus[given + random.below(500)] = file;
    }
  }
  std::printf("%lld files, accepted %lld as GGUF and %lld as safetensors, slowest %.3f s\n",
              static_cast<long long>(runs), static_cast<long long>(accepted[0]), static_cast<long long>(accepted[1]),
              slowest);
  return accepted[0] > 0 && accepted[1] > 0 ? 0 : 1;
}
#endif
