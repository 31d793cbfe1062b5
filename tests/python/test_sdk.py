"""Every operation that is built, through the official client with strict response validation."""

import json
import os
import time
import uuid

import letta_client
import pytest
from forms import ended
from letta_client import Letta

URL = os.environ["GREENROOM_URL"]
MODEL = "openai/scripted"


@pytest.fixture
def agent(client):
    state = client.agents.create(
        model=MODEL,
        memory_blocks=[{"label": "human", "value": "Name: Ada"}, {"label": "persona", "value": "I am a helper."}],
        tags=["sdk"],
    )
    yield state
    try:
        client.agents.delete(state.id)
    except letta_client.NotFoundError:
        pass


def user(text):
    return [{"role": "user", "content": text}]


def types(messages):
    return [message.message_type for message in messages]


def test_health(client):
    assert client.health().status == "ok"


def test_agents(client, agent):
    assert agent.model == MODEL and agent.agent_type == "letta_v1_agent"
    assert [block.label for block in agent.memory.blocks] == ["human", "persona"]
    assert {tool.name for tool in agent.tools} == {"conversation_search", "memory_replace", "memory_insert"}
    raw = client.get(f"/v1/agents/{agent.id}", cast_to=object)
    assert raw["model_settings"]["reasoning"] == {"reasoning_effort": "minimal"}
    plain = client.agents.retrieve(agent.id)
    assert plain.blocks == [] and plain.tools == [] and plain.tags == [] and len(plain.message_ids) == 1
    full = client.agents.retrieve(agent.id, include=["agent.blocks", "agent.tools", "agent.tags"])
    assert len(full.blocks) == 2 and len(full.tools) == 3 and full.tags == ["sdk"]
    changed = client.agents.update(agent.id, name="Renamed by the SDK", description="d", tags=["x", "y"], metadata={"k": 1})
    assert (changed.name, changed.description, changed.tags, changed.metadata) == ("Renamed by the SDK", "d", ["x", "y"], {"k": 1})
    assert [found.id for found in client.agents.list(name="Renamed by the SDK")] == [agent.id]
    assert agent.id in [found.id for found in client.agents.list(tags=["x"])]
    assert client.get("/v1/agents/count", cast_to=object) >= 1
    client.agents.delete(agent.id)
    with pytest.raises(letta_client.NotFoundError):
        client.agents.retrieve(agent.id)


def test_paging_reaches_every_agent_once(client):
    tag = f"page-{uuid.uuid4()}"
    made = [client.agents.create(model=MODEL, tags=[tag]).id for _ in range(5)]
    try:
        for order in ("asc", "desc"):
            seen = [found.id for found in client.agents.list(tags=[tag], limit=2, order=order)]
            assert seen == (made if order == "asc" else made[::-1])
    finally:
        for agent_id in made:
            client.agents.delete(agent_id)


def test_secrets_are_shown_only_when_asked_for(client):
    state = client.agents.create(model=MODEL, secrets={"TOKEN": "s3cret-value"})
    assert state.secrets[0].value == "s3cret-value"
    assert client.agents.retrieve(state.id).secrets == []
    client.agents.delete(state.id)


def test_one_reply(client, agent):
    answer = client.agents.messages.create(agent.id, messages=user("hello"))
    assert types(answer.messages) == ["assistant_message"] and answer.messages[0].content == "echo: hello"
    assert answer.stop_reason.stop_reason == "end_turn"
    assert (answer.usage.step_count, answer.usage.total_tokens, answer.usage.context_tokens) == (1, 18, 18)
    assert client.agents.messages.create(agent.id, input="short").messages[0].content == "echo: short"


def test_a_tool_and_its_return(client, agent):
    said = '[[tool:memory_insert {"label":"human","new_string":"Likes tea."}]] done'
    answer = client.agents.messages.create(agent.id, messages=user(said))
    assert types(answer.messages) == ["tool_call_message", "tool_return_message", "assistant_message"]
    call, end, _ = answer.messages
    assert end.status == "success" and end.tool_return == "Name: Ada\nLikes tea."
    assert end.tool_call_id == call.tool_call.tool_call_id and end.otid.endswith("0")
    assert client.agents.blocks.retrieve("human", agent_id=agent.id).value == "Name: Ada\nLikes tea."
    failed = client.agents.messages.create(agent.id, messages=user('[[tool:memory_replace {"label":"human","old_string":"absent","new_string":"x"}]] e'))
    assert failed.messages[1].status == "error" and failed.messages[1].stderr[0].startswith("Error executing function memory_replace: ")


