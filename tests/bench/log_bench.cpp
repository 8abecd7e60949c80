// One outer step of a single node on disk: seconds of each part, and the anonymous memory it took.
//   log_bench [millions of elements, default 16] [folder, default a temporary one]

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "node/log/run_store.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/rules/initial_state.hpp"
#include "protocol/wire/canonical.hpp"

namespace {

using namespace skerry;
using namespace skerry::node;

long anonymous_kib() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        long kib = 0;
        if (word == "RssAnon:" && status >> kib) return kib;
    }
    return 0;
}

template <class T>
T must(Result<T> result) {
    if (result) return std::move(*result);
    std::fprintf(stderr, "%s\n", to_text(result.error()).c_str());
    std::exit(1);
}
void must(Result<void> result) {
    if (result) return;
    std::fprintf(stderr, "%s\n", to_text(result.error()).c_str());
    std::exit(1);
}

template <class Work>
void timed(const char* what, std::uint64_t elements, Work work) {
    auto begin = std::chrono::steady_clock::now();
    work();
    std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
    std::printf("%-34s %7.2f s  %6.2f Gparam/s   RssAnon %5ld MiB\n", what, spent.count(),
                static_cast<double>(elements) / spent.count() / 1e9, anonymous_kib() / 1024);
    std::fflush(stdout);
}

Manifest manifest_of(std::uint64_t elements) {
    Manifest m;
    m.name = "bench";
    m.seed = 1;
    m.elements = elements;
    m.piece_elements = piece_elements_for(elements);
    m.tensors = {{"w", {elements}, 0, elements, init_scale_for(0.02)}};
    m.sequences = m.sequence_tokens = 1;
    return m;
}

Plan plan_of(const Manifest& manifest, const PieceGrid& grid, const ReadyState& ready) {
    Plan plan;
    plan.run = manifest.run;
    plan.term = Term{1};
    plan.attempt = Attempt{1};
    plan.elements = manifest.elements;
    plan.durable_copies = 1;
    plan.members = {NodeId{}};
    Participant me;
    me.contribution = ready.contribution;
    me.weight_tokens = ready.weight_tokens;
    me.segments = ready.segments;
    plan.participants = {me};
    plan.piece_owner.assign(grid.count(), 0);
    return plan;
}

SignedDecision decide(const Plan& plan, const Digest& root, const Manifest& manifest) {
    Decision d;
    d.run = plan.run;
    d.term = plan.term;
    d.attempt = plan.attempt;
    d.plan_digest = body_digest(to_bytes(plan));
    d.roots = {root};
    d.outer = plan.outer;
    d.tokens_after = plan.participants[0].weight_tokens;
    d.h_after = chain_next(chain_start(body_digest(to_bytes(manifest))), d);
    SignedDecision out;
    out.decision.body = to_bytes(d);
    return out;
}

}  // namespace

int main(int argc, char** argv) {
    std::uint64_t elements = (argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 16) * 1'000'000;
    fs::path folder =
        argc > 2 ? fs::path(argv[2])
                 : fs::temp_directory_path() / ("skerry-log-bench-" + std::to_string(::getpid()));
    Manifest manifest = manifest_of(elements);
    auto store = must(RunStore::open(folder, manifest));

    timed("S_0 from the seed", elements, [&] { must(store->load_state(Step{0})); });
    timed("digest of the state", elements, [&] { must(store->digest_state()); });
    ReadyState ready;
    timed("encode theta - local", elements, [&] {
        auto writer = must(store->begin_contribution(Step{0}));
        std::vector<float> window(1 << 18);
        while (!writer->complete()) {
            std::size_t count =
                std::min<std::size_t>(window.size(), elements - writer->next_element());
            auto theta = store->theta().subspan(writer->next_element(), count);
            for (std::size_t i = 0; i < count; ++i) window[i] = theta[i] * 0.999F;
            must(writer->push(std::span(window).first(count)));
        }
        ready.weight_tokens = 1;
        ready.segments = {{LeaseId{1}, 0, 1}};
        ready = must(store->finish_contribution(*writer, ready));
    });
    Plan plan = plan_of(manifest, store->grid(), ready);
    auto staged = must(store->stage_entry(to_bytes(plan)));
    timed("reduce all pieces", elements, [&] {
        for (std::uint32_t p = 0; p < store->grid().count(); ++p)
            must(store->reduce(*staged, PieceIndex{p}, [](const Digest&) { return Signature{}; }));
    });
    PreparedEntry prepared;
    timed("prepare (fsync)", elements, [&] { prepared = must(store->prepare(*staged)); });
    must(store->append_decision(decide(plan, prepared.root, manifest)));
    must(store->adopt_prepared(Step{0}));
    timed("apply", elements, [&] { must(store->apply(Step{0})); });
    timed("digest of the state", elements, [&] { must(store->digest_state()); });
    timed("snapshot", elements, [&] { must(store->write_snapshot()); });
    store.reset();
    if (argc <= 2) must(remove_tree(folder));
    return 0;
}
