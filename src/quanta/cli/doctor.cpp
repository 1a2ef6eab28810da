#include <fmt/format.h>
#include <torch/torch.h>

#include "quanta/cli/command.h"
#include "quanta/core/machine.h"
#include "quanta/data/known.h"

namespace quanta::cli {
namespace {

std::vector<Finding> examine(const std::string& data_dir) {
  std::vector<Finding> findings = examine_machine();
  findings.push_back(
      {Finding::State::kOk, "LibTorch", fmt::format("{}, {} threads", TORCH_VERSION, torch::get_num_threads()), ""});
  for (const KnownData& data : known_data()) {
    const auto found = find_data(data.name, data_dir);
    const bool there = found || data.generated;
    findings.push_back({there ? Finding::State::kOk : Finding::State::kMissing, "data " + data.name,
                        found            ? found->string()
                        : data.generated ? "generated when needed"
                                         : "not found" + (data.stand_in.empty() ? "" : "; stand-in: " + data.stand_in),
                        there ? "" : "quanta data get " + data.name});
  }
  return findings;
}

const char* name(Finding::State state) {
  switch (state) {
    case Finding::State::kOk:
      return "ok";
    case Finding::State::kWarn:
      return "warn";
    case Finding::State::kMissing:
      return "missing";
  }
  return "";
}

}  // namespace

void add_doctor(CLI::App& app, int& status) {
  struct Options {
    std::string data;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("doctor", "What this machine has, what is missing, and what to do about it");
  command->add_option("--data", options->data, "Look for data sets here first")->type_name("DIR");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, &status] {
    const auto findings = examine(options->data);
    if (options->json) {
      auto list = nlohmann::ordered_json::array();
      for (const Finding& finding : findings)
        list.push_back({{"what", finding.what},
                        {"state", name(finding.state)},
                        {"detail", finding.detail},
                        {"advice", finding.advice}});
      print_json({{"version", version()}, {"findings", list}});
    } else {
      for (const Finding& finding : findings) {
        print(fmt::format("{:<8} {:<26} {}\n", name(finding.state), finding.what, finding.detail));
        if (!finding.advice.empty()) print(fmt::format("{:<36}-> {}\n", "", finding.advice));
      }
    }
    status = kDone;
  });
}

}  // namespace quanta::cli
