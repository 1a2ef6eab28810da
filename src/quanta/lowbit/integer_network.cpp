#include "quanta/lowbit/integer_network.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "quanta/core/error.h"
#include "quanta/core/parallel.h"
#include "quanta/core/text.h"
#include "quanta/lowbit/integer_network_impl.h"

namespace quanta {

using Impl = IntegerNetwork::Impl;

namespace {

constexpr int64_t kPad = int64_t(IntegerConvolution::kReadAhead);  // behind every tensor
constexpr size_t kMostInputs = 64;                                 // of an operation

int64_t round_up(int64_t value, int64_t to) {
  return (value + to - 1) / to * to;
}

int64_t arena_size(const ImageShape& shape) {
  return round_up(shape.size(), 64) + kPad;
}

void check_affine(const std::string& op, const AffineU8& q) {
  require(std::isfinite(q.scale) && q.scale > 0, "{}: a scale must be positive and finite, got {}", op, q.scale);
  require(q.max_code >= 1 && q.max_code <= 255, "{}: codes must end between 1 and 255, got {}", op, q.max_code);
  require(q.zero_point >= 0 && q.zero_point <= q.max_code, "{}: a zero point must lie from 0 to {}, got {}", op,
          q.max_code, q.zero_point);
}

void check_shape(const std::string& op, const ImageShape& shape) {
  require(shape.channels >= 1 && shape.height >= 1 && shape.width >= 1 && shape.height <= 1 << 20 &&
              shape.width <= 1 << 20 && shape.channels <= 1 << 24 && shape.size() < int64_t{1} << 31,
          "{}: {} x {} x {} is not the shape of an image", op, shape.channels, shape.height, shape.width);
}

// Runs `make`, and puts the operation's name before its message.
template <class Make>
auto named(const std::string& op, const Make& make) {
  try {
    return make();
  } catch (const Error& error) {
    fail("{}: {}", op, error.what());
  }
}

}  // namespace

std::string_view integer_op_name(IntegerOpKind kind) {
  constexpr std::array<std::string_view, 9> kNames{
      "convolution", "linear", "add", "concat", "max_pool", "average_pool", "flatten", "channel_shuffle", "rescale"};
  return kNames.at(size_t(kind));
}

// --- building -------------------------------------------------------------------------------------------------------

const Impl::Tensor& Impl::tensor(int id) const {
  require(id >= 0 && id < int(tensors.size()), "no tensor {}: {} have been made", id, tensors.size());
  return tensors[size_t(id)];
}

int Impl::add_input(const ImageShape& shape, const AffineU8& quantization) {
  check_affine("input", quantization);
  check_shape("input", shape);
  tensors.push_back({"input", shape, quantization});
  return 0;
}

Impl::Op& Impl::append(std::string name, IntegerOpKind kind, std::vector<int> inputs, const ImageShape& shape,
                       const AffineU8& output, CodeRange clamp) {
  require(!finished, "{}: the network has its output already", name);
  require(!name.empty() && std::ranges::none_of(tensors, [&](const Tensor& t) { return t.name == name; }),
          "an operation's name must be new and not empty, got '{}'", name);
  check_affine(name, output);
  check_shape(name, shape);
  require(0 <= clamp.low && clamp.low <= clamp.high && clamp.high <= output.max_code,
          "{}: output codes {} to {} do not lie from 0 to {}", name, clamp.low, clamp.high, output.max_code);
  tensors.push_back({name, shape, output});
  Op& op = ops.emplace_back();
  op.name = std::move(name);
  op.kind = kind;
  op.inputs = std::move(inputs);
  op.output = int(tensors.size()) - 1;
  op.clamp = clamp;
  return op;
}

int Impl::add_convolution(std::string name, IntegerOpKind kind, int x, const ConvolutionShape& shape,
                          const IntegerWeights& weights, const AffineU8& output, CodeRange clamp) {
  const Tensor in = tensor(x);
  require(shape.in_channels == in.shape.channels, "{}: the weights want {} input channels, {} has {}", name,
          shape.in_channels, in.name, in.shape.channels);
  auto convolution =
      named(name, [&] { return std::make_unique<IntegerConvolution>(shape, weights, in.quantization, output, clamp); });
  const int64_t reach_h = int64_t{shape.dilation_h} * (shape.kernel_h - 1),
                reach_w = int64_t{shape.dilation_w} * (shape.kernel_w - 1);
  require(reach_h < in.shape.height + 2 * int64_t{shape.padding_h} &&
              reach_w < in.shape.width + 2 * int64_t{shape.padding_w},
          "{}: a kernel of {} x {} (with dilation) does not fit images of {} x {} with padding {} x {}", name,
          reach_h + 1, reach_w + 1, in.shape.height, in.shape.width, shape.padding_h, shape.padding_w);
  Op& op = append(std::move(name), kind, {x},
                  {shape.out_channels, shape.output_h(in.shape.height), shape.output_w(in.shape.width)}, output, clamp);
  op.convolution = std::move(convolution);
  return op.output;
}

namespace {

ConvolutionShape linear_shape(const std::string& name, const Impl::Tensor& in, const IntegerWeights& weights) {
  require(in.shape.height == 1 && in.shape.width == 1, "{}: {} is {} x {} x {}; flatten it first", name, in.name,
          in.shape.channels, in.shape.height, in.shape.width);
  require(!weights.codes.empty() && weights.codes.size() % size_t(in.shape.channels) == 0,
          "{}: {} weights are no multiple of {} features of {}", name, weights.codes.size(), in.shape.channels,
          in.name);
  return {.in_channels = in.shape.channels, .out_channels = int(weights.codes.size() / size_t(in.shape.channels))};
}

}  // namespace

int Impl::add_linear(std::string name, int x, const IntegerWeights& weights, const AffineU8& output, CodeRange clamp) {
  const ConvolutionShape shape = linear_shape(name, tensor(x), weights);
  return add_convolution(std::move(name), IntegerOpKind::Linear, x, shape, weights, output, clamp);
}

void Impl::add_real_linear(std::string name, int x, const IntegerWeights& weights) {
  const Tensor in = tensor(x);
  const ConvolutionShape shape = linear_shape(name, in, weights);
  auto convolution = named(name, [&] { return std::make_unique<IntegerConvolution>(shape, weights, in.quantization); });
  Op& op = append(std::move(name), IntegerOpKind::Linear, {x}, {shape.out_channels, 1, 1}, {}, {});
  op.convolution = std::move(convolution);
  real_output = true;
}

int Impl::add_add(std::string name, int a, int b, const AffineU8& output, CodeRange clamp) {
  const Tensor ta = tensor(a), tb = tensor(b);
  require(ta.shape == tb.shape, "{}: {} is {} x {} x {}, {} is {} x {} x {}", name, ta.name, ta.shape.channels,
          ta.shape.height, ta.shape.width, tb.name, tb.shape.channels, tb.shape.height, tb.shape.width);
  check_affine(name, output);
  const AddFactors factors = named(name, [&] { return add_factors(ta.quantization, tb.quantization, output, clamp); });
  Op& op = append(std::move(name), IntegerOpKind::Add, {a, b}, ta.shape, output, clamp);
  op.add = factors;
  return op.output;
}

int Impl::add_concat(std::string name, const std::vector<int>& inputs, const AffineU8& output) {
  require(!inputs.empty() && inputs.size() <= kMostInputs, "{}: 1 to {} tensors can be concatenated, got {}", name,
          kMostInputs, inputs.size());
  check_affine(name, output);
  ImageShape shape = tensor(inputs[0]).shape;
  shape.channels = 0;
  const CodeRange clamp{0, output.max_code};
  std::vector<CodeTable> tables;
  for (const int x : inputs) {
    const Tensor& in = tensor(x);
    require(in.shape.height == shape.height && in.shape.width == shape.width,
            "{}: {} has images of {} x {}, {} of {} x {}", name, in.name, in.shape.height, in.shape.width,
            tensor(inputs[0]).name, shape.height, shape.width);
    shape.channels += in.shape.channels;
    tables.push_back(named(name, [&] { return rescale_table(in.quantization, output, clamp); }));
  }
  Op& op = append(std::move(name), IntegerOpKind::Concat, inputs, shape, output, clamp);
  op.tables = std::move(tables);
  return op.output;
}

namespace {

ImageShape pooled(const std::string& name, const ImageShape& in, const PoolShape& pool) {
  require(pool.kernel_h >= 1 && pool.kernel_w >= 1 && pool.stride_h >= 1 && pool.stride_w >= 1 && pool.padding_h >= 0 &&
              pool.padding_w >= 0 && 2 * int64_t{pool.padding_h} <= pool.kernel_h &&
              2 * int64_t{pool.padding_w} <= pool.kernel_w,
          "{}: a window and its stride must be at least 1, its padding at most half the window", name);
  require(pool.kernel_h <= in.height + 2 * int64_t{pool.padding_h} &&
              pool.kernel_w <= in.width + 2 * int64_t{pool.padding_w},
          "{}: a window of {} x {} does not fit images of {} x {}", name, pool.kernel_h, pool.kernel_w, in.height,
          in.width);
  return {in.channels, pool.output_h(in.height), pool.output_w(in.width)};
}

}  // namespace

int Impl::add_max_pool(std::string name, int x, const PoolShape& pool) {
  const Tensor in = tensor(x);
  const ImageShape shape = pooled(name, in.shape, pool);
  Op& op = append(std::move(name), IntegerOpKind::MaxPool, {x}, shape, in.quantization, {0, in.quantization.max_code});
  op.pool = pool;
  return op.output;
}

int Impl::add_average_pool(std::string name, int x, const PoolShape& pool, const AffineU8& output) {
  const Tensor in = tensor(x);
  check_affine(name, output);
  const ImageShape shape = pooled(name, in.shape, pool);
  require(int64_t{pool.kernel_h} * pool.kernel_w <= 1 << 22, "{}: a window of {} x {} could overflow int32", name,
          pool.kernel_h, pool.kernel_w);
  const CodeRange clamp{0, output.max_code};
  AverageFactors factors = named(name, [&] { return average_factors(pool, in.quantization, output, clamp); });
  Op& op = append(std::move(name), IntegerOpKind::AveragePool, {x}, shape, output, clamp);
  op.pool = pool;
  op.average = std::move(factors);
  return op.output;
}

int Impl::add_flatten(std::string name, int x) {
  const Tensor in = tensor(x);
  return append(std::move(name), IntegerOpKind::Flatten, {x}, {int(in.shape.size()), 1, 1}, in.quantization,
                {0, in.quantization.max_code})
      .output;
}

int Impl::add_shuffle(std::string name, int x, int groups) {
  const Tensor in = tensor(x);
  require(groups >= 1 && in.shape.channels % groups == 0, "{}: {} groups do not divide {} channels", name, groups,
          in.shape.channels);
  Op& op = append(std::move(name), IntegerOpKind::ChannelShuffle, {x}, in.shape, in.quantization,
                  {0, in.quantization.max_code});
  op.groups = groups;
  return op.output;
}

int Impl::add_rescale(std::string name, int x, const AffineU8& output, CodeRange clamp) {
  const Tensor in = tensor(x);
  check_affine(name, output);
  const CodeTable table = named(name, [&] { return rescale_table(in.quantization, output, clamp); });
  Op& op = append(std::move(name), IntegerOpKind::Rescale, {x}, in.shape, output, clamp);
  op.tables = {table};
  return op.output;
}

void Impl::finish(int result) {
  require(!finished, "the network has its output already");
  require(result == int(tensors.size()) - 1 && !ops.empty(),
          "the output must be the last operation's tensor, and there must be one; got tensor {} of {}", result,
          tensors.size());
  std::vector<char> used(tensors.size());
  for (const Op& op : ops)
    for (const int x : op.inputs) used[size_t(x)] = 1;
  for (size_t t = 0; t + 1 < tensors.size(); ++t)
    require(used[t], "nothing uses the output of {}: leave it out", tensors[t].name);
  finished = true;
  plan();
}

// Places the tensors, the largest first, each at the lowest offset that is free while it lives: from the operation that
// makes it to the last that reads it.
void Impl::plan() {
  const size_t count = tensors.size();
  std::vector<int> last(count);
  for (size_t t = 0; t < count; ++t) last[t] = int(t);
  for (size_t i = 0; i < ops.size(); ++i)
    for (const int x : ops[i].inputs) last[size_t(x)] = std::max(last[size_t(x)], int(i) + 1);
  const auto meet = [&](size_t a, size_t b) { return int(a) <= last[b] && int(b) <= last[a]; };
  std::vector<size_t> order(count), placed;
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](size_t t) { return arena_size(tensors[t].shape); });
  for (const size_t t : order) {
    std::ranges::sort(placed, {}, [&](size_t p) { return tensors[p].offset; });
    int64_t offset = 0;
    for (const size_t p : placed) {
      if (!meet(t, p) || tensors[p].offset + arena_size(tensors[p].shape) <= offset) continue;
      if (offset + arena_size(tensors[t].shape) <= tensors[p].offset) break;
      offset = tensors[p].offset + arena_size(tensors[p].shape);
    }
    tensors[t].offset = offset;
    arena_bytes = std::max(arena_bytes, offset + arena_size(tensors[t].shape));
    placed.push_back(t);
  }
}

