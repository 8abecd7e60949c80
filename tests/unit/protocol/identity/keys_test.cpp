#include "protocol/identity/keys.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "protocol/identity/certificate.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry {
namespace {

namespace fs = std::filesystem;

class KeyFile : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "skerry-keys-XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override { fs::remove_all(folder_); }
    fs::path folder_;
};

TEST_F(KeyFile, SavedKeyLoadsAsTheSameKey) {
    auto key = KeyPair::generate();
    ASSERT_TRUE(key.save(folder_ / "key"));
    auto again = KeyPair::load(folder_ / "key");
    ASSERT_TRUE(again) << again.error().detail;
    EXPECT_EQ(again->id(), key.id());
    EXPECT_TRUE(verify(key.public_key(), "t", as_bytes("x"), again->sign("t", as_bytes("x"))));
}

TEST_F(KeyFile, IsReadableByItsOwnerOnly) {
    ASSERT_TRUE(KeyPair::generate().save(folder_ / "key"));
    struct stat info {};
    ASSERT_EQ(stat((folder_ / "key").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600U);
}

TEST_F(KeyFile, NoTemporaryFileStays) {
    ASSERT_TRUE(KeyPair::generate().save(folder_ / "key"));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(KeyFile, AnExistingKeyIsNeverReplaced) {
    auto first = KeyPair::generate();
    ASSERT_TRUE(first.save(folder_ / "key"));
    auto second = KeyPair::generate().save(folder_ / "key");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::already_exists);
    EXPECT_EQ(KeyPair::load(folder_ / "key")->id(), first.id());
}

TEST_F(KeyFile, ReadableByOthersIsRefused) {
    ASSERT_TRUE(KeyPair::generate().save(folder_ / "key"));
    ASSERT_EQ(chmod((folder_ / "key").c_str(), 0640), 0);
    auto key = KeyPair::load(folder_ / "key");
    ASSERT_FALSE(key);
    EXPECT_EQ(key.error().code, Errc::bad_state);
}

TEST_F(KeyFile, MissingAndBrokenFilesSaySo) {
    EXPECT_EQ(KeyPair::load(folder_ / "none").error().code, Errc::not_found);
    std::ofstream(folder_ / "bad") << "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    ASSERT_EQ(chmod((folder_ / "bad").c_str(), 0600), 0);
    EXPECT_EQ(KeyPair::load(folder_ / "bad").error().code, Errc::malformed);
}

TEST(Keys, MatchTheVectorOfRfc8032) {
    auto seed = parse_fixed_hex<Digest>("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    auto key = KeyPair::from_seed(*seed);
    EXPECT_EQ(key.public_key().hex(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    EXPECT_EQ(key.sign(ByteSpan{}).hex(),
              "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
              "d25bf5f0595bbe24655141438e7a100b");
}

TEST(Keys, SignatureHoldsForItsTagOnly) {
    auto key = KeyPair::generate();
    auto signature = key.sign("skerry/vote/1", as_bytes("x"));
    EXPECT_TRUE(verify(key.public_key(), "skerry/vote/1", as_bytes("x"), signature));
    EXPECT_FALSE(verify(key.public_key(), "skerry/other/1", as_bytes("x"), signature));
    EXPECT_FALSE(verify(key.public_key(), "skerry/vote/1", as_bytes("y"), signature));
    EXPECT_FALSE(verify(KeyPair::generate().public_key(), "skerry/vote/1", as_bytes("x"), signature));
}

TEST(Keys, VerifyingGarbageKeysIsSafe) {
    PublicKey key;
    key.bytes.fill(0xFF);
    EXPECT_FALSE(verify(key, as_bytes("x"), Signature{}));
}

TEST(Keys, FingerprintTextIsEightGroups) {
    EXPECT_EQ(to_fingerprint_text(Bytes(32, 0x9f)), "9f9f-9f9f-9f9f-9f9f-9f9f-9f9f-9f9f-9f9f");
}

TEST(Certificate, CarriesTheKeyAndItsFingerprint) {
    auto key = KeyPair::generate();
    auto info = parse_certificate(make_node_certificate(key));
    ASSERT_TRUE(info);
    EXPECT_EQ(info->key, key.public_key());
    EXPECT_EQ(info->id, key.id());
    EXPECT_GT(info->not_after, 250000000000);
}

class ServiceChain : public testing::Test {
  protected:
    Errc check(std::string_view service, std::string_view root_pem, const RootPin& pin, std::int64_t now) {
        auto checked = verify_service_chain(service, root_pem, pin, now);
        return checked ? Errc::cancelled : checked.error().code;  // cancelled: no error
    }
    KeyPair root_ = KeyPair::generate();
    KeyPair service_ = KeyPair::generate();
    std::string root_pem_ = make_root_certificate(root_);
    std::int64_t now_ = 1800000000;
    std::string pem_ = make_service_certificate(root_, service_.public_key(), now_);
};

TEST_F(ServiceChain, HoldsUnderThePinnedRoot) {
    auto info = verify_service_chain(pem_, root_pem_, to_pin(root_.id()), now_);
    ASSERT_TRUE(info) << info.error().detail;
    EXPECT_EQ(info->key, service_.public_key());
}

TEST_F(ServiceChain, AnotherRootIsTheWrongCoordinator) {
    EXPECT_EQ(check(pem_, root_pem_, to_pin(KeyPair::generate().id()), now_), Errc::wrong_coordinator);
    auto other = KeyPair::generate();
    auto forged = make_service_certificate(other, service_.public_key(), now_);
    EXPECT_EQ(check(forged, root_pem_, to_pin(root_.id()), now_), Errc::wrong_coordinator);
}

TEST_F(ServiceChain, EndsAfterNinetyDays) {
    EXPECT_EQ(check(pem_, root_pem_, to_pin(root_.id()), now_ + 90 * 86400 - 1), Errc::cancelled);
    EXPECT_EQ(check(pem_, root_pem_, to_pin(root_.id()), now_ + 90 * 86400), Errc::wrong_coordinator);
}

TEST_F(ServiceChain, TheRootItselfIsNoService) {
    EXPECT_EQ(check(root_pem_, root_pem_, to_pin(root_.id()), now_), Errc::wrong_coordinator);
}

}  // namespace
}  // namespace skerry