def test_max_steps(client, agent):
    call = '[[tool:memory_insert {"label":"human","new_string":"x"}]]'
    answer = client.agents.messages.create(agent.id, messages=user(call * 3), max_steps=2)
    assert answer.stop_reason.stop_reason == "max_steps" and answer.usage.step_count == 2


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_streams(client, agent, tokens, background):
    chunks = list(client.agents.messages.stream(agent.id, messages=user("one two three"), stream_tokens=tokens, background=background))
    kinds = types(chunks)
    assert kinds[0] == "ping" and kinds[-2:] == ["stop_reason", "usage_statistics"]
    text = "".join(chunk.content for chunk in chunks if chunk.message_type == "assistant_message")
    assert text == "echo: one two three"
    assert (kinds.count("assistant_message") > 1) == tokens
    numbers = [chunk.seq_id for chunk in chunks[:-2]]
    assert numbers == (list(range(1, len(numbers) + 1)) if background else [None] * len(numbers))


def test_background_run_and_resume(client, agent):
    run = client.agents.messages.create_async(agent.id, messages=user("later"))
    assert run.status == "created" and run.background and run.metadata["run_type"] == "send_message_async"
    assert ended(client, run.id).stop_reason == "end_turn"
    whole = list(client.runs.messages.stream(run.id))
    rest = list(client.runs.messages.stream(run.id, starting_after=1))
    assert types(whole)[1:] == types(rest)
    assert types(client.runs.messages.list(run.id)) == ["user_message", "assistant_message"]
    assert client.runs.usage.retrieve(run.id).total_tokens == 18
    step = list(client.runs.steps.list(run.id))[0]
    assert step.status == "success" and step.model_handle == MODEL
    assert client.steps.retrieve(step.id).id == step.id
    assert client.steps.metrics.retrieve(step.id).llm_request_ns > 0
    assert client.steps.trace.retrieve(step.id).request_json["model"] == "scripted"
    assert types(client.steps.messages.list(step.id)) == ["user_message", "assistant_message"]
    assert client.steps.feedback.create(step.id, feedback="positive", tags=["good"]).feedback == "positive"
    assert [found.id for found in client.steps.list(agent_id=agent.id, feedback="positive")] == [step.id]
    assert run.id in [found.id for found in client.runs.list(agent_id=agent.id)]
    assert isinstance(client.runs.trace.retrieve(run.id), list)
    assert client.get(f"/v1/runs/{run.id}/metrics", cast_to=object)["num_steps"] == 1
    assert client.delete(f"/v1/runs/{run.id}", cast_to=object) is None
    with pytest.raises(letta_client.NotFoundError):
        client.runs.retrieve(run.id)


def test_cancel(client, agent):
    run = client.agents.messages.create_async(agent.id, messages=user("[[silent:20000]] never"))
    for _ in range(200):
        if client.runs.retrieve(run.id).status == "running":
            break
        time.sleep(0.02)
    assert client.agents.messages.cancel(agent.id) == {run.id: "cancelled"}
    assert client.runs.retrieve(run.id).status == "cancelled"
    assert client.agents.messages.create(agent.id, messages=user("on")).messages[0].content == "echo: on"


def gate(client, agent, *tools):
    for tool in tools:
        assert client.agents.tools.update_approval(tool, agent_id=agent.id, body_requires_approval=True) is None


def insert(line):
    return 'memory_insert {"label":"human","new_string":"%s"}' % line


def decisions(*entries):
    return {"type": "approval", "approvals": [{"type": "approval", **entry} for entry in entries]}


def human(client, agent):
    return client.agents.blocks.retrieve("human", agent_id=agent.id).value


