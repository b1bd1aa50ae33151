// NCCL without GPUs, for tests of the runtime: every rank is taken to have what this one has, so sums are multiples.
#include <cstddef>
#include <cstring>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {
struct Id {
  char bytes[128];
};
constexpr char mark = 0x5a;
int ranks = 0;
}  // namespace

EXPORT int ncclGetUniqueId(Id* id) { return std::memset(id, mark, sizeof *id), 0; }
EXPORT int ncclCommInitRank(void** communicator, int count, Id id, int) {
  // Every rank has to have got the id of the first.
  for (const char byte : id.bytes)
    if (byte != mark) return 1;
  ranks = count;
  return *communicator = &ranks, 0;
}
EXPORT int ncclCommDestroy(void*) { return 0; }
EXPORT int ncclAllReduce(const void* from, void* to, size_t count, int, int, void*, void*) {
  for (size_t i = 0; i < count; i++) static_cast<float*>(to)[i] = static_cast<const float*>(from)[i] * static_cast<float>(ranks);
  return 0;
}
EXPORT int ncclAllGather(const void* from, void* to, size_t bytes, int, void*, void*) {
  for (int rank = 0; rank < ranks; rank++) std::memcpy(static_cast<char*>(to) + static_cast<size_t>(rank) * bytes, from, bytes);
  return 0;
}
EXPORT const char* ncclGetErrorString(int) { return "a fake error"; }