IntegerNetworkBuilder::IntegerNetworkBuilder(const ImageShape& input, const AffineU8& quantization)
    : impl_(std::make_unique<Impl>()) {
  impl_->add_input(input, quantization);
}
IntegerNetworkBuilder::~IntegerNetworkBuilder() = default;

ImageShape IntegerNetworkBuilder::shape(Tensor tensor) const {
  return impl_->tensor(tensor).shape;
}
AffineU8 IntegerNetworkBuilder::quantization(Tensor tensor) const {
  return impl_->tensor(tensor).quantization;
}
int IntegerNetworkBuilder::convolution(std::string name, Tensor x, const ConvolutionShape& shape,
                                       const IntegerWeights& weights, const AffineU8& output, Activation activation) {
  return impl_->add_convolution(std::move(name), IntegerOpKind::Convolution, x, shape, weights, output,
                                code_range(activation, output));
}
int IntegerNetworkBuilder::linear(std::string name, Tensor x, const IntegerWeights& weights, const AffineU8& output,
                                  Activation activation) {
  return impl_->add_linear(std::move(name), x, weights, output, code_range(activation, output));
}
int IntegerNetworkBuilder::add(std::string name, Tensor a, Tensor b, const AffineU8& output, Activation activation) {
  return impl_->add_add(std::move(name), a, b, output, code_range(activation, output));
}
int IntegerNetworkBuilder::concat(std::string name, const std::vector<Tensor>& inputs, const AffineU8& output) {
  return impl_->add_concat(std::move(name), inputs, output);
}
int IntegerNetworkBuilder::max_pool(std::string name, Tensor x, const PoolShape& pool) {
  return impl_->add_max_pool(std::move(name), x, pool);
}
int IntegerNetworkBuilder::average_pool(std::string name, Tensor x, const PoolShape& pool, const AffineU8& output) {
  return impl_->add_average_pool(std::move(name), x, pool, output);
}
int IntegerNetworkBuilder::global_average_pool(std::string name, Tensor x, const AffineU8& output) {
  const ImageShape in = shape(x);
  const PoolShape all{.kernel_h = in.height, .kernel_w = in.width, .stride_h = 1, .stride_w = 1};
  return impl_->add_average_pool(std::move(name), x, all, output);
}
int IntegerNetworkBuilder::flatten(std::string name, Tensor x) {
  return impl_->add_flatten(std::move(name), x);
}
int IntegerNetworkBuilder::channel_shuffle(std::string name, Tensor x, int groups) {
  return impl_->add_shuffle(std::move(name), x, groups);
}
int IntegerNetworkBuilder::rescale(std::string name, Tensor x, const AffineU8& output, Activation activation) {
  return impl_->add_rescale(std::move(name), x, output, code_range(activation, output));
}
IntegerNetwork IntegerNetworkBuilder::output(Tensor x) {
  impl_->finish(x);
  return IntegerNetwork(std::exchange(impl_, std::make_unique<Impl>()));
}
IntegerNetwork IntegerNetworkBuilder::output_linear(std::string name, Tensor x, const IntegerWeights& weights) {
  impl_->add_real_linear(std::move(name), x, weights);
  impl_->finish(int(impl_->tensors.size()) - 1);
  return IntegerNetwork(std::exchange(impl_, std::make_unique<Impl>()));
}

