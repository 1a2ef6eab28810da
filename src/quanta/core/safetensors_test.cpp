#include "quanta/core/safetensors.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstring>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::span<const std::byte> bytes_of(const auto& container) {
  return std::as_bytes(std::span(container));
}

// A file of this header and so many bytes of data: 0, 1, 2, ...
std::vector<std::byte> make_file(std::string_view header, size_t data) {
  std::vector<std::byte> file(8 + header.size() + data);
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  for (size_t i = 0; i < data; ++i) file[8 + header.size() + i] = std::byte(i);
  return file;
}

std::string refusal(std::span<const std::byte> file) {
  try {
    Safetensors::parse(file, "f");
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    EXPECT_LT(std::strlen(error.what()), 400u);
    return error.what();
  }
  return "accepted";
}

std::string refusal(std::string_view header, size_t data = 0) {
  return refusal(make_file(header, data));
}

std::filesystem::path temporary(const char* name) {
  return std::filesystem::path(testing::TempDir()) / (std::to_string(getpid()) + name);
}

TEST(Safetensors, WritesTheFormatByteForByte) {
  const std::vector<uint8_t> codes{1, 2, 3};
  const std::vector<float> weights{1, -2};
  const std::vector<int64_t> step{5};
  const auto path = temporary("exact.safetensors");
  write_safetensors(path,
                    {{"a", {DataType::kU8, {3}, bytes_of(codes)}},
                     {"w", {DataType::kF32, {2, 1}, bytes_of(weights)}},
                     {"step", {DataType::kI64, {}, bytes_of(step)}}},
                    {{"format", "pt"}});
  std::string expected =
      R"({"__metadata__":{"format":"pt"},"step":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("w":{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]},"a":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}})";
  expected.resize((expected.size() + 7) / 8 * 8, ' ');
  expected = std::string{char(expected.size())} + std::string(7, '\0') + expected;
  expected += std::string("\5\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\xc0\1\2\3", 19);
  EXPECT_EQ(read_file(path), expected);
  std::filesystem::remove(path);
}

TEST(Safetensors, ReadsWhatItWrote) {
  const auto path = temporary("round.safetensors");
  std::vector<std::byte> data(6 * 8);
  std::iota(reinterpret_cast<uint8_t*>(data.data()), reinterpret_cast<uint8_t*>(data.data() + data.size()), 0);
  std::map<std::string, TensorView> tensors;
  for (int type = 0; type <= int(DataType::kF64); ++type) {
    const auto t = DataType(type);
    EXPECT_EQ(parse_data_type(data_type_name(t)), t);
    tensors[std::string(data_type_name(t))] = {t, {2, 3}, std::span(data).first(6 * item_size(t))};
  }
  tensors["nothing"] = {DataType::kF32, {4, 0, 7}, {}};
  tensors["name \"\n\u00e9"] = {DataType::kI8, {}, std::span(data).first(1)};
  write_safetensors(path, tensors);
  const Safetensors file = Safetensors::open(path);
  EXPECT_TRUE(file.metadata().empty());
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const TensorView& read = file.at(name);
    EXPECT_EQ(read.type, tensor.type);
    EXPECT_EQ(read.shape, tensor.shape);
    EXPECT_TRUE(std::ranges::equal(read.bytes, tensor.bytes)) << name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(read.bytes.data()) % item_size(tensor.type), 0u) << name;
  }
  const Safetensors copy = Safetensors(file);  // shares the mapping
  std::filesystem::remove(path);
  EXPECT_EQ(copy.at("U8").bytes[5], std::byte(5));

  write_safetensors(path, {});
  EXPECT_TRUE(Safetensors::open(path).tensors().empty());
  std::filesystem::remove(path);
}

