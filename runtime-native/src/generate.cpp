#include "generate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.h"

namespace hew {
namespace {

const Slot& slot_of(const std::vector<Slot>& slots, const char* name) {
  for (const Slot& slot : slots)
    if (slot.name == name) return slot;
  throw Error(HEW_ERROR_UNSUPPORTED, std::string("the bundle has no language model: an entry lacks '") + name + "'");
}

const Entry& entry_of(const Model& model, const char* name) {
  const auto found = model.manifest().entries.find(name);
  if (found == model.manifest().entries.end())
    throw Error(HEW_ERROR_UNSUPPORTED, std::string("the bundle has no entry '") + name + "'");
  return found->second;
}

std::vector<int64_t> stop_tokens(const Manifest& manifest) {
  std::vector<int64_t> stop;
  if (!manifest.sampler.is_object()) return stop;
  if (const Json* list = manifest.sampler.find("stop"))
    for (const Json& item : list->items()) stop.push_back(item.integer());
  return stop;
}

// SplitMix64, as fractions.
double next_random(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<double>((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

// Feeds the prompt in pieces that `prefill` takes; the last logits are then in `last` or in `logits` of `decode`.
uint64_t feed(Model& model, const int32_t* ids, size_t count) {
  const Manifest& manifest = model.manifest();
  const bool has_prefill = manifest.entries.count("prefill") > 0;
  uint64_t logits = 0;
  for (size_t at = 0; at < count;) {
    if (has_prefill) {
      const Entry& prefill = entry_of(model, "prefill");
      if (prefill.symbols.size() != 1) throw Error(HEW_ERROR_UNSUPPORTED, "entry 'prefill' has other symbols than the number of tokens");
      const std::string& symbol = prefill.symbols[0];
      const Bounds& bounds = manifest.symbols.at(symbol);
      const int64_t length = std::min<int64_t>(bounds.max, static_cast<int64_t>(count - at));
      if (length >= std::max<int64_t>(bounds.min, 1)) {
        const Slot& last = slot_of(prefill.outputs, "last");
        model.write(slot_of(prefill.inputs, "ids").address, ids + at, static_cast<size_t>(length) * sizeof(int32_t));
        model.enqueue("prefill", {{symbol, length}}, uint32_t{1} << (&last - prefill.outputs.data()));
        logits = last.address;
        at += static_cast<size_t>(length);
        continue;
      }
    }
    const Entry& decode = entry_of(model, "decode");
    const Slot& out = slot_of(decode.outputs, "logits");
    model.write(slot_of(decode.inputs, "ids").address, ids + at, sizeof(int32_t));
    model.enqueue("decode", {}, uint32_t{1} << (&out - decode.outputs.data()));
    logits = out.address;
    at++;
  }
  model.finish();
  return logits;
}

}  // namespace

std::vector<int32_t> generate(Model& model, const int32_t* prompt, size_t prompt_count, const hew_sampling& sampling,
                              size_t max_tokens, hew_token_callback callback, void* user) {
  if (prompt_count == 0) throw Error(HEW_ERROR_ARGUMENT, "the prompt is empty");
  model.device().enter();
  const Entry& decode = entry_of(model, "decode");
  const Slot& ids = slot_of(decode.inputs, "ids");
  const Slot& out = slot_of(decode.outputs, "logits");
  const uint32_t mask = uint32_t{1} << (&out - decode.outputs.data());
  const int64_t vocabulary = out.bytes({}) / 4;
  const std::vector<int64_t> stop = stop_tokens(model.manifest());
  uint64_t random = sampling.seed;
  std::vector<int32_t> tokens;
  model.reset();
  uint64_t newest = feed(model, prompt, prompt_count);
  while (tokens.size() < max_tokens) {
    // The choice lands where `decode` reads its token, so the logits never leave the device.
    if (sampling.temperature <= 0) model.enqueue_argmax(newest, static_cast<int>(vocabulary), ids.address);
    else model.enqueue_sample(newest, static_cast<int>(vocabulary), sampling, next_random(random), ids.address);
    int32_t token = 0;
    model.read(ids.address, &token, sizeof token);
    model.finish();
    if (std::find(stop.begin(), stop.end(), token) != stop.end()) break;
    tokens.push_back(token);
    if (callback != nullptr && callback(token, user) != 0) break;
    if (tokens.size() == max_tokens) break;
    model.enqueue("decode", {}, mask);
    newest = out.address;
    try {
      model.finish();
    } catch (const Error& error) {
      if (error.status() == HEW_ERROR_CONTEXT_FULL) break;
      throw;
    }
  }
  return tokens;
}

void denoise(Model& model, float* noise, size_t noise_count, const int32_t* classes, size_t batch, int32_t steps, float guidance) {
  const Manifest& manifest = model.manifest();
  const Json* kind = manifest.sampler.is_object() ? manifest.sampler.find("kind") : nullptr;
  if (kind == nullptr || kind->text() != "diffusion") throw Error(HEW_ERROR_UNSUPPORTED, "the bundle has no diffusion sampler");
  const auto setting = [&](const char* name, double fallback) {
    const Json* found = manifest.sampler.find(name);
    return found == nullptr || found->is_null() ? fallback : found->number();
  };
  const Json* schedule = manifest.sampler.find("schedule");
  if (schedule != nullptr && schedule->text() != "linear") throw Error(HEW_ERROR_UNSUPPORTED, "only the linear schedule is supported");
  const int trained = static_cast<int>(setting("steps", 1000));
  if (batch == 0 || noise_count % batch != 0 || steps < 1 || steps > trained) throw Error(HEW_ERROR_ARGUMENT, "bad batch or number of steps");
  const double first = setting("beta_start", 1e-4), last = setting("beta_end", 0.02), clip = setting("clip", 0);
  std::vector<double> alpha_bars(static_cast<size_t>(trained));
  double product = 1;
  for (int t = 0; t < trained; t++) {
    product *= 1 - (first + (last - first) * t / std::max(1, trained - 1));
    alpha_bars[static_cast<size_t>(t)] = product;
  }
  const bool guided = guidance != 1;
  const int32_t null_class = static_cast<int32_t>(setting("null_class", -1));
  if (guided && null_class < 0) throw Error(HEW_ERROR_UNSUPPORTED, "the model has no class that stands for none, so it cannot be guided");
  const size_t runs = guided ? 2 * batch : batch;
  std::vector<float> x(noise_count * (guided ? 2 : 1)), eps(x.size());
  std::vector<int32_t> t(runs), y(runs, null_class);
  std::copy(classes, classes + batch, y.begin());
  for (int step = steps - 1; step >= 0; step--) {
    // Timesteps spread evenly from 0 to the last, rounded.
    const auto timestep = [&](int i) { return steps == 1 ? trained - 1 : static_cast<int>(std::nearbyint(static_cast<double>(i) * (trained - 1) / (steps - 1))); };
    const int now = timestep(step);
    std::fill(t.begin(), t.end(), now);
    std::copy(noise, noise + noise_count, x.begin());
    if (guided) std::copy(noise, noise + noise_count, x.begin() + static_cast<std::ptrdiff_t>(noise_count));
    const hew_input inputs[] = {{"x", x.data(), x.size() * 4}, {"t", t.data(), runs * 4}, {"y", y.data(), runs * 4}};
    const hew_output outputs[] = {{"eps", eps.data(), eps.size() * 4}};
    model.step("denoise", inputs, 3, nullptr, 0, outputs, 1);
    const double bar = alpha_bars[static_cast<size_t>(now)];
    const double next = step == 0 ? 1 : alpha_bars[static_cast<size_t>(timestep(step - 1))];
    for (size_t i = 0; i < noise_count; i++) {
      double e = eps[i];
      if (guided) e = eps[noise_count + i] + static_cast<double>(guidance) * (e - eps[noise_count + i]);
      double clean = (noise[i] - std::sqrt(1 - bar) * e) / std::sqrt(bar);
      if (clip > 0) {
        clean = std::min(clip, std::max(-clip, clean));
        e = (noise[i] - std::sqrt(bar) * clean) / std::sqrt(1 - bar);
      }
      noise[i] = static_cast<float>(std::sqrt(next) * clean + std::sqrt(1 - next) * e);
    }
  }
}

}  // namespace hew
