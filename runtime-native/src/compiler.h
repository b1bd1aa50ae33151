// Compilation of a bundle's source at run time, by the NVRTC library where it is found.
#pragma once

#include <string>
#include <vector>

namespace hew {

// Code for a GPU of the compute capability. Throws HEW_ERROR_ARCHITECTURE when there is no NVRTC or it fails.
std::vector<char> compile_source(const std::string& source, int major, int minor);

}  // namespace hew
