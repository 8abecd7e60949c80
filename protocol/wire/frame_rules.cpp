#include "protocol/wire/frame_rules.hpp"

#include "protocol/wire/limits.hpp"

// One rule for each message of proto/skerry/v1, named after it: its highest field number, and every field that is
// repeated or holds a message. tests/lint/frame_rules.py compares the two.
namespace skerry {
namespace {

constexpr MessageRule flat(std::uint32_t last_number) { return {last_number, {}}; }

constexpr MessageRule kAddress = flat(2);
constexpr MessageRule kSegment = flat(3);
constexpr MessageRule kSignedBody = flat(2);
constexpr MessageRule kVoterSignature = flat(3);
constexpr FieldRule kSignedDecisionFields[] = {
    {1, 1, &kSignedBody}, {2, kMaxNodes, &kVoterSignature}};
constexpr MessageRule kSignedDecision = {2, kSignedDecisionFields};
constexpr FieldRule kHelloFields[] = {{8, kMaxAddresses, &kAddress}};
constexpr MessageRule kHello = {19, kHelloFields};
constexpr FieldRule kWelcomeFields[] = {{9, 1, &kSignedBody}};
constexpr MessageRule kWelcome = {11, kWelcomeFields};
constexpr MessageRule kRefusal = flat(4);
constexpr FieldRule kReadyStateFields[] = {{4, kMaxSegments, &kSegment}};
constexpr MessageRule kReadyState = {7, kReadyStateFields};
constexpr MessageRule kStalledEdge = flat(3);
constexpr FieldRule kExchangeStateFields[] = {{6, kMaxNodes}, {7, kMaxNodes, &kStalledEdge}};
constexpr MessageRule kExchangeState = {7, kExchangeStateFields};
constexpr MessageRule kPreparedState = flat(4);
constexpr MessageRule kStateDigest = flat(2);
constexpr MessageRule kMachineLimits = flat(5);
constexpr FieldRule kMachineStateFields[] = {{8, 1, &kMachineLimits}};
constexpr MessageRule kMachineState = {8, kMachineStateFields};
constexpr FieldRule kReportFields[] = {
    {5, 1, &kReadyState}, {6, 1, &kExchangeState}, {7, 1, &kPreparedState},
    {8, kMaxDigestsPerReport, &kStateDigest}, {9, kMaxSnapshotsPerReport, nullptr, true},
    {19, kMaxNodes}, {23, 1, &kMachineState}};
constexpr MessageRule kReport = {23, kReportFields};
constexpr MessageRule kLeaseInfo = flat(5);
constexpr MessageRule kPlanRef = flat(2);
constexpr MessageRule kOrderRequest = flat(2);
constexpr FieldRule kHolderFields[] = {{4, kMaxSnapshotsPerReport, nullptr, true}};
constexpr MessageRule kHolder = {4, kHolderFields};
constexpr MessageRule kWaitingFor = flat(3);
constexpr MessageRule kContribution = flat(10);
constexpr FieldRule kOrdersFields[] = {
    {6, 1, &kSignedBody}, {7, 1, &kPlanRef}, {8, kMaxLeases, &kLeaseInfo},
    {14, kMaxRequests, &kOrderRequest}, {15, kMaxNodes, &kHolder}, {16, kMaxNodes},
    {17, kMaxNodes, &kWaitingFor}, {20, kMaxDecisionsPerFrame, &kSignedDecision},
    {21, kMaxAgreedDigests, &kStateDigest}, {22, 1, &kContribution}};
constexpr MessageRule kOrders = {22, kOrdersFields};
constexpr MessageRule kLeaseRequest = flat(2);
constexpr FieldRule kLeaseGrantFields[] = {{2, kMaxLeases, &kLeaseInfo}};
constexpr MessageRule kLeaseGrant = {2, kLeaseGrantFields};
constexpr FieldRule kLeaseReturnFields[] = {{1, kMaxLeases, nullptr, true}};
constexpr MessageRule kLeaseReturn = {1, kLeaseReturnFields};
constexpr MessageRule kDecisionsRequest = flat(1);
constexpr FieldRule kDecisionsFields[] = {{1, kMaxDecisionsPerFrame, &kSignedDecision}};
constexpr MessageRule kDecisions = {1, kDecisionsFields};
constexpr MessageRule kPlanRequest = flat(1);
constexpr MessageRule kBlame = flat(5);
constexpr MessageRule kLeaving = flat(1);
constexpr MessageRule kLeft = flat(0);
constexpr MessageRule kReplaced = flat(0);
constexpr FieldRule kShardGetFields[] = {{5, kMaxShardSources}};
constexpr MessageRule kShardGet = {5, kShardGetFields};
constexpr MessageRule kShardBlock = flat(3);
constexpr FieldRule kShardSourcesFields[] = {{2, kMaxShardSources}};
constexpr MessageRule kShardSources = {4, kShardSourcesFields};
constexpr MessageRule kAdminRequest = flat(6);
constexpr MessageRule kAdminReply = flat(4);
constexpr MessageRule kRebuildAsk = flat(3);
constexpr MessageRule kHeldPlan = flat(2);
constexpr FieldRule kRebuildAnswerFields[] = {
    {6, 1, &kSignedBody}, {7, kMaxHeldPlans, &kHeldPlan},
    {8, kMaxSnapshotsPerReport, &kStateDigest}, {12, kMaxDecisionsPerFrame, &kSignedDecision}};
constexpr MessageRule kRebuildAnswer = {12, kRebuildAnswerFields};
constexpr MessageRule kLook = flat(5);
constexpr MessageRule kLookAnswer = flat(9);
constexpr FieldRule kControlFrameFields[] = {
    {16, 1, &kHello}, {17, 1, &kWelcome}, {18, 1, &kRefusal}, {19, 1, &kReport},
    {20, 1, &kOrders}, {21, 1, &kLeaseRequest}, {22, 1, &kLeaseGrant}, {23, 1, &kLeaseReturn},
    {24, 1, &kDecisionsRequest}, {25, 1, &kDecisions}, {26, 1, &kPlanRequest}, {27, 1, &kBlame},
    {28, 1, &kLeaving}, {29, 1, &kLeft}, {30, 1, &kReplaced}, {31, 1, &kShardGet},
    {32, 1, &kShardBlock}, {33, 1, &kAdminRequest}, {34, 1, &kAdminReply},
    {35, 1, &kRebuildAsk}, {36, 1, &kRebuildAnswer}, {37, 1, &kShardSources}, {38, 1, &kLook}, {39, 1, &kLookAnswer}};
constexpr MessageRule kControlFrame = {39, kControlFrameFields};
constexpr MessageRule kObjectRef = flat(3);
constexpr FieldRule kGetFields[] = {{1, 1, &kObjectRef}, {2, kMaxPiecesPerEnvelope, nullptr, true}};
constexpr MessageRule kGet = {2, kGetFields};
constexpr FieldRule kLaterFields[] = {
    {1, 1, &kObjectRef}, {2, kMaxPiecesPerEnvelope, nullptr, true}};
constexpr MessageRule kLater = {2, kLaterFields};
constexpr FieldRule kGoneFields[] = {
    {1, 1, &kObjectRef}, {2, kMaxPiecesPerEnvelope, nullptr, true}};
constexpr MessageRule kGone = {3, kGoneFields};
constexpr FieldRule kDataFields[] = {{1, 1, &kObjectRef}, {3, kMaxProof}};
constexpr MessageRule kData = {6, kDataFields};
constexpr FieldRule kHaveFields[] = {{1, 1, &kObjectRef}};
constexpr MessageRule kHave = {2, kHaveFields};
constexpr FieldRule kPeerEnvelopeFields[] = {
    {16, 1, &kGet}, {17, 1, &kLater}, {18, 1, &kGone}, {19, 1, &kData}, {20, 1, &kHave}};
constexpr MessageRule kPeerEnvelope = {20, kPeerEnvelopeFields};

}  // namespace

const MessageRule kControlFrameRule = kControlFrame;
const MessageRule kPeerEnvelopeRule = kPeerEnvelope;

}  // namespace skerry
