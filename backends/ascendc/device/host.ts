/** The parts of a bundle's host program that are the same for all bundles. */

export interface HostSettings {
  readonly model: string;
  /** As `--npu-arch` takes it. */
  readonly architecture: string;
  /** As SOC_VERSION takes it. */
  readonly soc: string;
  /** An entry, for the example of the README. */
  readonly entry: string;
  /** Processes that run the model together, each with a bundle of its own. */
  readonly ranks: number;
}

export function hostFiles(settings: HostSettings): Map<string, string> {
  return new Map([
    ['README.md', readme(settings)],
    ['CMakeLists.txt', project(settings)],
    ['cmake-8.x/CMakeLists.txt', project8(settings)],
    ['host/plan.h', planHeader],
    ...(settings.ranks === 1 ? [] : [['host/ranks.h', ranksHeader] as const]),
    ['host/main.cpp', mainSource],
  ]);
}

const planHeader = `// What plan.cpp gives to main.cpp: where things lie in the image of device memory, and how entries run.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "acl/acl.h"

struct Image {
    uint64_t weights, total;  // bytes
};

// A range of the image that a file holds.
struct Segment {
    const char* file;
    uint64_t offset, bytes, address;
};

struct State {
    const char* name;
    uint64_t address, bytes;
};

struct Slot {
    const char* name;
    uint64_t address;
    uint64_t (*bytes)(const uint64_t* symbols);
};

// \`run\` queues the entry; bit i of \`mask\` asks for output i.
struct Entry {
    const char* name;
    std::vector<const char*> symbols;
    std::vector<Slot> inputs, outputs;
    void (*run)(uint8_t* image, const uint64_t* symbols, uint32_t mask, aclrtStream stream);
};

extern const Image kImage;
extern const std::vector<Segment> kWeights;
extern const std::vector<State> kStates;
extern const std::vector<Entry> kEntries;

// Meets the other ranks of the model, and leaves them again; nothing where there is one.
void JoinRanks(const std::string& bundle);
void LeaveRanks();

inline void Check(aclError result, const char* what) {
    if (result == ACL_SUCCESS) return;
    std::fprintf(stderr, "%s failed: acl error %d\\n", what, static_cast<int>(result));
    std::exit(1);
}

inline uint64_t CeilDiv(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

// As many blocks as there is work for, but no more than run at the same time.
inline uint32_t Blocks(uint64_t work, uint64_t cores) {
    return static_cast<uint32_t>(std::max<uint64_t>(1, std::min(work, cores)));
}

inline void Copy(uint8_t* to, const uint8_t* from, uint64_t bytes, aclrtStream stream) {
    if (bytes == 0) return;
    Check(aclrtMemcpyAsync(to, bytes, from, bytes, ACL_MEMCPY_DEVICE_TO_DEVICE, stream), "aclrtMemcpyAsync");
}
`;

const ranksHeader = `// The ranks of the model: a process for each, with the environment of torchrun or mpirun, adding over HCCL.
#pragma once
#include <chrono>
#include <thread>

#include "hccl/hccl.h"
#include "plan.h"

inline HcclComm& Communicator() {
    static HcclComm communicator = nullptr;
    return communicator;
}

inline void CheckHccl(HcclResult result, const char* what) {
    if (result == HCCL_SUCCESS) return;
    std::fprintf(stderr, "%s failed: hccl error %d\\n", what, static_cast<int>(result));
    std::exit(1);
}

inline int RankVariable(const char* name, const char* other) {
    const char* text = std::getenv(name);
    if (text == nullptr) text = std::getenv(other);
    return text == nullptr ? -1 : static_cast<int>(std::strtol(text, nullptr, 10));
}

// Rank 0 writes how it is found to HEW_ROOT_INFO, a file that all ranks see and that no earlier run has left behind.
inline void Meet(const char* path, uint32_t ranks, uint32_t rank) {
    HcclRootInfo root{};
    if (rank == 0) {
        CheckHccl(HcclGetRootInfo(&root), "HcclGetRootInfo");
        const std::string unfinished = std::string(path) + ".new";
        std::FILE* file = std::fopen(unfinished.c_str(), "wb");
        const bool whole = file != nullptr && std::fwrite(&root, sizeof root, 1, file) == 1;
        if (file == nullptr || std::fclose(file) != 0 || !whole || std::rename(unfinished.c_str(), path) != 0) {
            std::fprintf(stderr, "%s cannot be written\\n", path);
            std::exit(1);
        }
    } else {
        std::FILE* file = nullptr;
        for (int waited = 0; (file = std::fopen(path, "rb")) == nullptr && waited < 600; ++waited) std::this_thread::sleep_for(std::chrono::milliseconds(100));
        if (file == nullptr || std::fread(&root, sizeof root, 1, file) != 1) {
            std::fprintf(stderr, "%s, which rank 0 writes, cannot be read\\n", path);
            std::exit(1);
        }
        std::fclose(file);
    }
    CheckHccl(HcclCommInitRootInfo(ranks, &root, rank, &Communicator()), "HcclCommInitRootInfo");
    if (rank == 0) std::remove(path);
}

// Adds \`count\` floats over all ranks.
inline void AllReduce(uint8_t* to, uint8_t* from, uint64_t count, aclrtStream stream) {
    CheckHccl(HcclAllReduce(from, to, count, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, Communicator(), stream), "HcclAllReduce");
}
`;

