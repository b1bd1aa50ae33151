// Tests of the runtime without a GPU. `runtime-tests units` needs nothing; the other scenarios run against the fake driver
// (LD_LIBRARY_PATH leads to it) and a small bundle that they write themselves, and say what they expect to happen.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "error.h"
#include "hew.h"
#include "json.h"
#include "manifest.h"
#include "sampling.h"

namespace {

int failures = 0;

void expect(bool condition, const std::string& what) {
  if (condition) return;
  std::printf("FAIL %s\n", what.c_str());
  failures++;
}

template <class Body>
void expect_error(hew_status status, const std::string& part, const std::string& what, Body body) {
  try {
    body();
    expect(false, what + ": no error");
  } catch (const hew::Error& error) {
    expect(error.status() == status, what + ": status " + std::to_string(error.status()) + ", " + error.what());
    expect(std::strstr(error.what(), part.c_str()) != nullptr, what + ": " + error.what());
  }
}

// Two floats go through a state and three turns of a loop that exchanges two buffers: out = state before, then in.
std::string manifest_text() {
  return R"({"format":"hew-bundle","version":1,"target":"cuda","name":"small","hew":"0","ranks":1,
    "files":{"kernels.cu":{"bytes":3},"kernels.fatbin":{"bytes":4},"weights-00001.bin":{"bytes":16}},
    "cuda":{"source":"kernels.cu","binary":"kernels.fatbin","threads":256,"compute":"f32"},
    "memory":{"weights":272,"total":4096},
    "weights":[{"file":"weights-00001.bin","offset":0,"bytes":16,"address":256}],
    "params":[{"dtype":"f32","address":256,"stride":16,"turns":1,"elements":4,"fan_in":2}],
    "symbols":{"T":{"min":1,"max":8}},
    "entries":{"main":{"symbols":["T"],
      "inputs":[{"name":"x","dtype":"f32","shape":[[[1,"T"]],2],"address":512}],
      "outputs":[{"name":"y","dtype":"f32","shape":[[[1,"T"]],2],"address":768},
                 {"name":"w","dtype":"f32","shape":[4],"address":1024}],
      "plan":[{"copy":[1280,512],"bytes":[[8,"T"]]},
              {"turns":3,"body":[{"copy":[{"even":1536,"odd":1280,"depth":0},{"even":1280,"odd":1536,"depth":0}],"bytes":[[8,"T"]]}]},
              {"copy":[768,1536],"bytes":[[8,"T"]],"mask":1},
              {"copy":[1024,256],"bytes":16,"mask":2},
              {"copy":[2048,512],"bytes":8},
              {"kernel":"nothing","grid":[[[[2,"T"]],256],[3,1]],"pointers":[512,256],"symbols":["T"],
               "variants":[{"kernel":"tiles","grid":[[[[2,"T"]],64]],"threads":384,"shared":100000,"cost":7,"preferred":[[4,6],[9,16]],"least":3,
                            "maps":[{"pointer":0,"dtype":"bf16","rows":[[1,"T"]],"columns":8,"box":64}]}],"mask":4}]}},
    "states":[{"name":"kept","dtype":"f32","shape":[2],"address":2048,"bytes":8}],
    "tokenizer":null,"sampler":null})";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) {
    expect(false, "the manifest of the tests has no " + from);
    return text;
  }
  return text.replace(at, from.size(), to);
}

std::filesystem::path write_bundle(const std::string& manifest) {
  char directory[] = "/tmp/hew-runtime-XXXXXX";
  if (mkdtemp(directory) == nullptr) std::exit(2);
  const std::filesystem::path path = directory;
  const auto write = [&](const char* name, const std::string& content) { std::ofstream(path / name, std::ios::binary) << content; };
  const float weights[] = {1, 2, 3, 4};
  write("manifest.json", manifest);
  write("kernels.cu", "//\n");
  write("kernels.fatbin", "code");
  write("weights-00001.bin", std::string(reinterpret_cast<const char*>(weights), sizeof weights));
  return path;
}

