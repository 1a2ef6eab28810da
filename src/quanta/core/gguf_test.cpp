#include "quanta/core/gguf.h"

#include <gmock/gmock.h>

#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/core/temporary_folder.h"

namespace quanta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// A file put together number by number.
class Bytes {
 public:
  template <class T>
  Bytes& operator<<(T value) {
    if constexpr (std::is_convertible_v<T, std::string_view>) {
      const std::string_view text = value;
      *this << uint64_t{text.size()};
      for (const char c : text) bytes_.push_back(std::byte(c));
    } else {
      for (const std::byte b : std::bit_cast<std::array<std::byte, sizeof(T)>>(value)) bytes_.push_back(b);
    }
    return *this;
  }
  Bytes& magic(uint32_t version = 3) { return *this << 'G' << 'G' << 'U' << 'F' << version; }
  Bytes& pad(size_t alignment = 32) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(std::byte{0});
    return *this;
  }
  Bytes& data(size_t count) {
    for (size_t i = 0; i < count; ++i) bytes_.push_back(std::byte(i));
    return *this;
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

std::string refusal(std::span<const std::byte> file) {
  const std::vector<std::byte> exact(file.begin(), file.end());  // for the address sanitizer
  try {
    Gguf::parse(exact, "f");
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    EXPECT_LT(std::strlen(error.what()), 400u);
    return error.what();
  }
  return "accepted";
}

// Metadata "k" of so many bytes of type and value, no tensors.
std::string refusal_of_value(const std::function<void(Bytes&)>& value) {
  Bytes file;
  file.magic() << uint64_t{0} << uint64_t{1} << "k";
  value(file);
  return refusal(file.bytes());
}

std::string refusal_of_tensor(const std::vector<uint64_t>& file_extents, uint32_t type, uint64_t offset, size_t data) {
  Bytes file;
  file.magic() << uint64_t{1} << uint64_t{0} << "t" << uint32_t(file_extents.size());
  for (const uint64_t extent : file_extents) file << extent;
  file << type << offset;
  return refusal(file.pad().data(data).bytes());
}

TEST(Gguf, TypesHaveTheSizesOfTheFormat) {
  EXPECT_EQ(gguf_row_bytes(GgufType::Q4_K, 512), 288);
  EXPECT_EQ(gguf_row_bytes(GgufType::Q8_0, 64), 68);
  EXPECT_EQ(gguf_row_bytes(GgufType::F32, 3), 12);
  EXPECT_EQ(parse_gguf_type("Q6_K"), GgufType::Q6_K);
  EXPECT_EQ(parse_gguf_type("Q4_2"), std::nullopt);
  EXPECT_EQ(gguf_type_name(GgufType(39)), "MXFP4");
  EXPECT_THROW(gguf_type_name(GgufType(4)), Error);
  EXPECT_THROW(gguf_row_bytes(GgufType::Q4_K, 128), Error);
}

TEST(Gguf, WritesTheFormatByteForByte) {
  const testing::TemporaryFolder folder;
  const auto path = folder / "exact.gguf";
  GgufWriter writer(path, {{"b", true}, {"a", std::string("x")}, {"c", GgufArray(std::vector<int16_t>{-1, 2})}},
                    {{"t", GgufType::F32, {2, 3}}, {"u", GgufType::I8, {1}}});
  Bytes expected;
  expected.magic() << uint64_t{2} << uint64_t{3};
  expected << "a" << uint32_t{8} << "x"
           << "b" << uint32_t{7} << uint8_t{1};
  expected << "c" << uint32_t{9} << uint32_t{3} << uint64_t{2} << int16_t{-1} << int16_t{2};
  expected << "t" << uint32_t{2} << uint64_t{3} << uint64_t{2} << uint32_t{0} << uint64_t{0};
  expected << "u" << uint32_t{1} << uint64_t{1} << uint32_t{24} << uint64_t{32};
  expected.pad().data(24).pad().data(1).pad();
  std::vector<std::byte> data(24);
  std::iota(reinterpret_cast<uint8_t*>(data.data()), reinterpret_cast<uint8_t*>(data.data() + 24), 0);
  writer.write(std::span(data).first(10));
  writer.write(std::span(data).subspan(10));
  writer.write(std::span(data).first(1));
  EXPECT_FALSE(std::filesystem::exists(path));
  writer.commit();
  const std::string written = read_file(path);
  EXPECT_EQ(written, std::string_view(reinterpret_cast<const char*>(expected.bytes().data()), expected.bytes().size()));
}

TEST(Gguf, ReadsWhatItWrote) {
  const testing::TemporaryFolder folder;
  const GgufMetadata metadata{
      {"u8", uint8_t{255}},
      {"i8", int8_t{-128}},
      {"u16", uint16_t{65535}},
      {"i16", int16_t{-3}},
      {"u32", uint32_t{4'000'000'000}},
      {"i32", int32_t{-4}},
      {"f32", 0.1f},
      {"yes", true},
      {"text", std::string("\0\n\xff", 3)},
      {"u64", uint64_t{1} << 63},
      {"i64", int64_t{-5}},
      {"f64", 0.1},
      {"empty", GgufArray(std::vector<double>{})},
      {"flags", GgufArray(std::vector<bool>{true, false})},
      {"words", GgufArray(std::vector<std::string>{"a", "", "bc"})},
      {"scores", GgufArray(std::vector<float>{1, -2.5f})},
      {"ids", GgufArray(std::vector<int32_t>{7, -8})},
      {"general.alignment", uint32_t{64}},
  };
  const std::vector<GgufTensorInfo> infos{{"q", GgufType::Q4_0, {3, 64}},
                                          {"nothing", GgufType::F32, {4, 0}},
                                          {"one", GgufType::F64, {}},
                                          {"deep", GgufType::F16, {2, 3, 4, 5}}};
  const auto path = folder / "round.gguf";
  GgufWriter writer(path, metadata, infos);
  std::vector<std::byte> data(240);
  for (size_t i = 0; i < data.size(); ++i) data[i] = std::byte(3 * i);
  for (const size_t size : {3 * 36, 8, 240}) writer.write(std::span(data).first(size));
  writer.commit();

  const Gguf file = Gguf::open(path);
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), infos.size());
  for (const GgufTensorInfo& info : infos) {
    const GgufTensor& read = file.at(info.name);
    EXPECT_EQ(read.type, info.type);
    EXPECT_EQ(read.shape, info.shape);
    EXPECT_TRUE(std::ranges::equal(read.bytes, std::span(data).first(read.bytes.size()))) << info.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(read.bytes.data()) % 64, 0u) << info.name;
  }
  EXPECT_EQ(file.at("q").bytes.size(), 108u);
  EXPECT_EQ(std::filesystem::file_size(path) % 64, 0u);

  EXPECT_EQ(file.get<int64_t>("u8"), 255);
  EXPECT_EQ(file.get<int64_t>("i64"), -5);
  EXPECT_EQ(file.get<double>("f32"), double(0.1f));
  EXPECT_EQ(file.get<double>("i32"), -4);
  EXPECT_EQ(file.get<bool>("yes"), true);
  EXPECT_EQ(file.get<bool>("none"), std::nullopt);
  EXPECT_THAT(*file.get<std::vector<std::string>>("words"), ElementsAre("a", "", "bc"));
  EXPECT_THAT(*file.get<std::vector<double>>("scores"), ElementsAre(1, -2.5));
  EXPECT_THAT(file.need<std::vector<int64_t>>("ids"), ElementsAre(7, -8));
  for (const char* key : {"u64", "yes", "f32", "text", "ids"}) EXPECT_THROW(file.get<int64_t>(key), Error) << key;
  EXPECT_THROW(file.get<bool>("u8"), Error);
  EXPECT_THROW(file.get<std::vector<int64_t>>("scores"), Error);
  EXPECT_THROW(file.get<std::vector<double>>("f32"), Error);
  EXPECT_THROW(file.need<bool>("none"), Error);
  try {
    file.at("depp");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no tensor \"depp\"; nearest: \"deep\""));
  }
}

