#pragma once
// Who may come in: versions, tokens, tickets, incarnations; and nodes that know more than our database.

#include "coordinator/core/context.hpp"

namespace skerry::coordinator {

/// Handles Hello, and the administration of tokens. Answers Welcome, Refusal or Replaced.
///
/// A node is its key. The first Hello needs a token and uses it up by one; later ones a ticket, or the token
/// again (its Welcome may have been lost). The process that has the incarnation is known by its boot id; a fresh
/// process gets the next incarnation, an older one is told that it was replaced.
class Admission {
  public:
    explicit Admission(Context& context) : c_(context) {}

    void hello(const HelloReceived& event);

    /// What a bearer of a token, or a node that is known, may see before it joins. Changes nothing.
    std::variant<LookAnswer, Error> look(const NodeId& id, const Look& look, std::int64_t wall_unix_s);
    std::optional<Error> create_token(const TokenRow& token);
    std::optional<Error> revoke_token(const TokenId& id);
    std::vector<TokenRow> list_tokens() const;

  private:
    std::optional<Refusal> check_versions(const Hello& hello) const;
    /// For a node we do not know. The token it may use, or why not.
    std::variant<TokenRow*, Refusal> check_token(const Hello& hello, std::int64_t wall_unix_s);
    std::optional<Refusal> check_known(const Node& node, const HelloReceived& event) const;
    std::optional<Refusal> check_role(const Node* node, const Hello& hello) const;
    std::optional<Refusal> check_history(const HelloReceived& event);
    void admit(const HelloReceived& event, TokenRow& token);
    void fresh_process(Node& node, const HelloReceived& event);
    void resume(Node& node, const HelloReceived& event);
    void attach(Node& node, const HelloReceived& event);
    void welcome(Node& node, const HelloReceived& event, bool disk_is_behind);
    void end_session(SessionId session, ControlBody last);
    void refuse(const HelloReceived& event, Refusal refusal);
    void replaced(const HelloReceived& event);

    Context& c_;
};

}  // namespace skerry::coordinator