void units() {
  const hew::Json json = hew::Json::parse(R"( {"a":[1,-2.5e1,"x\u00e9\ud83d\ude00\n"],"b":{"c":null,"d":true}} )");
  expect(json["a"].items()[1].number() == -25, "a number");
  expect(json["a"].items()[2].text() == "x\xc3\xa9\xf0\x9f\x98\x80\n", "escapes");
  expect(json["b"]["c"].is_null() && json.find("z") == nullptr, "members");
  for (const char* bad : {"", "{", "[1,]", "{\"a\" 1}", "\"\\x\"", "\"\\ud800\"", "1e999", "nul", "[1] 2", "\"a\nb\"", "01x", "{\"a\":}"})
    expect_error(HEW_ERROR_BUNDLE, "not JSON", std::string("JSON ") + bad, [&] { hew::Json::parse(bad); });
  expect_error(HEW_ERROR_BUNDLE, "nesting", "deep JSON", [] { hew::Json::parse(std::string(5000, '[')); });

  const hew::Manifest manifest = hew::parse_manifest(manifest_text());
  const hew::Entry& entry = manifest.entry("main");
  expect(entry.inputs[0].bytes({{"T", 3}}) == 24, "size of a slot");
  expect_error(HEW_ERROR_ARGUMENT, "there are: main", "an unknown entry", [&] { manifest.entry("other"); });
  const hew::Variant& tiles = std::get<hew::Launch>(entry.plan.back().what).variants[0];
  for (const auto& [tokens, preferred] : {std::pair<int64_t, bool>{1, false}, {2, true}, {3, true}, {4, false}, {8, true}})
    expect(tiles.is_preferred({{"T", tokens}}) == preferred, "a range of sizes that a variant is preferred for");
  for (const auto& [tokens, possible] : {std::pair<int64_t, bool>{1, false}, {2, true}, {8, true}})
    expect(tiles.is_possible({{"T", tokens}}) == possible, "a size from which a variant is taken");
  const hew::Size halved{{{3, {"T", "T"}}, {-1, {}}}, 2};
  expect(halved.value({{"T", 3}}) == 13, "a polynomial");
  hew::Pointer base;
  base.address = 100;
  hew::Pointer turning;
  turning.base = std::make_shared<hew::Pointer>(base);
  turning.stride = 8;
  turning.depth = 1;
  expect(turning.at({5, 2}) == 116, "a pointer that advances");

  const struct { const char *from, *to, *part; hew_status status; } wrong[] = {
      {"\"hew-bundle\"", "\"zip\"", "hew-bundle", HEW_ERROR_BUNDLE},
      {"\"version\":1", "\"version\":2", "format version", HEW_ERROR_VERSION},
      {"\"cuda\",\"name\"", "\"wasm\",\"name\"", "--target cuda", HEW_ERROR_VERSION},
      {"\"source\":\"kernels.cu\"", "\"source\":\"../kernels.cu\"", "plain file name", HEW_ERROR_BUNDLE},
      {"\"source\":\"kernels.cu\"", "\"source\":\"other.cu\"", "not among the files", HEW_ERROR_BUNDLE},
      {"\"bytes\":16,\"address\":256", "\"bytes\":17,\"address\":256", "past the end", HEW_ERROR_BUNDLE},
      {"\"address\":2048,\"bytes\":8", "\"address\":4095,\"bytes\":8", "outside the image", HEW_ERROR_BUNDLE},
      {"\"copy\":[2048,512]", "\"copy\":[9999,512]", "integer in", HEW_ERROR_BUNDLE},
      {"[[4,6],[9,16]]", "[[4]]", "range of sizes", HEW_ERROR_BUNDLE},
      {"\"copy\":[2048,512]", "\"copy\":[2048]", "from one place", HEW_ERROR_BUNDLE},
      {"[[8,\"T\"]],\"mask\":1", "[[8,\"S\"]],\"mask\":1", "not a symbol", HEW_ERROR_BUNDLE},
      {"\"depth\":0},{", "\"depth\":1},{", "integer in", HEW_ERROR_BUNDLE},
      {"\"pointers\":[512,256]", "\"pointers\":[{\"base\":256,\"stride\":4,\"depth\":0}]", "outside loops", HEW_ERROR_BUNDLE},
      {"\"columns\":8,\"box\"", "\"columns\":7,\"box\"", "multiple of 16 bytes", HEW_ERROR_BUNDLE},
      {"\"maps\":[{\"pointer\":0", "\"maps\":[{\"pointer\":2", "integer in", HEW_ERROR_BUNDLE},
      {"\"min\":1,\"max\":8", "\"min\":9,\"max\":8", "integer in", HEW_ERROR_BUNDLE},
      {"\"dtype\":\"f32\",\"shape\":[4]", "\"dtype\":\"f99\",\"shape\":[4]", "data type", HEW_ERROR_BUNDLE},
      {"\"stride\":16,\"turns\":1", "\"stride\":9007199254740992,\"turns\":1048576", "integer in", HEW_ERROR_BUNDLE},
  };
  for (const auto& [from, to, part, status] : wrong)
    expect_error(status, part, std::string("manifest with ") + to, [&, from = from, to = to] { hew::parse_manifest(replaced(manifest_text(), from, to)); });

  const std::string ascend = replaced(replaced(manifest_text(), "\"target\":\"cuda\"", "\"target\":\"ascendc\""), "\"cuda\":{",
                                      "\"ascendc\":{\"chip\":\"910b3\",\"kernels\":{\"nothing\":{\"type\":\"AIV_ONLY\",\"cores\":40}}},\"unused\":{");
  expect(hew::parse_manifest(ascend).kernels.at("nothing").cores == 40, "kernels of an Ascend bundle");
  expect_error(HEW_ERROR_BUNDLE, "integer in", "a kernel without cores", [&] { hew::parse_manifest(replaced(ascend, "\"cores\":40", "\"cores\":0")); });

  const std::vector<float> logits = {0, 3, 1, 3};
  expect(hew::sample_token(logits.data(), logits.size(), {0, 0, 1, 0}, 0.5) == 1, "greedy takes the first of equals");
  expect(hew::sample_token(logits.data(), logits.size(), {1, 2, 1, 0}, 0.9) == 3, "top-k keeps the best two");
  expect(hew::sample_token(logits.data(), logits.size(), {1, 0, 0.01f, 0}, 0.99) == 1, "top-p keeps the best alone");
  expect(hew::sample_token(logits.data(), logits.size(), {1, 0, 1, 0}, 0.999) == 0, "all tokens can be drawn");
}

