//! Operations of the contract that are not built yet: they answer 501 and name themselves.

use crate::facade::Facade;
use crate::facade::error::ApiError;
use axum::Router;
use axum::routing::{MethodFilter, on};

/// Method, path, operation.
const MISSING: [(MethodFilter, &str, &str); 121] = [
    (
        MethodFilter::POST,
        "/_internal_search/cache-warm",
        "warm_internal_search_cache",
    ),
    (MethodFilter::POST, "/agents/import", "import_agent"),
    (
        MethodFilter::POST,
        "/agents/messages/search",
        "search_messages",
    ),
    (
        MethodFilter::GET,
        "/agents/{agent_id}/archival-memory",
        "list_passages",
    ),
    (
        MethodFilter::POST,
        "/agents/{agent_id}/archival-memory",
        "create_passage",
    ),
    (
        MethodFilter::GET,
        "/agents/{agent_id}/archival-memory/search",
        "search_archival_memory",
    ),
    (
        MethodFilter::DELETE,
        "/agents/{agent_id}/archival-memory/{memory_id}",
        "delete_passage",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/archives/attach/{archive_id}",
        "attach_archive_to_agent",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/archives/detach/{archive_id}",
        "detach_archive_from_agent",
    ),
    (
        MethodFilter::GET,
        "/agents/{agent_id}/export",
        "export_agent",
    ),
    (
        MethodFilter::POST,
        "/agents/{agent_id}/export",
        "export_agent_with_skills",
    ),
    (
        MethodFilter::GET,
        "/agents/{agent_id}/files",
        "list_files_for_agent",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/files/close-all",
        "close_all_files_for_agent",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/files/{file_id}/close",
        "close_file_for_agent",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/files/{file_id}/open",
        "open_file_for_agent",
    ),
    (
        MethodFilter::GET,
        "/agents/{agent_id}/folders",
        "list_folders_for_agent",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/folders/attach/{folder_id}",
        "attach_folder_to_agent",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/folders/detach/{folder_id}",
        "detach_folder_from_agent",
    ),
    (
        MethodFilter::GET,
        "/agents/{agent_id}/groups",
        "list_groups_for_agent",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/identities/attach/{identity_id}",
        "attach_identity_to_agent",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/identities/detach/{identity_id}",
        "detach_identity_from_agent",
    ),
    (
        MethodFilter::GET,
        "/agents/{agent_id}/sources",
        "list_agent_sources",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/sources/attach/{source_id}",
        "attach_source_to_agent",
    ),
    (
        MethodFilter::PATCH,
        "/agents/{agent_id}/sources/detach/{source_id}",
        "detach_source_from_agent",
    ),
    (MethodFilter::GET, "/archives", "list_archives"),
    (MethodFilter::POST, "/archives", "create_archive"),
    (
        MethodFilter::DELETE,
        "/archives/{archive_id}",
        "delete_archive",
    ),
    (
        MethodFilter::GET,
        "/archives/{archive_id}",
        "retrieve_archive",
    ),
    (
        MethodFilter::PATCH,
        "/archives/{archive_id}",
        "modify_archive",
    ),
    (
        MethodFilter::GET,
        "/archives/{archive_id}/agents",
        "list_agents_for_archive",
    ),
    (
        MethodFilter::POST,
        "/archives/{archive_id}/passages",
        "create_passage_in_archive",
    ),
    (
        MethodFilter::POST,
        "/archives/{archive_id}/passages/batch",
        "create_passages_in_archive",
    ),
    (
        MethodFilter::DELETE,
        "/archives/{archive_id}/passages/{passage_id}",
        "delete_passage_from_archive",
    ),
    (
        MethodFilter::PATCH,
        "/blocks/{block_id}/identities/attach/{identity_id}",
        "attach_identity_to_block",
    ),
    (
        MethodFilter::PATCH,
        "/blocks/{block_id}/identities/detach/{identity_id}",
        "detach_identity_from_block",
    ),
    (
        MethodFilter::GET,
        "/embeddings/total_storage_size",
        "get_total_storage_size",
    ),
    (MethodFilter::GET, "/folders", "list_folders"),
    (MethodFilter::POST, "/folders", "create_folder"),
    (MethodFilter::GET, "/folders/count", "count_folders"),
    (MethodFilter::GET, "/folders/metadata", "retrieve_metadata"),
    (
        MethodFilter::GET,
        "/folders/name/{folder_name}",
        "get_folder_by_name",
    ),
    (
        MethodFilter::DELETE,
        "/folders/{folder_id}",
        "delete_folder",
    ),
    (MethodFilter::GET, "/folders/{folder_id}", "retrieve_folder"),
    (MethodFilter::PATCH, "/folders/{folder_id}", "modify_folder"),
    (
        MethodFilter::GET,
        "/folders/{folder_id}/agents",
        "list_agents_for_folder",
    ),
    (
        MethodFilter::GET,
        "/folders/{folder_id}/files",
        "list_files_for_folder",
    ),
    (
        MethodFilter::GET,
        "/folders/{folder_id}/files/{file_id}",
        "retrieve_file",
    ),
    (
        MethodFilter::GET,
        "/folders/{folder_id}/passages",
        "list_folder_passages",
    ),
    (
        MethodFilter::POST,
        "/folders/{folder_id}/upload",
        "upload_file_to_folder",
    ),
    (
        MethodFilter::DELETE,
        "/folders/{folder_id}/{file_id}",
        "delete_file_from_folder",
    ),
    (MethodFilter::GET, "/groups", "list_groups"),
    (MethodFilter::POST, "/groups", "create_group"),
    (MethodFilter::GET, "/groups/count", "count_groups"),
    (MethodFilter::DELETE, "/groups/{group_id}", "delete_group"),
    (MethodFilter::GET, "/groups/{group_id}", "retrieve_group"),
    (MethodFilter::PATCH, "/groups/{group_id}", "modify_group"),
    (
        MethodFilter::PATCH,
        "/groups/{group_id}/blocks/attach/{block_id}",
        "attach_block_to_group",
    ),
    (
        MethodFilter::PATCH,
        "/groups/{group_id}/blocks/detach/{block_id}",
        "detach_block_from_group",
    ),
    (
        MethodFilter::GET,
        "/groups/{group_id}/messages",
        "list_group_messages",
    ),
    (
        MethodFilter::PATCH,
        "/groups/{group_id}/messages/{message_id}",
        "modify_group_message",
    ),
    (
        MethodFilter::PATCH,
        "/groups/{group_id}/reset-messages",
        "reset_group_messages",
    ),
    (MethodFilter::GET, "/identities", "list_identities"),
    (MethodFilter::POST, "/identities", "create_identity"),
    (MethodFilter::PUT, "/identities", "upsert_identity"),
    (MethodFilter::GET, "/identities/count", "count_identities"),
    (
        MethodFilter::DELETE,
        "/identities/{identity_id}",
        "delete_identity",
    ),
    (
        MethodFilter::GET,
        "/identities/{identity_id}",
        "retrieve_identity",
    ),
    (
        MethodFilter::PATCH,
        "/identities/{identity_id}",
        "update_identity",
    ),
    (
        MethodFilter::GET,
        "/identities/{identity_id}/agents",
        "list_agents_for_identity",
    ),
    (
        MethodFilter::GET,
        "/identities/{identity_id}/blocks",
        "list_blocks_for_identity",
    ),
    (
        MethodFilter::PUT,
        "/identities/{identity_id}/properties",
        "upsert_properties_for_identity",
    ),
    (MethodFilter::GET, "/jobs", "list_jobs"),
    (MethodFilter::GET, "/jobs/active", "list_active_jobs"),
    (MethodFilter::DELETE, "/jobs/{job_id}", "delete_job"),
    (MethodFilter::GET, "/jobs/{job_id}", "retrieve_job"),
    (MethodFilter::PATCH, "/jobs/{job_id}/cancel", "cancel_job"),
    (MethodFilter::GET, "/mcp-servers", "mcp_list_mcp_servers"),
    (MethodFilter::POST, "/mcp-servers", "mcp_create_mcp_server"),
    (
        MethodFilter::GET,
        "/mcp-servers/connect/{mcp_server_id}",
        "mcp_connect_mcp_server",
    ),
    (
        MethodFilter::DELETE,
        "/mcp-servers/{mcp_server_id}",
        "mcp_delete_mcp_server",
    ),
    (
        MethodFilter::GET,
        "/mcp-servers/{mcp_server_id}",
        "mcp_retrieve_mcp_server",
    ),
    (
        MethodFilter::PATCH,
        "/mcp-servers/{mcp_server_id}",
        "mcp_update_mcp_server",
    ),
    (
        MethodFilter::PATCH,
        "/mcp-servers/{mcp_server_id}/refresh",
        "mcp_refresh_mcp_server_tools",
    ),
    (
        MethodFilter::GET,
        "/mcp-servers/{mcp_server_id}/tools",
        "mcp_list_tools_for_mcp_server",
    ),
    (
        MethodFilter::GET,
        "/mcp-servers/{mcp_server_id}/tools/{tool_id}",
        "mcp_retrieve_mcp_tool",
    ),
    (
        MethodFilter::POST,
        "/mcp-servers/{mcp_server_id}/tools/{tool_id}/run",
        "mcp_run_tool",
    ),
    (MethodFilter::GET, "/messages", "list_all_messages"),
    (MethodFilter::GET, "/messages/batches", "list_batches"),
    (MethodFilter::POST, "/messages/batches", "create_batch"),
    (
        MethodFilter::GET,
        "/messages/batches/{batch_id}",
        "retrieve_batch",
    ),
    (
        MethodFilter::PATCH,
        "/messages/batches/{batch_id}/cancel",
        "cancel_batch",
    ),
    (
        MethodFilter::GET,
        "/messages/batches/{batch_id}/messages",
        "list_messages_for_batch",
    ),
    (
        MethodFilter::POST,
        "/messages/search",
        "search_all_messages",
    ),
    (
        MethodFilter::GET,
        "/messages/{message_id}",
        "retrieve_message",
    ),
    (MethodFilter::POST, "/passages/search", "search_passages"),
    (MethodFilter::GET, "/sources", "list_sources"),
    (MethodFilter::POST, "/sources", "create_source"),
    (MethodFilter::GET, "/sources/count", "count_sources"),
    (
        MethodFilter::GET,
        "/sources/metadata",
        "get_sources_metadata",
    ),
    (
        MethodFilter::GET,
        "/sources/name/{source_name}",
        "get_source_id_by_name",
    ),
    (
        MethodFilter::DELETE,
        "/sources/{source_id}",
        "delete_source",
    ),
    (MethodFilter::GET, "/sources/{source_id}", "retrieve_source"),
    (MethodFilter::PATCH, "/sources/{source_id}", "modify_source"),
    (
        MethodFilter::GET,
        "/sources/{source_id}/agents",
        "get_agents_for_source",
    ),
    (
        MethodFilter::GET,
        "/sources/{source_id}/files",
        "list_source_files",
    ),
    (
        MethodFilter::GET,
        "/sources/{source_id}/files/{file_id}",
        "get_file_metadata",
    ),
    (
        MethodFilter::GET,
        "/sources/{source_id}/passages",
        "list_source_passages",
    ),
    (
        MethodFilter::POST,
        "/sources/{source_id}/upload",
        "upload_file_to_source",
    ),
    (
        MethodFilter::DELETE,
        "/sources/{source_id}/{file_id}",
        "delete_file_from_source",
    ),
    (
        MethodFilter::GET,
        "/telemetry/{step_id}",
        "retrieve_provider_trace",
    ),
    (
        MethodFilter::GET,
        "/tools/mcp/oauth/callback",
        "mcp_oauth_callback",
    ),
    (MethodFilter::GET, "/tools/mcp/servers", "list_mcp_servers"),
    (MethodFilter::PUT, "/tools/mcp/servers", "add_mcp_server"),
    (
        MethodFilter::POST,
        "/tools/mcp/servers/connect",
        "connect_mcp_server",
    ),
    (
        MethodFilter::POST,
        "/tools/mcp/servers/test",
        "test_mcp_server",
    ),
    (
        MethodFilter::DELETE,
        "/tools/mcp/servers/{mcp_server_name}",
        "delete_mcp_server",
    ),
    (
        MethodFilter::PATCH,
        "/tools/mcp/servers/{mcp_server_name}",
        "update_mcp_server",
    ),
    (
        MethodFilter::POST,
        "/tools/mcp/servers/{mcp_server_name}/resync",
        "resync_mcp_server_tools",
    ),
    (
        MethodFilter::GET,
        "/tools/mcp/servers/{mcp_server_name}/tools",
        "list_mcp_tools_by_server",
    ),
    (
        MethodFilter::POST,
        "/tools/mcp/servers/{mcp_server_name}/tools/{tool_name}/execute",
        "execute_mcp_tool",
    ),
    (
        MethodFilter::POST,
        "/tools/mcp/servers/{mcp_server_name}/{mcp_tool_name}",
        "add_mcp_tool",
    ),
];

pub(super) fn routes() -> Router<Facade> {
    MISSING
        .into_iter()
        .fold(Router::new(), |router, (method, path, operation)| {
            router.route(
                path,
                on(method, move || async move { ApiError::missing(operation) }),
            )
        })
}

#[cfg(test)]
mod tests;
