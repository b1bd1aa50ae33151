// The manifest of a native bundle, checked: every name is plain, every size is sane, every address lies in the image.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "json.h"

namespace hew {

using Symbols = std::map<std::string, int64_t>;

// sum of coefficient * product of symbols, divided.
struct Size {
  struct Term {
    int64_t coefficient;
    std::vector<std::string> symbols;
  };
  std::vector<Term> terms;
  int64_t divisor = 1;

  int64_t value(const Symbols& symbols) const;
};

// An address of the image; see backends/native/manifest.ts.
struct Pointer {
  uint64_t address = 0;
  // Advances with each turn of the loop at `depth`.
  uint64_t stride = 0;
  int depth = 0;
  // When set, `even` and `odd` by the turn of the loop at `depth`.
  std::shared_ptr<const Pointer> even, odd, base;

  uint64_t at(const std::vector<int64_t>& turns) const;
};

// count / per, rounded up, of each axis.
using Grid = std::vector<std::pair<Size, int64_t>>;

// A matrix behind one of a launch's pointers, for the copy engine: boxes of 128 bytes by `box` rows.
struct MatrixMap {
  size_t pointer;
  std::string dtype;
  Size rows;
  int64_t columns, box;
};

// Another way to run a launch, by kernels of sm_90a; see backends/cuda/manifest.ts.
struct Variant {
  std::string kernel;
  Grid grid;
  int threads, shared;
  int64_t cost;
  // Ranges of the first size of the grid where it is taken whatever the cost.
  std::vector<std::pair<int64_t, int64_t>> preferred;
  // Below this first size it is not taken.
  int64_t least;
  std::vector<MatrixMap> maps;

  bool is_possible(const Symbols& symbols) const;
  bool is_preferred(const Symbols& symbols) const;

 private:
  int64_t first_size(const Symbols& symbols) const;
};

struct Launch {
  std::string kernel;
  Grid grid;
  std::vector<Pointer> pointers;
  std::vector<std::string> symbols;
  std::vector<Variant> variants;
};

// The product over the axes; more than 2^31 where that is exceeded.
int64_t blocks_of(const Grid& grid, const Symbols& symbols);

struct Copy {
  Pointer to, from;
  Size bytes;
};

// Floats at `from` are added over all ranks of the model, and the sums go to `to`.
struct AllReduce {
  Pointer to, from;
  Size elements;
};

struct Step;
struct Loop {
  int64_t turns;
  std::vector<Step> body;
};

struct Step {
  // Runs when an output of the mask is asked for; 0 runs always.
  uint32_t mask = 0;
  std::variant<Launch, Copy, AllReduce, Loop> what;
};

struct Slot {
  std::string name;
  std::string dtype;
  std::vector<Size> shape;
  uint64_t address;

  int64_t bytes(const Symbols& symbols) const;
};

struct Entry {
  std::vector<std::string> symbols;
  std::vector<Slot> inputs, outputs;
  std::vector<Step> plan;
};

struct StateSpec {
  std::string name;
  uint64_t address, bytes;
};

struct Segment {
  std::string file;
  uint64_t offset, bytes, address;
};

struct Param {
  std::string dtype;
  uint64_t address, stride, turns, elements, fan_in;
};

// A kernel of an Ascend bundle.
struct KernelSpec {
  // As KERNEL_TASK_TYPE_DEFAULT names it, without KERNEL_TYPE_.
  std::string type;
  // Cores that can run it at the same time.
  int64_t cores;
};

struct Bounds {
  int64_t min, max;
};

struct Manifest {
  std::string text;
  std::string name;
  // Of a CUDA bundle. The binary is empty when the bundle has source alone.
  std::string source;
  std::string binary;
  int threads = 0;
  // Of an Ascend bundle; the chip is empty in others.
  std::string chip;
  std::map<std::string, KernelSpec> kernels;
  uint64_t weight_bytes, total_bytes;
  // Processes that run the model together.
  int ranks;
  std::map<std::string, uint64_t> file_bytes;
  std::vector<Segment> weights;
  std::vector<Param> params;
  std::map<std::string, Bounds> symbols;
  std::map<std::string, Entry> entries;
  std::vector<StateSpec> states;
  // Null without one.
  Json sampler;

  const Entry& entry(const std::string& name) const;
};

int64_t dtype_bytes(const std::string& dtype);
// Bytes of so many elements of a parameter: integers of four bits lie two to a byte.
uint64_t stored_bytes(const std::string& dtype, uint64_t elements);

// Throws Error: HEW_ERROR_BUNDLE or HEW_ERROR_VERSION.
Manifest parse_manifest(std::string text);

}  // namespace hew
