#pragma once
// SQLite on a machine's virtual disk: a VFS that does what SQLite's own for Unix does, and the StoreFiles that go with it.

#include <memory>

#include "coordinator/store/store_files.hpp"
#include "tests/sim/virtual_disk.hpp"

namespace skerry::sim {

/// The disk must outlive it, and it must outlive every connection. Paths are those of the disk. No shared memory: a
/// connection in WAL mode must hold its lock exclusively. One thread.
class SqliteVfs final : public coordinator::StoreFiles {
  public:
    explicit SqliteVfs(VirtualDisk& disk);
    ~SqliteVfs() override;
    SqliteVfs(const SqliteVfs&) = delete;
    SqliteVfs& operator=(const SqliteVfs&) = delete;

    /// SQLite's own chance (salts of its log) is one for the whole program: equal seeds, equal bytes from here on.
    static void seed(std::uint64_t seed);

    const char* vfs() const override;
    bool exists(const std::filesystem::path& file) override;
    Result<void> create_private(const std::filesystem::path& file) override;
    Result<void> copy_durably(const std::filesystem::path& from, const std::filesystem::path& to) override;
    Result<void> link(const std::filesystem::path& from, const std::filesystem::path& to) override;
    Result<void> rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
    Result<void> remove(const std::filesystem::path& file) override;
    Result<void> sync(const std::filesystem::path& file) override;
    Result<void> sync_folder(const std::filesystem::path& folder) override;

  private:
    struct Vfs;
    std::unique_ptr<Vfs> vfs_;
};

}  // namespace skerry::sim
