// Hostile tokenizer files: whatever they are given, the readers of tokenizer.json, tokenizer.model and multiple-choice
// tasks make something that works - ids within the vocabulary, the same after writing and reading - or throw
// quanta::Error. Everything else (a crash, a sanitizer's report, another exception, endless work) is a bug.
//
//   text_fuzz --seconds 600 [--seed N] [--format json|model|task] [FOLDER]
//
// mutates a built-in corpus and the folder's *.json, *.model and *.jsonl. With clang: -fsanitize=fuzzer,address
// -DQUANTA_LIBFUZZER gives a libFuzzer program of the same property.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/random.h"
#include "quanta/text/bpe_trainer.h"
#include "quanta/text/byte_bpe.h"
#include "quanta/text/multiple_choice.h"
#include "quanta/text/plain_tokenizers.h"
#include "quanta/text/sentencepiece.h"

namespace {

using namespace quanta;

enum Format { Json, Model, Task, Formats };

[[noreturn]] void broken(const char* what, std::string_view bytes) {
  std::fprintf(stderr, "%s\n--- the file\n", what);
  std::fwrite(bytes.data(), 1, bytes.size(), stderr);
  std::abort();
}

const std::vector<std::string> kTexts = {"",
                                         " ",
                                         "hello  hello 123's\r\n\t",
                                         "a\u00e9\u4e2d\U0001f600e\u0301<s>x<|end|></s>\u2581 \u2581",
                                         "\xff\xc3\x28\xf0\x9f\xe4\xb8",
                                         std::string("\0\x80z", 3)};

void use(const Tokenizer& tokenizer, std::string_view file) {
  for (const std::string& text : kTexts) {
    std::vector<int64_t> ids;
    try {
      ids = tokenizer.encode(text, true);
    } catch (const Error&) {  // a character without a piece
      continue;
    }
    for (const int64_t id : ids)
      if (id < 0 || id >= tokenizer.size()) broken("an id outside the vocabulary", file);
    tokenizer.decode(ids);
    StreamDecoder stream(tokenizer);
    for (const int64_t id : ids) stream.push(id);
    stream.finish();
  }
  try {
    const auto again = tokenizer_from(tokenizer.vocabulary());
    for (const std::string& text : kTexts) again->encode(text, true);
  } catch (const Error&) {  // what GGUF cannot hold
  }
}

// Whether the file is good; aborts if it breaks the property.
bool check(Format format, std::string_view bytes) {
  try {
    if (format == Json) {
      const auto document = parse_json(bytes, "fuzz");
      if (document.is_object() && document.contains("type") && !document.contains("model"))
        use(*parse_plain_tokenizer(document, "fuzz"), bytes);
      else
        use(*parse_tokenizer_json(document, "fuzz"), bytes);
    } else if (format == Model) {
      const SentencePieceModel model = parse_sentencepiece(bytes, "fuzz");
      const std::string written = serialize_sentencepiece(model);
      if (serialize_sentencepiece(parse_sentencepiece(written, "written")) != written)
        broken("read back as another model", bytes);
      use(*sentencepiece_tokenizer(model, "fuzz"), bytes);
    } else {
      for (const auto& item : parse_multiple_choice(bytes, "fuzz"))
        if (item.label < 0 || item.label >= int64_t(item.choices.size()) ||
            item.lengths.size() != item.choices.size() ||
            (item.contexts.size() != 1 && item.contexts.size() != item.choices.size()))
          broken("an inconsistent item", bytes);
    }
  } catch (const Error&) {
    return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) check(Format(data[0] % Formats), {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}

#ifndef QUANTA_LIBFUZZER
namespace {

using nlohmann::json;

std::vector<std::string> corpus_of(Format format) {
  std::vector<std::string> corpus;
  if (format == Json) {
    json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}, {"\u2581", 3}, {"h", 4},
                  {"e", 5},     {"l", 6},   {"he", 7},   {"<0x41>", 8}, {"\u2581h", 9}};
    json d = {{"added_tokens",
               {{{"id", 0}, {"content", "<unk>"}, {"special", true}, {"normalized", false}},
                {{"id", 1},
                 {"content", "<s>"},
                 {"special", true},
                 {"lstrip", true},
                 {"rstrip", true},
                 {"single_word", true}}}},
              {"normalizer",
               {{"type", "Sequence"},
                {"normalizers",
                 {{{"type", "Prepend"}, {"prepend", "\u2581"}},
                  {{"type", "NFC"}},
                  {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}}},
              {"pre_tokenizer", nullptr},
              {"post_processor",
               {{"type", "TemplateProcessing"},
                {"single",
                 {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
                {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}}},
              {"decoder",
               {{"type", "Sequence"},
                {"decoders",
                 {{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
                  {{"type", "ByteFallback"}},
                  {{"type", "Fuse"}},
                  {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
              {"model",
               {{"type", "BPE"},
                {"unk_token", "<unk>"},
                {"fuse_unk", true},
                {"byte_fallback", true},
                {"vocab", vocab},
                {"merges", {"h e", "\u2581 h"}}}}};
    corpus.push_back(d.dump());
    d["pre_tokenizer"] = {
        {"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}, {"split", true}};
    d["normalizer"] = nullptr;
    d["decoder"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}};
    d["model"]["merges"] = json::array({json::array({"h", "e"}), json::array({"\u2581", "h"})});
    corpus.push_back(d.dump());
    for (const SplitPattern pattern : {SplitPattern::Gpt2, SplitPattern::Llama3, SplitPattern::Qwen2})
      corpus.push_back(
          train_bpe("hello hello 123 hell", {.vocabulary = 262, .pattern = pattern, .special = {"<|end|>"}}).dump());
    corpus.push_back(R"({"type": "characters", "tokens": ["a", " ", "é"]})");
    corpus.push_back(R"({"type": "bytes"})");
  } else if (format == Model) {
    for (const auto kind : {SentencePieceModel::Kind::Unigram, SentencePieceModel::Kind::Bpe}) {
      SentencePieceModel m{.kind = kind};
      m.pieces = {{"<unk>", 0, PieceType::Unknown},
                  {"<s>", 0, PieceType::Control},
                  {"</s>", 0, PieceType::Control},
                  {"\u2581", -1},
                  {"h", -2},
                  {"e", -3},
                  {"he", -1.5},
                  {"\u2581he", -1, PieceType::Unused},
                  {"123", 0, PieceType::UserDefined},
                  {"l", -4},
                  {"ll", -5}};
      // A trie of two units by the letter a: "a" becomes "b".
      const uint32_t units[] = {2 << 10, 0, 0, 0};
      m.charsmap =
          std::string("\x10\0\0\0", 4) + std::string(reinterpret_cast<const char*>(units), 16) + std::string("b\0", 2);
      corpus.push_back(serialize_sentencepiece(m));
      m.charsmap.clear();
      m.byte_fallback = true;
      for (int b = 0; b < 256; ++b) m.pieces.push_back({fmt::format("<0x{:02X}>", b), 0, PieceType::Byte});
      corpus.push_back(serialize_sentencepiece(m));
    }
  } else {
    corpus = {
        R"({"goal": "a", "sol1": "b", "sol2": "c", "label": 0})",
        R"({"question": "a", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "answerKey": "B"})",
        R"({"question": {"stem": "a", "choices": [{"text": "b", "label": "A"}, {"text": "c", "label": "B"}]}, "answerKey": "1"})",
        R"({"activity_label": "a", "ctx_a": "b [x] [title]", "ctx_b": "c", "endings": ["d", "e  "], "label": "1"})",
        R"({"sentence": "a _ b", "option1": "c", "option2": "d", "answer": "2"})",
        R"({"passage": "a", "question": "b", "label": true})"
        "\n"
        R"({"context": "a", "choices": ["b", "c"], "label": 1})"};
  }
  return corpus;
}

const std::vector<std::string> kWords = {"null",
                                         "-1",
                                         "0",
                                         "1e300",
                                         "9223372036854775807",
                                         "1152921504606846976",
                                         "\"\"",
                                         "[]",
                                         "{}",
                                         "[[",
                                         "{\"",
                                         "\"type\":",
                                         "true",
                                         "\"<s>\"",
                                         ",",
                                         ":",
                                         "\"id\"",
                                         "\\u0000",
                                         "\xff",
                                         "\xf0\x9f",
                                         "\xe2\x96\x81",
                                         "\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                                         "\x80\x80\x80\x80\x10",
                                         std::string(4, '\0'),
                                         "\"Sequence\"",
                                         "\"ByteLevel\""};

std::string mutate(const std::vector<std::string>& corpus, Random& random) {
  std::string text = corpus[random.below(corpus.size())];
  for (uint64_t changes = 1 + random.below(5); changes > 0 && !text.empty(); --changes) {
    const size_t at = random.below(text.size());
    const size_t length = std::min(text.size() - at, size_t(1) << random.below(7));
    switch (random.below(7)) {
      case 0:
        text[at] = char(random.below(256));
        break;
      case 1:
        text.insert(at, kWords[random.below(kWords.size())]);
        break;
      case 2:
        text.erase(at, length);
        break;
      case 3:
        text.insert(at, std::string(text, random.below(text.size()), length));
        break;
      case 4:
        text.replace(at, length, kWords[random.below(kWords.size())]);
        break;
      case 5: {
        const std::string& other = corpus[random.below(corpus.size())];
        text.insert(at, other, random.below(other.size() + 1), length);
        break;
      }
      default:
        text[at] = char(text[at] ^ 1 << random.below(8));
    }
  }
  return text.substr(0, 60000);
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 5;
  uint64_t seed = 1;
  std::vector<Format> formats = {Json, Model, Task};
  std::vector<std::string> corpora[Formats];
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--seconds" && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else if (word == "--seed" && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (word == "--format" && i + 1 < argc) {
      const std::string format = argv[++i];
      formats = {format == "json" ? Json : format == "model" ? Model : Task};
    } else {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(word)) {
        const auto kind = entry.path().extension();
        if (kind == ".json") corpora[Json].push_back(read_file(entry.path()));
        if (kind == ".model") corpora[Model].push_back(read_file(entry.path()));
        if (kind == ".jsonl") corpora[Task].push_back(read_file(entry.path()));
      }
    }
  }
  for (const Format format : formats)
    for (std::string& file : corpus_of(format)) {
      if (!check(format, file) && format != Model) broken("a good file was refused", file);
      corpora[format].push_back(std::move(file));
    }

  Random random(seed);
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  int64_t runs = 0, good = 0;
  double slowest = 0;
  while (elapsed() < seconds) {
    const Format format = formats[size_t(runs) % formats.size()];
    auto& corpus = corpora[format];
    const std::string file = mutate(corpus, random);
    const double before = elapsed();
    const bool accepted = check(format, file);
    slowest = std::max(slowest, elapsed() - before);
    ++runs;
    good += accepted;
    if (accepted && file.size() < 20000) {  // good files become parents, so that changes add up
      if (corpus.size() < 300)
        corpus.push_back(file);
      else
        corpus[random.below(corpus.size())] = file;
    }
  }
  std::printf("%lld files, %lld good, slowest %.3f s\n", static_cast<long long>(runs), static_cast<long long>(good),
              slowest);
  return runs > 0 && good > 0 ? 0 : 1;
}
#endif
