#include "protocol/session/tls.hpp"

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <ctime>

#include "protocol/base/within.hpp"
#include "protocol/wire/control_codec.hpp"
#include "tests/support/samples.hpp"

namespace skerry {
namespace {

using namespace std::chrono_literals;
using Tcp = asio::ip::tcp;
using Stream = std::unique_ptr<FrameStream>;

class Tls : public testing::Test {
  public:
    Tls() : acceptor_(io_, Tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {}

    TlsContext server() { return server_with(root_, make_service_certificate(root_, service_.public_key(), std::time(nullptr))); }
    TlsContext server_with(const KeyPair& root, const std::string& pem) {
        return *TlsContext::make_server(service_, pem, make_root_certificate(root));
    }

    Task<Result<Stream>> accept(TlsContext context, std::chrono::milliseconds patience = 5s) {
        auto [ec, socket] = co_await acceptor_.async_accept(no_throw);
        if (ec) co_return fail(Errc::io_error, ec.message());
        co_return co_await accept_tls(std::move(socket), context, patience);
    }
    Task<Result<Stream>> dial(RootPin pin) {
        co_return co_await dial_tls("127.0.0.1", port(), TlsContext::make_client(node_), pin, 5s);
    }
    std::uint16_t port() { return acceptor_.local_endpoint().port(); }

    /// Runs a coroutine to its end; its failure fails the test.
    void run(Task<> task) {
        asio::co_spawn(io_, std::move(task), [](std::exception_ptr error) {
            if (error) std::rethrow_exception(error);
        });
        io_.run_for(20s);
        EXPECT_TRUE(io_.stopped()) << "something still waits";
    }
    Task<> connect(TlsContext context, RootPin pin) {
        using namespace asio::experimental::awaitable_operators;
        auto accepting = accept(std::move(context));
        auto dialling = dial(pin);
        auto [a, d] = co_await (std::move(accepting) && std::move(dialling));
        accepted_ = std::move(a);
        dialled_ = std::move(d);
    }

    asio::io_context io_{1};
    Tcp::acceptor acceptor_;
    KeyPair root_ = KeyPair::generate();
    KeyPair service_ = KeyPair::generate();
    KeyPair node_ = KeyPair::generate();
    RootPin pin_ = to_pin(root_.id());
    Result<Stream> accepted_ = fail(Errc::internal, "");
    Result<Stream> dialled_ = fail(Errc::internal, "");
};

TEST_F(Tls, EachSideProvesItsKey) {
    run(connect(server(), pin_));
    ASSERT_TRUE(accepted_) << accepted_.error().detail;
    ASSERT_TRUE(dialled_) << dialled_.error().detail;
    EXPECT_EQ((*accepted_)->peer_key(), node_.public_key());
    EXPECT_EQ((*dialled_)->peer_key(), service_.public_key());
}

TEST_F(Tls, AnotherRootIsRefusedBeforeAnythingIsSent) {
    run(connect(server(), to_pin(KeyPair::generate().id())));
    ASSERT_FALSE(dialled_);
    EXPECT_EQ(dialled_.error().code, Errc::wrong_coordinator);
    EXPECT_FALSE(accepted_);
}

TEST_F(Tls, AnExpiredServiceCertificateIsRefused) {
    auto old = make_service_certificate(root_, service_.public_key(), std::time(nullptr) - 91 * 86400);
    run(connect(server_with(root_, old), pin_));
    ASSERT_FALSE(dialled_);
    EXPECT_EQ(dialled_.error().code, Errc::wrong_coordinator);
}

TEST_F(Tls, AServiceKeyThatTheRootDidNotSignIsRefused) {
    auto other = KeyPair::generate();
    auto forged = make_service_certificate(other, service_.public_key(), std::time(nullptr));
    run(connect(server_with(root_, forged), pin_));
    ASSERT_FALSE(dialled_);
    EXPECT_EQ(dialled_.error().code, Errc::wrong_coordinator);
}

TEST_F(Tls, ACertificateOfAnotherKeyMakesNoServer) {
    auto pem = make_service_certificate(root_, node_.public_key(), std::time(nullptr));
    EXPECT_EQ(TlsContext::make_server(service_, pem, make_root_certificate(root_)).error().code, Errc::bad_state);
}

TEST_F(Tls, MessagesPassBothWays) {
    run([](Tls& t) -> Task<> {
        co_await t.connect(t.server(), t.pin_);
        ControlStream a(std::move(*t.accepted_));
        ControlStream b(std::move(*t.dialled_));
        a.frames().set_receive_limit(kMaxFrame);
        b.frames().set_receive_limit(kMaxFrame);
        for (const auto& [name, message] : test::sample_control_messages()) {
            auto sent = co_await a.send(message);
            EXPECT_TRUE(sent);
            auto got = co_await b.receive();
            EXPECT_TRUE(got && *got == message) << name;
            auto back = co_await b.send(message);
            EXPECT_TRUE(back);
            auto again = co_await a.receive();
            EXPECT_TRUE(again && *again == message) << name;
        }
    }(*this));
}

TEST_F(Tls, LargeFramesPassBothWaysAtOnce) {
    run([](Tls& t) -> Task<> {
        using namespace asio::experimental::awaitable_operators;
        co_await t.connect(t.server(), t.pin_);
        auto& a = **t.accepted_;
        auto& b = **t.dialled_;
        a.set_receive_limit(kMaxFrame);
        b.set_receive_limit(kMaxFrame);
        auto sa = a.send(Bytes(kMaxFrame, 1));
        auto sb = b.send(Bytes(kMaxFrame, 2));
        auto ra = a.receive();
        auto rb = b.receive();
        auto [x, y, z, w] = co_await (std::move(sa) && std::move(sb) && std::move(ra) && std::move(rb));
        EXPECT_TRUE(x && y && z && w);
        EXPECT_EQ(*z, Bytes(kMaxFrame, 2));
        EXPECT_EQ(*w, Bytes(kMaxFrame, 1));
    }(*this));
}

TEST_F(Tls, AFrameBeyondTheLimitIsRefusedByItsLengthAlone) {
    run([](Tls& t) -> Task<> {
        co_await t.connect(t.server(), t.pin_);
        auto sent = co_await (*t.dialled_)->send(Bytes(kMaxFrameBeforeWelcome + 1));
        EXPECT_TRUE(sent);
        auto got = co_await (*t.accepted_)->receive();
        EXPECT_FALSE(got);
        EXPECT_EQ(got.error().code, Errc::too_large);
    }(*this));
}

TEST_F(Tls, TheLastFrameArrivesWhenTheSenderFinishes) {
    run([](Tls& t) -> Task<> {
        using namespace asio::experimental::awaitable_operators;
        co_await t.connect(t.server(), t.pin_);
        auto unread = co_await (*t.dialled_)->send(Bytes(1000));  // the server never reads it
        auto sent = co_await (*t.accepted_)->send(Bytes(3, 7));
        EXPECT_TRUE(unread && sent);
        auto finishing = (*t.accepted_)->finish(3s);
        auto reading = [](Tls& s) -> Task<> {
            auto got = co_await (*s.dialled_)->receive();
            EXPECT_TRUE(got && *got == Bytes(3, 7));
            auto end = co_await (*s.dialled_)->receive();
            EXPECT_TRUE(!end && end.error().code == Errc::closed);
            (*s.dialled_)->close();
        }(t);
        co_await (std::move(finishing) && std::move(reading));
    }(*this));
}

TEST_F(Tls, CloseEndsAReceiveThatWaits) {
    run([](Tls& t) -> Task<> {
        using namespace asio::experimental::awaitable_operators;
        co_await t.connect(t.server(), t.pin_);
        auto reading = (*t.dialled_)->receive();
        auto closing = [](Tls& s) -> Task<> {
            (*s.dialled_)->close();
            co_return;
        }(t);
        auto got = co_await (std::move(reading) && std::move(closing));
        EXPECT_FALSE(got);
        auto other = co_await (*t.accepted_)->receive();
        EXPECT_TRUE(!other && other.error().code == Errc::closed);
    }(*this));
}

TEST_F(Tls, SilenceEndsTheHandshakeInTime) {
    run([](Tls& t) -> Task<> {
        using namespace asio::experimental::awaitable_operators;
        Tcp::socket silent(t.io_);
        auto accepting = t.accept(t.server(), 50ms);
        auto connecting = silent.async_connect(t.acceptor_.local_endpoint(), asio::use_awaitable);
        auto stream = co_await (std::move(accepting) && std::move(connecting));
        EXPECT_TRUE(!stream && stream.error().code == Errc::timed_out);
    }(*this));
}

TEST_F(Tls, GarbageEndsTheHandshake) {
    run([](Tls& t) -> Task<> {
        using namespace asio::experimental::awaitable_operators;
        auto accepting = t.accept(t.server());
        auto talking = [](Tls& s) -> Task<> {
            Tcp::socket stranger(s.io_);
            co_await stranger.async_connect(s.acceptor_.local_endpoint(), no_throw);
            std::string text(70000, 'G');
            co_await asio::async_write(stranger, asio::buffer(text), no_throw);
        }(t);
        auto stream = co_await (std::move(accepting) && std::move(talking));
        EXPECT_FALSE(stream);
    }(*this));
}

TEST_F(Tls, NobodyListeningIsUnreachable) {
    run([](Tls& t) -> Task<> {
        auto port = t.port();
        t.acceptor_.close();
        auto stream = co_await dial_tls("127.0.0.1", port, TlsContext::make_client(t.node_), t.pin_, 1s);
        EXPECT_TRUE(!stream && stream.error().code == Errc::unreachable);
    }(*this));
}

// A client of another make, to see what the server insists on.
Task<bool> plain_client_gets_through(Tls& t, std::uint16_t port, asio::io_context& io, int version, std::string alpn,
                                     std::string pem, const KeyPair* key) {
    (void)t;
    asio::ssl::context context(asio::ssl::context::tls_client);
    SSL_CTX_set_max_proto_version(context.native_handle(), version);
    if (key != nullptr) {
        context.use_certificate(asio::buffer(pem), asio::ssl::context::pem);
        SSL_CTX_use_PrivateKey(context.native_handle(), static_cast<EVP_PKEY*>(key->native()));
    }
    asio::ssl::stream<Tcp::socket> stream(io, context);
    if (!alpn.empty()) {
        auto* names = reinterpret_cast<const unsigned char*>(alpn.data());
        SSL_set_alpn_protos(stream.native_handle(), names, static_cast<unsigned>(alpn.size()));
    }
    co_await stream.next_layer().async_connect({asio::ip::address_v4::loopback(), port}, no_throw);
    auto [ec] = co_await stream.async_handshake(asio::ssl::stream_base::client, no_throw);
    if (ec) co_return false;
    std::array<char, 1> byte{};
    auto [ec2, n] = co_await stream.async_read_some(asio::buffer(byte), no_throw);  // TLS 1.3: refused only now
    co_return !ec2;
}

class Strangers : public Tls {
  public:
    Errc accept_from(int version, std::string alpn, bool with_key) {
        Errc seen = Errc::cancelled;  // no error
        run([](Strangers& s, int v, std::string a, bool k, Errc& out) -> Task<> {
            using namespace asio::experimental::awaitable_operators;
            std::string pem = make_node_certificate(s.node_);
            auto accepting = s.accept_and_greet();
            auto talking = plain_client_gets_through(s, s.port(), s.io_, v, a, pem, k ? &s.node_ : nullptr);
            auto [code, through] = co_await (std::move(accepting) && std::move(talking));
            EXPECT_EQ(through, code == Errc::cancelled);
            out = code;
        }(*this, version, std::move(alpn), with_key, seen));
        return seen;
    }
    Task<Errc> accept_and_greet() {
        auto stream = co_await accept(server());
        if (!stream) co_return stream.error().code;
        auto sent = co_await (*stream)->send(Bytes(1));
        EXPECT_TRUE(sent);
        co_return Errc::cancelled;
    }
};

const std::string kOurAlpn = "\x08skerry/1";

TEST_F(Strangers, OneWhoKeepsAllRulesPasses) {
    EXPECT_EQ(accept_from(TLS1_3_VERSION, kOurAlpn, true), Errc::cancelled);
}
TEST_F(Strangers, WithoutAKeyAreRefused) { EXPECT_NE(accept_from(TLS1_3_VERSION, kOurAlpn, false), Errc::cancelled); }
TEST_F(Strangers, OfAnOlderTlsAreRefused) { EXPECT_NE(accept_from(TLS1_2_VERSION, kOurAlpn, true), Errc::cancelled); }
TEST_F(Strangers, OfAnotherProtocolAreRefused) {
    EXPECT_NE(accept_from(TLS1_3_VERSION, "\x08http/1.1", true), Errc::cancelled);
    io_.restart();
    EXPECT_NE(accept_from(TLS1_3_VERSION, "", true), Errc::cancelled);
}

}  // namespace
}  // namespace skerry
