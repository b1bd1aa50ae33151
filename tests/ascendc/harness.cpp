// Runs kernels on the model of the chip. The kernels are compiled with this file; a table of them is in kernels.inc.
// Reads calls from one file and writes results to another: numbers are little endian, u32 unless said otherwise.
//   calls:   count, then for each: kernel, type, blocks, buffers, symbols; per buffer: is output, u64 bytes and, for
//            inputs, the bytes; then the symbols.
//   results: for each call the length and text of its fault (0 for none), then the bytes of its outputs.
#include <cstdio>
#include <string>
#include <vector>

#include "hew_ascend/call.h"
#include "kernels.inc"

namespace {

std::vector<uint8_t> read_file(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (file == nullptr) std::exit(2);
    std::fseek(file, 0, SEEK_END);
    std::vector<uint8_t> bytes(std::ftell(file));
    std::rewind(file);
    if (std::fread(bytes.data(), 1, bytes.size(), file) != bytes.size()) std::exit(2);
    std::fclose(file);
    return bytes;
}

struct Reader {
    const uint8_t* at;
    template <typename T>
    T number() {
        T value;
        std::memcpy(&value, at, sizeof(T));
        at += sizeof(T);
        return value;
    }
};

// Bytes behind a tensor that kernels may read on chips whose copies are whole blocks.
uint64_t readable_behind(const hew_ascend::Chip& chip) { return chip.has_data_copy_pad ? 0 : 32; }

}  // namespace

int main(int, char** arguments) {
    const hew_ascend::Chip* chip = hew_ascend::find_chip(arguments[1]);
    const std::vector<uint8_t> input = read_file(arguments[2]);
    std::FILE* output = std::fopen(arguments[3], "wb");
    if (chip == nullptr || output == nullptr) return 2;
    Reader reader{input.data()};
    const uint32_t calls = reader.number<uint32_t>();
    for (uint32_t i = 0; i < calls; ++i) {
        void* kernel = kernels[reader.number<uint32_t>()];
        const auto type = hew_ascend::KernelType(reader.number<uint32_t>());
        const uint32_t blocks = reader.number<uint32_t>();
        const uint32_t buffer_count = reader.number<uint32_t>();
        const uint32_t symbol_count = reader.number<uint32_t>();
        std::vector<std::vector<uint8_t>> buffers;
        std::vector<bool> is_output;
        std::vector<uint64_t> sizes;
        hew_ascend::forget_global();
        for (uint32_t b = 0; b < buffer_count; ++b) {
            is_output.push_back(reader.number<uint32_t>() != 0);
            sizes.push_back(reader.number<uint64_t>());
            buffers.emplace_back(sizes.back() + readable_behind(*chip), uint8_t(0xff));
            if (is_output.back()) continue;
            std::memcpy(buffers.back().data(), reader.at, sizes.back());
            reader.at += sizes.back();
        }
        std::vector<uint64_t> words;
        for (uint32_t b = 0; b < buffer_count; ++b) {
            if (!buffers[b].empty()) hew_ascend::register_global(buffers[b].data(), buffers[b].size(), is_output[b]);
            words.push_back(reinterpret_cast<uint64_t>(buffers[b].data()));
        }
        std::vector<uint8_t> scratch(16 << 20);
        hew_ascend::register_global(scratch.data(), scratch.size(), true);
        words.push_back(reinterpret_cast<uint64_t>(scratch.data()));
        for (uint32_t s = 0; s < symbol_count; ++s) words.push_back(reader.number<uint32_t>());
        const hew_ascend::LaunchResult result = hew_ascend::launch(*chip, type, blocks, [&] { hew_ascend::call(kernel, words); });
        const std::string fault =
            result.has_fault ? std::string(hew_ascend::fault_name(result.fault.kind)) + ": " + result.fault.message : "";
        const uint32_t length = uint32_t(fault.size());
        std::fwrite(&length, 4, 1, output);
        std::fwrite(fault.data(), 1, length, output);
        for (uint32_t b = 0; b < buffer_count; ++b)
            if (is_output[b]) std::fwrite(buffers[b].data(), 1, sizes[b], output);
    }
    std::fclose(output);
    return 0;
}
