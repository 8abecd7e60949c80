#include "node/exchange/shard_exchange.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>

#include "protocol/base/descriptor.hpp"
#include "protocol/config/files.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

constexpr std::size_t kServedAtOnce = 32;
constexpr std::size_t kServedToOne = 4;

Result<std::shared_ptr<const Bytes>> read_block(const std::filesystem::path& file, std::uint64_t offset, std::size_t bytes) {
    OwnedDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail(file_error("open", file, errno));
    auto out = std::make_shared<Bytes>(bytes);
    for (std::size_t have = 0; have < bytes;) {
        const ssize_t n = ::pread(fd.get(), out->data() + have, bytes - have, static_cast<off_t>(offset + have));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fail(Errc::not_found, file.string() + " ends early");
        have += static_cast<std::size_t>(n);
    }
    return std::shared_ptr<const Bytes>(std::move(out));
}

}  // namespace

ShardExchange::ShardExchange(asio::any_io_executor io, asio::any_io_executor files, Engine& engine)
    : io_(io), files_(files), engine_(engine) {
    engine_.set_shards(this);
}

// ------------------------------------------------------------------------------------------- what we ask for

bool ShardExchange::is_up(const NodeId& peer) const { return engine_.links().is_up(peer); }

Task<Result<Bytes>> ShardExchange::get(NodeId peer, Digest shard, std::uint32_t block, std::chrono::milliseconds patience) {
    if (block >= kMaxPieces) co_return fail(Errc::not_found, "beyond what one message can name");
    const Key key{peer, shard, PieceIndex{block}};
    if (questions_.contains(key)) co_return fail(Errc::bad_state, "asked for already");
    auto question = std::make_shared<Question>(io_);
    question->answered.expires_after(patience);
    questions_[key] = question;
    if (!engine_.send(peer, Get{{ObjectKind::shard, Step{}, shard}, {PieceIndex{block}}})) {
        questions_.erase(key);
        co_return fail(Errc::closed, "no link to " + peer.short_hex());
    }
    if (!question->answer) co_await question->answered.async_wait(no_throw);
    questions_.erase(key);
    if (!question->answer) co_return fail(Errc::timed_out, peer.short_hex() + " gave nothing in time");
    co_return std::move(*question->answer);
}

void ShardExchange::answer(const Key& key, Result<Bytes> with) {
    auto at = questions_.find(key);
    if (at == questions_.end() || at->second->answer) {
        ++counters_.dropped;
        return;
    }
    at->second->answer.emplace(std::move(with));
    at->second->answered.cancel();
}

void ShardExchange::answer_all(const NodeId& from, const ObjectRef& object, const std::vector<PieceIndex>& pieces, Errc code) {
    for (PieceIndex piece : pieces) answer({from, object.id, piece}, fail(code, "not there"));
}

void ShardExchange::on_shard_link(const NodeId& peer) {
    serving_.erase(peer);
    for (auto& [key, question] : questions_) {
        if (std::get<NodeId>(key) != peer || question->answer) continue;
        question->answer.emplace(fail(Errc::closed, "the link to " + peer.short_hex() + " is gone"));
        question->answered.cancel();
    }
}

void ShardExchange::on_shard(const NodeId& from, PeerBody body, Bytes chunk) {
    if (auto* get = std::get_if<Get>(&body)) {
        for (PieceIndex piece : get->pieces) give(from, get->object, piece);
    } else if (auto* later = std::get_if<Later>(&body)) {
        answer_all(from, later->object, later->pieces, Errc::bad_state);
    } else if (auto* gone = std::get_if<Gone>(&body)) {
        answer_all(from, gone->object, gone->pieces, Errc::not_found);
    } else if (auto* data = std::get_if<Data>(&body)) {
        if (chunk.size() != data->bytes || chunk.size() > kMaxShardBlockBytes) {
            ++counters_.dropped;
            return;
        }
        counters_.received_bytes += chunk.size();
        answer({from, data->object.id, data->piece}, std::move(chunk));
    }
}

// ------------------------------------------------------------------------------------------- what others ask for

void ShardExchange::give(const NodeId& to, const ObjectRef& object, PieceIndex piece) {
    const std::uint64_t offset = std::uint64_t{piece.value} * kMaxShardBlockBytes;
    const auto place = look_ ? look_(object.id) : std::nullopt;
    if (!place || offset >= place->bytes) {
        (void)engine_.send(to, Gone{object, {piece}, GoneReason::unknown});
        return;
    }
    const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(kMaxShardBlockBytes, place->bytes - offset));
    std::size_t& here = serving_[to];
    if (here >= kServedToOne) {
        ++counters_.dropped;
        return;
    }
    // With little upload to share the step goes first: a block that waits here is one its asker takes for lost.
    if (offset + bytes > place->here || served_now_ >= kServedAtOnce || !engine_.may_upload()) {
        (void)engine_.send(to, Later{object, {piece}});
        return;
    }
    ++here;
    ++served_now_;
    asio::post(files_, [this, to, object, piece, offset, bytes, file = place->file] {
        auto block = read_block(file, offset, bytes);
        asio::post(io_, [this, to, object, piece, block = std::move(block)]() mutable {
            if (!block) {
                taken(to, 0);
                (void)engine_.send(to, Gone{object, {piece}, GoneReason::lost});
                return;
            }
            const std::size_t size = (*block)->size();
            Data data{object, piece, {}, {}, {}, static_cast<std::uint32_t>(size)};
            engine_.send_block(to, std::move(data), std::move(*block), [this, to, size](bool sent) { taken(to, sent ? size : 0); });
        });
    });
}

void ShardExchange::taken(const NodeId& by, std::size_t bytes) {
    counters_.served_bytes += bytes;
    --served_now_;
    auto at = serving_.find(by);
    if (at != serving_.end() && --at->second == 0) serving_.erase(at);
}

}  // namespace skerry::node
