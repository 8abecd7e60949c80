#include "protocol/identity/keys.hpp"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "protocol/base/assert.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry {
namespace {

struct FreeBio {
    void operator()(BIO* bio) const { BIO_free_all(bio); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

struct FreeContext {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using MdContext = std::unique_ptr<EVP_MD_CTX, FreeContext>;

EVP_PKEY* pkey(void* p) { return static_cast<EVP_PKEY*>(p); }

std::shared_ptr<void> hold(EVP_PKEY* key) {
    return {key, [](void* p) { EVP_PKEY_free(pkey(p)); }};
}

// A passphrase prompt on the terminal would be the default for an encrypted file.
int no_passphrase(char*, int, int, void*) { return -1; }

Bytes tagged(std::string_view tag, ByteSpan fields) {
    Bytes message(tag.begin(), tag.end());
    message.push_back(0);
    message.insert(message.end(), fields.begin(), fields.end());
    return message;
}

class FileDescriptor {
  public:
    explicit FileDescriptor(int fd) : fd_(fd) {}
    ~FileDescriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    int get() const { return fd_; }

  private:
    int fd_;
};

Fail io_failure(const std::string& what, const std::filesystem::path& file) {
    int error = errno;
    Errc code = error == ENOSPC || error == EDQUOT ? Errc::disk_full : Errc::io_error;
    return fail(code, what + " " + file.string() + ": " + std::strerror(error));
}

Result<void> write_all(int fd, std::string_view text, const std::filesystem::path& file) {
    while (!text.empty()) {
        ssize_t n = ::write(fd, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return io_failure("cannot write", file);
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    if (::fsync(fd) != 0) return io_failure("cannot sync", file);
    return {};
}

std::string to_pem(void* key) {
    Bio out(BIO_new(BIO_s_secmem()));
    SKERRY_ASSERT(out != nullptr);
    SKERRY_ASSERT(PEM_write_bio_PKCS8PrivateKey(out.get(), pkey(key), nullptr, nullptr, 0, nullptr, nullptr) == 1);
    char* data = nullptr;
    auto size = BIO_get_mem_data(out.get(), &data);
    return {data, static_cast<std::size_t>(size)};
}

}  // namespace

KeyPair::KeyPair(std::shared_ptr<void> key) : key_(std::move(key)) {
    std::size_t size = public_key_.bytes.size();
    SKERRY_ASSERT(EVP_PKEY_get_raw_public_key(pkey(key_.get()), public_key_.bytes.data(), &size) == 1);
    id_ = node_id_of(public_key_);
}

KeyPair KeyPair::generate() {
    EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
    SKERRY_ASSERT(key != nullptr);
    return KeyPair(hold(key));
}

KeyPair KeyPair::from_seed(const Digest& seed) {
    EVP_PKEY* key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.bytes.data(), seed.bytes.size());
    SKERRY_ASSERT(key != nullptr);
    return KeyPair(hold(key));
}

Result<KeyPair> KeyPair::parse_pem(std::string_view pem) {
    if (pem.size() > 16384) return fail(Errc::malformed, "no private key: too long");
    Bio in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    EVP_PKEY* key = PEM_read_bio_PrivateKey(in.get(), nullptr, no_passphrase, nullptr);
    ERR_clear_error();
    if (key == nullptr) return fail(Errc::malformed, "no private key in PKCS#8 PEM");
    auto held = hold(key);
    if (EVP_PKEY_is_a(key, "ED25519") != 1) return fail(Errc::malformed, "the key is not Ed25519");
    return KeyPair(std::move(held));
}

Result<KeyPair> KeyPair::load(const std::filesystem::path& file) {
    FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (fd.get() < 0 && errno == ENOENT) return fail(Errc::not_found, "no key file " + file.string());
    if (fd.get() < 0) return io_failure("cannot open", file);
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return io_failure("cannot look at", file);
    if (!S_ISREG(info.st_mode)) return fail(Errc::bad_state, file.string() + " is not a regular file");
    if (info.st_uid != ::geteuid() && info.st_uid != 0)
        return fail(Errc::bad_state, file.string() + " belongs to another user");
    if ((info.st_mode & 077) != 0)
        return fail(Errc::bad_state, file.string() + " can be read by others", "chmod 600 " + file.string());
    std::array<char, 16384> pem{};
    std::size_t size = 0;
    while (size < pem.size()) {
        ssize_t n = ::read(fd.get(), pem.data() + size, pem.size() - size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return io_failure("cannot read", file);
        if (n == 0) break;
        size += static_cast<std::size_t>(n);
    }
    auto key = parse_pem({pem.data(), size});
    OPENSSL_cleanse(pem.data(), pem.size());
    if (!key) return fail(key.error().code, file.string() + ": " + key.error().detail);
    return key;
}

Result<void> KeyPair::save(const std::filesystem::path& file) const {
    auto temporary = file;
    temporary += ".new";
    ::unlink(temporary.c_str());  // of a process that died in this function
    FileDescriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd.get() < 0) return io_failure("cannot make", temporary);
    std::string pem = to_pem(key_.get());
    auto written = write_all(fd.get(), pem, temporary);
    OPENSSL_cleanse(pem.data(), pem.size());
    // link, not rename: it fails where a file is, so that no key is ever overwritten.
    if (written && ::link(temporary.c_str(), file.c_str()) != 0)
        written = errno == EEXIST ? Result<void>(fail(Errc::already_exists, file.string() + " exists"))
                                  : Result<void>(io_failure("cannot make", file));
    ::unlink(temporary.c_str());
    if (!written) return written;
    auto folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
    FileDescriptor folder_fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder_fd.get() < 0 || ::fsync(folder_fd.get()) != 0) return io_failure("cannot sync", folder);
    return {};
}

Signature KeyPair::sign(ByteSpan message) const {
    Signature out;
    std::size_t size = out.bytes.size();
    MdContext context(EVP_MD_CTX_new());
    SKERRY_ASSERT(context != nullptr);
    SKERRY_ASSERT(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, pkey(key_.get())) == 1);
    SKERRY_ASSERT(EVP_DigestSign(context.get(), out.bytes.data(), &size, message.data(), message.size()) == 1);
    return out;
}

Signature KeyPair::sign(std::string_view tag, ByteSpan fields) const { return sign(tagged(tag, fields)); }

bool verify(const PublicKey& key, ByteSpan message, const Signature& signature) {
    auto held = hold(
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.bytes.data(), key.bytes.size()));
    MdContext context(EVP_MD_CTX_new());
    SKERRY_ASSERT(held != nullptr && context != nullptr);
    bool ok = EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, pkey(held.get())) == 1 &&
              EVP_DigestVerify(context.get(), signature.bytes.data(), signature.bytes.size(), message.data(),
                               message.size()) == 1;
    if (!ok) ERR_clear_error();
    return ok;
}

bool verify(const PublicKey& key, std::string_view tag, ByteSpan fields, const Signature& signature) {
    return verify(key, tagged(tag, fields), signature);
}

NodeId node_id_of(const PublicKey& key) {
    // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410) is this prefix and the raw key.
    static constexpr std::array<std::uint8_t, 12> kPrefix = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                                             0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
    NodeId id;
    id.bytes = Sha256().update(kPrefix).update(key.bytes).finish().bytes;
    return id;
}

std::string to_fingerprint_text(ByteSpan id) {
    std::string hex = to_hex(id.first(std::min<std::size_t>(id.size(), 16)));
    std::string out;
    for (std::size_t i = 0; i < hex.size(); i += 4) {
        if (i != 0) out += '-';
        out += hex.substr(i, 4);
    }
    return out;
}

void fill_random(std::span<std::uint8_t> out) {
    SKERRY_ASSERT(RAND_bytes(out.data(), static_cast<int>(out.size())) == 1);
}

}  // namespace skerry
