#include "node/cli/run_plan.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "node/cli/run_concerns.hpp"
#include "node/model_folder/tensor_table.hpp"
#include "node/trainer/train_config.hpp"
#include "node/trainer/trainer_memory.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/chunk_codec.hpp"
#include "protocol/wire/limits.hpp"
#include "protocol/wire/peer_codec.hpp"

namespace skerry::node {
namespace {

constexpr std::uint64_t kEntryOfPiece = 96;      // leaf and signature in the head of an entry
constexpr std::uint64_t kDecision = 700, kDecisionOfNode = 120;  // a record: credits, votes
constexpr std::uint64_t kProofOfPiece = 200;     // kept beside a gathered piece
constexpr std::uint64_t kAgentBase = 24 * kMiB;  // measured: an agent that holds a tiny model
constexpr std::uint64_t kModelFolders = 3;       // a follower's newest, the one before, and one being written
constexpr std::uint64_t kWindow = 64 * kMiB;     // chunks under way, of each kind
constexpr double kStepOverhead_s = 0.25;         // report, plan, votes, decision, two syncs
constexpr double kElementsPerS = 60e6;           // encode, sum, write, apply: of one core, measured

std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0); }

template <class Fixed>
Fixed filled() {
    Fixed out;
    out.bytes.fill(0x5A);
    return out;
}

/// Sizes of the envelopes of one step, by the code that writes them.
struct Envelopes {
    std::uint64_t contribution, result, have, get_head, get_piece;

    Envelopes(const Manifest& m, std::uint32_t pieces) {
        const Step step{1000};
        const PieceIndex last{pieces - 1};
        const auto size = [&](PeerBody body) {
            auto frame = to_envelope({filled<RunId>(), std::move(body)});
            return frame ? frame->size() : kMaxEnvelopeBytes;
        };
        const auto bytes = static_cast<std::uint32_t>(chunk_bytes(m.codec, m.piece_elements));
        Data data{{ObjectKind::contribution, step, filled<Digest>()}, last, {}, {}, {}, bytes};
        data.proof.assign(static_cast<std::size_t>(std::bit_width(pieces - 1)), filled<Digest>());
        contribution = size(data);
        data = {{ObjectKind::result, step, filled<Digest>()}, last, {}, filled<Digest>(), filled<Signature>(), bytes};
        result = size(data);
        have = size(Have{data.object, std::vector<std::uint8_t>((pieces + 7) / 8, 0xFF)});
        get_head = size(Get{data.object, {}});
        get_piece = size(Get{data.object, {last, last}}) - size(Get{data.object, {last}});
    }
};

std::uint64_t encoded_bytes(const Manifest& m, std::uint32_t from, std::uint32_t to) {
    const PieceGrid grid{m.elements, m.piece_elements};
    std::uint64_t out = 0;
    for (std::uint32_t p = from; p < to; ++p) out += chunk_bytes(m.codec, grid.size(PieceIndex{p}));
    return out;
}

/// Sequences of a round of a node: all of local_steps, or what it manages until the round's deadline.
std::uint64_t round_sequences(const Manifest& m, double tokens_per_s) {
    const std::uint64_t all = std::uint64_t{m.local_steps} * m.batch_sequences;
    if (tokens_per_s <= 0) return all;
    const double step_tokens = static_cast<double>(m.batch_sequences) * m.sequence_tokens;
    const double steps = std::floor(tokens_per_s * m.round_ms / 1000.0 / step_tokens);
    return std::min<std::uint64_t>(all, m.batch_sequences * static_cast<std::uint64_t>(std::clamp(steps, 1.0, 1e9)));
}