def pending(client, agent):
    return client.agents.retrieve(agent.id, include=["agent.pending_approval"]).pending_approval


def paired(client, agent):
    """Every stored call has exactly one return."""
    messages = client.agents.messages.list(agent.id, order="asc", limit=1000).items
    calls = [call.tool_call_id for message in messages for call in getattr(message, "tool_calls", None) or []]
    ends = [end.tool_call_id for message in messages for end in getattr(message, "tool_returns", None) or []]
    assert sorted(calls) == sorted(ends)
    return messages


def test_the_approval_flag_of_a_tool(client, agent):
    def gates():
        return [rule.tool_name for rule in client.agents.retrieve(agent.id).tool_rules or [] if rule.type == "requires_approval"]

    gate(client, agent, "memory_insert")
    assert gates() == ["memory_insert"]
    client.agents.tools.update_approval("memory_insert", agent_id=agent.id, body_requires_approval=False)
    assert gates() == []
    with pytest.raises(letta_client.NotFoundError):
        client.agents.tools.update_approval("no_such_tool", agent_id=agent.id, body_requires_approval=True)


def test_a_call_is_approved(client, agent):
    gate(client, agent, "memory_insert")
    asked = client.agents.messages.create(agent.id, messages=user(f"[[tool:{insert('Likes tea.')}]] done"))
    assert types(asked.messages) == ["approval_request_message"] and asked.stop_reason.stop_reason == "requires_approval"
    request = asked.messages[0]
    call = request.tool_calls[0]
    assert call == request.tool_call and call.name == "memory_insert" and request.otid == request.id
    assert human(client, agent) == "Name: Ada" and pending(client, agent).id == request.id
    assert client.agents.retrieve(agent.id).pending_approval is None

    answer = decisions({"tool_call_id": call.tool_call_id, "approve": True})
    done = client.agents.messages.create(agent.id, messages=[answer])
    assert types(done.messages) == ["tool_return_message", "assistant_message"]
    assert done.messages[0].status == "success" and done.messages[0].tool_call_id == call.tool_call_id
    assert done.messages[0].step_id == request.step_id and done.messages[0].run_id != request.run_id
    assert (done.messages[1].content, done.stop_reason.stop_reason) == ("echo: done", "end_turn")
    assert human(client, agent) == "Name: Ada\nLikes tea." and pending(client, agent) is None
    listed = paired(client, agent)
    assert types(listed)[1:] == [
        "user_message",
        "approval_request_message",
        "approval_response_message",
        "tool_return_message",
        "assistant_message",
    ]
    assert listed[3].approve is True and listed[3].approvals[0].tool_call_id == call.tool_call_id
    assert types(client.runs.messages.list(done.messages[0].run_id)) == types(listed)[3:]

    again = client.agents.messages.create(agent.id, messages=[answer])
    assert types(again.messages) == ["assistant_message"] and human(client, agent) == "Name: Ada\nLikes tea."


def test_calls_are_approved_and_denied_together(client, agent):
    gate(client, agent, "memory_insert")
    said = f"[[parallel:{insert('A')} | {insert('B')} | conversation_search {{\"query\":\"x\"}}]] both"
    asked = client.agents.messages.create(agent.id, messages=user(said))
    assert types(asked.messages) == ["tool_call_message", "approval_request_message"]
    one, two = asked.messages[1].tool_calls
    answer = decisions(
        {"tool_call_id": one.tool_call_id, "approve": True},
        {"tool_call_id": two.tool_call_id, "approve": False, "reason": "B is wrong"},
    )
    done = client.agents.messages.create(agent.id, messages=[answer, *user("and then")])
    ends = {end.tool_call_id: end for end in done.messages[0].tool_returns}
    assert len(ends) == 3 and done.messages[0].tool_returns[0].tool_call_id == two.tool_call_id
    assert ends[one.tool_call_id].status == "success" and ends[two.tool_call_id].status == "error"
    assert "B is wrong" in ends[two.tool_call_id].tool_return
    assert done.messages[1].content == "echo: and then" and human(client, agent) == "Name: Ada\nA"
    paired(client, agent)


