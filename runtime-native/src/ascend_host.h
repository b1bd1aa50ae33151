// The model of an Ascend chip on the host: kernels of a shared object that runtime-native/ascendc-host belongs to.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "device.h"
#include "hew_ascend/library.h"

namespace hew {

class AscendHost : public Device {
 public:
  // `estimate`: a kernel runs once for each number of blocks and values of symbols, and then only counts its work again.
  AscendHost(const std::string& kernels, bool estimate);
  ~AscendHost() override;
  AscendHost(const AscendHost&) = delete;
  AscendHost& operator=(const AscendHost&) = delete;

  void enter() const override {}
  Address allocate(uint64_t bytes) override;
  void load_code(const std::string& directory, const Manifest& manifest) override;
  // Weights that are made up are zeros, which take no memory.
  void make_up(const Param&, Address, uint32_t) override {}
  void fill(Address to, unsigned char value, uint64_t bytes) override;
  void upload(Address to, const char* from, uint64_t bytes) override;
  void copy_in(Address to, const void* from, size_t bytes) override;
  void copy_out(void* to, Address from, size_t bytes) override;
  void copy_within(Address to, Address from, size_t bytes) override;
  void launch(const Launch& launch, const Symbols& symbols, std::vector<Address>& pointers, std::vector<int>& values) override;
  void argmax(Address values, int count, Address chosen) override;
  void sample(Address logits, int count, const hew_sampling& sampling, double random, Address chosen) override;
  Failure finish() override { return {0, 0, 0}; }
  std::string work() override;
  std::unique_ptr<Graph> capture(const std::function<void()>&) override { return nullptr; }
  void measure(const std::function<void()>& prepare, const std::function<void()>& run, size_t repeats, float* milliseconds) override;

 private:
  struct Record {
    uint64_t runs = 0;
    hew_ascend_work work{};
  };

  bool estimate_;
  void* library_ = nullptr;
  decltype(&hew_ascend_memory) memory_ = nullptr;
  decltype(&hew_ascend_launch) launch_ = nullptr;
  std::string chip_;
  std::map<std::string, KernelSpec> kernels_;
  uint64_t weight_bytes_ = 0;
  std::vector<std::pair<void*, size_t>> mapped_;
  // By kernel, blocks and values of symbols.
  std::map<std::pair<std::string, std::vector<int>>, Record> records_;
};

}  // namespace hew
