#include "protocol/wire/control_codec.hpp"

#include "protocol/wire/control_convert.hpp"
#include "protocol/wire/frame_rules.hpp"

namespace skerry {

Result<Bytes> to_frame(const ControlMessage& message, std::size_t limit) {
    v1::ControlFrame out;
    out.set_run(to_field(message.run));
    out.set_term(message.term.value);
    out.set_incarnation(message.incarnation.value);
    out.set_seq(message.seq);
    put_body(message.body, out);
    std::size_t size = out.ByteSizeLong();
    if (size > limit)
        return fail(Errc::too_large,
                    "frame of " + std::to_string(size) + " bytes, limit " + std::to_string(limit));
    Bytes frame(size);
    out.SerializeWithCachedSizesToArray(frame.data());
    return frame;
}

Result<ControlMessage> parse_frame(ByteSpan frame, std::size_t limit) {
    if (frame.size() > limit)
        return fail(Errc::too_large,
                    "frame of " + std::to_string(frame.size()) + " bytes, limit " + std::to_string(limit));
    silence_protobuf();
    auto scanned = scan_message(frame, kControlFrameRule);
    if (!scanned) return fail(scanned.error());
    v1::ControlFrame in;
    if (!in.ParseFromArray(frame.data(), static_cast<int>(frame.size())))
        return fail(Errc::malformed, "no control frame");
    FieldReader reader;
    ControlMessage out;
    out.run = reader.fixed<RunId>(in.run());
    out.term = Term{in.term()};
    out.incarnation = Incarnation{in.incarnation()};
    out.seq = in.seq();
    out.body = read_body(reader, in);
    if (reader.why() != nullptr)
        return fail(Errc::malformed, std::string("control frame with ") + reader.why());
    return out;
}

}  // namespace skerry
