"""Everything that bends a turn, in each of its forms: blocking, streamed by steps, streamed by tokens, in the background."""

import json
import threading
import uuid

import letta_client
import pytest
from forms import FORMS, Thread, active_run, ended

MODEL = "openai/scripted"


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture
def make(client):
    """Makes agents that are gone after the test."""
    made = []

    def make(*tools, rules=(), **fields):
        plain = {
            "model": MODEL,
            "memory_blocks": [{"label": "human", "value": "Name: Ada"}],
            "include_base_tools": False,
            "include_base_tool_rules": False,
            "tools": list(tools),
            "tool_rules": list(rules),
        }
        state = client.agents.create(**{**plain, **fields})
        made.append(state.id)
        return Thread(client, state.id)

    yield make
    for agent_id in made:
        client.agents.delete(agent_id)


def human(thread):
    return thread.client.agents.blocks.retrieve("human", agent_id=thread.agent_id).value


def insert(line):
    return 'memory_insert {"label":"human","new_string":"%s"}' % line


def append(line):
    return 'core_memory_append {"label":"human","content":"%s"}' % line


def calls(*which):
    """Scripts the model to make these calls, one after another."""
    return "".join(f"[[tool:{call}]]" for call in which)


def approve(*ids, **denied):
    entries = [{"type": "approval", "tool_call_id": call, "approve": True} for call in ids]
    return [{"type": "approval", "approvals": entries}]


def deny(call, reason):
    entry = {"type": "approval", "tool_call_id": call, "approve": False, "reason": reason}
    return [{"type": "approval", "approvals": [entry]}]


def gate(*tools):
    return [{"type": "requires_approval", "tool_name": tool} for tool in tools]


CALLED = ["tool_call_message", "tool_return_message"]
REPLIED = ["assistant_message"]


# ── approvals


def test_one_call_is_approved(make, form):
    thread = make("memory_insert", rules=gate("memory_insert"))
    asked = thread.take(form, calls(insert("A")) + "done")
    assert (asked.kinds(), asked.stop) == (["approval_request_message"], "requires_approval")
    name, arguments = asked.shown[0][1][0]
    assert (name, json.loads(arguments)) == ("memory_insert", {"label": "human", "new_string": "A"})
    assert asked.usage.step_count == 1 and human(thread) == "Name: Ada"
    answer = approve(*asked.asked["memory_insert"])
    done = thread.take(form, answer)
    assert (done.kinds(), done.stop, done.words()) == (["tool_return_message", *REPLIED], "end_turn", "echo: done")
    assert done.returns() == [("success", "Name: Ada\nA")] and human(thread) == "Name: Ada\nA"
    # The same answer again runs nothing again.
    again = thread.take(form, answer)
    assert (again.kinds(), again.stop) == (REPLIED, "end_turn") and human(thread) == "Name: Ada\nA"


def test_free_and_gated_calls_at_once(make, form):
    thread = make("memory_insert", "core_memory_append", rules=gate("memory_insert"))
    asked = thread.take(form, f"[[parallel:{append('free')} | {insert('A')} | {insert('B')}]] both")
    assert asked.kinds() == ["tool_call_message", "approval_request_message"] and human(thread) == "Name: Ada"
    one, two = asked.asked["memory_insert"]
    entries = [
        {"type": "approval", "tool_call_id": one, "approve": True},
        {"type": "approval", "tool_call_id": two, "approve": False, "reason": "B is wrong"},
    ]
    item = {"type": "approval", "approvals": entries}
    done = thread.take(form, [item, {"role": "user", "content": "and beside"}])
    assert done.kinds() == ["tool_return_message", *REPLIED] and done.words() == "echo: and beside"
    assert [status for status, _ in done.returns()] == ["error", "success", "success"]
    assert "B is wrong" in done.returns()[0][1]
    assert sorted(human(thread).splitlines()) == ["A", "Name: Ada", "free"]


def test_a_denial_reaches_the_model(make, form):
    thread = make("memory_insert", rules=gate("memory_insert"))
    asked = thread.take(form, calls(insert("A")) + "understood")
    done = thread.take(form, deny(asked.asked["memory_insert"][0], "never on Fridays"))
    assert done.kinds() == ["tool_return_message", *REPLIED] and done.stop == "end_turn"
    [(status, text)] = done.returns()
    assert status == "error" and "never on Fridays" in text and human(thread) == "Name: Ada"


def test_a_pending_call_is_cancelled(make, form):
    thread = make("memory_insert", rules=gate("memory_insert"))
    asked = thread.take(form, calls(insert("A")) + "x")
    assert thread.client.agents.messages.cancel(thread.agent_id) == {asked.run_id: "cancelled"}
    run = thread.client.runs.retrieve(asked.run_id)
    assert (run.status, run.stop_reason) == ("cancelled", "cancelled")
    assert thread.take(form, "on").words() == "echo: on" and human(thread) == "Name: Ada"


