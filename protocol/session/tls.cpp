#include "protocol/session/tls.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/this_coro.hpp>
#include <ctime>
#include <optional>

#include "protocol/base/within.hpp"
#include "protocol/session/socket_frames.hpp"

namespace skerry {
namespace {

namespace ssl = asio::ssl;
using Tcp = asio::ip::tcp;
using StreamPtr = std::unique_ptr<FrameStream>;

constexpr unsigned char kAlpn[] = {8, 's', 'k', 'e', 'r', 'r', 'y', '/', '1'};
constexpr std::size_t kMostAddresses = 8;

// What the certificate callback of one handshake needs and finds.
struct Handshake {
    std::optional<RootPin> pin;  ///< dialling side
    std::optional<Error> error;
    PublicKey peer;
};

int handshake_index() {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

Handshake* handshake_of(X509_STORE_CTX* store) {
    auto* connection =
        static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    return static_cast<Handshake*>(SSL_get_ex_data(connection, handshake_index()));
}

Result<CertificateInfo> check_peer(X509_STORE_CTX* store, const Handshake& handshake) {
    X509* leaf = X509_STORE_CTX_get0_cert(store);
    if (!handshake.pin) return native_certificate_info(leaf);
    STACK_OF(X509)* chain = X509_STORE_CTX_get0_untrusted(store);
    for (int i = 0; i < sk_X509_num(chain); ++i) {
        X509* root = sk_X509_value(chain, i);
        if (root != leaf) return verify_native_chain(leaf, root, *handshake.pin, std::time(nullptr));
    }
    return fail(Errc::wrong_coordinator, "it shows no root certificate");
}

// Replaces OpenSSL's chain building: names, purposes and stores play no part here.
int verify_certificates(X509_STORE_CTX* store, void*) {
    Handshake* handshake = handshake_of(store);
    if (handshake == nullptr) return 0;
    auto info = check_peer(store, *handshake);
    if (info) {
        handshake->peer = info->key;
        return 1;
    }
    handshake->error = info.error();
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
    return 0;
}

int choose_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned int in_size, void*) {
    int found = SSL_select_next_proto(const_cast<unsigned char**>(out), out_size, kAlpn, sizeof kAlpn, in, in_size);
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

void apply_settings(SSL_CTX* context) {
    SKERRY_ASSERT(SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1);
    SKERRY_ASSERT(SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SKERRY_ASSERT(SSL_CTX_set_num_tickets(context, 0) == 1);
    SKERRY_ASSERT(SSL_CTX_set_max_early_data(context, 0) == 1);
    SSL_CTX_set_max_cert_list(context, kMaxCertificateList);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SKERRY_ASSERT(SSL_CTX_set1_groups_list(context, "X25519") == 1);
    SKERRY_ASSERT(SSL_CTX_set1_sigalgs_list(context, "ed25519") == 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_cert_verify_callback(context, verify_certificates, nullptr);
}

}  // namespace

struct TlsContext::State {
    explicit State(asio::ssl::context::method method) : native(method) { apply_settings(native.native_handle()); }
    asio::ssl::context native;
};

namespace {

Fail handshake_failure(const boost::system::error_code& ec, const Handshake& handshake, const std::string& peer) {
    if (handshake.error) return fail(*handshake.error);
    if (ec.category() == asio::error::get_ssl_category()) {
        int reason = ERR_GET_REASON(static_cast<unsigned long>(ec.value()));
        if (reason == SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL)
            return fail(Errc::version_mismatch, peer + " speaks another version of the protocol", "update skerry");
        return fail(Errc::malformed, "TLS handshake with " + peer + ": " + ec.message());
    }
    return to_stream_failure(ec, peer);
}

class TlsFrameStream : public FrameStream {
  public:
    TlsFrameStream(Tcp::socket socket, TlsContext context, ssl::context& native, std::string name)
        : context_(std::move(context)), stream_(std::move(socket), native), name_(std::move(name)) {}

    Task<Result<void>> shake(ssl::stream_base::handshake_type side, std::optional<RootPin> pin) {
        Handshake handshake{pin, {}, {}};
        SKERRY_ASSERT(SSL_set_ex_data(stream_.native_handle(), handshake_index(), &handshake) == 1);
        auto [ec] = co_await stream_.async_handshake(side, no_throw);
        SSL_set_ex_data(stream_.native_handle(), handshake_index(), nullptr);
        if (ec) co_return handshake_failure(ec, handshake, name_);
        if (!speaks_our_version())
            co_return fail(Errc::version_mismatch, name_ + " speaks another protocol");
        peer_ = handshake.peer;
        co_return Result<void>{};
    }

    Task<Result<void>> send(Bytes frame) override {
        home_.check();
        co_return co_await write_frame(stream_, frame, name_);
    }
    Task<Result<Bytes>> receive() override {
        home_.check();
        co_return co_await read_frame(stream_, receive_limit_, name_);
    }
    void close() override {
        boost::system::error_code ignored;
        stream_.next_layer().close(ignored);
    }
    Task<> finish(std::chrono::milliseconds patience) override {
        // Closing a socket with unread bytes resets it, and the last frame would be lost with it. So: say the end,
        // read until the other side has said its own.
        auto last_words = drain();
        auto ended = co_await within(patience, std::move(last_words));
        (void)ended;
        close();
    }
    const PublicKey& peer_key() const override { return peer_; }
    const std::string& peer_name() const override { return name_; }

  private:
    bool speaks_our_version() {
        const unsigned char* chosen = nullptr;
        unsigned int size = 0;
        SSL_get0_alpn_selected(stream_.native_handle(), &chosen, &size);
        return size == sizeof kAlpn - 1 && std::memcmp(chosen, kAlpn + 1, size) == 0;
    }

    Task<Result<void>> drain() {
        auto [shut] = co_await stream_.async_shutdown(no_throw);
        if (shut && shut != asio::error::eof && shut != ssl::error::stream_truncated) co_return Result<void>{};
        boost::system::error_code ignored;
        stream_.next_layer().shutdown(Tcp::socket::shutdown_send, ignored);
        std::array<std::uint8_t, 4096> rest{};
        for (std::size_t total = 0; total < kMaxFrame;) {
            auto [ec, n] = co_await stream_.next_layer().async_read_some(asio::buffer(rest), no_throw);
            if (ec) break;
            total += n;
        }
        co_return Result<void>{};
    }

    TlsContext context_;  // outlives the stream's use of it
    ssl::stream<Tcp::socket> stream_;
    std::string name_;
    PublicKey peer_;
    ThreadHome home_;
};

std::string to_name(const Tcp::endpoint& endpoint) {
    std::string address = endpoint.address().to_string();
    if (endpoint.address().is_v6()) address = "[" + address + "]";
    return address + ":" + std::to_string(endpoint.port());
}

void tune(Tcp::socket& socket) {
    boost::system::error_code ignored;
    socket.set_option(Tcp::no_delay(true), ignored);
    socket.set_option(asio::socket_base::keep_alive(true), ignored);
}

Task<Result<std::vector<Tcp::endpoint>>> resolve(std::string host, std::uint16_t port) {
    std::vector<Tcp::endpoint> out;
    boost::system::error_code numeric;
    auto address = asio::ip::make_address(host, numeric);
    if (!numeric) {
        out.push_back({address, port});
        co_return out;
    }
    Tcp::resolver resolver(co_await asio::this_coro::executor);
    auto [ec, found] = co_await resolver.async_resolve(host, std::to_string(port), no_throw);
    if (ec == asio::error::operation_aborted) co_return fail(Errc::cancelled, "");
    if (ec) co_return fail(Errc::unreachable, "no address for " + host + ": " + ec.message(), "check the host name");
    for (const auto& entry : found) {
        if (out.size() < kMostAddresses) out.push_back(entry.endpoint());
    }
    co_return out;
}

Task<Result<Tcp::socket>> connect(std::string host, std::uint16_t port) {
    auto endpoints = co_await resolve(host, port);
    if (!endpoints) co_return fail(endpoints.error());
    std::string tried;
    for (const Tcp::endpoint& endpoint : *endpoints) {
        Tcp::socket socket(co_await asio::this_coro::executor);
        auto [ec] = co_await socket.async_connect(endpoint, no_throw);
        if (ec == asio::error::operation_aborted) co_return fail(Errc::cancelled, "");
        if (!ec) co_return socket;
        tried += (tried.empty() ? "" : "; ") + to_name(endpoint) + " " + ec.message();
    }
    co_return fail(Errc::unreachable, "no TCP answer from " + host + ":" + std::to_string(port) + " (" + tried + ")");
}

Task<Result<StreamPtr>> dial(std::string host, std::uint16_t port, TlsContext context, RootPin pin) {
    auto socket = co_await connect(host, port);
    if (!socket) co_return fail(socket.error());
    tune(*socket);
    boost::system::error_code ec;
    auto endpoint = socket->remote_endpoint(ec);
    auto stream = std::make_unique<TlsFrameStream>(std::move(*socket), context, context.state().native,
                                                   ec ? host : to_name(endpoint));
    auto shaken = co_await stream->shake(ssl::stream_base::client, pin);
    if (!shaken) co_return fail(shaken.error());
    co_return StreamPtr(std::move(stream));
}

Task<Result<StreamPtr>> shake_accepted(std::unique_ptr<TlsFrameStream> stream) {
    auto shaken = co_await stream->shake(ssl::stream_base::server, std::nullopt);
    if (!shaken) co_return fail(shaken.error());
    co_return StreamPtr(std::move(stream));
}

}  // namespace

Fail to_stream_failure(const boost::system::error_code& ec, const std::string& peer) {
    if (ec == asio::error::operation_aborted) return fail(Errc::cancelled, "");
    bool gone = ec == asio::error::eof || ec == asio::error::connection_reset || ec == asio::error::broken_pipe ||
                ec == asio::error::connection_aborted || ec == asio::error::bad_descriptor ||
                ec == ssl::error::stream_truncated;
    if (gone) return fail(Errc::closed, peer + " closed the connection");
    if (ec.category() == asio::error::get_ssl_category())
        return fail(Errc::closed, "TLS with " + peer + " ended: " + ec.message());
    return fail(Errc::io_error, peer + ": " + ec.message());
}

Result<TlsContext> TlsContext::make_server(const KeyPair& service, const std::string& service_pem,
                                           const std::string& root_pem) {
    auto info = parse_certificate(service_pem);
    if (!info) return fail(info.error());
    auto root = parse_certificate(root_pem);
    if (!root) return fail(root.error());
    if (info->key != service.public_key()) return fail(Errc::bad_state, "the service certificate is not for this service key");
    auto state = std::make_shared<State>(ssl::context::tls_server);
    boost::system::error_code ec;
    std::string chain = service_pem + root_pem;
    state->native.use_certificate_chain(asio::buffer(chain), ec);
    if (ec) return fail(Errc::malformed, "service certificate: " + ec.message());
    SSL_CTX* native = state->native.native_handle();
    SKERRY_ASSERT(SSL_CTX_use_PrivateKey(native, static_cast<EVP_PKEY*>(service.native())) == 1);
    SSL_CTX_set_alpn_select_cb(native, choose_alpn, nullptr);
    return TlsContext(std::move(state));
}

TlsContext TlsContext::make_client(const KeyPair& key) {
    auto state = std::make_shared<State>(ssl::context::tls_client);
    boost::system::error_code ec;
    std::string pem = make_node_certificate(key);
    state->native.use_certificate_chain(asio::buffer(pem), ec);
    SKERRY_ASSERT(!ec);
    SSL_CTX* native = state->native.native_handle();
    SKERRY_ASSERT(SSL_CTX_use_PrivateKey(native, static_cast<EVP_PKEY*>(key.native())) == 1);
    SKERRY_ASSERT(SSL_CTX_set_alpn_protos(native, kAlpn, sizeof kAlpn) == 0);
    return TlsContext(std::move(state));
}

Task<Result<StreamPtr>> dial_tls(std::string host, std::uint16_t port, TlsContext context, RootPin pin,
                                 std::chrono::milliseconds patience) {
    auto dialled = dial(host, port, std::move(context), pin);
    auto stream = co_await within(patience, std::move(dialled));
    if (!stream && stream.error().code == Errc::timed_out)
        co_return fail(Errc::unreachable, "no answer from " + host + ":" + std::to_string(port) + " in " +
                                              std::to_string(patience.count()) + " ms");
    co_return stream;
}

Task<Result<StreamPtr>> accept_tls(Tcp::socket socket, TlsContext context, std::chrono::milliseconds patience) {
    boost::system::error_code ec;
    auto endpoint = socket.remote_endpoint(ec);
    if (ec) co_return fail(Errc::closed, "gone before the handshake");
    tune(socket);
    auto stream = std::make_unique<TlsFrameStream>(std::move(socket), context, context.state().native, to_name(endpoint));
    auto shaken = shake_accepted(std::move(stream));
    co_return co_await within(patience, std::move(shaken));
}

}  // namespace skerry
