#include "device.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"

namespace hew {

Device::Device(int number) {
  const Driver& cuda = driver();
  int count = 0;
  cuda.check(cuda.device_count(&count), "counting GPUs");
  if (number < 0 || number >= count) {
    throw Error(HEW_ERROR_NO_DEVICE, "there is no GPU " + std::to_string(number) + "; this machine has " + std::to_string(count));
  }
  cuda.check(cuda.device_get(&device_, number), "opening the GPU");
  cuda.check(cuda.device_attribute(&major_, attribute_capability_major, device_), "asking for the compute capability");
  cuda.check(cuda.device_attribute(&minor_, attribute_capability_minor, device_), "asking for the compute capability");
  char name[256] = {};
  cuda.check(cuda.device_name(name, sizeof name - 1, device_), "asking for the name of the GPU");
  name_ = name;
  if (major_ < 8) {
    throw Error(HEW_ERROR_ARCHITECTURE, name_ + " has compute capability " + std::to_string(major_) + "." +
                                            std::to_string(minor_) + ", and 8.0 or newer is needed");
  }
  cuda.check(cuda.context_retain(&context_, device_), "making a context");
  try {
    enter();
    constexpr unsigned non_blocking = 1;
    cuda.check(cuda.stream_create(&stream_, non_blocking), "making a stream");
  } catch (...) {
    cuda.context_release(device_);
    throw;
  }
}

Device::~Device() {
  const Driver& cuda = driver();
  cuda.stream_destroy(stream_);
  cuda.context_release(device_);
}

void Device::enter() const { driver().check(driver().context_set(context_), "entering the context"); }

void Device::synchronize(const char* what) const { driver().check(driver().stream_synchronize(stream_), what); }

DeviceMemory::DeviceMemory(uint64_t bytes) {
  const Driver& cuda = driver();
  const CudaResult result = cuda.memory_allocate(&pointer_, bytes == 0 ? 1 : bytes);
  if (result == cuda_out_of_memory) {
    size_t free = 0, total = 0;
    cuda.memory_info(&free, &total);
    throw Error(HEW_ERROR_OUT_OF_MEMORY, "the model needs " + std::to_string(bytes >> 20) + " MiB of GPU memory, " +
                                             std::to_string(free >> 20) + " MiB are free");
  }
  cuda.check(result, "allocating GPU memory");
}

DeviceMemory::~DeviceMemory() {
  if (pointer_ != 0) driver().memory_free(pointer_);
}

PinnedMemory::PinnedMemory(size_t bytes) : bytes_(bytes) {
  driver().check(driver().host_allocate(&data_, bytes == 0 ? 1 : bytes), "allocating pinned memory");
}

PinnedMemory::~PinnedMemory() { driver().host_free(data_); }

Event::Event() { driver().check(driver().event_create(&event_, 0), "making an event"); }
Event::~Event() { driver().event_destroy(event_); }
void Event::record(const Device& device) { driver().check(driver().event_record(event_, device.stream()), "recording an event"); }
void Event::wait() const { driver().check(driver().event_synchronize(event_), "waiting for the GPU"); }
float Event::since(const Event& start) const {
  float milliseconds = 0;
  driver().check(driver().event_elapsed(&milliseconds, start.event_, event_), "reading a time");
  return milliseconds;
}

MappedFile::MappedFile(const std::string& path, uint64_t bytes) : bytes_(bytes) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw Error(HEW_ERROR_FILE, path + " cannot be read: " + std::strerror(errno));
  struct stat status {};
  const bool known = fstat(file, &status) == 0;
  if (!known || static_cast<uint64_t>(status.st_size) != bytes) {
    close(file);
    throw Error(HEW_ERROR_FILE, path + " has " + std::to_string(status.st_size) + " bytes, the manifest says " +
                                    std::to_string(bytes) + ": the bundle is damaged, compile the model again");
  }
  if (bytes > 0) {
    void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
    const int reason = errno;
    close(file);
    if (mapped == MAP_FAILED) throw Error(HEW_ERROR_FILE, path + " cannot be mapped: " + std::strerror(reason));
    data_ = static_cast<const char*>(mapped);
  } else {
    close(file);
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), bytes_);
}

}  // namespace hew