def test_a_pending_call_refuses_messages_before_a_stream_starts(make, form):
    thread = make("memory_insert", rules=gate("memory_insert"))
    with pytest.raises(letta_client.BadRequestError, match="No tool call is currently awaiting approval"):
        thread.take(form, approve("call_1"))
    thread.take(form, calls(insert("A")) + "x")
    with pytest.raises(letta_client.ConflictError) as refused:
        thread.take(form, "hello?")
    assert refused.value.body["detail"]["code"] == "PENDING_APPROVAL"
    assert refused.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(letta_client.BadRequestError, match="Invalid tool call IDs"):
        thread.take(form, approve("call_1"))


# ── tools of the client

PING = {
    "name": "client_ping",
    "description": "Pings the client",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}


@pytest.mark.parametrize("status", ["success", "error"])
def test_a_tool_of_the_client(make, form, status):
    thread = make("memory_insert")
    said = f'[[parallel:client_ping {{"q":"x"}} | {insert("A")}]] pinged'
    asked = thread.take(form, said, client_tools=[PING])
    assert sorted(asked.kinds()) == ["approval_request_message", "tool_call_message"] and human(thread) == "Name: Ada"
    [call] = asked.asked["client_ping"]
    end = {"type": "tool", "tool_call_id": call, "tool_return": "pong", "status": status}
    done = thread.take(form, [{"type": "approval", "approvals": [end]}], client_tools=[PING])
    assert done.kinds() == ["tool_return_message", *REPLIED] and done.words() == "echo: pinged"
    assert done.returns()[0] == (status, "pong") and done.returns()[1][0] == "success"
    assert human(thread) == "Name: Ada\nA"


# ── rules of each kind

REFUSED = "[ToolConstraintError]"


def refused(turn):
    return [text.startswith(REFUSED) for _, text in turn.returns()]


def test_run_first(make, form):
    rules = [{"type": "run_first", "tool_name": "memory_insert"}]
    turn = make("memory_insert", "core_memory_append", rules=rules).take(form, calls(append("B"), insert("A"), append("B")) + "done")
    assert (refused(turn), turn.stop) == ([True, False, False], "end_turn") and turn.kinds() == CALLED * 3 + REPLIED


def test_run_first_fixes_arguments(make, form):
    rules = [{"type": "run_first", "tool_name": "memory_insert", "args": {"new_string": "fixed"}}]
    thread = make("memory_insert", rules=rules)
    turn = thread.take(form, calls(insert("mine")) + "done", exact=form != "tokens")
    assert turn.stop == "end_turn" and human(thread) == "Name: Ada\nfixed"


def test_exit_loop(make, form):
    rules = [{"type": "exit_loop", "tool_name": "memory_insert"}]
    turn = make("memory_insert", rules=rules).take(form, calls(insert("A")) + "never said")
    assert (turn.kinds(), turn.stop) == (CALLED, "tool_rule")


def test_continue_loop(make, form):
    rules = [{"type": "continue_loop", "tool_name": "memory_insert"}]
    turn = make("memory_insert", rules=rules).take(form, calls(insert("A")) + "done")
    assert (turn.kinds(), turn.stop) == (CALLED + REPLIED, "end_turn")


def test_constrain_child_tools(make, form):
    rules = [{"type": "constrain_child_tools", "tool_name": "memory_insert", "children": ["core_memory_append"]}]
    turn = make("memory_insert", "core_memory_append", rules=rules).take(form, calls(insert("A"), insert("B"), append("C")) + "done")
    assert (refused(turn), turn.stop) == ([False, True, False], "end_turn")


def test_parent_last_tool(make, form):
    rules = [{"type": "parent_last_tool", "tool_name": "memory_insert", "children": ["core_memory_append"]}]
    turn = make("memory_insert", "core_memory_append", rules=rules).take(form, calls(append("C"), insert("A"), append("C")) + "done")
    assert (refused(turn), turn.stop) == ([True, False, False], "end_turn")


def test_conditional(make, form):
    mapping = {"Name: Ada\nA": "core_memory_append"}
    rules = [{"type": "conditional", "tool_name": "memory_insert", "child_output_mapping": mapping}]
    turn = make("memory_insert", "core_memory_append", rules=rules).take(form, calls(insert("A"), insert("B"), append("C")) + "done")
    assert (refused(turn), turn.stop) == ([False, True, False], "end_turn")


