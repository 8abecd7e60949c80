#include "tests/sim/virtual_disk.hpp"

#include <algorithm>
#include <optional>

#include "protocol/base/assert.hpp"

namespace skerry::sim {

namespace {

constexpr std::size_t kVersions = 4;  ///< contents of a sector remembered between two syncs

/// How a power cut goes about the unsynced: most real ones lose everything late or nothing.
enum class Mood { keep_all, drop_all, keep_early, mixed };

Mood draw_mood(Rng& rng) {
    const auto n = rng.in(0, 9);
    if (n == 0) return Mood::keep_all;
    if (n == 1) return Mood::drop_all;
    return n < 4 ? Mood::keep_early : Mood::mixed;
}

}  // namespace

struct VirtualDisk::Node {
    struct Sector {
        std::vector<Bytes> versions;  ///< first: on the medium; last: what a read sees
        std::uint32_t lo = 0;         ///< [lo, hi) was written since the medium had it
        std::uint32_t hi = 0;
        bool lost = false;  ///< a sync of it failed: counts as clean
    };
    using NodePtr = std::shared_ptr<Node>;
    /// One change of a folder that is not synced.
    struct Change {
        std::string name;
        NodePtr gone;                ///< the entry that went, if any
        NodePtr come;                ///< the entry that came, if any
        std::string other_name;      ///< a rename inside the folder: the name that went
        std::shared_ptr<int> happened;  ///< shared by both ends of a rename: 0 not decided, 1 yes, 2 no
    };

    bool folder = false;
    // A file.
    Bytes now;
    std::uint64_t medium_size = 0;
    std::map<std::uint64_t, Sector> dirty;
    // A folder.
    std::map<std::string, NodePtr, std::less<>> entries;
    std::map<std::string, NodePtr, std::less<>> on_medium;
    std::vector<Change> pending;

    Bytes sector(std::uint64_t index, std::uint32_t bytes) const {
        Bytes out(bytes, 0);
        const std::uint64_t at = index * bytes;
        if (at < now.size()) {
            const auto n = std::min<std::uint64_t>(bytes, now.size() - at);
            std::copy_n(now.begin() + static_cast<std::ptrdiff_t>(at), n, out.begin());
        }
        return out;
    }

    /// Calls `alter` on the content and remembers what the sectors of [from, to) were.
    template <class Alter>
    void altering(std::uint64_t from, std::uint64_t to, std::uint32_t bytes, Alter alter) {
        const std::uint64_t first = from / bytes;
        const std::uint64_t last = to == from ? first : (to - 1) / bytes + 1;
        for (std::uint64_t i = first; i < last; ++i) {
            auto [at, fresh] = dirty.try_emplace(i);
            Sector& s = at->second;
            if (fresh) {
                s.versions.push_back(sector(i, bytes));
                s.lo = bytes;
            }
            s.lo = std::min(s.lo, static_cast<std::uint32_t>(std::max(from, i * bytes) - i * bytes));
            s.hi = std::max(s.hi, static_cast<std::uint32_t>(std::min(to, (i + 1) * bytes) - i * bytes));
            s.lost = false;
        }
        alter();
        for (std::uint64_t i = first; i < last; ++i) {
            Sector& s = dirty.at(i);
            if (s.versions.size() == kVersions) s.versions.erase(s.versions.begin() + 1);
            s.versions.push_back(sector(i, bytes));
        }
    }

    void synced() {
        std::erase_if(dirty, [](const auto& one) { return !one.second.lost; });
        medium_size = now.size();
    }
    void sync_failed() {
        for (auto& [index, s] : dirty) s.lost = true;
    }

