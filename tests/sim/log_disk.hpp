#pragma once
// A virtual disk as the node's log sees one.

#include <set>

#include "node/log/disk.hpp"
#include "tests/sim/virtual_disk.hpp"

namespace skerry::sim {

/// Everything goes to one VirtualDisk, under the rules of its header. A mapped file is written back when it is
/// unmapped, as unsynced as a mapped file is.
class LogDisk final : public node::Disk {
  public:
    LogDisk() : disk_(model()) {}
    VirtualDisk& medium() { return disk_; }
    const VirtualDisk& medium() const { return disk_; }
    /// Another one in its place. Nothing of it may be open.
    void put(VirtualDisk medium) { disk_ = std::move(medium); }
    static DiskModel model();
    /// One bit of a file under `folder` is not what it was; whose. None: there is no file with content.
    std::optional<std::string> flip_bit(const std::string& folder, Rng& rng);

    int open(const node::fs::path& path, Mode mode, std::unique_ptr<node::DiskFile>& out) override;
    int make_folder(const node::fs::path& path) override;
    int sync_folder(const node::fs::path& path) override;
    int rename(const node::fs::path& from, const node::fs::path& to) override;
    int remove(const node::fs::path& path) override;
    int list(const node::fs::path& path, std::vector<std::string>& names) override;
    std::optional<About> about(const node::fs::path& path) override;

  private:
    class OpenFile;
    std::vector<std::string> files_under(const std::string& folder) const;

    VirtualDisk disk_;
    std::set<const void*> locked_;
};

}  // namespace skerry::sim
