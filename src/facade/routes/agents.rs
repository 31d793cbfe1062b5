//! Agents: create, list, count, retrieve, modify, delete, reset.

use crate::actors::reads::{AgentView, Relations};
use crate::actors::refused::Refused;
use crate::domain::agent::{AgentChange, AgentFilter, AgentOrder, AgentType};
use crate::domain::clock;
use crate::domain::creation::{self, BadAgent, CreateAgent};
use crate::domain::id::{AgentId, BadId, ToolId};
use crate::domain::message::Part;
use crate::domain::model::{EmbeddingConfig, Handle, LlmConfig};
use crate::domain::page::{Order, Page};
use crate::domain::run::{InputRole, StopReason};
use crate::facade::Facade;
use crate::facade::error::{Answer, ApiError};
use crate::facade::extract::{Body, Caller, OptionalBody, Params, PathId, time};
use crate::facade::misfit::Misfit;
use crate::wire::agent::{self as wire, FirstMessage, ResetMessages, Shown, UpdateAgent};
use crate::wire::model as wire_model;
use axum::extract::State;
use axum::routing::{get, patch};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::str::FromStr;

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/agents", get(list).post(create))
        .route("/agents/count", get(count))
        .route("/_internal_agents/count", get(count_internal))
        .route(
            "/agents/{agent_id}",
            get(retrieve).patch(modify).delete(delete),
        )
        .route("/agents/{agent_id}/reset-messages", patch(reset))
}

impl Shown {
    pub(super) fn relations(self) -> Relations {
        Relations {
            messages: true,
            blocks: self.blocks,
            tools: self.tools,
            pending: self.pending,
        }
    }
}

/// An agent's state as JSON.
pub(super) fn state(view: &AgentView, shown: &Shown) -> Value {
    wire::state(
        &view.agent,
        &view.head,
        &view.message_ids,
        &view.blocks,
        &view.tools,
        view.pending.as_ref(),
        shown,
    )
}

/// The relations that a request asks for: by name, by their old names, or by the client's generation.
pub(super) fn shown(caller: Caller, params: &Params) -> Result<Shown, ApiError> {
    let include = params.all("include");
    let old = params.all("include_relationships");
    if !include.is_empty() {
        return Shown::include(&include).map_err(|name| {
            let loc = ["query", "include"];
            ApiError::from(Misfit::not_one_of(
                &loc,
                "literal_error",
                &Shown::NAMES,
                name,
            ))
        });
    }
    Ok(match (old.is_empty(), caller.v1) {
        (false, _) => Shown::relationships(&old),
        (true, true) => Shown::NOTHING,
        (true, false) => Shown::EVERYTHING,
    })
}

async fn list(State(facade): State<Facade>, caller: Caller, params: Params) -> Answer<Vec<Value>> {
    let shown = shown(caller, &params)?;
    let orders = [
        ("created_at", AgentOrder::CreatedAt),
        ("updated_at", AgentOrder::UpdatedAt),
        ("last_run_completion", AgentOrder::LastRunCompletion),
    ];
    let order_by = params
        .word("order_by", &orders)?
        .unwrap_or(AgentOrder::CreatedAt);
    let page: Page<AgentId> = params.page_in_any_order(50, Order::Descending)?;
    let views = facade
        .handles
        .reads
        .agents(filter(&params)?, order_by, page, shown.relations())
        .await?;
    Ok(Json(views.iter().map(|view| state(view, &shown)).collect()))
}

async fn count(State(facade): State<Facade>, params: Params) -> Answer<u64> {
    Ok(Json(
        facade.handles.reads.count_agents(filter(&params)?).await?,
    ))
}

/// An older way to count, which existing programs use.
async fn count_internal(State(facade): State<Facade>, params: Params) -> Answer<u64> {
    let show_hidden = !params.flag("exclude_hidden")?.unwrap_or(true);
    Ok(Json(
        facade
            .handles
            .reads
            .count_agents(AgentFilter {
                show_hidden,
                ..AgentFilter::default()
            })
            .await?,
    ))
}