    static Bytes outcome(const Sector& s, Mood mood, bool early, const DiskModel& model, Rng& rng) {
        const Bytes& old = s.versions.front();
        const Bytes& fresh = s.versions.back();
        if (s.lost) return rng.chance(0.5) ? fresh : old;
        if (mood == Mood::keep_all || (mood == Mood::keep_early && early)) return fresh;
        if (mood != Mood::mixed) return old;
        const auto n = rng.in(0, 9);
        if (n < 4) return fresh;
        if (n < 6) return old;
        if (n == 6) return s.versions[static_cast<std::size_t>(rng.in(0, static_cast<std::int64_t>(s.versions.size()) - 1))];
        const std::uint32_t lo = model.powersafe_overwrite ? s.lo : 0;
        const std::uint32_t hi = model.powersafe_overwrite ? s.hi : model.sector_bytes;
        Bytes out = fresh;
        if (n < 9) {  // torn
            const auto cut = static_cast<std::ptrdiff_t>(rng.in(lo, hi));
            if (rng.chance(0.5)) std::copy(old.begin() + cut, old.end(), out.begin() + cut);
            else std::copy(old.begin(), old.begin() + cut, out.begin());
            return out;
        }
        for (std::uint32_t i = lo; i < hi; ++i) out[i] = static_cast<std::uint8_t>(rng.next());
        return out;
    }

    void power_cut(const DiskModel& model, Mood mood, Rng& rng) {
        const std::uint64_t bytes = model.sector_bytes;
        std::uint64_t size = now.size();
        if (size != medium_size && mood != Mood::keep_all) {
            const auto lo = static_cast<std::int64_t>(std::min(size, medium_size) / bytes);
            const auto hi = static_cast<std::int64_t>(std::max(size, medium_size) / bytes);
            if (mood == Mood::drop_all || rng.chance(0.3)) size = medium_size;
            else if (size > medium_size && rng.chance(0.5))
                size = std::clamp(static_cast<std::uint64_t>(rng.in(lo, hi)) * bytes, medium_size, size);
        }
        const auto early = static_cast<std::size_t>(rng.in(0, static_cast<std::int64_t>(dirty.size())));
        now.resize(size, 0);
        std::size_t number = 0;
        for (const auto& [index, s] : dirty) {
            const Bytes content = outcome(s, mood, number++ < early, model, rng);
            if (index * bytes >= size) continue;
            std::copy_n(content.begin(), std::min(bytes, size - index * bytes),
                        now.begin() + static_cast<std::ptrdiff_t>(index * bytes));
        }
        dirty.clear();
        medium_size = now.size();
    }

    void drop_caches(std::uint64_t bytes, Rng& rng) {
        for (auto at = dirty.begin(); at != dirty.end();) {
            if (!at->second.lost || rng.chance(0.5)) {
                ++at;
                continue;
            }
            const std::uint64_t from = at->first * bytes;
            if (from < now.size())
                std::copy_n(at->second.versions.front().begin(), std::min<std::uint64_t>(bytes, now.size() - from),
                            now.begin() + static_cast<std::ptrdiff_t>(from));
            at = dirty.erase(at);
        }
    }

    // ---- folders