// --- running --------------------------------------------------------------------------------------------------------

int64_t Impl::batch_of(size_t values, int64_t each, const char* what) const {
  require(values % size_t(each) == 0, "{} {} are no multiple of the {} of one image", values, what, each);
  return int64_t(values) / each;
}

size_t Impl::scratch_bytes(const Op& op, int count, int threads) const {
  if (!op.convolution) return 0;
  const ImageShape& in = tensors[size_t(op.inputs[0])].shape;
  return op.convolution->scratch_bytes(count, in.height, in.width, threads);
}

void Impl::execute(const Op& op, const uint8_t* const* in, int count, uint8_t* out, float* real,
                   std::span<uint8_t> scratch, int threads) const {
  const ImageShape& from = tensors[size_t(op.inputs[0])].shape;
  const ImageShape& to = tensors[size_t(op.output)].shape;
  switch (op.kind) {
    case IntegerOpKind::Convolution:
    case IntegerOpKind::Linear:
      if (real) return op.convolution->run_real(in[0], count, from.height, from.width, real, scratch, threads);
      return op.convolution->run(in[0], count, from.height, from.width, out, scratch, threads);
    case IntegerOpKind::Add:
      return quanta::add(op.add, in[0], in[1], size_t(count * to.size()), out);
    case IntegerOpKind::Concat: {
      const int64_t pixels = int64_t{count} * to.height * to.width;
      for (size_t i = 0; i < op.inputs.size(); ++i) {
        const int channels = tensors[size_t(op.inputs[i])].shape.channels;
        look_up_channels(op.tables[i], in[i], pixels, channels, to.channels, out);
        out += channels;
      }
      return;
    }
    case IntegerOpKind::MaxPool:
      return quanta::max_pool(op.pool, in[0], count, from.height, from.width, from.channels, out);
    case IntegerOpKind::AveragePool:
      return quanta::average_pool(op.pool, op.average, in[0], count, from.height, from.width, from.channels, out);
    case IntegerOpKind::Flatten:
      for (int n = 0; n < count; ++n)
        transpose_codes(in[0] + n * from.size(), int64_t{from.height} * from.width, from.channels, out + n * to.size());
      return;
    case IntegerOpKind::ChannelShuffle:
      return quanta::channel_shuffle(in[0], int64_t{count} * to.height * to.width, to.channels, op.groups, out);
    case IntegerOpKind::Rescale:
      return look_up(op.tables[0], in[0], size_t(count * to.size()), out);
  }
}