fn filter(params: &Params) -> Result<AgentFilter, ApiError> {
    Ok(AgentFilter {
        name: params.text("name"),
        query_text: params.text("query_text"),
        tags: params.all("tags"),
        match_all_tags: params.flag("match_all_tags")?.unwrap_or(false),
        project_id: params.text("project_id"),
        template_id: params.text("template_id"),
        base_template_id: params.text("base_template_id"),
        identity_id: params.id("identity_id")?,
        identifier_keys: params.all("identifier_keys"),
        last_stop_reason: params.named(
            "last_stop_reason",
            StopReason::parse,
            &StopReason::ALL.map(StopReason::name),
        )?,
        created_by: params.id("created_by_id")?,
        show_hidden: params.flag("show_hidden_agents")?.unwrap_or(false),
    })
}

async fn create(
    State(facade): State<Facade>,
    caller: Caller,
    Body(body): Body<wire::CreateAgent>,
) -> Answer<Value> {
    let request = requested(&facade, body).await?;
    let new =
        creation::create(request, &facade.handles.library.tools(), caller.user).map_err(unfit)?;
    let id = new.agent.id;
    facade.handles.library.create_agent(new).await?;
    let view = facade.handles.reads.agent(id, Relations::ALL).await?;
    Ok(Json(state(&view, &Shown::EVERYTHING)))
}

fn unfit(bad: BadAgent) -> ApiError {
    match bad {
        BadAgent::Name(_) => ApiError::invalid(&["body", "name"], "value_error", bad, Value::Null),
        BadAgent::Rule(bad) => ApiError::invalid(
            &["body", "tool_rules", &bad.index.to_string(), bad.field],
            "value_error",
            bad.problem,
            Value::Null,
        ),
        bad if bad.is_invalid() => ApiError::plain_invalid(bad),
        bad => ApiError::argument(bad),
    }
}

/// The body in domain words, its handles resolved.
async fn requested(facade: &Facade, body: wire::CreateAgent) -> Result<CreateAgent, ApiError> {
    no_folders([&body.folder_ids, &body.source_ids])?;
    let llm_config = match body.llm_config {
        Some(config) => named(facade, config.into()).await?,
        None => configured(facade, body.model.as_deref()).await?,
    };
    let embedding_config = embedding(
        facade,
        body.embedding_config,
        body.embedding,
        body.embedding_chunk_size,
    )
    .await?;
    let known_reasoner = llm_config.enable_reasoner;
    Ok(CreateAgent {
        name: body.name,
        agent_type: body.agent_type.unwrap_or(AgentType::LettaV1Agent),
        system: body.system,
        description: body.description,
        metadata: body.metadata.map(Value::Object),
        tags: body.tags.unwrap_or_default(),
        context_window: body.context_window_limit.map(NonZeroU64::get),
        max_tokens: body.max_tokens,
        max_reasoning_tokens: body.max_reasoning_tokens,
        reasoning: body
            .reasoning
            .or(body.enable_reasoner.map(|wanted| wanted && known_reasoner)),
        parallel_tool_calls: body.parallel_tool_calls,
        llm_config,
        embedding_config,
        model_settings: body.model_settings.map(Into::into),
        compaction: body.compaction_settings.map(Into::into),
        response_format: body.response_format.map(Into::into),
        tool_names: body.tools.unwrap_or_default(),
        tool_ids: ids("tool_ids", body.tool_ids.unwrap_or_default())?,
        tool_rules: body
            .tool_rules
            .map(|rules| rules.into_iter().map(Into::into).collect()),
        include_base_tools: body.include_base_tools.unwrap_or(true),
        include_multi_agent_tools: body.include_multi_agent_tools.unwrap_or(false),
        include_base_tool_rules: body.include_base_tool_rules,
        block_ids: ids("block_ids", body.block_ids.unwrap_or_default())?,
        blocks: body
            .memory_blocks
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect(),
        secrets: pairs(body.secrets.or(body.tool_exec_environment_variables)).unwrap_or_default(),
        identities: ids("identity_ids", body.identity_ids.unwrap_or_default())?,
        initial_messages: body
            .initial_message_sequence
            .map(|messages| {
                messages
                    .into_iter()
                    .enumerate()
                    .map(first_message)
                    .collect()
            })
            .transpose()?,
        timezone: body.timezone,
        hidden: body.hidden,
        message_buffer_autoclear: body.message_buffer_autoclear.unwrap_or(false),
        enable_sleeptime: body.enable_sleeptime,
        max_files_open: body.max_files_open,
        per_file_view_window_char_limit: body.per_file_view_window_char_limit,
        project_id: body.project_id,
        template_id: body.template_id,
        base_template_id: body.base_template_id,
    })
}

