#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace hew {

int32_t sample_token(const float* logits, size_t size, const hew_sampling& sampling, double random) {
  const auto greatest = std::max_element(logits, logits + size);
  if (sampling.temperature <= 0) return static_cast<int32_t>(greatest - logits);
  std::vector<int32_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  const auto above = [&](int32_t a, int32_t b) { return logits[static_cast<size_t>(a)] != logits[static_cast<size_t>(b)] ? logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)] : a < b; };
  const size_t kept = sampling.top_k > 0 ? std::min(order.size(), static_cast<size_t>(sampling.top_k)) : order.size();
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(), above);
  std::vector<double> weights(kept);
  double total = 0;
  for (size_t i = 0; i < kept; i++) total += weights[i] = std::exp((logits[static_cast<size_t>(order[i])] - *greatest) / static_cast<double>(sampling.temperature));
  size_t count = kept;
  double mass = total;
  if (sampling.top_p < 1) {
    double sum = 0;
    for (count = 0; count < kept && sum < static_cast<double>(sampling.top_p) * total; count++) sum += weights[count];
    mass = sum;
  }
  double left = random * mass;
  for (size_t i = 0; i + 1 < count; i++) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[count == 0 ? 0 : count - 1];
}

}  // namespace hew