TEST(Gguf, ReadsOthersFiles) {
  Bytes file;  // version 2; gaps, and data in another order than the list
  file.magic(2) << uint64_t{2} << uint64_t{0};
  file << "a" << uint32_t{2} << uint64_t{32} << uint64_t{2} << uint32_t{2} << uint64_t{64};
  file << "b" << uint32_t{1} << uint64_t{3} << uint32_t{24} << uint64_t{0};
  file.pad().data(100);
  const Gguf read = Gguf::parse(file.bytes(), "f");
  EXPECT_THAT(read.at("a").shape, ElementsAre(2, 32));
  EXPECT_EQ(read.at("a").bytes[0], std::byte{64});
  EXPECT_EQ(read.at("b").bytes.size(), 3u);
  Bytes empty;
  EXPECT_EQ(refusal((empty.magic() << uint64_t{0} << uint64_t{0}).bytes()), "accepted");
}

TEST(Gguf, RefusesABadHeader) {
  EXPECT_EQ(refusal({}), "f: not a GGUF file (it does not begin with \"GGUF\")");
  EXPECT_THAT(refusal(std::vector<std::byte>(100)), HasSubstr("not a GGUF file"));
  const auto with = [](uint32_t version, uint64_t tensors, uint64_t keys) {
    Bytes file;
    return refusal((file.magic(version) << tensors << keys).bytes());
  };
  EXPECT_EQ(with(1, 0, 0), "f: GGUF version 1; only 2 and 3 are read");
  EXPECT_EQ(with(4, 0, 0), "f: GGUF version 4; only 2 and 3 are read");
  EXPECT_THAT(with(0x03000000, 0, 0), HasSubstr("big-endian"));
  EXPECT_EQ(with(3, uint64_t{1} << 60, 0),
            "f: the number of tensors says 1152921504606846976, the 8 bytes left cannot hold as many");
  EXPECT_THAT(with(3, 0, UINT64_MAX), HasSubstr("the number of metadata entries says"));
  Bytes file;
  file.magic() << uint32_t{0};
  EXPECT_EQ(refusal(file.bytes()), "f: the number of tensors needs 8 bytes, the file has 4 left");
}

