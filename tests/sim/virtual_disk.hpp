#pragma once
// One machine's file system in memory: what a process sees, what is on the medium, and what a power cut makes of the
// difference. Deterministic, no clock, one thread.
//
// The rules, all of them allowed by POSIX:
// - A write is visible at once and durable after sync() of its file. A file's name is durable after sync_folder() of the
//   folder that holds it: syncing the file does not do that.
// - A power cut decides for each unsynced sector: the newest content, the old one, one in between, torn, or damaged; for
//   each unsynced creation, removal and rename: it happened or it did not; for a size: old, new, or between.
// - After a sync that failed the sectors count as clean: later syncs succeed without writing them. Reads still see them
//   until drop_caches() or a power cut, which keep them or lose them. Only writing them again helps.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/base/bytes.hpp"
#include "tests/sim/world.hpp"

namespace skerry::sim {

struct DiskModel {
    std::uint32_t sector_bytes = 512;
    /// A sector that is torn or damaged at a power cut keeps the bytes that were not being written. Without it,
    /// neighbours in the same sector are damaged too, synced or not.
    bool powersafe_overwrite = true;
};

/// Paths are absolute, without "." and "..". Errors: not_found; already_exists; disk_full; bad_state (not a folder, not
/// empty, a file of a process that has ended); io_error (injected, or the power is off).
class VirtualDisk {
    struct Node;

  public:
    /// An open file, as a descriptor: it outlives renames and removals, but not its process.
    class File {
      public:
        File() = default;
        bool is_open() const { return node_ != nullptr; }
        /// Equal for two handles of one file.
        const void* identity() const { return node_.get(); }

      private:
        friend class VirtualDisk;
        std::shared_ptr<Node> node_;
        std::uint64_t life_ = 0;
    };

    explicit VirtualDisk(DiskModel model = {});
    ~VirtualDisk();
    VirtualDisk(VirtualDisk&&) noexcept;
    VirtualDisk& operator=(VirtualDisk&&) noexcept;
    /// A second machine with the same disk, medium and caches; no faults, no open files.
    VirtualDisk clone() const;

    const DiskModel& model() const { return model_; }

    // ---- files
    Result<File> open(std::string_view path) const;
    /// Made if absent, kept if there; `exclusive`: already_exists if there.
    Result<File> create(std::string_view path, bool exclusive = false);
    /// Bytes read: fewer than asked for at the end of the file.
    Result<std::size_t> read(const File& file, std::uint64_t offset, std::span<std::uint8_t> out) const;
    /// A full disk may leave a part of it written.
    Result<void> write(const File& file, std::uint64_t offset, ByteSpan bytes);
    /// What a process had mapped and changed is in the cache however it ends: no operation, nothing stops it. Unsynced.
    void write_back(const File& file, ByteSpan bytes);
    Result<std::uint64_t> size(const File& file) const;
    Result<void> resize(const File& file, std::uint64_t bytes);
    Result<void> sync(const File& file);

    // ---- names
    bool exists(std::string_view path) const;
    bool is_folder(std::string_view path) const;
    /// Names in a folder, sorted.
    Result<std::vector<std::string>> list(std::string_view folder) const;
    Result<void> make_folder(std::string_view path);
    /// Replaces a file; also between folders, and of folders.
    Result<void> rename(std::string_view from, std::string_view to);
    /// A second name. Never replaces.
    Result<void> link(std::string_view from, std::string_view to);
    /// A file, or an empty folder.
    Result<void> remove(std::string_view path);
    Result<void> sync_folder(std::string_view path);
    /// Sizes of all files under a path.
    std::uint64_t bytes_under(std::string_view path) const;

    // ---- ends of processes and power
    /// The process ends (kill -9): its files are closed, what it wrote stays in the cache.
    void end_process();
    /// Power fails and comes back. The process has ended.
    void crash(Rng& rng);
    std::uint64_t power_cuts() const { return power_cuts_; }
    /// For a copy put into a machine that was off: whoever asks sees that the power was gone.
    void count_power_cut() { ++power_cuts_; }
    /// Sectors that a failed sync left are read back from the medium, or not: what memory pressure does.
    void drop_caches(Rng& rng);

    // ---- faults. An operation is whatever changes the disk or waits for it; reads are none. Counts are from now: 1 is
    // the next one, 0 is never.
    /// The n-th operation does not happen and nothing after it, reads neither, until end_process() or crash().
    void stop_at(std::uint64_t n) { stop_at_ = n == 0 ? 0 : operations_ + n; }
    /// At once.
    void stop() { stopped_ = true; }
    /// The n-th operation that takes space (write, create, growing) finds none.
    void fill_at(std::uint64_t n) { full_at_ = n == 0 ? 0 : spaces_ + n; }
    /// Nothing that grows a file or makes one succeeds while it is full. Overwriting does.
    void set_full(bool full) { full_ = full; }
    /// The n-th sync, of a file or a folder, fails.
    void fail_sync_at(std::uint64_t n) { sync_fails_at_ = n == 0 ? 0 : syncs_ + n; }
    /// Forgets stop_at, fill_at, set_full and fail_sync_at.
    void clear_faults();
    /// Called before every operation, so that a test can look at every state in between.
    std::function<void(std::string_view what, std::string_view path)> before_operation;

    bool stopped() const { return stopped_; }
    std::uint64_t operations() const { return operations_; }
    std::uint64_t space_operations() const { return spaces_; }
    std::uint64_t syncs() const { return syncs_; }
    std::uint64_t failed_syncs() const { return failed_syncs_; }

  private:
    struct Place {
        std::shared_ptr<Node> folder;
        std::string name;
    };
    std::shared_ptr<Node> find(std::string_view path) const;
    Result<Place> place_of(std::string_view path) const;
    Result<void> begin(std::string_view what, std::string_view path, bool takes_space, bool grows);
    Result<void> usable(const File& file) const;
    bool sync_fails();
    void new_life();

    DiskModel model_;
    std::shared_ptr<Node> root_;
    std::uint64_t life_ = 1;
    std::uint64_t power_cuts_ = 0;
    std::uint64_t operations_ = 0;
    std::uint64_t spaces_ = 0;
    std::uint64_t syncs_ = 0;
    std::uint64_t failed_syncs_ = 0;
    std::uint64_t stop_at_ = 0;
    std::uint64_t full_at_ = 0;
    std::uint64_t sync_fails_at_ = 0;
    bool full_ = false;
    bool stopped_ = false;
};

}  // namespace skerry::sim
