#include "coordinator/app/ustar.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <vector>

#include "protocol/config/files.hpp"

namespace skerry::coordinator {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kWindow = 256 * 1024;

using Block = std::array<char, kBlock>;

/// A field of a header: where it begins and how long it is.
struct Field {
    std::size_t at, room;
};
constexpr Field kName{0, kUstarMaxName}, kMode{100, 8}, kOwner{108, 8}, kGroup{116, 8}, kSize{124, 12}, kTime{136, 12}, kChecksum{148, 8};
constexpr std::size_t kKind = 156, kMagic = 257;

void set_text(Block& block, std::size_t at, const std::string& value) { std::memcpy(block.data() + at, value.data(), value.size()); }

void set_octal(Block& block, Field field, std::uint64_t value) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%0*llo", static_cast<int>(field.room - 1), static_cast<unsigned long long>(value));
    set_text(block, field.at, std::string(digits, field.room - 1));
}

std::optional<std::uint64_t> octal_in(const Block& block, Field field) {
    std::uint64_t value = 0;
    bool any = false;
    for (std::size_t i = field.at; i < field.at + field.room && block[i] != '\0' && block[i] != ' '; ++i) {
        if (block[i] < '0' || block[i] > '7') return {};
        value = value * 8 + static_cast<std::uint64_t>(block[i] - '0');
        any = true;
    }
    return any ? std::optional(value) : std::nullopt;
}

/// As POSIX says: the sum of all bytes, with its own field taken as spaces.
std::uint64_t checksum(const Block& block) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kBlock; ++i) {
        const bool own = i >= kChecksum.at && i < kChecksum.at + kChecksum.room;
        sum += own ? static_cast<unsigned char>(' ') : static_cast<unsigned char>(block[i]);
    }
    return sum;
}

Block make_header(const std::string& path, std::uint64_t size, std::uint32_t mode) {
    Block block{};
    set_text(block, kName.at, path);
    set_octal(block, kMode, mode);
    set_octal(block, kOwner, 0);
    set_octal(block, kGroup, 0);
    set_octal(block, kSize, size);
    set_octal(block, kTime, 0);
    set_text(block, kKind, "0");
    set_text(block, kMagic, std::string("ustar\0" "00", 8));
    set_octal(block, {kChecksum.at, kChecksum.room - 1}, checksum(block));
    block[kChecksum.at + kChecksum.room - 1] = ' ';
    return block;
}

std::uint64_t padding_of(std::uint64_t bytes) { return (kBlock - bytes % kBlock) % kBlock; }

ByteSpan as_span(const Block& block) { return {reinterpret_cast<const std::uint8_t*>(block.data()), block.size()}; }

}  // namespace

Result<std::uint64_t> read_through(int fd, const std::filesystem::path& name, const TakeBytes& take) {
    std::vector<std::uint8_t> window(kWindow);
    std::uint64_t total = 0;
    for (;;) {
        const ssize_t n = ::read(fd, window.data(), window.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(file_error("cannot read", name, errno));
        if (n == 0) return total;
        total += static_cast<std::uint64_t>(n);
        auto taken = take(ByteSpan(window.data(), static_cast<std::size_t>(n)));
        if (!taken) return fail(taken.error());
    }
}

Result<void> write_through(int fd, const std::filesystem::path& name, ByteSpan bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fail(file_error("cannot write", name, errno));
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
}

// ---- writing -------------------------------------------------------------------------------------------

Result<void> UstarWriter::put(ByteSpan bytes) {
    written_ += bytes.size();
    return write_through(fd_, archive_, bytes);
}

Result<void> UstarWriter::header(const std::string& path, std::uint64_t size, std::uint32_t mode) {
    if (path.size() > kUstarMaxName || size > kUstarMaxFile) return fail(Errc::too_large, path + " does not fit into an archive");
    return put(as_span(make_header(path, size, mode)));
}

Result<void> UstarWriter::pad() {
    static constexpr Block kZero{};
    return put(as_span(kZero).first(padding_of(written_)));
}

Result<void> UstarWriter::text(const std::string& path, const std::string& content) {
    auto done = header(path, content.size(), 0600);
    if (done) done = put(as_bytes(content));
    if (done) done = pad();
    return done;
}

Result<void> UstarWriter::end() {
    static constexpr Block kZero{};
    auto done = put(as_span(kZero));
    if (done) done = put(as_span(kZero));
    return done;
}

// ---- reading -------------------------------------------------------------------------------------------

Fail UstarReader::damaged(const std::string& what) const {
    return fail(Errc::malformed, archive_.string() + " is no whole archive: " + what, "use another copy of it");
}

Result<void> UstarReader::take(std::uint64_t bytes, const TakeBytes& use) {
    std::vector<std::uint8_t> window(std::min<std::uint64_t>(bytes, kWindow));
    while (bytes > 0) {
        const ssize_t n = ::read(fd_, window.data(), std::min<std::uint64_t>(bytes, window.size()));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(file_error("cannot read", archive_, errno));
        if (n == 0) return damaged("it ends after " + std::to_string(read_) + " bytes");
        const ByteSpan part(window.data(), static_cast<std::size_t>(n));
        whole_.update(part);
        read_ += part.size();
        bytes -= part.size();
        auto used = use(part);
        if (!used) return used;
    }
    return {};
}

Result<std::uint64_t> UstarReader::header(const std::string& path) {
    Block block{};
    std::size_t at = 0;
    auto got = take(kBlock, [&](ByteSpan part) {
        std::memcpy(block.data() + at, part.data(), part.size());
        at += part.size();
        return Result<void>{};
    });
    if (!got) return fail(got.error());
    const auto size = octal_in(block, kSize);
    const auto sum = octal_in(block, kChecksum);
    const std::string name(block.data(), ::strnlen(block.data(), kName.room));
    const bool fits = size && sum && *sum == checksum(block) && block[kKind] == '0' && name == path && *size <= kUstarMaxFile;
    if (!fits) return damaged("expected " + path);
    return *size;
}

Result<void> UstarReader::content(std::uint64_t bytes, const TakeBytes& use) {
    auto got = take(bytes, use);
    if (got) got = take(padding_of(bytes), [](ByteSpan) { return Result<void>{}; });
    return got;
}

Result<std::string> UstarReader::text(const std::string& path, std::uint64_t limit) {
    auto size = header(path);
    if (!size) return fail(size.error());
    if (*size > limit) return damaged(path + " is too large");
    std::string out;
    auto got = content(*size, [&](ByteSpan part) {
        out.append(reinterpret_cast<const char*>(part.data()), part.size());
        return Result<void>{};
    });
    if (!got) return fail(got.error());
    return out;
}

Result<void> UstarReader::end() {
    return take(2 * kBlock, [](ByteSpan) { return Result<void>{}; });
}

}  // namespace skerry::coordinator