TEST(Gguf, RefusesBadMetadata) {
  EXPECT_EQ(refusal_of_value([](Bytes& b) { b << uint32_t{4} << uint32_t{1}; }), "accepted");
  EXPECT_EQ(refusal_of_value([](Bytes& b) { b << uint32_t{4} << uint16_t{1}; }),
            "f: metadata \"k\" needs 4 bytes, the file has 2 left");
  EXPECT_EQ(refusal_of_value([](Bytes& b) { b << uint32_t{13} << uint64_t{1}; }),
            "f: metadata \"k\" is of the unknown type 13");
  EXPECT_EQ(refusal_of_value([](Bytes& b) { b << uint32_t{7} << uint8_t{2}; }),
            "f: metadata \"k\" is a truth value and must be 0 or 1, got 2");
  EXPECT_THAT(refusal_of_value([](Bytes& b) { b << uint32_t{9} << uint32_t{7} << uint64_t{1} << uint8_t{9}; }),
              HasSubstr("must be 0 or 1, got 9"));
  EXPECT_EQ(refusal_of_value([](Bytes& b) { b << uint32_t{9} << uint32_t{9} << uint64_t{1}; }),
            "f: metadata \"k\" is an array of arrays, which GGUF readers do not take");
  for (const uint32_t type : {0, 5, 8, 12})
    EXPECT_THAT(refusal_of_value([&](Bytes& b) { b << uint32_t{9} << type << (uint64_t{1} << 60) << uint64_t{0}; }),
                HasSubstr("metadata \"k\" says 1152921504606846976, the 8 bytes left"));
  EXPECT_THAT(refusal_of_value([](Bytes& b) { b << uint32_t{8} << UINT64_MAX << uint64_t{0}; }),
              HasSubstr("needs 18446744073709551615 bytes"));
  EXPECT_THAT(refusal_of_value([](Bytes& b) { b << uint32_t{9} << uint32_t{8} << uint64_t{1} << (uint64_t{1} << 40); }),
              HasSubstr("needs 1099511627776 bytes"));
  Bytes twice;
  twice.magic() << uint64_t{0} << uint64_t{2} << "k" << uint32_t{4} << 1 << "k" << uint32_t{4} << 1;
  EXPECT_EQ(refusal(twice.bytes()), "f: metadata \"k\" is given twice");
  for (const uint32_t alignment : {0, 24}) {
    Bytes file;
    file.magic() << uint64_t{0} << uint64_t{1} << "general.alignment" << uint32_t{4} << alignment;
    EXPECT_EQ(refusal(file.bytes()), "f: general.alignment must be an unsigned 32-bit power of two");
  }
  Bytes large;  // a start of the data beyond the file
  large.magic() << uint64_t{1} << uint64_t{1} << "general.alignment" << uint32_t{4} << (uint32_t{1} << 31);
  large << "t" << uint32_t{1} << uint64_t{1} << uint32_t{24} << uint64_t{0};
  EXPECT_THAT(refusal(large.bytes()), HasSubstr("1 bytes at 0 of the data, which has only 0"));
}

