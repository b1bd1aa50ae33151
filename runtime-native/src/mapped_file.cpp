#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"

namespace hew {

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
