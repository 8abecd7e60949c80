#!/usr/bin/env python3
"""Shows that the simulator finds bugs: makes one small change to the product at a time and expects a broken invariant.

    tests/sim/mutants.py [--build DIR] [--seeds N] [--jobs N] [--only 3,12]
    tests/sim/mutants.py --check     only whether each text to change is there, once; compiles nothing

DIR is a build tree in which skerry_sim is built (default build/release). Of each mutant only the changed files are
compiled; the source tree is not touched. Numbers are those of the step protocol's table of mutants; where two rules
guard the same thing, the mutant takes both away. Exit status 0: every mutant was found.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
COORDINATOR = "coordinator/core/"
NODE = "node/core/"
LOG = "node/log/"

# A lost lease no longer ends the delta that was trained on it: takes the guard of 7 and 18 away.
KEEPS_DELTA = [
    (NODE + "local_work.cpp", "    if (frozen_ && !leases_.covers(frozen_->segments)) {", "    if (false) {"),
    (NODE + "local_work.cpp", "    if (!reload_wanted_ && !leases_.covers(fed)) drop_local(", "    if (false) drop_local("),
]

# number: (what, invariants that may break first, [(file, text, replacement)])
MUTANTS = {
    "1": ("COMMIT is announced before the transaction is durable", "I3 I2 I13", [(
        COORDINATOR + "coordinator_core.cpp",
        """    if (!c.ops.empty()) actions.push_back(Persist{{c.term, std::move(c.ops)}});
    std::move(c.out.begin(), c.out.end(), std::back_inserter(actions));""",
        """    std::move(c.out.begin(), c.out.end(), std::back_inserter(actions));
    if (!c.ops.empty()) actions.push_back(Persist{{c.term, std::move(c.ops)}});""")]),
    "2": ("a node votes durable without waiting for its disk", "I4 I5", [(
        NODE + "step_machine.cpp",
        "    context_.emit(WritePrepared{*prepare_op_, step, prepare_plan_, prepare_root_, h, log_.records_missing()});",
        """    context_.emit(WritePrepared{*prepare_op_, step, prepare_plan_, prepare_root_, h, log_.records_missing()});
    prepared_ = Voted{step, {prepare_plan_, prepare_root_, true, {}}};""")]),
    "3": ("votes of an earlier attempt are counted", "I7 I5", [
        (COORDINATOR + "step_machine.cpp",
         "if (!report.prepared || report.prepared->plan != open.row.digest) return;",
         "if (!report.prepared) return;"),
        (COORDINATOR + "step_machine.cpp",
         "mine->checked_vote.emplace(*report.prepared, valid);",
         "mine->checked_vote.emplace(*report.prepared, true);"),
        (COORDINATOR + "step_machine.cpp",
         "const bool counts = vote.plan == c_.open->row.digest && node->checked_vote->first == vote &&",
         "const bool counts = node->checked_vote->first == vote &&"),
    ]),
    "4": ("on COMMIT the prepared file is renamed without comparing roots", "I2", [(
        NODE + "step_machine.cpp",
        """    if (prepared_ && prepared_->step == next && prepared_->state.plan == link.plan_digest &&
        prepared_->state.root == link.root) {""",
        "    if (prepared_ && prepared_->step == next && prepared_->state.durable) {"),
        ("node/exchange/piece_files.cpp",
         "    if (has_entry && !is_prepared(action.plan_digest, action.root)) {",
         "    if (has_entry && !action.prepared && !is_prepared(action.plan_digest, action.root)) {"),
        (LOG + "run_store_entries.cpp",
         "        if (in_log || entry.step != k || entry.root != decided->root ||\n            entry.plan_digest != decided->plan_digest)",
         "        if (in_log || entry.step != k)"),
        (LOG + "run_store.cpp",
         "    if ((*reader)->root() != decided->root || (*reader)->plan_digest() != decided->plan_digest)",
         "    if (false)"),
    ]),
    "5": ("leases of an away node are released although the plan pins them", "I6", [(
        COORDINATOR + "context.cpp",
        "if (!pinned(id)) ledger.release(id, ops);",
        "ledger.release(id, ops);")]),
    "6": ("holder and from = done are not tested in plan and decision", "I6 I7", [
        (COORDINATOR + "leases.cpp",
         "    return lease && lease->holder == holder && segment.from == lease->done && segment.from < segment.to &&\n"
         "           segment.to <= lease->hi;",
         "    (void)holder;\n    return segment.from < segment.to && (!lease || segment.to <= lease->hi);"),
        (COORDINATOR + "leases.cpp",
         "    LeaseRow& lease = leases_.at(segment.lease);\n    lease.done = segment.to;",
         "    ops.push_back(op::CreditLease{segment.lease, holder, segment.from, segment.to});\n"
         "    if (!leases_.contains(segment.lease)) return;\n    ops.pop_back();\n"
         "    LeaseRow& lease = leases_.at(segment.lease);\n    lease.done = segment.to;"),
    ]),
    "22": ("a rebuild ignores prepared entries", "I9", [(
        COORDINATOR + "rebuild_rows.cpp", "        if (each.first.step != head) continue;", "        continue;")]),
    "23": ("a rebuild takes the lowest prepared attempt", "I9", [(
        COORDINATOR + "rebuild_rows.cpp", "rank(each.first) > rank(adopted_->first)", "rank(each.first) < rank(adopted_->first)")]),
    "24": ("a rebuild decides the entry that it found before it is copied", "I5 I9", [(
        COORDINATOR + "step_machine.cpp",
        "votes.durable.begin()->second < open.plan.durable_copies) {",
        "votes.durable.begin()->second < (open.row.must_end_decided ? 1U : open.plan.durable_copies)) {")]),
    "26": ("nodes obey a coordinator of a lower term, and it takes them", "I9 I5", [
        (NODE + "session_gate.cpp",
         "    const bool older = welcome.term < term_ || welcome.incarnation", "    const bool older = welcome.incarnation"),
        (NODE + "session_gate.cpp",
         "void SessionGate::begin(const NodeImage& image) {\n    term_ = image.term;",
         "static std::map<const void*, Term> g_highest;\n"
         "void SessionGate::begin(const NodeImage& image) {\n    term_ = g_highest[this] = image.term;"),
        (NODE + "session_gate.cpp",
         "    context_.emit(PersistSeen{write->op, term_,",
         "    g_highest[this] = std::max(g_highest[this], term_);\n    context_.emit(PersistSeen{write->op, g_highest[this],"),
        (COORDINATOR + "admission.cpp", "hello.head > c_.head || hello.seen_term > c_.term ||", "hello.head > c_.head ||"),
    ]),
    "36": ("a rollback takes the number of the step that it goes back to", "I1", [(
        COORDINATOR + "change.cpp", "    plan.step = c_.head;", "    plan.step = is_rollback(kind) ? to : c_.head;")]),
    "36.1": ("a rollback, or another step without chunks, is decided with one vote", "I5 I9", [(
        COORDINATOR + "step_machine.cpp",
        "votes.durable.begin()->second < open.plan.durable_copies) {",
        "votes.durable.begin()->second < (open.plan.kind == EntryKind::commit ? open.plan.durable_copies : 1U)) {")]),
    "9": ("an owner sums whoever has arrived", "I7", [(
        NODE + "exchange.cpp",
        """    for (const Participant& participant : plan_->participants)
        if (!contribution_here(participant.contribution, piece)) return;
    result.reducing = true;""",
        """    std::size_t here = 0;
    for (const Participant& participant : plan_->participants)
        if (contribution_here(participant.contribution, piece)) ++here;
    if (2 * here < plan_->participants.size()) return;
    result.reducing = true;"""),
        (LOG + "run_store_step.cpp",
         "        if (!part) return fail(part.error());\n        mean.add(",
         "        if (!part) continue;\n        mean.add("),
    ]),
    "10": ("the database is written without WHERE term", "I1", [(
        "coordinator/store/sqlite_journal.cpp", "        if (!*mine)\n", "        if (false)\n")]),
    "12": ("a node applies at PREPARED", "I3", [(
        NODE + "step_machine.cpp",
        """    prepared_ = Voted{exchange_.plan().step, {prepare_plan_, prepare_root_, answer->durable, answer->signature}};
""",
        """    prepared_ = Voted{exchange_.plan().step, {prepare_plan_, prepare_root_, answer->durable, answer->signature}};
    const Plan& plan = exchange_.plan();
    Decision early;
    early.run = plan.run;
    early.step = plan.step;
    early.term = plan.term;
    early.attempt = plan.attempt;
    early.plan_digest = prepare_plan_;
    early.roots = {prepare_root_};
    early.outer = plan.outer;
    early.tokens_after = chain_.tokens(plan.step);
    for (const Participant& p : plan.participants) {
        early.credits.push_back({p.node, p.contribution, p.weight_tokens, p.segments});
        early.tokens_after += p.weight_tokens;
    }
    early.h_after = chain_next(chain_.h(plan.step), early);
    SignedDecision record;
    record.decision.body = to_bytes(early);
    learn(record);
""")]),
    "13": ("one durable copy is enough where the plan wants two", "I5", [(
        COORDINATOR + "step_machine.cpp",
        "votes.durable.begin()->second < open.plan.durable_copies) {",
        "votes.durable.begin()->second < 1) {")]),
    "14": ("the prepared entry is dropped when Orders show no plan", "I5 L1", [(
        NODE + "step_machine.cpp",
        "    if (orders.plan) take_plan(*orders.plan);",
        """    if (orders.plan) take_plan(*orders.plan);
    if (!orders.plan && prepared_) {
        context_.emit(DropStaging{prepared_->step, prepared_->state.plan});
        exchange_.end_step(prepared_->step);
        prepared_.reset();
    }""")]),
    "27": ("an uncredited delta advances the residual", "I12", [(
        NODE + "step_machine.cpp",
        "    if (!has_delta) return out;\n    const std::uint64_t age",
        "    if (!has_delta) return out;\n    if (frozen_ && out.credited.empty()) out.residual = ResidualRule::advance;\n    const std::uint64_t age")]),
    "28": ("a residual with a wrong tag is used after a restart", "I12", [(
        NODE + "local_work.cpp",
        "    const bool residual = residual_tag_ && residual_tag_ == chain_.last_credited();",
        "    const bool residual = residual_tag_.has_value();")]),
    "34": ("retention deletes entries above the floor", "I5 L1", [
        (NODE + "state_log.cpp", "{Kind::look, keep->first, false}", "{Kind::look, applied_, false}"),
        (NODE + "state_log.cpp", "Prune{op, keep->first, {}}", "Prune{op, applied_, {}}"),
        (LOG + "retention.cpp", "            if (keep_all || item.step >= oldest) continue;", "            if (keep_all) continue;"),
    ]),
    "37": ("READY of a node that is not current counts", "I6 I8 L1", [
        (COORDINATOR + "step_machine.cpp",
         "    if (!c_.here(node) || !node.report || !node.report->ready) return false;",
         "    if (!node.report || !node.report->ready) return false;"),
        (COORDINATOR + "coordinator_core.cpp",
         "    const bool may = node.current() && !node.leaving &&",
         "    const bool may = !node.leaving &&"),
    ]),
    "7": ("after a restart progress is used although a decision credits it (and 19)", "L1 L2 I6", [
        (NODE + "local_work.cpp",
         "    if (chain_.last_credited() && *chain_.last_credited() >= image.note.base) return false;\n"
         "    return !undone(image) && image.delta.sequences > 0 && leases_.covers(prefix(context_, image));",
         "    return image.delta.sequences > 0;")] + KEEPS_DELTA),
    "8": ("an owner takes any contribution of the participant, not the bound id", "I7", [
        (NODE + "exchange.cpp",
         "bool Exchange::contribution_here(const Digest& id, PieceIndex piece) const {\n    if (own_.contains(id)) return true;",
         """static std::map<std::pair<const void*, NodeId>, std::map<Step, std::set<PieceIndex>>> g_any;
bool Exchange::contribution_here(const Digest& id, PieceIndex piece) const {
    if (own_.contains(id)) return true;
    if (plan_)
        for (const Participant& p : plan_->participants)
            if (p.contribution == id && g_any[{this, p.node}][step_].contains(piece)) return true;"""),
        (NODE + "exchange.cpp",
         "        gathered_[want.object.id].insert(want.place);\n        changed_ = true;",
         "        gathered_[want.object.id].insert(want.place);\n        changed_ = true;\n"
         "        g_any[{this, want.maker}][step_].insert(want.place);"),
        (LOG + "run_store_step.cpp",
         "    if (gathered) return gathered->read(piece);\n",
         "    if (gathered && gathered->has(piece)) return gathered->read(piece);\n"
         "    for (const auto& [key, other] : gathered_)\n"
         "        if (key.first == step && other->has(piece)) return other->read(piece);\n"),
    ]),
    "11": ("attempt numbers restart with the process and votes name no digest", "I13 I7", [
        (COORDINATOR + "context.cpp", "      last_attempt(image.last_attempt) {", "      last_attempt() {"),
        (COORDINATOR + "step_machine.cpp",
         "if (!report.prepared || report.prepared->plan != open.row.digest) return;",
         "if (!report.prepared) return;"),
        (COORDINATOR + "step_machine.cpp",
         "const bool counts = vote.plan == c_.open->row.digest && node->checked_vote->first == vote &&",
         "const bool counts = node->checked_vote->first == vote &&"),
    ]),
    "15": ("a plan of step k+1 removes the prepared entry of step k before it is appended", "I5", [(
        NODE + "step_machine.cpp",
        "    if (orders.plan) take_plan(*orders.plan);",
        """    if (orders.plan) take_plan(*orders.plan);
    auto later = orders.plan ? plan_bodies_.find(orders.plan->digest) : plan_bodies_.end();
    auto next = later == plan_bodies_.end() ? Result<Plan>(fail(Errc::not_found, "")) : parse_plan(later->second);
    if (prepared_ && next && next->step > prepared_->step) {
        context_.emit(DropStaging{prepared_->step, prepared_->state.plan});
        exchange_.end_step(prepared_->step);
        prepared_.reset();
    }""")]),
    "16": ("a node follows and votes for step k+1 while its log up to k is not synced", "I5", [
        (NODE + "step_machine.cpp",
         "    if (plan->step != chain_.known() || (commits && plan->step != log_.log_head())) return;",
         "    if (plan->step != chain_.known()) return;"),
        (NODE + "step_machine.cpp", "    return plan.step == log_.log_head();", "    return true;"),
        (NODE + "step_machine.cpp",
         "    if (exchange_.following() && exchange_.plan().step < plan->step && exchange_.complete()) return;\n", ""),
        (NODE + "step_machine.cpp",
         "    if (prepared_->step != log_.applied() && !(exchange_.following() && is_rollback(exchange_.plan().kind)))\n"
         "        return std::nullopt;\n", ""),
    ]),
    "17": ("catch-up takes a peer's entry without checking the root", "I2", [
        ("node/exchange/piece_files.cpp",
         "    if (leaf != expected) return verdict(ChunkVerdict::bad_proof);",
         "    if (signed_result && leaf != expected) return verdict(ChunkVerdict::bad_proof);"),
        ("node/exchange/piece_files.cpp",
         "        if (made->root != action.root)\n            return fail(Errc::digest_mismatch, \"the entry's root is not the decided one\");\n",
         ""),
        (LOG + "entry_file.cpp",
         "    if (merkle_leaf(out.chunk) != leaf)\n        return fail(Errc::digest_mismatch, file.path().string()",
         "    if (false)\n        return fail(Errc::digest_mismatch, file.path().string()"),
        (LOG + "run_store_entries.cpp",
         "        if (in_log || entry.step != k || entry.root != decided->root ||\n            entry.plan_digest",
         "        if (in_log || entry.step != k ||\n            entry.plan_digest"),
        (LOG + "run_store.cpp",
         "    if ((*reader)->root() != decided->root || (*reader)->plan_digest() != decided->plan_digest)",
         "    if ((*reader)->plan_digest() != decided->plan_digest)"),
    ]),
    "18": ("the own delta is kept after it was credited (and 19)", "L1 L2 I6 I7", [
        (NODE + "step_machine.cpp",
         "        if (is_frozen_part || contains) {\n            out.drop = true;\n            return out;\n        }",
         "        (void)is_frozen_part;\n        (void)contains;"),
        (NODE + "step_machine.cpp",
         "    if (age > context_.manifest->max_carry) {", "    if (false && age > 0) {"),
    ] + KEEPS_DELTA),
    "20": ("a plan is never withdrawn, although its pins hold the last data", "L1", [(
        COORDINATOR + "step_machine.cpp",
        "    if (!next && !withdraw_if_impossible) {", "    (void)withdraw_if_impossible;\n    if (!next) {")]),
    "21": ("only participants own chunks, and nobody relays", "L1", [
        (COORDINATOR + "paths.cpp",
         "        if (!bad && !full) owners.push_back(i);\n    }\n    return owners.empty() ? all : owners;",
         """        if (!bad && !full) owners.push_back(i);
    }
    auto idle = [&](std::uint16_t i) {
        return std::none_of(plan.participants.begin(), plan.participants.end(),
                            [&](const Participant& p) { return p.node == plan.members[i]; });
    };
    std::erase_if(owners, idle);
    std::erase_if(all, idle);
    return owners.empty() ? all : owners;"""),
        (NODE + "exchange.cpp",
         "        if (want.relayed || !plan_ || !(cut || asker_.stalled(want.maker, true))) return out;",
         "        (void)cut;\n        return out;"),
    ]),
    "25": ("min_nodes counts contributors only", "L1", [(
        COORDINATOR + "step_machine.cpp",
        "        if (plan.participants.empty()) return {};",
        "        if (plan.participants.empty() || plan.participants.size() < c_.manifest.min_nodes) return {};")]),
    "29": ("an owner reduces in place, so a retry starts from a half-summed buffer", "I7 I14", [(
        LOG + "run_store_step.cpp",
        "    MeanBuilder mean(grid_.size(piece));",
        "    static std::map<std::tuple<RunId, const RunStore*, Step, PieceIndex>, MeanBuilder> buffers;\n"
        "    MeanBuilder& mean = buffers.try_emplace({plan.run, this, plan.step, piece}, grid_.size(piece)).first->second;")]),
    "30": ("an owner sums in order of arrival", "I7 I14 I2", [(
        LOG + "run_store_step.cpp",
        "    for (const Participant& participant : plan.participants) {\n"
        "        auto part = read_contribution(plan.step, participant.contribution, piece);\n"
        "        if (!part) return fail(part.error());",
        "    std::vector<Participant> arrived = plan.participants;\n"
        "    std::stable_partition(arrived.begin(), arrived.end(),\n"
        "                          [&](const Participant& p) { return own_ && own_->ready().contribution == p.contribution; });\n"
        "    for (const Participant& participant : arrived) {\n"
        "        auto part = read_contribution(plan.step, participant.contribution, piece);\n"
        "        if (!part) return fail(part.error());")]),
    "31": ("a file is renamed without an fsync of its content", "I4 I5", [(
        LOG + "entry_file.cpp",
        "    done = file()->sync();\n    if (done) done = rename_durably(file()->path(), final_path);",
        "    done = rename_durably(file()->path(), final_path);")]),
    "32": ("a node without data enters the divisor", "I11", [
        (COORDINATOR + "step_machine.cpp", "            if (r.segments.empty()) continue;\n", ""),
        (COORDINATOR + "step_machine.cpp",
         "plan.participants.push_back({id, node.row.incarnation, r.contribution, r.weight_tokens, r.segments});",
         "plan.participants.push_back({id, node.row.incarnation, r.contribution,\n"
         "                                         std::max(r.weight_tokens, c_.manifest.sequence_tokens + 0UL), r.segments});"),
    ]),
    "33": ("credit is written outside the decision's transaction", "I7 I6 I8", [(
        COORDINATOR + "coordinator_core.cpp",
        "    if (!c.ops.empty()) actions.push_back(Persist{{c.term, std::move(c.ops)}});",
        """    Ops later;
    std::erase_if(c.ops, [&](const Op& o) {
        const bool credit = std::holds_alternative<op::CreditLease>(o) || std::holds_alternative<op::DropLease>(o) ||
                            std::holds_alternative<op::PutFree>(o) || std::holds_alternative<op::DropFree>(o);
        if (credit) later.push_back(o);
        return credit;
    });
    if (!c.ops.empty()) actions.push_back(Persist{{c.term, std::move(c.ops)}});
    if (!later.empty()) actions.push_back(Persist{{c.term, std::move(later)}});""")]),
    "35": ("the incarnation is not raised for a new process", "I13", [(
        COORDINATOR + "admission.cpp",
        "        std::max(node.row.incarnation, std::min(event.hello.incarnation_on_disk, kMaxClaimed)).next();",
        "        std::max(node.row.incarnation, std::min(event.hello.incarnation_on_disk, kMaxClaimed));")]),
    "38": ("a vote of an earlier incarnation counts until its successor votes", "I5", [
        (COORDINATOR + "admission.cpp",
         "    node.report.reset();\n    node.checked_vote.reset();\n    node.leaving = false;",
         "    node.report.reset();\n    node.leaving = false;"),
        (COORDINATOR + "step_machine.cpp",
         "    if (!c_.open || !node || !node->report || !node->report->prepared || !node->checked_vote) return nullptr;\n"
         "    const PreparedState& vote = *node->report->prepared;",
         "    if (!c_.open || !node || !node->checked_vote) return nullptr;\n"
         "    const bool says = node->report && node->report->prepared;\n"
         "    const PreparedState& vote = says ? *node->report->prepared : node->checked_vote->first;"),
    ]),
    "39": ("a node returns the lease of its frozen contribution, and it is freed although the plan pins it", "I6", [
        (COORDINATOR + "coordinator_core.cpp",
         "if (!lease || lease->holder != node.row.node || c.pinned(id)) continue;",
         "if (!lease || lease->holder != node.row.node) continue;"),
        (NODE + "local_work.cpp",
         "    if (trainer_.gone_not_finite() && !frozen_) {", "    if (trainer_.gone_not_finite()) {"),
    ]),
    "40": ("the plan is kept when a contribution is gone and no other plan is possible", "L1", [(
        COORDINATOR + "step_machine.cpp",
        'if (!lost.empty()) return replace(lost == "lost" ? "a contribution is lost" : lost, true);',
        'if (!lost.empty()) return replace(lost == "lost" ? "a contribution is lost" : lost, false);')]),
    "42": ("progress forgets the age of its delta", "I16", [(
        NODE + "local_work.cpp", "    note.base = base_;", "    note.base = log_.applied();")]),
    "43": ("an entry that rotted below the head is never fetched again", "L3", [(
        NODE + "repair.cpp", "    if (fetch_.step() || context_.now < again_) return;", "    if (again_ <= Mono::max()) return;")]),
    "44": ("nobody reads old entries to see whether they are whole", "L3", [(
        NODE + "scrub.cpp", "    if (op_ || context_.now < next_at_) return;", "    if (op_ || next_at_ <= Mono::max()) return;")]),
    "45": ("a follower that has caught up counts like the others", "I17", [(
        COORDINATOR + "membership.cpp", "    if (node.row.state == NodeState::joining && caught_up(node)) {",
        "    if ((node.following() || node.row.state == NodeState::joining) && caught_up(node)) {")]),
    "46": ("what a follower says of states counts", "I17", [(
        COORDINATOR + "membership.cpp", "    if (node.following()) check_follower(node, report);\n    else note_digests(node, report);", "    note_digests(node, report);")]),
    "47": ("a save restored for its optimizer's state alone is trained on", "L1 L2 I6", [
        (NODE + "local_work.cpp", "            reload_wanted_ = std::exchange(restoring_moments_, false);", "            restoring_moments_ = false;")] + KEEPS_DELTA),
}


def mutate(edits, folder):
    """Writes the changed files; answers their paths in the tree."""
    texts = {}
    for name, old, new in edits:
        text = texts.get(name) or (ROOT / name).read_text()
        if text.count(old) != 1:
            raise SystemExit(f"{name}: the text to change is there {text.count(old)} times, not once:\n{old}")
        texts[name] = text.replace(old, new)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(texts)


def compile_commands(build):
    commands = json.loads((build / "compile_commands.json").read_text())
    return {str(pathlib.Path(c["file"]).resolve().relative_to(ROOT)): c for c in commands
            if pathlib.Path(c["file"]).resolve().is_relative_to(ROOT)}


def build_mutant(build, commands, link, names, folder):
    objects = []
    for name in names:
        command = shlex.split(commands[name]["command"])
        out = folder / (name.replace("/", "_") + ".o")
        command[command.index("-o") + 1] = str(out)
        source = next(i for i, a in enumerate(command) if a.endswith(name))
        command[source] = str(folder / name)
        command += ["-g0", "-O1"]
        subprocess.run(command, cwd=build, check=True)
        objects.append((pathlib.Path(name).name + ".o", str(out)))
    line = shlex.split(link)
    for base, out in objects:
        # A file of the program is replaced; one of a library comes before the archives, so that it is met first.
        own = [i for i, a in enumerate(line) if a.endswith("skerry_sim.dir/" + base)]
        if own:
            line[own[0]] = out
        else:
            line.insert(next(i for i, a in enumerate(line) if a.endswith(".o")), out)
    program = folder / "skerry_sim"
    line[line.index("-o") + 1] = str(program)
    line.append("-Wl,--strip-debug")
    subprocess.run(line, cwd=build, check=True)
    return program


def link_command(build):
    lines = subprocess.run(["ninja", "-C", str(build), "-t", "commands", "skerry_sim"], capture_output=True, text=True,
                           check=True).stdout.strip().splitlines()
    line = lines[-1]
    return re.sub(r"^: && | && :$", "", line)


def try_mutant(number, build, commands, link, seeds):
    """Whether it was found, and what a person wants to read about it."""
    what, breaks, edits = MUTANTS[number]
    folder = build / "mutants" / number  # always the same, so that a compiler cache knows it
    folder.mkdir(parents=True, exist_ok=True)
    program = build_mutant(build, commands, link, mutate(edits, folder), folder)
    begun = time.monotonic()
    found = run_seeds(build, program, seeds, breaks.split())
    took = time.monotonic() - begun
    program.unlink()
    named = [f for f in found if f[0] in breaks.split()]
    others = sorted({f[0] for f in found} - set(breaks.split()))
    text = f"mutant {number:>3} {'found ' if named else 'MISSED'} {what} ({breaks}), {took:.0f} s"
    if others:
        text += f"; broken before it: {' '.join(others)}"
    for by, broken, replay in (named or found)[:1]:
        text += f"\n             {broken[:150]}\n             {replay}"
    return bool(named), text


def run_seeds(build, program, seeds, until):
    """What broke: (invariant, the line that says so, command that replays it), in order of seeds. Ends with one of `until`."""
    run = subprocess.run([str(program), "--seeds", f"1..{seeds}", "--jobs", "1", "--no-shrink", "--until", ",".join(until)],
                         cwd=build, capture_output=True, text=True, errors="replace")  # there the names of files hold
    found = []
    broken = ""
    for line in run.stdout.splitlines():
        if re.match(r"seed \d+ \[", line):
            broken = line
        elif line.startswith("replay: ") and broken:
            found.append((broken.split(" [", 1)[1].split("]")[0], broken, line.removeprefix("replay: ")))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.check:
        for _, _, edits in MUTANTS.values():
            with tempfile.TemporaryDirectory() as folder:
                mutate(edits, pathlib.Path(folder))
        print(f"{len(MUTANTS)} mutants fit the tree")
        return 0
    build = pathlib.Path(args.build)
    build = build if build.is_absolute() else ROOT / build
    wanted = args.only.split(",") if args.only else sorted(MUTANTS, key=float)
    commands = compile_commands(build)
    link = link_command(build)
    missed = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        tries = {n: pool.submit(try_mutant, n, build, commands, link, args.seeds) for n in wanted}
        for number, done in tries.items():
            found, text = done.result()
            if not found:
                missed.append(number)
            print(text, flush=True)
    print(f"value: {len(wanted) - len(missed)} of {len(wanted)} mutants found" + (f"; missed: {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
