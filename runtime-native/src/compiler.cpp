#include "compiler.h"

#include <dlfcn.h>

#include "error.h"

namespace hew {
namespace {

template <class Function>
Function resolve(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == nullptr) throw Error(HEW_ERROR_ARCHITECTURE, std::string("NVRTC has no function ") + name);
  return reinterpret_cast<Function>(symbol);
}

void* open_library() {
  for (const char* name : {"libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"})
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  throw Error(HEW_ERROR_ARCHITECTURE,
              "the bundle holds no code for this GPU, and NVRTC, which could compile its source, is not installed; "
              "compile the model on a machine with nvcc");
}

}  // namespace

std::vector<char> compile_source(const std::string& source, int major, int minor) {
  void* library = open_library();
  using Program = void*;
  const auto create = resolve<int (*)(Program*, const char*, const char*, int, const char* const*, const char* const*)>(library, "nvrtcCreateProgram");
  const auto compile = resolve<int (*)(Program, int, const char* const*)>(library, "nvrtcCompileProgram");
  const auto code_size = resolve<int (*)(Program, size_t*)>(library, "nvrtcGetCUBINSize");
  const auto code_of = resolve<int (*)(Program, char*)>(library, "nvrtcGetCUBIN");
  const auto log_size = resolve<int (*)(Program, size_t*)>(library, "nvrtcGetProgramLogSize");
  const auto log_of = resolve<int (*)(Program, char*)>(library, "nvrtcGetProgramLog");
  const auto destroy = resolve<int (*)(Program*)>(library, "nvrtcDestroyProgram");
  Program program = nullptr;
  if (create(&program, source.c_str(), "kernels.cu", 0, nullptr, nullptr) != 0)
    throw Error(HEW_ERROR_ARCHITECTURE, "NVRTC does not take the bundle's source");
  const std::string architecture =
      "-arch=sm_" + std::to_string(major) + std::to_string(minor) + (major >= 9 ? "a" : "");
  const char* const options[] = {architecture.c_str(), "-std=c++17", "-diag-suppress=177"};
  const int result = compile(program, 3, options);
  std::vector<char> code;
  std::string log;
  size_t size = 0;
  if (result == 0 && code_size(program, &size) == 0) {
    code.resize(size);
    if (code_of(program, code.data()) != 0) code.clear();
  } else if (log_size(program, &size) == 0) {
    log.resize(size);
    log_of(program, log.data());
  }
  destroy(&program);
  if (code.empty()) throw Error(HEW_ERROR_ARCHITECTURE, "NVRTC cannot compile the bundle's source: " + log.substr(0, 1000));
  return code;
}

}  // namespace hew
