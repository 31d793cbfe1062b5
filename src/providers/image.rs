//! An image as providers take it.

use crate::domain::message::Image;
use serde::Serialize;
use std::fmt;

/// Where an image is: its address, or the image itself. Printed, and in OpenAI's protocols, an address either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Picture<'a> {
    Url(&'a str),
    Inline { media_type: &'a str, data: &'a str },
}

/// What OpenAI and Anthropic can look at.
pub(crate) const USUAL: &[&str] = &["image/png", "image/jpeg", "image/gif", "image/webp"];

impl<'a> Picture<'a> {
    /// `None` when the image's bytes are not there, or are of none of these kinds: one image that cannot be looked at
    /// would have the whole conversation refused, for good.
    pub(crate) fn of(image: &'a Image, kinds: &[&str]) -> Option<Self> {
        match image {
            Image::Url { url } => Some(Self::Url(url)),
            Image::Stored {
                data, media_type, ..
            } => {
                let data = data.as_deref().filter(|data| !data.is_empty())?;
                let media_type = media_type_of(data, media_type.as_deref());
                kinds
                    .contains(&media_type)
                    .then_some(Self::Inline { media_type, data })
            }
        }
    }
}

impl Serialize for Picture<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Picture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Inline { media_type, data } => write!(f, "data:{media_type};base64,{data}"),
        }
    }
}

/// How closely to look at it.
pub(crate) fn detail(image: &Image) -> Option<&str> {
    match image {
        Image::Url { .. } => None,
        Image::Stored { detail, .. } => detail.as_deref(),
    }
}

/// What the image is by its first bytes, else what it is said to be: an image that is something else is refused.
fn media_type_of<'a>(base64: &str, said: Option<&'a str>) -> &'a str {
    const BEGINNINGS: [(&str, &str); 4] = [
        ("/9j/", "image/jpeg"),
        ("iVBORw0KGgo", "image/png"),
        ("R0lGOD", "image/gif"),
        ("UklGR", "image/webp"),
    ];
    let seen = BEGINNINGS
        .iter()
        .find(|(beginning, _)| base64.starts_with(beginning));
    seen.map_or(said.unwrap_or("image/png"), |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(media_type: Option<&str>, data: Option<&str>) -> Image {
        Image::Stored {
            file_id: None,
            media_type: media_type.map(str::to_owned),
            data: data.map(str::to_owned),
            detail: None,
        }
    }

    #[test]
    fn an_image_is_what_its_bytes_say() {
        let address = |image: Image| Picture::of(&image, USUAL).map(|picture| picture.to_string());
        let png = Some("image/png");
        assert_eq!(
            address(stored(png, Some("/9j/4AAQ"))).unwrap(),
            "data:image/jpeg;base64,/9j/4AAQ"
        );
        assert_eq!(
            address(stored(None, Some("QUJD"))).unwrap(),
            "data:image/png;base64,QUJD"
        );
        let url = "http://x/y.png";
        let elsewhere = Image::Url {
            url: url.to_owned(),
        };
        assert_eq!(address(elsewhere).unwrap(), url);
        assert_eq!(address(stored(png, Some(""))), None);
        assert_eq!(address(stored(png, None)), None);
        assert_eq!(address(stored(Some("image/bmp"), Some("Qk0A"))), None);
    }
}
