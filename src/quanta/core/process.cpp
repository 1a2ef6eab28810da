#include "quanta/core/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "quanta/core/error.h"

namespace fs = std::filesystem;

namespace quanta {
namespace {

// A file without a name. Unlike a pipe it never fills up, so nobody has to read and write in step with the program.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes = {}) : fd_(memfd_create("quanta", MFD_CLOEXEC)) {
    require(fd_ >= 0, "cannot make a temporary file in memory: {}", std::strerror(errno));
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t written = pwrite(fd_, bytes.data() + done, bytes.size() - done, off_t(done));
      if (written < 0 && errno != EINTR) {
        const int error = errno;
        close(fd_);
        fail("cannot write a temporary file in memory: {}", std::strerror(error));
      }
      if (written > 0) done += size_t(written);
    }
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  int fd() const { return fd_; }

  std::string read() const {
    struct stat status {};
    fstat(fd_, &status);
    std::string bytes(size_t(status.st_size), '\0');
    size_t size = 0;
    while (size < bytes.size()) {
      const ssize_t got = pread(fd_, bytes.data() + size, bytes.size() - size, off_t(size));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      size += size_t(got);
    }
    bytes.resize(size);
    return bytes;
  }

 private:
  int fd_;
};

struct SpawnSettings {
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

// The status of waitpid, or nothing if the time is over.
std::optional<int> wait_for(pid_t pid, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  auto pause = std::chrono::microseconds(200);
  while (true) {
    int status = 0;
    const pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid) return status;
    require(ended == 0 || errno == EINTR, "lost sight of process {}: {}", pid, std::strerror(errno));
    if (Clock::now() >= end) return {};
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::microseconds(20'000));
  }
}

}  // namespace

ProcessResult run_process(const fs::path& program, const std::vector<std::string>& arguments, std::string_view input,
                          double timeout_seconds) {
  const MemoryFile in(input), out, errors;
  SpawnSettings settings;
  posix_spawn_file_actions_adddup2(&settings.actions, in.fd(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&settings.actions, out.fd(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&settings.actions, errors.fd(), STDERR_FILENO);
  // A group of its own can be killed as a whole; the signals are as a fresh program expects them.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setpgroup(&settings.attributes, 0);
  posix_spawnattr_setsigmask(&settings.attributes, &none);
  posix_spawnattr_setsigdefault(&settings.attributes, &all);
  posix_spawnattr_setflags(&settings.attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::string name = program.string();
  std::vector<std::string> words = arguments;
  std::vector<char*> argv{name.data()};
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  pid_t pid = 0;
  const int error = posix_spawnp(&pid, name.c_str(), &settings.actions, &settings.attributes, argv.data(), environ);
  require(error == 0, "cannot run {}: {}", name, std::strerror(error));
  const auto status = wait_for(pid, timeout_seconds);
  if (!status) {
    kill(-pid, SIGKILL);
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
    fail("{} was stopped: it took longer than {:g} s", name, timeout_seconds);
  }
  return {WIFEXITED(*status) ? WEXITSTATUS(*status) : 128 + WTERMSIG(*status), out.read(), errors.read()};
}

std::optional<fs::path> find_program(std::string_view name) {
  const auto runs = [](const fs::path& path) {
    std::error_code error;
    return fs::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
  };
  if (name.empty()) return {};
  if (name.find('/') != name.npos) return runs(name) ? std::optional<fs::path>(name) : std::nullopt;
  const char* variable = std::getenv("PATH");
  std::string_view folders = variable ? variable : "/usr/local/bin:/usr/bin:/bin";
  while (true) {
    const size_t end = std::min(folders.find(':'), folders.size());
    const fs::path folder = end > 0 ? fs::path(folders.substr(0, end)) : fs::path(".");
    if (runs(folder / name)) return folder / name;
    if (end == folders.size()) return {};
    folders.remove_prefix(end + 1);
  }
}

void restart(char** argv) {
  // The path rather than /proc/self/exe itself: the process should keep its name.
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) execv(program.c_str(), argv);
}

}  // namespace quanta