async fn configured(facade: &Facade, handle: Option<&str>) -> Result<LlmConfig, ApiError> {
    if let Some(malformed) = handle.filter(|handle| Handle::parse(handle).is_none()) {
        return Err(ApiError::argument(format_args!(
            "model: '{malformed}' is not of the form provider/model"
        )));
    }
    match facade.handles.library.configure(handle).await {
        Err(Refused::NoSuchModel(_)) if handle.is_none() => Err(ApiError::argument(
            "give a model: there is no default model",
        )),
        configured => Ok(configured?),
    }
}

/// A configuration given whole; an alias of the default model becomes its real name.
async fn named(facade: &Facade, config: LlmConfig) -> Result<LlmConfig, ApiError> {
    if config.names_default() {
        let named = configured(facade, None).await?;
        return Ok(config.of_model(named));
    }
    Ok(config)
}

/// A configuration given whole, or the one that a handle stands for; an agent may well have none.
async fn embedding(
    facade: &Facade,
    whole: Option<wire_model::EmbeddingConfig>,
    handle: Option<String>,
    chunk_size: Option<u64>,
) -> Result<Option<EmbeddingConfig>, ApiError> {
    let Some(handle) = handle.filter(|_| whole.is_none()) else {
        return Ok(whole.map(Into::into));
    };
    let mut config = facade.handles.library.configure_embedding(&handle).await?;
    config.embedding_chunk_size = chunk_size.or(config.embedding_chunk_size);
    Ok(Some(config))
}

fn no_folders(lists: [&Option<Vec<String>>; 2]) -> Result<(), ApiError> {
    let named = lists.into_iter().flatten().any(|ids| !ids.is_empty());
    if named {
        Err(ApiError::argument("folder_ids: folders are not built yet"))
    } else {
        Ok(())
    }
}

fn ids<T: FromStr<Err = BadId>>(field: &str, texts: Vec<String>) -> Result<Vec<T>, ApiError> {
    let read = |(index, text): (usize, String)| {
        text.parse().map_err(|bad: BadId| {
            ApiError::invalid(
                &["body", field, &index.to_string()],
                "string_pattern_mismatch",
                &bad,
                bad.input.as_str(),
            )
        })
    };
    texts.into_iter().enumerate().map(read).collect()
}

fn pairs(map: Option<BTreeMap<String, String>>) -> Option<Vec<(String, String)>> {
    map.map(|map| map.into_iter().collect())
}

fn first_message((index, message): (usize, FirstMessage)) -> Result<(InputRole, String), ApiError> {
    let role = match message.role.as_str() {
        "user" => InputRole::User,
        "system" => InputRole::System,
        "assistant" => InputRole::Assistant,
        other => {
            return Err(ApiError::argument(format_args!(
                "initial_message_sequence.{index}: role '{other}' is not user, system or assistant"
            )));
        }
    };
    let parts = message.content.into_domain().map_err(ApiError::argument)?;
    let texts: Option<Vec<&str>> = parts.iter().map(Part::text).collect();
    let texts = texts.ok_or_else(|| {
        ApiError::argument(format_args!(
            "initial_message_sequence.{index}: only text can stand here"
        ))
    })?;
    Ok((role, texts.join("\n")))
}

async fn retrieve(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(id): PathId<AgentId>,
    params: Params,
) -> Answer<Value> {
    let shown = shown(caller, &params)?;
    let view = facade.handles.reads.agent(id, shown.relations()).await?;
    Ok(Json(state(&view, &shown)))
}

async fn modify(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(id): PathId<AgentId>,
    Body(body): Body<UpdateAgent>,
) -> Answer<Value> {
    let agent = facade.handles.directory.agent(id).await?;
    agent
        .modify(change(&facade, body).await?, caller.user)
        .await?;
    let view = facade.handles.reads.agent(id, Relations::ALL).await?;
    Ok(Json(state(&view, &Shown::EVERYTHING)))
}

