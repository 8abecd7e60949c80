#include "node/transport/curve_keys.hpp"

#include <zmq.h>

#include "protocol/base/assert.hpp"

namespace skerry::node {

CurveKeyPair make_curve_keys() {
    char public_text[41];
    char secret_text[41];
    SKERRY_ASSERT(zmq_curve_keypair(public_text, secret_text) == 0);
    CurveKeyPair keys;
    SKERRY_ASSERT(zmq_z85_decode(keys.public_key.bytes.data(), public_text) != nullptr);
    SKERRY_ASSERT(zmq_z85_decode(keys.secret.data(), secret_text) != nullptr);
    return keys;
}

}  // namespace skerry::node
