"""The ways to take a turn. Each gives the same: what was said, why it ended, what it cost."""

import json
import time
from dataclasses import dataclass, field

from letta_client.types.agents import LettaResponse

#: Never part of an answer, or of one in other words than in a list.
INPUTS = ("user_message", "system_message", "approval_response_message", "summary_message", "event_message")

FORMS = ["blocking", "steps", "tokens", "background"]


@dataclass
class Turn:
    """A turn as its client saw it: one entry a message, as `(type, what it holds)`."""

    shown: list
    stop: str
    usage: object
    run_id: str
    #: What identifies each message: the same in every form, and in a list.
    marks: set
    #: The ids of the calls that were asked for, by tool.
    asked: dict = field(default_factory=dict)

    def words(self):
        return "".join(content for kind, content in self.shown if kind == "assistant_message")

    def kinds(self):
        return [kind for kind, _ in self.shown]

    def returns(self):
        """Status and text of every return, in order."""
        return [end for kind, ends in self.shown if kind == "tool_return_message" for end in ends]


class Thread:
    """An agent's default thread, or one of its conversations."""

    def __init__(self, client, agent_id, conversation_id=None):
        self.client, self.agent_id, self.conversation_id = client, agent_id, conversation_id

    def take(self, form, messages, exact=True, **options):
        """Takes a turn in this form and checks that what was stored is what was shown; not `exact`: the server changes
        arguments after the model has streamed them."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        before = {message.id for message in self.listed()}
        turn = getattr(self, form)(messages=messages, **options)
        stored = [message for message in self.listed() if message.id not in before]
        # Lists have one way to show calls that speak; a turn may be asked for in another.
        assert marks(stored) == turn.marks or options.get("use_assistant_message") is False
        self.check_cost(turn)
        stored = [shape for shape in shapes(stored) if shape[0] not in INPUTS]
        shown = [shape for shape in turn.shown if shape[0] not in INPUTS]
        if form == "tokens":
            stored, shown = as_streamed(stored), as_streamed(shown)
        assert stored == shown or not exact, f"stored: {stored}\nshown: {shown}"
        return turn

    def check_cost(self, turn):
        """What a turn says it cost is what its steps cost."""
        steps = self.client.runs.steps.list(turn.run_id, limit=100).items
        recorded = self.client.runs.usage.retrieve(turn.run_id)
        # The call for a summary has a record, and is no step of the turn.
        summaries = turn.kinds().count("summary_message")
        assert turn.usage.step_count == len(steps) - summaries
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            cost = getattr(turn.usage, name)
            assert cost == sum(getattr(step, name) for step in steps) == getattr(recorded, name), name

    def listed(self):
        if self.conversation_id is None:
            return self.client.agents.messages.list(self.agent_id, order="asc", limit=1000).items
        return self.client.conversations.messages.list(self.conversation_id, order="asc", limit=1000).items

    def blocking(self, **body):
        if self.conversation_id is None:
            answer = self.client.agents.messages.create(self.agent_id, **body)
        else:
            path = f"/v1/conversations/{self.conversation_id}/messages"
            answer = self.client.post(path, cast_to=LettaResponse, body={**body, "streaming": False})
        return read([*answer.messages, answer.stop_reason, answer.usage])

    def steps(self, **body):
        return read(self._stream(**body))

    def tokens(self, **body):
        return read(self._stream(**body, stream_tokens=True))

    def background(self, **body):
        """Starts the run, leaves, and reads its stream from the beginning; a second reader sees the same."""
        if self.conversation_id is not None:
            first = list(self._stream(**body, background=True))
            again = self.client.conversations.messages.stream(self.conversation_id, run_id=first[0].run_id)
            assert [chunk.model_dump() for chunk in again] == [chunk.model_dump() for chunk in first]
            return read(first)
        run = self.client.agents.messages.create_async(self.agent_id, **body)
        chunks = list(self.client.runs.messages.stream(run.id))
        turn = read(chunks)
        half = len(chunks) // 2
        rest = list(self.client.runs.messages.stream(run.id, starting_after=half))
        assert [chunk.message_type for chunk in rest] == [chunk.message_type for chunk in chunks[half:]]
        record = ended(self.client, run.id)
        assert (record.stop_reason, turn.run_id) == (turn.stop, run.id)
        return turn

    def _stream(self, **body):
        if self.conversation_id is None:
            return self.client.agents.messages.stream(self.agent_id, **body)
        return self.client.conversations.messages.create(self.conversation_id, **body)


def active_run(thread):
    """The run of a conversation that is under way, as soon as there is one."""
    for _ in range(600):
        runs = thread.client.runs.list(conversation_id=thread.conversation_id, active=True).items
        if runs:
            return runs[0]
        time.sleep(0.02)
    raise AssertionError("no run began")


def ended(client, run_id):
    for _ in range(600):
        run = client.runs.retrieve(run_id)
        if run.status in ("completed", "failed", "cancelled"):
            return run
        time.sleep(0.05)
    raise AssertionError(f"{run_id} did not end")


def read(chunks):
    """A turn from whole messages or from the pieces of a stream."""
    chunks = list(chunks)
    stops = [chunk for chunk in chunks if chunk.message_type == "stop_reason"]
    costs = [chunk for chunk in chunks if chunk.message_type == "usage_statistics"]
    assert len(stops) == len(costs) == 1, [chunk.message_type for chunk in chunks]
    said = [chunk for chunk in chunks if chunk.message_type not in ("ping", "stop_reason", "usage_statistics")]
    runs = {chunk.run_id for chunk in chunks if getattr(chunk, "run_id", None)}
    assert len(runs) <= 1
    turn = Turn(shapes(said), stops[0].stop_reason, costs[0], next(iter(runs), None), marks(said))
    for chunk in said:
        if chunk.message_type == "approval_request_message":
            for call in calls_of(chunk):
                if call.name:
                    turn.asked.setdefault(call.name, []).append(call.tool_call_id)
    return turn


def marks(messages):
    told = [message for message in messages if message.message_type not in INPUTS]
    return {(each.id, each.message_type, each.otid, each.step_id, each.run_id) for each in told}


def as_streamed(shown):
    """What tokens tell: calls in the model's order, not in that of the messages which hold them, and before the server has
    decided whether they are followed by another step."""

    def plain(shape):
        kind, held = shape
        if kind not in ("tool_call_message", "approval_request_message"):
            return shape
        arguments = [(name, json.loads(arguments)) for name, arguments in held]
        for _, each in arguments:
            each.pop("request_heartbeat", None)
        return (kind, arguments)

    return sorted(map(plain, shown), key=str)


def calls_of(message):
    """The calls of a message; of a piece of one, where `tool_calls` is no list."""
    several = getattr(message, "tool_calls", None)
    return several if isinstance(several, list) else [message.tool_call]


def shapes(messages):
    """Messages as `(type, what it holds)`, the pieces of one put together."""
    whole = {}
    for message in messages:
        key = (message.id, message.message_type)
        if message.message_type in ("tool_call_message", "approval_request_message"):
            calls = whole.setdefault(key, {})
            for call in calls_of(message):
                name, arguments = calls.get(call.tool_call_id, ("", ""))
                calls[call.tool_call_id] = (name + (call.name or ""), arguments + (call.arguments or ""))
        elif message.message_type == "tool_return_message":
            whole[key] = [(end.status, end.tool_return) for end in message.tool_returns]
        else:
            text = getattr(message, "content", None) or getattr(message, "reasoning", None) or getattr(message, "summary", None)
            whole[key] = whole.get(key, "") + text if isinstance(text, str) else str(text)
    return [(kind, list(held.values()) if isinstance(held, dict) else held) for (_, kind), held in whole.items()]
