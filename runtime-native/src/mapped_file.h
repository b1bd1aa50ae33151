// A file of a bundle, mapped for reading.
#pragma once

#include <cstdint>
#include <string>

namespace hew {

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
