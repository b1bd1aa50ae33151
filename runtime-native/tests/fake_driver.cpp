// A CUDA driver without a GPU, for tests of the runtime: device memory is the host's, so that AddressSanitizer sees every
// copy; kernels do nothing. The environment says how it misbehaves:
//   HEW_FAKE_VERSION        the version of the driver (default 13000)
//   HEW_FAKE_DEVICES        the number of GPUs (default 1)
//   HEW_FAKE_CAPABILITY     major compute capability (default 9)
//   HEW_FAKE_LOAD_RESULT    what loading code returns (default 0)
//   HEW_FAKE_MEMORY         bytes that may be allocated at once (default no limit)
//   HEW_FAKE_PEERS          whether other processes reach the memory of a GPU (default 0)
//   HEW_FAKE_FAILURE        code that kernels report as they are launched (default 0)
#include <cstdlib>
#include <cstring>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {
long setting(const char* name, long fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::atol(text);
}
int failure[3];
int has_wgmma = 1;
char handle;
}  // namespace

using Pointer = unsigned long long;

EXPORT int cuInit(unsigned) { return 0; }
EXPORT int cuDriverGetVersion(int* version) { return *version = static_cast<int>(setting("HEW_FAKE_VERSION", 13000)), 0; }
EXPORT int cuDeviceGetCount(int* count) { return *count = static_cast<int>(setting("HEW_FAKE_DEVICES", 1)), 0; }
EXPORT int cuDeviceGet(int* device, int number) { return *device = number, 0; }
EXPORT int cuDeviceGetAttribute(int* value, int attribute, int) {
  *value = attribute == 75 ? static_cast<int>(setting("HEW_FAKE_CAPABILITY", 9)) : attribute == 16 ? 132 : 0;
  return 0;
}
EXPORT int cuDeviceGetName(char* name, int length, int) { return std::strncpy(name, "fake GPU", static_cast<size_t>(length)), 0; }
EXPORT int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &handle, 0; }
EXPORT int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
EXPORT int cuCtxSetCurrent(void*) { return 0; }
EXPORT int cuMemGetInfo_v2(size_t* free, size_t* total) { return *free = *total = 1 << 30, 0; }
EXPORT int cuMemAlloc_v2(Pointer* pointer, size_t bytes) {
  const long limit = setting("HEW_FAKE_MEMORY", -1);
  if (limit >= 0 && bytes > static_cast<size_t>(limit)) return 2;
  *pointer = reinterpret_cast<Pointer>(std::malloc(bytes));
  return *pointer == 0 ? 2 : 0;
}
EXPORT int cuMemFree_v2(Pointer pointer) { return std::free(reinterpret_cast<void*>(pointer)), 0; }
// A handle is the address; it opens in the same process, as a piece of memory of its own.
struct IpcHandle {
  char bytes[64];
};
EXPORT int cuIpcGetMemHandle(IpcHandle* handle, Pointer pointer) {
  if (setting("HEW_FAKE_PEERS", 0) == 0) return 801;
  return std::memcpy(handle->bytes, &pointer, sizeof pointer), 0;
}
EXPORT int cuIpcOpenMemHandle_v2(Pointer* pointer, IpcHandle handle, unsigned) { return std::memcpy(pointer, handle.bytes, sizeof *pointer), 0; }
EXPORT int cuIpcCloseMemHandle(Pointer) { return 0; }
EXPORT int cuMemAllocHost_v2(void** pointer, size_t bytes) { return *pointer = std::malloc(bytes), *pointer == nullptr ? 2 : 0; }
EXPORT int cuMemFreeHost(void* pointer) { return std::free(pointer), 0; }
EXPORT int cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void*) { return std::memmove(reinterpret_cast<void*>(to), from, bytes), 0; }
EXPORT int cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void*) { return std::memmove(to, reinterpret_cast<void*>(from), bytes), 0; }
EXPORT int cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void*) {
  return std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes), 0;
}
EXPORT int cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, void*) { return std::memset(reinterpret_cast<void*>(to), value, bytes), 0; }
EXPORT int cuStreamCreate(void** stream, unsigned) { return *stream = &handle, 0; }
EXPORT int cuStreamDestroy_v2(void*) { return 0; }
EXPORT int cuStreamSynchronize(void*) { return 0; }
EXPORT int cuStreamBeginCapture_v2(void*, int) { return 0; }
EXPORT int cuStreamEndCapture(void*, void** graph) { return *graph = &handle, 0; }
EXPORT int cuGraphInstantiateWithFlags(void** executable, void*, unsigned long long) { return *executable = &handle, 0; }
EXPORT int cuGraphLaunch(void*, void*) { return 0; }
EXPORT int cuGraphDestroy(void*) { return 0; }
EXPORT int cuGraphExecDestroy(void*) { return 0; }
EXPORT int cuEventCreate(void** event, unsigned) { return *event = &handle, 0; }
EXPORT int cuEventDestroy_v2(void*) { return 0; }
EXPORT int cuEventRecord(void*, void*) { return 0; }
EXPORT int cuEventSynchronize(void*) { return 0; }
EXPORT int cuEventElapsedTime(float* milliseconds, void*, void*) { return *milliseconds = 1, 0; }
EXPORT int cuModuleLoadData(void** module, const void*) { return *module = &handle, static_cast<int>(setting("HEW_FAKE_LOAD_RESULT", 0)); }
EXPORT int cuModuleUnload(void*) { return 0; }
EXPORT int cuFuncSetAttribute(void*, int, int) { return 0; }
// Refuses what a driver would: addresses and strides that are no multiples of 16, boxes that are larger than 256.
EXPORT int cuTensorMapEncodeTiled(void* map, int, unsigned rank, Pointer pointer, const unsigned long long* sizes, const unsigned long long* strides,
                                  const unsigned* box, const unsigned* steps, int, int, int, int) {
  const bool aligned = reinterpret_cast<Pointer>(map) % 64 == 0 && pointer % 16 == 0 && strides[0] % 16 == 0;
  const bool sane = rank == 2 && sizes[0] > 0 && sizes[1] > 0 && box[0] <= 256 && box[1] <= 256 && steps[0] == 1 && steps[1] == 1;
  return aligned && sane ? 0 : 1;
}
EXPORT int cuModuleGetFunction(void** function, void*, const char*) { return *function = &handle, 0; }
EXPORT int cuModuleGetGlobal_v2(Pointer* pointer, size_t* bytes, void*, const char* name) {
  const bool asked = std::strcmp(name, "hew_has_wgmma") == 0;
  *pointer = reinterpret_cast<Pointer>(asked ? &has_wgmma : failure);
  *bytes = asked ? sizeof has_wgmma : sizeof failure;
  return 0;
}
EXPORT int cuLaunchKernelEx(const void*, void*, void**, void**) {
  if (failure[0] == 0) {
    failure[0] = static_cast<int>(setting("HEW_FAKE_FAILURE", 0));
    failure[1] = 7;
    failure[2] = 5;
  }
  return 0;
}
EXPORT int cuGetErrorString(int, const char** text) { return *text = "a fake error", 0; }
