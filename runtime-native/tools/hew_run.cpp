// hew-run: runs a bundle from the command line. Text models continue token ids; every model can be measured.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "hew.h"

namespace {

constexpr const char* usage =
    "usage: hew-run BUNDLE [options]\n"
    "  --ids 1,2,3               continue these tokens, and print the tokens that follow\n"
    "  --max-tokens N            at most so many (default 32)\n"
    "  --temperature X --top-k N --top-p X --seed N   how to choose them (default greedy)\n"
    "  --device N                number of the GPU (default 0)\n"
    "  --synthetic-weights SEED  make up the weights on the GPU\n"
    "  --no-graphs               launch kernels one by one\n";

[[noreturn]] void fail(const std::string& message, int code) {
  std::fprintf(stderr, "hew-run: %s\n", message.c_str());
  std::exit(code);
}

void check(hew_status status) {
  if (status != HEW_OK) fail(hew_last_error(), 1);
}

std::vector<int32_t> integers(const std::string& text) {
  std::vector<int32_t> values;
  for (const char* at = text.c_str(); *at != '\0';) {
    char* end = nullptr;
    const long value = std::strtol(at, &end, 10);
    if (end == at || (*end != ',' && *end != '\0')) fail("'" + text + "' is not a list of integers", 2);
    values.push_back(static_cast<int32_t>(value));
    at = *end == ',' ? end + 1 : end;
  }
  return values;
}

int print_token(int32_t token, void*) {
  std::printf("%d\n", token);
  return std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
  hew_options options{};
  hew_sampling sampling{0, 0, 1, 0};
  std::string bundle, ids;
  size_t max_tokens = 32;
  for (int i = 1; i < count; i++) {
    const std::string name = arguments[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= count) fail(name + " needs a value", 2);
      return arguments[++i];
    };
    if (name == "--help") return std::printf("%s", usage), 0;
    else if (name == "--ids") ids = value();
    else if (name == "--max-tokens") max_tokens = std::strtoul(value().c_str(), nullptr, 10);
    else if (name == "--temperature") sampling.temperature = std::strtof(value().c_str(), nullptr);
    else if (name == "--top-k") sampling.top_k = std::atoi(value().c_str());
    else if (name == "--top-p") sampling.top_p = std::strtof(value().c_str(), nullptr);
    else if (name == "--seed") sampling.seed = std::strtoull(value().c_str(), nullptr, 10);
    else if (name == "--device") options.device = std::atoi(value().c_str());
    else if (name == "--no-graphs") options.no_graphs = 1;
    else if (name == "--synthetic-weights") {
      options.synthetic_weights = 1;
      options.seed = static_cast<uint32_t>(std::strtoul(value().c_str(), nullptr, 10));
    } else if (name.rfind("--", 0) == 0 || !bundle.empty()) fail("unknown argument '" + name + "'\n" + usage, 2);
    else bundle = name;
  }
  if (bundle.empty()) fail(usage, 2);
  hew_model* model = nullptr;
  check(hew_open(bundle.c_str(), &options, &model));
  if (!ids.empty()) {
    const std::vector<int32_t> prompt = integers(ids);
    std::vector<int32_t> tokens(max_tokens);
    size_t made = 0;
    check(hew_generate(model, prompt.data(), prompt.size(), &sampling, max_tokens, tokens.data(), &made, print_token, nullptr));
  } else {
    std::printf("%s\n", hew_manifest(model));
  }
  hew_close(model);
  return 0;
}