namespace {

// A call's images and where they go; either images or codes.
struct Call {
  const Impl* impl;
  const float* images;
  const uint8_t* codes;
  float* out;
  int batch;
  int chunk;         // images that pass through the network together
  int threads_each;  // of one chunk

  void run_chunks(int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; ++i) run_chunk(int(i) * chunk, std::min(chunk, batch - int(i) * chunk));
  }

  void run_chunk(int first, int count) const {
    std::unique_ptr<Impl::Workspace> space;
    {
      const std::lock_guard lock(impl->mutex);
      if (!impl->idle.empty()) {
        space = std::move(impl->idle.back());
        impl->idle.pop_back();
      }
    }
    if (!space) space = std::make_unique<Impl::Workspace>();
    size_t scratch = 0;
    for (const Impl::Op& op : impl->ops) scratch = std::max(scratch, impl->scratch_bytes(op, chunk, threads_each));
    reserve(space->scratch, scratch);
    uint8_t* const arena = reserve(space->arena, size_t(impl->arena_bytes * chunk));
    const auto at = [&](int id) { return arena + impl->tensors[size_t(id)].offset * chunk; };

    const Impl::Tensor& input = impl->tensors.front();
    if (codes)
      std::memcpy(at(0), codes + first * input.shape.size(), size_t(count * input.shape.size()));
    else
      quantize_images(images + first * input.shape.size(), count, input.shape.channels,
                      int64_t{input.shape.height} * input.shape.width, input.quantization, at(0));
    const Impl::Tensor& result = impl->tensors.back();
    float* const values = out + first * result.shape.size();
    for (const Impl::Op& op : impl->ops) {
      const uint8_t* inputs[kMostInputs];
      for (size_t i = 0; i < op.inputs.size(); ++i) inputs[i] = at(op.inputs[i]);
      const bool real = impl->real_output && &op == &impl->ops.back();
      impl->execute(op, inputs, count, at(op.output), real ? values : nullptr, space->scratch, threads_each);
    }
    if (!impl->real_output)
      dequantize_images(at(int(impl->tensors.size()) - 1), count, result.shape.channels,
                        int64_t{result.shape.height} * result.shape.width, result.quantization, values);
    const std::lock_guard lock(impl->mutex);
    impl->idle.push_back(std::move(space));
  }
};

