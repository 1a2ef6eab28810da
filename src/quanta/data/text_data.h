#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace quanta {

/// A text in two parts: the first nine tenths (rounded down, and to a whole UTF-8 character) and the rest.
struct TextSplits {
  std::string name{};    ///< "tiny_shakespeare", "markov_text" or the file's name
  std::string source{};  ///< the file, or "generated"
  std::string train{}, test{};
};

/// The documents of a file: of .jsonl the field "text" of every line, of any other the whole content; .gz is expanded.
/// Error naming the file (and line) if it cannot be read, is empty or damaged, or is not UTF-8 text.
std::vector<std::string> read_documents(const std::filesystem::path& path);

/// A file's documents, joined by an empty line.
std::string read_text(const std::filesystem::path& path);

/// `name` is a text that Quanta knows (data/known.h), "markov_text", or a file. Where tiny Shakespeare is not found the
/// generated markov_text() takes its place, which `log` is told in one line.
TextSplits load_text(const std::string& name, const std::filesystem::path& dir = {},
                     const std::function<void(const std::string&)>& log = {});

/// 16 hexadecimal digits (FNV-1a, 64 bits). Tells texts and settings apart; no protection against forgery.
std::string text_hash(std::string_view text);
std::string tokens_hash(const torch::Tensor& tokens);  ///< of int64 values

/// Error unless the two texts are disjoint: a run of 512 bytes that both have is always found, one of 256 often, and
/// a text of less than 256 bytes if the other contains all of it.
void require_disjoint(std::string_view calibration, std::string_view evaluation);

/// What layers are calibrated with.
struct CalibrationSet {
  torch::Tensor tokens{};  ///< int64 [n, T]
  uint64_t seed = 0;
  std::string source{};  ///< the text's name, for reports
};

/// `count` random windows of `length` tokens of a stream [tokens], as GPTQ's: they may overlap. Error if the stream is
/// shorter than a window.
CalibrationSet random_windows(const torch::Tensor& stream, int64_t count, int64_t length, uint64_t seed,
                              std::string source);

/// Documents in random order, one after the other, cut into blocks, as AWQ's. Error if there are not enough tokens.
CalibrationSet document_blocks(const std::vector<std::vector<int64_t>>& documents, int64_t count, int64_t length,
                               uint64_t seed, std::string source);

/// Tokens as a tensor int64 [n].
torch::Tensor token_stream(const std::vector<int64_t>& ids);

}  // namespace quanta
