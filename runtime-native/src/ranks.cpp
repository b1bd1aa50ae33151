#include "ranks.h"

#include <dlfcn.h>

#include <cstdlib>
#include <fstream>

#include "error.h"
#include "rendezvous.h"

namespace hew {
namespace {

using NcclResult = int;
struct NcclId {
  char bytes[128];
};
constexpr int nccl_byte = 0;
constexpr int nccl_float = 7;
constexpr int nccl_sum = 0;

struct Nccl {
  NcclResult (*unique_id)(NcclId*);
  NcclResult (*init)(void**, int, NcclId, int);
  NcclResult (*destroy)(void*);
  NcclResult (*all_reduce)(const void*, void*, size_t, int, int, void*, void*);
  NcclResult (*all_gather)(const void*, void*, size_t, int, void*, void*);
  const char* (*error_text)(NcclResult);

  void check(NcclResult result, const char* what) const {
    if (result != 0) throw Error(HEW_ERROR_RANKS, std::string(what) + " failed: " + error_text(result));
  }
};

template <class Function>
void resolve(void* library, const char* symbol, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, symbol));
  if (function == nullptr) throw Error(HEW_ERROR_RANKS, std::string("the NCCL library has no function ") + symbol);
}

Nccl open_nccl() {
  void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw Error(HEW_ERROR_RANKS, std::string("a model of several ranks needs NCCL, which cannot be opened (") + dlerror() +
                                     "); install it, or name its folder in LD_LIBRARY_PATH");
  }
  Nccl nccl{};
  resolve(library, "ncclGetUniqueId", nccl.unique_id);
  resolve(library, "ncclCommInitRank", nccl.init);
  resolve(library, "ncclCommDestroy", nccl.destroy);
  resolve(library, "ncclAllReduce", nccl.all_reduce);
  resolve(library, "ncclAllGather", nccl.all_gather);
  resolve(library, "ncclGetErrorString", nccl.error_text);
  return nccl;
}

const Nccl& nccl() {
  static const Nccl opened = open_nccl();
  return opened;
}

struct Names {
  const char *rank, *count, *local;
};
constexpr Names launchers[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_RANK"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"},
    {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"},
};
constexpr long most_ranks = 4096;

int number(const char* name, int fallback) {
  const char* text = std::getenv(name);
  if (text == nullptr) return fallback;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (end == text || *end != '\0' || value < 0 || value > most_ranks)
    throw Error(HEW_ERROR_ARGUMENT, std::string(name) + "=" + text + " is no number of a rank");
  return static_cast<int>(value);
}

}  // namespace

Launched launched() {
  for (const Names& names : launchers) {
    if (std::getenv(names.rank) == nullptr || std::getenv(names.count) == nullptr) continue;
    const Launched found{number(names.rank, 0), number(names.count, 1), number(names.local, number(names.rank, 0))};
    if (found.rank >= found.count) throw Error(HEW_ERROR_ARGUMENT, std::string(names.rank) + " is not below " + names.count);
    return found;
  }
  return {};
}

std::string own_bundle(const std::string& directory, const Launched& launched) {
  if (std::ifstream(directory + "/manifest.json")) return directory;
  const std::string own = directory + "/rank-" + std::to_string(launched.rank);
  return std::ifstream(own + "/manifest.json") ? own : directory;
}

Ranks::Ranks(const Launched& launched) {
  NcclId id{};
  if (launched.rank == 0) nccl().check(nccl().unique_id(&id), "naming the ranks");
  share_from_first(&id, sizeof id, launched.rank, launched.count);
  nccl().check(nccl().init(&communicator_, launched.count, id, launched.rank), "joining the ranks");
}

Ranks::~Ranks() {
  if (communicator_ != nullptr) nccl().destroy(communicator_);
}

void Ranks::all_reduce(uint64_t to, uint64_t from, size_t count, void* stream) const {
  nccl().check(nccl().all_reduce(reinterpret_cast<const void*>(from), reinterpret_cast<void*>(to), count, nccl_float, nccl_sum, communicator_, stream), "adding over ranks");
}

void Ranks::all_gather(uint64_t to, uint64_t from, size_t bytes, void* stream) const {
  nccl().check(nccl().all_gather(reinterpret_cast<const void*>(from), reinterpret_cast<void*>(to), bytes, nccl_byte, communicator_, stream), "asking the other ranks");
}

}  // namespace hew
