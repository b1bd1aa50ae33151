// What the runtime asks of a device: one image of memory, kernels by name, and a queue that both work in order on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "error.h"
#include "hew.h"
#include "manifest.h"
#include "ranks.h"

namespace hew {

// An address of device memory.
using Address = uint64_t;

// What kernels have reported; `code` 0 is nothing.
struct Failure {
  int code, first, second;
};

// Queued work that is replayed as a whole.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void launch() = 0;
};

class Device {
 public:
  virtual ~Device() = default;

  // Makes the device that of the calling thread.
  virtual void enter() const = 0;
  // Memory that lives as long as the device.
  virtual Address allocate(uint64_t bytes) = 0;
  virtual void load_code(const std::string& directory, const Manifest& manifest) = 0;
  // Makes up the weights of a parameter.
  virtual void make_up(const Param& param, Address image, uint32_t seed) = 0;

  virtual void fill(Address to, unsigned char value, uint64_t bytes) = 0;
  // Copies weights, in order; they have arrived after the next `finish`.
  virtual void upload(Address to, const char* from, uint64_t bytes) = 0;
  virtual void copy_in(Address to, const void* from, size_t bytes) = 0;
  virtual void copy_out(void* to, Address from, size_t bytes) = 0;
  virtual void copy_within(Address to, Address from, size_t bytes) = 0;

  virtual void launch(const Launch& launch, const Symbols& symbols, std::vector<Address>& pointers, std::vector<int>& values) = 0;
  // The index of the greatest of `count` floats, the first of equals.
  virtual void argmax(Address values, int count, Address chosen) = 0;
  // Draws an index by weights that `count` logits give; `random` is in [0, 1).
  virtual void sample(Address logits, int count, const hew_sampling& sampling, double random, Address chosen) = 0;
  // Waits for all work, and gives what kernels have reported since.
  virtual Failure finish() = 0;

  // Meets the other ranks of the model.
  virtual void join(const Launched&) { throw Error(HEW_ERROR_UNSUPPORTED, "models of several ranks run on GPUs alone"); }
  // Queues the sum of `count` floats over all ranks.
  virtual void all_reduce(Address, Address, size_t) { throw Error(HEW_ERROR_BUNDLE, "a bundle of one rank adds over ranks"); }

  // See hew_work.
  virtual std::string work() { throw Error(HEW_ERROR_UNSUPPORTED, "only the model of an Ascend chip counts work"); }

  // The work that `queue` queues, as a graph; null where the device has none.
  virtual std::unique_ptr<Graph> capture(const std::function<void()>& queue) = 0;
  // Milliseconds that each of `repeats` runs takes on the device; `prepare` is queued before each, and not counted.
  virtual void measure(const std::function<void()>& prepare, const std::function<void()>& run, size_t repeats, float* milliseconds) = 0;
};

}  // namespace hew
