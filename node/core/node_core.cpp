#include "node/core/node_core.hpp"

#include <algorithm>

#include "node/core/repair.hpp"
#include "node/core/scrub.hpp"
#include "node/core/session_gate.hpp"
#include "node/core/step_machine.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {

namespace {
template <class... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};

/// Whether a Report says something new, apart from figures that change all the time.
bool differs(const Report& a, const Report& b) {
    auto without_counts = [](const Report& report) {
        std::optional<ExchangeState> state = report.exchange;
        if (state) {
            state->contributions_have = state->results_have = 0;
            for (StalledEdge& edge : state->stalled) edge.waited_ms = 0;
        }
        return state;
    };
    return a.head != b.head || a.log_synced_to != b.log_synced_to || a.epoch != b.epoch || a.ready != b.ready ||
           a.prepared != b.prepared || a.digests != b.digests || a.snapshots != b.snapshots ||
           a.trainer != b.trainer || a.paused != b.paused || a.disk_full != b.disk_full ||
           a.heldout_step != b.heldout_step || a.heldout_loss.has_value() != b.heldout_loss.has_value() ||
           without_counts(a) != without_counts(b);
}
}  // namespace

struct NodeCore::Parts {
    Parts(NodeConfig node_config, NodeImage node_image, Mono now)
        : image(std::move(node_image)), waiting_since(now) {
        context.config = std::move(node_config);
        context.now = now;
        asker.set_sources([this](const Want& want) { return sources(want); });
        giver.set_guests([this](const NodeId& peer) { return roster.follows(peer); });
        giver.set_look([this](const NodeId& peer, const ObjectRef& object, PieceIndex piece) {
            return look(peer, object, piece);
        });
    }

    Context context;
    NodeImage image;
    RosterBook roster{context};
    Chain chain{context};
    StateLog log{context, chain};
    Asker asker{context, roster};
    Giver giver{context};
    Exchange exchange{context, roster, asker};
    CatchUp catch_up{context, roster, asker};
    Scrub scrub{context, log};
    Repair repair{context, chain, log, asker};
    LeaseBook leases{context};
    TrainerSupervision trainer{context};
    StepMachine machine{context, roster, chain, log, asker, exchange, catch_up, leases, trainer};
    SessionGate gate{context, roster};

    std::optional<OpId> manifest_op;
    bool manifest_durable = false;
    Report said;
    Mono said_at = Mono::min();
    Traffic traffic;
    std::optional<MachineState> machine_is;
    bool disk_full = false;
    std::uint64_t damaged = 0;  ///< entries and snapshots, since the start
    Mono wake;
    Waiting waiting = Waiting::welcome;
    Mono waiting_since;

    // ---------------------------------------------------------------------------------- whom, and for whom

    std::vector<NodeId> sources(const Want& want) const {
        const bool of_exchange = want.purpose == ChunkPurpose::contribution || want.purpose == ChunkPurpose::result;
        if (!of_exchange) return catch_up.sources(want);
        const bool decided = want.purpose == ChunkPurpose::result && want.object.step < chain.known();
        return exchange.sources(want, decided ? catch_up.entry_holders(want.object.step) : std::vector<NodeId>{});
    }

    Availability look(const NodeId& peer, const ObjectRef& object, PieceIndex piece) {
        if (!context.manifest || !roster.knows(peer)) return Availability::gone(GoneReason::unknown);
        if (object.kind == ObjectKind::block) return Availability::here();
        if (piece.value >= context.grid.count()) return Availability::gone(GoneReason::unknown);
        if (object.kind == ObjectKind::contribution)
            return exchange.look_contribution(peer, object, piece, log.log_head());
        if (object.step >= chain.known()) return exchange.look_result(object, piece);
        if (object.id != chain.link(object.step).plan_digest) return Availability::gone(GoneReason::superseded);
        if (log.has_entry(object.step)) return Availability::here();
        if (exchange.follows(object.id)) return exchange.look_result(object, piece);
        return object.step < log.oldest_entry() ? Availability::gone(GoneReason::pruned) : Availability::later();
    }

