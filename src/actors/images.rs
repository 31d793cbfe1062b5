//! Images that a request names by their address: fetched before it is accepted, so that what is stored is the image and
//! no later turn depends on somebody else's server (agent-loop §2). Not an actor: the request itself waits.

use super::house::House;
use super::refused::Refused;
use crate::domain::message::{Approval, Image, Part, ToolOutput};
use crate::domain::run::RunRequest;
use crate::egress::{EgressError, Fetched};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::try_join_all;
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use uuid::Uuid;

/// For one try at one image.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before the second and last try, after one that took too long.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of one image: its text in a record stays below what a record holds.
const MOST_BYTES: usize = 10 << 20;
/// Images by address in one request.
const MOST_IMAGES: usize = 32;

/// Fetches images.
#[derive(Clone)]
pub struct Images {
    house: Arc<House>,
}

impl Images {
    pub(crate) fn new(house: Arc<House>) -> Self {
        Self { house }
    }

    /// Puts the images themselves in the place of their addresses.
    ///
    /// # Errors
    /// `Argument`: one of them cannot be had, is no image, or there are too many.
    pub async fn resolve(&self, request: &mut RunRequest) -> Result<(), Refused> {
        let mut named: Vec<&mut Image> = Vec::new();
        for input in &mut request.inputs {
            named.extend(by_address(&mut input.content));
        }
        for answer in request
            .answer
            .iter_mut()
            .flat_map(|answer| &mut answer.approvals)
        {
            if let Approval::Return(end) = answer
                && let ToolOutput::Parts(parts) = &mut end.output
            {
                named.extend(by_address(parts));
            }
        }
        if named.len() > MOST_IMAGES {
            let count = named.len();
            return Err(Refused::Argument(format!(
                "a request may name {MOST_IMAGES} images by their address, this one names {count}"
            )));
        }
        try_join_all(named.into_iter().map(|image| self.fetch(image))).await?;
        Ok(())
    }

    async fn fetch(&self, image: &mut Image) -> Result<(), Refused> {
        let Image::Url { url } = image else {
            return Ok(());
        };
        let refused = |reason: String| {
            Refused::Argument(format!("the image at '{url}' cannot be used: {reason}"))
        };
        let address: Url = url
            .parse()
            .map_err(|error: url::ParseError| refused(error.to_string()))?;
        let egress = &self.house.egress;
        let fetched = match egress.fetch(&address, PATIENCE, MOST_BYTES).await {
            Err(EgressError::TimedOut) => {
                tokio::time::sleep(PAUSE).await;
                egress.fetch(&address, PATIENCE, MOST_BYTES).await
            }
            fetched => fetched,
        };
        let fetched = fetched.map_err(|error| refused(error.to_string()))?;
        let media_type =
            media_type(&fetched).ok_or_else(|| refused("it is no image".to_owned()))?;
        *image = Image::Stored {
            file_id: Some(format!("file-{}", Uuid::new_v4())),
            media_type: Some(media_type),
            data: Some(STANDARD.encode(&fetched.bytes)),
            detail: None,
        };
        Ok(())
    }
}

fn by_address(parts: &mut [Part]) -> impl Iterator<Item = &mut Image> {
    parts.iter_mut().filter_map(|part| match part {
        Part::Image(image @ Image::Url { .. }) => Some(image),
        _ => None,
    })
}

/// What the bytes are by how they begin, else what the server says: not every server knows.
fn media_type(fetched: &Fetched) -> Option<String> {
    const BEGINNINGS: [(&[u8], &str); 4] = [
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF8", "image/gif"),
        (b"RIFF", "image/webp"),
    ];
    let known = BEGINNINGS
        .iter()
        .find(|(beginning, _)| fetched.bytes.starts_with(beginning));
    let said = fetched
        .media_type
        .as_deref()
        .filter(|said| said.starts_with("image/") && !fetched.bytes.is_empty());
    known.map(|(_, kind)| *kind).or(said).map(str::to_owned)
}