def test_the_old_form_of_an_approval(client, agent):
    gate(client, agent, "memory_insert")
    asked = client.agents.messages.create(agent.id, messages=user(f"[[tool:{insert('A')}]] x"))
    old = {"type": "approval", "approve": False, "approval_request_id": asked.messages[0].id, "reason": "not now"}
    done = client.agents.messages.create(agent.id, messages=[old])
    assert done.messages[0].status == "error" and "not now" in done.messages[0].tool_return
    assert human(client, agent) == "Name: Ada"


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_an_approval_is_streamed(client, agent, tokens, background):
    gate(client, agent, "memory_insert")
    kind = {"stream_tokens": tokens, "background": background}
    chunks = list(client.agents.messages.stream(agent.id, messages=user(f"[[tool:{insert('Likes tea.')}]] done"), **kind))
    asking = [chunk for chunk in chunks if chunk.message_type == "approval_request_message"]
    assert types(chunks) == ["ping", *["approval_request_message"] * len(asking), "stop_reason", "usage_statistics"]
    assert chunks[-2].stop_reason == "requires_approval" and (len(asking) > 1) == tokens
    request = pending(client, agent)
    assert {(chunk.id, chunk.otid, chunk.step_id) for chunk in asking} == {(request.id, request.id, request.step_id)}
    assert asking[0].tool_call.name == "memory_insert"
    assert "".join(chunk.tool_call.arguments or "" for chunk in asking) == request.tool_calls[0].arguments

    answer = decisions({"tool_call_id": request.tool_calls[0].tool_call_id, "approve": True})
    chunks = list(client.agents.messages.stream(agent.id, messages=[answer], **kind))
    kinds = types(chunks)
    assert kinds[:2] == ["ping", "tool_return_message"] and kinds[-2:] == ["stop_reason", "usage_statistics"]
    assert set(kinds[2:-2]) == {"assistant_message"} and chunks[1].step_id == request.step_id
    assert "".join(chunk.content for chunk in chunks[2:-2]) == "echo: done"
    assert human(client, agent) == "Name: Ada\nLikes tea."
    paired(client, agent)


def test_an_approval_in_the_background(client, agent):
    gate(client, agent, "memory_insert")
    run = client.agents.messages.create_async(agent.id, messages=user(f"[[tool:{insert('A')}]] later"))
    record = ended(client, run.id)
    assert (record.status, record.stop_reason) == ("completed", "requires_approval")
    answer = decisions({"tool_call_id": pending(client, agent).tool_calls[0].tool_call_id, "approve": True})
    run = client.agents.messages.create_async(agent.id, messages=[answer])
    assert ended(client, run.id).stop_reason == "end_turn" and human(client, agent) == "Name: Ada\nA"


def test_what_a_pending_approval_refuses(client, agent):
    with pytest.raises(letta_client.BadRequestError, match="No tool call is currently awaiting approval"):
        client.agents.messages.create(agent.id, messages=[decisions({"tool_call_id": "call_1", "approve": True})])
    gate(client, agent, "memory_insert")
    asked = client.agents.messages.create(agent.id, messages=user(f"[[tool:{insert('A')}]] x"))
    with pytest.raises(letta_client.BadRequestError, match="Invalid tool call IDs"):
        client.agents.messages.create(agent.id, messages=[decisions({"tool_call_id": "call_1", "approve": True})])

    sent = []
    counted = letta_client.DefaultHttpxClient(event_hooks={"request": [lambda request: sent.append(request.url.path)]})
    retrying = Letta(base_url=URL, api_key="unused", max_retries=2, http_client=counted, _strict_response_validation=True)
    for send in (
        lambda: retrying.agents.messages.create(agent.id, messages=user("hello?")),
        lambda: list(retrying.agents.messages.stream(agent.id, messages=user("hello?"))),
        lambda: retrying.agents.messages.create_async(agent.id, messages=user("hello?")),
    ):
        sent.clear()
        with pytest.raises(letta_client.ConflictError) as refused:
            send()
        detail = refused.value.body["detail"]
        assert (detail["code"], detail["pending_request_id"]) == ("PENDING_APPROVAL", asked.messages[0].id)
        assert "Please approve or deny the pending request before continuing" in detail["message"]
        assert len(sent) == 1, "the SDK is told that a retry does not help"


