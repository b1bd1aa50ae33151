#include "ascend_host.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "error.h"
#include "sampling.h"

namespace hew {
namespace {

template <class Function>
Function resolve(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == nullptr) throw Error(HEW_ERROR_BUNDLE, std::string("the compiled kernels have no function ") + name);
  return reinterpret_cast<Function>(symbol);
}

char* at(Address address) { return reinterpret_cast<char*>(address); }

std::string counters_json(const hew_ascend_counters& c) {
  const std::pair<const char*, uint64_t> fields[] = {
      {"gm_to_ub", c.gm_to_ub}, {"ub_to_gm", c.ub_to_gm}, {"gm_to_l1", c.gm_to_l1}, {"l1_to_l0", c.l1_to_l0},
      {"l0c_out", c.l0c_out}, {"vector_cycles", c.vector_cycles}, {"cube_cycles", c.cube_cycles}, {"scalar_accesses", c.scalar_accesses}};
  std::string text;
  for (const auto& [name, value] : fields) text += (text.empty() ? "{\"" : ",\"") + std::string(name) + "\":" + std::to_string(value);
  return text + "}";
}

}  // namespace

AscendHost::AscendHost(const std::string& kernels, bool estimate) : estimate_(estimate) {
  library_ = dlopen(kernels.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) throw Error(HEW_ERROR_FILE, std::string("the compiled kernels cannot be opened: ") + dlerror());
  memory_ = resolve<decltype(memory_)>(library_, "hew_ascend_memory");
  launch_ = resolve<decltype(launch_)>(library_, "hew_ascend_launch");
}

AscendHost::~AscendHost() {
  for (const auto& [memory, bytes] : mapped_) munmap(memory, bytes);
  dlclose(library_);
}

void AscendHost::load_code(const std::string&, const Manifest& manifest) {
  chip_ = manifest.chip;
  kernels_ = manifest.kernels;
  weight_bytes_ = manifest.weight_bytes;
}

Address AscendHost::allocate(uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw Error(HEW_ERROR_OUT_OF_MEMORY, "the model needs " + std::to_string(bytes >> 20) + " MiB of memory");
  mapped_.emplace_back(memory, bytes);
  memory_(memory, bytes, weight_bytes_);
  return reinterpret_cast<Address>(memory);
}

// What is estimated is all zeros, as it was mapped.
void AscendHost::fill(Address to, unsigned char value, uint64_t bytes) {
  if (!estimate_) std::memset(at(to), value, bytes);
}
void AscendHost::upload(Address to, const char* from, uint64_t bytes) { std::memcpy(at(to), from, bytes); }
void AscendHost::copy_in(Address to, const void* from, size_t bytes) { std::memcpy(at(to), from, bytes); }
void AscendHost::copy_out(void* to, Address from, size_t bytes) { std::memcpy(to, at(from), bytes); }
void AscendHost::copy_within(Address to, Address from, size_t bytes) { std::memmove(at(to), at(from), bytes); }

void AscendHost::launch(const Launch& launch, const Symbols& symbols, std::vector<Address>& pointers, std::vector<int>& values) {
  const auto spec = kernels_.find(launch.kernel);
  if (spec == kernels_.end()) throw Error(HEW_ERROR_BUNDLE, "the manifest has no kernel '" + launch.kernel + "'");
  std::vector<int> key = values;
  key.push_back(static_cast<int>(std::min(blocks_of(launch.grid, symbols), spec->second.cores)));
  Record& record = records_[{launch.kernel, key}];
  if (record.runs++ > 0 && estimate_) return;
  std::vector<uint64_t> words(pointers.begin(), pointers.end());
  for (const int value : values) words.push_back(static_cast<uint32_t>(value));
  const char* fault = launch_(chip_.c_str(), launch.kernel.c_str(), static_cast<uint32_t>(key.back()), words.data(), words.size(), &record.work);
  if (fault != nullptr) throw Error(HEW_ERROR_DEVICE, "kernel '" + launch.kernel + "': " + fault);
}

void AscendHost::argmax(Address values, int count, Address chosen) {
  const float* first = reinterpret_cast<const float*>(values);
  const int32_t index = static_cast<int32_t>(std::max_element(first, first + count) - first);
  std::memcpy(at(chosen), &index, sizeof index);
}

void AscendHost::sample(Address logits, int count, const hew_sampling& sampling, double random, Address chosen) {
  const int32_t index = sample_token(reinterpret_cast<const float*>(logits), static_cast<size_t>(count), sampling, random);
  std::memcpy(at(chosen), &index, sizeof index);
}

std::string AscendHost::work() {
  std::string text;
  for (const auto& [key, record] : records_) {
    text += (text.empty() ? "[\n{" : ",\n{") + std::string("\"kernel\":\"") + key.first + "\",\"blocks\":" + std::to_string(key.second.back()) +
            ",\"runs\":" + std::to_string(record.runs) + ",\"gm_read\":" + std::to_string(record.work.gm_read) +
            ",\"gm_written\":" + std::to_string(record.work.gm_written) +
            ",\"weights_read\":" + std::to_string(record.work.weights_read) + ",\"total\":" + counters_json(record.work.total) +
            ",\"busiest\":" + counters_json(record.work.busiest) + "}";
  }
  records_.clear();
  return text.empty() ? "[]" : text + "]";
}

void AscendHost::measure(const std::function<void()>& prepare, const std::function<void()>& run, size_t repeats, float* milliseconds) {
  for (size_t i = 0; i < repeats; i++) {
    prepare();
    const auto start = std::chrono::steady_clock::now();
    run();
    milliseconds[i] = std::chrono::duration<float, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
}

}  // namespace hew
