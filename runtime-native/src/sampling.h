// Drawing a token from logits, on the host.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hew.h"

namespace hew {

// The token that `sampling` chooses among `size` logits; `random` is in [0, 1).
int32_t sample_token(const float* logits, size_t size, const hew_sampling& sampling, double random);

}  // namespace hew