def test_a_pending_approval_is_cancelled(client, agent):
    gate(client, agent, "memory_insert")
    asked = client.agents.messages.create(agent.id, messages=user(f"[[tool:{insert('A')}]] x"))
    run_id = asked.messages[0].run_id
    assert client.agents.messages.cancel(agent.id) == {run_id: "cancelled"}
    run = client.runs.retrieve(run_id)
    assert (run.status, run.stop_reason) == ("cancelled", "cancelled")
    assert client.agents.messages.create(agent.id, messages=user("on")).messages[0].content == "echo: on"
    assert human(client, agent) == "Name: Ada"
    paired(client, agent)


PING = {
    "name": "client_ping",
    "description": "Pings the client",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}


@pytest.mark.parametrize("form", ["approval", "tool_return"])
@pytest.mark.parametrize("status", ["success", "error"])
def test_a_tool_of_the_client(client, agent, form, status):
    said = f"[[parallel:client_ping {{\"q\":\"x\"}} | {insert('A')}]] client"
    asked = client.agents.messages.create(agent.id, messages=user(said), client_tools=[PING])
    assert types(asked.messages) == ["tool_call_message", "approval_request_message"]
    assert asked.stop_reason.stop_reason == "requires_approval" and human(client, agent) == "Name: Ada"
    call = asked.messages[1].tool_calls[0]
    assert call.name == "client_ping"
    end = {"type": "tool", "tool_call_id": call.tool_call_id, "tool_return": "pong", "status": status, "stdout": ["out"]}
    item = {"type": form, {"approval": "approvals", "tool_return": "tool_returns"}[form]: [end]}
    done = client.agents.messages.create(agent.id, messages=[item], client_tools=[PING])
    assert types(done.messages) == ["tool_return_message", "assistant_message"]
    first, second = done.messages[0].tool_returns
    assert (first.tool_call_id, first.tool_return, first.status, first.stdout) == (call.tool_call_id, "pong", status, ["out"])
    assert second.status == "success" and human(client, agent) == "Name: Ada\nA"
    listed = paired(client, agent)
    response = [message for message in listed if message.message_type == "approval_response_message"][0]
    assert response.approvals[0].type == "tool" and response.approve is None


def test_a_tool_of_the_client_is_streamed_and_returns_parts(client, agent):
    kind = {"client_tools": [PING], "stream_tokens": True}
    chunks = list(client.agents.messages.stream(agent.id, messages=user('[[tool:client_ping {"q":"x"}]] parts'), **kind))
    asking = [chunk for chunk in chunks if chunk.message_type == "approval_request_message"]
    assert chunks[-2].stop_reason == "requires_approval"
    parts = [{"type": "text", "text": "first"}, {"type": "text", "text": "second"}]
    end = {"type": "tool", "tool_call_id": asking[0].tool_call.tool_call_id, "tool_return": parts, "status": "success"}
    chunks = list(client.agents.messages.stream(agent.id, messages=[{"type": "approval", "approvals": [end]}], **kind))
    found = [chunk for chunk in chunks if chunk.message_type == "tool_return_message"][0]
    assert [part.text for part in found.tool_returns[0].tool_return] == ["first", "second"]
    assert "first" in found.tool_return and "second" in found.tool_return


def test_rules_on_the_order_of_tools(client):
    rules = [
        {"type": "run_first", "tool_name": "memory_insert"},
        {"type": "constrain_child_tools", "tool_name": "memory_insert", "children": ["core_memory_append"]},
        {"type": "exit_loop", "tool_name": "core_memory_append"},
    ]
    state = client.agents.create(
        model=MODEL,
        memory_blocks=[{"label": "human", "value": "Name: Ada"}],
        tools=["core_memory_append"],
        tool_rules=rules,
        include_base_tool_rules=False,
    )
    try:
        assert [rule.type for rule in state.tool_rules] == [rule["type"] for rule in rules]
        append = 'core_memory_append {"label":"human","content":"B"}'
        said = f"[[tool:{append}]][[tool:{insert('A')}]][[tool:{append}]] never said"
        answer = client.agents.messages.create(state.id, messages=user(said))
        assert types(answer.messages) == ["tool_call_message", "tool_return_message"] * 3
        assert answer.stop_reason.stop_reason == "tool_rule"
        assert answer.messages[1].tool_return.startswith("[ToolConstraintError]")
        assert human(client, state) == "Name: Ada\nA\nB"
    finally:
        client.agents.delete(state.id)


