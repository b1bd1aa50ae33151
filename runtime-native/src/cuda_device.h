// One GPU: a context, a stream, and the kernels of a bundle.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device.h"
#include "driver.h"
#include "peers.h"

namespace hew {

class PinnedMemory;
class Event;

// What the driver says of a GPU. Throws where there is none of the number, or it is older than the kernels need.
struct Gpu {
  explicit Gpu(int number);
  int device = 0, major = 0, minor = 0, multiprocessors = 0;
  std::string name;
};

// As JSON, for hew_gpu.
std::string describe_gpu(int number);

class CudaDevice : public Device {
 public:
  explicit CudaDevice(int number);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  void enter() const override;
  Address allocate(uint64_t bytes) override;
  void load_code(const std::string& directory, const Manifest& manifest) override;
  void make_up(const Param& param, Address image, uint32_t seed) override;
  void fill(Address to, unsigned char value, uint64_t bytes) override;
  void upload(Address to, const char* from, uint64_t bytes) override;
  void copy_in(Address to, const void* from, size_t bytes) override;
  void copy_out(void* to, Address from, size_t bytes) override;
  void copy_within(Address to, Address from, size_t bytes) override;
  void launch(const Launch& launch, const Symbols& symbols, std::vector<Address>& pointers, std::vector<int>& values) override;
  void argmax(Address values, int count, Address chosen) override;
  void sample(Address logits, int count, const hew_sampling& sampling, double random, Address chosen) override;
  Failure finish() override;
  void join(const Launched& launched) override;
  void all_reduce(Address to, Address from, size_t count) override;
  std::unique_ptr<Graph> capture(const std::function<void()>& queue) override;
  void measure(const std::function<void()>& prepare, const std::function<void()>& run, size_t repeats, float* milliseconds) override;

 private:
  void load_binary(const std::string& path, uint64_t bytes);
  void* function(const std::string& name);
  // Threads of a block, and bytes of dynamic shared memory.
  struct Shape {
    int threads, shared;
  };
  void launch_function(void* function, int64_t blocks, void** arguments) { launch_function(function, blocks, {threads_, 0}, arguments); }
  void launch_function(void* function, int64_t blocks, Shape shape, void** arguments);
  bool has_wgmma();
  const Variant* fastest(const Launch& launch, const Symbols& symbols) const;

  // Two pieces of pinned memory through which weights travel, one being copied while the other is filled.
  struct Staging {
    std::unique_ptr<PinnedMemory> piece;
    std::unique_ptr<Event> copied;
    bool used = false;
  };

  int device_ = 0;
  int major_ = 0, minor_ = 0, multiprocessors_ = 0;
  int threads_ = 0;
  // Whether the code has the kernels of sm_90a.
  bool has_wgmma_ = false;
  void* context_ = nullptr;
  void* stream_ = nullptr;
  void* module_ = nullptr;
  DevicePointer failure_flag_ = 0;
  std::unique_ptr<PinnedMemory> failure_;
  // Null for a model of one rank.
  std::unique_ptr<Ranks> ranks_;
  // Null where sums go over NCCL alone.
  std::unique_ptr<Peers> peers_;
  std::vector<DevicePointer> allocations_;
  std::map<std::string, void*> functions_;
  Staging staging_[2];
  size_t turn_ = 0;
};

}  // namespace hew
