#include "quanta/quantize/reassembly.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "quanta/core/error.h"

namespace quanta {
namespace {

using torch::Tensor;
using Indices = std::vector<int64_t>;

Tensor indices(const Indices& values) {
  return torch::tensor(values, torch::kInt64);
}

/// The channel of each sub-channel.
Indices sources(const Indices& repeat) {
  Indices source;
  for (size_t i = 0; i < repeat.size(); ++i) source.insert(source.end(), size_t(repeat[i]), int64_t(i));
  return source;
}

/// Numbers groups in the order of their first members. `leader` [C']: for each sub-channel the first one of its group
/// (at most its own place), or -1 if it is dropped.
Indices number_groups(const Indices& leader) {
  Indices group(leader.size(), -1);
  int64_t next = 0;
  for (size_t k = 0; k < leader.size(); ++k)
    if (leader[k] >= 0) group[k] = leader[k] == int64_t(k) ? next++ : group[size_t(leader[k])];
  return group;
}

/// Places of sub-channels whose channel is whole, those of one parity or (-1) all.
Indices unsplit(const Indices& repeat, int64_t parity = -1) {
  Indices places;
  int64_t place = 0;
  for (const int64_t count : repeat) {
    if (count == 1 && (parity < 0 || place % 2 == parity)) places.push_back(place);
    place += count;
  }
  return places;
}

Indices pick(const Indices& from, const Indices& at) {
  Indices picked;
  for (const int64_t i : at) picked.push_back(from[size_t(i)]);
  return picked;
}

int64_t added_by(const Indices& repeat) {
  return std::accumulate(repeat.begin(), repeat.end(), int64_t{0}) - int64_t(repeat.size());
}

Indices own_leaders(const Indices& repeat) {
  Indices leader(repeat.size() + size_t(added_by(repeat)));
  std::iota(leader.begin(), leader.end(), 0);
  return leader;
}

/// Places of the `count` least values.
Indices least(const Tensor& values, int64_t count) {
  const auto order = values.argsort(/*stable=*/true, 0, /*descending=*/false).slice(0, 0, count).contiguous();
  return Indices(order.data_ptr<int64_t>(), order.data_ptr<int64_t>() + order.numel());
}

Tensor flat(const Tensor& x) {
  return x.detach().reshape({-1, x.size(-1)}).to(torch::kFloat64);
}

/// ||v_i - v_j||^2 of all pairs of columns.
Tensor column_distances(const Tensor& v) {
  const auto gram = v.t().matmul(v);
  const auto norms = gram.diagonal();
  return (norms.unsqueeze(0) + norms.unsqueeze(1) - 2 * gram).clamp_min(0);
}

}  // namespace

Reassembly::Reassembly(Indices repeat, Indices group) : repeat_(std::move(repeat)), group_(std::move(group)) {
  require(std::all_of(repeat_.begin(), repeat_.end(), [](int64_t n) { return n >= 1; }),
          "every channel must have at least one sub-channel");
  const Indices source = sources(repeat_);
  require(!source.empty() && source.size() == group_.size(), "{} sub-channels with groups for {}", source.size(),
          group_.size());
  std::map<int64_t, int64_t> size;
  for (const int64_t g : group_) ++size[g];
  Indices lead, more, more_group;
  std::vector<double> lead_factor, more_factor;
  for (size_t k = 0; k < source.size(); ++k) {
    const int64_t g = group_[k];
    if (g < 0) continue;
    require(g <= int64_t(lead.size()), "the groups are not numbered in the order of their first members");
    const bool first = g == int64_t(lead.size());
    (first ? lead : more).push_back(source[k]);
    (first ? lead_factor : more_factor).push_back(1.0 / double(repeat_[size_t(source[k])] * size[g]));
    if (!first) more_group.push_back(g);
  }
  lead_ = indices(lead);
  lead_factor_ = torch::tensor(lead_factor, torch::kFloat64).to(torch::kFloat32);
  more_ = indices(more);
  more_factor_ = torch::tensor(more_factor, torch::kFloat64).to(torch::kFloat32);
  more_group_ = indices(more_group);
}

std::shared_ptr<Reassembly> Reassembly::identity(int64_t channels) {
  return widen(Indices(size_t(channels), 1));
}

Tensor Reassembly::forward(const Tensor& x) {
  if (added() == 0 && width() == channels()) return x;
  const auto y = x.index_select(-1, lead_) * lead_factor_.to(x.scalar_type());
  if (more_.numel() == 0) return y;
  return y.index_add(-1, more_group_, x.index_select(-1, more_) * more_factor_.to(x.scalar_type()));
}

Tensor Reassembly::apply_weight(const Tensor& weight) const {
  require(weight.dim() == 2 && weight.size(1) == channels(), "a plan of {} channels does not fit a weight of {}",
          channels(), weight.size(-1));
  return weight.index_select(1, lead_).index_add(1, more_group_, weight.index_select(1, more_));
}

Tensor Reassembly::matrix() const {
  auto made = torch::zeros({width(), channels()});
  made.index_put_({torch::arange(width()), lead_}, lead_factor_);
  return made.index_put({more_group_, more_}, more_factor_, /*accumulate=*/true);
}

std::shared_ptr<TensorTransform> Reassembly::copy() const {
  return std::make_shared<Reassembly>(repeat_, group_);
}

nlohmann::json Reassembly::spec() const {
  nlohmann::json split = nlohmann::json::array(), join = nlohmann::json::array();
  for (size_t i = 0; i < repeat_.size(); ++i)
    if (repeat_[i] > 1) split.push_back({i, repeat_[i]});
  Indices leader;  // of each group
  for (size_t k = 0; k < group_.size(); ++k)
    if (group_[k] == int64_t(leader.size()))
      leader.push_back(int64_t(k));
    else
      join.push_back({k, group_[k] < 0 ? -1 : leader[size_t(group_[k])]});
  return {{"kind", "reassembly"}, {"channels", channels()}, {"split", split}, {"join", join}};
}

std::shared_ptr<Reassembly> Reassembly::from_spec(const nlohmann::json& spec) {
  const auto pairs = [&](const char* key) { return spec.at(key).get<std::vector<std::pair<int64_t, int64_t>>>(); };
  const int64_t channels = spec.at("channels"), most = int64_t{1} << 24;
  require(channels > 0 && channels <= most, "a reassembly of {} channels", channels);
  Indices repeat(size_t(channels), 1);
  for (const auto& [channel, count] : pairs("split")) {
    require(channel >= 0 && channel < channels && count > 1 && count <= most, "channel {} of {} in {} sub-channels",
            channel, channels, count);
    repeat[size_t(channel)] = count;
  }
  require(added_by(repeat) <= most, "a reassembly that adds {} sub-channels", added_by(repeat));
  Indices leader = own_leaders(repeat);
  for (const auto& [place, first] : pairs("join")) {
    require(place >= 0 && place < int64_t(leader.size()) && first >= -1 && first < place &&
                (first < 0 || leader[size_t(first)] == first),
            "sub-channel {} of {} cannot join {}", place, leader.size(), first);
    leader[size_t(place)] = first;
  }
  return std::make_shared<Reassembly>(std::move(repeat), number_groups(leader));
}

Indices disassemble(const Tensor& magnitudes, double theta) {
  require(theta > 0, "a threshold of {}: it must be above 0", theta);
  require(magnitudes.isfinite().all().item<bool>(), "activations of the calibration data are not finite");
  const auto m = magnitudes.to(torch::kFloat64).contiguous();
  Indices repeat;
  for (int64_t i = 0; i < m.numel(); ++i)
    repeat.push_back(std::max<int64_t>(1, int64_t(std::ceil(m.data_ptr<double>()[i] / theta))));
  return repeat;
}

Tensor merge_costs(const Tensor& x, const Tensor& weight, MergeScore score) {
  const auto activations = column_distances(flat(x));
  if (score == MergeScore::Exact) return activations * column_distances(flat(weight)) / 4;
  const auto sums = flat(weight).sum(0);
  return (sums.unsqueeze(0) + sums.unsqueeze(1)).square() * activations;
}

int64_t mergeable(const Indices& repeat) {
  return unsplit(repeat, 1).empty() ? 0 : int64_t(unsplit(repeat, 0).size());
}

std::shared_ptr<Reassembly> assemble(const Indices& repeat, const Tensor& costs) {
  const int64_t added = added_by(repeat);
  require(added <= mergeable(repeat), "{} sub-channels were added and only {} channels can be merged: split less",
          added, mergeable(repeat));
  if (added == 0) return widen(repeat);
  const Indices source = sources(repeat), a = unsplit(repeat, 0), b = unsplit(repeat, 1);
  const auto [cost, nearest] =
      costs.index_select(0, indices(pick(source, a))).index_select(1, indices(pick(source, b))).min(1);
  std::map<int64_t, Indices> groups;  // by their b
  for (const int64_t i : least(cost, added)) groups[b[size_t(nearest[i].item<int64_t>())]].push_back(a[size_t(i)]);
  Indices leader = own_leaders(repeat);
  for (auto& [place, members] : groups) {
    members.push_back(place);
    const int64_t first = *std::min_element(members.begin(), members.end());
    for (const int64_t member : members) leader[size_t(member)] = first;
  }
  return std::make_shared<Reassembly>(repeat, number_groups(leader));
}

std::shared_ptr<Reassembly> prune(const Indices& repeat, const Tensor& x, const Tensor& weight) {
  const Indices candidates = unsplit(repeat);
  const int64_t added = added_by(repeat);
  require(added < int64_t(candidates.size()), "{} channels are to be dropped and {} are not split", added,
          candidates.size());
  const auto energy = flat(x).square().sum(0) * flat(weight).square().sum(0);
  Indices leader = own_leaders(repeat);
  for (const int64_t i : least(energy.index_select(0, indices(pick(sources(repeat), candidates))), added))
    leader[size_t(candidates[size_t(i)])] = -1;
  return std::make_shared<Reassembly>(repeat, number_groups(leader));
}

std::shared_ptr<Reassembly> widen(const Indices& repeat) {
  return std::make_shared<Reassembly>(repeat, own_leaders(repeat));
}

std::vector<Disassembly> thresholds(const Tensor& magnitudes, int64_t most) {
  const double high = magnitudes.max().item<double>(), low = magnitudes.min().item<double>();
  require(std::isfinite(high) && std::isfinite(low), "activations of the calibration data are not finite");
  const auto n = std::max<int64_t>(100, int64_t(high / 0.5));
  std::vector<Disassembly> found;
  for (int64_t k = 0; k < n; ++k) {
    const double theta = high - double(k) * (high - low) / double(n);
    if (theta <= 0) break;
    Indices repeat = disassemble(magnitudes, theta);
    const int64_t added = added_by(repeat);
    if (added > most) break;
    if (added > (found.empty() ? 0 : found.back().added)) found.push_back({theta, std::move(repeat), added});
  }
  return found;
}

ReassemblyChoice search_reassembly(const Tensor& magnitudes, const std::vector<Disassembly>& candidates,
                                   const std::function<std::shared_ptr<Reassembly>(const Indices&)>& plan,
                                   const std::function<double(const std::shared_ptr<Reassembly>&)>& loss) {
  ReassemblyChoice best{.plan = Reassembly::identity(magnitudes.numel()), .theta = magnitudes.max().item<double>()};
  best.loss = best.baseline_loss = loss(best.plan);
  for (const auto& candidate : candidates) {
    const auto made = plan(candidate.repeat);
    if (const double now = loss(made); now < best.loss) {
      best.plan = made;
      best.theta = candidate.theta;
      best.loss = now;
    }
  }
  return best;
}

}  // namespace quanta
