#include "quanta/data/known.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "quanta/core/error.h"
#include "quanta/data/archive.h"
#include "quanta/data/glyph_digits.h"
#include "quanta/data/gratings.h"
#include "quanta/data/idx.h"
#include "quanta/data/image_folder.h"

namespace quanta {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kGeneratedTrain = 10'000, kGeneratedTest = 2'000;
const std::vector<std::string> kCifarClasses = {"airplane", "automobile", "bird",  "cat",  "deer",
                                                "dog",      "frog",       "horse", "ship", "truck"};

std::string canonical(std::string_view name) {
  std::string result(name);
  for (char& c : result) c = c == '-' ? '_' : char(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

/// The first of the candidates (relative to root) that exists.
std::optional<fs::path> first_file(const fs::path& root, std::initializer_list<const char*> candidates) {
  for (const char* candidate : candidates)
    if (is_there(root / candidate)) return root / candidate;
  return std::nullopt;
}

/// The first folder (relative to root) that holds one of the witnesses.
std::optional<fs::path> first_folder(const fs::path& root, std::initializer_list<const char*> folders,
                                     std::initializer_list<const char*> witnesses) {
  for (const char* folder : folders)
    for (const char* witness : witnesses)
      if (is_there(root / folder / witness)) return (root / folder).lexically_normal();
  return std::nullopt;
}

std::optional<fs::path> find_idx_folder(const fs::path& root, std::initializer_list<const char*> folders) {
  for (const char* folder : folders)
    if (is_idx_folder(root / folder)) return (root / folder).lexically_normal();
  return std::nullopt;
}

std::optional<fs::path> find_in(const std::string& name, const fs::path& root) {
  if (name == "mnist") return find_idx_folder(root, {"mnist", "MNIST", "MNIST/raw", "mnist/raw", ""});
  if (name == "glyph_digits") return find_idx_folder(root, {"glyph_digits", "glyph-digits"});
  if (name == "glyph_hues") return find_idx_folder(root, {"glyph_hues", "glyph-hues"});
  if (name == "gratings") return find_idx_folder(root, {"gratings"});
  if (name == "cifar10") {
    if (auto found =
            first_folder(root, {"cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10", "cifar-10", ""},
                         {"data_batch_1.bin"}))
      return found;
    if (auto found = first_file(root, {"cifar-10-binary.tar.gz", "cifar10/cifar-10-binary.tar.gz",
                                       "cifar10-jpeg.tar.gz", "cifar10/cifar10-jpeg.tar.gz"}))
      return found;
    return first_folder(root, {"cifar10", "cifar-10", "cifar10-jpeg", "CIFAR-10-images", ""}, {"train/airplane"});
  }
  if (name == "medical_mnist") {
    if (auto found = first_file(root, {"medmnist-jpeg.tar.gz", "medical_mnist.tar.gz", "medical-mnist.tar.gz",
                                       "MedNIST.tar.gz", "medical_mnist.zip", "medical-mnist.zip"}))
      return found;
    return first_folder(root,
                        {"medical_mnist", "medical-mnist", "Medical-MNIST", "medmnist", "medmnist-jpeg", "MedNIST", ""},
                        {"train/AbdomenCT", "AbdomenCT"});
  }
  if (name == "tiny_shakespeare")
    return first_file(root, {"text/tiny-shakespeare.txt", "tiny-shakespeare.txt", "tiny_shakespeare.txt",
                             "tinyshakespeare.txt", "tinyshakespeare/input.txt"});
  if (name == "restaurant_reviews")
    return first_file(root, {"text/restaurant-reviews.tsv", "restaurant-reviews.tsv", "restaurant_reviews.tsv",
                             "Restaurant_Reviews.tsv"});
  if (name == "tox21")
    return first_file(root, {"molecules/tox21.csv.gz", "molecules/tox21.csv", "tox21.csv.gz", "tox21.csv"});
  if (name == "esol")
    return first_file(root, {"molecules/esol-delaney.csv", "esol-delaney.csv", "molecules/delaney-processed.csv",
                             "delaney-processed.csv"});
  if (name == "gdb1k")
    return first_file(root, {"molecules/gdb1k.sdf.gz", "molecules/gdb1k.sdf", "gdb1k.sdf.gz", "gdb1k.sdf"});
  if (name == "qasmbench")
    return first_file(root, {"qasm/qasmbench-small-medium.tar.gz", "qasmbench-small-medium.tar.gz", "qasm/qasmbench",
                             "qasmbench", "QASMBench"});
  return std::nullopt;
}

ImageSplits generate(const std::string& name) {
  if (name == "gratings") return {gratings(), gratings({.count = kGeneratedTest, .seed = 2})};
  const auto make = [&](int64_t count, GlyphSplit split) {
    if (name == "glyph_hues") return glyph_hues({.count = count, .size = 32, .classes = {0, 1}, .split = split});
    return glyph_digits({.count = count, .split = split});
  };
  return {make(kGeneratedTrain, GlyphSplit::kTrain), make(kGeneratedTest, GlyphSplit::kTest)};
}

bool has_cifar_batches(const fs::path& path) {
  if (!is_archive_name(path)) return is_there(path / "data_batch_1.bin");
  return path.filename().string().find("binary") != std::string::npos;
}

std::string missing_message(const KnownData& data, const fs::path& dir) {
  std::vector<std::string> looked;
  for (const auto& root : data_roots(dir))
    looked.push_back(root.string() + (is_there(root) ? "" : " (no such folder)"));
  return fmt::format("data set {} was not found in {}; to get it: {}{}", data.name, fmt::join(looked, ", "), data.get,
                     data.stand_in.empty() ? "" : fmt::format("; generated stand-in: {}", data.stand_in));
}

}  // namespace

const std::vector<KnownData>& known_data() {
  static const std::vector<KnownData> all = {
      {"mnist", "MNIST: 60,000 + 10,000 handwritten digits, 28x28 grey", "images",
       "put the four files train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
       "t10k-labels-idx1-ubyte.gz (https://ossci-datasets.s3.amazonaws.com/mnist/) into DATA/mnist/",
       "glyph_digits"},
      {"cifar10", "CIFAR-10: 50,000 + 10,000 photographs of 10 classes, 32x32 RGB", "images",
       "put cifar-10-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) into DATA/, or an image folder "
       "train/class/name.jpg and test/class/name.jpg as DATA/cifar10/ or DATA/cifar10-jpeg.tar.gz",
       "glyph_hues"},
      {"medical_mnist", "Medical MNIST (MedNIST): scans of 6 kinds, 64x64 grey", "images",
       "put an image folder class/name.jpeg (repository apolanco3225/Medical-MNIST-Classification) as "
       "DATA/medical_mnist/ or DATA/medmnist-jpeg.tar.gz",
       "glyph_digits"},
      {"glyph_digits", "GlyphDigits: a dot-matrix font under random distortion and noise, 28x28 grey", "images",
       "generated when it is asked for; `quanta data make glyph_digits` writes a copy as IDX files", "", true},
      {"glyph_hues", "GlyphHues: two glyphs in five hues, 32x32 RGB", "images",
       "generated when it is asked for; `quanta data make glyph_hues` writes a copy as IDX files", "", true},
      {"gratings", "GRATE-10: noisy sine gratings of ten orientations, 16x16 RGB", "images",
       "generated when it is asked for; `quanta data make gratings` writes a copy as IDX files", "", true},
      {"tiny_shakespeare", "Tiny Shakespeare: 1.1 MB of plain text", "text",
       "put input.txt of data/tinyshakespeare in repository karpathy/char-rnn as DATA/text/tiny-shakespeare.txt", ""},
      {"restaurant_reviews", "Restaurant reviews: 1,000 sentences, liked or not", "table",
       "put the file Restaurant_Reviews.tsv (columns Review and Liked) as DATA/text/restaurant-reviews.tsv", ""},
      {"tox21", "Tox21: molecules as SMILES with 12 toxicity labels, some missing", "molecules",
       "put datasets/tox21.csv.gz of repository deepchem/deepchem as DATA/molecules/tox21.csv.gz", ""},
      {"esol", "ESOL (Delaney): 1,128 molecules as SMILES with measured solubility", "molecules",
       "put datasets/delaney-processed.csv of repository deepchem/deepchem as DATA/molecules/esol-delaney.csv", ""},
      {"gdb1k", "GDB sample: 1,000 small molecules with 3D coordinates and atomization energies", "molecules",
       "put gdb1k.sdf.gz and gdb1k.csv (datasets/ of repository deepchem/deepchem) into DATA/molecules/", ""},
      {"qasmbench", "QASMBench: OpenQASM 2.0 circuits of 2 to 27 qubits", "circuits",
       "put small and medium circuits of repository pnnl/QASMBench as DATA/qasm/qasmbench-small-medium.tar.gz", ""},
  };
  return all;
}

const KnownData& known_data(std::string_view name) {
  const std::string wanted = canonical(name);
  std::vector<std::string> names;
  for (const auto& data : known_data()) {
    if (data.name == wanted) return data;
    names.push_back(data.name);
  }
  throw UsageError(fmt::format("unknown data set '{}'; known: {}", name, fmt::join(names, ", ")));
}

std::vector<fs::path> data_roots(const fs::path& dir) {
  std::vector<fs::path> roots;
  if (!dir.empty()) {
    std::error_code ignored;
    require(fs::is_directory(dir, ignored), "data folder {}: {}", dir.string(),
            is_there(dir) ? "not a folder" : "no such folder");
    roots.push_back(dir);
  }
  if (const char* variable = std::getenv("QUANTA_DATA"); variable && *variable) roots.emplace_back(variable);
  roots.emplace_back("data");
  roots.emplace_back("../shared/data");
  return roots;
}

std::optional<fs::path> find_data(std::string_view name, const fs::path& dir) {
  const auto& data = known_data(name);
  for (const auto& root : data_roots(dir))
    if (auto found = find_in(data.name, root)) return found;
  return std::nullopt;
}

fs::path require_data(std::string_view name, const fs::path& dir) {
  const auto found = find_data(name, dir);
  require(found.has_value(), "{}", found ? "" : missing_message(known_data(name), dir));
  return *found;
}

ImageSplits load_images(std::string_view asked, const fs::path& dir) {
  const KnownData& data = known_data(asked);
  const std::string& name = data.name;
  if (data.kind != "images") throw UsageError(fmt::format("data set {} holds {}, not images", name, data.kind));
  if (data.generated && !find_data(name, dir)) return generate(name);
  const fs::path path = require_data(name, dir);
  if (name == "cifar10" && has_cifar_batches(path)) return read_cifar10_binary(path);
  if (name == "cifar10" || name == "medical_mnist") return load_image_folder(path, {.name = name});
  IdxOptions options{.name = name};
  if (name == "glyph_hues")
    options.classes = glyph_hues({.count = 1, .size = 32, .classes = {0, 1}}).classes;
  else if (name == "gratings")
    options.classes = gratings({.count = 1}).classes;
  else
    for (int digit = 0; digit < 10; ++digit) options.classes.push_back(std::to_string(digit));
  if (name == "mnist") options.height = options.width = 28;
  return read_idx_folder(path, options);
}

ImageSplits load_images_or_stand_in(std::string_view asked, const fs::path& dir,
                                    const std::function<void(const std::string&)>& log) {
  const KnownData& data = known_data(asked);
  if (data.stand_in.empty() || find_data(data.name, dir)) return load_images(data.name, dir);
  if (log) log(missing_message(data, dir) + ", used instead");
  return load_images(data.stand_in, dir);
}

ImageSplits read_cifar10_binary(const fs::path& path) {
  constexpr int64_t kPixels = 3 * 32 * 32, kRecord = 1 + kPixels, kMaxBytes = int64_t{1} << 30;
  const std::vector<std::string> names = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                          "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};
  std::map<std::string, std::string> batches;
  if (is_archive_name(path)) {
    const auto base = [](const std::string& member) { return fs::path(member).filename().string(); };
    for_each_member(
        path,
        [&](const std::string& member) { return std::find(names.begin(), names.end(), base(member)) != names.end(); },
        [&](const std::string& member, std::string bytes) { batches[base(member)] = std::move(bytes); });
  } else {
    for (const auto& name : names)
      if (is_there(path / name)) batches[name] = read_maybe_gzip(path / name, kMaxBytes);
  }
  const auto join = [&](bool test) {
    ImageSet set{.name = "cifar10", .images = {}, .labels = {}, .classes = kCifarClasses, .source = path.string()};
    int64_t count = 0;
    for (const auto& name : names) {
      if ((name == "test_batch.bin") != test) continue;
      require(batches.contains(name), "{}: {} is missing", path.string(), name);
      const auto bytes = int64_t(batches[name].size());
      require(bytes > 0 && bytes % kRecord == 0, "{}: {} has {} bytes, not a multiple of the record's {}: truncated?",
              path.string(), name, bytes, kRecord);
      count += bytes / kRecord;
    }
    set.images = torch::empty({count, 3, 32, 32}, torch::kUInt8);
    set.labels = torch::empty({count}, torch::kInt64);
    auto* images = set.images.data_ptr<uint8_t>();
    auto* labels = set.labels.data_ptr<int64_t>();
    for (const auto& name : names) {
      if ((name == "test_batch.bin") != test) continue;
      const std::string& bytes = batches[name];
      for (size_t at = 0; at < bytes.size(); at += kRecord, images += kPixels, ++labels) {
        *labels = static_cast<uint8_t>(bytes[at]);
        require(*labels < 10, "{}: {}: record {} has label {}, expected 0 to 9", path.string(), name, at / kRecord,
                *labels);
        std::memcpy(images, bytes.data() + at + 1, kPixels);
      }
    }
    return set;
  };
  return {join(false), join(true)};
}

}  // namespace quanta