const mainSource = `// Runs entries of the bundle on an NPU. Inputs and outputs are files of dense little-endian data.
#include <cstring>

#include "plan.h"

namespace {

constexpr const char* kUsage =
    "usage: hew-ascend BUNDLE [--device N] [--entry NAME [--input NAME=FILE] [--output NAME=FILE] [--symbol NAME=N]]...\\n"
    "Entries run in the order given; states go on from run to run. Without an entry, the entries are listed.\\n";

[[noreturn]] void Fail(const std::string& message) {
    std::fprintf(stderr, "hew-ascend: %s\\n", message.c_str());
    std::exit(1);
}

std::vector<char> ReadFile(const std::string& path, uint64_t offset, uint64_t bytes) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) Fail(path + " cannot be read");
    std::vector<char> data(bytes);
    const bool whole = std::fseek(file, static_cast<long>(offset), SEEK_SET) == 0 && std::fread(data.data(), 1, bytes, file) == bytes;
    std::fclose(file);
    if (!whole) Fail(path + " is too short");
    return data;
}

void WriteFile(const std::string& path, const std::vector<char>& data) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    const bool whole = file != nullptr && std::fwrite(data.data(), 1, data.size(), file) == data.size();
    if (file == nullptr || std::fclose(file) != 0 || !whole) Fail(path + " cannot be written");
}

struct Assignment {
    std::string name, value;
};

Assignment ReadAssignment(const std::string& text) {
    const size_t at = text.find('=');
    if (at == std::string::npos) Fail("'" + text + "' does not have the form NAME=VALUE");
    return {text.substr(0, at), text.substr(at + 1)};
}

struct Run {
    const Entry* entry;
    std::vector<Assignment> inputs, outputs, symbols;
};

const Entry& FindEntry(const std::string& name) {
    for (const Entry& entry : kEntries)
        if (name == entry.name) return entry;
    Fail("there is no entry '" + name + "'");
}

const std::string& ValueOf(const std::vector<Assignment>& list, const char* name, const char* what) {
    for (const Assignment& item : list)
        if (item.name == name) return item.value;
    Fail(std::string(what) + " '" + name + "' is missing");
}

// Weights go to the device in pieces of this size.
constexpr uint64_t kPiece = uint64_t{64} << 20;

void LoadWeights(const std::string& bundle, uint8_t* image) {
    for (const Segment& segment : kWeights) {
        for (uint64_t done = 0; done < segment.bytes; done += kPiece) {
            const uint64_t bytes = std::min(kPiece, segment.bytes - done);
            const std::vector<char> data = ReadFile(bundle + "/" + segment.file, segment.offset + done, bytes);
            Check(aclrtMemcpy(image + segment.address + done, bytes, data.data(), bytes, ACL_MEMCPY_HOST_TO_DEVICE), "copying weights");
        }
    }
}

void RunEntry(const Run& run, uint8_t* image, aclrtStream stream) {
    const Entry& entry = *run.entry;
    std::vector<uint64_t> symbols;
    for (const char* name : entry.symbols) symbols.push_back(std::strtoull(ValueOf(run.symbols, name, "symbol").c_str(), nullptr, 10));
    for (const Slot& slot : entry.inputs) {
        const uint64_t bytes = slot.bytes(symbols.data());
        const std::vector<char> data = ReadFile(ValueOf(run.inputs, slot.name, "input"), 0, bytes);
        Check(aclrtMemcpy(image + slot.address, bytes, data.data(), bytes, ACL_MEMCPY_HOST_TO_DEVICE), "copying an input");
    }
    uint32_t mask = 0;
    for (size_t i = 0; i < entry.outputs.size(); ++i)
        for (const Assignment& output : run.outputs)
            if (output.name == entry.outputs[i].name) mask |= uint32_t{1} << i;
    entry.run(image, symbols.data(), mask, stream);
    Check(aclrtSynchronizeStream(stream), "running kernels");
    for (const Assignment& output : run.outputs) {
        bool is_found = false;
        for (const Slot& slot : entry.outputs) {
            if (output.name != slot.name) continue;
            std::vector<char> data(slot.bytes(symbols.data()));
            Check(aclrtMemcpy(data.data(), data.size(), image + slot.address, data.size(), ACL_MEMCPY_DEVICE_TO_HOST), "copying an output");
            WriteFile(output.value, data);
            is_found = true;
        }
        if (!is_found) Fail("there is no output '" + output.name + "'");
    }
}

}  // namespace

int main(int count, char** arguments) {
    std::string bundle;
    int32_t device = 0;
    std::vector<Run> runs;
    for (int i = 1; i < count; ++i) {
        const std::string name = arguments[i];
        const auto value = [&]() -> std::string {
            if (i + 1 >= count) Fail(name + " needs a value");
            return arguments[++i];
        };
        const auto run = [&]() -> Run& {
            if (runs.empty()) Fail(name + " needs an --entry before it");
            return runs.back();
        };
        if (name == "--device") device = static_cast<int32_t>(std::strtol(value().c_str(), nullptr, 10));
        else if (name == "--entry") runs.push_back({&FindEntry(value()), {}, {}, {}});
        else if (name == "--input") run().inputs.push_back(ReadAssignment(value()));
        else if (name == "--output") run().outputs.push_back(ReadAssignment(value()));
        else if (name == "--symbol") run().symbols.push_back(ReadAssignment(value()));
        else if (name.rfind("--", 0) == 0 || !bundle.empty()) Fail(kUsage);
        else bundle = name;
    }
    if (bundle.empty()) Fail(kUsage);
    if (runs.empty()) {
        for (const Entry& entry : kEntries) std::printf("%s\\n", entry.name);
        return 0;
    }
    Check(aclInit(nullptr), "aclInit");
    Check(aclrtSetDevice(device), "aclrtSetDevice");
    aclrtStream stream = nullptr;
    Check(aclrtCreateStream(&stream), "aclrtCreateStream");
    JoinRanks(bundle);
    void* memory = nullptr;
    Check(aclrtMalloc(&memory, kImage.total, ACL_MEM_MALLOC_HUGE_FIRST), "aclrtMalloc");
    uint8_t* image = static_cast<uint8_t*>(memory);
    LoadWeights(bundle, image);
    for (const State& state : kStates)
        if (state.bytes > 0) Check(aclrtMemset(image + state.address, state.bytes, 0, state.bytes), "clearing a state");
    for (const Run& run : runs) RunEntry(run, image, stream);
    LeaveRanks();
    Check(aclrtFree(memory), "aclrtFree");
    Check(aclrtDestroyStream(stream), "aclrtDestroyStream");
    Check(aclrtResetDevice(device), "aclrtResetDevice");
    Check(aclFinalize(), "aclFinalize");
    return 0;
}
`;