struct Opened {
  std::filesystem::path path;
  hew_model* model = nullptr;
  hew_status status;

  explicit Opened(const std::string& manifest = manifest_text(), const hew_options& options = {}) : path(write_bundle(manifest)) {
    status = hew_open(path.c_str(), &options, &model);
  }
  ~Opened() {
    hew_close(model);
    std::filesystem::remove_all(path);
  }
};

void refused(hew_status status, const char* part) {
  const Opened opened;
  expect(opened.status == status && opened.model == nullptr, std::string("status ") + std::to_string(opened.status) + ": " + hew_last_error());
  expect(std::strstr(hew_last_error(), part) != nullptr, hew_last_error());
}

void step() {
  const Opened opened;
  expect(opened.status == HEW_OK, hew_last_error());
  const float x[] = {5, 6, 7, 8};
  float y[4] = {}, w[4] = {};
  const hew_input inputs[] = {{"x", x, sizeof x}};
  const hew_output outputs[] = {{"y", y, sizeof y}, {"w", w, sizeof w}};
  // The third run goes through a graph, which the fake driver does not replay: the values stay those of the second.
  for (int run = 0; run < 2; run++) {
    expect(hew_step(opened.model, "main", inputs, 1, nullptr, 0, outputs, run == 0 ? 2 : 1) == HEW_OK, hew_last_error());
    expect(std::memcmp(x, y, sizeof x) == 0 && w[3] == 4, "values of a step");
  }
  size_t bytes = 0;
  const hew_symbol symbol = {"T", 3};
  expect(hew_output_bytes(opened.model, "main", "y", &symbol, 1, &bytes) == HEW_OK && bytes == 24, "bytes of an output");
  float kept[2] = {};
  expect(hew_state_read(opened.model, "kept", kept, sizeof kept) == HEW_OK && kept[1] == 6, "a state");
  hew_snapshot* snapshot = nullptr;
  expect(hew_snapshot_take(opened.model, &snapshot) == HEW_OK, hew_last_error());
  expect(hew_reset(opened.model) == HEW_OK && hew_state_read(opened.model, "kept", kept, sizeof kept) == HEW_OK && kept[1] == 0, "a reset");
  expect(hew_snapshot_restore(opened.model, snapshot) == HEW_OK && hew_state_read(opened.model, "kept", kept, sizeof kept) == HEW_OK && kept[1] == 6, "a snapshot");
  hew_snapshot_free(snapshot);
  float times[3] = {};
  expect(hew_measure(opened.model, "main", inputs, 1, nullptr, 0, outputs, 1, 3, times) == HEW_OK && times[2] == 1, hew_last_error());

  const char* gpu = nullptr;
  expect(hew_gpu(0, &gpu) == HEW_OK && std::string(gpu) == R"({"name":"fake GPU","architecture":"sm_90a","multiprocessors":132})", hew_last_error());
  expect(hew_gpu(1, &gpu) == HEW_ERROR_NO_DEVICE && hew_gpu(0, nullptr) == HEW_ERROR_ARGUMENT, "no such GPU");

  const hew_input short_input[] = {{"x", x, 12}};
  const hew_input other_input[] = {{"z", x, sizeof x}};
  const hew_symbol large = {"T", 9}, foreign = {"S", 1};
  const struct { const hew_input* input; const hew_symbol* symbol; const char* part; } wrong[] = {
      {short_input, nullptr, "has 12 bytes"}, {other_input, nullptr, "no input 'z'"},
      {inputs, &large, "its bounds are 1..8"}, {inputs, &foreign, "not a symbol"}};
  for (const auto& [input, given, part] : wrong) {
    expect(hew_step(opened.model, "main", input, 1, given, given == nullptr ? 0 : 1, outputs, 1) == HEW_ERROR_ARGUMENT, part);
    expect(std::strstr(hew_last_error(), part) != nullptr, hew_last_error());
  }
  expect(hew_step(opened.model, "other", inputs, 1, nullptr, 0, outputs, 1) == HEW_ERROR_ARGUMENT, "an unknown entry");
  expect(hew_step(nullptr, "main", inputs, 1, nullptr, 0, outputs, 1) == HEW_ERROR_ARGUMENT, "no model");
  expect(hew_state_read(opened.model, "kept", kept, 4) == HEW_ERROR_ARGUMENT, "a state of another size");
  const int32_t prompt[] = {1};
  int32_t token = 0;
  expect(hew_generate(opened.model, prompt, 1, nullptr, 1, &token, &bytes, nullptr, nullptr) == HEW_ERROR_UNSUPPORTED, "no language model");
  const int32_t label = 0;
  float noise = 0;
  expect(hew_denoise(opened.model, &noise, 1, &label, 1, 10, 1) == HEW_ERROR_UNSUPPORTED, "no diffusion model");
}

