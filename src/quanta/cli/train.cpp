#include <chrono>

#include "quanta/cli/command.h"
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

struct Options {
  std::string model;
  ImageSource data;
  VisionOptions network{};
  ImageTraining training{};
  int64_t images = 0;
  bool plain = false;
  std::string out;
  bool json = false;
};

void train(Options options) {
  const ImageSplits data = load(options.data, options.network.input);
  const ImageSet train = options.images > 0 ? subset(data.train, options.images, options.training.seed) : data.train;
  VisionModelInfo info{.model = options.model, .options = options.network};
  info.options.classes = int64_t(train.classes.size());
  info.options.channels = train.channels();
  info.options.input = train.height();
  info.options.seed = options.training.seed;
  const Normalization normalization = Normalization::measure(train);
  info.mean = normalization.mean;
  info.standard_deviation = normalization.standard_deviation;
  info.class_names = train.classes;
  info.data = options.data.set;
  Network net = vision_model(info.model, info.options);

  const std::filesystem::path out = options.out.empty()
                                        ? std::filesystem::path("runs") / (options.model + "-" + train.name)
                                        : std::filesystem::path(options.out);
  make_directory(out);
  options.training.out = out;
  options.training.label = options.model;
  if (!options.plain) options.training.augmentation = {.crop_padding = train.height() / 8, .flip = true};
  const InterruptGuard guard;
  const History history = train_images(net, train, data.test, normalization, options.training);
  if (history.interrupted)
    throw Interrupted(fmt::format("interrupted; the state is in {}: go on with --resume", out.string()));
  save_vision_model(out / "model.safetensors", net, info);
  const Evaluation test = evaluate_images(net, data.test, normalization);

  Report report{.recipe = options.model,
                .title = fmt::format("{} on {}", options.model, train.name),
                .mode = "training",
                .seed = options.training.seed,
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
  if (options.json)
    print_json(to_json(report));
  else
    print(fmt::format("{}: {:.2f} % of {} test images after {} epochs ({:.0f} s)\nModel: {}\nReport page: {}\n",
                      report.title, 100 * test.accuracy, data.test.size(), history.epochs.size(), history.seconds(),
                      (out / "model.safetensors").string(), (out / "report.html").string()));
}

}  // namespace

void add_train(CLI::App& app, int& status) {
  const auto options = std::make_shared<Options>();
  ImageTraining& training = options->training;
  options->network.input = 0;
  auto* command = app.add_subcommand("train", "Train an image classifier");
  command->add_option("model", options->model, fmt::format("One of: {}", fmt::join(vision_model_names(), ", ")))
      ->required()
      ->type_name("MODEL");
  add_image_source(*command, options->data, true);
  command->add_option("--size", options->network.input, "Resize images to this height and width")
      ->check(CLI::Range(8, 4096))
      ->type_name("PIXELS");
  command->add_option("--width", options->network.width, "Multiplies the channels of every layer")
      ->check(CLI::Range(0.05, 8.0))
      ->capture_default_str();
  command->add_option("--images", options->images, "Train on so many images only, drawn at random")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  command->add_option("--epochs", training.epochs, "Times all images are seen")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--batch", training.batch, "Images a step")->check(CLI::Range(2, 65536))->capture_default_str();
  command
      ->add_option("--rate", training.rate,
                   "Highest learning rate; it rises for a tenth of the steps and then falls to 0")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--decay", training.weight_decay, "Weight decay")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--no-augment", options->plain, "Without random crops and mirror images");
  command->add_option("--seed", training.seed, "Seed of everything random")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--out", options->out, "Folder for the model and the report (default: runs/MODEL-SET)")
      ->type_name("DIR");
  command->add_flag("--resume", training.resume, "Go on from what a killed or interrupted training left");
  add_threads_option(*command);
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, &status] {
    train(*options);
    status = kDone;
  });
}

}  // namespace quanta::cli
