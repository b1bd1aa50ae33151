// Errors inside the runtime are exceptions that carry a status of the C interface; hew.cpp turns them into codes.
#pragma once

#include <stdexcept>
#include <string>

#include "hew.h"

namespace hew {

class Error : public std::runtime_error {
 public:
  Error(hew_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  hew_status status() const { return status_; }

 private:
  hew_status status_;
};

}  // namespace hew
