// How the processes of one model find each other: the first listens, and gives every other the same bytes.
#pragma once

#include <cstddef>

namespace hew {

// Gives `bytes` of rank 0 to all ranks. Throws HEW_ERROR_RANKS when the others cannot be reached within a minute.
void share_from_first(void* data, size_t bytes, int rank, int count);

}  // namespace hew
