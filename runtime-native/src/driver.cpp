#include "driver.h"

#include <dlfcn.h>

#include <string>

#include "error.h"

namespace hew {
namespace {

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

Driver open_driver() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw Error(HEW_ERROR_NO_DRIVER, std::string("there is no CUDA driver on this machine (") + dlerror() +
                                         "); install NVIDIA's driver, or compile the model with --target wasm");
  }
  Driver driver{};
  driver.driver_version = reinterpret_cast<CudaResult (*)(int*)>(dlsym(library, "cuDriverGetVersion"));
  int version = 0;
  if (driver.driver_version == nullptr || driver.driver_version(&version) != 0 || version < oldest_driver) {
    throw Error(HEW_ERROR_OLD_DRIVER, "the CUDA driver is of version " + version_text(version) + ", and " +
                                          version_text(oldest_driver) + " or newer is needed");
  }
#define HEW_RESOLVE(name, symbol, arguments)                                                                     \
  driver.name = reinterpret_cast<CudaResult(*) arguments>(dlsym(library, symbol));                               \
  if (driver.name == nullptr) throw Error(HEW_ERROR_OLD_DRIVER, "the CUDA driver has no function " symbol);
  HEW_DRIVER_FUNCTIONS(HEW_RESOLVE)
#undef HEW_RESOLVE
  const CudaResult result = driver.init(0);
  if (result == cuda_no_device) throw Error(HEW_ERROR_NO_DEVICE, "there is no GPU on this machine");
  driver.check(result, "starting the CUDA driver");
  return driver;
}

}  // namespace

void Driver::check(CudaResult result, const char* what) const {
  if (result == 0) return;
  const char* reason = nullptr;
  error_text(result, &reason);
  const hew_status status = result == cuda_out_of_memory ? HEW_ERROR_OUT_OF_MEMORY
                            : result == cuda_no_binary_for_gpu || result == cuda_unsupported_ptx ? HEW_ERROR_ARCHITECTURE
                                                                                                : HEW_ERROR_DEVICE;
  throw Error(status, std::string(what) + " failed: " + (reason == nullptr ? "unknown error" : reason) + " (CUDA error " +
                          std::to_string(result) + ")");
}

const Driver& driver() {
  static const Driver opened = open_driver();
  return opened;
}

}  // namespace hew
