#include "manifest.h"

#include <algorithm>

#include "error.h"

namespace hew {
namespace {

constexpr int64_t most_ranks = 4096;
constexpr int64_t largest_symbol = (int64_t{1} << 31) - 1;
constexpr int deepest_loop = 8;

[[noreturn]] void refuse(const std::string& problem) {
  throw Error(HEW_ERROR_BUNDLE, "the manifest makes no sense: " + problem);
}

// Names of files of a bundle are plain: they cannot lead out of its directory.
std::string file_name(const Json& json) {
  const std::string& name = json.text();
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  };
  if (name.empty() || name.size() > 200 || name[0] == '.' || !std::all_of(name.begin(), name.end(), plain))
    refuse("'" + name.substr(0, 200) + "' is not a plain file name");
  return name;
}

class Reader {
 public:
  explicit Reader(Manifest& manifest) : manifest_(manifest) {}

  Entry entry(const Json& json) {
    Entry entry;
    for (const Json& symbol : json["symbols"].items()) {
      if (manifest_.symbols.count(symbol.text()) == 0) refuse("'" + symbol.text() + "' is not a symbol");
      entry.symbols.push_back(symbol.text());
    }
    for (const Json& item : json["inputs"].items()) entry.inputs.push_back(slot(item, entry));
    for (const Json& item : json["outputs"].items()) entry.outputs.push_back(slot(item, entry));
    if (entry.outputs.size() > 32) refuse("an entry has more than 32 outputs");
    entry.plan = steps(json["plan"], entry, 0);
    return entry;
  }

 private:
  Size size(const Json& json, const Entry& entry) const {
    Size size;
    if (json.is_number()) {
      size.terms.push_back({json.integer(), {}});
      return size;
    }
    const Json* sum = &json;
    if (json.is_object()) {
      sum = &json["sum"];
      size.divisor = json["divisor"].integer(1);
    }
    for (const Json& item : sum->items()) {
      const auto& parts = item.items();
      if (parts.empty()) refuse("an empty term");
      Size::Term term{parts[0].integer(-(int64_t{1} << 53)), {}};
      for (size_t i = 1; i < parts.size(); i++) {
        const std::string& name = parts[i].text();
        if (std::find(entry.symbols.begin(), entry.symbols.end(), name) == entry.symbols.end())
          refuse("a size mentions '" + name + "', which is not a symbol of the entry");
        term.symbols.push_back(name);
      }
      size.terms.push_back(std::move(term));
    }
    return size;
  }

  Slot slot(const Json& json, const Entry& entry) const {
    Slot slot{json["name"].text(), json["dtype"].text(), {}, address(json["address"])};
    dtype_bytes(slot.dtype);
    for (const Json& item : json["shape"].items()) slot.shape.push_back(size(item, entry));
    return slot;
  }

  uint64_t address(const Json& json) const {
    return static_cast<uint64_t>(json.integer(0, static_cast<int64_t>(manifest_.total_bytes)));
  }

  Pointer pointer(const Json& json, int depth) const {
    Pointer pointer;
    if (json.is_number()) {
      pointer.address = address(json);
      return pointer;
    }
    if (depth == 0) refuse("a pointer outside loops depends on a turn");
    pointer.depth = static_cast<int>(json["depth"].integer(0, depth - 1));
    if (const Json* even = json.find("even")) {
      pointer.even = std::make_shared<Pointer>(this->pointer(*even, depth));
      pointer.odd = std::make_shared<Pointer>(this->pointer(json["odd"], depth));
    } else {
      pointer.base = std::make_shared<Pointer>(this->pointer(json["base"], depth));
      pointer.stride = address(json["stride"]);
    }
    return pointer;
  }

  std::vector<Step> steps(const Json& json, const Entry& entry, int depth) const {
    if (depth > deepest_loop) refuse("loops are nested too deeply");
    std::vector<Step> steps;
    for (const Json& item : json.items()) steps.push_back(step(item, entry, depth));
    return steps;
  }

  Grid grid(const Json& json, const Entry& entry) const {
    Grid grid;
    for (const Json& axis : json.items()) {
      if (axis.items().size() != 2) refuse("a grid axis is not a pair");
      grid.emplace_back(size(axis.items()[0], entry), axis.items()[1].integer(1));
    }
    return grid;
  }

