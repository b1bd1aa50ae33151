// A reader of JSON (RFC 8259) for manifests: numbers are doubles, objects keep the order of their keys, input may be
// hostile (depth is limited, nothing is trusted to be there).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hew {

class Json {
 public:
  enum class Kind { null, boolean, number, string, array, object };

  // Throws Error(HEW_ERROR_BUNDLE) with the byte offset where the text is not JSON.
  static Json parse(std::string_view text);

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_number() const { return kind_ == Kind::number; }
  bool is_array() const { return kind_ == Kind::array; }
  bool is_object() const { return kind_ == Kind::object; }

  // Each throws Error(HEW_ERROR_BUNDLE) when the value is of another kind.
  const std::string& text() const;
  double number() const;
  // An integer within the range; 2^53 is the largest that a manifest holds.
  int64_t integer(int64_t low = 0, int64_t high = int64_t{1} << 53) const;
  const std::vector<Json>& items() const;
  const std::vector<std::pair<std::string, Json>>& members() const;
  // The member of an object; throws when it is absent.
  const Json& operator[](std::string_view key) const;
  // The member, or null.
  const Json* find(std::string_view key) const;

 private:
  friend class JsonParser;
  [[noreturn]] void wrong(const char* wanted) const;

  Kind kind_ = Kind::null;
  double number_ = 0;
  std::string text_;
  std::vector<Json> items_;
  std::vector<std::pair<std::string, Json>> members_;
};

}  // namespace hew
