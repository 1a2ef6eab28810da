// Arrows point down: a source includes only modules at or below its own in the order of docs/architecture.md, and only
// the modules that are not marked "(no torch)" there include LibTorch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Module {
  int floor;
  bool torch;
  bool planned;
};
using House = std::map<std::string, Module>;

// The lines "  name/   text" under "src/quanta/" in the first code block that has such a line.
House read_house(const std::string& markdown) {
  House house;
  std::istringstream lines(markdown);
  std::string line;
  bool inside = false;
  const std::regex module("  ([a-z_]+)/ .*");
  std::smatch match;
  while (std::getline(lines, line)) {
    if (line.starts_with("src/quanta/"))
      inside = true;
    else if (inside && std::regex_match(line, match, module))
      house[match[1]] = {int(house.size()), line.find("(no torch)") == std::string::npos,
                         line.find("(planned)") != std::string::npos};
    else if (inside && !line.starts_with("   "))
      break;
  }
  return house;
}

// The breaches of one source file of a module, each "module includes what: why not".
std::vector<std::string> breaches(const House& house, const std::string& module, const std::string& source) {
  std::vector<std::string> found;
  const auto self = house.find(module);
  if (self == house.end()) return {module + " is not in the house of docs/architecture.md"};
  std::istringstream lines(source);
  const std::regex include(R"(\s*#\s*include\s*["<]([^">]+)[">].*)");
  const std::regex quanta_path("quanta/([a-z_]+)/.*");
  const std::regex torch_path("(torch|ATen|c10|caffe2)/.*");
  std::smatch match, path;
  for (std::string line; std::getline(lines, line);) {
    if (!std::regex_match(line, match, include)) continue;
    const std::string file = match[1];
    if (std::regex_match(file, path, quanta_path)) {
      const auto used = house.find(path[1]);
      if (used == house.end())
        found.push_back(module + " includes " + file + ": no such module");
      else if (used->second.floor > self->second.floor)
        found.push_back(module + " includes " + file + ": it points up");
    } else if (std::regex_match(file, path, torch_path) && !self->second.torch) {
      found.push_back(module + " includes " + file + ": this module does without LibTorch");
    }
  }
  return found;
}

std::string read(const fs::path& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

const fs::path kSource = QUANTA_SOURCE_DIR;

TEST(Architecture, IncludesPointDown) {
  const House house = read_house(read(kSource / "docs/architecture.md"));
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(kSource / "src/quanta")) {
    if (!entry.is_regular_file()) continue;
    const auto extension = entry.path().extension();
    if (extension != ".h" && extension != ".cpp") continue;
    const fs::path relative = entry.path().lexically_relative(kSource / "src/quanta");
    ++files;
    EXPECT_THAT(breaches(house, *relative.begin(), read(entry.path())), IsEmpty()) << relative;
  }
  EXPECT_GT(files, 5);  // it looked at something
}

TEST(Architecture, ThePictureShowsWhatIsThere) {
  const House house = read_house(read(kSource / "docs/architecture.md"));
  for (const auto& [name, module] : house)
    EXPECT_EQ(fs::exists(kSource / "src/quanta" / name / "CMakeLists.txt"), !module.planned) << name;
  for (const auto& entry : fs::directory_iterator(kSource / "src/quanta"))
    EXPECT_TRUE(!entry.is_directory() || house.contains(entry.path().filename())) << entry.path();
}

TEST(Architecture, CatchesWhatIsForbidden) {
  const House house = read_house(
      "```\nsrc/quanta/\n  core/   ground (no torch)\n          more words\n  nn/     layers\n  serve/  (planned)\n"
      "docs/  text\n  no/  module\n```\n");
  EXPECT_EQ(house.size(), 3u);
  EXPECT_THAT(breaches(house, "nn", "#include \"quanta/core/error.h\"\n#include <torch/torch.h>\n"), IsEmpty());
  EXPECT_THAT(breaches(house, "core", "int x;\n  # include \"quanta/nn/layer.h\"  // why\n"),
              ElementsAre(HasSubstr("points up")));
  EXPECT_THAT(breaches(house, "core", "#include <ATen/ATen.h>\n"), ElementsAre(HasSubstr("without LibTorch")));
  EXPECT_THAT(breaches(house, "nn", "#include \"quanta/attic/box.h\"\n"), ElementsAre(HasSubstr("no such module")));
  EXPECT_THAT(breaches(house, "attic", ""), ElementsAre(HasSubstr("not in the house")));
}

}  // namespace
