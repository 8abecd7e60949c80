#include "protocol/wire/frame_rules.hpp"

#include "protocol/wire/limits.hpp"

// Numbers are those of proto/skerry/v1; a field that is not listed is singular and holds no message.
namespace skerry {
namespace {

constexpr MessageRule flat(std::uint32_t last_number) { return {last_number, {}}; }

constexpr MessageRule kPair = flat(2);    // Address, SignedBody, StateDigest, PlanRef, OrderRequest, ...
constexpr MessageRule kTriple = flat(3);  // Segment, VoterSignature, StalledEdge, WaitingFor, ObjectRef, ...
constexpr MessageRule kQuad = flat(4);    // Refusal, PreparedState, AdminReply
constexpr MessageRule kFive = flat(5);    // LeaseInfo, Blame
constexpr MessageRule kSix = flat(6);     // AdminRequest
constexpr MessageRule kNone = flat(0);

constexpr FieldRule kSignedDecisionFields[] = {{1, 1, &kPair}, {2, kMaxNodes, &kTriple}};
constexpr MessageRule kSignedDecision = {2, kSignedDecisionFields};

constexpr FieldRule kHelloFields[] = {{8, kMaxAddresses, &kPair}};
constexpr MessageRule kHello = {18, kHelloFields};
constexpr FieldRule kWelcomeFields[] = {{9, 1, &kPair}};
constexpr MessageRule kWelcome = {11, kWelcomeFields};

constexpr FieldRule kReadyFields[] = {{4, kMaxSegments, &kTriple}};
constexpr MessageRule kReady = {7, kReadyFields};
constexpr FieldRule kExchangeFields[] = {{6, kMaxNodes}, {7, kMaxNodes, &kTriple}};
constexpr MessageRule kExchange = {7, kExchangeFields};
constexpr FieldRule kReportFields[] = {{5, 1, &kReady},
                                       {6, 1, &kExchange},
                                       {7, 1, &kQuad},
                                       {8, kMaxDigestsPerReport, &kPair},
                                       {9, kMaxSnapshotsPerReport, nullptr, true},
                                       {19, kMaxNodes}};
constexpr MessageRule kReport = {21, kReportFields};

constexpr FieldRule kHolderFields[] = {{4, kMaxSnapshotsPerReport, nullptr, true}};
constexpr MessageRule kHolder = {4, kHolderFields};
constexpr FieldRule kOrdersFields[] = {{6, 1, &kPair},
                                       {7, 1, &kPair},
                                       {8, kMaxLeases, &kFive},
                                       {14, kMaxRequests, &kPair},
                                       {15, kMaxNodes, &kHolder},
                                       {16, kMaxNodes},
                                       {17, kMaxNodes, &kTriple},
                                       {20, kMaxDecisionsPerFrame, &kSignedDecision}};
constexpr MessageRule kOrders = {20, kOrdersFields};

constexpr FieldRule kLeaseGrantFields[] = {{2, kMaxLeases, &kFive}};
constexpr MessageRule kLeaseGrant = {2, kLeaseGrantFields};
constexpr FieldRule kLeaseReturnFields[] = {{1, kMaxLeases, nullptr, true}};
constexpr MessageRule kLeaseReturn = {1, kLeaseReturnFields};
constexpr FieldRule kDecisionsFields[] = {{1, kMaxDecisionsPerFrame, &kSignedDecision}};
constexpr MessageRule kDecisions = {1, kDecisionsFields};
constexpr MessageRule kOne = flat(1);

constexpr FieldRule kControlFields[] = {
    {16, 1, &kHello},       {17, 1, &kWelcome},   {18, 1, &kQuad},   {19, 1, &kReport}, {20, 1, &kOrders},
    {21, 1, &kPair},        {22, 1, &kLeaseGrant}, {23, 1, &kLeaseReturn}, {24, 1, &kOne},
    {25, 1, &kDecisions},   {26, 1, &kOne},       {27, 1, &kFive},   {28, 1, &kOne},    {29, 1, &kNone},
    {30, 1, &kNone},        {31, 1, &kTriple},    {32, 1, &kTriple}, {33, 1, &kSix},    {34, 1, &kQuad}};

constexpr FieldRule kPieceListFields[] = {{1, 1, &kTriple}, {2, kMaxPiecesPerEnvelope, nullptr, true}};
constexpr MessageRule kGet = {2, kPieceListFields};
constexpr MessageRule kGone = {3, kPieceListFields};
constexpr FieldRule kDataFields[] = {{1, 1, &kTriple}, {3, kMaxProof}};
constexpr MessageRule kData = {6, kDataFields};
constexpr FieldRule kHaveFields[] = {{1, 1, &kTriple}};
constexpr MessageRule kHave = {2, kHaveFields};
constexpr FieldRule kPeerFields[] = {
    {16, 1, &kGet}, {17, 1, &kGet}, {18, 1, &kGone}, {19, 1, &kData}, {20, 1, &kHave}};

}  // namespace

const MessageRule kControlFrameRule = {34, kControlFields};
const MessageRule kPeerEnvelopeRule = {20, kPeerFields};

}  // namespace skerry