def test_history(client, agent):
    for number in range(3):
        client.agents.messages.create(agent.id, messages=[{"role": "user", "content": f"m{number}", "otid": f"otid-{number}"}])
    listed = client.agents.messages.list(agent.id, order="asc", limit=100).items
    assert types(listed)[:3] == ["system_message", "user_message", "assistant_message"]
    assert [message.otid for message in listed if message.message_type == "user_message"] == ["otid-0", "otid-1", "otid-2"]
    newest = client.agents.messages.list(agent.id, limit=2).items
    assert [message.content for message in newest] == ["m2", "echo: m2"]
    older = client.agents.messages.list(agent.id, before=newest[0].id, limit=2).items
    assert [message.content for message in older] == ["m1", "echo: m1"]
    edited = client.patch(
        f"/v1/agents/{agent.id}/messages/{newest[0].id}",
        cast_to=object,
        body={"message_type": "user_message", "content": "edited"},
    )
    assert edited["content"] == "edited"
    client.agents.messages.reset(agent.id, add_default_initial_messages=False)
    assert len(client.agents.retrieve(agent.id).message_ids) == 1
    assert len(client.agents.messages.list(agent.id, limit=100).items) == 7


def test_blocks(client, agent):
    block = client.blocks.create(label="notes", value="one", tags=["t"])
    assert client.blocks.retrieve(block.id).value == "one" and block.limit == 100000
    assert client.blocks.update(block.id, value="two", description="d").value == "two"
    assert [found.id for found in client.blocks.list(label="notes", tags=["t"]) if found.id == block.id] == [block.id]
    client.agents.blocks.attach(block.id, agent_id=agent.id)
    assert {found.label for found in client.agents.blocks.list(agent.id)} == {"human", "persona", "notes"}
    assert [found.id for found in client.blocks.agents.list(block.id)] == [agent.id]
    assert client.agents.blocks.update("notes", agent_id=agent.id, value="three").value == "three"
    system = client.agents.messages.list(agent.id, order="asc", limit=1).items[0]
    assert "three" in system.content
    other = client.blocks.create(label="notes", value="other")
    with pytest.raises(letta_client.ConflictError):
        client.agents.blocks.attach(other.id, agent_id=agent.id)
    client.agents.blocks.detach(block.id, agent_id=agent.id)
    assert client.get(f"/v1/agents/{agent.id}/core-memory", cast_to=object)["git_enabled"] is False
    assert client.get("/v1/blocks/count", cast_to=object) >= 2
    client.blocks.delete(block.id)
    client.blocks.delete(other.id)
    with pytest.raises(letta_client.NotFoundError):
        client.blocks.retrieve(block.id)


def test_the_system_message_is_recompiled_on_demand(client, agent):
    # The client hands out this answer as it came: JSON.
    recompile = lambda **options: json.loads(client.agents.recompile(agent.id, **options))
    before = client.agents.messages.list(agent.id, order="asc", limit=1).items[0]
    assert recompile() == before.content
    client.agents.blocks.update("human", agent_id=agent.id, value="Name: Grace")
    assert "Name: Grace" in recompile(dry_run=True)
    shown = recompile(update_timestamp=True)
    after = client.agents.messages.list(agent.id, order="asc", limit=1).items[0]
    assert (after.id, after.content) == (before.id, shown) and "Name: Grace" in shown
    with pytest.raises(letta_client.NotFoundError):
        client.agents.recompile("agent-00000000-0000-4000-8000-000000000001")