void run_network(const Impl& impl, const float* images, const uint8_t* codes, int batch, float* out) {
  // As many images at once as keep their activations in a core's second-level cache.
  constexpr int64_t kCache = int64_t{1} << 20;
  int chunk = int(std::clamp<int64_t>(kCache / impl.arena_bytes, 1, batch));
  const int parts = threads();
  const bool across_images = batch > 1 && parts > 1;
  if (across_images) chunk = std::min(chunk, (batch + parts - 1) / parts);
  const Call call{&impl, images, codes, out, batch, chunk, across_images ? 1 : parts};
  const int64_t chunks = (batch + chunk - 1) / chunk;
  if (across_images)
    parallel_for(chunks, 1, [&call](int64_t begin, int64_t end) { call.run_chunks(begin, end); });
  else
    call.run_chunks(0, chunks);
}

}  // namespace

IntegerNetwork::IntegerNetwork(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
IntegerNetwork::IntegerNetwork(IntegerNetwork&&) noexcept = default;
IntegerNetwork& IntegerNetwork::operator=(IntegerNetwork&&) noexcept = default;
IntegerNetwork::~IntegerNetwork() = default;

ImageShape IntegerNetwork::input_shape() const {
  return impl_->tensors.front().shape;
}
AffineU8 IntegerNetwork::input_quantization() const {
  return impl_->tensors.front().quantization;
}
int64_t IntegerNetwork::outputs() const {
  return impl_->tensors.back().shape.size();
}
bool IntegerNetwork::integer_output() const {
  return !impl_->real_output;
}
int64_t IntegerNetwork::arena_bytes() const {
  return impl_->arena_bytes;
}

void IntegerNetwork::run(std::span<const float> images, int batch, std::span<float> out) const {
  require(batch >= 1 && int64_t(images.size()) == batch * input_shape().size(),
          "a batch of {} images of {} x {} x {} was expected, got {} values", batch, input_shape().channels,
          input_shape().height, input_shape().width, images.size());
  require(int64_t(out.size()) == batch * outputs(), "{} outputs were expected to have room, got {}", batch * outputs(),
          out.size());
  run_network(*impl_, images.data(), nullptr, batch, out.data());
}

std::vector<float> IntegerNetwork::run(std::span<const float> images, int batch) const {
  std::vector<float> out(size_t(std::max(batch, 0) * outputs()));
  run(images, batch, out);
  return out;
}

std::vector<float> IntegerNetwork::run_codes(std::span<const uint8_t> codes, int batch) const {
  require(batch >= 1 && int64_t(codes.size()) == batch * input_shape().size(),
          "a batch of {} images of {} x {} x {} codes was expected, got {}", batch, input_shape().height,
          input_shape().width, input_shape().channels, codes.size());
  std::vector<float> out(size_t(batch * outputs()));
  run_network(*impl_, nullptr, codes.data(), batch, out.data());
  return out;
}

std::vector<uint8_t> IntegerNetwork::quantize_input(std::span<const float> images, int batch) const {
  const ImageShape shape = input_shape();
  require(batch >= 1 && int64_t(images.size()) == batch * shape.size(),
          "a batch of {} images of {} x {} x {} was expected, got {} values", batch, shape.channels, shape.height,
          shape.width, images.size());
  std::vector<uint8_t> codes(images.size());
  quantize_images(images.data(), batch, shape.channels, int64_t{shape.height} * shape.width, input_quantization(),
                  codes.data());
  return codes;
}

namespace {

// Copies the inputs to where reading ahead is allowed and runs the operation.
void run_alone(const Impl& impl, size_t index, const std::vector<std::span<const uint8_t>>& inputs, int batch,
               uint8_t* out, float* real) {
  const Impl::Op& op = impl.ops[index];
  require(inputs.size() == op.inputs.size(), "{}: {} inputs were expected, got {}", op.name, op.inputs.size(),
          inputs.size());
  std::vector<AlignedVector<uint8_t>> copies;
  std::vector<const uint8_t*> pointers;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int64_t expected = batch * impl.tensors[size_t(op.inputs[i])].shape.size();
    require(batch >= 1 && int64_t(inputs[i].size()) == expected, "{}: input {} must have {} codes, got {}", op.name, i,
            expected, inputs[i].size());
    auto& copy = copies.emplace_back(inputs[i].size() + size_t(kPad));
    std::ranges::copy(inputs[i], copy.begin());
    pointers.push_back(copy.data());
  }
  AlignedVector<uint8_t> scratch(impl.scratch_bytes(op, batch, threads()));
  impl.execute(op, pointers.data(), batch, out, real, scratch, threads());
}

}  // namespace