    void apply(const Change& change) {
        if (change.gone) {
            const std::string& name = change.other_name.empty() ? change.name : change.other_name;
            auto at = on_medium.find(name);
            if (at != on_medium.end() && at->second == change.gone) on_medium.erase(at);
        }
        if (change.come) on_medium[change.name] = change.come;
    }
    void settle() {
        for (Change& change : pending) {
            *change.happened = 1;
            apply(change);
        }
        pending.clear();
    }
    void settle(Mood mood, Rng& rng) {
        const auto early = static_cast<std::size_t>(rng.in(0, static_cast<std::int64_t>(pending.size())));
        for (std::size_t i = 0; i < pending.size(); ++i) {
            Change& change = pending[i];
            bool yes = rng.chance(0.5);
            if (mood == Mood::keep_all || mood == Mood::drop_all) yes = mood == Mood::keep_all;
            if (mood == Mood::keep_early) yes = i < early;
            const bool arrives = change.come != nullptr;
            if (*change.happened == 2 || (*change.happened == 1 && arrives)) yes = *change.happened == 1;
            if (*change.happened == 0) *change.happened = yes ? 1 : 2;
            if (yes) apply(change);
        }
        pending.clear();
        entries = on_medium;
    }
};

VirtualDisk::VirtualDisk(DiskModel model) : model_(model), root_(std::make_shared<Node>()) {
    SKERRY_ASSERT(model_.sector_bytes > 0);
    root_->folder = true;
}
VirtualDisk::~VirtualDisk() = default;
VirtualDisk::VirtualDisk(VirtualDisk&&) noexcept = default;
VirtualDisk& VirtualDisk::operator=(VirtualDisk&&) noexcept = default;

VirtualDisk VirtualDisk::clone() const {
    using Ptr = std::shared_ptr<Node>;
    std::map<Ptr, Ptr> made;
    std::map<std::shared_ptr<int>, std::shared_ptr<int>> coins;
    std::function<Ptr(const Ptr&)> copy = [&](const Ptr& from) -> Ptr {
        if (!from) return nullptr;
        auto [at, fresh] = made.try_emplace(from);
        if (!fresh) return at->second;
        const Ptr to = at->second = std::make_shared<Node>(*from);
        for (auto& [name, node] : to->entries) node = copy(node);
        for (auto& [name, node] : to->on_medium) node = copy(node);
        for (auto& change : to->pending) {
            change.gone = copy(change.gone);
            change.come = copy(change.come);
            auto& coin = coins[change.happened];
            if (!coin) coin = std::make_shared<int>(*change.happened);
            change.happened = coin;
        }
        return to;
    };
    VirtualDisk out(model_);
    out.root_ = copy(root_);
    out.power_cuts_ = power_cuts_;
    return out;
}

// ---- finding things

std::shared_ptr<VirtualDisk::Node> VirtualDisk::find(std::string_view path) const {
    std::shared_ptr<Node> at = root_;
    while (!path.empty()) {
        const std::size_t slash = path.find('/');
        const std::string_view name = path.substr(0, slash);
        path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
        if (name.empty()) continue;
        if (!at->folder) return nullptr;
        auto next = at->entries.find(name);
        if (next == at->entries.end()) return nullptr;
        at = next->second;
    }
    return at;
}

Result<VirtualDisk::Place> VirtualDisk::place_of(std::string_view path) const {
    const std::size_t slash = path.rfind('/');
    auto folder = slash == std::string_view::npos ? root_ : find(path.substr(0, slash));
    std::string name(slash == std::string_view::npos ? path : path.substr(slash + 1));
    if (!folder || !folder->folder || name.empty()) return fail(Errc::not_found, "no folder for " + std::string(path));
    return Place{std::move(folder), std::move(name)};
}

Result<void> VirtualDisk::usable(const File& file) const {
    if (stopped_) return fail(Errc::io_error, "the power is off");
    if (!file.node_ || file.life_ != life_) return fail(Errc::bad_state, "the process that opened it has ended");
    return {};
}

Result<void> VirtualDisk::begin(std::string_view what, std::string_view path, bool takes_space, bool grows) {
    if (stopped_) return fail(Errc::io_error, "the power is off");
    if (before_operation) before_operation(what, path);
    ++operations_;
    if (operations_ == stop_at_) {
        stopped_ = true;
        return fail(Errc::io_error, "the power is off");
    }
    if (!takes_space) return {};
    ++spaces_;
    if (spaces_ == full_at_ || (full_ && grows))
        return fail(Errc::disk_full, std::string(what) + " " + std::string(path) + ": no space left on device");
    return {};
}

bool VirtualDisk::sync_fails() {
    ++syncs_;
    if (syncs_ != sync_fails_at_) return false;
    ++failed_syncs_;
    return true;
}

void VirtualDisk::new_life() {
    ++life_;
    stopped_ = false;
    stop_at_ = 0;
}

void VirtualDisk::clear_faults() {
    stop_at_ = full_at_ = sync_fails_at_ = 0;
    full_ = false;
}

// ---- files

Result<VirtualDisk::File> VirtualDisk::open(std::string_view path) const {
    if (stopped_) return fail(Errc::io_error, "the power is off");
    auto node = find(path);
    if (!node) return fail(Errc::not_found, std::string(path) + ": no such file");
    if (node->folder) return fail(Errc::bad_state, std::string(path) + " is a folder");
    File file;
    file.node_ = std::move(node);
    file.life_ = life_;
    return file;
}

Result<VirtualDisk::File> VirtualDisk::create(std::string_view path, bool exclusive) {
    if (exists(path)) {
        if (exclusive) return fail(Errc::already_exists, std::string(path) + " exists");
        return open(path);
    }
    auto place = place_of(path);
    if (!place) return fail(place.error());
    if (auto ok = begin("create", path, true, true); !ok) return fail(ok.error());
    auto node = std::make_shared<Node>();
    place->folder->entries[place->name] = node;
    place->folder->pending.push_back({place->name, nullptr, node, {}, std::make_shared<int>(0)});
    return open(path);
}

Result<std::size_t> VirtualDisk::read(const File& file, std::uint64_t offset, std::span<std::uint8_t> out) const {
    if (auto ok = usable(file); !ok) return fail(ok.error());
    const Bytes& now = file.node_->now;
    if (offset >= now.size()) return 0;
    const auto n = std::min<std::uint64_t>(out.size(), now.size() - offset);
    std::copy_n(now.begin() + static_cast<std::ptrdiff_t>(offset), n, out.begin());
    return static_cast<std::size_t>(n);
}

Result<void> VirtualDisk::write(const File& file, std::uint64_t offset, ByteSpan bytes) {
    if (auto ok = usable(file); !ok) return ok;
    Node& node = *file.node_;
    auto ok = begin("write", "", true, offset + bytes.size() > node.now.size());
    if (!ok && ok.error().code != Errc::disk_full) return ok;
    if (!ok) {  // what fitted: whole sectors of the first half
        const std::uint64_t middle = (offset + bytes.size() / 2) / model_.sector_bytes * model_.sector_bytes;
        bytes = bytes.first(middle > offset ? static_cast<std::size_t>(middle - offset) : 0);
    }
    const std::uint64_t end = offset + bytes.size();
    // A gap before it reads as zeros and is as unsynced as the rest.
    const std::uint64_t from = std::min<std::uint64_t>(offset, node.now.size());
    if (!bytes.empty())
        node.altering(from, end, model_.sector_bytes, [&] {
            if (node.now.size() < end) node.now.resize(end, 0);
            std::copy(bytes.begin(), bytes.end(), node.now.begin() + static_cast<std::ptrdiff_t>(offset));
        });
    return ok;
}

void VirtualDisk::write_back(const File& file, ByteSpan bytes) {
    if (!file.node_ || file.life_ != life_) return;
    Node& node = *file.node_;
    const auto n = static_cast<std::ptrdiff_t>(std::min<std::size_t>(bytes.size(), node.now.size()));
    node.altering(0, static_cast<std::uint64_t>(n), model_.sector_bytes,
                  [&] { std::copy_n(bytes.begin(), n, node.now.begin()); });
}

Result<std::uint64_t> VirtualDisk::size(const File& file) const {
    if (auto ok = usable(file); !ok) return fail(ok.error());
    return file.node_->now.size();
}

Result<void> VirtualDisk::resize(const File& file, std::uint64_t bytes) {
    if (auto ok = usable(file); !ok) return ok;
    Node& node = *file.node_;
    const bool grows = bytes > node.now.size();
    if (auto ok = begin("resize", "", grows, grows); !ok) return ok;
    const std::uint64_t old = node.now.size();
    node.altering(std::min(bytes, old), std::max(bytes, old), model_.sector_bytes, [&] { node.now.resize(bytes, 0); });
    return {};
}

Result<void> VirtualDisk::sync(const File& file) {
    if (auto ok = usable(file); !ok) return ok;
    if (auto ok = begin("sync", "", false, false); !ok) return ok;
    if (sync_fails()) {
        file.node_->sync_failed();
        return fail(Errc::io_error, "sync: input/output error");
    }
    file.node_->synced();
    return {};
}

// ---- names

bool VirtualDisk::exists(std::string_view path) const { return find(path) != nullptr; }

bool VirtualDisk::is_folder(std::string_view path) const {
    auto node = find(path);
    return node && node->folder;
}

Result<std::vector<std::string>> VirtualDisk::list(std::string_view folder) const {
    auto node = find(folder);
    if (!node) return fail(Errc::not_found, std::string(folder) + ": no such folder");
    if (!node->folder) return fail(Errc::bad_state, std::string(folder) + " is no folder");
    std::vector<std::string> names;
    for (const auto& [name, entry] : node->entries) names.push_back(name);
    return names;
}

Result<void> VirtualDisk::make_folder(std::string_view path) {
    if (exists(path)) return fail(Errc::already_exists, std::string(path) + " exists");
    auto place = place_of(path);
    if (!place) return fail(place.error());
    if (auto ok = begin("make folder", path, true, true); !ok) return ok;
    auto node = std::make_shared<Node>();
    node->folder = true;
    place->folder->entries[place->name] = node;
    place->folder->pending.push_back({place->name, nullptr, node, {}, std::make_shared<int>(0)});
    return {};
}

Result<void> VirtualDisk::rename(std::string_view from, std::string_view to) {
    auto node = find(from);
    if (!node) return fail(Errc::not_found, std::string(from) + ": no such file");
    auto old_place = place_of(from);
    auto new_place = place_of(to);
    if (!old_place) return fail(old_place.error());
    if (!new_place) return fail(new_place.error());
    auto there = find(to);
    if (there && there != node && (there->folder != node->folder || !there->entries.empty()))
        return fail(Errc::bad_state, std::string(to) + " is in the way");
    if (auto ok = begin("rename", from, false, false); !ok || there == node) return ok;
    old_place->folder->entries.erase(old_place->name);
    new_place->folder->entries[new_place->name] = node;
    auto coin = std::make_shared<int>(0);
    if (old_place->folder == new_place->folder) {
        old_place->folder->pending.push_back({new_place->name, node, node, old_place->name, coin});
        return {};
    }
    new_place->folder->pending.push_back({new_place->name, nullptr, node, {}, coin});
    old_place->folder->pending.push_back({old_place->name, node, nullptr, {}, coin});
    return {};
}

Result<void> VirtualDisk::link(std::string_view from, std::string_view to) {
    auto node = find(from);
    if (!node || node->folder) return fail(Errc::not_found, std::string(from) + ": no such file");
    if (exists(to)) return fail(Errc::already_exists, std::string(to) + " exists");
    auto place = place_of(to);
    if (!place) return fail(place.error());
    if (auto ok = begin("link", to, true, true); !ok) return ok;
    place->folder->entries[place->name] = node;
    place->folder->pending.push_back({place->name, nullptr, node, {}, std::make_shared<int>(0)});
    return {};
}

Result<void> VirtualDisk::remove(std::string_view path) {
    auto node = find(path);
    if (!node) return fail(Errc::not_found, std::string(path) + ": no such file");
    if (!node->entries.empty()) return fail(Errc::bad_state, std::string(path) + " is not empty");
    auto place = place_of(path);
    if (!place) return fail(place.error());
    if (auto ok = begin("remove", path, false, false); !ok) return ok;
    place->folder->entries.erase(place->name);
    place->folder->pending.push_back({place->name, node, nullptr, {}, std::make_shared<int>(0)});
    return {};
}

Result<void> VirtualDisk::sync_folder(std::string_view path) {
    auto node = find(path);
    if (!node || !node->folder) return fail(Errc::not_found, std::string(path) + ": no such folder");
    if (auto ok = begin("sync folder", path, false, false); !ok) return ok;
    if (sync_fails()) return fail(Errc::io_error, "sync folder " + std::string(path) + ": input/output error");
    node->settle();
    return {};
}

std::uint64_t VirtualDisk::bytes_under(std::string_view path) const {
    std::function<std::uint64_t(const Node&)> sum = [&](const Node& node) {
        std::uint64_t total = node.now.size();
        for (const auto& [name, entry] : node.entries) total += sum(*entry);
        return total;
    };
    auto node = find(path);
    return node ? sum(*node) : 0;
}

// ---- ends

void VirtualDisk::end_process() { new_life(); }

void VirtualDisk::crash(Rng& rng) {
    ++power_cuts_;
    const Mood mood = draw_mood(rng);
    // Names first, from the root down; then the content of what has a name.
    std::vector<std::shared_ptr<Node>> folders{root_};
    std::vector<std::shared_ptr<Node>> files;
    for (std::size_t i = 0; i < folders.size(); ++i) {
        const auto folder = folders[i];
        folder->settle(mood, rng);
        for (const auto& [name, node] : folder->entries) {
            auto& kind = node->folder ? folders : files;
            if (std::find(kind.begin(), kind.end(), node) == kind.end()) kind.push_back(node);
        }
    }
    for (const auto& file : files) file->power_cut(model_, mood, rng);
    new_life();
}

void VirtualDisk::drop_caches(Rng& rng) {
    std::function<void(Node&)> visit = [&](Node& node) {
        if (!node.folder) node.drop_caches(model_.sector_bytes, rng);
        for (const auto& [name, entry] : node.entries) visit(*entry);
    };
    visit(*root_);
}

}  // namespace skerry::sim
