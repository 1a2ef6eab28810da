// Hostile texts for the OpenQASM readers: whatever they are given, they return a circuit that can be written and read
// again, or throw quanta::Error. Everything else (a crash, a sanitizer's report, another exception, endless work) is a
// bug.
//
//   qasm_fuzz --seconds 600 [--seed N] [--version 2|3] [FOLDER]    mutates a built-in corpus and the folder's files
//
// With clang: -fsanitize=fuzzer,address -DQUANTA_LIBFUZZER gives a libFuzzer program of the same property.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "quanta/circuit/qasm.h"
#include "quanta/core/error.h"
#include "quanta/core/file.h"
#include "quanta/core/random.h"

namespace {

using namespace quanta;

constexpr QasmLimits kLimits{.bytes = 1 << 16, .operations = 2000, .depth = 60};

// Whether the text is a circuit; aborts if it breaks the property.
bool check(std::string_view text) {
  Circuit circuit(1);
  try {
    circuit = parse_qasm(text, "fuzz", kLimits);
  } catch (const Error&) {
    return false;
  }
  for (const int version : {2, 3}) {
    std::string written;
    try {
      QasmOptions options{.version = version};
      if (version == 2) {
        options.weights.assign(size_t(circuit.weights()), 0.5);
        options.inputs.assign(size_t(circuit.inputs()), 0.25);
      }
      written = write_qasm(circuit, options);
    } catch (const Error&) {  // a matrix, a condition that version 2 lacks
      continue;
    }
    try {
      const Circuit back = parse_qasm(written, "written");
      if (back.wires() == circuit.wires() && back.clbits() == circuit.clbits()) continue;
      std::fprintf(stderr, "read back with other wires or bits\n");
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
    std::fprintf(stderr, "--- the text\n%.*s\n--- written\n%s\n", int(text.size()), text.data(), written.c_str());
    std::abort();
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check({reinterpret_cast<const char*>(data), size});
  return 0;
}

#ifndef QUANTA_LIBFUZZER
namespace {

const std::vector<std::string> kVersion2 = {
    "OPENQASM 2.0; include \"qelib1.inc\"; gate f(a,b) x,y { rx(a/2) x; cx x,y; u3(a,b,-pi) y; barrier x; } qreg q[3]; "
    "creg c[3]; f(0.1,pi^2) q[0],q[2]; h q; measure q -> c; if (c == 5) x q[1]; reset q[0]; rccx q[0],q[1],q[2];",
    "OPENQASM 2.0; include \"qelib1.inc\"; opaque o(t) a; qreg a[2]; qreg b[2]; creg m[2]; cx a,b; cu1(pi/4) "
    "a[0],b[1]; "
    "cu3(1,2,3) a,b; c3x a[0],a[1],b[0],b[1]; rzz(sin(1)+ln(2)) a[0],b[0]; measure a[1] -> m[0]; barrier a,b[0];",
    "qreg q[2]; gate g a,b { U(0,-1.5e-3,.5) a; CX a,b; } gate g2 a,b { g a,b; g b,a; } g2 q[0],q[1]; U(sqrt(2),1,2) "
    "q;",
};
const std::vector<std::string> kVersion3 = {
    "OPENQASM 3.0; include \"stdgates.inc\"; input float[64] t; const int n = 3; qubit[n] q; bit[n] c; gate g(a) x, y "
    "{ "
    "gphase(a); ctrl @ h x, y; rz(a) x; } for int i in [0:n-1] { rx(t * i + pi) q[i]; } ctrl(2) @ inv @ x q[0], q[1], "
    "q[2]; pow(0.5) @ negctrl @ g(0.3) q[2], q[0], q[1]; c = measure q; if (c == 3) { x q[0]; } else { y q[1]; }",
    "OPENQASM 3; include \"stdgates.inc\"; qubit[4] q; bit[2] a; bit b; let p = q[1:2]; let r = q[{0, 3}] ++ p; h r; "
    "cx "
    "p, q[0:1]; a[0] = measure q[0]; b = measure q[-1]; if (a[0] && !b) x q[1]; else if (a[1] || b) { z q[2]; } "
    "reset q[0]; barrier p; for uint i in {1, 2, 3} { if (i % 2 == 1) s q[i]; }",
    "OPENQASM 3; include \"stdgates.inc\"; int k = 1; float f = 2.5e-1; uint[4] v = 0b101; qubit q; bit c; k += 2 ** "
    "3; "
    "rx(f * k << 1) q; if (bool(v[0])) U(0, tau / 8, -euler) q; @note x\npow(-2) @ sx q; c = measure q; if (int(c) < "
    "1) h "
    "q; inv @ ctrl @ gphase(pi / 3) q; u2(0, pi) q; cu(1, 2, 3, 4) $0, $1;",
};
const std::vector<std::string> kWords = {"(",
                                         ")",
                                         "[",
                                         "]",
                                         "{",
                                         "}",
                                         ";",
                                         ",",
                                         ":",
                                         "=",
                                         "==",
                                         "->",
                                         "+",
                                         "-",
                                         "*",
                                         "/",
                                         "**",
                                         "^",
                                         "!",
                                         "&&",
                                         "||",
                                         "++",
                                         "@",
                                         "<",
                                         "#",
                                         "\"",
                                         "//",
                                         "/*",
                                         "*/",
                                         "0",
                                         "1",
                                         "-1",
                                         "2",
                                         "64",
                                         "1e308",
                                         "1e-9",
                                         "99999",
                                         "0x7fffffffffffffff",
                                         "18446744073709551615",
                                         "pi",
                                         "q",
                                         "c",
                                         "a",
                                         "x",
                                         "cx",
                                         "h",
                                         "U",
                                         "gate ",
                                         "if ",
                                         "else ",
                                         "for ",
                                         "in ",
                                         "int ",
                                         "bit ",
                                         "let ",
                                         "ctrl ",
                                         "inv ",
                                         "pow",
                                         "gphase",
                                         "qubit ",
                                         "measure ",
                                         "reset ",
                                         "barrier ",
                                         "include ",
                                         "const ",
                                         "input float ",
                                         "qreg ",
                                         "creg ",
                                         "opaque ",
                                         "ln",
                                         "sqrt",
                                         "mod(",
                                         "true",
                                         "\"01\"",
                                         "negctrl ",
                                         "rz",
                                         "cu"};

// Words and blanks as pieces that can be shuffled.
std::vector<std::string> pieces(const std::string& text) {
  std::vector<std::string> result;
  const auto word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.'; };
  for (const char c : text) {
    if (!result.empty() && word(c) && word(result.back().back()))
      result.back() += c;
    else
      result.emplace_back(1, c);
  }
  return result;
}

std::string mutate(const std::vector<std::string>& corpus, Random& random) {
  const auto pick = [&](const auto& list) -> const auto& {
    return list[random.below(list.size())];
  };
  std::vector<std::string> text = pieces(pick(corpus));
  const int changes = 1 + int(random.below(6));
  for (int k = 0; k < changes && !text.empty(); ++k) {
    const size_t at = random.below(text.size());
    const size_t length = std::min(text.size() - at, size_t(1) << random.below(6));
    const auto begin = text.begin() + std::ptrdiff_t(at);
    switch (random.below(8)) {
      case 0:
        text[at] = pick(kWords);
        break;
      case 1:
        text.insert(begin, pick(kWords));
        break;
      case 2:
        text.erase(begin, begin + std::ptrdiff_t(length));
        break;
      case 3: {
        const std::vector<std::string> copy(begin, begin + std::ptrdiff_t(length));
        text.insert(text.begin() + std::ptrdiff_t(random.below(text.size())), copy.begin(), copy.end());
        break;
      }
      case 4:
        std::swap(text[at], text[random.below(text.size())]);
        break;
      case 5: {
        const std::vector<std::string> other = pieces(pick(corpus));
        const size_t from = random.below(other.size());
        const size_t count = std::min(other.size() - from, length);
        text.insert(begin, other.begin() + std::ptrdiff_t(from), other.begin() + std::ptrdiff_t(from + count));
        break;
      }
      case 6:
        if (!text[at].empty()) text[at][random.below(text[at].size())] = char(random.below(256));
        break;
      default:
        text[at] = text[random.below(text.size())];
    }
  }
  std::string result;
  for (const std::string& piece : text) result += piece;
  return result.substr(0, 20000);
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 5;
  uint64_t seed = 1;
  int version = 0;
  std::vector<std::string> corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--seconds" && i + 1 < argc)
      seconds = std::atof(argv[++i]);
    else if (word == "--seed" && i + 1 < argc)
      seed = std::strtoull(argv[++i], nullptr, 10);
    else if (word == "--version" && i + 1 < argc)
      version = std::atoi(argv[++i]);
    else
      for (const auto& entry : std::filesystem::recursive_directory_iterator(word))
        if (entry.path().extension() == ".qasm") corpus.push_back(read_file(entry.path()));
  }
  if (version != 3) corpus.insert(corpus.end(), kVersion2.begin(), kVersion2.end());
  if (version != 2) corpus.insert(corpus.end(), kVersion3.begin(), kVersion3.end());
  const size_t given = corpus.size();

  Random random(seed);
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  int64_t runs = 0, circuits = 0;
  double slowest = 0;
  while (elapsed() < seconds) {
    const std::string text = mutate(corpus, random);
    const double before = elapsed();
    const bool accepted = check(text);
    slowest = std::max(slowest, elapsed() - before);
    ++runs;
    circuits += accepted;
    // Accepted texts become parents, so that changes add up.
    if (accepted && text.size() < 4000) {
      if (corpus.size() < given + 500)
        corpus.push_back(text);
      else
        corpus[given + random.below(500)] = text;
    }
  }
  std::printf("%lld texts, %lld circuits, slowest %.3f s\n", static_cast<long long>(runs),
              static_cast<long long>(circuits), slowest);
  return runs > 0 && circuits > 0 ? 0 : 1;
}
#endif
