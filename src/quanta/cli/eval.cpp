#include <chrono>

#include "quanta/cli/command.h"
#include "quanta/cli/eval_text.h"
#include "quanta/cli/language.h"
#include "quanta/cli/vision.h"
#include "quanta/core/error.h"
#include "quanta/quantize/to_integer.h"
#include "quanta/train/images.h"

namespace quanta::cli {
namespace {

struct Options {
  ModelSource model;
  ImageSource data;
  std::string split = "test";
  int batch = 256;
  bool integer = false;
  EvalTextOptions text;
  bool json = false;
};

void evaluate(const Options& options) {
  if (is_language_model(options.model.path) || options.text.asked())
    return evaluate_text(options.model.path, options.text, options.json);
  if (options.data.set.empty()) throw UsageError("--data is required: a known set, or a folder or archive of images");
  const OpenedModel model = open(options.model);
  const ImageSplits splits = load(options.data, model.info.options.input);
  const ImageSet& images = options.split == "test" ? splits.test : splits.train;
  require_fit(model.info, images);
  const Normalization normalization = normalization_of(model.info);

  Evaluation result;
  double seconds = 0;
  const auto timed = [&](auto run) {
    const auto start = std::chrono::steady_clock::now();
    result = run();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  if (options.integer) {
    require(model.quantized, "{} is a float model: quantize it first, or leave --integer out", options.model.path);
    const IntegerNetwork network =
        to_integer(model.net, {int(images.channels()), int(images.height()), int(images.width())});
    timed([&] { return evaluate_integers(network, images, normalization, options.batch); });
  } else {
    timed([&] { return evaluate_images(model.net, images, normalization, options.batch); });
  }
  const double rate = double(images.size()) / seconds;
  if (options.json)
    return print_json({{"model", model.info.model},
                       {"quantized", model.quantized},
                       {"integer", options.integer},
                       {"data", images.name},
                       {"split", options.split},
                       {"images", images.size()},
                       {"accuracy", result.accuracy},
                       {"loss", result.loss},
                       {"images_per_second", rate}});
  std::string text =
      fmt::format("{}{} on {} ({} {} images): accuracy {:.2f} %, loss {:.4f}, {:.0f} images/s\n", model.info.model,
                  options.integer   ? ", integers only"
                  : model.quantized ? ", quantized"
                                    : "",
                  images.name, images.size(), options.split, 100 * result.accuracy, result.loss, rate);
  const auto counts = result.confusion.accessor<int64_t, 2>();
  for (size_t c = 0; c < images.classes.size() && images.classes.size() <= 20; ++c) {
    const int64_t all = result.confusion[int64_t(c)].sum().item<int64_t>();
    text += fmt::format("  {:<16} {:6.2f} % of {}\n", images.classes[c],
                        all ? 100 * double(counts[int64_t(c)][int64_t(c)]) / double(all) : 0, all);
  }
  print(text);
}

}  // namespace

void add_eval(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  auto* command =
      app.add_subcommand("eval", "How well an image classifier or a language model does, float or quantized");
  add_model_source(*command, options->model);
  add_image_source(*command, options->data, false);
  command->add_option("--split", options->split, "test or train")
      ->check(CLI::IsMember({"test", "train"}))
      ->capture_default_str();
  command->add_option("--batch", options->batch, "Images at a time")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_flag("--integer", options->integer, "Run a quantized model with integers only");
  add_eval_text_options(*command, options->text);
  add_threads_option(*command);
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, &status] {
    options->text.folder = options->data.folder;
    evaluate(*options);
    status = kDone;
  });
}

}  // namespace quanta::cli
