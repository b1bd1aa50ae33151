// Memory of the other ranks' GPUs, where a host has them all and they reach each other: kernels add small tensors over
// ranks by writing there, which costs a fraction of what NCCL takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "driver.h"
#include "ranks.h"

namespace hew {

class Peers {
 public:
  // Null, on every rank alike, where some rank cannot reach another's memory.
  static std::unique_ptr<Peers> open(const Ranks& ranks, const Launched& launched, void* stream);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // Elements that are added this way at most: the logits of a token are.
  static constexpr size_t most = 262144;

  // What hew_all_reduce takes: see backends/cuda/device/collectives.ts.
  static constexpr int most_ranks = 8;
  struct Lines {
    DevicePointer of_rank[most_ranks];
  };
  static constexpr unsigned lines_per_rank = most / 2;
  const Lines& lines() const { return lines_; }
  DevicePointer turns() const { return turns_; }
  int rank() const { return rank_; }
  int count() const { return count_; }

 private:
  Peers(const Launched& launched, void* stream);
  // Opens what the others have given; whether all of it could be opened.
  bool reach(const Ranks& ranks, void* stream);

  int rank_, count_;
  Lines lines_{};
  DevicePointer turns_ = 0;
  std::vector<DevicePointer> opened_;
};

}  // namespace hew
