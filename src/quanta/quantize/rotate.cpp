#include "quanta/quantize/rotate.h"

#include <cmath>

#include "quanta/core/error.h"
#include "quanta/core/random.h"
#include "quanta/quantize/hadamard.h"

namespace quanta {
namespace {

using torch::Tensor;
using Place = QuantizableLayer::Place;

Tensor wide(const Tensor& x) {
  return x.detach().to(torch::kFloat64);
}

/// Each head's outputs times the Hadamard matrix: rows of w [heads D, in], or a bias [heads D].
Tensor rotate_outputs(const Tensor& w, int64_t head_dim) {
  return w.dim() == 1 ? hadamard_product(w, head_dim) : hadamard_product(w.t(), head_dim).t();
}

/// W <- W diag(gain), b <- b + W shift: what follows a norm takes over the norm's parameters.
void fold(const Norm& norm, Linear layer, const std::string& path) {
  const Tensor w = wide(layer->weight);
  if (norm->bias.defined()) {
    const Tensor shift = w.mv(wide(norm->bias));
    require(layer->bias.defined() || shift.eq(0).all().item<bool>(),
            "cannot rotate: the norm before '{}' has a bias and the layer has none to take it over", path);
    if (layer->bias.defined()) layer->bias.copy_(wide(layer->bias) + shift);
  }
  layer->weight.copy_(w * wide(norm->weight));
}

void reset(Norm& norm) {
  norm->weight.fill_(1);
  if (norm->bias.defined()) norm->bias.zero_();
}

Tensor residual_rotation(const LanguageConfig& config, const RotateOptions& options) {
  const int64_t d = config.width;
  Tensor q;
  if (options.kind == RotateOptions::Kind::Random) {
    q = random_orthogonal(d, options.seed);
  } else {
    Random random = Random(options.seed).split("rotation");
    Tensor signs = torch::empty({d}, torch::kFloat64);
    for (int64_t i = 0; i < d; ++i) signs.data_ptr<double>()[i] = random() & 1 ? 1 : -1;
    q = hadamard_product(torch::diag(signs), d);
  }
  if (config.family == Family::Llama) return q;
  // A reflection that takes u Q back to u, the all-ones direction.
  const Tensor u = torch::full({d}, 1 / std::sqrt(double(d)), torch::kFloat64), uq = u.matmul(q), gap = uq - u;
  const double norm = gap.square().sum().item<double>();
  return norm == 0 ? q : q - q.mv(gap).outer(gap) * (2 / norm);
}

}  // namespace

nlohmann::json to_json(const RotateOptions& o) {
  return {{"kind", o.kind == RotateOptions::Kind::Hadamard ? "hadamard" : "random"},
          {"seed", o.seed},
          {"values", o.values},
          {"online", {o.online_heads, o.online_inner}},
          {"keys", o.keys}};
}

void Rotation::check(const LanguageConfig& config, const RotateOptions& options) {
  const auto known = [](bool wanted, int64_t n, const char* what, const char* instead) {
    require(!wanted || has_hadamard(n), "cannot rotate {} of {}: no Hadamard matrix of this order is known; {}", what,
            n, instead);
  };
  known(options.kind == RotateOptions::Kind::Hadamard, config.width, "a residual stream", "take a random rotation");
  known(options.values || options.keys, config.head_dim, "heads", "rotate neither values nor keys");
  known(options.online_heads, config.heads, "a number of heads", "turn the online rotation over heads off");
  known(options.online_inner, config.inner, "an inner width", "turn the online rotation of the MLP off");
}

Rotation::Rotation(const LanguageConfig& config, const RotateOptions& options) : options_(options) {
  check(config, options);
  q_ = residual_rotation(config, options);
}

void Rotation::operator()(LanguageModel& ends) const {
  const torch::NoGradGuard no_grad;
  if (!ends->output) {
    LanguageConfig config = ends->config();
    config.tied = false;
    LanguageModel untied(config, /*with_blocks=*/false);
    untied->to(ends->tokens->weight.scalar_type());
    untied->tokens->weight.copy_(ends->tokens->weight);
    untied->output->weight.copy_(ends->tokens->weight);
    if (ends->positions) untied->positions->weight.copy_(ends->positions->weight);
    copy_values(*ends->norm, *untied->norm);
    untied->train(ends->is_training());
    if (!ends->blocks.empty()) untied->set_blocks(ends->blocks);
    ends = untied;
  }
  const auto embedding = [&](Tensor table) {
    Tensor rows = wide(table);
    if (ends->norm->bias.defined()) rows = rows - rows.mean(1, true);
    table.copy_(rows.mm(q_));
  };
  embedding(ends->tokens->weight);
  if (ends->positions) embedding(ends->positions->weight);

  // The head has no bias that could take over the last norm's, so it stays there, before the folded gain.
  const Tensor gain = wide(ends->norm->weight);
  ends->output->weight.copy_((wide(ends->output->weight) * gain).mm(q_));
  if (ends->norm->bias.defined()) {
    const Tensor shift = wide(ends->norm->bias), lost = gain.eq(0);
    require(shift.masked_select(lost).eq(0).all().item<bool>(),
            "cannot rotate: the last norm has channels with a bias and the gain 0");
    ends->norm->bias.copy_((shift / gain.masked_fill(lost, 1)).matmul(q_));
  }
  ends->norm->weight.fill_(1);
}

void Rotation::operator()(DecoderBlock& block) const {
  const torch::NoGradGuard no_grad;
  const LanguageConfig& c = block->config();
  const auto& stages = block->stages();
  Linear out = block->linear(stages[1][0]), down = block->linear(stages[3][0]);
  for (const bool used :
       {bool(out->slot(Place::Input)), bool(down->slot(Place::Input)), bool(block->query), bool(block->key)})
    require(!used, "cannot rotate block {}: one of its slots is in use; rotate before quantizing", block->index());

  const auto read_stream = [&](const std::vector<std::string>& paths, Norm& norm) {
    for (const std::string& path : paths) {
      Linear layer = block->linear(path);
      fold(norm, layer, path);
      layer->weight.copy_(wide(layer->weight).mm(q_));
    }
    reset(norm);
  };
  read_stream(stages[0], block->attention_norm);
  read_stream(stages[2], block->mlp_norm);
  for (const Tensor& written : {out->weight, out->bias, down->weight, down->bias})
    if (written.defined()) {
      Tensor columns = wide(written);
      if (block->mlp_norm->bias.defined()) columns = columns - columns.mean(0, true);
      written.copy_(q_.t().matmul(columns));
    }

  Tensor into_out = wide(out->weight), into_down = wide(down->weight);
  if (options_.values) {
    const Linear value = block->linear(stages[0].back());  // values are the last rows where queries and keys share it
    const int64_t size = c.kv_heads * c.head_dim;
    for (const Tensor& whole : {value->weight, value->bias})
      if (whole.defined()) {
        Tensor rows = whole.narrow(0, whole.size(0) - size, size);
        rows.copy_(rotate_outputs(wide(rows), c.head_dim));
      }
    into_out = hadamard_product(into_out, c.head_dim);
  }
  if (options_.online_heads) {
    into_out = hadamard_product(into_out, c.heads, c.head_dim);
    out->put(Place::Input, std::make_shared<HadamardTransform>(c.heads, c.head_dim));
  }
  if (options_.online_inner) {
    into_down = hadamard_product(into_down, c.inner);
    down->put(Place::Input, std::make_shared<HadamardTransform>(c.inner));
  }
  out->weight.copy_(into_out);
  down->weight.copy_(into_down);
  if (options_.keys) {
    block->query.put(*block, "query_transform", std::make_shared<HadamardTransform>(c.head_dim));
    block->key.put(*block, "key_transform", std::make_shared<HadamardTransform>(c.head_dim));
  }
}

void rotate(LanguageModel& model, const RotateOptions& options) {
  const Rotation rotation(model->config(), options);
  rotation(model);
  for (DecoderBlock& block : model->blocks) rotation(block);
}

}  // namespace quanta
