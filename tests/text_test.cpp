// Our tokenizers beside Hugging Face's `tokenizers` and SentencePiece: the same ids for thousands of texts.
#include <gmock/gmock.h>

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/process.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/text/tokenizer.h"

namespace quanta {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int64_t>;

// What one folder's tokenizer does differently from expected.jsonl.
void compare(const fs::path& folder) {
  const auto tokenizer = load_tokenizer(folder);
  testing::TemporaryFolder copy;
  tokenizer->save(copy.path());
  const auto again = load_tokenizer(copy.path());
  std::unique_ptr<Tokenizer> from_vocabulary;
  try {
    from_vocabulary = tokenizer_from(tokenizer->vocabulary());
  } catch (const Error&) {  // GGUF cannot hold each of them
  }
  std::istringstream lines(read_file(folder / "expected.jsonl"));
  int count = 0, wrong = 0, wrong_text = 0, wrong_special = 0, wrong_stream = 0, wrong_again = 0, wrong_vocabulary = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto row = nlohmann::json::parse(line);
    const auto text = row.at("text").get<std::string>();
    const auto expected = row.at("ids").get<Ids>();
    const Ids ids = tokenizer->encode(text);
    if (ids != expected && ++wrong <= 3)
      ADD_FAILURE() << folder.filename() << ": " << nlohmann::json(text).dump(-1, ' ', true) << "\n  gives   "
                    << ::testing::PrintToString(ids) << "\n  but not " << ::testing::PrintToString(expected);
    const auto decoded = row.at("decoded");
    const std::string ours = tokenizer->decode(expected);
    if (decoded.is_string() && decoded != ours && ++wrong_text <= 3)
      ADD_FAILURE() << folder.filename() << ": " << ::testing::PrintToString(expected) << "\n  decodes to "
                    << nlohmann::json(ours).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)
                    << "\n  but not    " << decoded.dump(-1, ' ', true);
    wrong_special += tokenizer->encode(text, true) != row.at("special").get<Ids>();
    wrong_again +=
        again->encode(text, true) != tokenizer->encode(text, true) || again->decode(ids) != tokenizer->decode(ids);
    if (from_vocabulary) wrong_vocabulary += from_vocabulary->encode(text, true) != tokenizer->encode(text, true);
    StreamDecoder stream(*tokenizer);
    std::string streamed;
    for (const int64_t id : ids) streamed += stream.push(id);
    wrong_stream += streamed + stream.finish() != tokenizer->decode(ids);
  }
  EXPECT_GT(count, 0) << folder;
  EXPECT_EQ(wrong, 0) << folder << " of " << count;
  EXPECT_EQ(wrong_text, 0) << folder << " of " << count;
  EXPECT_EQ(wrong_special, 0) << folder << ": with what goes around a text";
  EXPECT_EQ(wrong_again, 0) << folder << ": saved and loaded";
  EXPECT_EQ(wrong_stream, 0) << folder << ": id by id";
  if (wrong_vocabulary)
    std::printf("%s: %d of %d differ as a GGUF vocabulary\n", folder.filename().c_str(), wrong_vocabulary, count);
}

TEST(TokenizersOfOthers, GiveTheSameIds) {
  fs::path folder;
  testing::TemporaryFolder made;
  if (const char* ready = std::getenv("QUANTA_TEXT_CASES")) {
    folder = ready;
  } else {
    const char* python = std::getenv("QUANTA_TEXT_PYTHON");
    const char* data = std::getenv("QUANTA_DATA");
    if (!python || !data)
      GTEST_SKIP() << "set QUANTA_TEXT_PYTHON to a Python that has tokenizers and sentencepiece, and QUANTA_DATA to a "
                      "folder that holds text/tiny-shakespeare.txt";
    folder = made.path();
    const auto result = run_process(python,
                                    {QUANTA_SOURCE_DIR "/tests/text_run.py", folder.string(),
                                     (fs::path(data) / "text/tiny-shakespeare.txt").string()},
                                    {}, 900);
    ASSERT_EQ(result.status, 0) << result.errors;
  }
  int cases = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    if (fs::exists(entry.path() / "expected.jsonl")) {
      try {
        compare(entry.path());
      } catch (const Error& error) {
        ADD_FAILURE() << entry.path().filename() << ": " << error.what();
      }
      ++cases;
    }
  EXPECT_GT(cases, 0);
}

}  // namespace
}  // namespace quanta
