#include "json.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "error.h"

namespace hew {

class JsonParser {
 public:
  explicit JsonParser(std::string_view text) : text_(text) {}

  Json document() {
    Json value = this->value(0);
    space();
    if (at_ != text_.size()) fail("text after the end of the value");
    return value;
  }

 private:
  static constexpr int deepest = 100;

  [[noreturn]] void fail(const char* problem) const {
    throw Error(HEW_ERROR_BUNDLE, "the manifest is not JSON: " + std::string(problem) + " at byte " + std::to_string(at_));
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) at_++;
  }

  void expect(char c, const char* problem) {
    if (peek() != c) fail(problem);
    at_++;
  }

  void word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) fail("an unknown word");
    at_ += expected.size();
  }

  Json value(int depth) {
    if (depth > deepest) fail("too much nesting");
    space();
    Json value;
    switch (peek()) {
      case '{':
        object(value, depth);
        break;
      case '[':
        array(value, depth);
        break;
      case '"':
        value.kind_ = Json::Kind::string;
        value.text_ = string();
        break;
      case 't':
        word("true");
        value.kind_ = Json::Kind::boolean;
        value.number_ = 1;
        break;
      case 'f':
        word("false");
        value.kind_ = Json::Kind::boolean;
        break;
      case 'n':
        word("null");
        break;
      default:
        value.kind_ = Json::Kind::number;
        value.number_ = number();
    }
    return value;
  }

  void object(Json& value, int depth) {
    value.kind_ = Json::Kind::object;
    expect('{', "no '{'");
    space();
    if (peek() == '}') {
      at_++;
      return;
    }
    for (;;) {
      space();
      std::string key = string();
      space();
      expect(':', "no ':' after a key");
      value.members_.emplace_back(std::move(key), this->value(depth + 1));
      space();
      if (peek() != ',') break;
      at_++;
    }
    expect('}', "no '}' after an object");
  }

  void array(Json& value, int depth) {
    value.kind_ = Json::Kind::array;
    expect('[', "no '['");
    space();
    if (peek() == ']') {
      at_++;
      return;
    }
    for (;;) {
      value.items_.push_back(this->value(depth + 1));
      space();
      if (peek() != ',') break;
      at_++;
    }
    expect(']', "no ']' after a list");
  }

  unsigned hexadecimal() {
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0) fail("a bad escape");
      code = code * 16 + static_cast<unsigned>(digit);
      at_++;
    }
    return code;
  }

  static void append_utf8(std::string& out, unsigned code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xc0 | (code >> 6));
      out += static_cast<char>(0x80 | (code & 63));
    } else if (code < 0x10000) {
      out += static_cast<char>(0xe0 | (code >> 12));
      out += static_cast<char>(0x80 | ((code >> 6) & 63));
      out += static_cast<char>(0x80 | (code & 63));
    } else {
      out += static_cast<char>(0xf0 | (code >> 18));
      out += static_cast<char>(0x80 | ((code >> 12) & 63));
      out += static_cast<char>(0x80 | ((code >> 6) & 63));
      out += static_cast<char>(0x80 | (code & 63));
    }
  }

  void escape(std::string& out) {
    const char c = peek();
    at_++;
    switch (c) {
      case 'n': out += '\n'; return;
      case 't': out += '\t'; return;
      case 'r': out += '\r'; return;
      case 'b': out += '\b'; return;
      case 'f': out += '\f'; return;
      case '"': case '\\': case '/': out += c; return;
      case 'u': break;
      default: fail("a bad escape");
    }
    unsigned code = hexadecimal();
    if (code >= 0xd800 && code < 0xdc00) {
      expect('\\', "half of a character");
      expect('u', "half of a character");
      const unsigned low = hexadecimal();
      if (low < 0xdc00 || low >= 0xe000) fail("half of a character");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(out, code);
  }

  std::string string() {
    expect('"', "no string where one is needed");
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) fail("a string without an end");
      const char c = text_[at_++];
      if (c == '"') return out;
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
      if (c == '\\') escape(out);
      else out += c;
    }
  }

  double number() {
    const size_t start = at_;
    while (at_ < text_.size() && (std::string_view("+-.eE0123456789").find(text_[at_]) != std::string_view::npos)) at_++;
    const std::string digits(text_.substr(start, at_ - start));
    char* end = nullptr;
    const double value = std::strtod(digits.c_str(), &end);
    if (digits.empty() || end != digits.c_str() + digits.size() || !std::isfinite(value)) fail("a bad number");
    return value;
  }

  std::string_view text_;
  size_t at_ = 0;
};

Json Json::parse(std::string_view text) { return JsonParser(text).document(); }

void Json::wrong(const char* wanted) const {
  throw Error(HEW_ERROR_BUNDLE, "the manifest makes no sense: " + std::string(wanted) + " is expected");
}

const std::string& Json::text() const {
  if (kind_ != Kind::string) wrong("a string");
  return text_;
}

double Json::number() const {
  if (kind_ != Kind::number) wrong("a number");
  return number_;
}

int64_t Json::integer(int64_t low, int64_t high) const {
  const double value = number();
  if (value != std::floor(value) || value < static_cast<double>(low) || value > static_cast<double>(high))
    wrong(("an integer in " + std::to_string(low) + ".." + std::to_string(high)).c_str());
  return static_cast<int64_t>(value);
}

const std::vector<Json>& Json::items() const {
  if (kind_ != Kind::array) wrong("a list");
  return items_;
}

const std::vector<std::pair<std::string, Json>>& Json::members() const {
  if (kind_ != Kind::object) wrong("an object");
  return members_;
}

const Json* Json::find(std::string_view key) const {
  for (const auto& [name, value] : members())
    if (name == key) return &value;
  return nullptr;
}

const Json& Json::operator[](std::string_view key) const {
  const Json* found = find(key);
  if (found == nullptr) wrong(("a member '" + std::string(key) + "'").c_str());
  return *found;
}

}  // namespace hew