TEST(Safetensors, ReadsOthersFiles) {
  // The order of the header need not be that of the data; spaces may follow; fields may come in any order.
  const auto file = make_file(
      R"({"b":{"shape":[2],"data_offsets":[4,8],"dtype":"I16"},"a":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]},)"
      R"("__metadata__":{"x":"y","":""}}   )",
      8);
  const auto read = Safetensors::parse(file, "f");
  EXPECT_EQ(read.at("b").bytes[0], std::byte(4));
  EXPECT_THAT(read.at("a").shape, ElementsAre(2, 1));
  EXPECT_EQ(read.metadata().at("x"), "y");
  EXPECT_EQ(refusal("{}"), "accepted");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})"), "accepted");
}

TEST(Safetensors, NamesTheNearestTensor) {
  const auto file = make_file(R"({"layer.weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  const auto read = Safetensors::parse(file, "f");
  try {
    read.at("layer.wieght");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "f: no tensor \"layer.wieght\"; nearest: \"layer.weight\"");
  }
}

TEST(Safetensors, RefusesABadHeaderLength) {
  EXPECT_EQ(refusal(std::span<const std::byte>()), "f: 0 bytes are too few for a safetensors file");
  EXPECT_EQ(refusal(std::vector<std::byte>(7)), "f: 7 bytes are too few for a safetensors file");
  auto file = make_file("{}", 0);
  const auto with_length = [&](uint64_t length) {
    std::memcpy(file.data(), &length, 8);
    return refusal(file);
  };
  EXPECT_EQ(with_length(3), "f: the header should hold 3 bytes, the file has only 2 left");
  EXPECT_THAT(with_length(100'000'001), HasSubstr("100000001 bytes is beyond the limit"));
  EXPECT_THAT(with_length(UINT64_MAX), HasSubstr("beyond the limit"));
  EXPECT_THAT(with_length(UINT64_MAX - 7), HasSubstr("beyond the limit"));
  EXPECT_THAT(with_length(0), HasSubstr("does not begin with '{'"));
}

TEST(Safetensors, RefusesWhatIsNotAHeader) {
  EXPECT_THAT(refusal("[]"), HasSubstr("does not begin with '{'"));
  EXPECT_EQ(refusal(R"({"a":)"), "f: the header is not JSON (at its byte 6)");
  EXPECT_THAT(refusal("{} x"), HasSubstr("not JSON"));
  EXPECT_THAT(refusal("{\"\xff\":1}"), HasSubstr("not JSON"));
  EXPECT_THAT(refusal(std::string("{}\0\0", 4)), HasSubstr("not JSON"));
  EXPECT_THAT(refusal("{\"a\":" + std::string(1'000'000, '[')), HasSubstr("nested too deeply"));
  std::string deep = "{";
  for (int i = 0; i < 100'000; ++i) deep += "\"a\":{";
  EXPECT_THAT(refusal(deep), HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal(R"({"a":1e999})"), HasSubstr("out of range"));
  EXPECT_THAT(refusal(R"({"__metadata__":{"x":1}})"), HasSubstr("__metadata__ \"x\" must be a string"));
  EXPECT_THAT(refusal(R"({"__metadata__":[]})"), HasSubstr("must be an object of strings"));
}

TEST(Safetensors, RefusesDuplicateNames) {
  constexpr auto tensor = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_EQ(refusal(fmt::format(R"({{"a":{},"a":{}}})", tensor, tensor), 1), "f: the header names \"a\" twice");
  EXPECT_EQ(refusal(fmt::format(R"({{"a":{},"\u0061":{}}})", tensor, tensor), 1), "f: the header names \"a\" twice");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1),
            "f: the header names \"shape\" twice");
  EXPECT_EQ(refusal(R"({"__metadata__":{"x":"1","x":"2"}})"), "f: the header names \"x\" twice");
}

