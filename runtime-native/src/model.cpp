#include "model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include "compiler.h"
#include "error.h"

namespace hew {
namespace {

// Weights go to the device in pieces of this size, one being copied while the next is read.
constexpr size_t staging_bytes = size_t{64} << 20;
constexpr uint64_t largest_manifest = uint64_t{64} << 20;
// A step is captured when it comes the second time, and at most so many different ones are kept.
constexpr size_t most_graphs = 32;
constexpr int failure_words = 3;

std::string read_manifest(const std::string& directory) {
  std::ifstream file(directory + "/manifest.json", std::ios::binary);
  if (!file) throw Error(HEW_ERROR_BUNDLE, directory + " holds no bundle: there is no manifest.json");
  std::ostringstream text;
  text << file.rdbuf();
  if (text.str().size() > largest_manifest) throw Error(HEW_ERROR_BUNDLE, "manifest.json is too large");
  return text.str();
}

const Slot& find_slot(const std::vector<Slot>& slots, const char* name, const char* what) {
  for (const Slot& slot : slots)
    if (name != nullptr && slot.name == name) return slot;
  std::string names;
  for (const Slot& slot : slots) names += (names.empty() ? "" : ", ") + slot.name;
  throw Error(HEW_ERROR_ARGUMENT, std::string("there is no ") + what + " '" + (name == nullptr ? "" : name) + "'; there are: " + names);
}

}  // namespace

Model::Model(const std::string& directory, const hew_options& options) : manifest_(parse_manifest(read_manifest(directory))) {
  use_graphs_ = options.no_graphs == 0;
  device_ = std::make_unique<Device>(options.device);
  failure_ = std::make_unique<PinnedMemory>(failure_words * sizeof(int));
  load_code(directory);
  try {
    image_ = std::make_unique<DeviceMemory>(manifest_.total_bytes);
    // Memory that no kernel has written reads as NaN: a result that depends on it shows.
    driver().check(driver().fill_bytes(image_->pointer(), 0xff, manifest_.total_bytes, device_->stream()), "clearing memory");
    load_weights(directory);
    if (options.synthetic_weights != 0) make_up_weights(options.seed);
    reset();
    finish();
  } catch (...) {
    driver().module_unload(module_);
    throw;
  }
}

Model::~Model() {
  for (auto& [key, graph] : graphs_)
    if (graph.executable != nullptr) driver().graph_exec_destroy(graph.executable);
  driver().module_unload(module_);
}

void Model::load_code(const std::string& directory) {
  const Driver& cuda = driver();
  if (!manifest_.binary.empty()) {
    const MappedFile file(directory + "/" + manifest_.binary, manifest_.file_bytes[manifest_.binary]);
    const CudaResult result = cuda.module_load(&module_, file.data());
    const bool wrong = result == cuda_no_binary_for_gpu || result == cuda_invalid_image || result == cuda_unsupported_ptx;
    if (!wrong) cuda.check(result, "loading the kernels");
    if (result != 0) module_ = nullptr;
  }
  if (module_ == nullptr) {
    const MappedFile file(directory + "/" + manifest_.source, manifest_.file_bytes[manifest_.source]);
    const std::vector<char> code = compile_source(std::string(file.data(), file.bytes()), device_->major(), device_->minor());
    cuda.check(cuda.module_load(&module_, code.data()), "loading the compiled kernels");
  }
  size_t bytes = 0;
  cuda.check(cuda.module_global(&failure_flag_, &bytes, module_, "hew_failure"), "finding the failure flag");
}

void Model::load_weights(const std::string& directory) {
  const Driver& cuda = driver();
  uint64_t largest = 0;
  for (const Segment& segment : manifest_.weights) largest = std::max(largest, segment.bytes);
  const size_t piece_bytes = static_cast<size_t>(std::min<uint64_t>(staging_bytes, largest));
  PinnedMemory staging[2] = {PinnedMemory(piece_bytes), PinnedMemory(piece_bytes)};
  Event copied[2];
  int turn = 0;
  for (const Segment& segment : manifest_.weights) {
    const MappedFile file(directory + "/" + segment.file, manifest_.file_bytes[segment.file]);
    for (uint64_t done = 0; done < segment.bytes; done += staging_bytes, turn++) {
      const size_t bytes = static_cast<size_t>(std::min<uint64_t>(staging_bytes, segment.bytes - done));
      PinnedMemory& piece = staging[turn % 2];
      if (turn >= 2) copied[turn % 2].wait();
      std::memcpy(piece.data(), file.data() + segment.offset + done, bytes);
      cuda.check(cuda.copy_to_device(image_->pointer() + segment.address + done, piece.data(), bytes, device_->stream()), "copying weights");
      copied[turn % 2].record(*device_);
    }
  }
  device_->synchronize("copying weights");
}

void Model::make_up_weights(uint32_t seed) {
  for (const Param& param : manifest_.params) {
    const float spread = param.fan_in == 0 ? 0.0f : std::sqrt(3.0f / static_cast<float>(param.fan_in));
    const float centre = param.fan_in == 0 ? 1.0f : 0.0f;
    const bool bytes = param.dtype == "i4" || param.dtype == "u4" || param.dtype == "i8" || param.dtype == "u8";
    if (!bytes && param.dtype != "f32" && param.dtype != "bf16" && param.dtype != "f16") continue;
    for (uint64_t turn = 0; turn < param.turns; turn++) {
      DevicePointer pointer = image_->pointer() + param.address + turn * param.stride;
      unsigned long long count = bytes ? stored_bytes(param.dtype, param.elements) : param.elements;
      unsigned own_seed = seed + static_cast<unsigned>(param.address >> 8) * 31u + static_cast<unsigned>(turn);
      float own_spread = spread, own_centre = centre;
      void* arguments[] = {&pointer, &count, &own_seed, &own_spread, &own_centre};
      const int64_t blocks = static_cast<int64_t>(std::min<uint64_t>(2048, (count + 255) / 256));
      if (blocks > 0) launch(function(bytes ? "hew_fill_bytes" : "hew_fill_" + param.dtype), blocks, arguments);
    }
  }
}

void* Model::function(const std::string& name) {
  void*& known = functions_[name];
  if (known == nullptr) {
    const CudaResult result = driver().module_function(&known, module_, name.c_str());
    if (result == cuda_not_found) throw Error(HEW_ERROR_BUNDLE, "the bundle's code has no kernel '" + name + "'");
    driver().check(result, "finding a kernel");
  }
  return known;
}

void Model::launch(void* function, int64_t blocks, void** arguments) {
  if (blocks == 0) return;
  if (blocks < 0 || blocks > 0x7fffffff) throw Error(HEW_ERROR_ARGUMENT, "a kernel would need more blocks than a GPU takes");
  LaunchAttribute overlap{};
  overlap.id = attribute_programmatic_serialization;
  overlap.value.programmatic_serialization = 1;
  LaunchConfig config{static_cast<unsigned>(blocks), 1, 1, static_cast<unsigned>(manifest_.threads), 1, 1, 0, device_->stream(), &overlap, device_->major() >= 9 ? 1u : 0u};
  driver().check(driver().launch(&config, function, arguments, nullptr), "launching a kernel");
}

void Model::run_steps(const std::vector<Step>& steps, const Symbols& symbols, uint32_t mask, std::vector<int64_t>& turns) {
  for (const Step& step : steps) {
    if (step.mask != 0 && (step.mask & mask) == 0) continue;
    if (const auto* launch = std::get_if<Launch>(&step.what)) {
      run_launch(*launch, symbols, turns);
    } else if (const auto* copy = std::get_if<Copy>(&step.what)) {
      const int64_t bytes = copy->bytes.value(symbols);
      const DevicePointer to = image_->pointer() + copy->to.at(turns), from = image_->pointer() + copy->from.at(turns);
      if (bytes > 0) driver().check(driver().copy_on_device(to, from, static_cast<size_t>(bytes), device_->stream()), "copying on the device");
    } else {
      const Loop& loop = std::get<Loop>(step.what);
      turns.push_back(0);
      for (; turns.back() < loop.turns; turns.back()++) run_steps(loop.body, symbols, mask, turns);
      turns.pop_back();
    }
  }
}

void Model::run_launch(const Launch& launch, const Symbols& symbols, const std::vector<int64_t>& turns) {
  std::vector<DevicePointer> pointers;
  for (const Pointer& pointer : launch.pointers) pointers.push_back(image_->pointer() + pointer.at(turns));
  std::vector<int> values;
  for (const std::string& name : launch.symbols) values.push_back(static_cast<int>(symbols.at(name)));
  std::vector<void*> arguments;
  for (DevicePointer& pointer : pointers) arguments.push_back(&pointer);
  for (int& value : values) arguments.push_back(&value);
  int64_t blocks = 1;
  for (const auto& [count, per] : launch.grid) {
    blocks *= (count.value(symbols) + per - 1) / per;
    if (blocks > 0x7fffffff) break;
  }
  this->launch(function(launch.kernel), blocks, arguments.data());
}

void Model::enqueue(const std::string& name, const Symbols& symbols, uint32_t mask) {
  const Entry& entry = manifest_.entry(name);
  std::vector<int64_t> turns;
  std::string key = name + " " + std::to_string(mask);
  for (const auto& [symbol, value] : symbols) key += " " + symbol + "=" + std::to_string(value);
  const bool kept = graphs_.count(key) > 0 || graphs_.size() < most_graphs;
  if (!use_graphs_ || !kept) return run_steps(entry.plan, symbols, mask, turns);
  const Driver& cuda = driver();
  Graph& graph = graphs_[key];
  if (graph.seen++ == 0) return run_steps(entry.plan, symbols, mask, turns);
  if (graph.executable == nullptr) {
    constexpr int thread_local_mode = 1;
    cuda.check(cuda.capture_begin(device_->stream(), thread_local_mode), "starting a capture");
    void* captured = nullptr;
    try {
      run_steps(entry.plan, symbols, mask, turns);
    } catch (...) {
      cuda.capture_end(device_->stream(), &captured);
      if (captured != nullptr) cuda.graph_destroy(captured);
      throw;
    }
    cuda.check(cuda.capture_end(device_->stream(), &captured), "ending a capture");
    const CudaResult result = cuda.graph_instantiate(&graph.executable, captured, 0);
    cuda.graph_destroy(captured);
    cuda.check(result, "making a graph");
  }
  cuda.check(cuda.graph_launch(graph.executable, device_->stream()), "launching a graph");
}

void Model::enqueue_argmax(uint64_t values, int count, uint64_t chosen) {
  DevicePointer from = image_->pointer() + values, to = image_->pointer() + chosen;
  void* arguments[] = {&from, &count, &to};
  launch(function("hew_argmax"), 1, arguments);
}

void Model::read(uint64_t address, void* data, size_t bytes) {
  if (bytes > 0) driver().check(driver().copy_to_host(data, image_->pointer() + address, bytes, device_->stream()), "copying from the GPU");
}

void Model::write(uint64_t address, const void* data, size_t bytes) {
  if (bytes > 0) driver().check(driver().copy_to_device(image_->pointer() + address, data, bytes, device_->stream()), "copying to the GPU");
}

void Model::finish() {
  const Driver& cuda = driver();
  cuda.check(cuda.copy_to_host(failure_->data(), failure_flag_, failure_words * sizeof(int), device_->stream()), "reading the failure flag");
  device_->synchronize("running kernels");
  int failure[failure_words];
  std::memcpy(failure, failure_->data(), sizeof failure);
  if (failure[0] == 0) return;
  cuda.check(cuda.fill_bytes(failure_flag_, 0, failure_words * sizeof(int), device_->stream()), "clearing the failure flag");
  if (failure[0] == 1) {
    throw Error(HEW_ERROR_CONTEXT_FULL, "the context is full: " + std::to_string(failure[2]) + " more tokens do not fit after position " +
                                            std::to_string(failure[1]) + "; reset the model or give fewer tokens");
  }
  throw Error(HEW_ERROR_INDEX, "index " + std::to_string(failure[1]) + " is out of range: there are " + std::to_string(failure[2]) + " rows");
}

Symbols Model::symbols(const Entry& entry, const hew_input* inputs, size_t input_count, const hew_symbol* given, size_t given_count) const {
  Symbols values;
  for (size_t i = 0; i < given_count; i++) {
    const std::string name = given[i].name == nullptr ? "" : given[i].name;
    if (std::find(entry.symbols.begin(), entry.symbols.end(), name) == entry.symbols.end())
      throw Error(HEW_ERROR_ARGUMENT, "'" + name + "' is not a symbol of the entry");
    values[name] = given[i].value;
  }
  // An input whose size is linear in its one unknown symbol determines it.
  for (size_t i = 0; i < input_count; i++) {
    const Slot& slot = find_slot(entry.inputs, inputs[i].name, "input");
    int64_t known = dtype_bytes(slot.dtype);
    std::string unknown;
    bool linear = true;
    for (const Size& size : slot.shape) {
      const bool bare = size.divisor == 1 && size.terms.size() == 1 && size.terms[0].symbols.size() == 1;
      const bool needs = std::any_of(size.terms.begin(), size.terms.end(), [&](const Size::Term& term) {
        return std::any_of(term.symbols.begin(), term.symbols.end(), [&](const std::string& s) { return values.count(s) == 0; });
      });
      if (!needs) {
        known *= size.value(values);
      } else if (bare && unknown.empty()) {
        unknown = size.terms[0].symbols[0];
        known *= size.terms[0].coefficient;
      } else {
        linear = false;
      }
    }
    if (linear && !unknown.empty() && known > 0) values[unknown] = static_cast<int64_t>(inputs[i].bytes) / known;
  }
  for (const std::string& name : entry.symbols) {
    const auto found = values.find(name);
    if (found == values.end()) throw Error(HEW_ERROR_ARGUMENT, "the value of symbol '" + name + "' is missing");
    const Bounds& bounds = manifest_.symbols.at(name);
    if (found->second < bounds.min || found->second > bounds.max) {
      throw Error(HEW_ERROR_ARGUMENT, name + " is " + std::to_string(found->second) + ", its bounds are " +
                                          std::to_string(bounds.min) + ".." + std::to_string(bounds.max));
    }
  }
  return values;
}

uint32_t Model::give_inputs(const Entry& entry, const hew_input* inputs, size_t input_count, const Symbols& symbols,
                            const hew_output* outputs, size_t output_count) {
  for (const Slot& slot : entry.inputs) {
    const hew_input* given = nullptr;
    for (size_t i = 0; i < input_count; i++)
      if (slot.name == inputs[i].name) given = &inputs[i];
    if (given == nullptr || (given->data == nullptr && given->bytes > 0)) throw Error(HEW_ERROR_ARGUMENT, "input '" + slot.name + "' is missing");
    const int64_t bytes = slot.bytes(symbols);
    if (static_cast<size_t>(bytes) != given->bytes)
      throw Error(HEW_ERROR_ARGUMENT, "input '" + slot.name + "' has " + std::to_string(given->bytes) + " bytes, it takes " + std::to_string(bytes));
    write(slot.address, given->data, given->bytes);
  }
  uint32_t mask = 0;
  for (size_t i = 0; i < output_count; i++) {
    const Slot& slot = find_slot(entry.outputs, outputs[i].name, "output");
    mask |= uint32_t{1} << (&slot - entry.outputs.data());
    const int64_t bytes = slot.bytes(symbols);
    if (outputs[i].data != nullptr && static_cast<size_t>(bytes) != outputs[i].bytes)
      throw Error(HEW_ERROR_ARGUMENT, "output '" + slot.name + "' has " + std::to_string(bytes) + " bytes, room is for " + std::to_string(outputs[i].bytes));
  }
  return mask;
}

void Model::step(const std::string& name, const hew_input* inputs, size_t input_count, const hew_symbol* given,
                 size_t given_count, const hew_output* outputs, size_t output_count) {
  const Entry& entry = manifest_.entry(name);
  device_->enter();
  const Symbols values = symbols(entry, inputs, input_count, given, given_count);
  const uint32_t mask = give_inputs(entry, inputs, input_count, values, outputs, output_count);
  enqueue(name, values, mask);
  for (size_t i = 0; i < output_count; i++)
    if (outputs[i].data != nullptr) read(find_slot(entry.outputs, outputs[i].name, "output").address, outputs[i].data, outputs[i].bytes);
  finish();
}

void Model::measure(const std::string& name, const hew_input* inputs, size_t input_count, const hew_symbol* given,
                    size_t given_count, const hew_output* outputs, size_t output_count, size_t repeats, float* milliseconds) {
  const Entry& entry = manifest_.entry(name);
  device_->enter();
  const Symbols values = symbols(entry, inputs, input_count, given, given_count);
  const uint32_t mask = give_inputs(entry, inputs, input_count, values, outputs, output_count);
  for (int warm = 0; warm < 2; warm++) enqueue(name, values, mask);
  std::vector<Event> events(repeats + 1);
  events[0].record(*device_);
  for (size_t i = 0; i < repeats; i++) {
    enqueue(name, values, mask);
    events[i + 1].record(*device_);
  }
  finish();
  for (size_t i = 0; i < repeats; i++) milliseconds[i] = events[i + 1].since(events[i]);
}

void Model::reset() {
  for (const StateSpec& state : manifest_.states)
    if (state.bytes > 0) driver().check(driver().fill_bytes(image_->pointer() + state.address, 0, state.bytes, device_->stream()), "clearing a state");
}

const StateSpec& Model::state(const std::string& name) const {
  for (const StateSpec& state : manifest_.states)
    if (state.name == name) return state;
  throw Error(HEW_ERROR_ARGUMENT, "there is no state '" + name + "'");
}

std::vector<char> Model::save_states() {
  uint64_t total = 0;
  for (const StateSpec& state : manifest_.states) total += state.bytes;
  std::vector<char> saved(total);
  uint64_t at = 0;
  for (const StateSpec& state : manifest_.states) {
    read(state.address, saved.data() + at, state.bytes);
    at += state.bytes;
  }
  finish();
  return saved;
}

void Model::restore_states(const std::vector<char>& saved) {
  uint64_t at = 0;
  for (const StateSpec& state : manifest_.states) {
    if (at + state.bytes > saved.size()) throw Error(HEW_ERROR_ARGUMENT, "the snapshot is of another model");
    write(state.address, saved.data() + at, state.bytes);
    at += state.bytes;
  }
  if (at != saved.size()) throw Error(HEW_ERROR_ARGUMENT, "the snapshot is of another model");
  finish();
}

}  // namespace hew
