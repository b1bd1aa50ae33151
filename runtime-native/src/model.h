// A bundle on a device: its image of memory, its kernels, and the plans of its entries.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device.h"
#include "hew.h"
#include "manifest.h"

namespace hew {

class Model {
 public:
  Model(const std::string& directory, const hew_options& options) : Model(directory, options, launched()) {}

  const Manifest& manifest() const { return manifest_; }
  const Device& device() const { return *device_; }

  // Values of the entry's symbols: those given, and those that the sizes of inputs determine.
  Symbols symbols(const Entry& entry, const hew_input* inputs, size_t input_count, const hew_symbol* given, size_t given_count) const;

  void step(const std::string& entry, const hew_input* inputs, size_t input_count, const hew_symbol* symbols,
            size_t symbol_count, const hew_output* outputs, size_t output_count);
  void measure(const std::string& entry, const hew_input* inputs, size_t input_count, const hew_symbol* symbols,
               size_t symbol_count, const hew_output* outputs, size_t output_count, size_t repeats, float* milliseconds);

  // Queues the plan of an entry for outputs of `mask`; inputs are on the device already.
  void enqueue(const std::string& entry, const Symbols& symbols, uint32_t mask);
  // Queues the index of the greatest of `count` floats at `values`, to `chosen`.
  void enqueue_argmax(uint64_t values, int count, uint64_t chosen);
  void enqueue_sample(uint64_t logits, int count, const hew_sampling& sampling, double random, uint64_t chosen);
  void read(uint64_t address, void* data, size_t bytes);
  void write(uint64_t address, const void* data, size_t bytes);
  // Waits, and throws what kernels have reported.
  void finish();

  std::string work() { return device_->work(); }
  void reset();
  const StateSpec& state(const std::string& name) const;
  std::vector<char> save_states();
  void restore_states(const std::vector<char>& saved);

 private:
  Model(const std::string& directory, const hew_options& options, const Launched& launched);
  void load_weights(const std::string& directory);
  void run_steps(const std::vector<Step>& steps, const Symbols& symbols, uint32_t mask, std::vector<int64_t>& turns);
  void run_launch(const Launch& launch, const Symbols& symbols, const std::vector<int64_t>& turns);
  uint32_t give_inputs(const Entry& entry, const hew_input* inputs, size_t input_count, const Symbols& symbols,
                       const hew_output* outputs, size_t output_count);

  // A step that was seen, and its graph from the second time on.
  struct Captured {
    std::unique_ptr<Graph> graph;
    int seen = 0;
  };

  Manifest manifest_;
  bool use_graphs_;
  std::unique_ptr<Device> device_;
  Address image_ = 0;
  // Room for a copy of the states, where something was measured.
  Address kept_states_ = 0;
  // Behind the device, so that graphs go first.
  std::map<std::string, Captured> graphs_;
};

}  // namespace hew
