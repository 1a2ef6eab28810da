#include "quanta/papers/language_subject.h"

#include <algorithm>
#include <filesystem>

#include "quanta/data/text_data.h"
#include "quanta/models/checkpoint.h"
#include "quanta/papers/reference_language.h"

namespace quanta {

LanguageSubject language_subject(const Config& config, uint64_t seed, const RunContext& context) {
  const auto name = config.get<std::string>("model");
  require(!name.empty(),
          "the full run quantizes a model on disk: add --set model=FOLDER --set calibration=FILE --set test=FILE");
  if (!std::filesystem::is_directory(name)) {
    ReferenceLanguage reference = reference_language_model(name, seed, context);
    return {reference.model, reference.calibration, reference.test, reference.data};
  }
  const auto calibration = config.get<std::string>("calibration"), test = config.get<std::string>("test");
  require(!calibration.empty() && !test.empty(),
          "a model from a folder needs two texts: --set calibration=FILE --set test=FILE");
  const Checkpoint checkpoint = Checkpoint::open(name);
  const auto tokenizer = load_tokenizer(name);
  require_vocabulary(checkpoint.config(), *tokenizer);
  const int64_t length = std::min(config.get<int64_t>("length"), checkpoint.config().longest());
  const auto before = read_text(calibration), after = read_text(test);
  require_disjoint(before, after);
  const torch::Tensor stream = token_stream(tokenizer->encode(after, true));
  int64_t count = stream.numel() / length;
  if (const auto most = config.get<int64_t>("windows"); most > 0) count = std::min(count, most);
  require(count > 0, "{} has {} tokens, fewer than one window of {}", test, stream.numel(), length);
  LanguageSubject subject{.model = checkpoint.model(),
                          .calibration = random_windows(token_stream(tokenizer->encode(before, true)),
                                                        config.get<int64_t>("sequences"), length, seed, calibration)
                                             .tokens,
                          .test = stream.slice(0, 0, count * length).view({count, length})};
  subject.model->eval();
  subject.data = {.name = std::filesystem::path(test).filename().string(),
                  .source = test,
                  .train = subject.calibration.numel(),
                  .test = subject.test.numel()};
  return subject;
}

}  // namespace quanta