void truncated() {
  const std::filesystem::path path = write_bundle(manifest_text());
  const auto status_without = [&](const char* name, uintmax_t bytes) {
    std::filesystem::resize_file(path / name, bytes);
    hew_model* model = nullptr;
    const hew_status status = hew_open(path.c_str(), nullptr, &model);
    hew_close(model);
    return status;
  };
  expect(status_without("weights-00001.bin", 15) == HEW_ERROR_FILE && std::strstr(hew_last_error(), "15 bytes") != nullptr, hew_last_error());
  std::filesystem::remove(path / "weights-00001.bin");
  hew_model* model = nullptr;
  expect(hew_open(path.c_str(), nullptr, &model) == HEW_ERROR_FILE, "a shard that is missing");
  expect(status_without("manifest.json", 100) == HEW_ERROR_BUNDLE, "a truncated manifest");
  std::filesystem::remove_all(path);
  expect(hew_open(path.c_str(), nullptr, &model) == HEW_ERROR_BUNDLE, "no bundle");
}

// A kernel of the plan runs and reports a failure (HEW_FAKE_FAILURE), once.
void reported(hew_status status, const char* part) {
  const Opened opened(replaced(manifest_text(), "\"mask\":4", "\"mask\":1"));
  expect(opened.status == HEW_OK, hew_last_error());
  const float x[] = {1, 2};
  float y[2];
  const hew_input inputs[] = {{"x", x, sizeof x}};
  const hew_output outputs[] = {{"y", y, sizeof y}};
  expect(hew_step(opened.model, "main", inputs, 1, nullptr, 0, outputs, 1) == status, hew_last_error());
  expect(std::strstr(hew_last_error(), part) != nullptr, hew_last_error());
}

