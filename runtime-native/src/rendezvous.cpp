#include "rendezvous.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "error.h"

namespace hew {
namespace {

constexpr auto patience = std::chrono::seconds(60);
constexpr auto pause = std::chrono::milliseconds(50);

std::string setting(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? fallback : value;
}

std::string meeting_place() { return setting("MASTER_ADDR", "127.0.0.1") + ":" + setting("MASTER_PORT", "29500"); }

[[noreturn]] void refuse(const std::string& what) {
  throw Error(HEW_ERROR_RANKS, what + " at " + meeting_place() + " (" + std::strerror(errno) +
                                   "); set MASTER_ADDR and MASTER_PORT to a free port of the first rank's host");
}

class Socket {
 public:
  explicit Socket(int handle) : handle_(handle) {}
  ~Socket() {
    if (handle_ >= 0) close(handle_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int handle() const { return handle_; }
  bool is_open() const { return handle_ >= 0; }

 private:
  int handle_;
};

class Addresses {
 public:
  Addresses() {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    const std::string host = setting("MASTER_ADDR", "127.0.0.1"), port = setting("MASTER_PORT", "29500");
    if (getaddrinfo(host.c_str(), port.c_str(), &hints, &first_) != 0) refuse("there is no address");
  }
  ~Addresses() { freeaddrinfo(first_); }
  Addresses(const Addresses&) = delete;
  Addresses& operator=(const Addresses&) = delete;
  const addrinfo& first() const { return *first_; }

 private:
  addrinfo* first_ = nullptr;
};

void wait_at_most(int handle) {
  timeval limit{std::chrono::duration_cast<std::chrono::seconds>(patience).count(), 0};
  setsockopt(handle, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(handle, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

void give(const void* data, size_t bytes, int count) {
  const Addresses addresses;
  const addrinfo& at = addresses.first();
  const Socket listener(socket(at.ai_family, at.ai_socktype, at.ai_protocol));
  const int yes = 1;
  if (!listener.is_open()) refuse("no socket could be made");
  setsockopt(listener.handle(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener.handle(), at.ai_addr, at.ai_addrlen) != 0 || listen(listener.handle(), count) != 0) refuse("the first rank cannot listen");
  wait_at_most(listener.handle());
  for (int other = 1; other < count; other++) {
    const Socket peer(accept(listener.handle(), nullptr, nullptr));
    if (!peer.is_open()) refuse("only " + std::to_string(other) + " of " + std::to_string(count) + " ranks came");
    size_t sent = 0;
    while (sent < bytes) {
      const ssize_t now = send(peer.handle(), static_cast<const char*>(data) + sent, bytes - sent, MSG_NOSIGNAL);
      if (now <= 0) refuse("a rank went away");
      sent += static_cast<size_t>(now);
    }
  }
}

void take(void* data, size_t bytes) {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const Addresses addresses;
    const addrinfo& at = addresses.first();
    const Socket peer(socket(at.ai_family, at.ai_socktype, at.ai_protocol));
    if (peer.is_open() && connect(peer.handle(), at.ai_addr, at.ai_addrlen) == 0) {
      wait_at_most(peer.handle());
      size_t received = 0;
      while (received < bytes) {
        const ssize_t now = recv(peer.handle(), static_cast<char*>(data) + received, bytes - received, 0);
        if (now <= 0) refuse("the first rank went away");
        received += static_cast<size_t>(now);
      }
      return;
    }
    if (std::chrono::steady_clock::now() > until) refuse("the first rank does not answer");
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace

void share_from_first(void* data, size_t bytes, int rank, int count) {
  if (count == 1) return;
  if (rank == 0) {
    give(data, bytes, count);
  } else {
    take(data, bytes);
  }
}

}  // namespace hew
