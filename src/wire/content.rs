//! Content parts, both ways (wire-rules §10): what messages and tool returns hold.

use crate::domain::message::{Image, Part};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// A part as clients read it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum PartOut<'a> {
    Text {
        text: &'a str,
        signature: Option<&'a str>,
    },
    Image {
        source: ImageOut<'a>,
    },
    Reasoning {
        is_native: bool,
        reasoning: &'a str,
        signature: Option<&'a str>,
    },
    RedactedReasoning {
        data: &'a str,
    },
    OmittedReasoning {
        signature: Option<&'a str>,
    },
    SummarizedReasoning {
        id: &'a str,
        summary: Vec<SummaryOut<'a>>,
        encrypted_content: Option<&'a str>,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ImageOut<'a> {
    Url {
        url: &'a str,
    },
    Letta {
        file_id: Option<&'a str>,
        media_type: Option<&'a str>,
        data: Option<&'a str>,
        detail: Option<&'a str>,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct SummaryOut<'a> {
    index: usize,
    text: &'a str,
}

impl<'a> From<&'a Part> for PartOut<'a> {
    fn from(part: &'a Part) -> Self {
        match part {
            Part::Text { text, signature } => Self::Text {
                text,
                signature: signature.as_deref(),
            },
            Part::Image(image) => Self::Image {
                source: image.into(),
            },
            Part::Reasoning {
                native,
                reasoning,
                signature,
            } => Self::Reasoning {
                is_native: *native,
                reasoning,
                signature: signature.as_deref(),
            },
            Part::RedactedReasoning { data } => Self::RedactedReasoning { data },
            Part::OmittedReasoning { signature } => Self::OmittedReasoning {
                signature: signature.as_deref(),
            },
            Part::SummarizedReasoning {
                id,
                summary,
                encrypted_content,
            } => Self::SummarizedReasoning {
                id,
                summary: summary
                    .iter()
                    .enumerate()
                    .map(|(index, text)| SummaryOut { index, text })
                    .collect(),
                encrypted_content: encrypted_content.as_deref(),
            },
        }
    }
}

impl<'a> From<&'a Image> for ImageOut<'a> {
    fn from(image: &'a Image) -> Self {
        match image {
            Image::Url { url } => Self::Url { url },
            Image::Stored {
                file_id,
                media_type,
                data,
                detail,
            } => Self::Letta {
                file_id: file_id.as_deref(),
                media_type: media_type.as_deref(),
                data: data.as_deref(),
                detail: detail.as_deref(),
            },
        }
    }
}

/// Content as clients send it: a text, or parts.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "Input should be a string or a list of content parts"
)]
pub enum ContentIn {
    Text(String),
    Parts(Vec<PartIn>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PartIn {
    Text {
        text: String,
        #[serde(default)]
        signature: Option<String>,
    },
    Image {
        source: ImageIn,
    },
    Reasoning {
        is_native: bool,
        reasoning: String,
        #[serde(default)]
        signature: Option<String>,
    },
    RedactedReasoning {
        data: String,
    },
    OmittedReasoning {
        #[serde(default)]
        signature: Option<String>,
    },
    ToolCall {},
    ToolReturn {},
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ImageIn {
    Url {
        url: String,
    },
    Base64 {
        media_type: String,
        data: String,
        #[serde(default)]
        detail: Option<String>,
    },
    Letta {
        file_id: String,
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        data: Option<String>,
        #[serde(default)]
        detail: Option<String>,
    },
}

/// Why content that fits the schema cannot be taken (400).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadContent {
    #[error("content must not be empty")]
    Empty,
    #[error("an image by its address can only be sent in a message, send it as base64 here")]
    ImageByUrl,
    #[error("an image address starts with http, https or data, not with '{0}'")]
    ImageScheme(String),
    #[error("the data of an image is not base64: {0}")]
    ImageData(String),
    #[error("a {0} part stands in no message that a client sends")]
    ToolPart(&'static str),
}

impl ContentIn {
    /// The parts of something that is stored as it is, where nobody fetches what is named by its address.
    ///
    /// # Errors
    /// See `BadContent`.
    pub fn into_stored(self) -> Result<Vec<Part>, BadContent> {
        let parts = self.into_domain()?;
        let named = |part: &Part| matches!(part, Part::Image(Image::Url { .. }));
        if parts.iter().any(named) {
            Err(BadContent::ImageByUrl)
        } else {
            Ok(parts)
        }
    }

    /// The parts; at least one of them says or shows something.
    ///
    /// # Errors
    /// See `BadContent`.
    pub fn into_domain(self) -> Result<Vec<Part>, BadContent> {
        let parts = self.into_parts()?;
        let empty = parts.iter().all(|part| part.text() == Some(""));
        if empty {
            Err(BadContent::Empty)
        } else {
            Ok(parts)
        }
    }

    /// The parts of what a tool returned: it may have nothing to say.
    ///
    /// # Errors
    /// See `BadContent`.
    pub fn into_parts(self) -> Result<Vec<Part>, BadContent> {
        match self {
            Self::Text(text) => Ok(vec![Part::of_text(text)]),
            Self::Parts(parts) => parts.into_iter().map(PartIn::into_domain).collect(),
        }
    }
}

impl PartIn {
    fn into_domain(self) -> Result<Part, BadContent> {
        Ok(match self {
            Self::Text { text, signature } => Part::Text { text, signature },
            Self::Image { source } => Part::Image(source.into_domain()?),
            Self::Reasoning {
                is_native,
                reasoning,
                signature,
            } => Part::Reasoning {
                native: is_native,
                reasoning,
                signature,
            },
            Self::RedactedReasoning { data } => Part::RedactedReasoning { data },
            Self::OmittedReasoning { signature } => Part::OmittedReasoning { signature },
            Self::ToolCall {} => return Err(BadContent::ToolPart("tool_call")),
            Self::ToolReturn {} => return Err(BadContent::ToolPart("tool_return")),
        })
    }
}

impl ImageIn {
    /// Images are kept as their bytes, under an id of their own (messages-and-search §1).
    fn into_domain(self) -> Result<Image, BadContent> {
        match self {
            Self::Url { url } => by_url(&url),
            Self::Base64 {
                media_type,
                data,
                detail,
            } => stored(media_type, data, detail),
            Self::Letta {
                file_id,
                media_type,
                data,
                detail,
            } => Ok(Image::Stored {
                file_id: Some(file_id),
                media_type,
                data: data.map(readable).transpose()?,
                detail,
            }),
        }
    }
}

fn stored(media_type: String, data: String, detail: Option<String>) -> Result<Image, BadContent> {
    let data = readable(data)?;
    let file_id = format!("file-{}", uuid::Uuid::new_v4());
    Ok(Image::Stored {
        file_id: Some(file_id),
        media_type: Some(media_type),
        data: Some(data),
        detail,
    })
}

/// A provider would refuse every later turn of an agent that keeps an image it cannot read.
fn readable(data: String) -> Result<String, BadContent> {
    match STANDARD.decode(&data) {
        Ok(_) => Ok(data),
        Err(error) => Err(BadContent::ImageData(error.to_string())),
    }
}

/// An address that carries the image itself needs no fetching; others are fetched before the request is accepted.
fn by_url(url: &str) -> Result<Image, BadContent> {
    match url.split_once(':') {
        Some(("data", rest)) => {
            let (media_type, data) = rest.split_once(";base64,").ok_or_else(|| {
                BadContent::ImageData(
                    "the address is not of the form data:<type>;base64,<data>".to_owned(),
                )
            })?;
            stored(media_type.to_owned(), data.to_owned(), None)
        }
        Some(("http" | "https", _)) => Ok(Image::Url {
            url: url.to_owned(),
        }),
        Some((scheme, _)) => Err(BadContent::ImageScheme(scheme.to_owned())),
        None => Err(BadContent::ImageScheme(url.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(content: serde_json::Value) -> Result<Vec<Part>, BadContent> {
        serde_json::from_value::<ContentIn>(content)
            .unwrap()
            .into_domain()
    }

    fn image(source: serde_json::Value) -> serde_json::Value {
        json!([{"type": "image", "source": source}])
    }

    #[test]
    fn content_that_says_nothing_is_refused() {
        for nothing in [json!(""), json!([]), json!([{"type": "text", "text": ""}])] {
            assert_eq!(read(nothing.clone()), Err(BadContent::Empty), "{nothing}");
            let returned: ContentIn = serde_json::from_value(nothing).unwrap();
            assert!(returned.into_parts().is_ok(), "a tool may return nothing");
        }
        assert_eq!(read(json!("x")), Ok(vec![Part::of_text("x")]));
    }

    #[test]
    fn an_image_is_kept_as_bytes_and_comes_back_under_an_id() {
        for source in [
            json!({"type": "base64", "media_type": "image/png", "data": "aGk="}),
            json!({"type": "url", "url": "data:image/png;base64,aGk="}),
        ] {
            let parts = read(image(source)).unwrap();
            let shown = serde_json::to_value(PartOut::from(&parts[0])).unwrap();
            assert_eq!(shown["source"]["type"], "letta");
            assert_eq!(
                (&shown["source"]["media_type"], &shown["source"]["data"]),
                (&json!("image/png"), &json!("aGk="))
            );
            assert!(
                shown["source"]["file_id"]
                    .as_str()
                    .unwrap()
                    .starts_with("file-"),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_cannot_be_kept_says_why() {
        let url = |url: &str| read(image(json!({"type": "url", "url": url})));
        let named = ContentIn::Parts(vec![PartIn::Image {
            source: ImageIn::Url {
                url: "https://example.org/a.png".to_owned(),
            },
        }]);
        assert!(named.clone().into_domain().is_ok());
        assert_eq!(named.into_stored(), Err(BadContent::ImageByUrl));
        assert_eq!(
            url("file:///etc/passwd"),
            Err(BadContent::ImageScheme("file".to_owned()))
        );
        assert!(matches!(
            url("data:image/png,raw"),
            Err(BadContent::ImageData(_))
        ));
        let garbage = json!({"type": "base64", "media_type": "image/png", "data": "%%"});
        assert!(matches!(
            read(image(garbage)),
            Err(BadContent::ImageData(_))
        ));
        let call = json!([{"type": "tool_call", "id": "1", "name": "x", "input": {}}]);
        assert_eq!(read(call), Err(BadContent::ToolPart("tool_call")));
    }
}