/// The body in domain words, its handles resolved.
async fn change(facade: &Facade, body: UpdateAgent) -> Result<AgentChange, ApiError> {
    creation::check_scalars(
        body.name.as_deref(),
        body.timezone.as_deref(),
        body.max_files_open,
        body.per_file_view_window_char_limit,
    )
    .map_err(unfit)?;
    no_folders([&body.folder_ids, &body.source_ids])?;
    let llm_config = match (body.llm_config, &body.model) {
        (Some(config), _) => Some(named(facade, config.into()).await?),
        (None, Some(handle)) => Some(configured(facade, Some(handle)).await?),
        (None, None) => None,
    };
    let embedding_config = embedding(facade, body.embedding_config, body.embedding, None).await?;
    let tools: Option<Vec<ToolId>> = body
        .tool_ids
        .map(|texts| ids("tool_ids", texts))
        .transpose()?;
    let known = facade.handles.library.tools();
    if let Some(unknown) = tools
        .iter()
        .flatten()
        .find(|id| known.iter().all(|tool| tool.id != **id))
    {
        return Err(unfit(BadAgent::UnknownToolId(*unknown)));
    }
    let completion = body.last_run_completion.map(|text| {
        time(&text).ok_or_else(|| {
            ApiError::invalid(
                &["body", "last_run_completion"],
                "datetime_parsing",
                "Input should be a valid datetime",
                text,
            )
        })
    });
    Ok(AgentChange {
        name: body.name,
        system: body.system,
        description: body.description,
        metadata: body.metadata.map(Value::Object),
        tags: body.tags,
        llm_config,
        context_window: body.context_window_limit.map(NonZeroU64::get),
        max_tokens: body.max_tokens,
        parallel_tool_calls: body.parallel_tool_calls,
        reasoning: body.reasoning,
        model_settings: body.model_settings.map(Into::into),
        embedding_config,
        compaction: body.compaction_settings.map(Into::into),
        response_format: body.response_format.map(Into::into),
        tool_rules: body
            .tool_rules
            .map(|rules| creation::new_rules(rules.into_iter().map(Into::into).collect()))
            .transpose()
            .map_err(unfit)?,
        tools,
        blocks: body
            .block_ids
            .map(|texts| ids("block_ids", texts))
            .transpose()?,
        secrets: pairs(body.secrets.or(body.tool_exec_environment_variables)),
        identities: body
            .identity_ids
            .map(|texts| ids("identity_ids", texts))
            .transpose()?,
        message_ids: body
            .message_ids
            .map(|texts| ids("message_ids", texts))
            .transpose()?,
        timezone: body.timezone,
        hidden: body.hidden,
        message_buffer_autoclear: body.message_buffer_autoclear,
        enable_sleeptime: body.enable_sleeptime,
        max_files_open: body.max_files_open,
        per_file_view_window_char_limit: body.per_file_view_window_char_limit,
        project_id: body.project_id,
        template_id: body.template_id,
        base_template_id: body.base_template_id,
        last_run_completion: completion.transpose()?,
        last_run_duration_ms: body.last_run_duration_ms,
        last_stop_reason: body.last_stop_reason,
    })
}

async fn delete(State(facade): State<Facade>, PathId(id): PathId<AgentId>) -> Answer<Value> {
    facade.handles.directory.agent(id).await?.delete().await?;
    Ok(Json(json!({"message": format!("{id} was deleted")})))
}

/// Empties the context. Clients of the 1.x generation get null, older ones the agent.
async fn reset(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(id): PathId<AgentId>,
    OptionalBody(body): OptionalBody<ResetMessages>,
) -> Answer<Value> {
    let body = body.ok_or_else(|| Misfit::missing(&["body"], Value::Null))?;
    let view = facade.handles.reads.agent(id, Relations::default()).await?;
    let first = if body.add_default_initial_messages == Some(true) {
        creation::boot_sequence(&view.agent, clock::now())
    } else {
        Vec::new()
    };
    facade
        .handles
        .directory
        .agent(id)
        .await?
        .reset(first)
        .await?;
    if caller.v1 {
        return Ok(Json(Value::Null));
    }
    let view = facade.handles.reads.agent(id, Relations::ALL).await?;
    Ok(Json(state(&view, &Shown::EVERYTHING)))
}

#[cfg(test)]
mod tests;
