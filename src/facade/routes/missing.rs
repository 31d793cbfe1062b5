//! Operations of the contract that are not built yet: they answer 501 and name themselves.

use crate::facade::Facade;
use crate::facade::error::ApiError;
use axum::Router;
use axum::http::Method;
use axum::routing::{MethodFilter, on};

/// Method, path, operation.
pub(super) const MISSING: [(Method, &str, &str); 162] = [
    (
        Method::POST,
        "/_internal_search/cache-warm",
        "warm_internal_search_cache",
    ),
    (Method::POST, "/agents/import", "import_agent"),
    (Method::POST, "/agents/messages/search", "search_messages"),
    (
        Method::GET,
        "/agents/{agent_id}/archival-memory",
        "list_passages",
    ),
    (
        Method::POST,
        "/agents/{agent_id}/archival-memory",
        "create_passage",
    ),
    (
        Method::GET,
        "/agents/{agent_id}/archival-memory/search",
        "search_archival_memory",
    ),
    (
        Method::DELETE,
        "/agents/{agent_id}/archival-memory/{memory_id}",
        "delete_passage",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/archives/attach/{archive_id}",
        "attach_archive_to_agent",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/archives/detach/{archive_id}",
        "detach_archive_from_agent",
    ),
    (
        Method::GET,
        "/agents/{agent_id}/context",
        "retrieve_agent_context_window",
    ),
    (Method::GET, "/agents/{agent_id}/export", "export_agent"),
    (
        Method::POST,
        "/agents/{agent_id}/export",
        "export_agent_with_skills",
    ),
    (
        Method::GET,
        "/agents/{agent_id}/files",
        "list_files_for_agent",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/files/close-all",
        "close_all_files_for_agent",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/files/{file_id}/close",
        "close_file_for_agent",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/files/{file_id}/open",
        "open_file_for_agent",
    ),
    (
        Method::GET,
        "/agents/{agent_id}/folders",
        "list_folders_for_agent",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/folders/attach/{folder_id}",
        "attach_folder_to_agent",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/folders/detach/{folder_id}",
        "detach_folder_from_agent",
    ),
    (
        Method::POST,
        "/agents/{agent_id}/generate",
        "generate_completion",
    ),
    (
        Method::GET,
        "/agents/{agent_id}/groups",
        "list_groups_for_agent",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/identities/attach/{identity_id}",
        "attach_identity_to_agent",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/identities/detach/{identity_id}",
        "detach_identity_from_agent",
    ),
    (
        Method::POST,
        "/agents/{agent_id}/messages/capture",
        "capture_messages",
    ),
    (
        Method::POST,
        "/agents/{agent_id}/messages/preview-raw-payload",
        "preview_model_request",
    ),
    (
        Method::POST,
        "/agents/{agent_id}/recompile",
        "recompile_agent",
    ),
    (
        Method::GET,
        "/agents/{agent_id}/sources",
        "list_agent_sources",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/sources/attach/{source_id}",
        "attach_source_to_agent",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/sources/detach/{source_id}",
        "detach_source_from_agent",
    ),
    (
        Method::POST,
        "/agents/{agent_id}/summarize",
        "summarize_messages",
    ),
    (
        Method::POST,
        "/agents/{agent_id}/system-prompt/recompile",
        "recompile_agent_system_prompt",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/tools/approval/{tool_name}",
        "modify_approval_for_tool",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/tools/attach/{tool_id}",
        "attach_tool_to_agent",
    ),
    (
        Method::PATCH,
        "/agents/{agent_id}/tools/detach/{tool_id}",
        "detach_tool_from_agent",
    ),
    (
        Method::POST,
        "/agents/{agent_id}/tools/{tool_name}/run",
        "run_tool_for_agent",
    ),
    (Method::GET, "/archives", "list_archives"),
    (Method::POST, "/archives", "create_archive"),
    (Method::DELETE, "/archives/{archive_id}", "delete_archive"),
    (Method::GET, "/archives/{archive_id}", "retrieve_archive"),
    (Method::PATCH, "/archives/{archive_id}", "modify_archive"),
    (
        Method::GET,
        "/archives/{archive_id}/agents",
        "list_agents_for_archive",
    ),
    (
        Method::POST,
        "/archives/{archive_id}/passages",
        "create_passage_in_archive",
    ),
    (
        Method::POST,
        "/archives/{archive_id}/passages/batch",
        "create_passages_in_archive",
    ),
    (
        Method::DELETE,
        "/archives/{archive_id}/passages/{passage_id}",
        "delete_passage_from_archive",
    ),
    (
        Method::PATCH,
        "/blocks/{block_id}/identities/attach/{identity_id}",
        "attach_identity_to_block",
    ),
    (
        Method::PATCH,
        "/blocks/{block_id}/identities/detach/{identity_id}",
        "detach_identity_from_block",
    ),
    (Method::POST, "/chat/completions", "create_chat_completion"),
    (Method::GET, "/conversations", "list_conversations"),
    (Method::POST, "/conversations", "create_conversation"),
    (
        Method::DELETE,
        "/conversations/{conversation_id}",
        "delete_conversation",
    ),
    (
        Method::GET,
        "/conversations/{conversation_id}",
        "retrieve_conversation",
    ),
    (
        Method::PATCH,
        "/conversations/{conversation_id}",
        "update_conversation",
    ),
    (
        Method::POST,
        "/conversations/{conversation_id}/cancel",
        "cancel_conversation",
    ),
    (
        Method::POST,
        "/conversations/{conversation_id}/compact",
        "compact_conversation",
    ),
    (
        Method::POST,
        "/conversations/{conversation_id}/fork",
        "fork_conversation",
    ),
    (
        Method::GET,
        "/conversations/{conversation_id}/messages",
        "list_conversation_messages",
    ),
    (
        Method::POST,
        "/conversations/{conversation_id}/messages",
        "send_conversation_message",
    ),
    (
        Method::POST,
        "/conversations/{conversation_id}/messages/preview-raw-payload",
        "preview_conversation_model_request",
    ),
    (
        Method::POST,
        "/conversations/{conversation_id}/recompile",
        "recompile_conversation",
    ),
    (
        Method::POST,
        "/conversations/{conversation_id}/stream",
        "retrieve_conversation_stream",
    ),
    (
        Method::GET,
        "/embeddings/total_storage_size",
        "get_total_storage_size",
    ),
    (Method::GET, "/folders", "list_folders"),
    (Method::POST, "/folders", "create_folder"),
    (Method::GET, "/folders/count", "count_folders"),
    (Method::GET, "/folders/metadata", "retrieve_metadata"),
    (
        Method::GET,
        "/folders/name/{folder_name}",
        "get_folder_by_name",
    ),
    (Method::DELETE, "/folders/{folder_id}", "delete_folder"),
    (Method::GET, "/folders/{folder_id}", "retrieve_folder"),
    (Method::PATCH, "/folders/{folder_id}", "modify_folder"),
    (
        Method::GET,
        "/folders/{folder_id}/agents",
        "list_agents_for_folder",
    ),
    (
        Method::GET,
        "/folders/{folder_id}/files",
        "list_files_for_folder",
    ),
    (
        Method::GET,
        "/folders/{folder_id}/files/{file_id}",
        "retrieve_file",
    ),
    (
        Method::GET,
        "/folders/{folder_id}/passages",
        "list_folder_passages",
    ),
    (
        Method::POST,
        "/folders/{folder_id}/upload",
        "upload_file_to_folder",
    ),
    (
        Method::DELETE,
        "/folders/{folder_id}/{file_id}",
        "delete_file_from_folder",
    ),
    (Method::GET, "/groups", "list_groups"),
    (Method::POST, "/groups", "create_group"),
    (Method::GET, "/groups/count", "count_groups"),
    (Method::DELETE, "/groups/{group_id}", "delete_group"),
    (Method::GET, "/groups/{group_id}", "retrieve_group"),
    (Method::PATCH, "/groups/{group_id}", "modify_group"),
    (
        Method::PATCH,
        "/groups/{group_id}/blocks/attach/{block_id}",
        "attach_block_to_group",
    ),
    (
        Method::PATCH,
        "/groups/{group_id}/blocks/detach/{block_id}",
        "detach_block_from_group",
    ),
    (
        Method::GET,
        "/groups/{group_id}/messages",
        "list_group_messages",
    ),
    (
        Method::PATCH,
        "/groups/{group_id}/messages/{message_id}",
        "modify_group_message",
    ),
    (
        Method::PATCH,
        "/groups/{group_id}/reset-messages",
        "reset_group_messages",
    ),
    (Method::GET, "/identities", "list_identities"),
    (Method::POST, "/identities", "create_identity"),
    (Method::PUT, "/identities", "upsert_identity"),
    (Method::GET, "/identities/count", "count_identities"),
    (
        Method::DELETE,
        "/identities/{identity_id}",
        "delete_identity",
    ),
    (
        Method::GET,
        "/identities/{identity_id}",
        "retrieve_identity",
    ),
    (
        Method::PATCH,
        "/identities/{identity_id}",
        "update_identity",
    ),
    (
        Method::GET,
        "/identities/{identity_id}/agents",
        "list_agents_for_identity",
    ),
    (
        Method::GET,
        "/identities/{identity_id}/blocks",
        "list_blocks_for_identity",
    ),
    (
        Method::PUT,
        "/identities/{identity_id}/properties",
        "upsert_properties_for_identity",
    ),
    (Method::GET, "/jobs", "list_jobs"),
    (Method::GET, "/jobs/active", "list_active_jobs"),
    (Method::DELETE, "/jobs/{job_id}", "delete_job"),
    (Method::GET, "/jobs/{job_id}", "retrieve_job"),
    (Method::PATCH, "/jobs/{job_id}/cancel", "cancel_job"),
    (Method::GET, "/mcp-servers", "mcp_list_mcp_servers"),
    (Method::POST, "/mcp-servers", "mcp_create_mcp_server"),
    (
        Method::GET,
        "/mcp-servers/connect/{mcp_server_id}",
        "mcp_connect_mcp_server",
    ),
    (
        Method::DELETE,
        "/mcp-servers/{mcp_server_id}",
        "mcp_delete_mcp_server",
    ),
    (
        Method::GET,
        "/mcp-servers/{mcp_server_id}",
        "mcp_retrieve_mcp_server",
    ),
    (
        Method::PATCH,
        "/mcp-servers/{mcp_server_id}",
        "mcp_update_mcp_server",
    ),
    (
        Method::PATCH,
        "/mcp-servers/{mcp_server_id}/refresh",
        "mcp_refresh_mcp_server_tools",
    ),
    (
        Method::GET,
        "/mcp-servers/{mcp_server_id}/tools",
        "mcp_list_tools_for_mcp_server",
    ),
    (
        Method::GET,
        "/mcp-servers/{mcp_server_id}/tools/{tool_id}",
        "mcp_retrieve_mcp_tool",
    ),
    (
        Method::POST,
        "/mcp-servers/{mcp_server_id}/tools/{tool_id}/run",
        "mcp_run_tool",
    ),
    (Method::GET, "/messages", "list_all_messages"),
    (Method::GET, "/messages/batches", "list_batches"),
    (Method::POST, "/messages/batches", "create_batch"),
    (
        Method::GET,
        "/messages/batches/{batch_id}",
        "retrieve_batch",
    ),
    (
        Method::PATCH,
        "/messages/batches/{batch_id}/cancel",
        "cancel_batch",
    ),
    (
        Method::GET,
        "/messages/batches/{batch_id}/messages",
        "list_messages_for_batch",
    ),
    (Method::POST, "/messages/search", "search_all_messages"),
    (Method::GET, "/messages/{message_id}", "retrieve_message"),
    (Method::POST, "/passages/search", "search_passages"),
    (Method::GET, "/providers", "list_providers"),
    (Method::POST, "/providers", "create_provider"),
    (Method::POST, "/providers/check", "check_provider"),
    (
        Method::DELETE,
        "/providers/{provider_id}",
        "delete_provider",
    ),
    (Method::GET, "/providers/{provider_id}", "retrieve_provider"),
    (Method::PATCH, "/providers/{provider_id}", "modify_provider"),
    (
        Method::POST,
        "/providers/{provider_id}/check",
        "check_existing_provider",
    ),
    (
        Method::PATCH,
        "/providers/{provider_id}/refresh",
        "refresh_provider_models",
    ),
    (Method::GET, "/sources", "list_sources"),
    (Method::POST, "/sources", "create_source"),
    (Method::GET, "/sources/count", "count_sources"),
    (Method::GET, "/sources/metadata", "get_sources_metadata"),
    (
        Method::GET,
        "/sources/name/{source_name}",
        "get_source_id_by_name",
    ),
    (Method::DELETE, "/sources/{source_id}", "delete_source"),
    (Method::GET, "/sources/{source_id}", "retrieve_source"),
    (Method::PATCH, "/sources/{source_id}", "modify_source"),
    (
        Method::GET,
        "/sources/{source_id}/agents",
        "get_agents_for_source",
    ),
    (
        Method::GET,
        "/sources/{source_id}/files",
        "list_source_files",
    ),
    (
        Method::GET,
        "/sources/{source_id}/files/{file_id}",
        "get_file_metadata",
    ),
    (
        Method::GET,
        "/sources/{source_id}/passages",
        "list_source_passages",
    ),
    (
        Method::POST,
        "/sources/{source_id}/upload",
        "upload_file_to_source",
    ),
    (
        Method::DELETE,
        "/sources/{source_id}/{file_id}",
        "delete_file_from_source",
    ),
    (
        Method::GET,
        "/telemetry/{step_id}",
        "retrieve_provider_trace",
    ),
    (Method::POST, "/tools", "create_tool"),
    (Method::PUT, "/tools", "upsert_tool"),
    (Method::POST, "/tools/add-base-tools", "add_base_tools"),
    (
        Method::GET,
        "/tools/mcp/oauth/callback",
        "mcp_oauth_callback",
    ),
    (Method::GET, "/tools/mcp/servers", "list_mcp_servers"),
    (Method::PUT, "/tools/mcp/servers", "add_mcp_server"),
    (
        Method::POST,
        "/tools/mcp/servers/connect",
        "connect_mcp_server",
    ),
    (Method::POST, "/tools/mcp/servers/test", "test_mcp_server"),
    (
        Method::DELETE,
        "/tools/mcp/servers/{mcp_server_name}",
        "delete_mcp_server",
    ),
    (
        Method::PATCH,
        "/tools/mcp/servers/{mcp_server_name}",
        "update_mcp_server",
    ),
    (
        Method::POST,
        "/tools/mcp/servers/{mcp_server_name}/resync",
        "resync_mcp_server_tools",
    ),
    (
        Method::GET,
        "/tools/mcp/servers/{mcp_server_name}/tools",
        "list_mcp_tools_by_server",
    ),
    (
        Method::POST,
        "/tools/mcp/servers/{mcp_server_name}/tools/{tool_name}/execute",
        "execute_mcp_tool",
    ),
    (
        Method::POST,
        "/tools/mcp/servers/{mcp_server_name}/{mcp_tool_name}",
        "add_mcp_tool",
    ),
    (Method::POST, "/tools/run", "run_tool_from_source"),
    (Method::POST, "/tools/search", "search_tools"),
    (Method::DELETE, "/tools/{tool_id}", "delete_tool"),
    (Method::PATCH, "/tools/{tool_id}", "modify_tool"),
    (
        Method::POST,
        "/voice-beta/{agent_id}/chat/completions",
        "create_voice_chat_completions",
    ),
];

pub(super) fn routes() -> Router<Facade> {
    MISSING
        .into_iter()
        .fold(Router::new(), |router, (method, path, operation)| {
            let Ok(filter) = MethodFilter::try_from(method) else {
                return router;
            };
            router.route(
                path,
                on(filter, move || async move { ApiError::missing(operation) }),
            )
        })
}