  Variant variant(const Json& json, const Entry& entry, size_t pointers) const {
    const auto field = [&](const char* name, int64_t least, int64_t most) { return static_cast<int>(json[name].integer(least, most)); };
    Variant variant{json["kernel"].text(), grid(json["grid"], entry), field("threads", 32, 1024), field("shared", 0, 1 << 20), json["cost"].integer(1), {}, 0, {}};
    if (const Json* least = json.find("least")) variant.least = least->integer(0);
    if (const Json* preferred = json.find("preferred"))
      for (const Json& range : preferred->items()) {
        if (range.items().size() != 2) refuse("a range of sizes is not a pair");
        variant.preferred.emplace_back(range.items()[0].integer(0), range.items()[1].integer(0));
      }
    for (const Json& item : json["maps"].items()) {
      MatrixMap map{static_cast<size_t>(item["pointer"].integer(0, static_cast<int64_t>(pointers) - 1)), item["dtype"].text(), size(item["rows"], entry), item["columns"].integer(1, int64_t{1} << 31), item["box"].integer(1, 256)};
      if (dtype_bytes(map.dtype) * map.columns % 16 != 0) refuse("rows of a tensor map are no multiple of 16 bytes");
      variant.maps.push_back(std::move(map));
    }
    return variant;
  }

  Step step(const Json& json, const Entry& entry, int depth) const {
    Step step;
    if (const Json* mask = json.find("mask")) step.mask = static_cast<uint32_t>(mask->integer(-(int64_t{1} << 31), 0xffffffff));
    if (const Json* kernel = json.find("kernel")) {
      Launch launch{kernel->text(), grid(json["grid"], entry), {}, {}, {}};
      for (const Json& item : json["pointers"].items()) launch.pointers.push_back(pointer(item, depth));
      for (const Json& item : json["symbols"].items()) launch.symbols.push_back(item.text());
      if (const Json* variants = json.find("variants"))
        for (const Json& item : variants->items()) launch.variants.push_back(variant(item, entry, launch.pointers.size()));
      step.what = std::move(launch);
    } else if (const Json* copy = json.find("copy")) {
      if (copy->items().size() != 2) refuse("a copy is not from one place to another");
      step.what = Copy{pointer(copy->items()[0], depth), pointer(copy->items()[1], depth), size(json["bytes"], entry)};
    } else if (const Json* sum = json.find("all_reduce")) {
      if (sum->items().size() != 2) refuse("a sum over ranks is not from one place to another");
      step.what = AllReduce{pointer(sum->items()[0], depth), pointer(sum->items()[1], depth), size(json["elements"], entry)};
    } else {
      step.what = Loop{json["turns"].integer(0, 1 << 20), steps(json["body"], entry, depth + 1)};
    }
    return step;
  }

  Manifest& manifest_;
};

uint64_t size_of_image(const Json& json) { return static_cast<uint64_t>(json.integer()); }

void check_range(const Manifest& manifest, uint64_t address, uint64_t bytes, const std::string& what) {
  if (address > manifest.total_bytes || bytes > manifest.total_bytes - address) refuse(what + " lies outside the image");
}

}  // namespace

int64_t dtype_bytes(const std::string& dtype) {
  static const std::map<std::string, int64_t> bytes = {{"f32", 4}, {"f16", 2}, {"bf16", 2}, {"i32", 4},
                                                       {"i64", 8}, {"i8", 1},  {"u8", 1},   {"bool", 1}};
  const auto found = bytes.find(dtype);
  if (found == bytes.end()) refuse("'" + dtype + "' is not a data type");
  return found->second;
}

uint64_t stored_bytes(const std::string& dtype, uint64_t elements) {
  if (dtype == "i4" || dtype == "u4") return elements / 2 + elements % 2;
  return elements * static_cast<uint64_t>(dtype_bytes(dtype));
}

int64_t Size::value(const Symbols& symbols) const {
  __int128 sum = 0;
  for (const Term& term : terms) {
    __int128 product = term.coefficient;
    for (const std::string& name : term.symbols) product *= symbols.at(name);
    sum += product;
  }
  if (sum < 0 || sum / divisor > (__int128{1} << 53)) throw Error(HEW_ERROR_ARGUMENT, "a size is out of range for these symbols");
  return static_cast<int64_t>(sum / divisor);
}

int64_t blocks_of(const Grid& grid, const Symbols& symbols) {
  int64_t blocks = 1;
  for (const auto& [count, per] : grid) {
    blocks *= (count.value(symbols) + per - 1) / per;
    if (blocks > int64_t{1} << 31) break;
  }
  return blocks;
}

int64_t Variant::first_size(const Symbols& symbols) const { return grid.empty() ? 1 : grid[0].first.value(symbols); }

bool Variant::is_possible(const Symbols& symbols) const { return first_size(symbols) >= least; }

bool Variant::is_preferred(const Symbols& symbols) const {
  const int64_t size = first_size(symbols);
  for (const auto& [least, most] : preferred)
    if (least <= size && size <= most) return true;
  return false;
}

uint64_t Pointer::at(const std::vector<int64_t>& turns) const {
  if (even) return (turns[static_cast<size_t>(depth)] % 2 == 0 ? even : odd)->at(turns);
  if (base) return base->at(turns) + stride * static_cast<uint64_t>(turns[static_cast<size_t>(depth)]);
  return address;
}