    // ------------------------------------------------------------------------------------------ the run

    bool adopt_manifest(const Bytes& body) {
        auto parsed = parse_manifest(body);
        if (!parsed) return false;
        context.manifest_digest = body_digest(body);
        context.grid = {parsed->elements, parsed->piece_elements};
        context.manifest = std::move(*parsed);
        chain.begin(context.manifest_digest);
        return true;
    }

    void begin() {
        if (image.roster) roster.adopt(*image.roster);  // with a damaged manifest, too: it is kept for a rebuild
        if (!image.manifest.empty() && adopt_manifest(image.manifest)) {
            manifest_durable = true;
            for (const SignedDecision& record : image.decisions)
                if (chain.learn(record) != Chain::Learned::appended) break;
            log.begin(image);
            machine.begin(image);
        }
        gate.begin(image);
        image = {};
    }

    // ------------------------------------------------------------------------------------------- control

    void on_control(const ControlMessage& message) {
        if (!gate.admits(message)) return;
        std::visit(Overloaded{[&](const Welcome& m) { on_welcome(m); }, [&](const Refusal& m) { on_refusal(m); },
                              [&](const Orders& m) { on_orders(m); },
                              [&](const LeaseGrant& m) { on_grant(m); },
                              [&](const Decisions& m) { machine.on_decisions(m); },
                              [&](const RebuildAsk& m) { gate.on_rebuild(m); },
                              [&](const Left&) { machine.left(); },
                              [&](const Replaced&) {
                                  context.emit(KillTrainer{"replaced"});
                                  context.emit(Exit{Errc::replaced, "another process has this identity"});
                              },
                              [](const auto&) {}},
                   message.body);
    }

    void on_welcome(const Welcome& welcome) {
        const bool first = !context.manifest;
        if (!first && body_digest(welcome.manifest) != context.manifest_digest) {
            context.emit(Exit{Errc::wrong_coordinator, "the run has another manifest than this folder"});
            return;
        }
        if (first) context.config.data_manifest = welcome.data_manifest;
        if (first && !adopt_manifest(welcome.manifest)) {
            context.emit(Exit{Errc::version_mismatch, "the run's manifest cannot be read"});
            return;
        }
        if (first) {
            // Before anything else is stored there must be a folder to store it in.
            manifest_op = context.new_op();
            context.emit(AdoptManifest{*manifest_op, welcome.manifest, welcome.data_manifest});
        }
        const auto greeting = gate.on_welcome(welcome);
        if (greeting == SessionGate::Greeting::refused) return;
        if (greeting == SessionGate::Greeting::disk_is_behind) machine.drop_private_state();
        if (gate.open()) opened();
    }

    void on_refusal(const Refusal& refusal) {
        if (retryable(refusal.code)) {
            context.emit(Redial{refusal.reason});
            gate.down();
            return;
        }
        context.emit(KillTrainer{"refused"});
        context.emit(Exit{refusal.code, refusal.reason});
    }

    void on_orders(const Orders& orders) {
        if (orders.roster && roster.adopt(*orders.roster)) {
            gate.roster_changed();
            leases.new_epoch();
        }
        roster.set_dial(orders.dial);
        context.orders = orders;
        context.orders.roster.reset();
        context.orders.decisions.clear();
        if (context.orders.plan) context.orders.plan->body.clear();
        context.orders_at = context.now;
        context.heard_orders = true;
        machine.on_orders(orders, gate.term());
    }

    void on_grant(const LeaseGrant& grant) {
        if (!leases.granted(grant)) return;
        // The ledger's last word was before the grant.
        auto& told = context.orders.leases;
        for (const LeaseInfo& lease : grant.leases)
            if (std::none_of(told.begin(), told.end(), [&](const auto& l) { return l.id == lease.id; }))
                told.push_back(lease);
    }

