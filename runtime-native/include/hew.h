/**
 * The C interface of the native runtime: opens a bundle that Hew compiled for CUDA or, on the host's model
 * of the chip, for Ascend; runs its entries, and reads and writes its states. Nothing here needs CUDA to be installed: the
 * driver is opened at run time.
 *
 * Every function that can fail returns a status; `hew_last_error` says in words what happened and what to do, for the
 * thread that called. A model is used by one thread at a time.
 */
#ifndef HEW_H
#define HEW_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HEW_API __attribute__((visibility("default")))

typedef enum hew_status {
  HEW_OK = 0,
  /** A null pointer, an unknown name, or data of the wrong size. */
  HEW_ERROR_ARGUMENT = 1,
  /** The directory holds no bundle, or its manifest makes no sense. */
  HEW_ERROR_BUNDLE = 2,
  /** The bundle has another format version, or was compiled for another target. */
  HEW_ERROR_VERSION = 3,
  /** A file of the bundle is missing, or has another size than the manifest says. */
  HEW_ERROR_FILE = 4,
  /** There is no CUDA driver on this machine. */
  HEW_ERROR_NO_DRIVER = 5,
  /** The driver is older than CUDA 12.3, or lacks a function. */
  HEW_ERROR_OLD_DRIVER = 6,
  /** There is no GPU with the number asked for. */
  HEW_ERROR_NO_DEVICE = 7,
  /** The code of the bundle does not run on this GPU. */
  HEW_ERROR_ARCHITECTURE = 8,
  HEW_ERROR_OUT_OF_MEMORY = 9,
  /** The driver reported an error. */
  HEW_ERROR_DEVICE = 10,
  /** More tokens than the context has room for. */
  HEW_ERROR_CONTEXT_FULL = 11,
  /** An index, such as a token, is not below the size of the table it selects from. */
  HEW_ERROR_INDEX = 12,
  /** The bundle lacks what was asked for, such as an entry `decode`. */
  HEW_ERROR_UNSUPPORTED = 13,
  /** The bundle is one rank of several, and the others, or NCCL, are not there. */
  HEW_ERROR_RANKS = 14
} hew_status;

typedef struct hew_model hew_model;
typedef struct hew_snapshot hew_snapshot;

typedef struct hew_options {
  /** Number of the GPU; for a model of several ranks, that of the first rank of this host. */
  int32_t device;
  /** Not 0: weights are made up on the device from `seed`, for measurements without a checkpoint. */
  int32_t synthetic_weights;
  uint32_t seed;
  /** Not 0: steps are launched one kernel at a time, never as CUDA graphs. */
  int32_t no_graphs;
  /** Of an Ascend bundle: the shared object of its kernels, compiled for the model of the chip on the host. */
  const char* kernels;
} hew_options;

typedef struct hew_input {
  const char* name;
  /** Dense, row-major, little-endian. */
  const void* data;
  size_t bytes;
} hew_input;

typedef struct hew_output {
  const char* name;
  /** Receives the values; null computes them and leaves them on the device. */
  void* data;
  size_t bytes;
} hew_output;

/** The value of a run-time symbol that the sizes of the inputs do not determine. */
typedef struct hew_symbol {
  const char* name;
  int64_t value;
} hew_symbol;

/** What went wrong in the last call of this thread; empty after a success. */
HEW_API const char* hew_last_error(void);

/**
 * What a GPU is, as JSON: `name`, `architecture` as nvcc writes it, `multiprocessors`. The text stays until the thread's next
 * call.
 */
HEW_API hew_status hew_gpu(int32_t device, const char** json);

/** Opens the bundle in `directory`; its states are zero. `options` may be null. */
HEW_API hew_status hew_open(const char* directory, const hew_options* options, hew_model** model);
HEW_API void hew_close(hew_model* model);

/** The manifest of the bundle, as JSON text: entries with inputs and outputs, states, symbols, sampler. */
HEW_API const char* hew_manifest(const hew_model* model);

/** Bytes of an output for given values of the symbols. */
HEW_API hew_status hew_output_bytes(const hew_model* model, const char* entry, const char* output,
                                    const hew_symbol* symbols, size_t symbol_count, size_t* bytes);

/** Runs an entry: gives it every input, computes the outputs listed and no others. */
HEW_API hew_status hew_step(hew_model* model, const char* entry, const hew_input* inputs, size_t input_count,
                            const hew_symbol* symbols, size_t symbol_count, const hew_output* outputs,
                            size_t output_count);

/**
 * Runs an entry `repeats` times, after two runs that are not counted, and gives the milliseconds of each on the device.
 * Every run finds the states as they were before the call.
 */
HEW_API hew_status hew_measure(hew_model* model, const char* entry, const hew_input* inputs, size_t input_count,
                               const hew_symbol* symbols, size_t symbol_count, const hew_output* outputs,
                               size_t output_count, size_t repeats, float* milliseconds);

/**
 * What the launches since the last call did, on the model of an Ascend chip: a JSON list with the kernel, its blocks, how
 * often it ran so, and the work of one run. The text stays until the next call.
 */
HEW_API hew_status hew_work(hew_model* model, const char** json);

/** Sets every state to zero: the context is empty. */
HEW_API hew_status hew_reset(hew_model* model);
HEW_API hew_status hew_state_read(hew_model* model, const char* state, void* data, size_t bytes);
HEW_API hew_status hew_state_write(hew_model* model, const char* state, const void* data, size_t bytes);

/** A copy of all states, which may be put back into this model; `hew_snapshot_free` gives its memory back. */
HEW_API hew_status hew_snapshot_take(hew_model* model, hew_snapshot** snapshot);
HEW_API hew_status hew_snapshot_restore(hew_model* model, const hew_snapshot* snapshot);
HEW_API void hew_snapshot_free(hew_snapshot* snapshot);

typedef struct hew_sampling {
  /** 0 always takes the most likely token. */
  float temperature;
  /** 0 is all tokens. */
  int32_t top_k;
  /** 1 is all tokens. */
  float top_p;
  uint64_t seed;
} hew_sampling;

/** Called with each token; a result other than 0 ends the generation. */
typedef int (*hew_token_callback)(int32_t token, void* user);

/**
 * Continues `prompt` in an empty context by the entries `prefill` and `decode`: at most `max_tokens` tokens go to
 * `tokens`, their number to `count`. Ends at a stop token of the bundle, which is not among them, or when the context is
 * full. `sampling` null is greedy; `callback` may be null.
 */
HEW_API hew_status hew_generate(hew_model* model, const int32_t* prompt, size_t prompt_count,
                                const hew_sampling* sampling, size_t max_tokens, int32_t* tokens, size_t* count,
                                hew_token_callback callback, void* user);

/**
 * Draws images by DDIM (Song et al. 2021, eta 0) with the entry `denoise`: `noise` has the shape of its input `x` for
 * `batch` images and is replaced by the images; `classes` holds one class per image. `steps` timesteps of the bundle's
 * schedule, classifier-free guidance of strength `guidance` (1 is none).
 */
HEW_API hew_status hew_denoise(hew_model* model, float* noise, size_t noise_count, const int32_t* classes, size_t batch,
                               int32_t steps, float guidance);

#ifdef __cplusplus
}
#endif

#endif