std::vector<uint8_t> IntegerNetwork::run_op(size_t op, const std::vector<std::span<const uint8_t>>& inputs,
                                            int batch) const {
  require(op < impl_->ops.size(), "no operation {}: there are {}", op, impl_->ops.size());
  require(integer_output() || op + 1 < impl_->ops.size(), "{} gives real values: use run_real_op", impl_->ops[op].name);
  std::vector<uint8_t> out(size_t(std::max(batch, 0) * impl_->tensors[op + 1].shape.size()));
  run_alone(*impl_, op, inputs, batch, out.data(), nullptr);
  return out;
}

std::vector<float> IntegerNetwork::run_real_op(size_t op, std::span<const uint8_t> input, int batch) const {
  require(op < impl_->ops.size(), "no operation {}: there are {}", op, impl_->ops.size());
  require(!integer_output() && op + 1 == impl_->ops.size(), "{} gives codes: use run_op", impl_->ops[op].name);
  std::vector<float> out(size_t(std::max(batch, 0) * outputs()));
  run_alone(*impl_, op, {input}, batch, nullptr, out.data());
  return out;
}

std::vector<std::vector<uint8_t>> IntegerNetwork::trace(std::span<const uint8_t> codes, int batch) const {
  std::vector<std::vector<uint8_t>> outputs;
  for (size_t i = 0; i < impl_->ops.size(); ++i) {
    if (!integer_output() && i + 1 == impl_->ops.size()) {
      outputs.emplace_back();
      break;
    }
    std::vector<std::span<const uint8_t>> inputs;
    for (const int x : impl_->ops[i].inputs)
      inputs.push_back(x == 0 ? codes : std::span<const uint8_t>(outputs[size_t(x) - 1]));
    outputs.push_back(run_op(i, inputs, batch));
  }
  return outputs;
}

