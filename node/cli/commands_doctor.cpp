// skerry doctor: what is wrong with this machine, and what cures it.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/cli/commands.hpp"
#include "node/cli/doctor.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;

const char* word(Health health) { return health == Health::ok ? "ok" : health == Health::warn ? "warn" : "fail"; }

std::size_t count(const std::vector<Finding>& findings, Health health) {
    return static_cast<std::size_t>(std::count_if(findings.begin(), findings.end(), [&](const Finding& one) { return one.health == health; }));
}

void print(const std::vector<Finding>& findings) {
    for (const Finding& one : findings) {
        std::printf("  %-4s  %-12s %s\n", word(one.health), one.check.c_str(), one.text.c_str());
        if (!one.fix.empty()) std::printf("        %-12s fix: %s\n", "", one.fix.c_str());
    }
    const std::size_t bad = count(findings, Health::fail), warned = count(findings, Health::warn);
    std::printf("%zu failed, %zu warnings%s\n", bad, warned, bad == 0 ? ". Nothing that keeps this machine from taking part." : "");
}

}  // namespace

void Doctor::examine() {
    if (!context_.dir.empty()) look_at_folder();
    look_at_config();
    look_at_token();
    look_at_processor();
    look_at_memory();
    look_at_disk();
    look_at_descriptors();
    look_at_clock();
    look_at_agent();
    look_at_identity();
    look_at_trainer();
    look_at_ports();
    look_at_coordinator();
    look_at_log();
    look_at_leftovers();
}

std::string Doctor::to_json() const {
    Json list = Json::array();
    for (const Finding& one : findings_) {
        Json row{{"check", one.check}, {"health", word(one.health)}, {"message", one.text}, {"fix", one.fix}};
        if (one.health == Health::fail) row["code"] = to_name(one.code);
        list.push_back(std::move(row));
    }
    Json out{{"schema", "skerry.doctor/1"}, {"ok", count(findings_, Health::fail) == 0}, {"version", SKERRY_VERSION},
             {"failed", count(findings_, Health::fail)}, {"warnings", count(findings_, Health::warn)}, {"findings", list}};
    return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<void> doctor_command(const Context& context, const std::string& bundle) {
    Doctor doctor(context);
    doctor.examine();
    const auto& findings = doctor.findings();
    if (context.json) print_json(Json::parse(doctor.to_json()));
    else print(findings);
    if (!bundle.empty()) {
        auto written = write_doctor_bundle(doctor, context.dir, bundle);
        if (!written) return written;
        if (!context.json) std::printf("wrote %s: versions, node.toml, the end of the log, status, these findings; no token, no key. Look into it: tar -xzf %s\n", bundle.c_str(), bundle.c_str());
    }
    auto first = std::find_if(findings.begin(), findings.end(), [](const Finding& one) { return one.health == Health::fail; });
    if (first == findings.end()) return {};
    return fail(first->code, std::to_string(count(findings, Health::fail)) + " checks failed, the first: " + first->text, first->fix);
}

}  // namespace skerry::node