const libraries = (ranks: number): string => (ranks === 1 ? 'ascendcl' : 'ascendcl hccl');

const project = ({
  architecture,
  ranks,
}: HostSettings): string => `# For toolkits with the package ASC. Those of 8.x take cmake-8.x.
cmake_minimum_required(VERSION 3.16)
find_package(ASC REQUIRED)
project(hew_ascend LANGUAGES ASC CXX)

set(CMAKE_CXX_STANDARD 17)

file(GLOB LAUNCHERS CONFIGURE_DEPENDS \${CMAKE_CURRENT_SOURCE_DIR}/host/launch_*.asc)
add_executable(hew-ascend host/main.cpp host/plan.cpp \${LAUNCHERS})
target_include_directories(hew-ascend PRIVATE kernels $ENV{ASCEND_HOME_PATH}/include)
target_compile_options(hew-ascend PRIVATE $<$<COMPILE_LANGUAGE:ASC>:--npu-arch=${architecture}>)
target_link_directories(hew-ascend PRIVATE $ENV{ASCEND_HOME_PATH}/lib64)
target_link_libraries(hew-ascend PRIVATE ${libraries(ranks)})
`;

const project8 = ({
  soc,
  ranks,
}: HostSettings): string => `# For toolkits of 8.x, by their ascendc.cmake. Later ones take the project in the folder above.
cmake_minimum_required(VERSION 3.18)
project(hew_ascend CXX)

set(CMAKE_CXX_STANDARD 17)
set(RUN_MODE "npu" CACHE STRING "npu, or sim for the toolkit's simulator")
set(SOC_VERSION "${soc}" CACHE STRING "the chip")
set(ASCEND_CANN_PACKAGE_PATH "$ENV{ASCEND_HOME_PATH}" CACHE PATH "where the toolkit is")

find_file(ASCENDC_CMAKE NAMES ascendc.cmake REQUIRED NO_DEFAULT_PATH PATHS
  \${ASCEND_CANN_PACKAGE_PATH}/tools/tikcpp/ascendc_kernel_cmake
  \${ASCEND_CANN_PACKAGE_PATH}/compiler/tikcpp/ascendc_kernel_cmake)
include(\${ASCENDC_CMAKE})

set(BUNDLE \${CMAKE_CURRENT_SOURCE_DIR}/..)
file(GLOB KERNELS CONFIGURE_DEPENDS \${BUNDLE}/kernels/*.cpp)
ascendc_library(hew_kernels STATIC \${KERNELS})
ascendc_include_directories(hew_kernels PRIVATE \${BUNDLE}/kernels)

add_executable(hew-ascend \${BUNDLE}/host/main.cpp \${BUNDLE}/host/plan.cpp)
target_compile_definitions(hew-ascend PRIVATE HEW_GENERATED_LAUNCHERS)
target_include_directories(hew-ascend PRIVATE \${ASCEND_CANN_PACKAGE_PATH}/include)
target_link_directories(hew-ascend PRIVATE \${ASCEND_CANN_PACKAGE_PATH}/lib64)
target_link_libraries(hew-ascend PRIVATE hew_kernels ${libraries(ranks)})
`;

const readme = ({ model, entry, soc, ranks }: HostSettings): string => `# ${model} for ${soc}

\`kernels/\` holds one AscendC source per kernel, \`host/\` the program that runs them through acl, \`manifest.json\` the same plan
for Hew's own runtime, \`weights-*.bin\` the image of the weights.

On a machine with the toolkit (CANN) and its environment set:

    source /usr/local/Ascend/ascend-toolkit/set_env.sh

with a toolkit that has the CMake package ASC:

    cmake -S . -B build && cmake --build build --parallel

with a toolkit of 8.x:

    cmake -S cmake-8.x -B build && cmake --build build --parallel

Then run entries, whose inputs and outputs are files of dense little-endian data:

    build/hew-ascend .                                     # lists the entries
    build/hew-ascend . --entry ${entry} --input NAME=FILE --output NAME=FILE --symbol NAME=N
${ranks === 1 ? '' : rankCommands(ranks)}`;

const rankCommands = (ranks: number): string => `
This is one of ${ranks} ranks, which run at the same time, each from its own bundle and on a device of its own, and add over HCCL:

    HEW_ROOT_INFO=/tmp/root-info RANK=N WORLD_SIZE=${ranks} build/hew-ascend . --device N --entry …
`;
