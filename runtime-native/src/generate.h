// Text and images by the conventions of entry names: `prefill`, `decode`, `denoise`.
#pragma once

#include <vector>

#include "model.h"

namespace hew {

// See hew_generate.
std::vector<int32_t> generate(Model& model, const int32_t* prompt, size_t prompt_count, const hew_sampling& sampling,
                              size_t max_tokens, hew_token_callback callback, void* user);

// See hew_denoise.
void denoise(Model& model, float* noise, size_t noise_count, const int32_t* classes, size_t batch, int32_t steps, float guidance);

}  // namespace hew
