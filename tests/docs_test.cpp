// What the documents say is what is there: the table of systems is the program's own, code is code that is built and
// run, and links lead somewhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "quanta/core/file.h"
#include "quanta/core/process.h"

namespace quanta {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = QUANTA_SOURCE_DIR;

std::vector<fs::path> documents() {
  std::vector<fs::path> found;
  for (const auto& folder : {kSource, kSource / "docs", kSource / "bench"})
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".md") found.push_back(entry.path());
  for (const auto& entry : fs::recursive_directory_iterator(kSource / "src"))
    if (entry.path().extension() == ".md") found.push_back(entry.path());
  return found;
}

TEST(Docs, TheTableOfSystemsIsTheProgramsOwn) {
  const std::string readme = read_file(kSource / "README.md");
  const std::string begin = "<!-- quanta list --markdown -->\n", end = "<!-- end -->";
  const size_t start = readme.find(begin), stop = readme.find(end);
  ASSERT_NE(start, std::string::npos);
  ASSERT_NE(stop, std::string::npos);
  EXPECT_EQ(readme.substr(start + begin.size(), stop - start - begin.size()),
            run_process(QUANTA_PROGRAM, {"list", "--markdown"}).output)
      << "put the output of `quanta list --markdown` between the marks of README.md";
}

TEST(Docs, CodeIsTakenFromTheExamples) {
  std::string examples;
  for (const auto& entry : fs::directory_iterator(kSource / "examples"))
    if (entry.path().extension() == ".cpp") examples += read_file(entry.path());
  examples = std::regex_replace(examples, std::regex("\n +"), "\n");
  int blocks = 0;
  for (const auto& path : documents()) {
    const std::string text = read_file(path);
    const std::string open = "```cpp\n", close = "```";
    for (size_t at = text.find(open); at != std::string::npos; at = text.find(open, at)) {
      at += open.size();
      std::string block = text.substr(at, text.find(close, at) - at);
      block = std::regex_replace("\n" + block, std::regex("\n +"), "\n").substr(1);
      EXPECT_NE(examples.find(block), std::string::npos) << path << ": no example holds\n" << block;
      ++blocks;
    }
  }
  EXPECT_GE(blocks, 3);
}

TEST(Docs, LinksLeadSomewhere) {
  const std::regex link(R"(\]\(([^)#\s]+)[^)]*\))");
  int links = 0;
  for (const auto& path : documents()) {
    const std::string text = read_file(path);
    for (std::sregex_iterator match(text.begin(), text.end(), link), none; match != none; ++match) {
      const std::string target = (*match)[1];
      if (target.find("://") != std::string::npos) continue;
      EXPECT_TRUE(fs::exists(path.parent_path() / target)) << path << " links to " << target;
      ++links;
    }
  }
  EXPECT_GE(links, 10);
}

}  // namespace
}  // namespace quanta