int64_t Slot::bytes(const Symbols& symbols) const {
  __int128 total = dtype_bytes(dtype);
  for (const Size& size : shape) {
    total *= size.value(symbols);
    if (total > (__int128{1} << 53)) throw Error(HEW_ERROR_ARGUMENT, "'" + name + "' is too large for these symbols");
  }
  return static_cast<int64_t>(total);
}

const Entry& Manifest::entry(const std::string& name) const {
  const auto found = entries.find(name);
  if (found != entries.end()) return found->second;
  std::string names;
  for (const auto& [other, unused] : entries) names += (names.empty() ? "" : ", ") + other;
  throw Error(HEW_ERROR_ARGUMENT, "there is no entry '" + name + "'; there are: " + names);
}

Manifest parse_manifest(std::string text) {
  const Json json = Json::parse(text);
  if (!json.is_object() || json.find("format") == nullptr || json["format"].text() != "hew-bundle")
    throw Error(HEW_ERROR_BUNDLE, "manifest.json does not say \"format\": \"hew-bundle\"");
  if (json["version"].number() != 1)
    throw Error(HEW_ERROR_VERSION, "the bundle has another format version than 1; compile the model again");
  const std::string& target = json["target"].text();
  if (target != "cuda" && target != "ascendc")
    throw Error(HEW_ERROR_VERSION, "the bundle is for target '" + target + "'; compile the model with --target cuda or --target ascendc");
  Manifest manifest;
  manifest.name = json["name"].text();
  manifest.weight_bytes = size_of_image(json["memory"]["weights"]);
  manifest.total_bytes = size_of_image(json["memory"]["total"]);
  manifest.ranks = static_cast<int>(json["ranks"].integer(1, most_ranks));
  for (const auto& [name, file] : json["files"].members()) manifest.file_bytes[name] = static_cast<uint64_t>(file["bytes"].integer());
  const auto listed = [&](const std::string& name) {
    if (manifest.file_bytes.count(name) == 0) refuse("'" + name + "' is not among the files");
    return manifest.file_bytes[name];
  };
  if (target == "cuda") {
    const Json& cuda = json["cuda"];
    manifest.source = file_name(cuda["source"]);
    listed(manifest.source);
    if (!cuda["binary"].is_null()) {
      manifest.binary = file_name(cuda["binary"]);
      listed(manifest.binary);
    }
    manifest.threads = static_cast<int>(cuda["threads"].integer(32, 1024));
  } else {
    manifest.chip = json["ascendc"]["chip"].text();
    if (manifest.chip.empty()) refuse("the chip has no name");
    for (const auto& [name, kernel] : json["ascendc"]["kernels"].members())
      manifest.kernels[name] = {kernel["type"].text(), kernel["cores"].integer(1, 1024)};
  }
  for (const Json& item : json["weights"].items()) {
    Segment segment{file_name(item["file"]), static_cast<uint64_t>(item["offset"].integer()),
                    static_cast<uint64_t>(item["bytes"].integer()), static_cast<uint64_t>(item["address"].integer())};
    check_range(manifest, segment.address, segment.bytes, "a weight segment");
    if (segment.offset + segment.bytes > listed(segment.file)) refuse("a weight segment goes past the end of " + segment.file);
    manifest.weights.push_back(std::move(segment));
  }
  for (const Json& item : json["params"].items()) {
    const auto field = [&](const char* name) { return static_cast<uint64_t>(item[name].integer()); };
    Param param{item["dtype"].text(), field("address"), static_cast<uint64_t>(item["stride"].integer(0, static_cast<int64_t>(manifest.total_bytes))), static_cast<uint64_t>(item["turns"].integer(0, 1 << 20)), field("elements"), field("fan_in")};
    if (param.turns > 0) check_range(manifest, param.address, param.stride * (param.turns - 1) + stored_bytes(param.dtype, param.elements), "a parameter");
    manifest.params.push_back(param);
  }
  for (const auto& [name, bounds] : json["symbols"].members()) {
    const int64_t low = bounds["min"].integer(0, largest_symbol);
    manifest.symbols[name] = {low, bounds["max"].integer(low, largest_symbol)};
  }
  Reader reader(manifest);
  for (const auto& [name, entry] : json["entries"].members()) manifest.entries[name] = reader.entry(entry);
  for (const Json& item : json["states"].items()) {
    StateSpec state{item["name"].text(), static_cast<uint64_t>(item["address"].integer()), static_cast<uint64_t>(item["bytes"].integer())};
    check_range(manifest, state.address, state.bytes, "state '" + state.name + "'");
    manifest.states.push_back(std::move(state));
  }
  if (const Json* sampler = json.find("sampler")) manifest.sampler = *sampler;
  manifest.text = std::move(text);
  return manifest;
}

}  // namespace hew