TEST(Safetensors, RefusesABadTensor) {
  const auto with = [](std::string_view type, std::string_view shape, std::string_view offsets, size_t data = 8) {
    return refusal(fmt::format(R"({{"a":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", type, shape, offsets), data);
  };
  EXPECT_EQ(with(R"("F32")", "[2]", "[0,8]"), "accepted");
  EXPECT_EQ(with(R"("F31")", "[2]", "[0,8]"), "f: tensor \"a\": unknown dtype \"F31\"");
  EXPECT_EQ(with("1", "[2]", "[0,8]"), "f: tensor \"a\": dtype must be a string");
  EXPECT_EQ(with(R"("F32")", "2", "[0,8]"), "f: tensor \"a\": shape must be an array of integers");
  EXPECT_EQ(with(R"("F32")", "[-2]", "[0,8]"),
            "f: tensor \"a\": every dimension must be an integer from 0 to 2^63 - 1, got -2");
  EXPECT_THAT(with(R"("F32")", "[2.0]", "[0,8]"), HasSubstr("got 2.0"));
  EXPECT_THAT(with(R"("F32")", "[\"2\"]", "[0,8]"), HasSubstr("got string"));
  EXPECT_THAT(with(R"("F32")", "[9223372036854775808]", "[0,8]"), HasSubstr("every dimension"));
  EXPECT_THAT(with(R"("F32")", "[18446744073709551616]", "[0,8]"), HasSubstr("every dimension"));
  EXPECT_EQ(with(R"("F32")", "[4611686018427387904]", "[0,8]"), "f: tensor \"a\": the size of its shape overflows");
  EXPECT_THAT(with(R"("U8")", "[4294967296, 4294967296]", "[0,0]", 0), HasSubstr("overflows"));
  EXPECT_THAT(with(R"("U8")", "[0, 4294967296, 4294967296]", "[0,0]", 0), HasSubstr("overflows"));
  EXPECT_EQ(with(R"("F32")", "[2]", "[8,0]"), "f: tensor \"a\": data_offsets begin at 8, after their end at 0");
  EXPECT_EQ(with(R"("F32")", "[2]", "[1,9]"),
            "f: tensor \"a\": data_offsets end at 9, but the file holds 8 bytes of data");
  EXPECT_THAT(with(R"("F32")", "[2]", "[18446744073709551608,18446744073709551615]"),
              HasSubstr("end at 1844674407370"));
  EXPECT_EQ(with(R"("F32")", "[3]", "[0,8]"),
            "f: tensor \"a\": its shape and dtype need 12 bytes, its data_offsets hold 8");
  EXPECT_THAT(with(R"("F32")", "[]", "[0,8]"), HasSubstr("need 4 bytes"));
  for (const char* offsets : {"[0]", "[0,4,8]", "[0,-8]", "[0,8.0]", "[null,8]", "[]"})
    EXPECT_EQ(with(R"("F32")", "[2]", offsets), "f: tensor \"a\": data_offsets must be two integers, begin and end");
  EXPECT_THAT(refusal(R"({"a":{"dtype":"U8","shape":[0]}})"), HasSubstr("data_offsets is missing"));
  EXPECT_THAT(refusal(R"({"a":3})"), HasSubstr("expected an object"));
  EXPECT_THAT(refusal(R"({"a\nb\u001b":3})"), HasSubstr(R"(tensor "a\nb\u001b")"));
  refusal("{\"" + std::string(100'000, 'a') + "\":3}");  // the message stays short
}

TEST(Safetensors, RefusesOverlapsAndGaps) {
  const auto with = [](std::string_view a, std::string_view b, size_t data) {
    return refusal(fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},)"
                               R"("b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
                               a, b),
                   data);
  };
  EXPECT_EQ(with("[4,8]", "[0,4]", 8), "accepted");
  EXPECT_EQ(with("[0,4]", "[3,7]", 7), "f: tensor \"b\" overlaps tensor \"a\"");
  EXPECT_EQ(with("[0,4]", "[0,4]", 4), "f: tensor \"b\" overlaps tensor \"a\"");
  EXPECT_EQ(with("[0,4]", "[5,9]", 9), "f: bytes 4 to 5 before tensor \"b\" belong to no tensor");
  EXPECT_EQ(with("[1,5]", "[5,9]", 9), "f: bytes 0 to 1 before tensor \"a\" belong to no tensor");
  EXPECT_EQ(with("[0,4]", "[4,8]", 10), "f: the last 2 bytes belong to no tensor");
  EXPECT_EQ(refusal("{}", 1), "f: the last 1 bytes belong to no tensor");
}

