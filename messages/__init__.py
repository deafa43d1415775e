"""The words of the system: schemas, topics, codec and bus."""

from messages.bundles import BundleReady
from messages.bus.connection import connect
from messages.bus.protocol import Bus, Consumer, FencedProducer, NewRecord, Partition, Producer, Record
from messages.bus.security import Secret, Security
from messages.checkpoints import Checkpoint
from messages.clock import Clock, SystemClock, VirtualClock
from messages.codec import UnknownMessage, decode, encode
from messages.control import (
    Activate,
    Adjust,
    Flatten,
    Halt,
    Limits,
    LogStarted,
    Override,
    Resume,
    Rollout,
    Shadow,
    control_key,
)
from messages.dead_letters import DeadLetter
from messages.decisions import Decision, DecisionBatch, Denial, DenialCode, LoggedStep, OutcomeCode, Step
from messages.errors import (
    BadMessage,
    BusRefused,
    BusTimeout,
    BusUnavailable,
    Fatal,
    ProducerFenced,
    RefusalCause,
    Refused,
    Retryable,
    TickpilotError,
)
from messages.market import Bar, Observation, Quote, Trade
from messages.orders import Cancel, Claim, Order, order_id
from messages.reports import ExecutionReport, ReportStatus
from messages.risk import Alert, RiskSnapshot
from messages.status import ClientState, Heartbeat, RejectCode, Rejected, Staged, Swapped, status_key
from messages.topics import TOPICS, Topic
from messages.training import TrainProgress, TrainRequest, TrainResult

__all__ = [
    "TOPICS",
    "Activate",
    "Adjust",
    "Alert",
    "BadMessage",
    "Bar",
    "BundleReady",
    "Bus",
    "BusRefused",
    "BusTimeout",
    "BusUnavailable",
    "Cancel",
    "Checkpoint",
    "Claim",
    "ClientState",
    "Clock",
    "Consumer",
    "DeadLetter",
    "Decision",
    "DecisionBatch",
    "Denial",
    "DenialCode",
    "ExecutionReport",
    "Fatal",
    "FencedProducer",
    "Flatten",
    "Halt",
    "Heartbeat",
    "Limits",
    "LogStarted",
    "LoggedStep",
    "NewRecord",
    "Observation",
    "Order",
    "OutcomeCode",
    "Override",
    "Partition",
    "Producer",
    "ProducerFenced",
    "Quote",
    "Record",
    "RefusalCause",
    "Refused",
    "RejectCode",
    "Rejected",
    "ReportStatus",
    "Resume",
    "Retryable",
    "RiskSnapshot",
    "Rollout",
    "Secret",
    "Security",
    "Shadow",
    "Staged",
    "Step",
    "Swapped",
    "SystemClock",
    "TickpilotError",
    "Topic",
    "Trade",
    "TrainProgress",
    "TrainRequest",
    "TrainResult",
    "UnknownMessage",
    "VirtualClock",
    "connect",
    "control_key",
    "decode",
    "encode",
    "order_id",
    "status_key",
]