std::string ranked_text() {
  return replaced(replaced(manifest_text(), "\"ranks\":1", "\"ranks\":2"), "{\"copy\":[768,1536],\"bytes\":[[8,\"T\"]],\"mask\":1}",
                  "{\"all_reduce\":[768,1536],\"elements\":[[2,\"T\"]],\"mask\":1}");
}

// One of two processes; both run this. Where they reach each other's memory, a kernel adds, which does nothing here.
void ranks(bool as_peers) {
  const Opened opened(ranked_text());
  expect(opened.status == HEW_OK, hew_last_error());
  const float x[] = {1, 2, 3, 4};
  float y[4] = {};
  const hew_input inputs[] = {{"x", x, sizeof x}};
  const hew_output outputs[] = {{"y", y, sizeof y}};
  expect(hew_step(opened.model, "main", inputs, 1, nullptr, 0, outputs, 1) == HEW_OK, hew_last_error());
  const bool added = y[0] == 2 && y[3] == 8;
  expect(added != as_peers, "the sum over two ranks");
}

void refused_ranks(const char* part) {
  const Opened opened(ranked_text());
  expect(opened.status == HEW_ERROR_RANKS, "status " + std::to_string(opened.status));
  expect(std::strstr(hew_last_error(), part) != nullptr, hew_last_error());
}

// Ascend bundles need compiled kernels, whatever drivers there are.
void no_kernels() {
  const Opened opened(replaced(replaced(manifest_text(), "\"target\":\"cuda\"", "\"target\":\"ascendc\""), "\"cuda\":{",
                               "\"ascendc\":{\"chip\":\"910b3\",\"kernels\":{}},\"unused\":{"));
  expect(opened.status == HEW_ERROR_NO_DRIVER, "status " + std::to_string(opened.status));
  expect(std::strstr(hew_last_error(), "--kernels") != nullptr, hew_last_error());
}

void synthetic() {
  hew_options options{};
  options.synthetic_weights = 1;
  const Opened opened(manifest_text(), options);
  expect(opened.status == HEW_OK, hew_last_error());
}

const std::map<std::string, std::function<void()>> scenarios = {
    {"units", units},
    {"step", step},
    {"truncated", truncated},
    {"synthetic", synthetic},
    {"no-kernels", no_kernels},
    {"ranks", [] { ranks(false); }},
    {"peers", [] { ranks(true); }},
    {"one-of-two-ranks", [] { refused_ranks("for 2 ranks, and 1 were started"); }},
    {"no-nccl", [] { refused_ranks("NCCL, which cannot be opened"); }},
    {"no-driver", [] { refused(HEW_ERROR_NO_DRIVER, "no CUDA driver"); }},
    {"old-driver", [] { refused(HEW_ERROR_OLD_DRIVER, "11.8"); }},
    {"no-device", [] { refused(HEW_ERROR_NO_DEVICE, "has 0"); }},
    {"old-gpu", [] { refused(HEW_ERROR_ARCHITECTURE, "8.0 or newer"); }},
    {"no-code", [] { refused(HEW_ERROR_ARCHITECTURE, "NVRTC"); }},
    {"no-memory", [] { refused(HEW_ERROR_OUT_OF_MEMORY, "MiB"); }},
    {"context-full", [] { reported(HEW_ERROR_CONTEXT_FULL, "5 more tokens do not fit after position 7"); }},
    {"index", [] { reported(HEW_ERROR_INDEX, "index 7 is out of range: there are 5 rows"); }},
    {"rank-lost", [] { reported(HEW_ERROR_RANKS, "has not answered for a minute"); }},
};

}  // namespace

int main(int count, char** arguments) {
  const auto found = count == 2 ? scenarios.find(arguments[1]) : scenarios.end();
  if (found == scenarios.end()) {
    for (const auto& [name, unused] : scenarios) std::printf("%s\n", name.c_str());
    return 2;
  }
  found->second();
  std::printf("%s: %s\n", arguments[1], failures == 0 ? "pass" : "FAIL");
  return failures == 0 ? 0 : 1;
}