TEST(Safetensors, WillNotWriteWhatItWouldNotRead) {
  const auto path = temporary("bad.safetensors");
  const std::vector<float> two{1, 2};
  const auto written = [&](const std::string& name, TensorView tensor) {
    try {
      write_safetensors(path, {{name, tensor}});
    } catch (const Error& error) {
      EXPECT_FALSE(std::filesystem::exists(path));
      return std::string(error.what());
    }
    return std::string("written");
  };
  EXPECT_THAT(written("a", {DataType::kF32, {3}, bytes_of(two)}),
              HasSubstr("\"a\" [3] of F32 does not fit its 8 bytes"));
  EXPECT_THAT(written("a", {DataType::kF32, {-1, -2}, bytes_of(two)}), HasSubstr("does not fit"));
  EXPECT_THAT(written("__metadata__", {DataType::kF32, {2}, bytes_of(two)}), HasSubstr("may not be called"));
  EXPECT_THAT(written("\xff", {DataType::kF32, {2}, bytes_of(two)}), HasSubstr("not UTF-8"));
}

// 20000 damaged files: each is refused with an Error or every byte it hands out is in the buffer, which the address
// sanitizer watches.
TEST(Safetensors, SurvivesMutations) {
  const auto valid = make_file(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"dtype":"I8","shape":[8],"data_offsets":[24,32]},"c":{"dtype":"F64","shape":[],"data_offsets":[32,40]}} )",
      40);
  constexpr std::string_view tokens[] = {"0",
                                         "1",
                                         "8",
                                         "24",
                                         "40",
                                         "-",
                                         "[",
                                         "]",
                                         "{",
                                         "}",
                                         ",",
                                         ":",
                                         "\"",
                                         "e9",
                                         ".5",
                                         "\"F32\"",
                                         "\"a\"",
                                         "null",
                                         "\\u0061",
                                         "18446744073709551615",
                                         "9223372036854775807",
                                         "\"__metadata__\"",
                                         "\"shape\""};
  Random random(2);
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> file = valid;
    for (uint64_t edits = 1 + random.below(4); edits > 0; --edits) {
      const size_t at = random.below(file.size());
      switch (random.below(6)) {
        case 0:
          file[at] ^= std::byte(1 << random.below(8));
          break;
        case 1:
          file[at] = std::byte(random());
          break;
        case 2:  // in the header length
          file[std::min<size_t>(random.below(8), file.size() - 1)] = std::byte(random());
          break;
        case 3:
          file.resize(at + 1);
          break;
        case 4: {
          const auto end = file.begin() + at + random.below(std::min<size_t>(file.size() - at, 12));
          file.erase(file.begin() + at, end);
          break;
        }
        default: {
          const auto token = std::as_bytes(std::span(tokens[random.below(std::size(tokens))]));
          file.insert(file.begin() + at, token.begin(), token.end());
          uint64_t length = 0;  // mostly keep the length right, so that the edit reaches the JSON
          if (file.size() > 8 && random.below(4)) {
            std::memcpy(&length, file.data(), 8);
            length += token.size();
            std::memcpy(file.data(), &length, 8);
          }
        }
      }
    }
    file.shrink_to_fit();
    try {
      const auto read = Safetensors::parse(file, "f");
      ++accepted;
      for (const auto& [name, tensor] : read.tensors()) {
        unsigned sum = 0;
        for (const std::byte byte : tensor.bytes) sum += unsigned(byte);
        EXPECT_LE(sum, 255 * tensor.bytes.size());
      }
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 100);  // an edit of the data or of a name leaves a valid file
  EXPECT_LT(accepted, 10'000);
}

}  // namespace
}  // namespace quanta
