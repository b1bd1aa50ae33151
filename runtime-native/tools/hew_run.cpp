// hew-run: runs a bundle from the command line. Text models continue token ids, diffusion models draw; entries of every
// model can be run with inputs and outputs in files.
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
    "  --state NAME=FILE         a state before the first run\n"
    "  --entry NAME              run an entry; may be repeated, states go on from run to run\n"
    "  --input NAME=FILE --output NAME=FILE --symbol NAME=N   of the entry named last; files hold dense little-endian data\n"
    "  --noise FILE --classes 1,2 --steps N --guidance X --images FILE   draw images from noise by DDIM\n"
    "  --work FILE               what kernels did, as JSON (Ascend bundles)\n"
    "  --device N                number of the GPU (default 0)\n"
    "  --kernels FILE            compiled kernels of an Ascend bundle\n"
    "  --synthetic-weights SEED  make up the weights on the device\n"
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

std::vector<char> read_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) fail(path + " cannot be read", 1);
  std::vector<char> bytes;
  char piece[1 << 16];
  for (size_t count; (count = std::fread(piece, 1, sizeof piece, file)) > 0;) bytes.insert(bytes.end(), piece, piece + count);
  std::fclose(file);
  return bytes;
}

void write_file(const std::string& path, const void* data, size_t bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  const bool written = file != nullptr && std::fwrite(data, 1, bytes, file) == bytes;
  if (file == nullptr || std::fclose(file) != 0 || !written) fail(path + " cannot be written", 1);
}

struct Assignment {
  std::string name, value;
};

Assignment assignment(const std::string& text) {
  const size_t at = text.find('=');
  if (at == std::string::npos || at == 0) fail("'" + text + "' does not have the form NAME=VALUE", 2);
  return {text.substr(0, at), text.substr(at + 1)};
}

// One run of an entry.
struct Run {
  std::string entry;
  std::vector<Assignment> inputs, outputs, symbols;
};

void run_entry(hew_model* model, const Run& run) {
  std::vector<std::vector<char>> data;
  std::vector<hew_input> inputs;
  for (const Assignment& input : run.inputs) {
    data.push_back(read_file(input.value));
    inputs.push_back({input.name.c_str(), data.back().data(), data.back().size()});
  }
  std::vector<hew_symbol> symbols;
  for (const Assignment& symbol : run.symbols) symbols.push_back({symbol.name.c_str(), std::strtoll(symbol.value.c_str(), nullptr, 10)});
  std::vector<std::vector<char>> results;
  std::vector<hew_output> outputs;
  for (const Assignment& output : run.outputs) {
    size_t bytes = 0;
    check(hew_output_bytes(model, run.entry.c_str(), output.name.c_str(), symbols.data(), symbols.size(), &bytes));
    results.emplace_back(bytes);
    outputs.push_back({output.name.c_str(), results.back().data(), bytes});
  }
  check(hew_step(model, run.entry.c_str(), inputs.data(), inputs.size(), symbols.data(), symbols.size(), outputs.data(), outputs.size()));
  for (size_t i = 0; i < results.size(); i++) write_file(run.outputs[i].value, results[i].data(), results[i].size());
}

int print_token(int32_t token, void*) {
  std::printf("%d\n", token);
  return std::fflush(stdout);
}

struct Drawing {
  std::string noise, images;
  std::vector<int32_t> classes;
  int32_t steps = 50;
  float guidance = 1;
};

void draw(hew_model* model, const Drawing& drawing) {
  const std::vector<char> bytes = read_file(drawing.noise);
  std::vector<float> noise(bytes.size() / sizeof(float));
  std::memcpy(noise.data(), bytes.data(), noise.size() * sizeof(float));
  check(hew_denoise(model, noise.data(), noise.size(), drawing.classes.data(), drawing.classes.size(), drawing.steps, drawing.guidance));
  write_file(drawing.images, noise.data(), noise.size() * sizeof(float));
}

void continue_tokens(hew_model* model, const std::string& ids, const hew_sampling& sampling, size_t max_tokens) {
  const std::vector<int32_t> prompt = integers(ids);
  std::vector<int32_t> tokens(max_tokens);
  size_t made = 0;
  check(hew_generate(model, prompt.data(), prompt.size(), &sampling, max_tokens, tokens.data(), &made, print_token, nullptr));
}

}  // namespace

int main(int count, char** arguments) {
  hew_options options{};
  hew_sampling sampling{0, 0, 1, 0};
  std::string bundle, ids, work;
  size_t max_tokens = 32;
  std::vector<Run> runs;
  std::vector<Assignment> states;
  Drawing drawing;
  for (int i = 1; i < count; i++) {
    const std::string name = arguments[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= count) fail(name + " needs a value", 2);
      return arguments[++i];
    };
    const auto run = [&]() -> Run& {
      if (runs.empty()) fail(name + " needs an --entry before it", 2);
      return runs.back();
    };
    if (name == "--help") return std::printf("%s", usage), 0;
    else if (name == "--ids") ids = value();
    else if (name == "--max-tokens") max_tokens = std::strtoul(value().c_str(), nullptr, 10);
    else if (name == "--temperature") sampling.temperature = std::strtof(value().c_str(), nullptr);
    else if (name == "--top-k") sampling.top_k = std::atoi(value().c_str());
    else if (name == "--top-p") sampling.top_p = std::strtof(value().c_str(), nullptr);
    else if (name == "--seed") sampling.seed = std::strtoull(value().c_str(), nullptr, 10);
    else if (name == "--state") states.push_back(assignment(value()));
    else if (name == "--entry") runs.push_back({value(), {}, {}, {}});
    else if (name == "--input") run().inputs.push_back(assignment(value()));
    else if (name == "--output") run().outputs.push_back(assignment(value()));
    else if (name == "--symbol") run().symbols.push_back(assignment(value()));
    else if (name == "--noise") drawing.noise = value();
    else if (name == "--images") drawing.images = value();
    else if (name == "--classes") drawing.classes = integers(value());
    else if (name == "--steps") drawing.steps = std::atoi(value().c_str());
    else if (name == "--guidance") drawing.guidance = std::strtof(value().c_str(), nullptr);
    else if (name == "--work") work = value();
    else if (name == "--device") options.device = std::atoi(value().c_str());
    else if (name == "--kernels") options.kernels = (value(), arguments[i]);
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
  if (!ids.empty()) continue_tokens(model, ids, sampling, max_tokens);
  for (const Assignment& state : states) {
    const std::vector<char> data = read_file(state.value);
    check(hew_state_write(model, state.name.c_str(), data.data(), data.size()));
  }
  for (const Run& run : runs) run_entry(model, run);
  if (!drawing.noise.empty()) draw(model, drawing);
  if (ids.empty() && runs.empty() && drawing.noise.empty()) std::printf("%s\n", hew_manifest(model));
  if (!work.empty()) {
    const char* json = nullptr;
    check(hew_work(model, &json));
    write_file(work, json, std::strlen(json));
  }
  hew_close(model);
  return 0;
}
