#include "coordinator/store/sqlite_rows.hpp"

#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {

namespace {

// ----------------------------------------------------------------------------------------- small lists

Bytes to_blob(const std::vector<Address>& addresses) {
    ByteWriter w;
    w.u32(static_cast<std::uint32_t>(addresses.size()));
    for (const Address& a : addresses) {
        w.text(a.host);
        w.u16(a.port);
    }
    return w.take();
}

std::vector<Address> addresses_of(ByteReader in) {
    std::vector<Address> out(in.count(kMaxAddresses));
    for (Address& a : out) {
        a.host = in.text(kMaxHost);
        a.port = in.u16();
    }
    return out;
}

Bytes to_blob(const std::vector<VoterSignature>& voters) {
    ByteWriter w;
    w.u32(static_cast<std::uint32_t>(voters.size()));
    for (const VoterSignature& v : voters) {
        w.id(v.node);
        w.id(v.key);
        w.id(v.signature);
    }
    return w.take();
}

std::vector<VoterSignature> voters_of(ByteReader in) {
    std::vector<VoterSignature> out(in.count(kMaxNodes));
    for (VoterSignature& v : out) {
        v.node = in.fixed<NodeId>();
        v.key = in.fixed<PublicKey>();
        v.signature = in.fixed<Signature>();
    }
    return out;
}

Bytes to_blob(const std::vector<LeaseInfo>& leases) {
    ByteWriter w;
    w.u32(static_cast<std::uint32_t>(leases.size()));
    for (const LeaseInfo& l : leases) {
        w.id(l.id);
        w.u64(l.lo);
        w.u64(l.hi);
        w.u64(l.done);
    }
    return w.take();
}

std::vector<LeaseInfo> leases_of(ByteReader in) {
    std::vector<LeaseInfo> out(in.count(kMaxLeases));
    for (LeaseInfo& l : out) {
        l.id = in.strong<LeaseId>();
        l.lo = in.u64();
        l.hi = in.u64();
        l.done = in.u64();
    }
    return out;
}

// ------------------------------------------------------------------------------------------ operations

Fail broken(const char* what) { return fail(Errc::internal, std::string("journal check failed: ") + what); }

/// Runs a statement that must change exactly one row.
Result<void> one(Query& query, const char* check) {
    auto changed = query.run();
    if (!changed) return fail(changed.error());
    if (*changed != 1) return broken(check);
    return {};
}

Result<void> any(Query& query) {
    auto changed = query.run();
    if (!changed) return fail(changed.error());
    return {};
}

Result<void> put(SqliteDb& db, const op::ClaimTerm& o) {
    auto q = db.query("UPDATE meta SET term = ?1 WHERE term < ?1");
    q.bind(o.term);
    return one(q, "the term rises");
}

Result<void> put(SqliteDb& db, const op::PutMeta& o) {
    auto q = db.query(
        "UPDATE meta SET epoch = ?1, next_lease = ?2, tail = ?3, run_state = ?4, end_reason = ?5, void_sequences = ?6, loss_to_record = ?7 "
        "WHERE epoch <= ?1 AND next_lease <= ?2 AND tail <= ?3");
    q.bind(o.meta.epoch).bind(o.meta.next_lease).bind(o.meta.tail);
    q.bind(static_cast<int>(o.meta.run_state)).bind(o.meta.end_reason).bind(o.meta.void_sequences);
    q.bind(o.meta.loss_to_record);
    return one(q, "epoch, next lease and tail never fall");
}

Result<void> put(SqliteDb& db, const op::PutToken& o) {
    auto q = db.query("INSERT OR REPLACE INTO token VALUES (?, ?, ?, ?, ?, ?, ?)");
    const TokenRow& t = o.token;
    q.bind(t.id).bind(t.hash).bind(static_cast<int>(t.kind)).bind(t.uses_left).bind(t.not_after).bind(t.revoked);
    q.bind(t.label);
    return one(q, "a token");
}

Result<void> put(SqliteDb& db, const op::PutNode& o) {
    auto q = db.query(
        "INSERT INTO node VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (node_id) DO UPDATE SET "
        "key = excluded.key, name = excluded.name, site = excluded.site, state = excluded.state, "
        "incarnation = excluded.incarnation, boot_id = excluded.boot_id, ticket = excluded.ticket, "
        "curve_key = excluded.curve_key, addresses = excluded.addresses, reachable = excluded.reachable, "
        "since_epoch = excluded.since_epoch, reason = excluded.reason, diverged = excluded.diverged, "
        "credited_tokens = excluded.credited_tokens, given_steps = excluded.given_steps, "
        "given_steps_here = excluded.given_steps_here, given_active_ms = excluded.given_active_ms, "
        "given_since = excluded.given_since, given_sent_before = excluded.given_sent_before, "
        "given_sent = excluded.given_sent, given_received_before = excluded.given_received_before, "
        "given_received = excluded.given_received WHERE incarnation <= excluded.incarnation");
    const NodeRow& n = o.node;
    q.bind(n.node).bind(n.key).bind(n.name).bind(n.site).bind(static_cast<int>(n.state)).bind(n.incarnation);
    q.bind(n.boot).bind(n.ticket).bind(n.curve).bind(to_blob(n.addresses)).bind(n.reachable).bind(n.since_epoch);
    q.bind(n.reason).bind(n.diverged).bind(n.credited_tokens);
    const Given& g = n.given;
    q.bind(g.steps).bind(g.steps_here).bind(g.active_ms).bind(g.since_unix_s);
    q.bind(g.sent_before).bind(g.sent).bind(g.received_before).bind(g.received);
    return one(q, "an incarnation never falls");
}

Result<void> put(SqliteDb& db, const op::PutRoster& o) {
    auto old = db.query("SELECT max(epoch) FROM roster WHERE epoch >= ?");
    old.bind(o.epoch);
    auto found = old.row();
    if (!found) return fail(found.error());
    if (old.integer(0) != 0) return broken("the epoch rises");
    auto q = db.query("INSERT INTO roster VALUES (?, ?, ?)");
    q.bind(o.epoch).bind(o.roster.body).bind(o.roster.signature);
    if (auto done = one(q, "a roster"); !done) return done;
    auto prune = db.query("DELETE FROM roster WHERE epoch + 64 < ?");
    prune.bind(o.epoch);
    return any(prune);
}

Result<void> put(SqliteDb& db, const op::PutLease& o) {
    // next_lease is raised in the same transaction, after the leases.
    auto q = db.query("INSERT INTO lease SELECT ?, ?, ?, ?, ?, ? FROM meta WHERE next_lease <= ?1");
    const LeaseRow& l = o.lease;
    q.bind(l.id).bind(l.lo).bind(l.hi).bind(l.done).bind(l.holder).bind(l.granted_at);
    return one(q, "a lease id is used once");
}

Result<void> put(SqliteDb& db, const op::CreditLease& o) {
    auto q = db.query(
        "UPDATE lease SET done = ?4 WHERE lease_id = ?1 AND holder = ?2 AND done = ?3 AND ?4 > ?3 AND ?4 <= hi");
    q.bind(o.id).bind(o.holder).bind(o.from).bind(o.to);
    return one(q, "a credit begins where the last one ended, and the lease is its holder's");
}

Result<void> put(SqliteDb& db, const op::DropLease& o) {
    auto q = db.query("DELETE FROM lease WHERE lease_id = ?");
    q.bind(o.id);
    return one(q, "the lease exists");
}

Result<void> put(SqliteDb& db, const op::PutFree& o) {
    auto q = db.query("INSERT INTO free_range VALUES (?, ?)");
    q.bind(o.lo).bind(o.hi);
    return one(q, "a free range");
}

Result<void> put(SqliteDb& db, const op::DropFree& o) {
    auto q = db.query("DELETE FROM free_range WHERE lo = ?");
    q.bind(o.lo);
    return one(q, "the free range exists");
}

Result<void> put(SqliteDb& db, const op::PutPlan& o) {
    const PlanRow& p = o.plan;
    auto logged = db.query(
        "INSERT INTO plan_log SELECT ?1, ?2, ?3, ?4, NULL, '' WHERE "
        "?1 = (SELECT coalesce(max(step) + 1, 0) FROM decision) AND "
        "?3 > (SELECT coalesce(max(attempt), 0) FROM plan_log WHERE step = ?1) AND "
        "?2 >= (SELECT coalesce(max(term), 0) FROM plan_log WHERE step = ?1)");
    logged.bind(p.step).bind(p.term).bind(p.attempt).bind(p.digest);
    if (auto done = one(logged, "a plan is for the open step and above all before it"); !done) return done;
    auto q = db.query("INSERT INTO plan VALUES (1, ?, ?, ?, ?, ?, ?, ?)");
    q.bind(p.step).bind(p.term).bind(p.attempt).bind(p.epoch).bind(p.digest).bind(p.body).bind(p.must_end_decided);
    return one(q, "one plan is in force");
}

Result<void> put(SqliteDb& db, const op::EndPlan& o) {
    auto logged = db.query(
        "UPDATE plan_log SET ended = ?2, reason = ?3 WHERE digest = ?1 AND ended IS NULL "
        "AND (step, attempt) = (SELECT step, attempt FROM plan)");
    logged.bind(o.digest).bind(static_cast<int>(o.end)).bind(o.reason);
    if (auto done = one(logged, "the plan that ends is in force"); !done) return done;
    auto q = db.query("DELETE FROM plan WHERE digest = ?");
    q.bind(o.digest);
    return one(q, "the plan that ends is in force");
}

Result<void> put(SqliteDb& db, const op::PutDecision& o) {
    const DecisionRow& d = o.decision;
    auto q = db.query(
        "INSERT INTO decision SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 FROM plan "
        "WHERE step = ?1 AND term = ?3 AND attempt = ?4 AND digest = ?5 AND ?1 = (SELECT coalesce(max(step) + 1, 0) FROM decision)");
    q.bind(d.step).bind(static_cast<int>(d.kind)).bind(d.term).bind(d.attempt).bind(d.plan_digest);
    q.bind(d.tokens_after).bind(d.h_after).bind(d.record.decision.body).bind(d.record.decision.signature);
    q.bind(to_blob(d.record.voters));
    return one(q, "a decision is for the open step and the plan in force");
}

Result<void> put(SqliteDb& db, const op::PutDigest& o) {
    auto q = db.query("INSERT OR REPLACE INTO digest VALUES (?, ?, ?)");
    q.bind(o.digest.step).bind(o.digest.node).bind(o.digest.value);
    return one(q, "a digest");
}

Result<void> put(SqliteDb& db, const op::PutRequest& o) {
    const RequestRow& r = o.request;
    auto q = db.query(
        "INSERT INTO request (node_id, incarnation, request_id, answer) VALUES (?, ?, ?, ?)");
    q.bind(r.node).bind(r.incarnation).bind(r.request_id).bind(to_blob(r.leases));
    if (auto done = one(q, "a request is answered once"); !done) return done;
    auto prune = db.query(
        "DELETE FROM request WHERE node_id = ?1 AND number <= "
        "(SELECT number FROM request WHERE node_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET 64)");
    prune.bind(r.node);
    return any(prune);
}

Result<void> put(SqliteDb& db, const op::DropRequests& o) {
    auto q = db.query("DELETE FROM request WHERE node_id = ?");
    q.bind(o.node);
    return any(q);
}

// ---------------------------------------------------------------------------------------------- loading

/// Calls `take` for every row.
template <class Take>
Result<void> each(Query& query, Take take) {
    for (;;) {
        auto more = query.row();
        if (!more) return fail(more.error());
        if (!*more) return {};
        take(query);
    }
}

DecisionRow decision_of(Query& q) {
    DecisionRow d;
    d.step = q.strong<Step>(0);
    d.kind = static_cast<EntryKind>(q.integer(1));
    d.term = q.strong<Term>(2);
    d.attempt = q.strong<Attempt>(3);
    d.plan_digest = q.fixed<Digest>(4);
    d.tokens_after = q.number<std::uint64_t>(5);
    d.h_after = q.fixed<Digest>(6);
    d.record.decision.body = q.blob(7);
    d.record.decision.signature = q.fixed<Signature>(8);
    const Bytes voters = q.blob(9);
    d.record.voters = voters_of(ByteReader(voters));
    return d;
}

NodeRow node_of(Query& q) {
    NodeRow n;
    n.node = q.fixed<NodeId>(0);
    n.key = q.fixed<PublicKey>(1);
    n.name = q.text(2);
    n.site = q.text(3);
    n.state = static_cast<NodeState>(q.integer(4));
    n.incarnation = q.strong<Incarnation>(5);
    n.boot = q.fixed<BootId>(6);
    n.ticket = q.blob(7);
    n.curve = q.fixed<CurveKey>(8);
    const Bytes addresses = q.blob(9);
    n.addresses = addresses_of(ByteReader(addresses));
    n.reachable = q.integer(10) != 0;
    n.since_epoch = q.strong<Epoch>(11);
    n.reason = q.text(12);
    n.diverged = q.number<std::uint32_t>(13);
    n.credited_tokens = q.number<std::uint64_t>(14);
    n.given = {q.number<std::uint64_t>(15), q.number<std::uint64_t>(16), q.number<std::uint64_t>(17), q.integer(18),
               q.number<std::uint64_t>(19), q.number<std::uint64_t>(20), q.number<std::uint64_t>(21), q.number<std::uint64_t>(22)};
    return n;
}

Result<void> load_meta(SqliteDb& db, Image& image) {
    auto q = db.query("SELECT term, epoch, next_lease, tail, run_state, end_reason, void_sequences, loss_to_record FROM meta");
    auto found = q.row();
    if (!found) return fail(found.error());
    if (!*found) return fail(Errc::malformed, "the database has no meta row");
    image.term = q.strong<Term>(0);
    image.meta.epoch = q.strong<Epoch>(1);
    image.meta.next_lease = q.strong<LeaseId>(2);
    image.meta.tail = q.number<std::uint64_t>(3);
    image.meta.run_state = static_cast<RunState>(q.integer(4));
    image.meta.end_reason = q.text(5);
    image.meta.void_sequences = q.number<std::uint64_t>(6);
    image.meta.loss_to_record = q.integer(7) != 0;
    return {};
}

Result<void> load_steps(SqliteDb& db, Image& image) {
    auto head = db.query("SELECT coalesce(max(step) + 1, 0) FROM decision");
    if (auto found = head.row(); !found) return fail(found.error());
    image.head = head.strong<Step>(0);

    auto plan = db.query("SELECT step, term, attempt, epoch, digest, body, must_end_decided FROM plan");
    auto take = [&](Query& q) {
        image.plan = PlanRow{q.strong<Step>(0), q.strong<Term>(1), q.strong<Attempt>(2),
                             q.strong<Epoch>(3), q.fixed<Digest>(4), q.blob(5), q.integer(6) != 0};
    };
    if (auto r = each(plan, take); !r) return r;

    auto decisions = db.query("SELECT * FROM decision WHERE step >= ? ORDER BY step");
    decisions.bind(first_decision_needed(image.head, image.plan));
    if (auto r = each(decisions, [&](Query& q) { image.decisions.push_back(decision_of(q)); }); !r) return r;

    auto rollbacks = db.query("SELECT body FROM decision WHERE kind IN (2, 4) ORDER BY step");
    auto take_rollback = [&](Query& q) {
        if (auto decision = parse_decision(q.blob(0))) image.rollbacks.emplace_back(decision->rollback_to, decision->step);
    };
    if (auto r = each(rollbacks, take_rollback); !r) return r;

    auto change = db.query("SELECT step FROM decision WHERE kind <> 1 ORDER BY step LIMIT 1");
    if (auto r = each(change, [&](Query& q) { image.first_change = q.strong<Step>(0); }); !r) return r;

    auto last = db.query("SELECT coalesce(max(attempt), 0) FROM plan_log WHERE step = ?");
    last.bind(image.head);
    if (auto found = last.row(); !found) return fail(found.error());
    image.last_attempt = last.strong<Attempt>(0);

    auto digests = db.query("SELECT step, node_id, value FROM digest WHERE step + 4096 >= ? ORDER BY step, node_id");
    digests.bind(image.head);
    return each(digests, [&](Query& q) {
        image.digests.push_back({q.strong<Step>(0), q.fixed<NodeId>(1), q.fixed<Digest>(2)});
    });
}

Result<void> load_ledger(SqliteDb& db, Image& image) {
    auto leases = db.query("SELECT lease_id, lo, hi, done, holder, granted_at_step FROM lease ORDER BY lease_id");
    auto take_lease = [&](Query& q) {
        image.leases.push_back({q.strong<LeaseId>(0), q.number<std::uint64_t>(1), q.number<std::uint64_t>(2),
                                q.number<std::uint64_t>(3), q.fixed<NodeId>(4), q.strong<Step>(5)});
    };
    if (auto r = each(leases, take_lease); !r) return r;
    auto free = db.query("SELECT lo, hi FROM free_range ORDER BY lo");
    auto take_free = [&](Query& q) {
        image.free_ranges.emplace_back(q.number<std::uint64_t>(0), q.number<std::uint64_t>(1));
    };
    if (auto r = each(free, take_free); !r) return r;
    auto requests = db.query("SELECT node_id, incarnation, request_id, answer FROM request ORDER BY number");
    return each(requests, [&](Query& q) {
        const Bytes answer = q.blob(3);
        image.requests.push_back({q.fixed<NodeId>(0), q.strong<Incarnation>(1), q.number<std::uint64_t>(2),
                                  leases_of(ByteReader(answer))});
    });
}

Result<void> load_people(SqliteDb& db, Image& image) {
    auto tokens = db.query("SELECT id, hash, kind, uses_left, not_after, revoked, label FROM token ORDER BY id");
    auto take_token = [&](Query& q) {
        image.tokens.push_back({q.fixed<TokenId>(0), q.fixed<Digest>(1), static_cast<TokenKind>(q.integer(2)),
                                q.number<std::uint32_t>(3), q.integer(4), q.integer(5) != 0, q.text(6)});
    };
    if (auto r = each(tokens, take_token); !r) return r;
    auto nodes = db.query("SELECT * FROM node ORDER BY node_id");
    return each(nodes, [&](Query& q) { image.nodes.push_back(node_of(q)); });
}

}  // namespace