/// What a node keeps of the run beside `work` and `data`, which are set: state, log and snapshots, pruned to the quota.
void add_log(Needs& out, const Manifest& m, std::uint64_t steps, std::size_t nodes) {
    const std::uint64_t pieces = PieceGrid{m.elements, m.piece_elements}.count();
    const std::uint64_t encoded = encoded_bytes(m, 0, static_cast<std::uint32_t>(pieces));
    const std::uint64_t entry = 4096 + pieces * kEntryOfPiece + encoded, decision = kDecision + nodes * kDecisionOfNode;
    const std::uint64_t state = 8 * m.elements;
    out.shared = state;
    const std::uint64_t fixed = state + out.work + steps * decision + (m.initial_root.is_zero() ? 0 : state);
    const std::uint64_t snapshots = m.snapshot_every == 0 ? 0 : steps / m.snapshot_every;
    out.disk_least = fixed + 2 * state + 2 * entry + out.data;
    std::uint64_t log = fixed + snapshots * state + steps * entry;
    if (m.disk_quota_bytes != 0) log = std::min(log, std::max(m.disk_quota_bytes, out.disk_least - out.data));
    out.disk = std::max(log + out.data, out.disk_least);
}

}  // namespace

std::uint64_t StepBytes::most_up() const { return up.empty() ? 0 : *std::max_element(up.begin(), up.end()); }
std::uint64_t StepBytes::most_down() const { return down.empty() ? 0 : *std::max_element(down.begin(), down.end()); }

StepBytes step_bytes(const Manifest& m, std::size_t nodes) {
    const PieceGrid grid{m.elements, m.piece_elements};
    const std::uint32_t pieces = grid.count();
    const Envelopes size(m, pieces);
    StepBytes out;
    out.encoded = encoded_bytes(m, 0, pieces);
    out.up.assign(nodes, 0);
    out.down.assign(nodes, 0);
    if (nodes < 2) return out;
    const std::uint64_t others = nodes - 1;
    for (std::uint64_t i = 0; i < nodes; ++i) {
        // As equal_owners shares them out.
        const auto lo = static_cast<std::uint32_t>(i * pieces / nodes), hi = static_cast<std::uint32_t>((i + 1) * pieces / nodes);
        const std::uint64_t own = hi - lo, rest = pieces - own;
        const std::uint64_t own_bytes = encoded_bytes(m, lo, hi), rest_bytes = out.encoded - own_bytes;
        // A question names many pieces; most are asked for in one of two or three.
        const std::uint64_t asks_up = (own > 0 ? others : 0) * size.get_head + others * size.get_head + (others * own + rest) * size.get_piece;
        const std::uint64_t asks_down = others * 2 * size.get_head + (rest + others * own) * size.get_piece;
        const std::uint64_t gives = rest * size.contribution + rest_bytes + others * (own * size.result + own_bytes);
        const std::uint64_t gets = others * (own * size.contribution + own_bytes) + rest * size.result + rest_bytes;
        out.up[i] = gives + asks_up + others * size.have;
        out.down[i] = gets + asks_down + others * size.have;
        out.all += out.up[i];
    }
    return out;
}

std::uint64_t follower_bytes(const Manifest& m) {
    const std::uint32_t pieces = PieceGrid{m.elements, m.piece_elements}.count();
    return encoded_bytes(m, 0, pieces) + pieces * Envelopes(m, pieces).result;
}

TrainerNeeds trainer_needs(const Manifest& m, std::uint64_t most, const TrainerChoice& own) {
    const auto model = parse_model_config(m.model_json);
    const auto run = parse_train_config(m.train_json);
    TrainerNeeds out;
    if (!model || !run) return out;
    const auto chosen = with_choice(*run, own);
    const TrainConfig& train = chosen ? *chosen : *run;  // the agent refuses what does not go together
    constexpr std::uint32_t kThreads = 1;  // each more takes a row of activations
    const std::uint64_t theta = sizeof(float) * make_tensor_table(*model).elements;
    // Which precision is the faster one only the machine's own trainer finds out.
    for (const bool bf16 : {false, true}) {
        if (train.precision == (bf16 ? Precision::fp32 : Precision::bf16)) continue;
        const std::uint64_t usual = trainer_memory(*model, train, bf16, kThreads, most).total - theta;
        const std::uint64_t least = trainer_memory(*model, train, bf16, kThreads, 1).total - theta;
        out.usual = std::max(out.usual, usual);
        out.least = out.least == 0 ? least : std::min(out.least, least);
    }
    return out;
}

