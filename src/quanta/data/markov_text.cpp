#include "quanta/data/markov_text.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <vector>

#include "quanta/core/error.h"
#include "quanta/core/random.h"

namespace quanta {
namespace {

constexpr int64_t kTopics = 4;

struct Topic {
  std::vector<int64_t> a, b;
};

const std::array<Topic, kTopics>& topics() {
  static const auto all = [] {
    std::array<Topic, kTopics> drawn;
    Random random(7);
    for (Topic& topic : drawn) {
      topic.a = random.permutation(kMk64Symbols);
      topic.b = random.permutation(kMk64Symbols);
    }
    return drawn;
  }();
  return all;
}

int64_t zipf(Random& random) {
  static const auto cumulative = [] {
    std::array<double, kMk64Symbols> sums{};
    double sum = 0;
    for (int64_t k = 0; k < kMk64Symbols; ++k) sums[size_t(k)] = sum += 1.0 / double(k + 1);
    for (double& s : sums) s /= sum;
    return sums;
  }();
  const auto at = std::upper_bound(cumulative.begin(), cumulative.end(), random.uniform());
  return std::min<int64_t>(at - cumulative.begin(), kMk64Symbols - 1);
}

constexpr std::string_view kProse =
    R"(The harbour of Orrin lay in a bend of the coast where the wind seldom came from one side for more than a day. In the
morning it blew down from the hills and smelled of sheep and wet stone; by noon it had turned, and then the whole town
smelled of salt, tar and frying fish. Old people said that this was why nobody in Orrin ever finished a quarrel: before
the last word could be spoken the wind had changed, and everyone had to run and see to the boats.

Mara kept the light. Her mother had kept it before her, and an uncle before that, of whom nothing was remembered except
that he had once let it go out, on a night without ships. She did not think that she would be remembered for anything,
and it did not trouble her. There were a hundred and twelve steps, and the lamp wanted oil at dusk and again at two.
Between these hours she read whatever the captains brought her: almanacs, sermons, a book on the diseases of horses,
and half of a long story about a king who had lost his shadow.

"What became of him?" she asked the captain who had sold it to her.

"Of whom?"

"The king. The last forty pages are gone."

The captain scratched his chin and looked out over the water. "I used them to light my pipe," he said. "But if I were a
king, and had lost a thing like that, I should stop looking for it. I should stand in the dark until the others had
forgotten that I ever had one."

She thought about this answer for most of the winter. It seemed to her a bad answer at first, then a sad one, and in the
end, when the ice had gone and the first boats were painted, rather a good one. So she wrote it down on the inside of the
cover, and below it she wrote the date, and below the date the number of ships that had passed since the new year, which
was seventy-one.

In April a stranger came up the steps. He carried a box of brass and glass under his arm, and he was so much out of
breath that he had to sit down before he could tell her what it was. It was a machine, he said, that would turn the lamp
by itself, with a weight on a chain, so that the keeper could sleep. Other towns along the coast had bought one. He
named them on his fingers: Quell, Upper Vance, Jarrow, Zennick, Fox Point. They were all very pleased.

"And what does the keeper do," said Mara, "when she has slept enough?"

He had not been asked that before. He opened the box, closed it again, and said that he supposed she might do as she
liked.

"I do as I like now," she said. But she gave him bread and a cup of tea, because of the steps, and let him look at the
lamp. He was a careful man. He measured the height of the room and the thickness of the wall; he wrote small figures in
a small book; and when the wind turned, exactly at noon, he was the first to notice that something was wrong with it. It
had not turned to the sea. It had turned to the north, where it never came from, and it had a voice.

They went out to the gallery together. Far off, under a sky the colour of slate, a line of white was moving over the
water, and before the line, quite small and quite clear, there was a sail. "Is it too early for the lamp?" asked the
stranger. "It is never too early," said Mara, and went in, and lit it; and that was ship number seventy-two. What he
thought of it he did not say, neither then nor later, when he had become the man who read to her at two in the morning
and the machine stood under a cloth in the cellar. But people remembered it, after all: not the night on which the light
went out, but the day on which it burned at noon.
)";

}  // namespace

torch::Tensor mk64_sequences(int64_t count, uint64_t seed, int64_t length) {
  require(count >= 0 && length >= 1, "mk64 needs a count of at least 0 and a length of at least 1, got {} and {}",
          count, length);
  const torch::Tensor sequences = torch::empty({count, length}, torch::kInt64);
  int64_t* x = sequences.data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i, x += length) {
    Random random = Random(seed).split(uint64_t(i));
    uint64_t z = random.below(kTopics);
    x[0] = zipf(random);
    for (int64_t t = 1; t < length; ++t) {
      if (random.uniform() < 0.02) z = random.below(kTopics);
      const double u = random.uniform();
      const size_t last = size_t(x[t - 1]);
      if (u < 0.55)
        x[t] = topics()[z].a[last];
      else if (u < 0.75)
        x[t] = topics()[z].b[last];
      else if (u < 0.85)
        x[t] = x[std::max<int64_t>(0, t - 8)];
      else
        x[t] = zipf(random);
    }
  }
  return sequences;
}

Mk64 mk64(uint64_t seed) {
  return {.train = mk64_sequences(2048, 100 + seed),
          .calibration = mk64_sequences(64, 555),
          .test = mk64_sequences(128, 999)};
}

std::string markov_text(int64_t bytes, uint64_t seed) {
  require(bytes >= 0, "a text cannot have {} bytes", bytes);
  std::map<std::array<char, 2>, std::string> successors;
  const size_t size = kProse.size();
  for (size_t i = 0; i < size; ++i) successors[{kProse[i], kProse[(i + 1) % size]}] += kProse[(i + 2) % size];
  std::string text;
  text.reserve(size_t(bytes));
  Random random(seed);
  std::array<char, 2> last{kProse[0], kProse[1]};
  while (int64_t(text.size()) < bytes) {
    text += last[0];
    const std::string& next = successors.at(last);
    last = {last[1], next[random.below(next.size())]};
  }
  return text;
}

}  // namespace quanta