TEST(Gguf, RefusesABadTensor) {
  EXPECT_EQ(refusal_of_tensor({3, 2}, 0, 0, 24), "accepted");
  EXPECT_EQ(refusal_of_tensor({3, 2}, 0, 0, 23), "f: tensor \"t\": 24 bytes at 0 of the data, which has only 23");
  EXPECT_EQ(refusal_of_tensor({1}, 24, 32, 32), "f: tensor \"t\": 1 bytes at 32 of the data, which has only 32");
  EXPECT_THAT(refusal_of_tensor({1}, 24, UINT64_MAX - 31, 32), HasSubstr("which has only 32"));
  EXPECT_EQ(refusal_of_tensor({1}, 24, 1, 32), "f: tensor \"t\": its offset 1 is no multiple of 32");
  EXPECT_EQ(refusal_of_tensor({32}, 4, 0, 32), "f: tensor \"t\": unknown type 4");
  EXPECT_EQ(refusal_of_tensor({33}, 2, 0, 90),
            "f: tensor \"t\": a row of 33 elements is no whole number of Q4_0 blocks of 32");
  EXPECT_EQ(refusal_of_tensor({}, 2, 0, 90), "f: tensor \"t\": a single element cannot be of type Q4_0");
  EXPECT_EQ(refusal_of_tensor({1, 1, 1, 1, 1}, 0, 0, 90), "f: tensor \"t\": 5 extents, at most 4 are possible");
  EXPECT_THAT(refusal_of_tensor({UINT64_MAX}, 0, 0, 90), HasSubstr("an extent must be from 0 to 2^63 - 1"));
  EXPECT_THAT(refusal_of_tensor({1ull << 62}, 0, 0, 90), HasSubstr("the size of its shape overflows"));
  EXPECT_THAT(refusal_of_tensor({1ull << 32, 1ull << 32, 0}, 0, 0, 90), HasSubstr("overflows"));
  const auto two = [](const char* first, const char* second, uint64_t offset) {
    Bytes file;
    file.magic() << uint64_t{2} << uint64_t{0};
    file << first << uint32_t{1} << uint64_t{40} << uint32_t{24} << uint64_t{0};
    file << second << uint32_t{1} << uint64_t{8} << uint32_t{24} << offset;
    return refusal(file.pad().data(72).bytes());
  };
  EXPECT_EQ(two("a", "b", 64), "accepted");
  EXPECT_EQ(two("a", "b", 32), "f: tensor \"b\" overlaps tensor \"a\"");
  EXPECT_EQ(two("a", "b", 0), "f: tensor \"a\" overlaps tensor \"b\"");
  EXPECT_EQ(two("a", "a", 64), "f: tensor \"a\" is given twice");
}

