#include "quanta/quantize/ledger.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "quanta/core/error.h"
#include "quanta/core/file.h"

namespace quanta {
namespace {

constexpr double kMostlyConstant = 0.5;

nlohmann::ordered_json to_json(const LedgerLayer& layer) {
  return {{"name", layer.name},
          {"rows", layer.rows},
          {"columns", layer.columns},
          {"bits", layer.bits},
          {"group", layer.group},
          {"error", layer.error},
          {"rounded_error", layer.rounded_error},
          {"damping", layer.damping},
          {"dead", layer.dead},
          {"troubled", layer.troubled},
          {"saturated", layer.saturated},
          {"constant", layer.constant},
          {"seconds", layer.seconds}};
}

LedgerLayer ledger_layer(const nlohmann::json& json) {
  return {.name = json.at("name"),
          .rows = json.at("rows"),
          .columns = json.at("columns"),
          .bits = json.at("bits"),
          .group = json.at("group"),
          .error = json.at("error"),
          .rounded_error = json.at("rounded_error"),
          .damping = json.at("damping"),
          .dead = json.at("dead"),
          .troubled = json.at("troubled"),
          .saturated = json.at("saturated"),
          .constant = json.at("constant"),
          .seconds = json.at("seconds")};
}

std::string measured(double value) {
  return value < 0 ? "-" : fmt::format("{:.3g}", value);
}

}  // namespace

nlohmann::ordered_json to_json(const LedgerBlock& block) {
  auto layers = nlohmann::ordered_json::array();
  for (const LedgerLayer& layer : block.layers) layers.push_back(to_json(layer));
  return {{"block", block.block}, {"error", block.error}, {"kl", block.kl}, {"layers", layers}};
}

LedgerBlock ledger_block(const nlohmann::json& json) {
  LedgerBlock block{.block = json.at("block"), .error = json.at("error"), .kl = json.at("kl")};
  for (const auto& layer : json.at("layers")) block.layers.push_back(ledger_layer(layer));
  return block;
}

nlohmann::ordered_json Ledger::to_json() const {
  auto all = nlohmann::ordered_json::array();
  for (const LedgerBlock& block : blocks) all.push_back(quanta::to_json(block));
  return {{"method", method}, {"blocks", all}};
}

Ledger Ledger::from_json(const nlohmann::json& json, std::string_view name) {
  try {
    Ledger ledger{.method = json.at("method")};
    for (const auto& block : json.at("blocks")) ledger.blocks.push_back(ledger_block(block));
    return ledger;
  } catch (const nlohmann::json::exception& e) {
    fail("{} is not a ledger of quanta quantize: {}", name, e.what());
  }
}

Ledger Ledger::load(const std::filesystem::path& path) {
  const auto file = std::filesystem::is_directory(path) ? path / "ledger.json" : path;
  return from_json(nlohmann::json::parse(read_file(file), nullptr, false), file.string());
}

LedgerLayer ledger_layer(const LayerResult& result) {
  const QuantizedMatrix& m = result.matrix;
  const int64_t rows = m.codes.size(0), columns = m.codes.size(1), scales = m.grid.scale.size(1);
  // Where act-order scatters a group over the row, its codes are gathered first.
  const torch::Tensor codes =
      m.g_idx.defined() ? m.codes.index_select(1, std::get<1>(m.g_idx.sort(true, 0, false))) : m.codes;
  int64_t constant = 0;
  for (int64_t g = 0; g < scales; ++g) {
    const torch::Tensor group = codes.slice(1, g * m.grid.group, std::min(columns, (g + 1) * m.grid.group));
    constant += (group == group.slice(1, 0, 1)).all(1).sum().item<int64_t>();
  }
  const double ends = m.codes.eq(0).logical_or(m.codes.eq(m.grid.levels - 1)).sum().item<double>();
  return {.name = fmt::format("layers.{}.{}", result.block, result.layer),
          .rows = rows,
          .columns = columns,
          .bits = m.bits,
          .group = m.grid.group,
          .error = result.error,
          .rounded_error = result.rounded_error,
          .damping = result.damping,
          .dead = result.dead,
          .troubled = result.troubled,
          .saturated = ends / double(m.codes.numel()),
          .constant = double(constant) / double(rows * scales),
          .seconds = result.seconds};
}

std::vector<std::string> ruined(const LedgerBlock& block) {
  std::vector<std::string> faults;
  if (!std::isfinite(block.error) || !std::isfinite(block.kl))
    faults.push_back(fmt::format("the hidden states behind block {} are not finite", block.block));
  for (const LedgerLayer& layer : block.layers) {
    if (!(layer.error <= 1))
      faults.push_back(fmt::format("{} has an output error of {:.3g} of its output", layer.name, layer.error));
    if (layer.constant > kMostlyConstant)
      faults.push_back(fmt::format("{:.0f} % of {}'s groups hold one code only", 100 * layer.constant, layer.name));
  }
  return faults;
}

std::string to_text(const Ledger& ledger, size_t most) {
  std::vector<const LedgerLayer*> layers;
  for (const LedgerBlock& block : ledger.blocks)
    for (const LedgerLayer& layer : block.layers) layers.push_back(&layer);
  const size_t all = layers.size();
  if (all > most) {
    std::stable_sort(layers.begin(), layers.end(), [](auto a, auto b) { return a->error > b->error; });
    layers.resize(most);
  }
  std::string text = fmt::format("{:<34} {:>4} {:>6} {:>9} {:>9} {:>8} {:>5} {:>8} {:>9}\n", "layer", "bits", "group",
                                 "error", "rounded", "damping", "dead", "troubled", "saturated");
  for (const LedgerLayer* layer : layers)
    text += fmt::format("{:<34} {:>4} {:>6} {:>9} {:>9} {:>8.3g} {:>5} {:>8} {:>8.2f}%\n", layer->name, layer->bits,
                        layer->group, measured(layer->error), measured(layer->rounded_error), layer->damping,
                        layer->dead.size(), layer->troubled.size(), 100 * layer->saturated);
  if (all > layers.size()) text += fmt::format("(the {} worst of {} layers)\n", layers.size(), all);
  for (const LedgerBlock& block : ledger.blocks)
    text +=
        fmt::format("behind block {:>3}: error {:.3g}, KL {:.3g} nats a token\n", block.block, block.error, block.kl);
  return text;
}

std::string compare(const Ledger& a, const Ledger& b) {
  std::map<std::string, const LedgerLayer*> of_b;
  for (const LedgerBlock& block : b.blocks)
    for (const LedgerLayer& layer : block.layers) of_b[layer.name] = &layer;
  std::vector<std::pair<const LedgerLayer*, const LedgerLayer*>> pairs;
  for (const LedgerBlock& block : a.blocks)
    for (const LedgerLayer& layer : block.layers) {
      const auto other = of_b.find(layer.name);
      require(other != of_b.end() && other->second->rows == layer.rows && other->second->columns == layer.columns,
              "the two are of different models: {} [{}, {}] is in one only", layer.name, layer.rows, layer.columns);
      pairs.emplace_back(&layer, other->second);
    }
  require(pairs.size() == of_b.size(), "the two are of different models: {} and {} layers", pairs.size(), of_b.size());
  const auto change = [](const auto& pair) {
    return std::abs(std::log((pair.second->error + 1e-30) / (pair.first->error + 1e-30)));
  };
  std::stable_sort(pairs.begin(), pairs.end(), [&](const auto& x, const auto& y) { return change(x) > change(y); });
  std::string text = fmt::format("{:<34} {:>6} {:>6} {:>10} {:>10} {:>8}\n", "layer", "bits A", "bits B", "error A",
                                 "error B", "B / A");
  for (const auto& [x, y] : pairs)
    text += fmt::format("{:<34} {:>6} {:>6} {:>10} {:>10} {:>8}\n", x->name, x->bits, y->bits, measured(x->error),
                        measured(y->error),
                        x->error > 0 && y->error >= 0 ? fmt::format("{:.3f}", y->error / x->error) : "-");
  for (size_t i = 0; i < std::min(a.blocks.size(), b.blocks.size()); ++i)
    text += fmt::format("behind block {:>3}: KL {:.3g} -> {:.3g} nats a token\n", a.blocks[i].block, a.blocks[i].kl,
                        b.blocks[i].kl);
  return text;
}

}  // namespace quanta
