// The ranks of a tensor-parallel model: one process for each, started by torchrun, mpirun or srun, adding over NCCL,
// which is opened at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace hew {

// Which process this is, by the environment of the launcher: RANK, OMPI_COMM_WORLD_RANK, PMI_RANK or SLURM_PROCID, and
// the variables that go with it.
struct Launched {
  int rank = 0;
  int count = 1;
  // Number among the processes of this host, which chooses the GPU.
  int local = 0;
};

// Throws HEW_ERROR_ARGUMENT for values that make no sense.
Launched launched();

// The bundle of this process: DIR/rank-N where DIR holds one for each rank, otherwise DIR.
std::string own_bundle(const std::string& directory, const Launched& launched);

class Ranks {
 public:
  // Meets the other processes at MASTER_ADDR and MASTER_PORT (127.0.0.1 and 29500 by default).
  explicit Ranks(const Launched& launched);
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  // Queues the sum of `count` floats over all ranks.
  void all_reduce(uint64_t to, uint64_t from, size_t count, void* stream) const;
  // Queues a copy of `bytes` of every rank, in their order.
  void all_gather(uint64_t to, uint64_t from, size_t bytes, void* stream) const;

 private:
  void* communicator_ = nullptr;
};

}  // namespace hew
