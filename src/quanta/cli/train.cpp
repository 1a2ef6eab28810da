#include <algorithm>

#include "quanta/cli/command.h"
#include "quanta/cli/train_options.h"
#include "quanta/cli/vision.h"
#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/log.h"
#include "quanta/core/signal.h"
#include "quanta/papers/figures.h"
#include "quanta/papers/recipe.h"
#include "quanta/train/images.h"

namespace quanta::cli {
namespace {

struct ImageOptions {
  ImageSource data;
  int64_t size = 0;
  int epochs = ImageTraining{}.epochs;
  int64_t images = 0;
  bool plain = false;
};

struct Options {
  TrainCommand command;
  ImageOptions images;
  TrainTextOptions text;
};

void train_images(const TrainCommand& command, const ImageOptions& options) {
  if (options.data.set.empty()) throw UsageError("--data is required: a known set, or a folder or archive of images");
  ImageTraining training{.epochs = options.epochs, .seed = command.seed, .resume = command.resume};
  training.batch = command.batch.value_or(training.batch);
  training.rate = command.rate.value_or(training.rate);
  training.weight_decay = command.decay.value_or(training.weight_decay);
  const ImageSplits data = load(options.data, options.size);
  const ImageSet train = options.images > 0 ? subset(data.train, options.images, training.seed) : data.train;
  VisionModelInfo info{.model = command.model};
  info.options.width = command.width.value_or(info.options.width);
  info.options.classes = int64_t(train.classes.size());
  info.options.channels = train.channels();
  info.options.input = train.height();
  info.options.seed = training.seed;
  const Normalization normalization = Normalization::measure(train);
  info.mean = normalization.mean;
  info.standard_deviation = normalization.standard_deviation;
  info.class_names = train.classes;
  info.data = options.data.set;
  Network net = vision_model(info.model, info.options);

  const std::filesystem::path out = command.out.empty()
                                        ? std::filesystem::path("runs") / (command.model + "-" + train.name)
                                        : std::filesystem::path(command.out);
  make_directory(out);
  training.out = out;
  training.label = command.model;
  if (!options.plain) training.augmentation = {.crop_padding = train.height() / 8, .flip = true};
  const InterruptGuard guard;
  const History history = quanta::train_images(net, train, data.test, normalization, training);
  if (history.interrupted)
    throw Interrupted(fmt::format("interrupted; the state is in {}: go on with --resume", out.string()));
  save_vision_model(out / "model.safetensors", net, info);
  const Evaluation test = evaluate_images(net, data.test, normalization);

  Report report{.recipe = command.model,
                .title = fmt::format("{} on {}", command.model, train.name),
                .mode = "training",
                .seed = training.seed,
                .seconds = history.seconds(),
                .data = {train.name, train.source, train.size(), data.test.size()}};
  report.results = {{.name = "test accuracy", .value = 100 * test.accuracy, .unit = "%"},
                    {.name = "test loss", .value = test.loss},
                    {.name = "parameters", .value = double(count_parameters(*net))}};
  report.artifacts = {"model.safetensors", "report.html", "report.json", "metrics.jsonl"};
  report.environment = environment_facts();
  const std::vector<History> histories{history};
  const auto curves = [&](const char* title, double Epoch::*train_column, double Epoch::*test_column, double scale) {
    return line_plot({.title = title,
                      .x = {.label = "epoch"},
                      .y = {},
                      .series = {history_curve("train", histories, train_column, scale),
                                 history_curve("test", histories, test_column, scale)}});
  };
  report.sections = {{.title = "Training",
                      .figures = {curves("Loss", &Epoch::train_loss, &Epoch::val_loss, 1),
                                  curves("Accuracy in %", &Epoch::train_accuracy, &Epoch::val_accuracy, 100)}},
                     {.title = "Test images",
                      .figures = {confusion_figure(test, data.test, "Rows: true class; columns: prediction"),
                                  misclassified_figure(test, data.test)}}};
  write_html(report, out / "report.html");
  write_file(out / "report.json", to_json(report).dump(2) + "\n");
  if (command.json)
    print_json(to_json(report));
  else
    print(fmt::format("{}: {:.2f} % of {} test images after {} epochs ({:.0f} s)\nModel: {}\nReport page: {}\n",
                      report.title, 100 * test.accuracy, data.test.size(), history.epochs.size(), history.seconds(),
                      (out / "model.safetensors").string(), (out / "report.html").string()));
}

void train(const Options& options) {
  const TrainCommand& command = options.command;
  if (is_language_architecture(command.model)) {
    if (!options.images.data.set.empty()) throw UsageError(command.model + " learns a text: --text instead of --data");
    return train_text(command, options.text);
  }
  if (!options.text.text.empty()) throw UsageError(command.model + " learns images: --data instead of --text");
  train_images(command, options.images);
}

}  // namespace

void add_train(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  TrainCommand& shared = options->command;
  ImageOptions& images = options->images;
  auto* command = app.add_subcommand("train", "Train an image classifier or a small language model");
  command
      ->add_option(
          "model", shared.model,
          fmt::format("Of images: {}; of text: {}", fmt::join(vision_model_names(), ", "), language_architectures()))
      ->required()
      ->type_name("MODEL");
  command->add_option("--batch", shared.batch, "Images or sequences a step (default: 128, or the language model's)")
      ->check(CLI::Range(1, 65536))
      ->type_name("N");
  command
      ->add_option("--rate", shared.rate,
                   "Highest learning rate (default: 0.1, or the language model's); it rises for a tenth of the steps")
      ->check(CLI::PositiveNumber);
  command->add_option("--decay", shared.decay, "Weight decay (default: 0.0005, or 0.1)")->check(CLI::NonNegativeNumber);
  command
      ->add_option("--width", shared.width,
                   "Of images: multiplies the channels of every layer; of text: numbers a token is represented by")
      ->check(CLI::Range(0.05, 65536.0));
  command->add_option("--seed", shared.seed, "Seed of everything random")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--out", shared.out, "Folder for the model and the report (default: runs/MODEL-SET)")
      ->type_name("DIR");
  command->add_flag("--resume", shared.resume, "Go on from what a killed or interrupted training left");
  add_threads_option(*command);
  command->add_flag("--json", shared.json, "Print one JSON object");

  const auto own = command->get_options();
  add_image_source(*command, images.data, false);
  command->add_option("--size", images.size, "Resize images to this height and width")
      ->check(CLI::Range(8, 4096))
      ->type_name("PIXELS");
  command->add_option("--images", images.images, "Train on so many images only, drawn at random")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  command->add_option("--epochs", images.epochs, "Times all images are seen")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_flag("--no-augment", images.plain, "Without random crops and mirror images");
  for (auto* option : command->get_options())
    if (std::find(own.begin(), own.end(), option) == own.end()) option->group("Image classifiers");
  add_train_text_options(*command, options->text);
  command->callback([options, &status] {
    options->text.folder = options->images.data.folder;
    train(*options);
    status = kDone;
  });
}

}  // namespace quanta::cli