TEST(Gguf, WillNotWriteWhatItWouldNotRead) {
  const testing::TemporaryFolder folder;
  const auto path = folder / "bad.gguf";
  const auto refused = [&](const GgufMetadata& metadata, std::vector<GgufTensorInfo> tensors, size_t bytes) {
    const std::vector<std::byte> data(bytes);
    try {
      GgufWriter writer(path, metadata, std::move(tensors));
      writer.write(data);
      writer.commit();
    } catch (const Error& error) {
      EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
      return std::string(error.what());
    }
    std::filesystem::remove(path);
    return std::string("written");
  };
  EXPECT_EQ(refused({}, {{"a", GgufType::F32, {2}}}, 8), "written");
  EXPECT_THAT(refused({}, {{"a", GgufType::F32, {2}}}, 7), HasSubstr("tensor \"a\" lacks data"));
  EXPECT_THAT(refused({}, {{"a", GgufType::F32, {2}}}, 9), HasSubstr("9 bytes for tensor \"a\", which lacks only 8"));
  EXPECT_THAT(refused({}, {{"a", GgufType::F32, {0}}}, 1), HasSubstr("data beyond the last tensor"));
  EXPECT_THAT(refused({}, {{"", GgufType::F32, {2}}}, 8), HasSubstr("1 to 63 bytes"));
  EXPECT_THAT(refused({}, {{std::string(64, 'a'), GgufType::F32, {2}}}, 8), HasSubstr("1 to 63 bytes"));
  EXPECT_THAT(refused({}, {{"a", GgufType::F32, {0}}, {"a", GgufType::F32, {0}}}, 0), HasSubstr("given twice"));
  EXPECT_THAT(refused({}, {{"a", GgufType::Q6_K, {32}}}, 0), HasSubstr("no whole number of Q6_K blocks"));
  EXPECT_THAT(refused({}, {{"a", GgufType(5), {32}}}, 0), HasSubstr("no GGUF type 5"));
  EXPECT_THAT(refused({}, {{"a", GgufType::F32, {1, 1, 1, 1, 1}}}, 4), HasSubstr("5 extents"));
  EXPECT_THAT(refused({{"general.alignment", uint32_t{3}}}, {}, 0), HasSubstr("power of two"));
  EXPECT_THAT(refused({{"", uint32_t{3}}}, {}, 0), HasSubstr("1 to 65535 bytes"));
  EXPECT_THAT(refused({{"x", GgufArray(std::monostate())}}, {}, 0), HasSubstr("array of nothing"));
}

// 20000 damaged files: each is refused with an Error or every byte it hands out is in the buffer, which the address
// sanitizer watches.
TEST(Gguf, SurvivesMutations) {
  Bytes valid;
  valid.magic() << uint64_t{2} << uint64_t{4};
  valid << "general.alignment" << uint32_t{4} << uint32_t{8} << "s" << uint32_t{8} << "text"
        << "b" << uint32_t{7} << uint8_t{1} << "w" << uint32_t{9} << uint32_t{8} << uint64_t{2} << "x"
        << "yz";
  valid << "t" << uint32_t{2} << uint64_t{32} << uint64_t{2} << uint32_t{2} << uint64_t{0};
  valid << "u" << uint32_t{1} << uint64_t{3} << uint32_t{0} << uint64_t{40};
  valid.pad(8).data(52);
  Random random(3);
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> file = valid.bytes();
    for (uint64_t edits = 1 + random.below(3); edits > 0; --edits) {
      const size_t at = random.below(file.size());
      switch (random.below(5)) {
        case 0:
          file[at] ^= std::byte(1 << random.below(8));
          break;
        case 1:
          file[at] = std::byte(random());
          break;
        case 2:
          file[at] = random.below(2) ? std::byte{0xff} : std::byte{0};
          break;
        case 3:
          file.resize(at + 1);
          break;
        default:
          file.erase(file.begin() + ptrdiff_t(at));
      }
    }
    file.shrink_to_fit();
    try {
      const auto read = Gguf::parse(file, "f");
      ++accepted;
      for (const auto& [name, tensor] : read.tensors()) {
        unsigned sum = 0;
        for (const std::byte byte : tensor.bytes) sum += unsigned(byte);
        EXPECT_LE(sum, 255 * tensor.bytes.size());
      }
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 15'000);
}

}  // namespace
}  // namespace quanta
