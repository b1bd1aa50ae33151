// Text and images by the conventions of entry names: `prefill`, `decode`, `denoise`.
#pragma once

#include <vector>

#include "model.h"

namespace hew {

// See hew_generate.
std::vector<int32_t> generate(Model& model, const int32_t* prompt, size_t prompt_count, const hew_sampling& sampling,
                              size_t max_tokens, hew_token_callback callback, void* user);

// The token that `sampling` chooses; `random` is in [0, 1).
int32_t sample_token(const std::vector<float>& logits, const hew_sampling& sampling, double random);

// See hew_denoise.
void denoise(Model& model, float* noise, size_t noise_count, const int32_t* classes, size_t batch, int32_t steps, float guidance);

}  // namespace hew
