#include "node/trainer/trainer_memory.hpp"

#include <algorithm>

#include "node/model_folder/tensor_table.hpp"

namespace skerry::node {
namespace {

constexpr std::uint64_t kAlignment = 256;

/// libtorch's code and data once products have run, the heap, the weights window. Measured: 150 to 190 MB.
constexpr std::uint64_t kProgramBytes = std::uint64_t{200} << 20;

/// Hands out rooms one behind the other.
class Planner {
  public:
    explicit Planner(std::uint64_t element_bytes) : element_bytes_(element_bytes) {}

    Room elements(std::uint64_t count) { return bytes(count * element_bytes_); }
    Room floats(std::uint64_t count) { return bytes(count * sizeof(float)); }
    std::uint64_t end() const { return end_; }

  private:
    Room bytes(std::uint64_t count) {
        const Room out{end_, count};
        end_ += (count + kAlignment - 1) / kAlignment * kAlignment;
        return out;
    }
    std::uint64_t element_bytes_;
    std::uint64_t end_ = 0;
};

struct Sizes {
    std::uint64_t n, d, f, heads_width, kv_width, layers, groups, per_group;
};

void plan_attention(WorkspaceLayout& out, const Sizes& s, const WorkspacePlan& plan, std::uint64_t element_bytes) {
    const std::uint64_t fit = plan.attention_block_bytes / (s.per_group * element_bytes);
    out.keep_layers = plan.training && plan.recompute != Recompute::layers;
    const bool all = out.keep_layers && plan.recompute == Recompute::none;
    out.block = all ? s.groups : std::clamp<std::uint64_t>(fit, 1, s.groups);
    out.keep_attention = all || (plan.training && plan.recompute == Recompute::layers && out.block == s.groups);
}

void plan_forward(WorkspaceLayout& out, Planner& to, const Sizes& s, const WorkspacePlan& plan, const ModelConfig& model) {
    const std::uint64_t slots = out.keep_layers ? s.layers : 1;
    out.x_in = to.floats(s.n * s.d * (plan.training ? s.layers + 1 : 1));
    out.x_mid = to.floats(plan.training ? s.n * s.d * slots : 0);
    out.inv1 = to.floats(s.n * slots);
    out.inv2 = to.floats(s.n * slots);
    out.inv_last = to.floats(s.n);
    out.row_loss = to.floats(s.n);
    out.h1 = to.elements(s.n * s.d * slots);
    out.h2 = to.elements(s.n * s.d * slots);
    out.q = to.elements(s.n * s.heads_width * slots);
    out.k = to.elements(s.n * s.kv_width * slots);
    out.v = to.elements(s.n * s.kv_width * slots);
    out.heads_out = to.elements(s.n * s.heads_width * slots);
    out.gate_up = to.elements(s.n * 2 * s.f * slots);
    out.p = to.elements(out.block * s.per_group * (plan.recompute == Recompute::none ? slots : 1));
    out.qkv = to.elements(s.n * (s.heads_width + 2 * s.kv_width));
    out.y = to.elements(s.n * s.d);
    out.s = to.elements(s.n * s.f);
    out.out = to.elements(s.n * s.heads_width);
    out.last = to.elements(s.n * s.d);
    out.logits = to.elements(s.n * model.vocab_size);
    out.tiles = to.floats(plan.bf16 ? kTileFloats * plan.threads : 0);
    out.rope = to.floats(std::uint64_t{plan.seq} * model.head_dim);
}

void plan_backward(WorkspaceLayout& out, Planner& to, const Sizes& s, const WorkspacePlan& plan, std::uint64_t elements) {
    out.dx = to.floats(s.n * s.d);
    out.scratch = to.floats(s.d * plan.threads);
    out.d_h = to.elements(s.n * std::max(s.d, s.heads_width));
    out.d_cast = to.elements(plan.bf16 ? s.n * s.d : 0);
    out.d_out = to.elements(s.n * s.heads_width);
    out.d_p = to.elements(out.block * s.per_group);
    out.d_q = to.elements(s.n * s.heads_width);
    out.d_k = to.elements(s.n * s.kv_width);
    out.d_v = to.elements(s.n * s.kv_width);
    out.gradient = to.elements(elements);
    out.accumulator = to.floats(plan.accumulate ? elements : 0);
}

}  // namespace

WorkspaceLayout make_workspace_layout(const ModelConfig& model, const WorkspacePlan& plan) {
    const std::uint64_t element_bytes = plan.bf16 ? 2 : 4;
    const std::uint64_t t = plan.seq;
    Sizes s{};
    s.n = plan.micro_batch * t;
    s.d = model.hidden_size;
    s.f = model.intermediate_size;
    s.heads_width = std::uint64_t{model.num_attention_heads} * model.head_dim;
    s.kv_width = std::uint64_t{model.num_key_value_heads} * model.head_dim;
    s.layers = model.num_hidden_layers;
    s.groups = std::uint64_t{plan.micro_batch} * model.num_key_value_heads;
    s.per_group = model.num_attention_heads / model.num_key_value_heads * t * t;

    WorkspaceLayout out;
    Planner to(element_bytes);
    plan_attention(out, s, plan, element_bytes);
    plan_forward(out, to, s, plan, model);
    if (plan.training) plan_backward(out, to, s, plan, make_tensor_table(model).elements);
    out.bytes = to.end();
    return out;
}

namespace {

/// What autograd keeps and needs on the way, counted operation by operation as node/trainer/torch/autograd_model.cpp has them; measured
/// within a quarter on the CPU.
std::uint64_t autograd_workspace_bytes(const ModelConfig& model, const WorkspacePlan& plan) {
    const std::uint64_t e = plan.bf16 ? 2 : 4;
    const std::uint64_t n = plan.micro_batch * std::uint64_t{plan.seq}, d = model.hidden_size, f = model.intermediate_size;
    const std::uint64_t heads = std::uint64_t{model.num_attention_heads} * model.head_dim, kv = std::uint64_t{model.num_key_value_heads} * model.head_dim;
    const TensorTable table = make_tensor_table(model);
    std::uint64_t largest = 0;
    for (const TensorInfo& t : table.tensors) largest = std::max(largest, t.elements);

    // Float: the stream before, between and behind, both normalised; the rest in the products' precision, keys and values for each query head.
    const std::uint64_t layer = n * (4 * 5 * d + e * (2 * d + 5 * heads + 2 * kv + 4 * f));
    // Of what is computed backwards: the widest things of a layer and the rotary embedding's floats.
    const std::uint64_t backward = n * (4 * 3 * d + e * 4 * f + 4 * 4 * (heads + kv));
    const std::uint64_t head = n * (std::uint64_t{model.vocab_size} * (plan.bf16 ? 14 : 12) + 4 * 3 * d);
    const bool keep = plan.recompute != Recompute::layers;
    const std::uint64_t kept = keep ? model.num_hidden_layers * layer : model.num_hidden_layers * n * 4 * d;
    const std::uint64_t weights = (plan.bf16 ? 2 * (keep ? table.elements : 2 * largest) : 0) + 4 * table.elements + (4 + e) * largest;
    return weights + kept + std::max(head, backward + (keep ? 0 : layer));
}

}  // namespace

std::vector<MuonGroup> muon_groups(const ModelConfig& model) {
    constexpr std::uint64_t kMostElements = std::uint64_t{1} << 24;
    const TensorTable table = make_tensor_table(model);
    std::vector<MuonGroup> out;
    for (std::uint32_t i = 0; i < table.tensors.size(); ++i) {
        const TensorInfo& t = table.tensors[i];
        if (t.shape.size() != 2 || !t.name.starts_with("model.layers.")) continue;
        auto same = std::find_if(out.begin(), out.end(), [&](const MuonGroup& g) { return g.rows == t.shape[0] && g.columns == t.shape[1]; });
        if (same == out.end()) same = out.insert(out.end(), MuonGroup{t.shape[0], t.shape[1], {}, 1});
        same->tensors.push_back(i);
    }
    for (MuonGroup& g : out)
        g.at_once = std::clamp<std::uint64_t>(kMostElements / g.elements_each(), 1, g.tensors.size());
    return out;
}

TrainerMemory trainer_memory(const ModelConfig& model, const TrainConfig& train, const WorkspacePlan& plan) {
    const std::uint64_t elements = make_tensor_table(model).elements;
    TrainerMemory out;
    out.weights = elements * (sizeof(float) * 2 + (plan.bf16 && !plan.autograd ? 2 : 0));
    out.optimizer = elements * sizeof(float) * 2;
    if (train.optimizer == InnerOptimizer::muon) {
        std::uint64_t scratch = 0;
        for (const MuonGroup& g : muon_groups(model)) {
            if (!plan.autograd) out.optimizer -= g.tensors.size() * g.rows * g.columns * sizeof(float);  // no second moment
            scratch = std::max(scratch, g.at_once * g.elements_each());
        }
        out.optimizer += scratch * sizeof(float);
    }
    out.workspace = plan.autograd ? autograd_workspace_bytes(model, plan) : make_workspace_layout(model, plan).bytes;
    out.program = kProgramBytes;
    out.total = out.weights + out.optimizer + out.workspace + out.program;
    return out;
}

std::vector<WorkspacePlan> workspace_plans(const TrainConfig& train, const WorkspacePlan& base) {
    std::vector<WorkspacePlan> out;
    const std::uint32_t most = train.micro_batch == 0 ? train.batch : std::min(train.micro_batch, train.batch);
    for (const Recompute again : {Recompute::none, Recompute::attention, Recompute::layers}) {
        // Autograd's attention never keeps the probabilities.
        if (base.autograd && again == Recompute::attention) continue;
        const bool least = base.autograd && train.recompute == Recompute::attention ? true : again >= train.recompute;
        if (train.recompute != Recompute::automatic && !least) continue;
        for (std::uint32_t size = most;; size = (size + 1) / 2) {
            WorkspacePlan plan = base;
            plan.seq = train.seq;
            plan.micro_batch = size;
            plan.accumulate = size < train.batch;
            plan.recompute = again;
            out.push_back(plan);
            if (size == 1) break;
        }
    }
    return out;
}

std::size_t first_that_fits(const ModelConfig& model, const TrainConfig& train, const std::vector<WorkspacePlan>& plans,
                            std::uint64_t available) {
    std::size_t i = 0;
    while (i < plans.size() && trainer_memory(model, train, plans[i]).total > available) ++i;
    return i;
}

TrainerMemory trainer_memory(const ModelConfig& model, const TrainConfig& train, bool bf16, std::uint32_t threads,
                             std::uint64_t available) {
    WorkspacePlan base;
    base.bf16 = bf16;
    base.threads = threads;
    const auto plans = workspace_plans(train, base);
    const std::size_t at = available == 0 ? 0 : first_that_fits(model, train, plans, available);
    return trainer_memory(model, train, plans[std::min(at, plans.size() - 1)]);
}

}  // namespace skerry::node
