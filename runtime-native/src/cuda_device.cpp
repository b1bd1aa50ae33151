#include "cuda_device.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "compiler.h"
#include "error.h"
#include "mapped_file.h"

namespace hew {

// Memory of the host that asynchronous copies read and write.
class PinnedMemory {
 public:
  explicit PinnedMemory(size_t bytes) { driver().check(driver().host_allocate(&data_, bytes == 0 ? 1 : bytes), "allocating pinned memory"); }
  ~PinnedMemory() { driver().host_free(data_); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  char* data() const { return static_cast<char*>(data_); }

 private:
  void* data_ = nullptr;
};

class Event {
 public:
  Event() { driver().check(driver().event_create(&event_, 0), "making an event"); }
  ~Event() { driver().event_destroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(void* stream) { driver().check(driver().event_record(event_, stream), "recording an event"); }
  void wait() const { driver().check(driver().event_synchronize(event_), "waiting for the GPU"); }
  // Milliseconds from another event to this one.
  float since(const Event& start) const {
    float milliseconds = 0;
    driver().check(driver().event_elapsed(&milliseconds, start.event_, event_), "reading a time");
    return milliseconds;
  }

 private:
  void* event_ = nullptr;
};

namespace {

// Weights go to the device in pieces of this size.
constexpr size_t staging_bytes = size_t{64} << 20;
constexpr int failure_words = 3;

// Rows of a matrix in boxes of 128 bytes, which the copy engine swizzles for the tensor cores.
TensorMap tensor_map(const MatrixMap& matrix, DevicePointer pointer, const Symbols& symbols) {
  const auto bytes = static_cast<uint64_t>(stored_bytes(matrix.dtype, 1));
  const int type = matrix.dtype == "bf16" ? tensor_map_bf16 : matrix.dtype == "f16" ? tensor_map_f16 : tensor_map_u8;
  const uint64_t sizes[] = {static_cast<uint64_t>(matrix.columns), static_cast<uint64_t>(matrix.rows.value(symbols))};
  const uint64_t strides[] = {sizes[0] * bytes};
  const uint32_t box[] = {static_cast<uint32_t>(128 / bytes), static_cast<uint32_t>(matrix.box)}, steps[] = {1, 1};
  TensorMap map{};
  driver().check(driver().tensor_map(&map, type, 2, pointer, sizes, strides, box, steps, 0, tensor_map_swizzle_128, tensor_map_promote_256, 0), "describing a matrix to the copy engine");
  return map;
}

class CudaGraph : public Graph {
 public:
  CudaGraph(void* executable, void* stream) : executable_(executable), stream_(stream) {}
  ~CudaGraph() override { driver().graph_exec_destroy(executable_); }
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;
  void launch() override { driver().check(driver().graph_launch(executable_, stream_), "launching a graph"); }

