#pragma once
// A run of several stores in temporary folders, without network or coordinator: contributions,
// plans, reductions, votes and decisions made by hand, in the order the protocol gives.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node/log/run_store.hpp"
#include "protocol/identity/keys.hpp"

namespace skerry::test {

/// A folder that is removed with the object.
class TemporaryFolder {
  public:
    TemporaryFolder();
    ~TemporaryFolder();
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

/// Damages one bit of a file.
void flip_byte(const std::filesystem::path& path, std::uint64_t at);

Manifest small_manifest(CodecId codec = CodecId::a8, std::uint64_t elements = 10000);

class StoreRun {
  public:
    /// On temporary folders, or on disks: one for each node. Of a fork: base puts S_0 into a node's folder.
    explicit StoreRun(std::size_t nodes, Manifest manifest = small_manifest(), std::vector<node::Disk*> disks = {},
                      const std::function<void(const node::DiskPath& folder)>& base = {});

    node::RunStore& store(std::size_t i) { return *stores_[i]; }
    std::filesystem::path folder(std::size_t i) const;
    const Manifest& manifest() const { return manifest_; }
    const KeyPair& key(std::size_t i) const { return keys_[i]; }
    const KeyPair& service() const { return service_; }
    void close(std::size_t i) { stores_[i].reset(); }
    /// Opens store i again. The state is not loaded.
    Result<void> reopen(std::size_t i);

    /// Local weights of a node after its inner steps of step k.
    std::vector<float> local_weights(std::size_t i, Step k);
    /// Frozen contributions of all nodes, in windows that do not fit the pieces.
    std::vector<ReadyState> contribute(Step k);
    ReadyState contribute(std::size_t i, Step k);
    /// A plan of all nodes with the given contributions; owners in turn.
    Plan make_plan(Step k, const std::vector<ReadyState>& ready, std::uint32_t attempt = 1);
    /// Gathers, reduces and exchanges until node i has staged everything.
    void exchange(const Plan& plan);
    /// The coordinator's record for a root (zero for kinds without entry).
    SignedDecision decide(const Plan& plan, const Digest& root);
    SignedDecision decide_rollback(Step k, Step to, std::uint64_t tokens);

    /// One whole step with all nodes; every call must succeed. Returns the digest of S_{k+1} at
    /// node 0.
    Digest run_step();
    Step head() const { return head_; }
    Digest h_head() const { return h_; }
    std::uint64_t tokens_committed() const { return tokens_; }
    const std::vector<SignedDecision>& decisions() const { return decisions_; }

    std::shared_ptr<node::StagedEntry> staged(std::size_t i, const Plan& plan);

  private:
    TemporaryFolder folder_;
    std::vector<node::Disk*> disks_;
    Manifest manifest_;
    KeyPair service_;
    std::vector<KeyPair> keys_;  // ascending by id: plan order
    std::vector<std::unique_ptr<node::RunStore>> stores_;
    Step head_;
    Digest h_;
    std::uint64_t tokens_ = 0;
    std::uint64_t next_position_ = 0;
    std::vector<SignedDecision> decisions_;
};

}  // namespace skerry::test