Needs node_needs(const Manifest& m, const DataManifest& data, std::uint64_t steps, std::size_t nodes) {
    Needs out;
    const std::uint64_t pieces = PieceGrid{m.elements, m.piece_elements}.count();
    const std::uint64_t encoded = encoded_bytes(m, 0, static_cast<std::uint32_t>(pieces));
    const TrainerNeeds trainer = trainer_needs(m, 0);
    out.trainer = trainer.usual;
    out.trainer_least = trainer.least;
    out.agent = kAgentBase + std::min(2 * kWindow, 4 * encoded);
    for (const DataShard& shard : data.shards) out.data += shard.held_out && m.evaluate_every == 0 ? 0 : shard.bytes;
    // contribution/: own and what an owner gathers; progress/: two saves of weights and two moments.
    const std::uint64_t gathered = nodes > 1 ? encoded + pieces * kProofOfPiece : 0;
    out.work = encoded + gathered + 2 * (12 * m.elements);
    add_log(out, m, steps, nodes);
    return out;
}

Needs follower_needs(const Manifest& m, std::uint64_t steps, std::size_t nodes) {
    Needs out;
    out.agent = kAgentBase + std::min(2 * kWindow, 4 * encoded_bytes(m, 0, PieceGrid{m.elements, m.piece_elements}.count()));
    add_log(out, m, steps, nodes);
    // They are no part of what the quota bounds.
    out.work = kModelFolders * sizeof(float) * m.elements;
    out.disk += out.work;
    out.disk_least += out.work;
    return out;
}

double work_per_token(std::uint64_t elements) { return 6.0 * static_cast<double>(elements); }

RunPlan make_plan(const Manifest& m, const DataManifest& data, const std::vector<Means>& nodes, Millis exchange_deadline) {
    RunPlan plan;
    plan.nodes = nodes.size();
    plan.bytes = step_bytes(m, nodes.size());
    std::uint64_t sequences = 0;
    bool speeds = !nodes.empty();
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        Pace pace;
        pace.name = nodes[i].name;
        pace.sequences = round_sequences(m, nodes[i].tokens_per_s);
        pace.cut_short = pace.sequences < std::uint64_t{m.local_steps} * m.batch_sequences;
        sequences += pace.sequences;
        const double tokens = static_cast<double>(pace.sequences * m.sequence_tokens);
        if (nodes[i].tokens_per_s > 0) pace.train_s = tokens / nodes[i].tokens_per_s;
        pace.exchange_s = exchange_time(nodes[i], {plan.bytes.up[i], plan.bytes.down[i], {}});
        speeds = speeds && pace.train_s;
        plan.train_s = std::max(plan.train_s, pace.train_s.value_or(0));
        plan.exchange_s = std::max(plan.exchange_s, pace.exchange_s.value_or(0));
        plan.paces.push_back(pace);
    }
    plan.tokens_per_step = sequences * m.sequence_tokens;
    plan.steps = ceil_div(ceil_div(m.target_tokens, m.sequence_tokens), std::max<std::uint64_t>(1, sequences));
    plan.epochs = static_cast<double>(m.target_tokens) / (static_cast<double>(m.sequences) * m.sequence_tokens);
    plan.needs = node_needs(m, data, plan.steps, nodes.size());
    plan.exchange_s += kStepOverhead_s + static_cast<double>(m.elements) / kElementsPerS;
    if (speeds) {
        plan.step_s = plan.train_s + plan.exchange_s;
        plan.duration = Millis(static_cast<Millis::rep>(*plan.step_s * 1000 * static_cast<double>(plan.steps)));
    }
    add_concerns(plan, m, nodes, exchange_deadline);
    return plan;
}

}  // namespace skerry::node