def test_what_the_model_sees(client, agent):
    client.agents.messages.create(agent.id, messages=user("hello"))
    context = client.get(f"/v1/agents/{agent.id}/context", cast_to=object)
    assert context["num_messages"] == 3 and [message["role"] for message in context["messages"]] == ["system", "user", "assistant"]
    counts = [count for name, count in context.items() if name.startswith("num_tokens_")]
    assert context["context_window_size_current"] == sum(counts) > 0
    path = f"/v1/agents/{agent.id}/messages/preview-raw-payload"
    preview = client.post(path, cast_to=object, body={"messages": user("next")})
    assert [message["content"] for message in preview["messages"]][1:] == ["hello", "echo: hello", "next"]


def test_a_model_without_its_agent(client, agent):
    path = f"/v1/agents/{agent.id}/generate"
    answer = client.post(path, cast_to=object, body={"prompt": "say hi"})
    assert answer["content"] == "echo: say hi" and answer["usage"]["message_type"] == "usage_statistics"
    with pytest.raises(letta_client.APIStatusError) as refused:
        client.post(path, cast_to=object, body={"prompt": "[[error:401]]"})
    assert refused.value.status_code == 502
    said = {
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "request_messages": user("captured?"),
        "response_dict": {"content": "captured"},
    }
    path = f"/v1/agents/{agent.id}/messages/capture"
    assert client.post(path, cast_to=object, body=said)["messages_created"] == 2
    assert [message.content for message in client.agents.messages.list(agent.id, limit=2).items] == ["captured?", "captured"]


def test_conversations(client, agent):
    made = client.conversations.create(agent_id=agent.id, summary="About tea")
    assert made.agent_id == agent.id and made.summary == "About tea" and made.last_message_at is None
    fields = {"model": MODEL, "model_settings": {"provider_type": "openai", "temperature": 0.5}, "summary": "On coffee"}
    changed = client.conversations.update(made.id, **fields)
    assert (changed.model, changed.summary, changed.api_model_settings.temperature) == (MODEL, "On coffee", 0.5)
    for tokens in (False, True):
        chunks = list(client.conversations.messages.create(made.id, messages=user("one two"), stream_tokens=tokens))
        assert types(chunks)[0] == "ping" and types(chunks)[-2:] == ["stop_reason", "usage_statistics"]
        assert "".join(chunk.content for chunk in chunks if chunk.message_type == "assistant_message") == "echo: one two"
    assert client.conversations.retrieve(made.id).last_message_at is not None
    whole = client.post(f"/v1/conversations/{made.id}/messages", cast_to=object, body={"input": "whole", "streaming": False})
    assert whole["messages"][0]["content"] == "echo: whole"

    kinds = ["system_message", *["user_message", "assistant_message"] * 3]
    assert types(client.conversations.messages.list(made.id, order="asc", limit=2)) == kinds
    assert types(client.conversations.messages.list(made.id, limit=3)) == kinds[::-1]
    fork = client.conversations.fork(made.id)
    assert fork.id != made.id and fork.model == MODEL and fork.summary is None
    assert len(fork.in_context_message_ids) == 7
    assert fork.id in client.conversations.recompile(fork.id)
    found = client.conversations.list(agent_id=agent.id)
    assert [conversation.id for conversation in found] == [fork.id, made.id]
    assert [conversation.id for conversation in client.conversations.list(agent_id=agent.id, after=fork.id)] == [made.id]
    assert len(client.runs.list(conversation_id=made.id).items) == 3
    with pytest.raises(letta_client.ConflictError, match="No active runs"):
        client.conversations.cancel(made.id)
    assert client.conversations.delete(made.id) is None
    with pytest.raises(letta_client.NotFoundError):
        client.conversations.retrieve(made.id)
    assert types(client.conversations.messages.list(fork.id, order="asc")) == kinds

    chunks = list(client.conversations.messages.create("default", agent_id=agent.id, messages=user("direct")))
    assert "echo: direct" in [chunk.content for chunk in chunks if chunk.message_type == "assistant_message"]
    direct = client.conversations.messages.list("default", agent_id=agent.id).items
    assert types(direct) == ["system_message", "user_message", "assistant_message"]


