#include "quanta/quantize/activation_store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "quanta/core/error.h"
#include "quanta/core/temporary_folder.h"
#include "quanta/nn/state.h"

namespace quanta {
namespace {

using quanta::testing::TemporaryFolder;

TEST(ActivationStore, KeepsWhatWasSet) {
  const TemporaryFolder folder;
  const torch::Tensor all = torch::randn({3, 5, 7});
  {
    ActivationStore store(folder.path() / "h", 3, 5, 7);
    for (const int64_t i : {2, 0, 1}) store.set(i, all.slice(0, i, i + 1));
    EXPECT_TRUE(torch::equal(store.get(1), all.slice(0, 1, 2)));
    EXPECT_FALSE(std::filesystem::exists(folder.path() / "h"));
    store.finish();
  }
  const auto again = ActivationStore::open(folder.path() / "h");
  for (int64_t i = 0; i < 3; ++i) EXPECT_TRUE(torch::equal(again.get(i)[0], all[i])) << i;
  EXPECT_EQ(int64_t(std::filesystem::file_size(folder.path() / "h")), ActivationStore::bytes(3, 5, 7));
  // Any reader of safetensors reads it.
  const auto file = Safetensors::open(folder.path() / "h");
  EXPECT_TRUE(torch::equal(read_tensor(file.at("h"), "h"), all));
}

TEST(ActivationStore, LeavesNothingBehindUnfinished) {
  const TemporaryFolder folder;
  { ActivationStore store(folder.path() / "h", 1, 2, 3); }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(ActivationStore, RefusesADamagedFile) {
  const TemporaryFolder folder;
  {
    ActivationStore store(folder.path() / "h", 1, 2, 3);
    store.finish();
  }
  std::filesystem::resize_file(folder.path() / "h", 40);
  EXPECT_THROW(ActivationStore::open(folder.path() / "h"), Error);
  EXPECT_THROW(ActivationStore(folder.path() / "none" / "h", 1, 2, 3), Error);
  EXPECT_THROW(ActivationStore(folder.path() / "big", int64_t{1} << 20, 1 << 12, 1 << 12), Error);
}

}  // namespace
}  // namespace quanta
