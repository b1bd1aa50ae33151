// One GPU: a context, a stream, and memory that is given back when its owner goes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "driver.h"

namespace hew {

class Device {
 public:
  explicit Device(int number);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Makes the context that of the calling thread.
  void enter() const;
  void* stream() const { return stream_; }
  int major() const { return major_; }
  int minor() const { return minor_; }
  const std::string& name() const { return name_; }
  void synchronize(const char* what) const;

 private:
  int device_ = 0;
  int major_ = 0, minor_ = 0;
  std::string name_;
  void* context_ = nullptr;
  void* stream_ = nullptr;
};

class DeviceMemory {
 public:
  DeviceMemory() = default;
  explicit DeviceMemory(uint64_t bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  DevicePointer pointer() const { return pointer_; }

 private:
  DevicePointer pointer_ = 0;
};

// Memory of the host that asynchronous copies read and write.
class PinnedMemory {
 public:
  explicit PinnedMemory(size_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  char* data() const { return static_cast<char*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(const Device& device);
  void wait() const;
  // Milliseconds from another event to this one.
  float since(const Event& start) const;

 private:
  void* event_ = nullptr;
};

// A file of a bundle, mapped for reading.
class MappedFile {
 public:
  // Throws HEW_ERROR_FILE unless the file is there and has `bytes` bytes.
  MappedFile(const std::string& path, uint64_t bytes);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const char* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  const char* data_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace hew
