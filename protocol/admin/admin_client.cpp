#include "protocol/admin/admin_client.hpp"

#include "protocol/admin/admin_server.hpp"
#include "protocol/base/within.hpp"

namespace skerry {

Task<Result<AdminReply>> ask_admin(ControlStream& stream, AdminRequest request, std::chrono::milliseconds patience) {
    std::uint64_t id = request.id;
    ControlMessage out;
    out.body = std::move(request);
    auto sent = co_await within(patience, stream.send(std::move(out)));
    if (!sent) co_return fail(sent.error());
    auto message = co_await within(patience, stream.receive());
    if (!message) co_return fail(message.error());
    if (auto* refusal = std::get_if<Refusal>(&message->body)) co_return fail(refusal->code, refusal->reason, refusal->fix);
    auto* reply = std::get_if<AdminReply>(&message->body);
    if (reply == nullptr || reply->id != id) co_return fail(Errc::malformed, "expected the reply to request " + std::to_string(id));
    auto error = error_of(*reply);
    if (error) co_return fail(std::move(*error));
    co_return std::move(*reply);
}

}  // namespace skerry