 private:
  void* executable_;
  void* stream_;
};

}  // namespace

Gpu::Gpu(int number) {
  const Driver& cuda = driver();
  int count = 0;
  cuda.check(cuda.device_count(&count), "counting GPUs");
  if (number < 0 || number >= count) {
    throw Error(HEW_ERROR_NO_DEVICE, "there is no GPU " + std::to_string(number) + "; this machine has " + std::to_string(count));
  }
  cuda.check(cuda.device_get(&device, number), "opening the GPU");
  cuda.check(cuda.device_attribute(&major, attribute_capability_major, device), "asking for the compute capability");
  cuda.check(cuda.device_attribute(&minor, attribute_capability_minor, device), "asking for the compute capability");
  cuda.check(cuda.device_attribute(&multiprocessors, attribute_multiprocessors, device), "asking for the multiprocessors");
  char text[256] = {};
  cuda.check(cuda.device_name(text, sizeof text - 1, device), "asking for the name of the GPU");
  name = text;
  if (major < 8) {
    throw Error(HEW_ERROR_ARCHITECTURE, name + " has compute capability " + std::to_string(major) + "." + std::to_string(minor) +
                                            ", and 8.0 or newer is needed");
  }
}

std::string describe_gpu(int number) {
  const Gpu gpu(number);
  std::string plain;
  for (const char c : gpu.name)
    if (c >= ' ' && c != '"' && c != '\\') plain += c;
  const std::string architecture = "sm_" + std::to_string(gpu.major) + std::to_string(gpu.minor) + (gpu.major == 9 && gpu.minor == 0 ? "a" : "");
  return R"({"name":")" + plain + R"(","architecture":")" + architecture + R"(","multiprocessors":)" + std::to_string(gpu.multiprocessors) + "}";
}

CudaDevice::CudaDevice(int number) {
  const Driver& cuda = driver();
  const Gpu gpu(number);
  device_ = gpu.device;
  major_ = gpu.major;
  minor_ = gpu.minor;
  multiprocessors_ = gpu.multiprocessors;
  cuda.check(cuda.context_retain(&context_, device_), "making a context");
  try {
    enter();
    constexpr unsigned non_blocking = 1;
    cuda.check(cuda.stream_create(&stream_, non_blocking), "making a stream");
    failure_ = std::make_unique<PinnedMemory>(failure_words * sizeof(int));
  } catch (...) {
    if (stream_ != nullptr) cuda.stream_destroy(stream_);
    cuda.context_release(device_);
    throw;
  }
}

CudaDevice::~CudaDevice() {
  const Driver& cuda = driver();
  peers_.reset();
  ranks_.reset();
  for (Staging& staging : staging_) staging = {};
  failure_.reset();
  for (const DevicePointer pointer : allocations_) cuda.memory_free(pointer);
  if (module_ != nullptr) cuda.module_unload(module_);
  cuda.stream_destroy(stream_);
  cuda.context_release(device_);
}

void CudaDevice::enter() const { driver().check(driver().context_set(context_), "entering the context"); }

Address CudaDevice::allocate(uint64_t bytes) {
  const Driver& cuda = driver();
  DevicePointer pointer = 0;
  const CudaResult result = cuda.memory_allocate(&pointer, bytes == 0 ? 1 : bytes);
  if (result == cuda_out_of_memory) {
    size_t free = 0, total = 0;
    cuda.memory_info(&free, &total);
    throw Error(HEW_ERROR_OUT_OF_MEMORY, "the model needs " + std::to_string(bytes >> 20) + " MiB of GPU memory, " +
                                             std::to_string(free >> 20) + " MiB are free");
  }
  cuda.check(result, "allocating GPU memory");
  allocations_.push_back(pointer);
  return pointer;
}

void CudaDevice::load_binary(const std::string& path, uint64_t bytes) {
  const MappedFile file(path, bytes);
  const CudaResult result = driver().module_load(&module_, file.data());
  const bool wrong = result == cuda_no_binary_for_gpu || result == cuda_invalid_image || result == cuda_unsupported_ptx;
  if (!wrong) driver().check(result, "loading the kernels");
  if (result != 0) module_ = nullptr;
}

void CudaDevice::load_code(const std::string& directory, const Manifest& manifest) {
  const Driver& cuda = driver();
  threads_ = manifest.threads;
  if (!manifest.binary.empty()) load_binary(directory + "/" + manifest.binary, manifest.file_bytes.at(manifest.binary));
  if (module_ == nullptr) {
    const MappedFile file(directory + "/" + manifest.source, manifest.file_bytes.at(manifest.source));
    const std::vector<char> code = compile_source(std::string(file.data(), file.bytes()), major_, minor_);
    cuda.check(cuda.module_load(&module_, code.data()), "loading the compiled kernels");
  }
  size_t bytes = 0;
  cuda.check(cuda.module_global(&failure_flag_, &bytes, module_, "hew_failure"), "finding the failure flag");
  has_wgmma_ = has_wgmma();
}

bool CudaDevice::has_wgmma() {
  DevicePointer flag = 0;
  size_t bytes = 0;
  if (major_ != 9 || driver().module_global(&flag, &bytes, module_, "hew_has_wgmma") != 0) return false;
  int known = 0;
  copy_out(failure_->data(), flag, sizeof known);
  driver().check(driver().stream_synchronize(stream_), "asking for the kernels of Hopper");
  std::memcpy(&known, failure_->data(), sizeof known);
  return known == 1;
}

void CudaDevice::make_up(const Param& param, Address image, uint32_t seed) {
  const bool bytes = param.dtype == "i4" || param.dtype == "u4" || param.dtype == "i8" || param.dtype == "u8";
  if (!bytes && param.dtype != "f32" && param.dtype != "bf16" && param.dtype != "f16") {
    fill(image + param.address, 0, param.stride * param.turns);
    return;
  }
  for (uint64_t turn = 0; turn < param.turns; turn++) {
    DevicePointer pointer = image + param.address + turn * param.stride;
    unsigned long long count = bytes ? stored_bytes(param.dtype, param.elements) : param.elements;
    unsigned own_seed = seed + static_cast<unsigned>(param.address >> 8) * 31u + static_cast<unsigned>(turn);
    float spread = param.fan_in == 0 ? 0.0f : std::sqrt(3.0f / static_cast<float>(param.fan_in));
    float centre = param.fan_in == 0 ? 1.0f : 0.0f;
    void* arguments[] = {&pointer, &count, &own_seed, &spread, &centre};
    const int64_t blocks = static_cast<int64_t>(std::min<uint64_t>(2048, (count + 255) / 256));
    launch_function(function(bytes ? "hew_fill_bytes" : "hew_fill_" + param.dtype), blocks, arguments);
  }
}

void CudaDevice::fill(Address to, unsigned char value, uint64_t bytes) {
  if (bytes > 0) driver().check(driver().fill_bytes(to, value, bytes, stream_), "clearing memory");
}

void CudaDevice::upload(Address to, const char* from, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes; done += staging_bytes) {
    const size_t piece = static_cast<size_t>(std::min<uint64_t>(staging_bytes, bytes - done));
    Staging& staging = staging_[turn_++ % 2];
    if (staging.piece == nullptr) {
      staging.piece = std::make_unique<PinnedMemory>(staging_bytes);
      staging.copied = std::make_unique<Event>();
    }
    if (staging.used) staging.copied->wait();
    std::memcpy(staging.piece->data(), from + done, piece);
    driver().check(driver().copy_to_device(to + done, staging.piece->data(), piece, stream_), "copying weights");
    staging.copied->record(stream_);
    staging.used = true;
  }
}

void CudaDevice::copy_in(Address to, const void* from, size_t bytes) {
  driver().check(driver().copy_to_device(to, from, bytes, stream_), "copying to the GPU");
}

void CudaDevice::copy_out(void* to, Address from, size_t bytes) {
  driver().check(driver().copy_to_host(to, from, bytes, stream_), "copying from the GPU");
}

void CudaDevice::copy_within(Address to, Address from, size_t bytes) {
  driver().check(driver().copy_on_device(to, from, bytes, stream_), "copying on the device");
}

void* CudaDevice::function(const std::string& name) {
  void*& known = functions_[name];
  if (known == nullptr) {
    const CudaResult result = driver().module_function(&known, module_, name.c_str());
    if (result == cuda_not_found) throw Error(HEW_ERROR_BUNDLE, "the bundle's code has no kernel '" + name + "'");
    driver().check(result, "finding a kernel");
  }
  return known;
}

void CudaDevice::launch_function(void* function, int64_t blocks, Shape shape, void** arguments) {
  if (blocks == 0) return;
  if (blocks < 0 || blocks > 0x7fffffff) throw Error(HEW_ERROR_ARGUMENT, "a kernel would need more blocks than a GPU takes");
  LaunchAttribute overlap{};
  overlap.id = attribute_programmatic_serialization;
  overlap.value.programmatic_serialization = 1;
  LaunchConfig config{static_cast<unsigned>(blocks), 1, 1, static_cast<unsigned>(shape.threads), 1, 1, static_cast<unsigned>(shape.shared), stream_, &overlap, major_ >= 9 ? 1u : 0u};
  driver().check(driver().launch(&config, function, arguments, nullptr), "launching a kernel");
}

// The variant that is preferred for these sizes, or whose waves of blocks cost the least; null where there is none or the code has no kernels of Hopper.
const Variant* CudaDevice::fastest(const Launch& launch, const Symbols& symbols) const {
  const Variant* best = nullptr;
  int64_t least = 0;
  if (!has_wgmma_) return nullptr;
  for (const Variant& variant : launch.variants) {
    if (!variant.is_possible(symbols)) continue;
    if (variant.is_preferred(symbols)) return &variant;
    const int64_t at_once = std::max(1, multiprocessors_);
    const int64_t cost = (blocks_of(variant.grid, symbols) + at_once - 1) / at_once * variant.cost;
    if (best != nullptr && cost >= least) continue;
    best = &variant;
    least = cost;
  }
  return best;
}

void CudaDevice::launch(const Launch& launch, const Symbols& symbols, std::vector<Address>& pointers, std::vector<int>& values) {
  const Variant* variant = fastest(launch, symbols);
  std::vector<TensorMap> maps;
  if (variant != nullptr && blocks_of(variant->grid, symbols) > 0)
    for (const MatrixMap& map : variant->maps) maps.push_back(tensor_map(map, pointers[map.pointer], symbols));
  std::vector<void*> arguments;
  for (TensorMap& map : maps) arguments.push_back(&map);
  for (Address& pointer : pointers) arguments.push_back(&pointer);
  for (int& value : values) arguments.push_back(&value);
  if (variant == nullptr) return launch_function(function(launch.kernel), blocks_of(launch.grid, symbols), arguments.data());
  const bool known = functions_.count(variant->kernel) > 0;
  void* own = function(variant->kernel);
  if (!known) driver().check(driver().function_attribute(own, function_dynamic_shared, variant->shared), "asking for shared memory");
  const int64_t blocks = std::min<int64_t>(blocks_of(variant->grid, symbols), std::max(1, multiprocessors_));
  launch_function(own, blocks, {variant->threads, variant->shared}, arguments.data());
}

void CudaDevice::argmax(Address values, int count, Address chosen) {
  void* arguments[] = {&values, &count, &chosen};
  launch_function(function("hew_argmax"), 1, arguments);
}

void CudaDevice::sample(Address logits, int count, const hew_sampling& sampling, double random, Address chosen) {
  float inverse_temperature = 1 / sampling.temperature;
  int top_k = sampling.top_k;
  float top_p = sampling.top_p;
  uint64_t fraction = static_cast<uint64_t>(std::ldexp(random, 64));
  void* arguments[] = {&logits, &count, &inverse_temperature, &top_k, &top_p, &fraction, &chosen};
  launch_function(function("hew_sample"), 1, arguments);
}

void CudaDevice::join(const Launched& launched) {
  ranks_ = std::make_unique<Ranks>(launched);
  peers_ = Peers::open(*ranks_, launched, stream_);
}

void CudaDevice::all_reduce(Address to, Address from, size_t count) {
  if (ranks_ == nullptr) Device::all_reduce(to, from, count);
  if (peers_ == nullptr || count > Peers::most) return ranks_->all_reduce(to, from, count, stream_);
  Peers::Lines lines = peers_->lines();
  DevicePointer turns = peers_->turns();
  unsigned elements = static_cast<unsigned>(count), per_rank = Peers::lines_per_rank;
  int rank = peers_->rank(), ranks = peers_->count();
  void* arguments[] = {&from, &to, &elements, &lines, &per_rank, &rank, &ranks, &turns};
  const int64_t per_block = 2 * threads_;
  launch_function(function("hew_all_reduce"), (static_cast<int64_t>(count) + per_block - 1) / per_block, arguments);
}

Failure CudaDevice::finish() {
  const Driver& cuda = driver();
  cuda.check(cuda.copy_to_host(failure_->data(), failure_flag_, failure_words * sizeof(int), stream_), "reading the failure flag");
  cuda.check(cuda.stream_synchronize(stream_), "running kernels");
  int failure[failure_words];
  std::memcpy(failure, failure_->data(), sizeof failure);
  if (failure[0] != 0) fill(failure_flag_, 0, failure_words * sizeof(int));
  return {failure[0], failure[1], failure[2]};
}

std::unique_ptr<Graph> CudaDevice::capture(const std::function<void()>& queue) {
  const Driver& cuda = driver();
  constexpr int thread_local_mode = 1;
  cuda.check(cuda.capture_begin(stream_, thread_local_mode), "starting a capture");
  void* captured = nullptr;
  try {
    queue();
  } catch (...) {
    cuda.capture_end(stream_, &captured);
    if (captured != nullptr) cuda.graph_destroy(captured);
    throw;
  }
  cuda.check(cuda.capture_end(stream_, &captured), "ending a capture");
  void* executable = nullptr;
  const CudaResult result = cuda.graph_instantiate(&executable, captured, 0);
  cuda.graph_destroy(captured);
  cuda.check(result, "making a graph");
  return std::make_unique<CudaGraph>(executable, stream_);
}

void CudaDevice::measure(const std::function<void()>& prepare, const std::function<void()>& run, size_t repeats, float* milliseconds) {
  std::vector<Event> before(repeats), after(repeats);
  for (size_t i = 0; i < repeats; i++) {
    prepare();
    before[i].record(stream_);
    run();
    after[i].record(stream_);
  }
  driver().check(driver().stream_synchronize(stream_), "running kernels");
  for (size_t i = 0; i < repeats; i++) milliseconds[i] = after[i].since(before[i]);
}

}  // namespace hew
