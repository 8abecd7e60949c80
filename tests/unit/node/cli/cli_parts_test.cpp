#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include "node/cli/commands.hpp"
#include "node/cli/context.hpp"
#include "node/cli/node_folder.hpp"
#include "node/cli/status_view.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/keys.hpp"

namespace skerry::node {
namespace {
namespace fs = std::filesystem;
using Json = nlohmann::json;

Token token_of(const std::string& run) { return make_token("127.0.0.1", 7600, run, TokenKind::join, RootPin{}, 0); }

std::string make_folder() {
    std::string pattern = fs::temp_directory_path() / "skerry-node-XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    return pattern;
}

struct NodeFolderTest : testing::Test {
    ~NodeFolderTest() override { fs::remove_all(folder); }
    Result<NodeToml> make(const Token& token, const JoinCommand& command) {
        auto config = node_config(dir, token, command);
        if (!config) return config;
        auto made = make_node_folder(dir, *config, skerry::to_text(token));
        if (!made) return fail(made.error());
        return config;
    }
    std::string folder = make_folder();
    fs::path dir = fs::path(folder) / "n";
};

TEST_F(NodeFolderTest, HoldsConfigTokenAndIdentityForTheOwnerAlone) {
    JoinCommand command;
    command.name = "kestrel";
    command.listen = "127.0.0.1:0";
    command.advertise = {"192.0.2.1:7610", "[2001:db8::1]:7610"};
    command.threads = 2;
    command.trainer = "bin/x";
    ASSERT_TRUE(make(token_of("reef"), command));
    auto config = load_node_toml(dir / "node.toml");
    ASSERT_TRUE(config) << config.error().detail;
    EXPECT_EQ(config->name, "kestrel");
    EXPECT_EQ(config->advertise, command.advertise);
    EXPECT_TRUE(fs::path(config->trainer).is_absolute());
    for (const char* file : {"node.toml", "token", "identity/key"}) {
        struct stat st {};
        ASSERT_EQ(::stat((dir / file).c_str(), &st), 0) << file;
        EXPECT_EQ(st.st_mode & 077, 0U) << file;
    }
}

TEST(NodeTomlTest, WhatTheTrainerWorksWithCanBeSetAndComesBack) {
    const std::string head = "schema = \"skerry.node/1\"\nname = \"kestrel\"\n[trainer]\n";
    auto plain = parse_node_toml(head, "node.toml");
    ASSERT_TRUE(plain);
    EXPECT_EQ(plain->path + plain->precision + plain->recompute, "autoautoauto");
    EXPECT_EQ(skerry::node::to_text(*plain).find("recompute"), std::string::npos) << "only what says something is written";
    auto set = parse_node_toml(head + "path = \"cuda\"\nprecision = \"bf16\"\nmicro_batch = 3\nrecompute = \"layers\"\n", "node.toml");
    ASSERT_TRUE(set);
    auto again = parse_node_toml(skerry::node::to_text(*set), "node.toml");
    ASSERT_TRUE(again) << again.error().detail;
    for (const NodeToml* one : {&*set, &*again}) {
        EXPECT_EQ(one->path, "cuda");
        EXPECT_EQ(one->precision, "bf16");
        EXPECT_EQ(one->micro_batch, 3);
        EXPECT_EQ(one->recompute, "layers");
    }
    for (const char* wrong : {"path = \"gpu\"\n", "precision = \"fp16\"\n", "micro_batch = -1\n", "recompute = true\n"}) {
        auto refused = parse_node_toml(head + wrong, "node.toml");
        ASSERT_FALSE(refused) << wrong;
        EXPECT_EQ(refused.error().code, Errc::config_invalid);
        EXPECT_NE(refused.error().detail.find("node.toml:4"), std::string::npos) << refused.error().detail;
    }
}

TEST(StatusViewTest, TheNodesPageSaysWhatItTrainsWith) {
    const Json setup{{"path", "fast"}, {"device", "cpu"}, {"precision", "bf16"}, {"products", "bf16"}, {"gflops", 900}, {"kernels", "isa_v4"},
                     {"threads", 1}, {"micro_batch", 2}, {"recompute", "layers"}, {"memory_bytes", 300 << 20}};
    std::string all;
    for (const std::string& line : to_lines(Json{{"schema", "skerry.node-status/1"}, {"trainer_setup", setup}})) all += line + "\n";
    EXPECT_NE(all.find("trains with fast path on cpu, bf16, bf16 products at 900 GFLOP/s, isa_v4 kernels, 1 thread, micro-batch 2, layers computed again, "
                       "about 300 MiB\n"),
              std::string::npos)
        << all;
}

TEST_F(NodeFolderTest, JoiningAgainKeepsTheIdentityAndWhatIsNotSaidAnew) {
    JoinCommand first;
    first.name = "kestrel";
    first.threads = 3;
    ASSERT_TRUE(make(token_of("reef"), first));
    auto key = KeyPair::load(dir / "identity" / "key");
    JoinCommand second;
    second.listen = "none";
    ASSERT_TRUE(make(token_of("reef"), second));
    auto config = load_node_toml(dir / "node.toml");
    EXPECT_EQ(config->name, "kestrel");
    EXPECT_EQ(config->threads, 3);
    EXPECT_EQ(config->listen, "none");
    EXPECT_EQ(KeyPair::load(dir / "identity" / "key")->id(), key->id());
}

TEST_F(NodeFolderTest, AFolderOfAnotherRunIsRefused) {
    ASSERT_TRUE(make(token_of("reef"), {}));
    ASSERT_TRUE(make(token_of("atoll"), {}));  // nothing was trained yet
    ASSERT_TRUE(make_private_folder(dir / "run"));
    EXPECT_EQ(make(token_of("reef"), {}).error().code, Errc::already_exists);
}

TEST_F(NodeFolderTest, BadValuesAreRefusedBeforeAnythingIsWritten) {
    JoinCommand command;
    command.name = "a b";
    EXPECT_EQ(make(token_of("reef"), command).error().code, Errc::usage);
    command.name = "a";
    command.listen = "here:there";
    EXPECT_EQ(make(token_of("reef"), command).error().code, Errc::usage);
    EXPECT_FALSE(fs::exists(dir));
}

TEST(StatusView, SaysWhoIsWaitedForAndWhatComesNext) {
    Json status{{"schema", "skerry.status/1"}, {"run", "reef"}, {"state", "running"}, {"head", 12}, {"tokens", 500000},
                {"tokens_total", 1000000}, {"tokens_per_s", 48000.0}, {"loss", 2.9}, {"eta_ms", 125000}, {"next", "close the round"},
                {"waiting_for", Json::array({{{"node", "node-2"}, {"phase", "ready"}, {"since_ms", 310}}})}, {"sent_bytes", 1048576}};
    auto line = to_line(status);
    for (const char* part : {"step 12", "50.0 %", "48.0 k tokens/s", "2 min 5 s left", "node-2 (ready, 310 ms)", "close the round", "1.00 MiB"})
        EXPECT_NE(line.find(part), std::string::npos) << part << " in " << line;
    status["hold_reason"] = "two nodes are needed";
    status["phase_ms"] = 65000;
    EXPECT_NE(to_line(status).find("HOLD: two nodes are needed (1 min 5 s) · waiting for node-2"), std::string::npos) << to_line(status);
    EXPECT_FALSE(is_over(status));
    status["state"] = "finished";
    EXPECT_TRUE(is_over(status));
}

TEST(StatusView, ANodeSaysWhatItWaitsForItself) {
    Json status{{"schema", "skerry.node-status/1"}, {"name", "kestrel"}, {"phase", "work"}, {"waiting", "the trainer: inner step 7"}, {"waiting_ms", 4100},
                {"next", "step 3 closes when all are ready"}, {"connected", true}};
    auto line = to_line(status);
    EXPECT_NE(line.find("waits for the trainer: inner step 7 (4 s)"), std::string::npos) << line;
    EXPECT_NE(line.find("next: step 3 closes"), std::string::npos) << line;
}

TEST(StatusView, SaysWhatAKillWouldCostAndWhyThereIsNoTrainer) {
    Json status{{"schema", "skerry.node-status/1"}, {"trainer_failures", 3}, {"trainer_error", "NOT_FINITE: loss nan"}, {"trainer_retry_ms", 4000},
                {"delta", {{"steps", 40}}}, {"progress", {{"steps", 33}, {"age_ms", 410}, {"every_ms", 1000}}}};
    std::string all;
    for (const std::string& line : to_lines(status)) all += line + "\n";
    for (const char* part : {"40 inner steps, 33 of them saved", "410 ms ago", "in a row: 3, the last NOT_FINITE: loss nan", "next start in 4 s"})
        EXPECT_NE(all.find(part), std::string::npos) << part << " in " << all;
}

TEST(StatusView, SaysThatDamageIsBeingMended) {
    Json status{{"schema", "skerry.node-status/1"}, {"log", {{"missing", 2}, {"damaged", 3}}}};
    auto all = [&] {
        std::string out;
        for (const std::string& line : to_lines(status)) out += line + "\n";
        return out;
    };
    EXPECT_NE(all().find("2 damaged entries are being fetched again · found damaged since the start: 3"), std::string::npos) << all();
    status["log"]["missing"] = 0;
    EXPECT_EQ(all().find("damaged"), std::string::npos) << all();
}

TEST(StatusView, UnderstandsDocumentsThatLackEverything) {
    for (const char* schema : {"skerry.status/1", "skerry.node-status/1", "skerry.runs/1"})
        EXPECT_FALSE(to_lines(Json{{"schema", schema}}).empty());
    EXPECT_FALSE(to_lines(Json{{"schema", "skerry.node-status/1"}, {"heldout", nullptr}, {"loss", nullptr}, {"error", {{"code", "X"}}}}).empty());
}

TEST(Utf8, BytesThatAreNoCharacterBecomeQuestionMarks) {
    EXPECT_EQ(to_utf8("It was \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x8C\x8A."), "It was \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x8C\x8A.");
    EXPECT_EQ(to_utf8("a\xFF\xC3"), "a??");
    EXPECT_EQ(to_utf8("\xC0\xAF\xED\xA0\x80"), "?????");
    EXPECT_EQ(to_utf8("\xE2\x82"), "??");
}

TEST(Csv, QuotesWhatNeedsItAndNoFieldIsAFormula) {
    EXPECT_EQ(to_csv_line({"a", "", "1"}), "a,,1\n");
    EXPECT_EQ(to_csv_line({"a,b", "say \"no\"", "two\nlines"}), "\"a,b\",\"say \"\"no\"\"\",\"two\nlines\"\n");
    EXPECT_EQ(to_csv_line({"=1+1", "@x", "-2"}), "'=1+1,'@x,'-2\n");
}

}  // namespace
}  // namespace skerry::node