Result<void> apply_op(SqliteDb& db, const Op& op) {
    return std::visit([&](const auto& o) { return put(db, o); }, op);
}

Result<RunRow> load_run(SqliteDb& db) {
    auto q = db.query("SELECT manifest, data_manifest FROM run");
    auto found = q.row();
    if (!found) return fail(found.error());
    if (!*found) return fail(Errc::malformed, "the database has no run");
    return RunRow{q.blob(0), q.blob(1)};
}

Result<Image> load_image(SqliteDb& db) {
    Image image;
    auto run = load_run(db);
    if (!run) return fail(run.error());
    image.run = std::move(*run);
    for (auto* part : {&load_meta, &load_people, &load_ledger, &load_steps})
        if (auto r = part(db, image); !r) return fail(r.error());
    return image;
}

Result<std::vector<SignedDecision>> load_decisions(SqliteDb& db, Step from, std::uint32_t max,
                                                   std::size_t max_bytes) {
    auto q = db.query("SELECT * FROM decision WHERE step >= ? ORDER BY step LIMIT ?");
    q.bind(from).bind(max);
    std::vector<SignedDecision> out;
    std::size_t bytes = 0;
    for (;;) {
        auto more = q.row();
        if (!more) return fail(more.error());
        if (!*more) return out;
        DecisionRow row = decision_of(q);
        bytes += row.record.decision.body.size() + 128 * row.record.voters.size() + 128;
        if (!out.empty() && bytes > max_bytes) return out;
        out.push_back(std::move(row.record));
    }
}

}  // namespace skerry::coordinator
