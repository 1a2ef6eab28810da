#include "quanta/models/vision.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "quanta/core/error.h"
#include "quanta/core/text.h"
#include "quanta/models/architectures.h"
#include "quanta/nn/init.h"
#include "quanta/nn/state.h"

namespace quanta {
namespace architectures {

int64_t scaled(int64_t channels, double width, int64_t divisor) {
  const double exact = double(channels) * width;
  const int64_t rounded = std::max(divisor, int64_t(exact + double(divisor) / 2) / divisor * divisor);
  return double(rounded) < 0.9 * exact ? rounded + divisor : rounded;
}

int conv_bn(Network& net, const ConvNames& names, int x, const Conv2dOptions& options, double eps) {
  x = net->batch_norm(names.batch_norm, net->conv(names.conv, x, options), eps);
  return names.relu.empty() ? x : net->relu(names.relu, x);
}

void classifier(Network& net, int x, int64_t features, int64_t classes, double dropout) {
  net->block("fc");
  x = net->flatten("flatten", net->global_avg_pool("avgpool", x));
  if (dropout > 0) x = net->dropout("dropout", x, dropout);
  net->linear("fc", x, features, classes);
}

}  // namespace architectures

namespace {

struct Entry {
  std::string name;
  Network (*build)(const VisionOptions&);
};

template <int depth>
Network resnet(const VisionOptions& options) {
  return architectures::resnet(depth, options);
}
template <int groups>
Network shufflenet(const VisionOptions& options) {
  return architectures::shufflenet(groups, options);
}
Network squeezenext23_w2(const VisionOptions& options) {
  VisionOptions wide = options;
  wide.width *= 2;
  return architectures::squeezenext23(wide);
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> entries{{"resnet18", resnet<18>},
                                          {"resnet34", resnet<34>},
                                          {"resnet50", resnet<50>},
                                          {"resnet101", resnet<101>},
                                          {"resnet152", resnet<152>},
                                          {"resnet20", resnet<20>},
                                          {"resnet32", resnet<32>},
                                          {"resnet44", resnet<44>},
                                          {"resnet56", resnet<56>},
                                          {"resnet110", resnet<110>},
                                          {"mobilenet_v1", architectures::mobilenet_v1},
                                          {"mobilenet_v2", architectures::mobilenet_v2},
                                          {"inception_v3", architectures::inception_v3},
                                          {"shufflenet_g1", shufflenet<1>},
                                          {"shufflenet_g2", shufflenet<2>},
                                          {"shufflenet_g3", shufflenet<3>},
                                          {"shufflenet_g4", shufflenet<4>},
                                          {"shufflenet_g8", shufflenet<8>},
                                          {"sqnxt23", architectures::squeezenext23},
                                          {"sqnxt23_w2", squeezenext23_w2},
                                          {"vgg_small", architectures::vgg_small}};
  return entries;
}

/// The network without start values.
Network build(std::string_view name, const VisionOptions& options) {
  const auto found = std::ranges::find(entries(), name, &Entry::name);
  if (found == entries().end()) {
    const auto names = vision_model_names();
    fail("there is no vision model '{}'; did you mean '{}'? Known are {}", name, nearest(name, names),
         fmt::join(names, ", "));
  }
  require(options.classes >= 1 && options.classes <= 1'000'000 && options.channels >= 1 && options.channels <= 1000,
          "{} has 1 to 1,000,000 classes and 1 to 1000 channels, not {} and {}", name, options.classes,
          options.channels);
  require(options.input >= 8, "{} takes images of at least 8 pixels, not {}", name, options.input);
  require(options.width >= 0.01 && options.width <= 10, "{}: a width of {} is outside [0.01, 10]", name, options.width);
  return found->build(options);
}

using nlohmann::json;

json to_json(const VisionModelInfo& info) {
  const VisionOptions& o = info.options;
  return {{"model", info.model}, {"classes", o.classes},
          {"input", o.input},    {"channels", o.channels},
          {"width", o.width},    {"seed", o.seed},
          {"mean", info.mean},   {"standard_deviation", info.standard_deviation},
          {"data", info.data},   {"class_names", info.class_names}};
}

VisionModelInfo from_json(const json& j) {
  return {.model = j.at("model").get<std::string>(),
          .options{.classes = j.at("classes").get<int64_t>(),
                   .input = j.at("input").get<int64_t>(),
                   .channels = j.at("channels").get<int64_t>(),
                   .width = j.at("width").get<double>(),
                   .seed = j.at("seed").get<uint64_t>()},
          .mean = j.at("mean").get<std::vector<double>>(),
          .standard_deviation = j.at("standard_deviation").get<std::vector<double>>(),
          .class_names = j.at("class_names").get<std::vector<std::string>>(),
          .data = j.at("data").get<std::string>()};
}

void check(const VisionModelInfo& info) {
  const auto fits = [&](size_t size) { return size == 0 || int64_t(size) == info.options.channels; };
  require(fits(info.mean.size()) && info.mean.size() == info.standard_deviation.size(),
          "the description of {} has {} means and {} standard deviations for {} channels", info.model, info.mean.size(),
          info.standard_deviation.size(), info.options.channels);
  for (const double s : info.standard_deviation)
    require(std::isfinite(s) && s > 0, "the description of {} has a standard deviation of {}", info.model, s);
  require(info.class_names.empty() || int64_t(info.class_names.size()) == info.options.classes,
          "the description of {} names {} classes of {}", info.model, info.class_names.size(), info.options.classes);
}

constexpr const char* kFormat = "quanta vision model 1";

}  // namespace

std::vector<std::string> vision_model_names() {
  std::vector<std::string> names;
  for (const Entry& entry : entries()) names.push_back(entry.name);
  return names;
}

Network vision_model(std::string_view name, const VisionOptions& options) {
  Network net = build(name, options);
  initialize(*net, Random(options.seed), ConvolutionStart::KaimingNormal);
  return net;
}

void save_vision_model(const std::filesystem::path& path, const Network& net, const VisionModelInfo& info) {
  check(info);
  const TensorMap expected = state_of(*build(info.model, info.options)), actual = state_of(*net);
  const auto same = [](const auto& a, const auto& b) {
    return a.first == b.first && a.second.sizes() == b.second.sizes() &&
           a.second.scalar_type() == b.second.scalar_type();
  };
  require(std::ranges::equal(expected, actual, same),
          "the network is not the {} that vision_model makes of its description; only such a one is saved like this",
          info.model);
  write_tensors(path, actual, vision_model_metadata(info));
}

std::map<std::string, std::string> vision_model_metadata(const VisionModelInfo& info) {
  check(info);
  return {{"format", kFormat}, {"model", to_json(info).dump()}};
}

VisionModelInfo read_vision_model_info(const std::filesystem::path& path) {
  const Safetensors file = Safetensors::open(path);
  const auto format = file.metadata().find("format"), model = file.metadata().find("model");
  require(format != file.metadata().end() && format->second == kFormat && model != file.metadata().end(),
          "{} does not say which network it holds (its metadata has no '{}'): build one with vision_model and read the "
          "file with load_weights",
          path.string(), kFormat);
  try {
    VisionModelInfo info = from_json(json::parse(model->second));
    check(info);
    return info;
  } catch (const json::exception& error) {
    fail("{} is damaged: the description of its network: {}", path.string(), error.what());
  }
}

LoadedVisionModel load_vision_model(const std::filesystem::path& path) {
  const auto file = std::filesystem::is_directory(path) ? path / "model.safetensors" : path;
  LoadedVisionModel loaded{.net = nullptr, .info = read_vision_model_info(file)};
  loaded.net = build(loaded.info.model, loaded.info.options);
  load_module(*loaded.net, file);
  loaded.net->eval();
  return loaded;
}

}  // namespace quanta