    /// To a coordinator that is being rebuilt from what its nodes hold.
    RebuildAnswer rebuild_answer(const RebuildAsk& ask) const {
        RebuildAnswer out;
        out.term = ask.term;
        out.part = ask.part;
        if (!context.manifest) return out;
        if (ask.part == RebuildPart::manifest) {
            out.manifest = to_bytes(*context.manifest);
            out.data_manifest = context.config.data_manifest;
            return out;
        }
        if (ask.part == RebuildPart::decisions) {
            out.records = records_that_fit(ask.from);
            return out;
        }
        out.known = chain.known();
        out.h_known = chain.h(chain.known());
        out.incarnation = gate.last_incarnation();
        if (auto body = roster.body()) out.roster = *body;
        if (auto held = machine.held_plan()) out.prepared.push_back(std::move(*held));
        out.snapshots = log.snapshot_digests();
        for (const LeaseInfo& lease : leases.leases()) out.highest_lease = std::max(out.highest_lease, lease.id);
        return out;
    }

    std::vector<SignedDecision> records_that_fit(Step from) const {
        auto records = chain.records(from, Step{from.value + kMaxDecisionsPerFrame});
        std::size_t bytes = 0;
        std::size_t fit = 0;
        for (; fit < records.size(); ++fit) {
            bytes += records[fit].decision.body.size() + 160 * (records[fit].voters.size() + 1);
            if (fit > 0 && bytes > kMaxFrame / 2) break;
        }
        records.resize(fit);
        return records;
    }

    void opened() {
        said_at = Mono::min();
        leases.session_opened();
        machine.session_opened();
    }

    // --------------------------------------------------------------------------------------------- peers

    void on_peer(const PeerIn& event) {
        if (!roster.knows(event.from) || !context.manifest) return;
        std::visit(Overloaded{[&](const Get& m) { giver.on_get(event.from, m); },
                              [&](const Later& m) { asker.on_later(event.from, m); },
                              [&](const Gone& m) {
                                  for (const Want& want : asker.on_gone(event.from, m))
                                      if (m.reason != GoneReason::superseded) exchange.on_gone(event.from, want);
                              },
                              [&](const Have& m) {
                                  // It only says that its owner's limit makes what was asked for wait.
                                  if (m.bitmap.empty()) asker.on_progress(event.from);
                                  else exchange.on_have(event.from, m);
                              }, [](const Data&) {}},
                   event.body);
    }

    void on_data(const DataIn& event) {
        if (!context.manifest) {
            context.emit(DropChunk{event.chunk});
            return;
        }
        asker.on_data(event);
    }

    void on_done(const Done& done) {
        if (done.op == manifest_op) {
            manifest_op.reset();
            manifest_durable = !done.error;
            if (done.error) context.emit(Exit{done.error->code, done.error->detail});
        } else if (gate.owns(done.op)) {
            if (gate.on_done(done)) opened();
        } else if (asker.owns(done.op)) {
            if (auto fetched = asker.on_done(done)) {
                exchange.on_fetched(*fetched);
                catch_up.on_fetched(*fetched);
                repair.on_fetched(*fetched);
            }
        } else if (giver.owns(done.op)) {
            auto lost = giver.on_done(done);
            if (lost && lost->object.kind == ObjectKind::contribution) machine.contribution_lost(lost->object);
            else if (lost && (lost->code == Errc::digest_mismatch || lost->code == Errc::malformed))
                if (auto what = log.part_of(lost->object)) lose(*what);
        } else if (scrub.owns(done.op)) {
            if (auto damaged = scrub.on_done(done)) lose(*damaged);
        } else if (repair.owns(done.op)) {
            repair.on_done(done);
        } else if (exchange.owns(done.op)) {
            if (auto damaged = exchange.on_done(done))
                machine.contribution_lost({ObjectKind::contribution, exchange.plan().step, *damaged});
        } else if (log.owns(done.op)) {
            machine.on_log(log.on_done(done));
        } else if (trainer.owns(done.op)) {
            const auto life = trainer.state();
            const auto outcome = trainer.on_done(done);
            if (life != trainer.state() && trainer.state() == TrainerSupervision::State::backoff)
                machine.on_trainer_gone();
            machine.on_trainer(outcome);
        } else if (machine.owns(done.op)) {
            machine.on_done(done);
        }
    }