std::vector<IntegerOpInfo> IntegerNetwork::describe() const {
  std::vector<IntegerOpInfo> infos;
  for (const Impl::Op& op : impl_->ops) {
    const Impl::Tensor& to = impl_->tensors[size_t(op.output)];
    IntegerOpInfo info{.name = op.name, .kind = op.kind, .inputs = {}, .shape = to.shape, .output = to.quantization};
    for (const int x : op.inputs) info.inputs.push_back(impl_->tensors[size_t(x)].name);
    info.output_bytes = to.shape.size();
    if (impl_->real_output && &op == &impl_->ops.back()) info.output_bytes *= int64_t(sizeof(float));
    if (op.convolution) {
      const IntegerConvolution& c = *op.convolution;
      info.macs = c.shape().weights() * to.shape.height * to.shape.width;
      info.weight_bits = c.bits();
      info.weight_bytes = (c.shape().weights() * c.bits() + 7) / 8 +
                          4 * int64_t(c.scales().size() + c.zero_points().size() + c.bias_codes().size());
    }
    infos.push_back(std::move(info));
  }
  return infos;
}

size_t IntegerNetwork::find(std::string_view name) const {
  std::vector<std::string> names;
  for (size_t i = 0; i < impl_->ops.size(); ++i) {
    if (impl_->ops[i].name == name) return i;
    names.push_back(impl_->ops[i].name);
  }
  fail("no operation {}; nearest: {}", name, nearest(name, names));
}

}  // namespace quanta
