#include "model.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "ascend_host.h"
#include "cuda_device.h"
#include "error.h"
#include "mapped_file.h"

namespace hew {
namespace {

constexpr uint64_t largest_manifest = uint64_t{64} << 20;
// A step is captured when it comes the second time, and at most so many different ones are kept.
constexpr size_t most_graphs = 32;

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

std::unique_ptr<Device> open_device(const Manifest& manifest, const hew_options& options) {
  if (manifest.chip.empty()) return std::make_unique<CudaDevice>(options.device);
  if (options.kernels == nullptr)
    throw Error(HEW_ERROR_NO_DRIVER, "a bundle for Ascend runs on the model of the chip with kernels that are compiled for it: "
                                     "`hew run --device ascend-host` compiles them, `--kernels` names them");
  return std::make_unique<AscendHost>(options.kernels, options.synthetic_weights != 0);
}

}  // namespace

Model::Model(const std::string& given, const hew_options& options, const Launched& launched)
    : manifest_(parse_manifest(read_manifest(own_bundle(given, launched)))), use_graphs_(options.no_graphs == 0) {
  const std::string directory = own_bundle(given, launched);
  if (manifest_.ranks > 1 && manifest_.ranks != launched.count) {
    throw Error(HEW_ERROR_RANKS, "the model was compiled for " + std::to_string(manifest_.ranks) + " ranks, and " + std::to_string(launched.count) +
                                     " were started; start them by torchrun, mpirun or srun, or set RANK, WORLD_SIZE and LOCAL_RANK");
  }
  hew_options own = options;
  if (manifest_.ranks > 1) own.device += launched.local;
  device_ = open_device(manifest_, own);
  if (manifest_.ranks > 1) device_->join(launched);
  device_->load_code(directory, manifest_);
  image_ = device_->allocate(manifest_.total_bytes);
  // Memory that no kernel has written reads as NaN: a result that depends on it shows.
  const uint64_t made_up = options.synthetic_weights != 0 ? manifest_.weight_bytes : 0;
  device_->fill(image_ + made_up, 0xff, manifest_.total_bytes - made_up);
  load_weights(directory);
  if (options.synthetic_weights != 0) {
    for (const Param& param : manifest_.params) device_->make_up(param, image_, options.seed);
  }
  reset();
  finish();
}

void Model::load_weights(const std::string& directory) {
  for (const Segment& segment : manifest_.weights) {
    const MappedFile file(directory + "/" + segment.file, manifest_.file_bytes[segment.file]);
    device_->upload(image_ + segment.address, file.data() + segment.offset, segment.bytes);
  }
  finish();
}

void Model::run_steps(const std::vector<Step>& steps, const Symbols& symbols, uint32_t mask, std::vector<int64_t>& turns) {
  for (const Step& step : steps) {
    if (step.mask != 0 && (step.mask & mask) == 0) continue;
    if (const auto* launch = std::get_if<Launch>(&step.what)) {
      run_launch(*launch, symbols, turns);
    } else if (const auto* copy = std::get_if<Copy>(&step.what)) {
      const int64_t bytes = copy->bytes.value(symbols);
      if (bytes > 0) device_->copy_within(image_ + copy->to.at(turns), image_ + copy->from.at(turns), static_cast<size_t>(bytes));
    } else if (const auto* sum = std::get_if<AllReduce>(&step.what)) {
      const int64_t elements = sum->elements.value(symbols);
      if (elements > 0) device_->all_reduce(image_ + sum->to.at(turns), image_ + sum->from.at(turns), static_cast<size_t>(elements));
    } else {
      const Loop& loop = std::get<Loop>(step.what);
      turns.push_back(0);
      for (; turns.back() < loop.turns; turns.back()++) run_steps(loop.body, symbols, mask, turns);
      turns.pop_back();
    }
  }
}

void Model::run_launch(const Launch& launch, const Symbols& symbols, const std::vector<int64_t>& turns) {
  std::vector<Address> pointers;
  for (const Pointer& pointer : launch.pointers) pointers.push_back(image_ + pointer.at(turns));
  std::vector<int> values;
  for (const std::string& name : launch.symbols) values.push_back(static_cast<int>(symbols.at(name)));
  if (blocks_of(launch.grid, symbols) != 0) device_->launch(launch, symbols, pointers, values);
}

void Model::enqueue(const std::string& name, const Symbols& symbols, uint32_t mask) {
  const Entry& entry = manifest_.entry(name);
  const auto queue = [&] {
    std::vector<int64_t> turns;
    run_steps(entry.plan, symbols, mask, turns);
  };
  std::string key = name + " " + std::to_string(mask);
  for (const auto& [symbol, value] : symbols) key += " " + symbol + "=" + std::to_string(value);
  const bool kept = graphs_.count(key) > 0 || graphs_.size() < most_graphs;
  if (!use_graphs_ || !kept) return queue();
  Captured& captured = graphs_[key];
  if (captured.seen++ == 0) return queue();
  if (captured.graph == nullptr) captured.graph = device_->capture(queue);
  if (captured.graph == nullptr) return queue();
  captured.graph->launch();
}

void Model::enqueue_argmax(uint64_t values, int count, uint64_t chosen) { device_->argmax(image_ + values, count, image_ + chosen); }

void Model::enqueue_sample(uint64_t logits, int count, const hew_sampling& sampling, double random, uint64_t chosen) {
  device_->sample(image_ + logits, count, sampling, random, image_ + chosen);
}

void Model::read(uint64_t address, void* data, size_t bytes) {
  if (bytes > 0) device_->copy_out(data, image_ + address, bytes);
}

void Model::write(uint64_t address, const void* data, size_t bytes) {
  if (bytes > 0) device_->copy_in(image_ + address, data, bytes);
}

void Model::finish() {
  const Failure failure = device_->finish();
  if (failure.code == 0) return;
  if (failure.code == 1) {
    throw Error(HEW_ERROR_CONTEXT_FULL, "the context is full: " + std::to_string(failure.second) + " more tokens do not fit after position " +
                                            std::to_string(failure.first) + "; reset the model or give fewer tokens");
  }
  if (failure.code == 3) throw Error(HEW_ERROR_RANKS, "another rank of the model has not answered for a minute");
  throw Error(HEW_ERROR_INDEX, "index " + std::to_string(failure.first) + " is out of range: there are " + std::to_string(failure.second) + " rows");
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
  // Every run finds the states as they are now.
  uint64_t total = 0;
  for (const StateSpec& state : manifest_.states) total += state.bytes;
  if (kept_states_ == 0) kept_states_ = device_->allocate(total);
  const auto copy_states = [&](bool back) {
    Address at = kept_states_;
    for (const StateSpec& state : manifest_.states) {
      const Address own = image_ + state.address;
      if (state.bytes > 0) device_->copy_within(back ? own : at, back ? at : own, state.bytes);
      at += state.bytes;
    }
  };
  copy_states(false);
  for (int warm = 0; warm < 2; warm++) {
    copy_states(true);
    enqueue(name, values, mask);
  }
  device_->measure([&] { copy_states(true); }, [&] { enqueue(name, values, mask); }, repeats, milliseconds);
  copy_states(true);
  finish();
}

void Model::reset() {
  for (const StateSpec& state : manifest_.states)
    device_->fill(image_ + state.address, 0, state.bytes);
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