    /// An entry is fetched again; in place of a snapshot one of the present state is written.
    void lose(const Kept& what) {
        if (!log.lose(what)) return;
        ++damaged;
        const std::string step = std::to_string(what.step.value);
        context.note(what.snapshot ? "the snapshot of step " + step + " on this disk was damaged; another one is written"
                                   : "the entry of step " + step + " on this disk was damaged; fetching it again", true);
        if (what.snapshot) machine.want_snapshot();
    }

    void on_event(const Event& event) {
        std::visit(
            Overloaded{[](const Tick&) {},
                       [&](const SessionUp&) { gate.up(log.log_head(), chain.h(log_head_known())); },
                       [&](const SessionDown&) { gate.down(); },
                       [&](const ControlIn& e) { on_control(e.message); },
                       [&](const PeerUp& e) {
                           if (!roster.knows(e.peer)) return;
                           roster.peer_up(e.peer);
                           giver.on_peer_down(e.peer);
                           asker.on_peer_up(e.peer);
                           exchange.peer_up();
                       },
                       [&](const PeerDown& e) {
                           roster.peer_down(e.peer);
                           giver.on_peer_down(e.peer);
                           asker.on_peer_down(e.peer);
                       },
                       [&](const PeerIn& e) { on_peer(e); }, [&](const DataIn& e) { on_data(e); },
                       [&](const PeerProgress& e) { asker.on_progress(e.from); },
                       [&](const Done& e) { on_done(e); },
                       [&](const TrainerGone& e) {
                           trainer.on_gone(e);
                           machine.on_trainer_gone();
                       },
                       [&](const TrainerAlive& e) { trainer.on_alive(e); },
                       [&](const SaveFixed& e) { trainer.on_save_fixed(e.op); },
                       [&](const UserPause&) { machine.pause(true); },
                       [&](const UserResume&) { machine.pause(false); },
                       [&](const UserLeave& e) { machine.leave(e.when); },
                       [&](const UserStop&) { machine.stop(); }, [&](const DiskState& e) { disk_full = e.full; },
                       [&](const DownloadLimit& e) { asker.limit(e); },
                       [&](const OtherDownload& e) { asker.charge(e.bytes); },
                       [&](const Traffic& e) { traffic = e; }, [&](const MachineIs& e) { machine_is = e.machine; }},
            event);
    }

    Step log_head_known() const { return std::min(log.log_head(), chain.known()); }

    // -------------------------------------------------------------------------------------------- report

    Report report() const {
        Report out;
        out.head = log.applied();
        out.h_head = chain.h(log.applied());
        out.log_synced_to = log.synced();
        out.epoch = roster.epoch();
        out.ready = machine.ready();
        if (exchange.following()) out.exchange = exchange.state();
        out.prepared = machine.prepared();
        out.digests.assign(log.digests().begin(), log.digests().end());
        out.snapshots = log.snapshots();
        out.oldest_entry = log.oldest_entry();
        out.trainer = context.config.train ? trainer.phase(machine.waits()) : TrainerPhase::none;
        out.inner_step = static_cast<std::uint32_t>(trainer.alive().round_steps);
        out.tokens_per_s = trainer.reported_training() ? trainer.alive().tokens_per_s : 0;
        out.loss = trainer.delta().loss;
        if (auto heldout = machine.heldout()) {
            out.heldout_step = heldout->first;
            out.heldout_loss = heldout->second;
        }
        out.paused = machine.paused();
        out.disk_full = disk_full;
        out.unreachable = traffic.unreachable;
        out.sent_bytes = traffic.sent_bytes;
        out.received_bytes = traffic.received_bytes;
        out.machine = machine_is;
        return out;
    }

