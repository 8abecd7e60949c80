// Plays an attacker on the data plane, as a process of its own so that the victim's memory can be measured.
//
//   data_plane_stranger foreign PORT SERVER_KEY            a random CURVE key, megabytes as soon as it may
//   data_plane_stranger known PORT SERVER_KEY PUB SECRET   a key that may be in the roster: 1 MiB messages for ever
//   data_plane_stranger endless PORT SERVER_KEY PUB SECRET the same as messages of 300 parts each
//   data_plane_stranger gibibyte PORT -                    no ZeroMQ: greeting, then a frame header that claims 1 GiB
//
// Runs until killed. Keys in hex.

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "node/transport/socket_factory.hpp"
#include "protocol/base/bytes.hpp"

using namespace skerry;
using namespace skerry::node;

namespace {

int flood(std::uint16_t port, const CurveKeyPair& own, const CurveKey& server, int parts) {
    ZmqContext context;
    auto dialler = make_dialler(context, own, server);
    if (!dialler || !connect_tcp(*dialler, "127.0.0.1", port)) return 1;
    std::vector<char> megabyte(1 << 20, 'x');
    for (int sent = 1;; ++sent)
        zmq_send(dialler->native(), megabyte.data(), megabyte.size(), sent % parts == 0 ? 0 : ZMQ_SNDMORE);
}

/// ZMTP 3.0 with mechanism CURVE, as far as any stranger gets; then a command frame of 2^30 bytes.
int claim_gibibyte(std::uint16_t port) {
    for (;;) {
        int fd = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return 1;
        std::array<std::uint8_t, 64> greeting{};
        greeting[0] = 0xFF;
        greeting[9] = 0x7F;
        greeting[10] = 3;
        std::memcpy(greeting.data() + 12, "CURVE", 5);
        ::send(fd, greeting.data(), greeting.size(), MSG_NOSIGNAL);
        std::array<std::uint8_t, 9> header{0x06, 0, 0, 0, 0, 0x40, 0, 0, 0};
        ::send(fd, header.data(), header.size(), MSG_NOSIGNAL);
        std::vector<char> block(65536, 'x');
        for (int i = 0; i < 512; ++i) {
            if (::send(fd, block.data(), block.size(), MSG_NOSIGNAL) < 0) break;
        }
        ::close(fd);
        ::usleep(20'000);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    std::string mode = argv[1];
    auto port = static_cast<std::uint16_t>(std::stoul(argv[2]));
    if (mode == "gibibyte") return claim_gibibyte(port);
    auto server = parse_fixed_hex<CurveKey>(argv[3]);
    if (!server) return 2;
    CurveKeyPair own = make_curve_keys();
    if (argc == 6) {
        auto key = parse_fixed_hex<CurveKey>(argv[4]);
        auto secret = parse_hex(argv[5]);
        if (!key || !secret || secret->size() != own.secret.size()) return 2;
        own.public_key = *key;
        std::memcpy(own.secret.data(), secret->data(), secret->size());
    }
    return flood(port, own, *server, mode == "endless" ? 300 : 1);
}
