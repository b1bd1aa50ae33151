// The C interface: arguments are checked, exceptions become codes.
#include "hew.h"

#include <cstring>
#include <new>

#include "cuda_device.h"
#include "error.h"
#include "generate.h"
#include "model.h"

struct hew_model {
  hew_model(const char* directory, const hew_options& options) : model(directory, options) {}
  hew::Model model;
  std::string work;
};

struct hew_snapshot {
  std::vector<char> states;
};

namespace {

thread_local std::string last_error;

template <class Body>
hew_status guarded(Body body) {
  last_error.clear();
  try {
    body();
    return HEW_OK;
  } catch (const hew::Error& error) {
    last_error = error.what();
    return error.status();
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";
    return HEW_ERROR_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    last_error = error.what();
    return HEW_ERROR_DEVICE;
  }
}

void require(bool condition, const char* what) {
  if (!condition) throw hew::Error(HEW_ERROR_ARGUMENT, std::string(what) + " is null");
}

}  // namespace

const char* hew_last_error(void) { return last_error.c_str(); }

hew_status hew_open(const char* directory, const hew_options* options, hew_model** model) {
  return guarded([&] {
    require(directory != nullptr, "the directory");
    require(model != nullptr, "the model");
    *model = nullptr;
    const hew_options none{};
    *model = new hew_model(directory, options == nullptr ? none : *options);
  });
}

hew_status hew_gpu(int32_t device, const char** json) {
  thread_local std::string text;
  return guarded([&] {
    require(json != nullptr, "the text");
    text = hew::describe_gpu(device);
    *json = text.c_str();
  });
}

void hew_close(hew_model* model) { delete model; }

const char* hew_manifest(const hew_model* model) { return model == nullptr ? "" : model->model.manifest().text.c_str(); }

hew_status hew_output_bytes(const hew_model* model, const char* entry, const char* output, const hew_symbol* symbols, size_t symbol_count, size_t* bytes) {
  return guarded([&] {
    require(model != nullptr && entry != nullptr && output != nullptr && bytes != nullptr, "an argument");
    const hew::Entry& found = model->model.manifest().entry(entry);
    const hew::Symbols values = model->model.symbols(found, nullptr, 0, symbols, symbol_count);
    for (const hew::Slot& slot : found.outputs)
      if (slot.name == output) {
        *bytes = static_cast<size_t>(slot.bytes(values));
        return;
      }
    throw hew::Error(HEW_ERROR_ARGUMENT, std::string("there is no output '") + output + "'");
  });
}

hew_status hew_step(hew_model* model, const char* entry, const hew_input* inputs, size_t input_count, const hew_symbol* symbols,
                    size_t symbol_count, const hew_output* outputs, size_t output_count) {
  return guarded([&] {
    require(model != nullptr && entry != nullptr, "an argument");
    model->model.step(entry, inputs, input_count, symbols, symbol_count, outputs, output_count);
  });
}

hew_status hew_measure(hew_model* model, const char* entry, const hew_input* inputs, size_t input_count, const hew_symbol* symbols,
                       size_t symbol_count, const hew_output* outputs, size_t output_count, size_t repeats, float* milliseconds) {
  return guarded([&] {
    require(model != nullptr && entry != nullptr && milliseconds != nullptr, "an argument");
    model->model.measure(entry, inputs, input_count, symbols, symbol_count, outputs, output_count, repeats, milliseconds);
  });
}

hew_status hew_work(hew_model* model, const char** json) {
  return guarded([&] {
    require(model != nullptr && json != nullptr, "an argument");
    model->work = model->model.work();
    *json = model->work.c_str();
  });
}

hew_status hew_reset(hew_model* model) {
  return guarded([&] {
    require(model != nullptr, "the model");
    model->model.device().enter();
    model->model.reset();
    model->model.finish();
  });
}

hew_status hew_state_read(hew_model* model, const char* state, void* data, size_t bytes) {
  return guarded([&] {
    require(model != nullptr && state != nullptr && data != nullptr, "an argument");
    const hew::StateSpec& spec = model->model.state(state);
    if (spec.bytes != bytes) throw hew::Error(HEW_ERROR_ARGUMENT, "state '" + spec.name + "' has " + std::to_string(spec.bytes) + " bytes");
    model->model.device().enter();
    model->model.read(spec.address, data, bytes);
    model->model.finish();
  });
}

hew_status hew_state_write(hew_model* model, const char* state, const void* data, size_t bytes) {
  return guarded([&] {
    require(model != nullptr && state != nullptr && data != nullptr, "an argument");
    const hew::StateSpec& spec = model->model.state(state);
    if (spec.bytes != bytes) throw hew::Error(HEW_ERROR_ARGUMENT, "state '" + spec.name + "' has " + std::to_string(spec.bytes) + " bytes");
    model->model.device().enter();
    model->model.write(spec.address, data, bytes);
    model->model.finish();
  });
}

hew_status hew_snapshot_take(hew_model* model, hew_snapshot** snapshot) {
  return guarded([&] {
    require(model != nullptr && snapshot != nullptr, "an argument");
    *snapshot = nullptr;
    model->model.device().enter();
    *snapshot = new hew_snapshot{model->model.save_states()};
  });
}

hew_status hew_snapshot_restore(hew_model* model, const hew_snapshot* snapshot) {
  return guarded([&] {
    require(model != nullptr && snapshot != nullptr, "an argument");
    model->model.device().enter();
    model->model.restore_states(snapshot->states);
  });
}

void hew_snapshot_free(hew_snapshot* snapshot) { delete snapshot; }

hew_status hew_generate(hew_model* model, const int32_t* prompt, size_t prompt_count, const hew_sampling* sampling, size_t max_tokens,
                        int32_t* tokens, size_t* count, hew_token_callback callback, void* user) {
  return guarded([&] {
    require(model != nullptr && prompt != nullptr && tokens != nullptr && count != nullptr, "an argument");
    const hew_sampling greedy{0, 0, 1, 0};
    const auto made = hew::generate(model->model, prompt, prompt_count, sampling == nullptr ? greedy : *sampling, max_tokens, callback, user);
    std::copy(made.begin(), made.end(), tokens);
    *count = made.size();
  });
}

hew_status hew_denoise(hew_model* model, float* noise, size_t noise_count, const int32_t* classes, size_t batch, int32_t steps, float guidance) {
  return guarded([&] {
    require(model != nullptr && noise != nullptr && classes != nullptr, "an argument");
    hew::denoise(model->model, noise, noise_count, classes, batch, steps, guidance);
  });
}