def test_a_background_stream_of_a_conversation_is_read_again(client, agent):
    thread = client.conversations.create(agent_id=agent.id).id
    item = {"role": "user", "content": "once", "otid": str(uuid.uuid4())}
    first = list(client.conversations.messages.create(thread, messages=[item], background=True))
    again = list(client.conversations.messages.create(thread, messages=[item], background=True))
    assert [chunk.model_dump() for chunk in again] == [chunk.model_dump() for chunk in first]
    assert types(client.conversations.messages.stream(thread, otid=item["otid"])) == types(first)
    run_id = first[0].run_id
    assert types(client.conversations.messages.stream(thread, run_id=run_id, starting_after=1)) == types(first)[1:]
    assert len(client.runs.list(agent_id=agent.id).items) == 1
    with pytest.raises(letta_client.BadRequestError, match="No active runs found"):
        client.conversations.messages.stream(thread)


def test_a_busy_conversation_names_its_run(client, agent):
    thread = client.conversations.create(agent_id=agent.id).id
    running = client.conversations.messages.create(thread, messages=user("[[silent:600]] slow"))
    run_id = next(iter(running)).run_id
    with pytest.raises(letta_client.ConflictError) as refused:
        client.conversations.messages.create(thread, messages=user("now"))
    assert refused.value.body["run_id"] == run_id
    assert client.conversations.cancel(thread) == {run_id: "cancelled"}
    assert "stop_reason" in types(running)
    # Two retries of the SDK are enough for a short turn.
    client.conversations.messages.create(thread, messages=user("[[silent:300]] slow"))
    patient = Letta(base_url=URL, api_key="unused", max_retries=2, _strict_response_validation=True)
    assert "assistant_message" in types(patient.conversations.messages.create(thread, messages=user("then")))


def test_chat_completions(client, agent):
    body = {"model": agent.id, "messages": user("hi openai")}
    answer = client.post("/v1/chat/completions", cast_to=object, body=body)
    assert answer["object"] == "chat.completion" and answer["choices"][0]["message"]["content"] == "echo: hi openai"
    assert answer["usage"]["total_tokens"] == 18
    with pytest.raises(letta_client.NotFoundError):
        client.post("/v1/chat/completions", cast_to=object, body={**body, "model": "gpt-4o"})


def test_lists(client, agent):
    assert MODEL in [model.handle for model in client.models.list()]
    assert isinstance(client.models.embeddings.list(), list)
    assert "sdk" in client.get("/v1/tags/", cast_to=object)
    assert {tool.name for tool in client.agents.tools.list(agent.id)} == {"conversation_search", "memory_replace", "memory_insert"}
    assert client.get("/v1/greenroom/tree", cast_to=object)["nodes"][0]["name"] == "root"


def test_what_is_not_built_says_so(client):
    with pytest.raises(letta_client.APIStatusError) as refused:
        client.archives.create(name="x", embedding="openai/text-embedding-3-small")
    assert refused.value.status_code == 501 and "create_archive" in str(refused.value)


def test_a_provider_with_a_key_of_ones_own(client):
    base_url = next(model.api_model_endpoint for model in client.models.list() if model.handle == MODEL)
    made = client.post(
        "/v1/providers/",
        cast_to=object,
        body={"name": f"sdk-{uuid.uuid4()}", "provider_type": "openai", "api_key": "sk-sdk", "base_url": base_url},
    )
    assert made["provider_category"] == "byok" and made["api_key"] is None and made["api_key_enc"] is None
    listed = client.models.list(provider_category=["byok"], provider_name=made["name"])
    assert [(model.handle, model.provider_category) for model in listed] == [(f"{made['name']}/scripted", "byok")]
    agent = client.agents.create(model=f"{made['name']}/scripted")
    assert agent.llm_config.provider_category == "byok"
    assert client.agents.messages.create(agent.id, input="hi").messages[0].content == "echo: hi"
    assert "message" in client.delete(f"/v1/providers/{made['id']}", cast_to=object)
    client.agents.delete(agent.id)
