// The CUDA driver, opened at run time, so that the runtime builds and starts on machines without it. Only what is used
// is declared, with the types of CUDA's own header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hew {

using CudaResult = int;
using DevicePointer = unsigned long long;

struct LaunchAttribute {
  int id;
  char padding[4];
  union {
    char bytes[64];
    int programmatic_serialization;
  } value;
};
constexpr int attribute_programmatic_serialization = 6;

struct LaunchConfig {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  void* stream;
  LaunchAttribute* attributes;
  unsigned attribute_count;
};

constexpr int cuda_out_of_memory = 2;
constexpr int cuda_no_device = 100;
constexpr int cuda_no_binary_for_gpu = 209;
constexpr int cuda_invalid_image = 200;
constexpr int cuda_unsupported_ptx = 222;
constexpr int cuda_not_found = 500;
constexpr int attribute_multiprocessors = 16;
constexpr int attribute_capability_major = 75;
constexpr int attribute_capability_minor = 76;

constexpr int function_dynamic_shared = 8;

// Memory of this process as another one opens it.
struct IpcHandle {
  char bytes[64];
};

// What the copy engine reads of a matrix; 64-byte aligned, as the driver wants it.
struct alignas(64) TensorMap {
  unsigned char bytes[128];
};
constexpr int tensor_map_u8 = 0;
constexpr int tensor_map_f16 = 6;
constexpr int tensor_map_bf16 = 9;
constexpr int tensor_map_swizzle_128 = 3;
constexpr int tensor_map_promote_256 = 3;

// Oldest driver that captures programmatic launches in graphs.
constexpr int oldest_driver = 12030;

// name, symbol of the library, arguments
#define HEW_DRIVER_FUNCTIONS(X)                                                                       \
  X(init, "cuInit", (unsigned))                                                                       \
  X(driver_version, "cuDriverGetVersion", (int*))                                                     \
  X(device_count, "cuDeviceGetCount", (int*))                                                         \
  X(device_get, "cuDeviceGet", (int*, int))                                                           \
  X(device_attribute, "cuDeviceGetAttribute", (int*, int, int))                                       \
  X(device_name, "cuDeviceGetName", (char*, int, int))                                                \
  X(context_retain, "cuDevicePrimaryCtxRetain", (void**, int))                                        \
  X(context_release, "cuDevicePrimaryCtxRelease_v2", (int))                                           \
  X(context_set, "cuCtxSetCurrent", (void*))                                                          \
  X(memory_info, "cuMemGetInfo_v2", (size_t*, size_t*))                                               \
  X(memory_allocate, "cuMemAlloc_v2", (DevicePointer*, size_t))                                       \
  X(memory_free, "cuMemFree_v2", (DevicePointer))                                                     \
  X(ipc_handle, "cuIpcGetMemHandle", (IpcHandle*, DevicePointer))                                     \
  X(ipc_open, "cuIpcOpenMemHandle_v2", (DevicePointer*, IpcHandle, unsigned))                         \
  X(ipc_close, "cuIpcCloseMemHandle", (DevicePointer))                                                \
  X(host_allocate, "cuMemAllocHost_v2", (void**, size_t))                                             \
  X(host_free, "cuMemFreeHost", (void*))                                                              \
  X(copy_to_device, "cuMemcpyHtoDAsync_v2", (DevicePointer, const void*, size_t, void*))              \
  X(copy_to_host, "cuMemcpyDtoHAsync_v2", (void*, DevicePointer, size_t, void*))                      \
  X(copy_on_device, "cuMemcpyDtoDAsync_v2", (DevicePointer, DevicePointer, size_t, void*))            \
  X(fill_bytes, "cuMemsetD8Async", (DevicePointer, unsigned char, size_t, void*))                     \
  X(stream_create, "cuStreamCreate", (void**, unsigned))                                              \
  X(stream_destroy, "cuStreamDestroy_v2", (void*))                                                    \
  X(stream_synchronize, "cuStreamSynchronize", (void*))                                               \
  X(capture_begin, "cuStreamBeginCapture_v2", (void*, int))                                           \
  X(capture_end, "cuStreamEndCapture", (void*, void**))                                               \
  X(graph_instantiate, "cuGraphInstantiateWithFlags", (void**, void*, unsigned long long))            \
  X(graph_launch, "cuGraphLaunch", (void*, void*))                                                    \
  X(graph_destroy, "cuGraphDestroy", (void*))                                                         \
  X(graph_exec_destroy, "cuGraphExecDestroy", (void*))                                                \
  X(event_create, "cuEventCreate", (void**, unsigned))                                                \
  X(event_destroy, "cuEventDestroy_v2", (void*))                                                      \
  X(event_record, "cuEventRecord", (void*, void*))                                                    \
  X(event_synchronize, "cuEventSynchronize", (void*))                                                 \
  X(event_elapsed, "cuEventElapsedTime", (float*, void*, void*))                                      \
  X(module_load, "cuModuleLoadData", (void**, const void*))                                           \
  X(module_unload, "cuModuleUnload", (void*))                                                         \
  X(module_function, "cuModuleGetFunction", (void**, void*, const char*))                             \
  X(module_global, "cuModuleGetGlobal_v2", (DevicePointer*, size_t*, void*, const char*))             \
  X(function_attribute, "cuFuncSetAttribute", (void*, int, int))                                      \
  X(tensor_map, "cuTensorMapEncodeTiled",                                                             \
    (TensorMap*, int, uint32_t, DevicePointer, const uint64_t*, const uint64_t*, const uint32_t*,     \
     const uint32_t*, int, int, int, int))                                                            \
  X(launch, "cuLaunchKernelEx", (const LaunchConfig*, void*, void**, void**))                         \
  X(error_text, "cuGetErrorString", (CudaResult, const char**))

struct Driver {
#define HEW_DECLARE(name, symbol, arguments) CudaResult(*name) arguments;
  HEW_DRIVER_FUNCTIONS(HEW_DECLARE)
#undef HEW_DECLARE

  // Throws Error when the result is not success; `what` says what was tried.
  void check(CudaResult result, const char* what) const;
};

// The driver of this machine, initialised. Throws HEW_ERROR_NO_DRIVER or HEW_ERROR_OLD_DRIVER.
const Driver& driver();

}  // namespace hew