def test_max_count_per_step(make, form):
    rules = [{"type": "max_count_per_step", "tool_name": "memory_insert", "max_count_limit": 1}]
    thread = make("memory_insert", rules=rules)
    turn = thread.take(form, calls(insert("A"), insert("B")) + "done")
    assert (refused(turn), human(thread)) == ([False, True], "Name: Ada\nA")
    assert refused(thread.take(form, calls(insert("C")) + "next turn")) == [False]


def test_required_before_exit(make, form):
    rules = [{"type": "required_before_exit", "tool_name": "memory_insert"}]
    thread = make("memory_insert", rules=rules)
    turn = thread.take(form, f"[[say:too early]]{calls(insert('A'))}done")
    assert turn.stop == "end_turn" and human(thread) == "Name: Ada\nA"
    assert turn.kinds()[0] == "assistant_message" and turn.kinds()[-3:] == CALLED + REPLIED


# ── kinds of agents


def test_an_agent_that_speaks_in_words(make, form):
    thread = make("memory_insert", agent_type="letta_v1_agent")
    turn = thread.take(form, calls(insert("A")) + "hello")
    assert (turn.kinds(), turn.words(), turn.stop) == (CALLED + REPLIED, "echo: hello", "end_turn")


def test_a_react_agent(make, form):
    thread = make("memory_insert", agent_type="react_agent")
    turn = thread.take(form, calls(insert("A")) + "never said")
    assert (turn.kinds(), turn.stop) == (CALLED, "end_turn") and human(thread) == "Name: Ada\nA"


@pytest.mark.parametrize("kind", ["memgpt_agent", "memgpt_v2_agent"])
def test_agents_that_speak_by_calls(make, form, kind):
    base = {"include_base_tools": True, "include_base_tool_rules": True}
    thread = make("memory_insert", agent_type=kind, **base)
    turn = thread.take(form, calls(insert("A")) + "hello")
    assert turn.kinds()[-1] == "assistant_message" and turn.words() == "echo: hello"
    assert turn.stop == "end_turn" and human(thread) == "Name: Ada\nA"
    plain = thread.take(form, "again", exact=False, use_assistant_message=False)
    assert "assistant_message" not in plain.kinds()


@pytest.mark.parametrize("kind", ["split_thread_agent", "voice_convo_agent", "voice_sleeptime_agent"])
def test_agents_of_other_times(make, form, kind):
    fields = {"split_thread_agent": {"system": "You are helpful."}, "voice_convo_agent": {"enable_sleeptime": True}}
    base = {"include_base_tools": True, "include_base_tool_rules": True}
    thread = make("memory_insert", "send_message", agent_type=kind, **{**base, **fields.get(kind, {})})
    assert thread.client.agents.retrieve(thread.agent_id).agent_type == kind
    turn = thread.take(form, calls(insert("A")) + "hello")
    assert turn.words() == "echo: hello" and turn.stop in ("end_turn", "tool_rule") and human(thread) == "Name: Ada\nA"


def test_a_sleeptime_agent(make, form):
    base = {"include_base_tools": True, "include_base_tool_rules": True}
    thread = make(agent_type="sleeptime_agent", **base)
    turn = thread.take(form, calls(insert("A"), "memory_finish_edits {}") + "never said")
    assert human(thread) == "Name: Ada\nA" and turn.stop in ("end_turn", "tool_rule")


def test_a_workflow_agent_remembers_no_turn(make, form):
    rules = [{"type": "exit_loop", "tool_name": "memory_insert"}]
    thread = make("memory_insert", agent_type="workflow_agent", rules=rules)
    for line in ("A", "B"):
        turn = thread.take(form, calls(insert(line)) + "x")
        assert turn.stop in ("end_turn", "tool_rule")
    state = thread.client.agents.retrieve(thread.agent_id)
    assert len(state.message_ids) <= 4 and human(thread) == "Name: Ada\nA\nB"


# ── models and forms of answers


