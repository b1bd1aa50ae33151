#include "peers.h"

#include <cstring>
#include <fstream>
#include <string>

namespace hew {
namespace {

constexpr size_t line_bytes = 16;
constexpr size_t halves = 2;
// A block adds two elements per thread, and counts its turns.
constexpr size_t most_blocks = Peers::most / 512;

// What a rank tells the others: its memory, and which run of which host this is.
struct Given {
  IpcHandle memory;
  char host[64];
  char valid;
};

void name_host(char (&host)[64]) {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  std::strncpy(host, id.c_str(), sizeof host - 1);
}

// What every rank has, in their order.
template <class T>
std::vector<T> gather(const T& own, int count, const Ranks& ranks, void* stream) {
  const Driver& cuda = driver();
  const size_t bytes = sizeof(T), all = bytes * static_cast<size_t>(count);
  std::vector<T> gathered(static_cast<size_t>(count));
  DevicePointer room = 0;
  cuda.check(cuda.memory_allocate(&room, bytes + all), "allocating GPU memory");
  try {
    cuda.check(cuda.copy_to_device(room, &own, bytes, stream), "copying to the GPU");
    ranks.all_gather(room + bytes, room, bytes, stream);
    cuda.check(cuda.copy_to_host(gathered.data(), room + bytes, all, stream), "copying from the GPU");
    cuda.check(cuda.stream_synchronize(stream), "asking the other ranks");
  } catch (...) {
    cuda.memory_free(room);
    throw;
  }
  cuda.memory_free(room);
  return gathered;
}

}  // namespace

Peers::Peers(const Launched& launched, void* stream) : rank_(launched.rank), count_(launched.count) {
  const Driver& cuda = driver();
  const size_t bytes = halves * static_cast<size_t>(count_) * lines_per_rank * line_bytes;
  cuda.check(cuda.memory_allocate(&lines_.of_rank[rank_], bytes), "allocating GPU memory");
  cuda.check(cuda.memory_allocate(&turns_, most_blocks * sizeof(unsigned)), "allocating GPU memory");
  cuda.check(cuda.fill_bytes(lines_.of_rank[rank_], 0, bytes, stream), "clearing memory");
  cuda.check(cuda.fill_bytes(turns_, 0, most_blocks * sizeof(unsigned), stream), "clearing memory");
}

// Whatever others wrote here has been received by then, so that nothing is under way to memory that is freed.
Peers::~Peers() {
  const Driver& cuda = driver();
  for (const DevicePointer pointer : opened_) cuda.ipc_close(pointer);
  if (turns_ != 0) cuda.memory_free(turns_);
  if (lines_.of_rank[rank_] != 0) cuda.memory_free(lines_.of_rank[rank_]);
}

bool Peers::reach(const Ranks& ranks, void* stream) {
  const Driver& cuda = driver();
  Given own{};
  name_host(own.host);
  own.valid = cuda.ipc_handle(&own.memory, lines_.of_rank[rank_]) == 0 && own.host[0] != '\0';
  const std::vector<Given> given = gather(own, count_, ranks, stream);
  for (int other = 0; other < count_; other++) {
    const Given& theirs = given[static_cast<size_t>(other)];
    if (other == rank_) continue;
    constexpr unsigned enable_peer_access = 1;
    DevicePointer pointer = 0;
    const bool near = own.valid && theirs.valid && std::memcmp(own.host, theirs.host, sizeof own.host) == 0;
    if (!near || cuda.ipc_open(&pointer, theirs.memory, enable_peer_access) != 0) return false;
    opened_.push_back(pointer);
    lines_.of_rank[other] = pointer;
  }
  return true;
}

std::unique_ptr<Peers> Peers::open(const Ranks& ranks, const Launched& launched, void* stream) {
  if (launched.count > most_ranks) return nullptr;
  std::unique_ptr<Peers> peers(new Peers(launched, stream));
  const char reached = peers->reach(ranks, stream) ? 1 : 0;
  for (const char each : gather(reached, launched.count, ranks, stream))
    if (each == 0) return nullptr;
  return peers;
}

}  // namespace hew