    void report_if_due() {
        if (!gate.open() || !context.manifest) return;
        Report now_true = report();
        const bool due = said_at == Mono::min() || context.now >= said_at + context.config.report_every;
        if (!due && !differs(now_true, said)) return;
        ControlMessage message;
        message.body = now_true;
        context.emit(Send{std::move(message)});
        said = std::move(now_true);
        said_at = context.now;
        if (machine.leaving()) machine.session_opened();
    }

    Actions finish() {
        if (manifest_durable) {
            scrub.pump();
            repair.pump();
            machine.advance();
            exchange.pump();
            asker.pump();
            if (exchange.take_changed() || changed_head()) giver.recheck();
            leases.pump(gate.open() && machine.may_request_leases(), machine.round_sequences());
        }
        if (const Waiting what = machine.waiting(gate.connected()); what != waiting) {
            waiting = what;
            waiting_since = context.now;
        }
        report_if_due();
        if (auto ask = gate.take_rebuild()) {
            ControlMessage message;
            message.body = rebuild_answer(*ask);
            context.emit(Send{std::move(message)});
        }
        gate.stamp(context.out);
        set_wake();
        return std::exchange(context.out, {});
    }

    Step judged_head;
    Step judged_known;
    bool changed_head() {
        const bool changed = judged_head != log.log_head() || judged_known != chain.known();
        judged_head = log.log_head();
        judged_known = chain.known();
        return changed;
    }

    void set_wake() {
        wake = context.now + context.config.report_every;
        if (gate.open()) wake = std::min(wake, said_at + context.config.report_every);
        for (Mono at : {exchange.next_wake(), asker.next_wake(), leases.next_wake(), trainer.next_wake(),
                        machine.next_wake(), scrub.next_wake(), repair.next_wake()})
            wake = std::min(wake, at);
        wake = std::max(wake, context.now + Millis(1));
    }
};

NodeCore::NodeCore(NodeConfig config, NodeImage image, Mono now)
    : parts_(std::make_unique<Parts>(std::move(config), std::move(image), now)) {}
NodeCore::~NodeCore() = default;
NodeCore::NodeCore(NodeCore&&) noexcept = default;
NodeCore& NodeCore::operator=(NodeCore&&) noexcept = default;

Actions NodeCore::start(Mono now) {
    parts_->context.now = now;
    parts_->begin();
    return parts_->finish();
}

Actions NodeCore::step(Mono now, const Event& event) {
    parts_->context.now = now;
    parts_->on_event(event);
    return parts_->finish();
}

Mono NodeCore::next_wake() const { return parts_->wake; }

Phase NodeCore::phase() const { return parts_->machine.phase(); }

NodeView NodeCore::view() const {
    const Parts& p = *parts_;
    NodeView out;
    out.phase = p.machine.phase();
    out.session = p.gate.connected();
    out.welcomed = p.gate.welcomed();
    out.run_state = p.context.orders.run_state;
    out.term = p.gate.term();
    out.epoch = p.roster.epoch();
    out.incarnation = p.gate.incarnation();
    out.head = p.log.applied();
    out.h_head = p.chain.h(p.log.applied());
    out.log_head = p.log.log_head();
    out.tokens = p.chain.tokens(p.log.applied());
    if (p.exchange.following()) {
        out.plan = p.exchange.digest();
        out.attempt = p.exchange.plan().attempt;
        out.exchange = p.exchange.state();
    }
    out.leases = p.leases.leases();
    out.delta = p.machine.delta();
    out.ready = p.machine.ready();
    out.prepared = p.machine.prepared();
    out.trainer = p.context.config.train ? p.trainer.phase(p.machine.waits()) : TrainerPhase::none;
    out.local = p.machine.local();
    out.care = {p.scrub.read_bytes(), p.scrub.rounds(), p.damaged, p.log.missing()};
    out.waiting_for = p.machine.to_text(p.machine.waiting(p.gate.connected()));
    out.waiting = p.context.now - p.waiting_since;
    out.orders = p.context.orders;
    return out;
}

}  // namespace skerry::node