def test_structured_output(make, form):
    schema = {"name": "shape", "schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}
    settings = {"provider_type": "openai", "response_format": {"type": "json_schema", "json_schema": schema}}
    thread = make(model_settings=settings)
    turn = thread.take(form, '[[say:{"a":"tea"}]]')
    assert (json.loads(turn.words()), turn.stop) == ({"a": "tea"}, "end_turn")
    [step] = thread.client.runs.steps.list(turn.run_id).items
    sent = thread.client.steps.trace.retrieve(step.id).request_json
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["a"]


def test_a_long_answer(make, form):
    words = " ".join(f"word-{number}" for number in range(20_000))
    turn = make().take(form, words)
    assert turn.words() == f"echo: {words}" and turn.stop == "end_turn"


def test_another_model_for_one_turn(make, form):
    thread = make()
    turn = thread.take(form, "hi", override_model="openai/scripted-too")
    [step] = thread.client.runs.steps.list(turn.run_id).items
    assert (step.model, step.model_handle) == ("scripted-too", "openai/scripted-too") and turn.words() == "echo: hi"
    turn = thread.take(form, "back")
    [step] = thread.client.runs.steps.list(turn.run_id).items
    assert step.model == "scripted"
    with pytest.raises(letta_client.NotFoundError):
        thread.take(form, "hi", override_model="nobody/nothing")


# ── conversations


def talking(make, form):
    """A conversation of a new agent."""
    thread = make("memory_insert")
    made = thread.client.conversations.create(agent_id=thread.agent_id)
    return Thread(thread.client, thread.agent_id, made.id)


def test_a_conversation(make, form):
    thread = talking(make, form)
    turn = thread.take(form, calls(insert("A")) + "hello")
    assert (turn.kinds(), turn.words(), turn.stop) == (CALLED + REPLIED, "echo: hello", "end_turn")
    assert thread.client.runs.retrieve(turn.run_id).conversation_id == thread.conversation_id
    # Its words are its own, and a fork has them too.
    direct = thread.client.conversations.messages.list("default", agent_id=thread.agent_id).items
    assert [message.message_type for message in direct] == ["system_message"]
    fork = Thread(thread.client, thread.agent_id, thread.client.conversations.fork(thread.conversation_id).id)
    assert fork.take(form, "on").words() == "echo: on"
    shown = [getattr(message, "content", None) for message in fork.listed()]
    assert "echo: hello" in shown and "echo: on" in shown
    assert "echo: on" not in [getattr(message, "content", None) for message in thread.listed()]


def test_two_conversations_of_one_agent_at_once(make, form):
    one = talking(make, form)
    made = one.client.conversations.create(agent_id=one.agent_id)
    two = Thread(one.client, one.agent_id, made.id)
    turns, failures = {}, []

    def run(name, thread, words):
        try:
            turns[name] = thread.take(form, words)
        except BaseException as failure:  # told by the test, not by a thread
            failures.append(failure)

    slow = threading.Thread(target=run, args=("slow", one, "[[silent:1500]] slow"))
    slow.start()
    active = active_run(one)
    run("quick", two, "quick")
    assert slow.is_alive() and turns["quick"].words() == "echo: quick"
    # The busy one refuses, naming its run.
    with pytest.raises(letta_client.ConflictError) as refused:
        one.take(form, "now")
    assert refused.value.body["run_id"] == active.id
    slow.join()
    assert not failures and turns["slow"].words() == "echo: slow"


def test_a_conversation_is_cancelled(make, form):
    thread = talking(make, form)
    turns = []
    running = threading.Thread(target=lambda: turns.append(getattr(thread, form)(messages=[{"role": "user", "content": "[[silent:20000]] x"}])))
    running.start()
    run = active_run(thread)
    assert thread.client.conversations.cancel(thread.conversation_id) == {run.id: "cancelled"}
    running.join()
    assert turns[0].stop == "cancelled" and ended(thread.client, run.id).status == "cancelled"
    assert thread.take(form, "on").words() == "echo: on"


# ── compaction

LONG = "and so on " * 150


def test_a_context_that_is_too_full_is_summarised(make, form):
    thread = make(context_window_limit=40000, compaction_settings={"mode": "all"})
    for number in range(4):
        thread.take(form, f"turn {number} {LONG}")
    before = len(thread.client.agents.retrieve(thread.agent_id).message_ids)
    # The SDK's types of a stream do not have these two messages, only those of a whole answer.
    lenient = letta_client.Letta(base_url=str(thread.client.base_url))
    told = thread if form == "blocking" else Thread(lenient, thread.agent_id)
    turn = told.take(form, "[[usage:38000]] full", include_compaction_messages=True)
    assert (turn.words(), turn.stop) == ("echo: full", "end_turn")
    assert turn.kinds() == [*REPLIED, "event_message", "summary_message"]
    after = thread.client.agents.retrieve(thread.agent_id).message_ids
    assert len(after) < before
    assert thread.take(form, "on").words() == "echo: on"


@pytest.mark.parametrize("of", ["agent", "conversation"])
def test_a_context_is_summarised_because_somebody_asks(make, form, of):
    thread = talking(make, form) if of == "conversation" else make()
    for number in range(4):
        thread.take(form, f"turn {number} {LONG}")
    messages = thread.client.conversations.messages if of == "conversation" else thread.client.agents.messages
    done = messages.compact(thread.conversation_id or thread.agent_id)
    assert done.num_messages_after < done.num_messages_before and done.summary
    # Lists show it as the model reads it.
    users = [message.content for message in thread.listed() if message.message_type == "user_message"]
    assert [done.summary in text for text in users].count(True) == 1
    assert thread.take(form, "on").words() == "echo: on"
